//! The ring of recordings on disk: which files there are, which goes next.
//!
//! Names sort by age: `000042.rec`, `000042.pinned.rec` for one that holds a verdict, and
//! `000042.incident.rec` for one that was made around the beginning or the end of an incident.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Recordings in the ring: some hours of a small cell, in at most 64 MiB.
pub(crate) const PLAIN_MAX: usize = 8;
/// Recordings with a verdict kept beyond the ring.
pub(crate) const VERDICTS_MAX: usize = 16;
/// Recordings around incidents kept beyond the ring: two or three of each.
pub(crate) const INCIDENTS_MAX: usize = 32;

/// What a recording is kept for. One that is kept for more is kept for the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// It is the newest there is.
    Plain,
    /// It holds a verdict.
    Verdict,
    /// It is of the time around an incident.
    Incident,
}

impl Kept {
    const ALL: [Self; 3] = [Self::Plain, Self::Verdict, Self::Incident];

    /// What its files' names end with.
    const fn ending(self) -> &'static str {
        match self {
            Self::Plain => ".rec",
            Self::Verdict => ".pinned.rec",
            Self::Incident => ".incident.rec",
        }
    }
}

/// One recording on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Recording {
    pub number: u64,
    pub kept: Kept,
    pub path: PathBuf,
}

impl Recording {
    /// By its name, if it is a recording's.
    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (number, kept) = Kept::ALL.into_iter().find_map(|kept| {
            Some((name.strip_suffix(kept.ending())?.parse::<u64>().ok()?, kept))
        })?;
        Some(Self { number, kept, path })
    }

    /// Keeps it for this too; where it is now. It may still be written to.
    pub fn keep(&mut self, kept: Kept) -> io::Result<()> {
        if kept > self.kept {
            let path = self.path.with_file_name(format!("{:06}{}", self.number, kept.ending()));
            fs::rename(&self.path, &path)?;
            (self.kept, self.path) = (kept, path);
        }
        Ok(())
    }
}

/// The directory of recordings.
#[derive(Debug)]
pub(crate) struct Ring {
    dir: PathBuf,
    next: u64,
}

impl Ring {
    /// A ring over what a directory holds. An unreadable one is found out when it is written to.
    pub fn open(dir: &Path) -> Self {
        let newest = list(dir).unwrap_or_default().last().map(|recording| recording.number);
        Self { dir: dir.to_owned(), next: newest.map_or(1, |number| number + 1) }
    }

    /// A new recording's file, after the oldest ones made room for it.
    pub fn begin(&mut self) -> io::Result<(Recording, File)> {
        fs::create_dir_all(&self.dir)?;
        let all = list(&self.dir)?;
        for (kept, max) in [
            (Kept::Plain, PLAIN_MAX - 1),
            (Kept::Verdict, VERDICTS_MAX),
            (Kept::Incident, INCIDENTS_MAX),
        ] {
            let of: Vec<&Recording> = all.iter().filter(|one| one.kept == kept).collect();
            for old in &of[..of.len().saturating_sub(max)] {
                fs::remove_file(&old.path)?;
            }
        }
        let (number, kept) = (self.next, Kept::Plain);
        let path = self.dir.join(format!("{number:06}{}", kept.ending()));
        self.next += 1;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Recording { number, kept, path }, file))
    }

    /// Keeps those that were written to within `before` for an incident too.
    pub fn keep_newest(&self, before: Duration) -> io::Result<()> {
        let oldest = SystemTime::now().checked_sub(before);
        for mut recording in list(&self.dir)? {
            let written = fs::metadata(&recording.path)?.modified()?;
            if oldest.is_none_or(|oldest| written >= oldest) {
                recording.keep(Kept::Incident)?;
            }
        }
        Ok(())
    }
}

/// All recordings of a directory, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Recording>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        all.extend(Recording::of(entry?.path()));
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(dir: &Path, kept: Kept) -> Vec<u64> {
        let all = list(dir).unwrap().into_iter();
        all.filter(|one| one.kept == kept).map(|one| one.number).collect()
    }

    #[test]
    fn the_oldest_make_room_and_those_kept_for_something_stay_longer() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path());
        let mut first = ring.begin().unwrap().0;
        first.keep(Kept::Verdict).unwrap();
        let mut second = ring.begin().unwrap().0;
        second.keep(Kept::Incident).unwrap();
        second.keep(Kept::Verdict).unwrap();
        assert_eq!(second.kept, Kept::Incident, "what is kept longest counts");
        let more = u64::try_from(PLAIN_MAX).unwrap() + 3;
        for _ in 0..more {
            ring.begin().unwrap();
        }
        let plain: Vec<u64> = (6..=2 + more).collect();
        assert_eq!(numbers(dir.path(), Kept::Plain), plain);
        assert_eq!(numbers(dir.path(), Kept::Verdict), [1]);
        assert_eq!(numbers(dir.path(), Kept::Incident), [2]);
        let mut ring = Ring::open(dir.path());
        assert_eq!(ring.begin().unwrap().0.number, 3 + more, "numbers go on");
    }

    #[test]
    fn incidents_have_room_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path());
        for _ in 0..INCIDENTS_MAX + 2 {
            ring.begin().unwrap().0.keep(Kept::Incident).unwrap();
            ring.begin().unwrap().0.keep(Kept::Verdict).unwrap();
        }
        ring.begin().unwrap();
        assert_eq!(numbers(dir.path(), Kept::Incident).len(), INCIDENTS_MAX);
        assert_eq!(numbers(dir.path(), Kept::Verdict).len(), VERDICTS_MAX);
    }

    #[test]
    fn what_was_written_a_moment_ago_is_kept_for_an_incident_and_what_is_old_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path());
        let (old, file) = ring.begin().unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        let new = ring.begin().unwrap().0;
        ring.keep_newest(Duration::from_secs(600)).unwrap();
        assert_eq!(numbers(dir.path(), Kept::Plain), [old.number]);
        assert_eq!(numbers(dir.path(), Kept::Incident), [new.number]);
    }
}
