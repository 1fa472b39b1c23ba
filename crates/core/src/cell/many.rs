//! Cells beside each other in one store: numbers that no two of them draw, what a new one takes over from
//! the first, and what whoever hosts them asks to find the right one.
//!
//! Invariants:
//! - ids of services, members, hosts, incidents, acts, approvals and planned work are unique over the cells of
//!   a store, and so are numbers of operations and deliveries: each cell draws from a range of its own;
//! - the first cell's numbers begin with 1, so that a fleet of one cell sees nothing of this;
//! - cells share nothing: what is the fleet's (repositories, levels, the brake) is in each of them.

use super::Cell;
use super::state::State;
use crate::alert::IncidentId;
use crate::automation::Scope;
use crate::goal::StoreId;
use crate::host;
use crate::id::{CellId, HostId, MemberId, OperationId, ServiceId};
use crate::order::Order;

/// So many ids of each sort are a cell's own: its services and members change once a day for some years. Round
/// in decimals, so that people see a number's cell.
pub const IDS_PER_CELL: u32 = 10_000_000;
/// Operations and deliveries of one cell.
const NUMBERS_PER_CELL: u64 = 1 << 40;
/// Cells of one store: as many as ids have ranges.
pub const CELLS_MAX: u32 = u32::MAX / IDS_PER_CELL;

/// A fleet's first cell: what concerns everybody and is to be done once is done there.
pub const FIRST: CellId = CellId(1);

/// Who orders what a new cell takes over.
const FLEET: &str = "fleet";

/// The cell that drew an id. Jobs and backups have no ranges: their services name them.
#[must_use]
pub const fn of_id(id: u32) -> CellId {
    CellId(id.saturating_sub(1) / IDS_PER_CELL + FIRST.0)
}

/// The cell that drew the number of an operation or of a delivery.
#[must_use]
pub fn of_number(number: u64) -> CellId {
    let before = number.saturating_sub(1) / NUMBERS_PER_CELL;
    CellId(u32::try_from(before).unwrap_or(u32::MAX).saturating_add(FIRST.0))
}

/// How much more a cell takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room {
    /// Members its open hosts could still take.
    pub members: u64,
    /// Ports that nobody has.
    pub ports: u32,
}

impl State {
    /// The state of a cell that has nothing yet: its numbers begin where the cell's before it end.
    pub(super) fn of_cell(cell: CellId) -> Self {
        let mut state = Self::default();
        let before = cell.0.saturating_sub(FIRST.0).min(CELLS_MAX);
        let ids = before.saturating_mul(IDS_PER_CELL);
        let numbers = u64::from(before) * NUMBERS_PER_CELL;
        let row = &mut state.row;
        (row.services, row.members, row.hosts) = (ServiceId(ids), MemberId(ids), HostId(ids));
        (row.acts, row.approvals, row.planned) = (ids, ids, ids);
        row.operations = OperationId(numbers);
        state.incidents.alerts.incidents = IncidentId(ids);
        state.incidents.alerts.deliveries = numbers;
        state
    }
}

impl Cell {
    /// Whether what concerns the whole fleet, and is to be done once, is done by this cell.
    pub(super) const fn leads(&self) -> bool {
        self.setup.cell.0 <= FIRST.0
    }

    /// Which cell of its store it is.
    #[must_use]
    pub const fn id(&self) -> CellId {
        self.setup.cell
    }

    /// Names of its hosts.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        self.state.hosts.values().map(|host| host.row.name.as_str())
    }

    /// Whether it has a service of this name.
    #[must_use]
    pub fn has_service(&self, name: &str) -> bool {
        self.state.search(name).is_ok()
    }

    /// Services it has, in whatever state.
    #[must_use]
    pub fn services_count(&self) -> usize {
        self.state.by_name.len()
    }

    /// Whether it has seen everything that this store ever told an agent, as far as the agent's word goes.
    #[must_use]
    pub fn has_told(&self, store: &StoreId, sequence: u64) -> bool {
        *store != self.setup.store || sequence <= self.state.row.sequence
    }

    /// How much more it takes.
    #[must_use]
    pub fn room(&self) -> Room {
        let max = usize::try_from(self.setup.policy.host_members_max).unwrap_or(usize::MAX);
        let open = |host: &&super::state::Host| host.state == host::State::Up && !host.row.draining;
        let hosts = self.state.hosts.values().filter(open);
        let members: usize = hosts.map(|host| max.saturating_sub(host.members.len())).sum();
        let (first, last) = (self.setup.policy.port_first, self.setup.policy.port_last);
        let ports = u32::from(last.saturating_sub(first)) + 1;
        Room {
            members: u64::try_from(members).unwrap_or(u64::MAX),
            ports: ports.saturating_sub(self.state.ports.count()),
        }
    }

    /// What a new cell is ordered, by whom, to be as this one in all that is the fleet's.
    #[must_use]
    pub fn fleet_orders(&self) -> Vec<(String, Order)> {
        let row = &self.state.row;
        let places = row.repositories.iter().cloned();
        let mut orders: Vec<(String, Order)> = places
            .map(|repository| (FLEET.to_owned(), Order::AddRepository { repository }))
            .collect();
        for rule in &row.rules {
            let kind = match rule.scope {
                Scope::Fleet => None,
                Scope::Kind(kind) => Some(kind.to_string()),
                Scope::Service(_) => continue,
            };
            let (remedy, level) = (rule.remedy.to_string(), Some(rule.level));
            orders.push((rule.by.to_string(), Order::Level { remedy, service: None, kind, level }));
        }
        if let Some(brake) = &row.brake {
            let reason = brake.reason.to_string();
            orders.push((brake.by.to_string(), Order::Brake { on: true, reason }));
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_the_cell_that_drew_them() {
        assert_eq!((of_id(0), of_id(1), of_id(IDS_PER_CELL)), (FIRST, FIRST, FIRST));
        assert_eq!((of_number(0), of_number(NUMBERS_PER_CELL)), (FIRST, FIRST));
        for cell in [1, 2, 3, 100, CELLS_MAX] {
            let row = State::of_cell(CellId(cell)).row;
            assert_eq!(of_id(row.services.next().0), CellId(cell));
            assert_eq!(of_id(row.acts + IDS_PER_CELL), CellId(cell), "its last one");
            assert_eq!(of_number(row.operations.next().0), CellId(cell));
        }
        assert_eq!(State::of_cell(FIRST).row, State::default().row, "one cell is as it always was");
    }
}
