//! When a member's checks are asked: at two paces, members spread evenly over each.
//!
//! A host's members often begin together (its agent was started, its power came back). If each were asked so
//! long after its last round, all would be asked at the same moment for ever. So each has a moment of its own
//! in every interval: by the golden ratio, which leaves no two near each other however many there are.

use serde::{Deserialize, Serialize};

use crate::check::{Pace, Thresholds};
use crate::id::MemberId;
use crate::time::{Span, Time};

/// A round that is never due.
const NEVER: Time = Time(u64::MAX);
/// 2^32 divided by the golden ratio.
const GOLDEN: u64 = 2_654_435_769;

/// Time between two rounds of each pace; none: they are not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Every {
    /// Of [`Pace::Often`].
    pub often: Span,
    /// Of [`Pace::Rarely`].
    pub rarely: Span,
}

impl Default for Every {
    fn default() -> Self {
        Self::of(&Thresholds::default())
    }
}

impl Every {
    /// By policy.
    #[must_use]
    pub fn of(checks: &Thresholds) -> Self {
        let span = |seconds: i64| Span(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        Self { often: span(checks.often_seconds), rarely: span(checks.rarely_seconds) }
    }

    /// Of one pace.
    #[must_use]
    pub const fn at(self, pace: Pace) -> Span {
        match pace {
            Pace::Often => self.often,
            Pace::Rarely => self.rarely,
        }
    }
}

/// When rounds of checks are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounds {
    /// That of [`Pace::Often`].
    pub often: Time,
    /// That of [`Pace::Rarely`].
    pub rarely: Time,
    /// Between two.
    #[serde(default)]
    pub every: Every,
}

impl Rounds {
    /// A member that begins, or takes another part, is asked the cheap things soon, and the dear ones within
    /// two minutes: hosts that come up have many members, and whoever takes over is not to be kept from it.
    pub fn begin(&mut self, member: MemberId, now: Time) {
        let apart = Span::secs(u64::from(member.0) * 7 % 100);
        self.set(Pace::Often, now + Span::secs(5));
        self.set(Pace::Rarely, now + Span::secs(20) + apart);
    }

    /// Something changed by which checks may find otherwise: both are due at once.
    pub fn soon(&mut self) {
        self.set(Pace::Often, Time(0));
        self.set(Pace::Rarely, Time(0));
    }

    /// A round is over; the next is due at the member's own moment, half an interval later or more.
    pub fn done(&mut self, pace: Pace, member: MemberId, now: Time) {
        let half = Span(self.every.at(pace).0 / 2);
        self.set(pace, own(self.every.at(pace), member, now + half));
    }

    /// From now on so much time is between two; rounds that are run go on at members' own moments.
    pub fn pace(&mut self, every: Every, member: MemberId, now: Time) {
        self.every = every;
        for pace in [Pace::Often, Pace::Rarely] {
            self.set(pace, own(every.at(pace), member, now));
        }
    }

    /// The round that is due.
    pub(super) fn due(&self, now: Time) -> Option<Pace> {
        match () {
            () if now >= self.often => Some(Pace::Often),
            () if now >= self.rarely => Some(Pace::Rarely),
            () => None,
        }
    }

    fn set(&mut self, pace: Pace, at: Time) {
        let at = if self.every.at(pace) == Span(0) { NEVER } else { at };
        match pace {
            Pace::Often => self.often = at,
            Pace::Rarely => self.rarely = at,
        }
    }
}

/// The first of a member's own moments that is not before another.
fn own(every: Span, member: MemberId, from: Time) -> Time {
    let share = u64::from(member.0).wrapping_mul(GOLDEN) & u64::from(u32::MAX);
    let every = every.0.clamp(1, u64::from(u32::MAX));
    let moment = (share * every) >> 32;
    let past = (from.0 + every - moment) % every;
    if past == 0 { from } else { from + Span(every - past) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a host's members are asked in each second of an interval, long after all began together.
    fn busiest(members: u32, every: Span) -> usize {
        let mut seconds = std::collections::BTreeMap::new();
        for member in (0..members).map(|n| MemberId(n * 3 + 1)) {
            let mut rounds =
                Rounds { every: Every { often: every, rarely: every }, ..Rounds::default() };
            rounds.begin(member, Time(1_000_000));
            let mut now = rounds.often;
            for _ in 0..5 {
                // A look is taken every two seconds, and the round takes its time.
                now = now + Span::millis(700);
                rounds.done(Pace::Often, member, now);
                let wait = rounds.often.since(now);
                assert!(wait >= Span(every.0 / 2) && wait <= Span(every.0 * 3 / 2), "{wait}");
                now = rounds.often;
            }
            *seconds.entry(now.0 % every.0 / 1000).or_insert(0) += 1;
        }
        seconds.into_values().max().unwrap_or_default()
    }

    #[test]
    fn members_that_begin_together_are_soon_asked_one_after_another() {
        for members in [30, 67, 300, 2000] {
            let (most, even) = (busiest(members, Span::secs(30)), members as usize / 30);
            assert!(most <= even + 3 + even / 4, "{members}: {most} in one second, evenly {even}");
        }
    }

    #[test]
    fn a_round_comes_once_in_an_interval() {
        let (member, every) = (MemberId(7), Every::default());
        let mut rounds = Rounds::default();
        rounds.begin(member, Time(5_000));
        assert_eq!(rounds.due(Time(9_999)), None);
        assert_eq!(rounds.due(Time(10_000)), Some(Pace::Often), "soon");
        rounds.done(Pace::Often, member, Time(10_000));
        let first = rounds.often;
        rounds.done(Pace::Often, member, first + Span::secs(2));
        assert_eq!(rounds.often, first + every.often, "by the clock, not by when it was last done");
    }

    #[test]
    fn what_is_off_is_never_due_whatever_happens_and_what_is_on_again_is_spread() {
        let mut rounds = Rounds::default();
        let (off, now) = (Every { often: Span(0), rarely: Span(0) }, Time(1_000_000));
        rounds.pace(off, MemberId(1), now);
        rounds.begin(MemberId(1), now);
        rounds.done(Pace::Rarely, MemberId(1), now);
        rounds.soon();
        assert_eq!(rounds.due(Time(u64::MAX - 1)), None);
        let on = |member| {
            let mut rounds = rounds;
            rounds.pace(Every::default(), MemberId(member), now);
            rounds.rarely.since(now)
        };
        let all: Vec<Span> = (1..=100).map(on).collect();
        let early = all.iter().filter(|wait| **wait < Span::mins(1)).count();
        assert!((5..=15).contains(&early), "{early} of 100 in a tenth of the interval");
        assert!(all.iter().all(|wait| *wait <= Every::default().rarely));
    }
}
