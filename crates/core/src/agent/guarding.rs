//! The disk guard of one member: how much room its disk has, what is done about it, and when it is full if
//! it goes on like this.
//!
//! Invariants: what is in force is what was decided last, or is being put in force; a server that was
//! started anew is told again; one that lacks room is told for as long as that is so: a client may ask for
//! writes in spite of it, and log that was archived meanwhile can go.

use serde::{Deserialize, Serialize};

use super::reconcile::{Action, Next, due};
use crate::backup::guard::{Level, Limits, Room};
use crate::report;
use crate::time::{Span, Time};

/// A level that could not be put in force is tried again after this, and one that means something is put in
/// force again.
const RETRY_STEP: Span = Span::secs(5);
/// How fast a disk fills is measured over this at least.
const MEASURE_STEP: Span = Span::secs(60);
/// Whatever is fuller later than this is nobody's concern yet.
const FAR: Span = Span::mins(60 * 24 * 30);

/// What is known of a member's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarding {
    room: Option<Room>,
    level: Level,
    /// What its server was told; `None`: nothing since it was started.
    in_force: Option<Level>,
    tried: Time,
    /// Where the measure under way began.
    since: Option<(Time, u64)>,
    /// Bytes a minute that it fills by, smoothed.
    rate: u64,
}

impl Guarding {
    /// What its disk has.
    pub fn said(&mut self, room: Room, now: Time) {
        let level = Limits::default().level(self.level, room);
        if level != self.level {
            (self.level, self.tried) = (level, Time(0));
        }
        self.room = Some(room);
        let (began, free) = *self.since.get_or_insert((now, room.free));
        let took = now.since(began);
        if took >= MEASURE_STEP {
            let lost = free.saturating_sub(room.free);
            let minutes = (took.0 / MEASURE_STEP.0).max(1);
            self.rate = (self.rate.saturating_mul(3) + lost / minutes) / 4;
            self.since = Some((now, room.free));
        }
    }

    /// Whether its server is to be told anything.
    pub fn next(&self, now: Time) -> Option<Next> {
        let told = self.in_force == Some(self.level) && self.level < Level::Throttle;
        self.room.filter(|_| !told)?;
        Some(due(self.tried, RETRY_STEP, Action::Guard(self.level), now))
    }

    /// Its server goes by a level.
    pub fn guarded(&mut self, level: Level, now: Time) {
        (self.in_force, self.tried) = (Some(level), now);
    }

    /// How soon the disk is to be looked at again.
    pub fn look_within(&self) -> Span {
        self.room.map_or(Span(0), |room| Limits::default().look_within(room))
    }

    /// It could not be told: it is tried again at this pace, and nothing else waits for it. A disk may be
    /// too full for the guard's own file.
    pub fn failed(&mut self, now: Time) {
        self.tried = now;
    }

    /// Another process: nobody told it anything.
    pub fn started(&mut self) {
        (self.in_force, self.tried) = (None, Time(0));
    }

    /// When the disk is full, if it goes on like this.
    fn full_in(&self) -> Option<Span> {
        let room = self.room?;
        let minutes = room.free.checked_div(self.rate)?;
        let span = Span::mins(minutes.min(FAR.0));
        // In powers of two, downwards.
        (span < FAR).then(|| Span::mins(if minutes == 0 { 0 } else { 1 << minutes.ilog2() }))
    }

    /// For the controller.
    pub fn report(&self) -> Option<report::Disk> {
        let room = self.room?;
        Some(report::Disk {
            level: self.in_force.unwrap_or_default(),
            total: room.total,
            free: report::free_band(room.free),
            full_in: self.full_in(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const fn room(free: u64) -> Room {
        Room { total: 100 * GIB, free }
    }

    #[test]
    fn a_server_is_told_once_and_again_when_it_was_started_anew() {
        let mut guard = Guarding::default();
        let soon = Time(1_000_000);
        assert_eq!(guard.next(soon), None, "nothing is known");
        guard.said(room(90 * GIB), soon);
        assert_eq!(guard.next(soon), Some(Next::Do(Action::Guard(Level::Fine))));
        guard.guarded(Level::Fine, soon);
        assert_eq!(guard.next(soon + RETRY_STEP), None);
        guard.said(room(GIB), soon);
        assert_eq!(guard.next(soon), Some(Next::Do(Action::Guard(Level::ReadOnly))));
        guard.failed(soon);
        assert_eq!(guard.next(soon), Some(Next::Wait(soon + RETRY_STEP)));
        assert_eq!(guard.report().map(|disk| disk.level), Some(Level::Fine), "it was not told");
        guard.guarded(Level::ReadOnly, soon);
        assert_eq!(guard.next(soon), Some(Next::Wait(soon + RETRY_STEP)), "and told again");
        guard.started();
        assert_eq!(guard.next(soon), Some(Next::Do(Action::Guard(Level::ReadOnly))));
        guard.guarded(Level::ReadOnly, soon);
        guard.said(room(90 * GIB), soon);
        assert_eq!(guard.next(soon), Some(Next::Do(Action::Guard(Level::Fine))), "at once");
    }

    #[test]
    fn how_long_there_is_room_follows_what_is_written() {
        let mut guard = Guarding::default();
        let mut free = 90 * GIB;
        for minute in 0..40 {
            guard.said(room(free), Time(minute * MEASURE_STEP.0));
            free -= GIB;
        }
        // A gibibyte a minute, and some fifty are left.
        let full_in = guard.report().and_then(|disk| disk.full_in);
        assert_eq!(full_in, Some(Span::mins(32)));
        for minute in 40..100 {
            guard.said(room(free), Time(minute * MEASURE_STEP.0));
        }
        assert_eq!(guard.report().and_then(|disk| disk.full_in), None, "nothing is written");
    }
}
