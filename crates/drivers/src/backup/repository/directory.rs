//! A repository in a directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::backup::archive::Error;

use super::{MARKER, Put, Repository, Upload};
use crate::files::{sync_parent, write_synced};

/// Objects on their way.
const UPLOADS: &str = ".uploads";

/// Makes a directory a repository; one that is stays as it is.
///
/// # Errors
/// [`Error`], also when there are files in it that are not a repository's.
pub fn found(name: &str, path: &Path) -> Result<(), Error> {
    let directory = Directory::new(name, path);
    let why = |why: &str| Error::Unreachable { repository: name.to_owned(), why: why.to_owned() };
    if !path.is_absolute() {
        return Err(why(&format!("{} is not an absolute path", path.display())));
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| directory.fault(&error))?;
    if path.join(MARKER).exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(path).map_err(|error| directory.fault(&error))?;
    if entries.next().is_some() {
        return Err(why(&format!("{} holds other files; name an empty directory", path.display())));
    }
    let text = serde_json::json!({ "repository": name }).to_string();
    write_synced(&path.join(MARKER), text.as_bytes()).map_err(|error| directory.fault(&error))
}

/// A directory.
pub struct Directory {
    name: String,
    root: PathBuf,
}

impl Directory {
    pub fn new(name: &str, root: &Path) -> Self {
        Self { name: name.to_owned(), root: root.to_owned() }
    }

    fn fault(&self, error: &io::Error) -> Error {
        let repository = self.name.clone();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full { repository },
            ErrorKind::PermissionDenied => {
                Error::Unreachable { repository, why: closed(&self.root, &self_name(), error) }
            }
            _ => {
                Error::Unreachable { repository, why: format!("{}: {error}", self.root.display()) }
            }
        }
    }

    /// An error about one object: it is not there only if the repository is.
    fn missing(&self, path: &str, error: &io::Error) -> Error {
        if error.kind() != ErrorKind::NotFound {
            return self.fault(error);
        }
        match self.check() {
            Ok(()) => Error::NotThere { repository: self.name.clone(), name: path.to_owned() },
            Err(error) => error,
        }
    }

    fn check(&self) -> Result<(), Error> {
        match fs::metadata(self.root.join(MARKER)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Unreachable {
                repository: self.name.clone(),
                why: format!("{} is no repository; is its disk mounted?", self.root.display()),
            }),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Directories down to an object's, each of them durable.
    fn make_way(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if parent.exists() {
            return Ok(());
        }
        self.make_way(parent)?;
        match DirBuilder::new().mode(0o700).create(parent) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_parent(parent)
    }

    fn begin(&self, path: &str) -> Result<Uploading, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        self.check()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let aside = self.root.join(UPLOADS).join(format!("{}-{number}", std::process::id()));
        let open = || {
            self.make_way(&aside)?;
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)
        };
        let file = open().map_err(|error| self.fault(&error))?;
        let directory = Self::new(&self.name, &self.root);
        Ok(Uploading { to: self.root.join(path), aside, file, bytes: 0, directory })
    }
}

/// Why a directory is no use to this process's user, and what would help.
fn closed(root: &Path, user: &str, error: &io::Error) -> String {
    let (there, root) = (root.exists(), root.display());
    let help = match there {
        true => format!("give it to that user, as with `chown -R {user} {root}`"),
        false => format!(
            "make it for that user, as with `install -d -o {user} {root}`, and let it through the \
             directories above"
        ),
    };
    format!("user {user} may not use directory {root} ({error}); {help}")
}

/// This process's user, by name where it has one.
fn self_name() -> String {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&users, &id).map_or(id.clone(), str::to_owned)
}

/// The name of a user in a list of users.
fn name_of<'a>(users: &'a str, id: &str) -> Option<&'a str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number == id).then_some(name)
    })
}

/// A file that gets its name when it is whole.
struct Uploading {
    directory: Directory,
    to: PathBuf,
    aside: PathBuf,
    file: File,
    bytes: u64,
}

impl Uploading {
    /// Gives it its name by one of the two ways there are; whether there was one already.
    fn name(&self, replace: bool) -> io::Result<Put> {
        self.file.sync_all()?;
        self.directory.make_way(&self.to)?;
        if replace {
            fs::rename(&self.aside, &self.to)?;
        } else if let Err(error) = fs::hard_link(&self.aside, &self.to) {
            return if error.kind() == ErrorKind::AlreadyExists {
                Ok(Put::Exists)
            } else {
                Err(error)
            };
        }
        sync_parent(&self.to)?;
        Ok(Put::Stored)
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        // What has its name has none here any more, or one too many.
        let _ = fs::remove_file(&self.aside);
    }
}

impl Write for Uploading {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Upload for Uploading {
    fn finish(self: Box<Self>) -> Result<u64, Error> {
        self.name(true).map_err(|error| self.directory.fault(&error))?;
        Ok(self.bytes)
    }
}

impl Repository for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<Put, Error> {
        let mut uploading = self.begin(path)?;
        let put = uploading.write_all(bytes).and_then(|()| uploading.name(false));
        put.map_err(|error| self.fault(&error))
    }

    fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Error> {
        Ok(Box::new(self.begin(path)?))
    }

    fn read(&self, path: &str) -> Result<Box<dyn Read + Send>, Error> {
        match File::open(self.root.join(path)) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(self.missing(path, &error)),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(self.root.join(path)) {
            Ok(entries) => entries,
            Err(error) => {
                return match self.missing(path, &error) {
                    Error::NotThere { .. } => Ok(Vec::new()),
                    error => Err(error),
                };
            }
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        let names: io::Result<Vec<String>> = entries.map(name).collect();
        let mut names = names.map_err(|error| self.fault(&error))?;
        names.sort();
        Ok(names)
    }

    fn hold(&self, path: &str) -> Result<Option<File>, Error> {
        let file = File::open(self.root.join(path)).map_err(|error| self.missing(path, &error))?;
        let operation = rustix::fs::FlockOperation::LockExclusive;
        rustix::fs::flock(&file, operation).map_err(|error| self.fault(&error.into()))?;
        Ok(Some(file))
    }

    fn remove(&self, path: &str) -> Result<(), Error> {
        let path = self.root.join(path);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return self.check(),
            Err(error) => return Err(self.fault(&error)),
        }
        // A directory goes with its last object, if it can.
        let parents = path.ancestors().skip(1).take_while(|parent| *parent != self.root);
        for parent in parents {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_permission_says_so_and_what_would_help() {
        let error = io::Error::from(ErrorKind::PermissionDenied);
        let there = closed(Path::new("/"), "evenkeel", &error);
        assert!(there.contains("user evenkeel may not use directory /"), "{there}");
        assert!(there.contains("chown -R evenkeel /"), "{there}");
        let nowhere = closed(Path::new("/nowhere/here"), "evenkeel", &error);
        assert!(nowhere.contains("install -d -o evenkeel /nowhere/here"), "{nowhere}");
        let told = Directory::new("far", Path::new("/nowhere/here")).fault(&error).to_string();
        assert!(told.contains("repository far") && !told.contains("credentials"), "{told}");
    }

    #[test]
    fn a_user_has_the_name_of_its_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nevenkeel:x:998:998::/:/sbin/nologin\n";
        assert_eq!(name_of(users, "998"), Some("evenkeel"));
        assert_eq!(name_of(users, "0"), Some("root"));
        assert_eq!(name_of(users, "5"), None);
    }
}
