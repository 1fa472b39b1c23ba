//! The store as the cells' thread uses it: commits that are counted and timed, and cells read back
//! from what was committed.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_core::cell::many::FIRST;
use evenkeel_core::cell::{Cell, Setup, load};
use evenkeel_core::id::CellId;
use evenkeel_core::row::Writes;
use evenkeel_store::Store;

use crate::failpoint::AbortAfter;
use crate::stats::Stats;

/// A cell that cannot be had from its store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Read(#[source] evenkeel_store::Error),
    /// What it holds cannot be used.
    #[error("what the store holds cannot be used")]
    Load(#[source] load::Error),
}

/// A store and what is counted about it.
pub(crate) struct Record {
    pub store: Box<dyn Store>,
    pub stats: Arc<Stats>,
    pub abort_after: Option<AbortAfter>,
    commits: u64,
}

impl Record {
    pub fn new(store: Box<dyn Store>, stats: Arc<Stats>, abort_after: Option<AbortAfter>) -> Self {
        Self { store, stats, abort_after, commits: 0 }
    }

    /// Commits what turns record, all or nothing; the position of the journal's newest entry.
    pub fn commit(&mut self, batch: &[(CellId, &Writes)]) -> Result<u64, evenkeel_store::Error> {
        self.commits += 1;
        if let Some(point) = self.abort_after {
            point.before(self.commits);
        }
        let began = Instant::now();
        let result = self.store.commit_batch(batch);
        self.stats.commits.observe(began.elapsed());
        if result.is_err() {
            self.stats.commits_failed.add(1);
        }
        if let Some(point) = self.abort_after {
            point.after(self.commits);
        }
        result
    }
}

/// Every cell as the store says it is, and whether there was any before. The first one is always there.
pub(crate) fn load(store: &dyn Store, setup: &Setup) -> Result<(Vec<Cell>, bool), Error> {
    let mut ids = store.cells().map_err(Error::Read)?;
    let existed = !ids.is_empty();
    if ids.first() != Some(&FIRST) {
        ids.insert(0, FIRST);
    }
    let cell = |id| {
        let rows = store.load_cell(id).map_err(Error::Read)?;
        Cell::load(Setup { cell: id, ..setup.clone() }, &rows).map_err(Error::Load)
    };
    Ok((ids.into_iter().map(cell).collect::<Result<_, _>>()?, existed))
}

/// Position of the journal's newest entry; 0 where there is none.
pub(crate) fn head(store: &dyn Store) -> Result<u64, Error> {
    let newest = store.journal(None, None, 1).map_err(Error::Read)?;
    Ok(newest.last().map_or(0, |recorded| recorded.position))
}
