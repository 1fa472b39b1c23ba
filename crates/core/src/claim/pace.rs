//! How many repairs a host bears at once, found by trying: more while they go well, half when one chokes.
//!
//! The rule of TCP's congestion control (RFC 5681): doubled from small until the first sign of trouble, by
//! one for each round of successes after that, halved at most once for each round.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// What is tried first.
const FIRST: u32 = 8;
/// What chokes within this of the last halving was under way then, and says nothing new.
const ROUND: Span = Span::secs(5);

/// What one host was found to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    limit: u32,
    /// Successes towards the next step.
    credit: u32,
    /// When it was halved last; never yet: it is still doubled.
    halved: Option<Time>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { limit: FIRST, credit: 0, halved: None }
    }
}

impl Pace {
    /// How many at once.
    #[must_use]
    pub const fn limit(self) -> u32 {
        self.limit
    }

    /// One went as it should.
    pub fn went(&mut self, max: u32) {
        self.credit += 1;
        if self.halved.is_none() || self.credit >= self.limit {
            self.credit = 0;
            self.limit = (self.limit + 1).min(max.max(1));
        }
    }

    /// One took too long, or failed.
    pub fn choked(&mut self, now: Time) {
        if self.halved.is_some_and(|at| now.since(at) < ROUND) {
            return;
        }
        self.halved = Some(now);
        self.credit = 0;
        self.limit = (self.limit / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host on which repairs choke when more than `bears` are under way at once: where the pace settles,
    /// and the most that it was asked at once after the first ten rounds.
    fn settle(bears: u32) -> (u32, u32) {
        let mut pace = Pace::default();
        let mut most = 0;
        for round in 0..200_u64 {
            let running = pace.limit();
            if round > 10 {
                most = most.max(running);
            }
            for _ in 0..running {
                if running > bears {
                    pace.choked(Time(round * 10_000));
                } else {
                    pace.went(1_000);
                }
            }
        }
        (pace.limit(), most)
    }

    #[test]
    fn it_settles_below_what_a_host_bears_and_never_asks_for_much_more() {
        for bears in [1, 3, 10, 40, 100] {
            let (settled, most) = settle(bears);
            assert!(settled >= bears / 2 && settled <= bears + 1, "{bears}: {settled}");
            assert!(most <= bears * 2, "{bears}: asked for {most}");
        }
    }

    #[test]
    fn one_round_halves_once() {
        let mut pace = Pace::default();
        (0..FIRST).for_each(|_| pace.choked(Time(1_000)));
        assert_eq!(pace.limit(), FIRST / 2);
        pace.choked(Time(1_000) + ROUND);
        assert_eq!(pace.limit(), FIRST / 4);
    }
}
