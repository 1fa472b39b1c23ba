//! Object storage, shared by all cells: it answers, or it does not, and it bears only so much. What is asked
//! beyond that is wasted work, so that it does less, the more is asked (congestion collapse).

use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::pace::{Leave, WIDTH_MAX};
use evenkeel_core::time::{Span, Time};

use super::events::Event;
use super::host::per_min;
use super::seat::Seat;
use super::{OVERLOADED, UNREACHABLE};
use crate::kinds::cache::Cache;
use crate::report::Invariant;
use evenkeel_core::id::{MemberId, ServiceId};

/// Segments that one file on its way comes to in a second.
const PER_WIDTH: u64 = 5;
/// Between looks at a host whose log waits.
const SURVEY: Span = Span::secs(30);
/// A host that sends log goes by its pace anew after this.
const PUSH: Span = Span::secs(1);
/// How often agents ask how it gets on.
const ASK: Span = Span::secs(5);
/// More than so much of what it bears, in hundredths, and what is asked of storage keeps it from its work.
pub(super) const OVERLOAD_PERCENT: u64 = 150;
/// A host that brings nothing for so long says so.
const TROUBLED: Span = Span::secs(60);
/// Longest wait between two tries of a host while storage gives no answer.
const TRY_MAX: u64 = 15_000;

/// How object storage is within one window.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Whether it answers at all.
    pub up: bool,
    /// Of a thousand segments that were offered in the last second, so many were taken.
    pub taken_per_mille: u64,
    /// Everybody sends all there is at once, whatever fails.
    pub naive: bool,
}

impl Default for View {
    fn default() -> Self {
        Self { up: true, taken_per_mille: 1000, naive: false }
    }
}

/// Object storage.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// Whether it answers those who reach it.
    pub answers: bool,
    /// Whether its name is resolved.
    pub named: bool,
    /// Segments that it takes in a second.
    pub capacity: u64,
    taken_per_mille: u64,
    /// The most that was ever asked of it in a second, in hundredths of what it bears.
    pub worst_percent: u64,
    /// The same since somebody looked.
    recent_percent: u64,
    /// Seconds in which [`OVERLOAD_PERCENT`] was asked of it, or more.
    pub overloaded_s: u64,
    pub naive: bool,
    /// How long it was away, all in all, and since when it is.
    pub away: Span,
    since: Option<Time>,
}

impl Storage {
    pub const fn new(capacity: u64, naive: bool) -> Self {
        Self {
            answers: true,
            named: true,
            capacity,
            taken_per_mille: 1000,
            worst_percent: 0,
            recent_percent: 0,
            overloaded_s: 0,
            naive,
            away: Span(0),
            since: None,
        }
    }

    /// Whether it is found, and answers.
    pub const fn up(&self) -> bool {
        self.answers && self.named
    }

    /// It changed whether it is up: how long it was away is counted.
    pub fn turns(&mut self, now: Time) {
        match self.up() {
            true => {
                let since = self.since.take();
                self.away.0 += since.map_or(0, |since| now.since(since).0);
            }
            false => drop(self.since.get_or_insert(now)),
        }
    }

    /// The most that was asked of it in a second since the last look.
    pub fn take_asked_percent(&mut self) -> u64 {
        std::mem::take(&mut self.recent_percent)
    }

    pub const fn view(&self) -> View {
        View { up: self.up(), taken_per_mille: self.taken_per_mille, naive: self.naive }
    }

    /// So many segments that had waited were offered within so many seconds, beside those that are sent as they
    /// are written: so many in a second.
    pub fn took(&mut self, offered: u64, usual: u64, seconds: u64) {
        if !self.up() || offered == 0 {
            self.taken_per_mille = 1000;
            return;
        }
        let seconds = seconds.max(1);
        let asked = offered.div_ceil(seconds) + usual;
        let capacity = self.capacity.max(1);
        let percent = asked * 100 / capacity;
        self.worst_percent = self.worst_percent.max(percent);
        self.recent_percent = self.recent_percent.max(percent);
        self.taken_per_mille = match asked <= capacity {
            true => 1000,
            // It does capacity's share of its capacity: the rest is work on what nobody waits for any more.
            false => {
                self.overloaded_s += seconds * u64::from(percent >= OVERLOAD_PERCENT);
                let share = capacity * 1000 / asked;
                share * share / 1000
            }
        };
    }
}

