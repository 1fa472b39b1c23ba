//! A store in memory that outlives its controller, and whose commits can be held and refused.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use evenkeel_core::digest::Digest;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::row::{Key, Table, Writes};
use evenkeel_store::{Error, Position, Recorded, Store, Verified, memory};

/// What happens to commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commits {
    #[default]
    Taken,
    /// They wait.
    Held,
    /// They fail as on a full disk.
    Refused,
    /// The thread that commits panics: stands for a bug in a turn.
    Broken,
}

struct State {
    store: memory::Memory,
    commits: Commits,
    waiting: bool,
    taken: usize,
}

#[derive(Clone)]
pub struct Memory {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Memory {
    pub fn new() -> Self {
        let (store, commits) = (memory::Memory::new(), Commits::Taken);
        let state = State { store, commits, waiting: false, taken: 0 };
        Self { shared: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().expect("no test panics with the lock")
    }

    pub fn set(&self, commits: Commits) {
        self.state().commits = commits;
        self.shared.1.notify_all();
    }

    /// Waits until a commit is held.
    pub fn wait_for_held(&self) {
        let not_yet = |state: &mut State| !state.waiting;
        drop(self.shared.1.wait_while(self.state(), not_yet).expect("no test panics with it"));
    }

    /// Bodies of a cell's rows, as text.
    pub fn rows_of(&self, cell: CellId, table: Table) -> Vec<String> {
        let rows = self.state().store.load_cell(cell).expect("memory is read");
        let rows = rows.into_iter().filter(|(key, _)| key.table == table);
        rows.map(|(_, body)| String::from_utf8_lossy(&body).into_owned()).collect()
    }

    /// Commits that were taken.
    pub fn commits(&self) -> usize {
        self.state().taken
    }

    pub fn rows(&self, table: Table) -> usize {
        let rows = self.state().store.load_cell(CellId(1)).expect("memory is read");
        rows.iter().filter(|(key, _)| key.table == table).count()
    }
}

impl Store for Memory {
    fn id(&self) -> StoreId {
        self.state().store.id()
    }

    fn cells(&self) -> Result<Vec<CellId>, Error> {
        self.state().store.cells()
    }

    fn load_each(&self, take: &mut dyn FnMut(CellId, Key, &[u8])) -> Result<(), Error> {
        self.state().store.load_each(take)
    }

    fn load_cell(&self, cell: CellId) -> Result<Vec<(Key, Vec<u8>)>, Error> {
        self.state().store.load_cell(cell)
    }

    fn commit_batch(&mut self, batch: &[(CellId, &Writes)]) -> Result<Position, Error> {
        let mut state = self.state();
        if state.commits == Commits::Held {
            state.waiting = true;
            self.shared.1.notify_all();
            let held = |state: &mut State| state.commits == Commits::Held;
            state = self.shared.1.wait_while(state, held).expect("no test panics with it");
            state.waiting = false;
        }
        if state.commits == Commits::Refused {
            return Err(Error::DiskFull { file: PathBuf::from("memory") });
        }
        if state.commits == Commits::Broken {
            drop(state);
            panic!("as the test wants it");
        }
        state.taken += 1;
        state.store.commit_batch(batch)
    }

    fn journal(
        &self,
        subject: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        self.state().store.journal(subject, after, limit)
    }

    fn dropped(&self) -> (Position, Digest) {
        self.state().store.dropped()
    }

    fn verify(&self) -> Result<Verified, Error> {
        self.state().store.verify()
    }

    fn dump(&self, to: &mut dyn Write) -> Result<(), Error> {
        self.state().store.dump(to)
    }
}
