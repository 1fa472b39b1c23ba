//! The store's own backups: sealed snapshots in every repository, taken while it changes.
//!
//! The story: a change is in every repository that can be reached within about ten seconds, and a store that
//! changes all the time is copied as often, or seldomer where a copy takes long. Copies are taken beside the
//! cell's thread, which waits for none of them. A repository that takes nothing is tried again, and told of
//! by `doctor`; nothing else depends on it. The last change of an orderly end is saved too.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_core::backup::lineage::Repository;
use evenkeel_core::backup::snapshot::{self, Manifest};
use evenkeel_core::cell::many::FIRST;
use evenkeel_core::cell::recovery::look;
use evenkeel_core::goal::{Password, StoreId};
use evenkeel_core::moment::Moment;
use evenkeel_core::row::Table;
use evenkeel_store::{Copies, Store, sqlite};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Options;
use crate::cell_thread::Handle;
use crate::clock::Wall;
use crate::credential::FleetKey;

/// A change waits so long for more of them.
const GATHER: Duration = Duration::from_secs(1);
/// A copy is taken no oftener than this part of the time allows.
const SHARE: u32 = 20;
/// First wait after a repository took nothing, doubled up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// Longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// An orderly end waits so long for its last snapshot.
const END_MAX: Duration = Duration::from_secs(10);

/// Where sealed snapshots are kept.
pub trait Vault: Debug + Send + Sync {
    /// Makes a place a repository; one that is stays as it is. Blocks. Done by the fleet's own user, who
    /// writes to it: what another one made, root above all, could not be written to.
    ///
    /// # Errors
    /// Why not, for people, with what would help.
    fn found(&self, place: &Repository) -> Result<(), String>;

    /// Keeps a copy of the store, sealed with a key, in a repository, and lets go of what is not needed any
    /// more. Blocks.
    ///
    /// # Errors
    /// Why not, for people.
    fn keep(
        &self,
        place: &Repository,
        manifest: &Manifest,
        copy: &Path,
        key: &Password,
    ) -> Result<(), String>;

    /// The name of a store's newest snapshot in a repository. Blocks.
    ///
    /// # Errors
    /// Why that cannot be told, for people.
    fn newest(&self, place: &Repository, store: &StoreId) -> Result<Option<String>, String>;
}

/// How a repository stands to the store's snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// When the newest in it was taken.
    pub saved: Option<Moment>,
    /// Since when it takes none, and why.
    pub failing: Option<(Moment, String)>,
}

/// How every repository stands, by name.
#[derive(Debug, Default)]
pub(crate) struct Standings(Mutex<BTreeMap<String, Standing>>);

impl Standings {
    pub fn of(&self, repository: &str) -> Standing {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(repository).cloned().unwrap_or_default()
    }

    fn change(&self, repository: &str, change: impl FnOnce(&mut Standing)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(repository.to_owned()).or_default());
    }
}

/// What snapshots are taken with.
pub(crate) struct Keeper {
    pub vault: Arc<dyn Vault>,
    pub copies: Box<dyn Copies>,
    /// The controller's directory; the copy lies in it until it is sealed.
    pub dir: PathBuf,
    pub store: StoreId,
    /// What they are sealed with, and the fleet's key's check digits.
    pub key: (Password, String),
    pub cell: Handle,
    pub standings: Arc<Standings>,
    pub wall: Wall,
    /// They are taken no oftener than this.
    pub every: Duration,
}

/// What one round came to.
struct Round {
    keeper: Keeper,
    whole: bool,
    took: Duration,
}

impl Keeper {
    /// What takes snapshots, where there is a vault and a store that can be copied.
    pub fn of(
        options: &Options,
        copies: Option<Box<dyn Copies>>,
        store: StoreId,
        key: &FleetKey,
        cell: &Handle,
        standings: &Arc<Standings>,
    ) -> Option<Self> {
        Some(Self {
            vault: options.vault.clone()?,
            copies: copies?,
            dir: options.dir.clone(),
            store,
            key: (key.store_key(), key.digits()),
            cell: cell.clone(),
            standings: Arc::clone(standings),
            wall: options.wall,
            every: options.save_every,
        })
    }

