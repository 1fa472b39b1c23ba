//! A cell from what was stored, or from a flight recorder's snapshot.

use super::state::{self, State};
use super::{Cell, Setup, goals, incidents, rows};
use crate::act::Act;
use crate::row::{self, Key, Table, decode};

/// Rows or snapshots that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One row is damaged or newer.
    #[error("row {table} {id} cannot be used", table = .key.table.as_str(), id = .key.id)]
    Row {
        /// Which row.
        key: Key,
        /// Why.
        #[source]
        source: row::Error,
    },
    /// A service is of a kind or plan that this release does not know.
    #[error("service {name} is of kind {kind}, plan {plan}, which this release does not know")]
    Unknown {
        /// The service.
        name: String,
        /// Its kind.
        kind: String,
        /// Its plan.
        plan: String,
    },
    /// A service names no members, or a host that has no row.
    #[error("service {name} is incomplete: {what}; restore the store from its copy")]
    Incomplete {
        /// The service.
        name: String,
        /// What is missing.
        what: String,
    },
    /// A snapshot that cannot be read.
    #[error("snapshot cannot be read")]
    Snapshot(#[source] serde_json::Error),
}

impl Cell {
    /// A new cell without anything.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let state = State::of_cell(setup.cell);
        Self { setup, state, fresh: true }
    }

    /// A cell as its rows say it was. No rows: a new cell.
    ///
    /// # Errors
    /// [`Error`] names the first row that cannot be used; nothing is guessed.
    pub fn load(setup: Setup, stored: &[(Key, Vec<u8>)]) -> Result<Self, Error> {
        let mut cell = Self::new(setup);
        let bad = |key: Key| move |source| Error::Row { key, source };
        let of = |table: Table| stored.iter().filter(move |(key, _)| key.table == table);
        for (key, body) in of(Table::Cell) {
            cell.state.row = decode(body).map_err(bad(*key))?;
        }
        for (key, body) in of(Table::Host) {
            let row: rows::Host = decode(body).map_err(bad(*key))?;
            cell.state.add_host(row);
        }
        for (key, body) in of(Table::Toil) {
            cell.state.toil = decode(body).map_err(bad(*key))?;
        }
        cell.state.services.expect(of(Table::Service).count());
        for (key, body) in of(Table::Service) {
            let row: rows::Service = decode(body).map_err(bad(*key))?;
            cell.take_row(row)?;
        }
        for (key, body) in of(Table::Act) {
            let act: Act = decode(body).map_err(bad(*key))?;
            if act.lives() {
                cell.state.open_acts.insert(act.service_id, act.id);
            }
            cell.state.acts.insert(act.id, act);
        }
        for (key, body) in of(Table::Incident) {
            if key.id == 0 {
                cell.state.incidents.alerts = decode(body).map_err(bad(*key))?;
            } else {
                let row: incidents::rows::Incident = decode(body).map_err(bad(*key))?;
                cell.state.incidents.rows.insert(row.id, row);
            }
        }
        cell.enlist_members();
        cell.state.now = cell.state.row.clock;
        Ok(cell)
    }

    fn take_row(&mut self, row: rows::Service) -> Result<(), Error> {
        let name = || row.name.as_str().to_owned();
        let kind = goals::kind(&self.setup, row.offer.kind.as_str());
        if kind.and_then(|kind| kind.plan(row.offer.plan.as_str())).is_none() {
            let (kind, plan) = (row.offer.kind.to_string(), row.offer.plan.to_string());
            return Err(Error::Unknown { name: name(), kind, plan });
        }
        if row.members.is_empty() {
            return Err(Error::Incomplete { name: name(), what: "it has no members".to_owned() });
        }
        let missing = row.members.iter().find(|m| !self.state.hosts.contains(&m.host));
        if let Some(member) = missing {
            let what = format!("there is no row for {}", member.host);
            return Err(Error::Incomplete { name: name(), what });
        }
        let steps = row.operation.as_ref().map(|o| (usize::from(o.step), o.spec().steps.len()));
        if steps.is_some_and(|(at, steps)| at >= steps) {
            let what = "its operation is past its last step".to_owned();
            return Err(Error::Incomplete { name: name(), what });
        }
        if let Some(operation) = row.operation.as_ref().filter(|o| o.claimed) {
            let (lane, remedy) = (operation.lane(), operation.cause.remedy());
            let mut claims = std::mem::take(&mut self.state.claims);
            let place = self.claimed_at(operation);
            claims.take(lane, &place, remedy);
            self.state.claims = claims;
        }
        self.state.insert(state::Service::of(row));
        Ok(())
    }

    /// Every row as it would be recorded now: what a store has is this, or something was not recorded.
    #[must_use]
    pub fn rows(&self) -> Vec<(Key, Vec<u8>)> {
        let State { row, hosts, services, toil, acts, incidents, .. } = &self.state;
        let key = |table, id: u64| Key { table, id };
        let mut rows = vec![
            (key(Table::Cell, 0), row::encode(row)),
            (key(Table::Toil, 0), row::encode(toil)),
            (key(Table::Incident, 0), row::encode(&incidents.alerts)),
        ];
        let of =
            |host: &state::Host| (key(Table::Host, host.row.id.0.into()), row::encode(&host.row));
        rows.extend(hosts.values().map(of));
        let of = |s: &state::Service| (key(Table::Service, s.row.id.0.into()), row::encode(&s.row));
        rows.extend(services.values().map(of));
        rows.extend(acts.iter().map(|(id, act)| (key(Table::Act, (*id).into()), row::encode(act))));
        let of = |row: &incidents::rows::Incident| {
            (key(Table::Incident, row.id.0.into()), row::encode(row))
        };
        rows.extend(incidents.rows.values().map(of));
        rows
    }

    /// Everything this cell knows, soft state too.
    ///
    /// # Panics
    /// When the state cannot be written as JSON, which none of its types allows.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        serde_json::to_vec(&(self.fresh, &self.state)).expect("a cell's state is all JSON")
    }

    /// A cell exactly as it was when its snapshot was taken.
    ///
    /// # Errors
    /// [`Error::Snapshot`].
    pub fn restore(setup: Setup, snapshot: &[u8]) -> Result<Self, Error> {
        let (fresh, state) = serde_json::from_slice(snapshot).map_err(Error::Snapshot)?;
        Ok(Self { setup, state, fresh })
    }
}
