//! Remedies: a guard over what is known, an operation, a budget, an automation level. Data only.

use serde::{Deserialize, Serialize};

use crate::operation::Kind;
use crate::time::{Span, Time};

/// What a remedy answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The process died; its agent restarts it within the budget by itself.
    MemberDied,
    /// The agent's budget of restarts is spent.
    CrashLooping,
    /// The process is there and answers nobody, by its agent and by a witness.
    Hung,
    /// The primary is down by the rule, and a failover loses nothing; or nobody is primary.
    PrimaryLost,
    /// A standby that is counted on is gone for longer than commits may wait.
    SetLacks,
    /// A standby follows and is not counted on.
    StandbyUncounted,
    /// A member that was a primary, or went astray, waits to be made anew.
    MemberWaits,
    /// A member is away for long: another is made in its place.
    MemberLost,
}

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

/// How often a remedy may run for one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Runs within `window`; after that a person is told.
    pub tries_max: u8,
    /// The window the runs are counted in.
    pub window: Span,
    /// Least time between two runs.
    pub cooldown: Span,
}

/// One remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Its name, unique in its registry.
    pub name: &'static str,
    /// What it does and why that is the cheapest that suffices. Ends with a full stop.
    pub doc: &'static str,
    /// What it answers to.
    pub guard: Guard,
    /// What it runs.
    pub operation: Kind,
    /// How often.
    pub budget: Budget,
    /// Who lets it run.
    pub level: Level,
    /// Minutes a person would need for the same, for the toil ledger.
    pub manual_minutes: u16,
}

/// Why a remedy may not run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spent {
    /// Its tries are used up; a person is told.
    Tries,
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
        let recent = runs.iter().filter(|&&at| now.since(at) < self.window).count();
        if recent >= usize::from(self.tries_max) {
            return Err(Spent::Tries);
        }
        match runs.last() {
            Some(&last) if now.since(last) < self.cooldown => {
                Err(Spent::Cooldown { until: last + self.cooldown })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_its_window_and_keeps_its_distance() {
        let budget = Budget { tries_max: 2, window: Span::secs(100), cooldown: Span::secs(10) };
        let at = |seconds: u64| Time(seconds * 1000);
        assert_eq!(budget.allows(&[], at(1000)), Ok(()));
        assert_eq!(budget.allows(&[at(1000)], at(1005)), Err(Spent::Cooldown { until: at(1010) }));
        assert_eq!(budget.allows(&[at(1000)], at(1010)), Ok(()));
        assert_eq!(budget.allows(&[at(1000), at(1010)], at(1050)), Err(Spent::Tries));
        assert_eq!(budget.allows(&[at(1000), at(1010)], at(1100)), Ok(()));
    }
}
