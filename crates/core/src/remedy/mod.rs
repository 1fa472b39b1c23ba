//! Remedies: a guard over what is known, what is done, a budget, an automation level. Data only.
//!
//! Each is a file ([`file`] says of which shape); [`Remedies`] is all of them in the order they are
//! asked in. The first whose guard holds is taken, so the cheapest sufficient one stands first.

pub mod file;
pub mod guard;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use guard::{Condition, Facts, Found, Guard};

use crate::claim::Lane;
use crate::operation::Kind;
use crate::time::{Span, Time};

/// Who lets a remedy run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Not at all.
    Off,
    /// It is named as what would help; a person does it.
    Suggest,
    /// It waits for a person's yes.
    Approve,
    /// By itself.
    Auto,
}

impl Level {
    /// Its name, as files and orders have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Suggest => "suggest",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often a remedy may run for one service, and for how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Runs within `window`; after that a person is told.
    pub tries_max: u8,
    /// The window the runs are counted in.
    pub window: Span,
    /// Least time between the end of a run and the next.
    pub cooldown: Span,
    /// Services of the whole fleet that it may be under way for at once; `None`: as the claims allow.
    pub fleet_max: Option<u16>,
}

/// What a remedy does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// It runs an operation.
    Operation(Kind),
    /// It runs a procedure on the primary.
    Procedure {
        /// Which.
        name: Box<str>,
        /// With which parameters.
        parameters: BTreeMap<String, String>,
    },
}

impl Course {
    /// The operation that carries it out.
    #[must_use]
    pub const fn operation(&self) -> Option<Kind> {
        match self {
            Self::Operation(kind) => Some(*kind),
            Self::Procedure { .. } => None,
        }
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operation(kind) => f.write_str(crate::operation::spec(*kind).name),
            Self::Procedure { name, .. } => write!(f, "procedure {name}"),
        }
    }
}

/// One remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Its name, unique among all.
    pub name: Box<str>,
    /// What it does and why that is the cheapest that suffices. Ends with a full stop.
    pub doc: String,
    /// When it applies.
    pub guard: Guard,
    /// Postures in which it waits, by name.
    pub held_in: Vec<String>,
    /// What it does.
    pub course: Course,
    /// How often.
    pub budget: Budget,
    /// Who lets it run, where nobody said otherwise.
    pub level: Level,
    /// Minutes a person would need for the same, for the toil ledger.
    pub manual_minutes: u16,
}

impl Remedy {
    /// Which share its claim is taken from.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.course.operation().map_or(Lane::Planned, |kind| crate::operation::spec(kind).lane)
    }
}

/// Every remedy, in the order they are asked in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedies {
    all: Vec<Remedy>,
    /// Which of them an agent runs by itself when a process dies.
    restart: Option<usize>,
}

impl Remedies {
    /// These, in this order.
    ///
    /// # Errors
    /// Two of them have one name.
    pub fn new(all: Vec<Remedy>) -> Result<Self, String> {
        let mut names: Vec<&str> = all.iter().map(|remedy| &*remedy.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two remedies are named {:?}", pair[0])),
            None => Ok(Self::in_order(all)),
        }
    }

    fn in_order(all: Vec<Remedy>) -> Self {
        let none = BTreeMap::new();
        let facts = Facts {
            condition: Condition::MemberDied,
            health: "unavailable",
            posture: "normal",
            kind: "",
            plan: "",
            members: 1,
            redundant: false,
            findings: &none,
        };
        let restart = all.iter().position(|remedy| remedy.guard.holds(&facts) == Ok(true));
        Self { all, restart }
    }

    /// The one that an agent runs by itself when a process dies: it waits for no controller.
    #[must_use]
    pub fn restart(&self) -> Option<&Remedy> {
        self.restart.and_then(|at| self.all.get(at))
    }

    /// One by name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Remedy> {
        self.all.iter().find(|remedy| &*remedy.name == name)
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Remedy> {
        self.all.iter()
    }

    /// What one of the bundled kind becomes when `other` is put over it: same names are replaced where they
    /// stand, new ones come first.
    #[must_use]
    pub fn overlaid(mut self, other: Vec<Remedy>) -> Self {
        let mut new = Vec::new();
        for remedy in other {
            match self.all.iter_mut().find(|known| known.name == remedy.name) {
                Some(known) => *known = remedy,
                None => new.push(remedy),
            }
        }
        new.append(&mut self.all);
        Self::in_order(new)
    }
}

impl<'a> IntoIterator for &'a Remedies {
    type Item = &'a Remedy;
    type IntoIter = std::slice::Iter<'a, Remedy>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Why a remedy may not run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spent {
    /// Its tries are used up; a person is told.
    Tries {
        /// When its window lets it run again.
        until: Time,
    },
    /// It ran a moment ago.
    Cooldown {
        /// When it may run again.
        until: Time,
    },
}

impl Budget {
    /// Whether one more run is allowed, given when it ran before (oldest first).
    ///
    /// # Errors
    /// [`Spent`].
    pub fn allows(&self, runs: &[Time], now: Time) -> Result<(), Spent> {
        // What the last run did is waited for before anybody is told that it was the last.
        if let Some(&last) = runs.last()
            && now.since(last) < self.cooldown
        {
            return Err(Spent::Cooldown { until: last + self.cooldown });
        }
        let recent: Vec<Time> =
            runs.iter().copied().filter(|&at| now.since(at) < self.window).collect();
        match recent.len().checked_sub(usize::from(self.tries_max)) {
            Some(over) => {
                // With this one forgotten there is room for another.
                let last = recent.get(over).copied().unwrap_or(now);
                Err(Spent::Tries { until: last + self.window })
            }
            None => Ok(()),
        }
    }

    /// When a run at this moment next keeps the remedy no more from running, by its cooldown or its window.
    #[must_use]
    pub fn opens(&self, ran: Time, now: Time) -> Option<Time> {
        [ran + self.cooldown, ran + self.window].into_iter().filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_its_window_and_keeps_its_distance() {
        let (window, cooldown) = (Span::secs(100), Span::secs(10));
        let budget = Budget { tries_max: 2, window, cooldown, fleet_max: None };
        let at = |seconds: u64| Time(seconds * 1000);
        assert_eq!(budget.allows(&[], at(1000)), Ok(()));
        assert_eq!(budget.allows(&[at(1000)], at(1005)), Err(Spent::Cooldown { until: at(1010) }));
        let opens = [1005, 1010, 1100].map(|now| budget.opens(at(1000), at(now)));
        assert_eq!(opens, [Some(at(1010)), Some(at(1100)), None]);
        assert_eq!(budget.allows(&[at(1000)], at(1010)), Ok(()));
        let spent = |until| Err(Spent::Tries { until: at(until) });
        assert_eq!(budget.allows(&[at(1000), at(1010)], at(1050)), spent(1100));
        assert_eq!(budget.allows(&[at(1000), at(1010), at(1020)], at(1050)), spent(1110));
        let none = Budget { tries_max: 0, ..budget };
        assert_eq!(none.allows(&[], at(1050)), spent(1150));
        let cooling = Err(Spent::Cooldown { until: at(1020) });
        assert_eq!(budget.allows(&[at(1000), at(1010)], at(1015)), cooling);
        assert_eq!(budget.allows(&[at(1000), at(1010)], at(1100)), Ok(()));
    }
}
