//! The store as the cells' thread uses it: commits that are counted and timed, and cells read back
//! from what was committed.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_core::cell::many::FIRST;
use evenkeel_core::cell::{Cell, Setup, load};
use evenkeel_core::id::CellId;
use evenkeel_core::row::{Key, Writes};
use evenkeel_store::{Reads, Store};

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
/// The store is gone through once, and the cells of a store with a file by two threads.
///
/// # Errors
/// [`Error`] says what cannot be read, or names the first row that cannot be used.
pub fn load(store: &dyn Store, setup: &Setup) -> Result<(Vec<Cell>, bool), Error> {
    let ids = store.cells().map_err(Error::Read)?;
    let mut cells = match (store.reads(), ids.get(ids.len() / 2)) {
        (Some(reads), Some(&middle)) if ids.len() > 1 => load_halves(&*reads, middle, setup)?,
        _ => {
            let mut loading = Loading::new(setup);
            store
                .load_each(&mut |cell, key, body| loading.take(cell, key, body))
                .map_err(Error::Read)?;
            loading.end()?
        }
    };
    if cells.first().map(Cell::id) != Some(FIRST) {
        cells.insert(0, Cell::new(Setup { cell: FIRST, ..setup.clone() }));
    }
    Ok((cells, !ids.is_empty()))
}

/// Cells before and from a middle one, at once.
fn load_halves(reads: &dyn Reads, middle: CellId, setup: &Setup) -> Result<Vec<Cell>, Error> {
    let load = |cells| {
        let mut loading = Loading::new(setup);
        reads
            .read(cells, &mut |cell, key, body| loading.take(cell, key, body))
            .map_err(Error::Read)?;
        loading.end()
    };
    let before = CellId(0)..=CellId(middle.0.saturating_sub(1));
    std::thread::scope(|scope| {
        let later = scope.spawn(|| load(middle..=CellId(u32::MAX)));
        let mut cells = load(before)?;
        let later = later.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        cells.extend(later?);
        Ok(cells)
    })
}

/// Makes cells of rows that come in order of cells.
struct Loading<'a> {
    setup: &'a Setup,
    cells: Result<Vec<Cell>, load::Error>,
    cell: Option<CellId>,
    rows: Vec<(Key, Vec<u8>)>,
}

impl<'a> Loading<'a> {
    fn new(setup: &'a Setup) -> Self {
        Self { setup, cells: Ok(Vec::new()), cell: None, rows: Vec::new() }
    }

    fn take(&mut self, cell: CellId, key: Key, body: &[u8]) {
        if self.cell != Some(cell) {
            self.finish();
            self.cell = Some(cell);
        }
        self.rows.push((key, body.to_vec()));
    }

    /// Makes the cell whose rows were taken.
    fn finish(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        if let Ok(cells) = &mut self.cells {
            match Cell::load(Setup { cell, ..self.setup.clone() }, &self.rows) {
                Ok(cell) => cells.push(cell),
                Err(error) => self.cells = Err(error),
            }
        }
        self.rows.clear();
    }

    fn end(mut self) -> Result<Vec<Cell>, Error> {
        self.finish();
        self.cells.map_err(Error::Load)
    }
}

/// Position of the journal's newest entry; 0 where there is none.
pub(crate) fn head(store: &dyn Store) -> Result<u64, Error> {
    let newest = store.journal(None, None, 1).map_err(Error::Read)?;
    Ok(newest.last().map_or(0, |recorded| recorded.position))
}

#[cfg(test)]
mod tests {
    use evenkeel_core::cell::{Entry, Link};
    use evenkeel_core::goal::StoreId;
    use evenkeel_core::report::FromAgent;
    use evenkeel_core::row::{Table, Write};
    use evenkeel_core::time::Time;
    use evenkeel_store::{memory::Memory, sqlite};

    use super::*;

    fn setup() -> Setup {
        let (kinds, store) = (evenkeel_kinds::KINDS, StoreId("s".to_owned()));
        Setup {
            cell: FIRST,
            store,
            policy: Default::default(),
            kinds,
            remedies: Default::default(),
        }
    }

    fn hello() -> Entry {
        let text = r#"{"host":"h","zone":"a","address":"127.0.0.1","pid":1,"boot":"b","release":"r","checks":[]}"#;
        let hello = serde_json::from_str(text).expect("a hello");
        Entry::Agent { link: Link(1), message: FromAgent::Hello(hello) }
    }

    fn fill(store: &mut dyn Store, cells: &[u32]) {
        for &cell in cells {
            let mut fresh = Cell::new(Setup { cell: CellId(cell), ..setup() });
            let turn = fresh.turn(Time(u64::from(cell)), &[hello()]);
            assert!(turn.writes.rows.iter().any(|write| write.key.table == Table::Cell));
            store.commit(CellId(cell), &turn.writes).unwrap();
        }
    }

    fn loaded(store: &dyn Store) -> (Vec<(u32, u64)>, bool) {
        let (cells, existed) = load(store, &setup()).unwrap();
        (cells.iter().map(|cell| (cell.id().0, cell.clock().0)).collect(), existed)
    }

    #[test]
    fn cells_are_the_same_by_two_threads_and_by_one() {
        let top = tempfile::tempdir().unwrap();
        let all = [&[][..], &[1], &[3], &[1, 2], &[1, 3, 4, 7, 9], &[2, 5]];
        for (n, cells) in all.into_iter().enumerate() {
            let mut expected: Vec<(u32, u64)> =
                cells.iter().map(|id| (*id, (*id).into())).collect();
            if cells.first() != Some(&FIRST.0) {
                expected.insert(0, (FIRST.0, 0));
            }
            let mut memory = Memory::new();
            let mut file = sqlite::open(&top.path().join(format!("{n}.db"))).unwrap();
            fill(&mut memory, cells);
            fill(&mut file, cells);
            assert_eq!(loaded(&memory), (expected.clone(), !cells.is_empty()), "{cells:?}");
            assert_eq!(loaded(&file), (expected, !cells.is_empty()), "{cells:?}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_used_is_named_whichever_thread_finds_it() {
        let top = tempfile::tempdir().unwrap();
        for bad in [1, 9] {
            let mut store = sqlite::open(&top.path().join(format!("{bad}.db"))).unwrap();
            fill(&mut store, &[1, 4, 9]);
            let key = Key { table: Table::Host, id: 77 };
            let row = Write { key, body: Some(b"\x01none".to_vec()) };
            store.commit(CellId(bad), &Writes { rows: vec![row], journal: Vec::new() }).unwrap();
            let error = load(&store, &setup()).err().map(|error| crate::chain(&error));
            assert!(error.as_deref().is_some_and(|e| e.contains("row host 77")), "{error:?}");
        }
    }
}