impl Seat {
    /// What a host's services write is counted anew: members came or went.
    pub fn settle_disk(&mut self, n: usize) {
        let now = self.now;
        let all: u64 = self.hosts[n].members.iter().map(|member| self.ships(*member)).sum();
        let host = &mut self.hosts[n];
        host.disk.settle(now);
        let before = std::mem::replace(&mut host.disk.per_min, all);
        if host.disk.since.is_none() {
            self.usual_per_min = self.usual_per_min + all - before;
        }
    }

    /// Segments that a member ships in a minute: none where its kind has no archive.
    fn ships(&self, id: MemberId) -> u64 {
        let kind = self.member(id).map(|member| &member.stored.applied.goal.identity.kind);
        if kind.is_some_and(|kind| kind == Cache::NAME) { 0 } else { per_min(id) }
    }

    /// Storage answers from now on, or gives no answer.
    pub fn storage_turns(&mut self, up: bool) {
        self.storage.up = up;
        for n in 0..self.hosts.len() {
            if !self.hosts[n].disk.stuck {
                self.archive_turns(n, up);
            }
        }
    }

    /// Nothing of a host's log gets to its archive from now on, or again everything.
    pub fn archive_sticks(&mut self, n: usize, stuck: bool) {
        self.hosts[n].disk.stuck = stuck;
        if self.storage.up {
            self.archive_turns(n, !stuck);
        }
    }

    fn archive_turns(&mut self, n: usize, up: bool) {
        let (now, jitter) = (self.now, self.chance.below(TRY_MAX));
        let disk = &mut self.hosts[n].disk;
        disk.settle(now);
        if up && disk.since.is_none() {
            return;
        }
        match up {
            false => {
                if disk.since.is_none() {
                    (disk.since, disk.waiting, disk.at) = (Some(now), 0, now);
                    self.usual_per_min -= disk.per_min;
                }
                (disk.trouble, disk.pushes) = (Some(UNREACHABLE), false);
                self.survey_after(Span(jitter), n);
            }
            true => {
                // It failed again and again until now, and tries again when it would have.
                for _ in 0..6 {
                    disk.pace.failed(UNREACHABLE, jitter * 999 / TRY_MAX, now);
                }
                (disk.pushes, disk.taken) = (true, now);
                self.survey_after(Span(jitter), n);
            }
        }
    }

    /// A member's log that waits is given up.
    pub fn give_up(&mut self, id: MemberId) {
        let Some(n) = self.member(id).map(|member| member.host) else { return };
        let (now, ships) = (self.now, self.ships(id));
        let disk = &mut self.hosts[n].disk;
        disk.settle(now);
        let share = disk.pending(ships, now) / super::host::SEGMENT_BYTES;
        disk.waiting = disk.waiting.saturating_sub(share);
    }

    /// A host's disk and log are looked at after this, and not when they were to be until now.
    fn survey_after(&mut self, wait: Span, n: usize) {
        let disk = &mut self.hosts[n].disk;
        disk.surveys += 1;
        let number = disk.surveys;
        self.at(wait, Event::Survey(n, number));
    }

    /// A host's disk and log are looked at; what is told of them is told.
    pub fn survey(&mut self, n: usize, number: u32) {
        let now = self.now;
        if self.hosts[n].disk.since.is_none() || self.hosts[n].disk.surveys != number {
            return;
        }
        let mut wait = SURVEY;
        if self.hosts[n].disk.pushes {
            wait = self.push_for(n);
            let disk = &mut self.hosts[n].disk;
            if disk.since.is_none() {
                return;
            }
            if now.since(disk.asked) < ASK {
                return self.survey_after(wait, n);
            }
            disk.asked = now;
        }
        let full = self.hosts[n].disk.room(now).free == 0;
        let said =
            if full { Err(format!("a disk of {} is full", self.hosts[n].name)) } else { Ok(()) };
        self.hold(Invariant::DisksNeverFull, said);
        let host = &mut self.hosts[n];
        let turned = host.disk.look(now);
        let (face, level) = (host.disk.face(now), host.disk.level);
        let told = host.disk.told;
        let is_news = told.is_none_or(|told| told != face && !face.is_no_worse(&told));
        if host.on && host.agent && is_news {
            let ids = self.changed(n, face);
            self.hosts[n].disk.told = Some(face);
            if turned {
                self.guard(n, level);
            }
            self.report(n, &ids);
        }
        self.survey_after(wait, n);
    }

