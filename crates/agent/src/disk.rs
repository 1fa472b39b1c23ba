//! What an agent keeps: its lock, its goals, the store it obeys.
//!
//! ```text
//! <dir>/lock              held as long as the agent lives; its process id inside
//! <dir>/pid.json          who the agent is: process id and start
//! <dir>/store.json        whom it obeys: the store, its highest sequence, those obeyed before
//! <dir>/goals/<n>.json    the goal of member n and its fences
//! <dir>/goals/*.damaged   set aside: could not be read
//! <dir>/poolers/<n>.json  the pooler of service n
//! <dir>/reserve           room that is given up when the disk is full; it holds nothing
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use evenkeel_core::agent::Stored;
use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::pooler::Pooler;
use evenkeel_core::row;
use evenkeel_core::succession::Allegiance;
use evenkeel_drivers::files::{sync_parent, write_synced};
use evenkeel_drivers::process::Identity;
use serde::de::DeserializeOwned;

use crate::reserve::Reserve;

/// Ends the name of what was set aside.
const DAMAGED: &str = "damaged";

/// Why an agent's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent has it.
    #[error(
        "{} is in use by the agent with process id {holder}; stop that one first, or name another \
         directory",
        dir.display()
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Who has it, by its own word.
        holder: String,
    },
    /// A file or directory in it cannot be used.
    #[error("cannot {doing} {}; check that it belongs to this user", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }
}

/// What was on disk when the agent started.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Goals and fences, in order of member.
    pub members: Vec<Stored>,
    /// The store obeyed.
    pub store: Option<Allegiance>,
    /// Poolers, in order of service.
    pub poolers: Vec<Pooler>,
}

/// What must come to disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owed {
    /// Goals and fences to write.
    pub members: BTreeMap<MemberId, Stored>,
    /// Members to forget.
    pub forgotten: BTreeSet<MemberId>,
    /// The store obeyed, to write.
    pub store: Option<Allegiance>,
    /// Poolers to write, or to forget.
    pub poolers: BTreeMap<ServiceId, Option<Pooler>>,
}

impl Owed {
    /// Whether all is on disk.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
            && self.forgotten.is_empty()
            && self.store.is_none()
            && self.poolers.is_empty()
    }
}

/// An agent's directory, locked.
#[derive(Debug)]
pub(crate) struct Disk {
    goals: PathBuf,
    store: PathBuf,
    poolers: PathBuf,
    _lock: File,
}

