//! An agent's own files: the lock, its process, the goals, the store it obeys.
//!
//! ```text
//! <dir>/lock            held while an agent runs
//! <dir>/pid.json        the agent's process, for whoever must end it
//! <dir>/store.json      the store obeyed and its highest sequence
//! <dir>/goals/N.json    member N's goal and fences
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use evenkeel_core::agent::{Output, Stored};
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::MemberId;
use evenkeel_core::row;
use evenkeel_drivers::files::{sync_parent, write_synced};
use evenkeel_drivers::process::Identity;
use tracing::warn;

use crate::Error;

/// An agent's directory, locked.
pub struct Disk {
    dir: PathBuf,
    goals: Vec<Stored>,
    store: Option<(StoreId, u64)>,
    /// What could not be saved when it should have been.
    owed: BTreeMap<MemberId, Stored>,
    /// Its lock is what it is kept for.
    _lock: File,
}

impl Disk {
    /// Locks the directory and reads what is in it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Dir { dir: dir.to_owned(), source };
        let goals_dir = dir.join("goals");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&goals_dir).map_err(failed)?;
        let lock = lock(dir)
            .map_err(failed)?
            .map_err(|holder| Error::InUse { dir: dir.to_owned(), holder })?;
        let me = Identity::of(std::process::id());
        let text = serde_json::to_vec(&me).map_err(io::Error::from).map_err(failed)?;
        write_synced(&dir.join("pid.json"), &text).map_err(failed)?;
        let goals = read_goals(&goals_dir).map_err(failed)?;
        let store = fs::read(dir.join("store.json")).ok();
        let store = store.and_then(|bytes| row::decode(&bytes).ok());
        Ok(Self { dir: dir.to_owned(), goals, store, owed: BTreeMap::new(), _lock: lock })
    }

    /// The goals found.
    pub fn goals(&self) -> Vec<Stored> {
        self.goals.clone()
    }

    /// The store obeyed so far.
    pub fn store(&self) -> Option<(StoreId, u64)> {
        self.store.clone()
    }

    /// Saves what a turn wants saved, what is owed from earlier turns first.
    pub fn save(&mut self, out: &Output) -> io::Result<()> {
        while let Some((member, stored)) = self.owed.first_key_value() {
            write_synced(&self.goal(*member), &row::encode(stored))?;
            self.owed.pop_first();
        }
        if let Some(store) = &out.save_store {
            write_synced(&self.dir.join("store.json"), &row::encode(store))?;
        }
        for (member, stored) in &out.save {
            write_synced(&self.goal(*member), &row::encode(stored))?;
        }
        for member in &out.forget {
            let goal = self.goal(*member);
            match fs::remove_file(&goal) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => sync_parent(&goal)?,
            }
        }
        Ok(())
    }

    /// Keeps what could not be saved, for the next turn.
    pub fn retry(&mut self, save: Vec<(MemberId, Stored)>) {
        self.owed.extend(save);
    }

    fn goal(&self, member: MemberId) -> PathBuf {
        self.dir.join("goals").join(format!("{}.json", member.0))
    }
}

/// Locks a directory; who has it, if somebody else does.
fn lock(dir: &Path) -> io::Result<Result<File, String>> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let mut file = options.open(dir.join("lock"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0)?;
            file.write_all(std::process::id().to_string().as_bytes())?;
            Ok(Ok(file))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            Ok(Err(holder))
        }
        Err(error) => Err(error.into()),
    }
}

/// Every goal on disk. One that cannot be read is set aside: its member is left as it is, and the
/// controller sends the goal again.
fn read_goals(dir: &Path) -> io::Result<Vec<Stored>> {
    let mut goals = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match row::decode::<Stored>(&fs::read(&path)?) {
            Ok(stored) => goals.push(stored),
            Err(error) => {
                let aside = path.with_extension("json.bad");
                warn!(
                    "{} cannot be read ({error}); it is kept as {}",
                    path.display(),
                    aside.display()
                );
                fs::rename(&path, &aside)?;
            }
        }
    }
    goals.sort_by_key(|stored| stored.applied.goal.member);
    Ok(goals)
}
