//! What clients of a service have: whether they can write, and how much of what they wrote is acknowledged. A
//! position that grows by a rate while they can.

use evenkeel_core::goal::{Goal, Role};
use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::kind::Loss;
use evenkeel_core::promise::Copy;
use evenkeel_core::time::{Span, Time};

use super::events::Event;
use super::seat::{Seat, place};
use crate::kinds::cache::{self, Cache};
use crate::report::Invariant;

/// Between looks at who streams from whom, while anything about a service changes.
const STREAM: Span = Span::millis(100);
/// The same once nothing has changed for a while.
const STREAM_SLOW: Span = Span::secs(2);
const STREAM_SOON: Span = Span::secs(10);
/// Bytes that clients of a service with standbys write in a second.
const RATE: u64 = 8_192;

/// What of a member's contents is not on its disk yet.
pub(super) fn unsynced(goal: &Goal) -> u64 {
    if goal.identity.kind == Cache::NAME { RATE * cache::UNSYNCED.0 / 1000 } else { 0 }
}

/// A service, as its clients have it.
pub(super) struct Service {
    pub members: Vec<MemberId>,
    /// Since when clients cannot write; `None`: they can, or never could.
    pub down: Option<Time>,
    /// Whether they ever could.
    pub served: bool,
    /// Whether it was ordered to rest.
    pub ledger: Option<Box<Ledger>>,
}

/// What was acknowledged, of a service with standbys.
pub(super) struct Ledger {
    /// Where its clients' last acknowledged write ends.
    pub acked: u64,
    /// Until when that is counted.
    at: Time,
    /// Who takes writes then.
    writer: Option<MemberId>,
    /// What its plan may lose.
    pub loss: Option<Loss>,
    /// When standbys are looked at next.
    pub streams: Option<Time>,
    /// When anything about its members changed last.
    stirred: Time,
}

impl Ledger {
    pub fn new(now: Time, loss: Option<Loss>) -> Self {
        Self { acked: 0, at: now, writer: None, loss, streams: None, stirred: now }
    }
}

impl Seat {
    pub fn service(&mut self, id: ServiceId) -> Option<&mut Service> {
        self.services.get_mut(place(id.0))?.as_mut()
    }

    /// Whether clients can write to a service now, and where.
    fn writer(&self, id: ServiceId) -> Option<MemberId> {
        let service = self.services.get(place(id.0))?.as_ref()?;
        service.members.iter().copied().find(|&member| {
            self.member(member).is_some_and(|member| {
                self.hosts[member.host].on && member.server.takes_writes(self.now)
            })
        })
    }

    /// Notes whether clients of a service can write.
    pub fn felt(&mut self, id: ServiceId) {
        let writer = self.writer(id);
        let now = self.now;
        let Some(service) = self.service(id) else { return };
        match (writer, service.down) {
            (Some(_), Some(since)) => {
                service.down = None;
                self.tally.outage(now.since(since), now);
            }
            (Some(_), None) => service.served = true,
            (None, None) if service.served => {
                service.down = Some(now);
                self.tally.fell();
            }
            (None, _) => {}
        }
    }

    /// A cache may lose what it has not synced when its host has no power: it counts as never acknowledged.
    pub fn forgive(&mut self, id: MemberId) {
        let Some(member) = self.member(id) else { return };
        let goal = &member.stored.applied.goal;
        let (service, unsynced) = (goal.identity.service, unsynced(goal));
        let primary = member.server.part.as_deref().filter(|part| unsynced > 0 && !part.standby);
        let Some(end) = primary.map(|part| part.end) else { return };
        if let Some(ledger) = self.service(service).and_then(|s| s.ledger.as_deref_mut())
            && ledger.writer == Some(id)
        {
            ledger.acked = ledger.acked.min(end.max(ledger.acked.saturating_sub(unsynced)));
        }
    }

    /// At the end: outages that last on are counted until now.
    pub fn count_outages(&mut self) {
        let now = self.now;
        for since in self.services.iter().flatten().filter_map(|service| service.down) {
            self.tally.lasts_on(now.since(since));
        }
    }

