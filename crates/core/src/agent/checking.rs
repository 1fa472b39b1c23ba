//! A member's checks: what they came to, and which of them were not read.

use serde::{Deserialize, Serialize};

use super::perform::is_asked;
use crate::check::{Check, Pace, Reading, Result, Thresholds, Unread};
use crate::goal::Goal;
use crate::member::State;

/// What is known of a member's checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checking {
    results: Vec<Result>,
    unread: Unread,
}

impl Default for Checking {
    fn default() -> Self {
        Self { results: Vec::new(), unread: Unread::everything() }
    }
}

impl Checking {
    /// The server begins anew, or takes another part: nothing was read of it as it is now.
    pub fn begin(&mut self) {
        self.unread.paces = Unread::everything().paces;
    }

    /// Those of a pace are run no more: what they found stays, and is not what is so now.
    pub fn end(&mut self, pace: Pace) {
        self.unread.paces.retain(|unread| *unread != pace);
        self.unread.paces.push(pace);
        self.unread.paces.sort_unstable();
    }

    /// Checks that do not pass, for the report.
    pub fn results(&self, state: State) -> Vec<Result> {
        if state.serves() { self.results.clone() } else { Vec::new() }
    }

    /// Those that were not read, for the report.
    pub fn unread(&self, state: State) -> Unread {
        if state.serves() { self.unread.clone() } else { Unread::default() }
    }

    /// What a round of checks brought. What could not be read is as it was, and told to be unread.
    pub fn read(
        &mut self,
        goal: &Goal,
        pace: Pace,
        readings: &[(String, Option<Reading>)],
        (checks, limits): (&[&dyn Check], &Thresholds),
    ) {
        let mut found = Vec::new();
        let mut unread = Vec::new();
        for check in checks {
            let name = check.name();
            let asked = readings.iter().find(|(of, _)| of == name).map(|(_, reading)| reading);
            let before = || self.results.iter().find(|known| known.check == name).cloned();
            found.extend(match asked {
                Some(Some(reading)) => check.judge(reading, limits),
                Some(None) => {
                    unread.push(name.to_owned());
                    before()
                }
                None if check.pace() != pace && is_asked(goal, *check) => before(),
                None => None,
            });
        }
        self.unread.paces.retain(|unread| *unread != pace);
        let other = |name: &String| checks.iter().any(|c| c.name() == name && c.pace() != pace);
        self.unread.checks.retain(other);
        if !unread.is_empty() && unread.len() == readings.len() {
            self.unread.paces.push(pace);
            self.unread.paces.sort_unstable();
        } else {
            self.unread.checks.extend(unread);
            self.unread.checks.sort_unstable();
        }
        self.results = found;
    }
}
