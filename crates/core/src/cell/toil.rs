//! The cell's side of the toil ledger: what counts, and when.

use super::Cell;
use super::turn::Work;
use crate::drill::Kind;
use crate::journal::Entry;
use crate::operation::{Cause, Operation};
use crate::row::{Key, Table};
use crate::time::Time;
use crate::toil::{BY_HAND, Page, is_act};

/// Names of those who give orders begin so where they are no people.
const MACHINES: &[&str] = &["procedure ", "remedy ", "schedule", "maintenance "];
/// What the ledger names drills that were due by.
const SCHEDULE: &str = "schedule";

impl Cell {
    /// The toil ledger, for people.
    #[must_use]
    pub fn toil(&self, now: Time) -> Page {
        self.state.toil.page(now)
    }

    /// An operation ended: one of a remedy that did its work is one that nobody had to do.
    pub(super) fn count_saved(&mut self, operation: &Operation, well: bool, work: &mut Work) {
        let (Cause::Remedy { name }, true) = (&operation.cause, well) else { return };
        let (name, spec) = (&**name, operation.spec());
        let known = self.setup.remedies.named(name);
        let minutes = known.map_or(spec.manual_minutes, |remedy| remedy.manual_minutes);
        let minutes = self.minutes(&[name, spec.name], minutes);
        self.state.toil.save(spec.name, name, minutes, work.now);
        record(work);
    }

    /// The same of a drill that began by itself.
    pub(super) fn count_drill(&mut self, kind: Kind, work: &mut Work) {
        let name = format!("{kind} drill");
        let minutes = self.minutes(&[&name], kind.manual_minutes());
        self.state.toil.save(&name, SCHEDULE, minutes, work.now);
        record(work);
    }

    /// What the policy says of the first of these names that it knows.
    fn minutes(&self, names: &[&str], otherwise: u16) -> u16 {
        let policy = &self.setup.policy.manual_minutes;
        names.iter().find_map(|name| policy.get(*name)).copied().unwrap_or(otherwise)
    }

    /// A person's order was taken that a procedure or remedy could give. What a drill orders is none.
    pub(super) fn count_act(
        &mut self,
        by: &str,
        (subject, what): (&str, &str),
        accepted: bool,
        work: &mut Work,
    ) {
        let machine = MACHINES.iter().any(|machine| by.starts_with(machine));
        let upkeep = self.state.named(subject).and_then(|s| s.row.upkeep());
        let drilled = upkeep.is_some_and(|upkeep| upkeep.drills.runs(work.now).is_some());
        if accepted && is_act(what) && !machine && !drilled {
            self.state.toil.act(what, work.now);
            record(work);
        }
    }

    /// What people did past every order, as the journal tells.
    pub(super) fn count_by_hand(&mut self, work: &mut Work) {
        let by_hand = |entry: &Entry| entry.text.strip_prefix(BY_HAND).map(str::to_owned);
        let acts: Vec<String> = work.journal.iter().filter_map(by_hand).collect();
        for act in acts {
            self.state.toil.act(&act, work.now);
            record(work);
        }
    }
}

fn record(work: &mut Work) {
    work.rows.insert(Key { table: Table::Toil, id: 0 });
}