    /// Counts what clients wrote until now.
    pub fn count(&mut self, id: ServiceId) {
        let now = self.now;
        let Some(ledger) = self.service(id).and_then(|service| service.ledger.as_deref_mut())
        else {
            return;
        };
        let written = now.since(ledger.at).0 * RATE / 1000;
        ledger.at = now;
        let Some(writer) = ledger.writer.filter(|_| written > 0) else { return };
        let Some(part) = self.member_mut(writer).and_then(|m| m.server.part.as_deref_mut()) else {
            return;
        };
        part.end += written;
        let followers: Vec<Copy> = part.followers.keys().copied().collect();
        for copy in followers {
            let has = self.arrived(writer, copy.member);
            let follower = self.member_mut(copy.member).and_then(|m| m.server.part.as_deref_mut());
            if let Some(follower) = follower.filter(|part| part.streaming) {
                follower.end = follower.end.max(has);
            }
            if let Some(part) = self.member_mut(writer).and_then(|m| m.server.part.as_deref_mut()) {
                part.followers.insert(copy, has);
            }
        }
        let part = self.member(writer).and_then(|member| member.server.part.as_deref());
        let acked = part.map_or(0, |part| part.acknowledged(now));
        if let Some(ledger) = self.service(id).and_then(|service| service.ledger.as_deref_mut()) {
            ledger.acked = ledger.acked.max(acked);
        }
    }

    /// How much of a primary's log another member has: what was written while a message goes there and its answer
    /// back is on its way.
    fn arrived(&self, primary: MemberId, other: MemberId) -> u64 {
        let (Some(from), Some(to)) = (self.member(primary), self.member(other)) else { return 0 };
        let on_its_way = RATE * self.way(from.host, to.host).0 * 2 / 1000;
        from.server.part.as_deref().map_or(0, |part| part.arrived(on_its_way))
    }

    /// Something about a member of it changed: what clients wrote until now is counted, standbys are looked
    /// at soon.
    pub fn stir(&mut self, id: ServiceId) {
        self.count(id);
        self.restream(id);
        let now = self.now;
        let Some(ledger) = self.service(id).and_then(|service| service.ledger.as_deref_mut())
        else {
            return self.felt(id);
        };
        ledger.stirred = now;
        if ledger.streams.is_none_or(|at| at > now + STREAM || at < now) {
            ledger.streams = Some(now + STREAM);
            self.at(STREAM, Event::Stream(id));
        }
        self.felt(id);
    }

    /// Standbys of a service receive what is new.
    pub fn stream(&mut self, id: ServiceId) {
        let now = self.now;
        let due = |service: &Service| service.ledger.as_ref().and_then(|ledger| ledger.streams);
        if self.service(id).and_then(|service| due(service)).is_some_and(|at| at > now) {
            // It was wanted earlier meanwhile, and looked at then.
            return;
        }
        self.count(id);
        let awake = self.restream(id);
        let Some(ledger) = self.service(id).and_then(|service| service.ledger.as_deref_mut())
        else {
            return;
        };
        let soon = now.since(ledger.stirred) < STREAM_SOON;
        let wait = if soon { STREAM } else { STREAM_SLOW };
        ledger.streams = awake.then(|| now + wait);
        if awake {
            self.at(wait, Event::Stream(id));
        }
        self.felt(id);
    }

