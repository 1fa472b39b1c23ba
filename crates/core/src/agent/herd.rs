//! How many servers of a host start at once: as many as it bears, and no more.
//!
//! After a power cut every server of a host is to be started. All at once they take each other's disk and
//! cores, and each is late; one after another most wait for nothing. So the host is asked for more while
//! starts stay about as fast as its fastest, and for half when they do not ([`Pace`]). What replays a long
//! log counts for [`COUNTS_FOR`] only: it must keep nobody waiting for ever.

use std::collections::BTreeMap;

use super::member::Member;
use crate::claim::Pace;
use crate::driver::Answer;
use crate::id::MemberId;
use crate::member::State;
use crate::time::{Span, Time};

/// A start is counted as under way for so long at most.
pub const COUNTS_FOR: Span = Span::secs(30);
/// Most starts at once on one host.
const MOST: u32 = 128;
/// A start is slow if it takes so many times what the fastest took, and longer than [`SLOW_FROM`].
const SLOW_TIMES: u64 = 2;
/// No start that took less is slow.
const SLOW_FROM: Span = Span::secs(1);

/// Starts under way on one host.
#[derive(Clone, Debug, Default)]
pub struct Herd {
    pace: Pace,
    starting: BTreeMap<MemberId, Time>,
    fastest: Option<Span>,
}

impl Herd {
    /// Whether one more server may be started; `most` is policy's word, instead of what was found.
    #[must_use]
    pub fn has_room(&self, most: Option<u32>) -> bool {
        let limit = most.map_or_else(|| self.pace.limit(), |most| most.max(1));
        self.starting.len() < usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// A server is being started.
    pub fn starts(&mut self, member: MemberId, now: Time) {
        self.starting.insert(member, now);
    }

    /// How starts under way stand: `answers` says which servers answer by now, `fails` which gave up.
    pub fn look(
        &mut self,
        now: Time,
        answers: impl Fn(MemberId) -> bool,
        fails: impl Fn(MemberId) -> bool,
    ) {
        let Self { pace, starting, fastest } = self;
        starting.retain(|member, began| {
            let took = now.since(*began);
            if fails(*member) {
                // Why it failed is its own affair.
                return false;
            }
            if !answers(*member) {
                let slow = took >= COUNTS_FOR;
                if slow {
                    pace.choked(now);
                }
                return !slow;
            }
            let best = fastest.map_or(took, |best| best.min(took));
            *fastest = Some(best);
            match took > best.times(SLOW_TIMES).max(SLOW_FROM) {
                true => pace.choked(now),
                false => pace.went(MOST),
            }
            false
        });
    }
}

impl Member {
    /// Whether its server answers something.
    pub(super) fn answers(&self) -> bool {
        matches!(self.seen.answer, Answer::Accepting | Answer::Writing | Answer::Following)
    }

    /// Whether its server is being started, or runs.
    pub(super) fn may_come_up(&self) -> bool {
        !matches!(
            self.seen.state,
            State::Failed | State::CrashLooping | State::Stopped | State::Sealed | State::Gone
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many servers on a host of `cores`, each start of which takes `work` of one core: when all answer, the
    /// most starts at once, and the longest single start.
    fn run(servers: u32, cores: u64, work: Span) -> (Span, usize, Span) {
        let mut herd = Herd::default();
        let mut left: Vec<MemberId> = (0..servers).rev().map(MemberId).collect();
        let mut done: BTreeMap<MemberId, u64> = BTreeMap::new();
        let (mut now, mut most, mut longest) = (Time(0), 0, Span(0));
        while !left.is_empty() || !herd.starting.is_empty() {
            while herd.has_room(None)
                && let Some(member) = left.pop()
            {
                herd.starts(member, now);
                done.insert(member, 0);
            }
            most = most.max(herd.starting.len());
            now = now + Span::millis(10);
            // Cores are shared evenly; who is one of too many also waits for its disk.
            let running = herd.starting.len() as u64;
            let share = 10_000 * cores.min(running) / running.max(1);
            for member in herd.starting.keys() {
                *done.entry(*member).or_default() += share;
            }
            let needs = work.0 * 1_000;
            for (member, began) in &herd.starting {
                if done[member] >= needs {
                    longest = longest.max(now.since(*began));
                }
            }
            herd.look(now, |member| done[&member] >= needs, |_| false);
        }
        (now.since(Time(0)), most, longest)
    }

    #[test]
    fn a_host_that_comes_back_starts_all_without_a_herd() {
        let (took, most, longest) = run(200, 2, Span::millis(250));
        let ideal = Span::millis(250 * 200 / 2);
        assert!(took.0 <= ideal.0 * 5 / 4, "{took} of at least {ideal}");
        assert!(most <= 40 && longest <= Span::secs(5), "{most} at once, one took {longest}");
    }

    #[test]
    fn a_large_host_is_asked_for_more() {
        let (took, most, _) = run(400, 64, Span::millis(250));
        assert!(most > 32, "{most} at once");
        assert!(took <= Span::secs(8), "{took}");
    }

    #[test]
    fn one_that_replays_for_long_keeps_nobody_waiting_for_ever() {
        let mut herd = Herd::default();
        let mut members = (0..100).map(MemberId);
        while herd.has_room(None) {
            herd.starts(members.next().expect("the pace is bounded"), Time(0));
        }
        herd.look(Time(0) + Span::secs(29), |_| false, |_| false);
        assert!(!herd.has_room(None));
        assert!(herd.has_room(Some(1000)), "policy may say more");
        assert!(!herd.has_room(Some(1)), "or less");
        herd.look(Time(0) + COUNTS_FOR, |_| false, |_| false);
        assert!(herd.has_room(None) && herd.has_room(Some(0)), "one at least");
        let before = herd.pace.limit();
        herd.starts(MemberId(900), Time(90_000));
        herd.look(Time(90_001), |_| false, |_| true);
        assert_eq!(herd.pace.limit(), before, "a failure says nothing of the host");
    }
}