    /// Members of whom something else is told than before.
    fn changed(&self, n: usize, face: super::host::Face) -> Vec<MemberId> {
        let host = &self.hosts[n];
        let Some(told) = host.disk.told else { return host.members.clone() };
        let same = super::host::Face { idle: face.idle, busy: face.busy, ..told } == face;
        let differs = |member: &&MemberId| match per_min(**member) {
            _ if !same => true,
            1 => told.idle != face.idle,
            _ => told.busy != face.busy,
        };
        host.members.iter().filter(differs).copied().collect()
    }

    /// Quiet servers of a host go by how much room there is.
    fn guard(&mut self, n: usize, level: Level) {
        for id in self.hosts[n].members.clone() {
            let Some(member) = self.member_mut(id).filter(|member| member.mind.is_none()) else {
                continue;
            };
            let service: ServiceId = member.stored.applied.goal.identity.service;
            self.count(service);
            if let Some(member) = self.member_mut(id) {
                member.server.guard = level;
            }
            self.stir(service);
        }
    }

    /// A host sends log that waits, each second of a window; gives when it does so again.
    fn push_for(&mut self, n: usize) -> Span {
        let window = self.window;
        let (mut wait, mut sent) = (PUSH, Span(0));
        while self.hosts[n].on && self.hosts[n].disk.pushes && wait == PUSH && sent < window {
            wait = self.push(n);
            sent = sent + PUSH;
        }
        wait.max(window)
    }

    /// A host sends log that waits for a second, as hard as it may; gives when it does so again.
    fn push(&mut self, n: usize) -> Span {
        let (now, view) = (self.now, self.storage);
        let jitter = self.chance.below(1000);
        let naive = self.storage.naive;
        let disk = &mut self.hosts[n].disk;
        disk.settle(now);
        let before = disk.waiting;
        let width = match disk.pace.leave(disk.level, now) {
            _ if naive => before,
            Leave::Go => u64::from(WIDTH_MAX) * 2,
            Leave::OneOf(width) => u64::from(width),
            Leave::Not(again, _) => {
                let seconds = again.since(now).0.div_ceil(PUSH.0).max(1);
                return PUSH.times(seconds);
            }
        };
        let offered = (width * PER_WIDTH).min(before);
        if offered > 0 {
            let taken = offered * view.taken_per_mille / 1000;
            self.offered += offered;
            disk.waiting = before - taken;
            match taken == offered {
                true => disk.pace.stored(now),
                false => disk.pace.failed(OVERLOADED, jitter, now),
            }
            if taken > 0 {
                disk.taken = now;
            }
            // One file that is asked to come again later is no trouble yet.
            disk.trouble = (now.since(disk.taken) >= TROUBLED).then_some(OVERLOADED);
        }
        if disk.waiting == 0 && view.up {
            (disk.since, disk.trouble, disk.pushes) = (None, None, false);
            (disk.at, disk.told) = (now, None);
            self.usual_per_min += disk.per_min;
            disk.look(now);
            let level = disk.level;
            self.guard(n, level);
            let ids = self.hosts[n].members.clone();
            self.report(n, &ids);
        } else if offered > 0 && before > 0 {
            // The oldest goes first: what waits now is younger by as much as went.
            let gone = before.saturating_sub(disk.waiting);
            if let Some(since) = disk.since.as_mut() {
                let age = now.since(*since).0;
                since.0 += age * gone / before.max(1);
            }
        }
        PUSH
    }
}