    /// Who streams from whom, and who takes writes; whether any member is awake.
    fn restream(&mut self, id: ServiceId) -> bool {
        let Some(service) = self.service(id).filter(|service| service.ledger.is_some()) else {
            return false;
        };
        let members = service.members.clone();
        let (now, mut flips) = (self.now, false);
        for &standby in &members {
            let upstream = self.upstream(standby);
            let Some(member) = self.member(standby) else { continue };
            let Some(part) = member.server.part.as_deref() else { continue };
            let (copy, streamed) = (part.copy, part.streaming);
            let cache = member.stored.applied.goal.identity.kind == Cache::NAME;
            let runs = part.standby && member.server.runs(now);
            let up = upstream.filter(|_| runs).and_then(|up| {
                let primary = self.member(up)?.server.part.as_deref()?;
                Some((up, self.arrived(up, standby), primary.history, part.begins(primary)))
            });
            let found = up.filter(|(.., begins)| *begins && now >= part.whole);
            if cache && up.is_some_and(|(.., begins)| !begins) {
                let part = self.member_mut(standby).and_then(|m| m.server.part.as_deref_mut());
                part.into_iter().for_each(|part| part.copy_all(now));
                self.tally.copies += 1;
            }
            for &other in &members {
                let part = self.member_mut(other).and_then(|m| m.server.part.as_deref_mut());
                let Some(part) = part else { continue };
                match found {
                    Some((up, end, ..)) if up == other => drop(part.followers.insert(copy, end)),
                    _ => drop(part.followers.remove(&copy)),
                }
            }
            if let Some(part) = self.member_mut(standby).and_then(|m| m.server.part.as_deref_mut())
            {
                part.streaming = found.is_some();
                flips |= part.streaming != streamed;
                if let Some((_, end, history, _)) = found {
                    (part.end, part.history) = (part.end.max(end), history);
                }
            }
        }
        if flips {
            // Both ends notice, and say so.
            for &member in &members {
                self.at(STREAM, Event::Rouse(member));
            }
        }
        let writer = self.writer(id);
        if let Some(ledger) = self.service(id).and_then(|service| service.ledger.as_deref_mut())
            && std::mem::replace(&mut ledger.writer, writer) != writer
            && let Some(writer) = writer
        {
            self.hold_to_promise(writer);
        }
        self.hold_to_one_writer(id, &members);
        members.iter().any(|id| self.member(*id).is_some_and(|member| member.mind.is_some()))
    }

    /// The member that a standby receives from, if that serves it and is reached.
    pub fn upstream(&self, id: MemberId) -> Option<MemberId> {
        let member = self.member(id)?;
        let role = match member.server.part.as_deref() {
            Some(part) => &part.role,
            None => &member.stored.applied.goal.role,
        };
        let wanted = &member.stored.applied.goal.role;
        let role = if matches!(role, Role::Recruit) { wanted } else { role };
        let Role::Standby { upstream } = role else { return None };
        let (own, up) = (&self.hosts[member.host], self.member(upstream.copy.member)?);
        let host = &self.hosts[up.host];
        let part = up.server.part.as_deref()?;
        let Role::Primary { followers, .. } = &part.role else { return None };
        let copy = member.stored.applied.goal.copy();
        let known = followers.iter().any(|follower| follower.copy == copy);
        let serves = !part.standby && part.copy == upstream.copy && up.server.runs(self.now);
        let reached = own.on && host.on && self.reaches(member.host, up.host);
        (known && serves && reached).then_some(upstream.copy.member)
    }

    /// No two members acknowledge at the same time.
    fn hold_to_one_writer(&mut self, id: ServiceId, members: &[MemberId]) {
        self.tally.check(Invariant::OneWriter);
        let now = self.now;
        let acks = |member: &&MemberId| {
            self.member(**member)
                .is_some_and(|member| self.hosts[member.host].on && member.server.takes_writes(now))
        };
        if members.iter().filter(acks).count() > 1 {
            self.tally.broke(Invariant::OneWriter, format!("two members of {id} take writes"));
        }
    }

    /// Whoever is promoted, or takes writes from now on, has everything that was acknowledged, or no less than the plan allows.
    pub fn hold_to_promise(&mut self, member: MemberId) {
        let Some(found) = self.member(member) else { return };
        let id = found.stored.applied.goal.identity.service;
        let Some(part) = found.server.part.as_deref() else { return };
        let (end, whole) = (part.end, part.whole <= self.now);
        self.tally.check(Invariant::AcknowledgedWritesKept);
        if !whole {
            let text = format!("{member} of {id} takes writes with half a copy");
            self.tally.broke(Invariant::AcknowledgedWritesKept, text);
        }
        let Some(ledger) = self.service(id).and_then(|service| service.ledger.as_deref_mut())
        else {
            return;
        };
        let (missing, loss) = (ledger.acked.saturating_sub(end), ledger.loss);
        ledger.acked = ledger.acked.min(end);
        self.tally.check(Invariant::AcknowledgedWritesKept);
        if missing > 0 && loss.is_none_or(|loss| missing > loss.bytes + RATE * 60) {
            self.tally.lost += missing;
            let text = format!("{missing} acknowledged bytes of {id} are not with {member}");
            self.tally.broke(Invariant::AcknowledgedWritesKept, text);
        }
    }
}
