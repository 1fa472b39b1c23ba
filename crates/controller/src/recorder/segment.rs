//! The ring of recordings on disk: which files there are, which goes next.
//!
//! Names sort by age: `000042.rec`, and `000042.pinned.rec` for one that holds a verdict.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const PINNED: &str = ".pinned.rec";
const PLAIN: &str = ".rec";

/// The directory of recordings.
#[derive(Debug)]
pub(crate) struct Ring {
    dir: PathBuf,
    kept_max: usize,
    pinned_max: usize,
    next: u64,
}

impl Ring {
    /// A ring over what a directory holds. An unreadable one is found out when it is written to.
    pub fn open(dir: &Path, kept_max: usize, pinned_max: usize) -> Self {
        let (plain, pinned) = list(dir).unwrap_or_default();
        let newest = plain.iter().chain(&pinned).max().copied();
        let next = newest.map_or(1, |number| number + 1);
        Self { dir: dir.to_owned(), kept_max, pinned_max, next }
    }

    /// A new recording's file, after the oldest ones made room for it.
    pub fn begin(&mut self) -> io::Result<(PathBuf, File)> {
        fs::create_dir_all(&self.dir)?;
        let (plain, pinned) = list(&self.dir)?;
        let old = |numbers: &[u64], max: usize| numbers.len().saturating_sub(max);
        for number in &plain[..old(&plain, self.kept_max.saturating_sub(1))] {
            fs::remove_file(self.dir.join(format!("{number:06}{PLAIN}")))?;
        }
        for number in &pinned[..old(&pinned, self.pinned_max)] {
            fs::remove_file(self.dir.join(format!("{number:06}{PINNED}")))?;
        }
        let path = self.dir.join(format!("{:06}{PLAIN}", self.next));
        self.next += 1;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((path, file))
    }
}

/// Keeps a recording beyond the ring. It may still be written to.
pub(crate) fn pin(path: &Path) -> io::Result<()> {
    let name = path.to_string_lossy();
    match name.strip_suffix(PLAIN) {
        Some(stem) if !name.ends_with(PINNED) => fs::rename(path, format!("{stem}{PINNED}")),
        _ => Ok(()),
    }
}

/// Numbers of plain and of pinned recordings, oldest first.
fn list(dir: &Path) -> io::Result<(Vec<u64>, Vec<u64>)> {
    let (mut plain, mut pinned) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number = |suffix: &str| name.strip_suffix(suffix)?.parse::<u64>().ok();
        if let Some(number) = number(PINNED) {
            pinned.push(number);
        } else if let Some(number) = number(PLAIN) {
            plain.push(number);
        }
    }
    plain.sort_unstable();
    pinned.sort_unstable();
    Ok((plain, pinned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_pinned_ones_stay_longer() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path(), 2, 1);
        let begin = |ring: &mut Ring| ring.begin().unwrap().0;
        let first = begin(&mut ring);
        pin(&first).unwrap();
        for _ in 0..4 {
            begin(&mut ring);
        }
        assert_eq!(list(dir.path()).unwrap(), (vec![4, 5], vec![1]));
        let second = begin(&mut ring);
        pin(&second).unwrap();
        pin(&second.with_extension("").with_extension("pinned.rec")).unwrap();
        let mut ring = Ring::open(dir.path(), 2, 1);
        begin(&mut ring);
        assert_eq!(list(dir.path()).unwrap(), (vec![5, 7], vec![6]), "numbers go on");
    }
}
