//! What a run came to, in figures: what was asked of the world, what clients felt, what people were told.

use std::collections::BTreeMap;
use std::fmt;

use evenkeel_core::digest::Digest;
use evenkeel_core::time::{Span, Time};
use serde::Serialize;

use crate::edges::Edges;

/// What must never be otherwise, whatever breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// What clients were told is safe is with whoever takes writes, or in the archive: less only where a plan
    /// says so.
    AcknowledgedWritesKept,
    /// Somewhere there is all of it, whatever is removed.
    LastCopyKept,
    /// Acknowledgements are of one history, and clients are led to nobody who follows.
    OneWriter,
    /// One term and revision has one content, and nothing is removed that nobody ordered removed.
    GoalsAreSettled,
    /// Repositories hold what they were told to hold, and histories apart.
    ArchivesAreSound,
    /// No server dies of a full disk.
    DisksNeverFull,
    /// Of every incident somebody is told in time, and nobody of what they acknowledged.
    PeopleAreTold,
    /// A driver's call is one that its server can take.
    CallsAreSound,
    /// What was recorded is loaded again, and nothing feeds itself.
    ControllersGoOn,
    /// No share, no budget of a remedy and no bound of what depends on many is exceeded, by an account of its own.
    BudgetsKept,
    /// What was recorded comes to what is so: rows to the cell's state, entries of the journal to the rows.
    JournalReplays,
    /// When nothing breaks any more everything is as it is wanted.
    GoalsAreReached,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AcknowledgedWritesKept => "acknowledged writes are kept",
            Self::LastCopyKept => "the last copy is kept",
            Self::OneWriter => "one writer at a time",
            Self::GoalsAreSettled => "a goal has one content",
            Self::ArchivesAreSound => "archives are sound",
            Self::DisksNeverFull => "no server dies of a full disk",
            Self::PeopleAreTold => "people are told in time, and once",
            Self::CallsAreSound => "calls are sound",
            Self::ControllersGoOn => "controllers go on",
            Self::BudgetsKept => "budgets are kept",
            Self::JournalReplays => "what is recorded is what is so",
            Self::GoalsAreReached => "goals are reached",
        })
    }
}

/// How often an invariant was looked at, and found broken. The first that is broken ends a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Looks.
    pub checked: u64,
    /// Of these, not so.
    pub broken: u64,
}

/// Something that a script says must be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assertion {
    /// What.
    pub text: String,
    /// Whether it was.
    pub held: bool,
}

/// What is counted while a world runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Turns of cells.
    pub turns: u64,
    /// Entries of journals.
    pub transitions: u64,
    /// Looks at what must never be otherwise.
    pub invariants: BTreeMap<Invariant, Checked>,
    /// For how long clients of services could not write, all added up, those that still cannot until the end.
    /// What one round of writes takes is not counted.
    pub unavailable: Span,
    /// Edges of machines that were taken.
    pub edges: Edges,
    /// Outages that ended, by the second in which they did.
    ended: BTreeMap<u64, u64>,
}

impl Counts {
    /// Something was looked at.
    pub fn check(&mut self, invariant: Invariant) {
        self.invariants.entry(invariant).or_default().checked += 1;
    }

    /// It was not so.
    pub fn broke(&mut self, invariant: Invariant) {
        self.invariants.entry(invariant).or_default().broken += 1;
    }

    /// Clients of a service can write again.
    pub fn outage(&mut self, lasted: Span, ended: Time) {
        self.unavailable.0 += lasted.0;
        *self.ended.entry(ended.0 / 1000).or_default() += 1;
    }

    /// Outages that ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.values().sum()
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.turns += other.turns;
        self.transitions += other.transitions;
        self.unavailable.0 += other.unavailable.0;
        self.edges.add(&other.edges);
        for (invariant, checked) in &other.invariants {
            let own = self.invariants.entry(*invariant).or_default();
            own.checked += checked.checked;
            own.broken += checked.broken;
        }
        for (second, count) in &other.ended {
            *self.ended.entry(*second).or_default() += count;
        }
    }

    /// Most outages that ended within one second.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.ended.values().copied().max().unwrap_or_default()
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Of which scenario.
    pub scenario: String,
    /// All chance came from it.
    pub seed: u64,
    /// Services at the end.
    pub services: u64,
    /// Virtual time, in seconds.
    pub sim_seconds: u64,
    /// Turns of cells.
    pub turns: u64,
    /// Entries of the journal.
    pub transitions: u64,
    /// What must never be otherwise.
    pub invariants: BTreeMap<Invariant, Checked>,
    /// Edges of machines that were taken, and those that were not.
    pub edges: Edges,
    /// What the script says must be so, as far as it was played.
    pub assertions: Vec<Assertion>,
    /// How often a person was told.
    pub pages: u64,
    /// Incidents.
    pub incidents: u64,
    /// Operations of remedies that ended well; at scale also outages that ended by what agents did alone.
    pub recovered: u64,
    /// Rows that clients were told are safe and that whoever has their service now has not: of services whose
    /// plan may lose none.
    pub lost_acknowledged_writes: u64,
    /// For how long clients of services could not write, all added up, in seconds.
    pub unavailable_service_seconds: f64,
    /// Most outages of services that ended within one second.
    pub recoveries_per_second_peak: u64,
    /// What a person would have needed for what was recovered, by the toil ledger.
    pub toil_minutes_saved: u64,
    /// Of everything above and of all that was recorded: the same for the same scenario and seed.
    pub report_digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_added_up_and_the_busiest_second_is_found() {
        let mut counts = Counts::default();
        for (lasted, ended) in [(1500, 10_000), (500, 10_999), (2000, 11_000)] {
            counts.outage(Span(lasted), Time(ended));
        }
        assert_eq!((counts.unavailable, counts.peak()), (Span(4000), 2));
    }

    #[test]
    fn what_is_broken_was_looked_at() {
        let mut counts = Counts::default();
        counts.check(Invariant::OneWriter);
        counts.check(Invariant::OneWriter);
        counts.broke(Invariant::OneWriter);
        assert_eq!(counts.invariants[&Invariant::OneWriter], Checked { checked: 2, broken: 1 });
    }
}
