//! The cells of one thread: which there are, when each looks again, which hosts and services are in which.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::cell::Cell;
use evenkeel_core::cell::many::{CELLS_MAX, FIRST};
use evenkeel_core::id::CellId;
use evenkeel_core::report::Hello;
use evenkeel_core::time::Time;

use super::Whom;

/// Services that a cell is given: past that others are preferred while there are any. Ports bound it, too: two
/// of each service's are unique in its cell, and there are some 40,000.
const SERVICES_MAX: usize = 10_000;

/// A cell, and when it looks again though nothing comes in.
pub(super) struct Hosted {
    pub cell: Cell,
    pub wake_at: Option<Time>,
    /// Whether it was told the alert chain: one that is read back is told again.
    pub knows_chain: bool,
    /// Hosts it has, and those that were just sent to it.
    hosts: usize,
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Cells {
    all: BTreeMap<CellId, Hosted>,
    wakes: BTreeSet<(Time, CellId)>,
    hosts: BTreeMap<String, CellId>,
}

/// Where a host that says hello goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is in this cell already.
    Known(CellId),
    /// It is new, and goes to a cell that there is.
    Joins(CellId),
    /// It is new, and so is its cell.
    Opens(CellId),
}

impl Cells {
    /// Cells as they were read from a store.
    pub fn of(cells: impl IntoIterator<Item = Cell>) -> Self {
        let mut all = Self::default();
        cells.into_iter().for_each(|cell| all.insert(cell));
        all
    }

    /// Takes a cell in.
    pub fn insert(&mut self, cell: Cell) {
        let id = cell.id();
        self.all.insert(id, Hosted { cell, wake_at: None, knows_chain: false, hosts: 0 });
        self.learn_hosts(&BTreeSet::from([id]));
    }

    /// Their ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = CellId> {
        self.all.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn get(&self, id: CellId) -> Option<&Cell> {
        self.all.get(&id).map(|hosted| &hosted.cell)
    }

    pub fn get_mut(&mut self, id: CellId) -> Option<&mut Hosted> {
        self.all.get_mut(&id)
    }

    /// The newest time that any of them knows.
    pub fn clock(&self) -> Time {
        self.all.values().map(|hosted| hosted.cell.clock()).max().unwrap_or_default()
    }

    /// When the next of them looks again.
    pub fn next_wake(&self) -> Option<Time> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Those that look again by now.
    pub fn due(&self, now: Time) -> impl Iterator<Item = CellId> {
        self.wakes.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Sets when a cell looks again.
    pub fn wake(&mut self, id: CellId, at: Option<Time>) {
        let Some(hosted) = self.all.get_mut(&id) else { return };
        let before = std::mem::replace(&mut hosted.wake_at, at);
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.wakes.remove(&(before, id));
        }
        if let Some(at) = at {
            self.wakes.insert((at, id));
        }
    }

    /// Has every cell look again at a time.
    pub fn wake_all(&mut self, at: Time) {
        let ids: Vec<CellId> = self.ids().collect();
        ids.into_iter().for_each(|id| self.wake(id, Some(at)));
    }

    /// The cell something is for.
    pub fn find(&self, whom: &Whom) -> CellId {
        let found = match whom {
            Whom::First => None,
            Whom::Cell(id) => Some(*id).filter(|id| self.all.contains_key(id)),
            Whom::Service(name) => self.of_service(name),
            Whom::Host(name) => self.of_host(name),
        };
        found.or_else(|| self.ids().next()).unwrap_or(FIRST)
    }

    /// The cell that has a service.
    pub fn of_service(&self, name: &str) -> Option<CellId> {
        if self.all.len() == 1 {
            return self.ids().next();
        }
        self.all.iter().find(|(_, hosted)| hosted.cell.has_service(name)).map(|(id, _)| *id)
    }

    /// The cell that has a host.
    pub fn of_host(&self, name: &str) -> Option<CellId> {
        self.hosts.get(name).copied()
    }

    /// The cell with most room for a new service.
    pub fn roomiest(&self) -> CellId {
        if self.all.len() == 1 {
            return self.find(&Whom::First);
        }
        let room = |id: &CellId| {
            let cell = &self.all[id].cell;
            let (room, services) = (cell.room(), cell.services_count());
            (services < SERVICES_MAX && room.ports > 0, room, std::cmp::Reverse(*id))
        };
        self.ids().max_by_key(room).unwrap_or(FIRST)
    }

    /// Where a host goes, while a cell is to have no more than `hosts_max`: a known one to its cell, a new one
    /// to the newest, or to one more.
    pub fn place(&self, hello: &Hello, hosts_max: usize) -> Place {
        if let Some(id) = self.of_host(&hello.host) {
            return Place::Known(id);
        }
        let first = self.find(&Whom::First);
        // While a control plane is being recovered all of its hosts come to where that is done.
        if self.get(first).is_some_and(Cell::recovers) {
            return Place::Joins(first);
        }
        let Some((&newest, hosted)) = self.all.last_key_value() else { return Place::Joins(first) };
        // One that was forgotten has seen more of its cell's records than a younger cell has made.
        if let Some((store, sequence)) = &hello.store
            && !hosted.cell.has_told(store, *sequence)
        {
            let told = |(_, hosted): &(&CellId, &Hosted)| hosted.cell.has_told(store, *sequence);
            return Place::Joins(self.all.iter().rev().find(told).map_or(first, |(id, _)| *id));
        }
        if hosted.hosts < hosts_max.max(1) || newest.0 >= CELLS_MAX {
            return Place::Joins(newest);
        }
        Place::Opens(newest.next())
    }

    /// A host goes to a cell, which has not taken it in yet.
    pub fn expect(&mut self, host: &str, id: CellId) {
        if let Some(hosted) = self.all.get_mut(&id) {
            hosted.hosts += 1;
            self.hosts.insert(host.to_owned(), id);
        }
    }

    /// Takes cells' own word for which hosts they have.
    pub fn learn_hosts(&mut self, cells: &BTreeSet<CellId>) {
        self.hosts.retain(|_, id| !cells.contains(id));
        for id in cells {
            let Some(hosted) = self.all.get_mut(id) else { continue };
            let before = self.hosts.len();
            self.hosts.extend(hosted.cell.host_names().map(|name| (name.to_owned(), *id)));
            hosted.hosts = self.hosts.len() - before;
        }
    }
}
