//! How hard one host asks a repository for log: not at all hard while it fails, and then more and more.
//!
//! The story: every server of a host has log to store. While their repository fails, one of them tries, at
//! growing intervals, and the others are told at once what it found: nobody waits out the same timeout
//! twice, and other repositories are not kept waiting. When it answers again, one file is on its way, and one
//! more each [`GROW_STEP`] in which all get through, up to a limit; half as many once one does not (additive
//! increase, multiplicative decrease; Chiu and Jain 1989). The step is long beside a file's way: thousands of
//! hosts that come back at once know nothing of each other, and each of them that takes more with every file
//! would together ask for ten times what the repository bears (`evenkeel sim run s3-outage-2017`). A server
//! whose disk cannot wait asks for no leave, unless nothing gets through at all. Within a server the log goes
//! in its own order.
//!
//! Invariants: at most one tries what failed last; more is on its way only after a while without a failure; a
//! repository that answers again is asked again within [`WAIT_MAX`] and its jitter.

use serde::{Deserialize, Serialize};

use super::guard::Level;
use crate::time::{Span, Time};

/// Most files of a host that are on their way to one repository at once.
pub const WIDTH_MAX: u16 = 8;
/// After so long without a failure one more is on its way.
pub const GROW_STEP: Span = Span::secs(10);
/// What failed is tried again after this, doubled with each failure in a row.
const WAIT_MIN: Span = Span::secs(1);
/// Longest such wait.
pub const WAIT_MAX: Span = Span::secs(15);

/// What a host knows of one repository. Times are the host's clock's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// How many may be on their way at once.
    width: u16,
    /// When that grew last.
    #[serde(default)]
    grown: Time,
    /// How many failed in a row.
    failures: u16,
    /// When the next may try, while they fail.
    again: Time,
    /// Why the last one failed.
    why: String,
}

impl Default for Pace {
    fn default() -> Self {
        Self { width: WIDTH_MAX, grown: Time(0), failures: 0, again: Time(0), why: String::new() }
    }
}

/// Whether a file may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// At once, whoever else does.
    Go,
    /// As one of so many: another's turn is waited for.
    OneOf(u16),
    /// No: it failed just now, for this reason, and is tried again at this time.
    Not(Time, String),
}

impl Pace {
    /// Whether a server may send a file now; its disk's room counts.
    #[must_use]
    pub fn leave(&self, room: Level, now: Time) -> Leave {
        // A clock that was put back must not keep anybody waiting for longer than was meant.
        let waits = self.failures > 0 && now < self.again && self.again <= now + WAIT_MAX.times(2);
        if waits {
            return Leave::Not(self.again, self.why.clone());
        }
        match room {
            Level::Throttle | Level::ReadOnly if self.failures == 0 => Leave::Go,
            _ => Leave::OneOf(self.width.clamp(1, WIDTH_MAX)),
        }
    }

    /// Whether a file that gets through changes anything.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.failures == 0 && self.width >= WIDTH_MAX
    }

    /// One got through.
    pub fn stored(&mut self, now: Time) {
        // A clock that was put back must not keep it small.
        let long = now.since(self.grown) >= GROW_STEP || self.grown > now;
        (self.width, self.grown) = match self.failures {
            0 if long => (self.width.saturating_add(1).min(WIDTH_MAX), now),
            0 => (self.width, self.grown),
            _ => (1, now),
        };
        (self.failures, self.again) = (0, Time(0));
        self.why.clear();
    }

    /// One did not; `jitter` is a number below a thousand, another one for each host.
    pub fn failed(&mut self, why: &str, jitter: u64, now: Time) {
        self.width = (self.width / 2).max(1);
        let wait = WAIT_MIN.times(1 << self.failures.min(10)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        // From half of it to one and a half: hosts that failed together do not come back together.
        self.again = now + Span(wait.0 / 2 + wait.0 * jitter.min(999) / 1000);
        why.clone_into(&mut self.why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000);

    #[test]
    fn one_tries_what_fails_and_others_are_told_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.leave(Level::Fine, NOW), Leave::OneOf(WIDTH_MAX));
        let (mut now, mut waits) = (NOW, Vec::new());
        for _ in 0..8 {
            pace.failed("no route", 500, now);
            let Leave::Not(again, why) = pace.leave(Level::Fine, now) else { panic!("told") };
            assert_eq!(why, "no route");
            assert_eq!(pace.leave(Level::ReadOnly, now), Leave::Not(again, why));
            waits.push(again.since(now).0 / 1000);
            now = again;
            assert!(matches!(pace.leave(Level::Fine, now), Leave::OneOf(_)), "its time has come");
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15, 15, 15]);
        assert_eq!(pace.leave(Level::Fine, now), Leave::OneOf(1), "one tries");
        assert_eq!(pace.leave(Level::ReadOnly, now), Leave::OneOf(1), "and nobody beside it");
    }

    #[test]
    fn what_answers_again_is_asked_for_more_and_more() {
        let mut pace = Pace::default();
        pace.failed("full", 0, NOW);
        let mut now = NOW;
        let widths: Vec<Leave> = std::iter::repeat_with(|| {
            // Any number of files that get through within a step are one step.
            (0..5).for_each(|_| pace.stored(now));
            let leave = pace.leave(Level::Fine, now);
            now = now + GROW_STEP;
            leave
        })
        .take(10)
        .collect();
        let expected = (1..=10_u16).map(|width| Leave::OneOf(width.min(WIDTH_MAX)));
        assert_eq!(widths, expected.collect::<Vec<_>>());
        assert!(pace.is_full());
        pace.failed("slow", 0, NOW);
        assert_eq!(pace.width, WIDTH_MAX / 2);
        assert_eq!(Pace::default().leave(Level::Throttle, NOW), Leave::Go, "its disk cannot wait");
    }

    #[test]
    fn hosts_that_failed_together_do_not_come_back_together() {
        let again = |jitter| {
            let mut pace = Pace::default();
            (0..9).for_each(|_| pace.failed("down", jitter, NOW));
            pace.again.since(NOW)
        };
        assert_eq!(again(0), Span(WAIT_MAX.0 / 2));
        assert!(again(999) > Span(WAIT_MAX.0 * 14 / 10) && again(999) < WAIT_MAX.times(2));
    }

    #[test]
    fn a_clock_that_was_put_back_keeps_nobody_waiting() {
        let mut pace = Pace::default();
        pace.failed("down", 0, Time(NOW.0 + 3_600_000));
        assert!(matches!(pace.leave(Level::Fine, NOW), Leave::OneOf(_)));
    }
}
