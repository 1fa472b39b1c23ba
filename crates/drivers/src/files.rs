//! Files that survive a power cut: written beside, synced, renamed, their directory synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use evenkeel_core::backup::guard::Room;
use evenkeel_core::driver::Error;

/// Writes a whole file so that after a crash it is either the old one or the new one.
///
/// # Errors
/// Of the file system.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Syncs the directory a path is in.
///
/// # Errors
/// Of the file system.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The disk that a directory is on, as it is to whoever is not root.
///
/// # Errors
/// Of the file system.
pub fn room(directory: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(directory)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let kept = stat.f_bfree.saturating_sub(stat.f_bavail);
    Ok(Room { total: bytes(stat.f_blocks.saturating_sub(kept)), free: bytes(stat.f_bavail) })
}

/// An error of the file system in the driver's words.
pub fn fault(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let (what, path) = (what.to_owned(), path.display().to_string());
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::DiskFull { what: format!("{what} {path}") }
        }
        _ => Error::Failed(format!("{what} {path}: {error}")),
    }
}

/// Makes a directory that only our own user may enter, and those above it. A link in its place is
/// refused.
///
/// # Errors
/// Of the file system.
pub fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a link, not a directory"))
}

/// Removes a file; one that is not there is removed already.
///
/// # Errors
/// Of the file system.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a directory with everything in it; one that is not there is removed already.
///
/// # Errors
/// Of the file system.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
