//! One controller for each data directory: a lock that ends with its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::private_file;

/// Why a data directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody has it.
    #[error(
        "the data directory {} is in use by the controller with process id {holder}; stop that \
         one first, or name another directory with `--data`",
        dir.display()
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Who has it, by its own word.
        holder: String,
    },
    /// The lock's file cannot be used.
    #[error(transparent)]
    File(#[from] private_file::Error),
}

/// Held as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a directory and writes this process's id into it.
    pub fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("lock");
        let io = |doing| private_file::Error::at(doing, &path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io("read"))?;
                let holder = holder.trim().to_owned();
                return Err(Error::Held { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock")(source).into()),
        }
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().map_err(io("write"))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::take(dir.path()).unwrap();
        let second = Lock::take(dir.path()).unwrap_err();
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(held);
        Lock::take(dir.path()).unwrap();
    }
}