    /// Takes snapshots until the controller stops, and then the last one.
    pub async fn run(self, mut changed: watch::Receiver<u64>, mut ending: watch::Receiver<bool>) {
        let mut places = self.places().await.unwrap_or_default();
        let mut keeper = self.remember(places.clone()).await;
        let (mut owed, mut retry) = (true, RETRY_FIRST);
        let mut due = Instant::now() + GATHER;
        loop {
            let wait = tokio::time::sleep_until(due.into());
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => break,
                () = wait, if owed => {}
                told = changed.changed(), if !owed => {
                    if told.is_err() {
                        break;
                    }
                    owed = true;
                    due = due.max(Instant::now() + GATHER);
                    continue;
                }
            }
            changed.mark_unchanged();
            places = keeper.places().await.unwrap_or(places);
            let Some(round) = keeper.round(places.clone()).await else { return };
            keeper = round.keeper;
            owed = !round.whole;
            let pause = if owed { retry } else { Duration::ZERO };
            retry = if owed { (retry * 2).min(RETRY_MAX) } else { RETRY_FIRST };
            due = Instant::now() + keeper.every.max(round.took * SHARE).max(pause);
        }
        if owed || changed.has_changed().unwrap_or(true) {
            // Whoever ends does not wait for a repository that is away.
            let _ = timeout(END_MAX, keeper.round(places)).await;
        }
    }

    async fn places(&self) -> Option<Vec<Repository>> {
        self.cell.ask(|seen| seen.cell.repositories().to_vec()).await.ok()
    }

    /// What an earlier controller saved.
    async fn remember(self, places: Vec<Repository>) -> Self {
        let (vault, store) = (Arc::clone(&self.vault), self.store.clone());
        let standings = Arc::clone(&self.standings);
        let looked = tokio::task::spawn_blocking(move || {
            for place in places {
                if let Ok(Some(name)) = vault.newest(&place, &store) {
                    standings.change(&place.name, |known| known.saved = snapshot::moment(&name));
                }
            }
        });
        // What could not be looked up is told once it was saved.
        let _ = looked.await;
        self
    }

    /// Takes one snapshot and puts it into every repository; `None` only if the runtime ends.
    async fn round(self, places: Vec<Repository>) -> Option<Round> {
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let whole = self.save(&places);
            Round { keeper: self, whole, took: began.elapsed() }
        })
        .await
        .ok()
    }

    /// Whether every repository has it.
    fn save(&self, known: &[Repository]) -> bool {
        let copy = self.dir.join("snapshot.db");
        let made = self.copy(&copy);
        // The copy itself knows of one that was added last, also when the cell has ended.
        let (made, places) = match made {
            Ok((manifest, places)) => (Ok(manifest), places),
            Err(why) => (Err(why), known.to_vec()),
        };
        let mut whole = true;
        for place in &places {
            let kept = made.as_ref().map_err(Clone::clone).and_then(|manifest| {
                self.vault.keep(place, manifest, &copy, &self.key.0).map(|()| manifest.at)
            });
            whole &= kept.is_ok();
            self.note(&place.name, kept);
        }
        for left in ["snapshot.db", "snapshot.db.lock", "snapshot.db-wal", "snapshot.db-shm"] {
            // A copy that is left is written over by the next.
            let _ = std::fs::remove_file(self.dir.join(left));
        }
        whole
    }

    fn now(&self) -> Moment {
        Moment::of_millis(u64::try_from((self.wall)()).unwrap_or(0))
    }

    fn copy(&self, to: &Path) -> Result<(Manifest, Vec<Repository>), String> {
        let words = |error: evenkeel_store::Error| crate::chain(&error);
        let at = self.now();
        self.copies.copy(to).map_err(words)?;
        let bytes = std::fs::metadata(to).map_or(0, |found| found.len());
        let copied = sqlite::open_existing(to).map_err(words)?;
        let (mut first, mut services, mut hosts) = (Vec::new(), 0, 0);
        let read = copied.load_each(&mut |cell, key, body| {
            services += usize::from(key.table == Table::Service);
            hosts += usize::from(key.table == Table::Host);
            if cell == FIRST {
                first.push((key, body.to_vec()));
            }
        });
        read.map_err(words)?;
        let found = look(&first).map_err(|error| crate::chain(&error))?;
        let manifest = Manifest {
            version: snapshot::VERSION,
            store: self.store.clone(),
            succeeds: found.succeeds,
            sequence: found.sequence,
            at,
            services,
            hosts,
            bytes,
            key: self.key.1.clone(),
        };
        Ok((manifest, found.repositories))
    }

    fn note(&self, place: &str, kept: Result<Moment, String>) {
        let now = self.now();
        let before = self.standings.of(place).failing;
        match (&kept, &before) {
            (Err(why), None) => {
                tracing::warn!(repository = place, why, "the store is not backed up there");
            }
            (Ok(_), Some(_)) => tracing::info!(repository = place, "the store is backed up again"),
            _ => {}
        }
        self.standings.change(place, |known| match kept {
            Ok(at) => (known.saved, known.failing) = (Some(at), None),
            Err(why) => {
                let since = before.map_or(now, |(since, _)| since);
                known.failing = Some((since, why));
            }
        });
    }
}