impl Disk {
    /// Takes the lock of a directory, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let (goals, poolers) = (dir.join("goals"), dir.join("poolers"));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for made in [&goals, &poolers] {
            builder.create(made).map_err(Error::at("make", made))?;
        }
        // On a full disk, too, an agent must come up: who else would give back room there?
        Reserve::new(dir).make_room();
        let lock = lock(dir)?;
        let path = dir.join("pid.json");
        let this = Identity::of(std::process::id());
        let text = serde_json::to_vec(&this).expect("an identity is JSON");
        write_synced(&path, &text).map_err(Error::at("write", &path))?;
        Ok(Self { goals, store: dir.join("store.json"), poolers, _lock: lock })
    }

    /// Reads everything; what cannot be read is set aside.
    ///
    /// # Errors
    /// When files cannot be read or renamed at all: an agent that does not know its goals must not
    /// run.
    pub fn load(&self) -> Result<Kept, Error> {
        let mut kept = Kept::default();
        for (number, path) in numbered(&self.goals)? {
            let fits = |stored: &Stored| stored.applied.goal.member == MemberId(number);
            if let Some(stored) = read(&path, fits)? {
                kept.members.push(stored);
            }
        }
        kept.members.sort_by_key(|stored| stored.applied.goal.member);
        kept.store = read(&self.store, |_| true)?;
        for (number, path) in numbered(&self.poolers)? {
            let fits = |pooler: &Pooler| pooler.service == ServiceId(number);
            kept.poolers.extend(read(&path, fits)?);
        }
        kept.poolers.sort_by_key(|pooler| pooler.service);
        Ok(kept)
    }

    /// How many files were set aside and are still there for a person to look at.
    pub fn damaged(goals: &Path) -> usize {
        let is_damaged = |path: &PathBuf| path.extension().is_some_and(|e| e == DAMAGED);
        list(goals).map_or(0, |paths| paths.into_iter().filter(is_damaged).count())
    }

    /// Writes what is owed, and takes out of it what is on disk.
    ///
    /// # Errors
    /// The first failure; the rest is tried all the same.
    pub fn write(&self, owed: &mut Owed) -> Result<(), Error> {
        let mut first = Ok(());
        let mut done = |result: io::Result<()>, path: &Path| match result {
            Ok(()) => true,
            Err(source) => {
                let error = Error::at("write", path)(source);
                first = std::mem::replace(&mut first, Ok(())).and(Err(error));
                false
            }
        };
        if let Some(store) = &owed.store
            && done(write_synced(&self.store, &row::encode(store)), &self.store)
        {
            owed.store = None;
        }
        owed.members.retain(|&id, stored| {
            let path = self.goal(id);
            !done(write_synced(&path, &row::encode(stored)), &path)
        });
        owed.forgotten.retain(|&id| {
            let path = self.goal(id);
            !done(remove(&path), &path)
        });
        owed.poolers.retain(|id, pooler| {
            let path = self.poolers.join(format!("{}.json", id.0));
            let result = match pooler {
                Some(pooler) => write_synced(&path, &row::encode(pooler)),
                None => remove(&path),
            };
            !done(result, &path)
        });
        first
    }

    fn goal(&self, id: MemberId) -> PathBuf {
        self.goals.join(format!("{}.json", id.0))
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let at = |doing| Error::at(doing, &path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(at("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(at("read"))?;
            let holder = holder.trim().to_owned();
            return Err(Error::Held { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(at("lock")(source)),
    }
    file.set_len(0).map_err(at("write"))?;
    file.rewind().map_err(at("write"))?;
    writeln!(file, "{}", std::process::id()).map_err(at("write"))?;
    Ok(file)
}

/// The files of a directory that are named by a number.
fn numbered(dir: &Path) -> Result<Vec<(u32, PathBuf)>, Error> {
    let listed = list(dir).map_err(Error::at("list", dir))?;
    let number = |path: PathBuf| {
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let stem = path.file_stem().filter(|_| is_json)?.to_str()?;
        Some((stem.parse().ok()?, path))
    };
    Ok(listed.into_iter().filter_map(number).collect())
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_parent(path),
    }
}

/// A file's value; what is damaged or does not fit is set aside and is as if it were not there.
fn read<T: DeserializeOwned>(path: &Path, fits: impl Fn(&T) -> bool) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::at("read", path))?,
    };
    let why = match row::decode::<T>(&bytes) {
        Ok(value) if fits(&value) => return Ok(Some(value)),
        Ok(_) => "it is another's".to_owned(),
        Err(error) => crate::chain(&error),
    };
    let aside = (0..).map(|n| path.with_extension(format!("{n}.{DAMAGED}")));
    let aside = aside.into_iter().find(|aside| !aside.exists()).unwrap_or_default();
    fs::rename(path, &aside).map_err(Error::at("set aside", path))?;
    sync_parent(path).map_err(Error::at("sync", path))?;
    let (path, aside) = (path.display(), aside.display());
    tracing::error!(%path, %aside, why, "a file cannot be used and is set aside; nothing is done for it until the controller sends its goal again");
    Ok(None)
}

#[cfg(test)]
mod tests {
    use evenkeel_core::goal::StoreId;

    use super::*;

    #[test]
    fn a_second_agent_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = Disk::open(dir.path()).unwrap();
        let second = Disk::open(dir.path()).unwrap_err().to_string();
        assert!(second.contains(&std::process::id().to_string()), "{second}");
        drop(held);
        Disk::open(dir.path()).unwrap();
    }

    #[test]
    fn what_is_damaged_is_set_aside_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let goals = dir.path().join("goals");
        for (name, bytes) in
            [("3.json", &b"\x01{\"appl"[..]), ("4.json", b""), ("5.json", b"\x63{}")]
        {
            fs::write(goals.join(name), bytes).unwrap();
        }
        // As it was written before there were successors.
        fs::write(dir.path().join("store.json"), b"\x01[\"s\",7]").unwrap();
        let store = Allegiance::from((StoreId("s".into()), 7));
        for round in 1..3 {
            let kept = disk.load().unwrap();
            assert_eq!((kept.members, kept.store), (Vec::new(), Some(store.clone())));
            assert_eq!(Disk::damaged(&goals), 2 + round);
            fs::write(goals.join("3.json"), b"again").unwrap();
        }
    }

    #[test]
    fn what_cannot_be_written_stays_owed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let store = Some(Allegiance::from((StoreId("s".into()), 7)));
        let mut owed = Owed { store: store.clone(), ..Owed::default() };
        fs::create_dir(dir.path().join("store.json")).unwrap();
        let error = disk.write(&mut owed).unwrap_err().to_string();
        assert!(error.contains("store.json"), "{error}");
        assert_eq!(owed.store, store);
        fs::remove_dir(dir.path().join("store.json")).unwrap();
        disk.write(&mut owed).unwrap();
        assert!(owed.is_empty());
        assert_eq!(disk.load().unwrap().store, store);
    }
}
