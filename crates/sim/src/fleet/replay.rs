//! What was recorded is what is so: of cells that keep a store, rows are held against the cell's state, and the
//! journal, read from its beginning, against the rows.

use std::collections::BTreeMap;

use evenkeel_core::cell::Cell;
use evenkeel_core::journal::{Entry, Topic};
use evenkeel_core::row::{Key, Table, Write};
use evenkeel_store::Store;

use super::seat::Seat;
use crate::mutation::Mutation;
use crate::report::Invariant;

/// What the journal says of services: how each looked and what it did last.
#[derive(Clone, Debug, Default)]
pub(super) struct Replay {
    health: BTreeMap<String, String>,
    phase: BTreeMap<String, String>,
    /// A service whose rows are recorded no more, by a rule broken on purpose.
    pub forgotten: Option<Key>,
}

impl Replay {
    /// Something was recorded; what does not follow from what was recorded before.
    fn recorded(&mut self, entry: &Entry) -> Option<Result<(), String>> {
        let (known, text, first) = match entry.text.split_once(' ')? {
            ("health", rest) => (&mut self.health, rest, "uncertain"),
            ("phase", rest) => (&mut self.phase, rest.split_once(" (")?.0, "Installing"),
            _ => return None,
        };
        let (from, to) = text.split_once(" -> ")?;
        let was = known.insert(entry.subject.clone(), to.to_owned());
        let was = was.as_deref().unwrap_or(first);
        Some(match was == from {
            true => Ok(()),
            false => Err(format!("{}: {}, and it was {was}", entry.subject, entry.text)),
        })
    }

    /// Whether the journal comes to what a service is.
    fn comes_to(&self, name: &str, health: &str, phase: &str) -> Result<(), String> {
        let said = |known: &BTreeMap<String, String>, first: &str| {
            known.get(name).map_or(first.to_owned(), Clone::clone)
        };
        let (told, did) = (said(&self.health, "uncertain"), said(&self.phase, "Installing"));
        match told == health && did == phase {
            true => Ok(()),
            false => Err(format!(
                "{name} is {phase} and {health}; its journal comes to {did} and {told}"
            )),
        }
    }
}

impl Seat {
    /// What is recorded of a cell that keeps a store.
    pub fn keep(&mut self, rows: &mut Vec<Write>, journal: &[Entry]) {
        for entry in journal {
            let moved = matches!(entry.topic, Topic::Transition | Topic::Verdict);
            let said = if moved { self.replay.recorded(entry) } else { None };
            if let Some(said) = said {
                self.hold(Invariant::JournalReplays, said);
            }
        }
        if self.mutation == Some(Mutation::ForgetsRow) && !self.making {
            let of = |row: &&Write| row.key.table == Table::Service;
            let first = rows.iter().find(of).map(|row| row.key);
            self.replay.forgotten = self.replay.forgotten.or(first);
            rows.retain(|row| Some(row.key) != self.replay.forgotten);
        }
    }

    /// Holds everything that is recorded against what is so.
    pub fn hold_to_records(&mut self) {
        let (Some(store), Some(cell)) = (&self.store, &self.cell) else { return };
        let stored = store.load_cell(self.setup.cell).expect("memory does not fail");
        let stored: BTreeMap<Key, Vec<u8>> = stored.into_iter().collect();
        let mut wrong = differs(&stored, cell);
        let now = self.now;
        for service in cell.services(now) {
            let health = format!("{:?}", service.health).to_lowercase();
            let phase = format!("{:?}", service.phase);
            let said = self.replay.comes_to(&service.name, &health, &phase);
            wrong = wrong.or_else(|| said.err());
        }
        self.hold(Invariant::JournalReplays, wrong.map_or(Ok(()), Err));
    }
}

/// The first row that is not what is so.
fn differs(stored: &BTreeMap<Key, Vec<u8>>, cell: &Cell) -> Option<String> {
    let rows: BTreeMap<Key, Vec<u8>> = cell.rows().into_iter().collect();
    // What a cell has one of is there from its beginning, and recorded once it changes.
    let first = |key: &Key| key.id == 0 && !stored.contains_key(key);
    let of = |key: &Key, map: &BTreeMap<Key, Vec<u8>>| {
        map.get(key).map_or("nothing".to_owned(), |body| String::from_utf8_lossy(body).into_owned())
    };
    rows.keys()
        .chain(stored.keys())
        .find(|key| !first(key) && rows.get(key) != stored.get(key))
        .map(|key| {
            let (table, id) = (key.table.as_str(), key.id);
            let (so, recorded) = (of(key, &rows), of(key, stored));
            format!("row {table} {id} is {so}, and recorded is {recorded}")
        })
}
