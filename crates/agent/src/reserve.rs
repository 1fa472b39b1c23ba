//! Room that is kept for the moment when the disk has none.
//!
//! A host whose disk is full must still be able to record what it does about that: the disk guard's own
//! file, a server's death, that a script which frees room was begun. So a file of a few MiB lies beside the
//! goals and holds nothing. Whatever finds the disk full gives up a part of it and tries again; once there
//! is clearly room it is made whole.
//!
//! Invariants: nothing is ever read from it, so that it may be cut at any moment, also by a power cut; it is
//! given up in parts, so that who fills the disk on and on does not have all of it at once; it is made whole
//! only where that throttles nobody.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use evenkeel_core::backup::guard::{Level, Limits, Room};
use evenkeel_drivers::files::room;
use rustix::fs::{FallocateFlags, fallocate};

/// Most that is kept, in bytes: each part has room for a file of a server's log, and more.
const SIZE_MAX: u64 = 24 << 20;
/// No more than this part of the disk is kept.
const OF_DISK: u64 = 50;
/// It is given up in so many parts.
const PARTS: u64 = 4;
/// Where fewer bytes are free, the disk counts as full.
const FULL_BELOW: u64 = 1 << 20;

/// The room that is kept on one disk.
#[derive(Debug)]
pub(crate) struct Reserve {
    dir: PathBuf,
    alone: Mutex<()>,
}

impl Reserve {
    /// That of an agent's directory; nothing is kept before [`Reserve::fill`].
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), alone: Mutex::new(()) }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    /// What is left of it, in bytes.
    pub fn left(&self) -> u64 {
        fs::metadata(self.path()).map_or(0, |found| found.len())
    }

    /// Gives up a part of it; false: nothing was left.
    pub fn give(&self) -> bool {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.left();
        if left == 0 {
            return false;
        }
        let part = room(&self.dir).map_or(SIZE_MAX, size) / PARTS;
        match cut(&self.path(), left.saturating_sub(part.max(1))) {
            Ok(left) => {
                tracing::warn!(left, "the disk is full: a part of the room kept for that is used");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the disk is full, and the room kept for that cannot be used");
                false
            }
        }
    }

    /// Gives up a part of it where next to nothing is free.
    pub fn make_room(&self) {
        if room(&self.dir).is_ok_and(|room| room.free < FULL_BELOW) {
            self.give();
        }
    }

    /// Makes it whole again, where the disk has clearly room for it.
    pub fn fill(&self) {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(room) = room(&self.dir) else { return };
        let (left, size) = (self.left(), size(room));
        let more = size.saturating_sub(left);
        let after = Room { free: room.free.saturating_sub(more), ..room };
        if more == 0 || Limits::default().level(Level::ReadOnly, after) > Level::Warn {
            return;
        }
        if let Err(error) = grow(&self.path(), left, more) {
            // Some file systems promise no room ahead; the disk guard still comes before they are full.
            tracing::debug!(%error, "no room can be kept for a full disk");
        }
    }
}

fn size(room: Room) -> u64 {
    SIZE_MAX.min(room.total / OF_DISK)
}

fn cut(path: &Path, to: u64) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(to)?;
    // Some file systems give room back with the next sync.
    file.sync_all()?;
    Ok(to)
}

fn grow(path: &Path, from: u64, more: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
    fallocate(&file, FallocateFlags::empty(), from, more)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_given_up_in_parts_and_made_whole() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(dir.path());
        assert!(!reserve.give(), "nothing is kept yet");
        reserve.fill();
        let whole = reserve.left();
        if whole == 0 {
            println!("1 not run: this disk has no room to keep");
            return;
        }
        reserve.make_room();
        assert_eq!(reserve.left(), whole, "the disk is not full");
        let mut given = 0;
        while reserve.give() {
            given += 1;
        }
        assert_eq!((reserve.left(), given), (0, PARTS));
        reserve.fill();
        assert_eq!(reserve.left(), whole);
        // One that was cut by hand, or by a crash, is as good.
        cut(&reserve.path(), 7).unwrap();
        assert!(reserve.give() && !reserve.give());
    }

    #[test]
    fn it_is_a_part_of_the_disk_and_never_much() {
        let of = |total| size(Room { total, free: total });
        assert_eq!((of(100 << 20), of(1 << 40)), (2 << 20, SIZE_MAX));
    }
}
