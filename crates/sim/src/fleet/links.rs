//! Links between hosts, and between hosts and their controller: what is cut, and what a switch that is half dead
//! loses.
//!
//! Most packets of a link that is lost do not arrive, so that nothing that needs an answer works over it. Which
//! links those are depends on the pair and on the direction, as a switch spreads flows over its parts: one that
//! is there for one host is away for another. Where links are slow, what is sent arrives later, in the order in
//! which it was sent.

use evenkeel_core::cell::{Entry, Link};
use evenkeel_core::id::MemberId;
use evenkeel_core::report::ToAgent;
use evenkeel_core::time::{Span, Time};

use super::events::Event;
use super::host::Host;
use super::seat::Seat;

/// The controller, as an end of a link.
const CONTROLLER: usize = usize::MAX;

impl Host {
    /// Whether what it tells the cell arrives as it is said.
    pub fn is_prompt(&self, now: Time, tick: Span) -> bool {
        self.passes(self.arrive.0, now, tick)
    }

    /// Whether nothing that goes the same way is on its way still, or arrives in this very tick.
    fn passes(&self, newest: Time, now: Time, tick: Span) -> bool {
        self.delay == Span(0) && newest + tick <= now
    }
}

impl Seat {
    /// Whether packets from one end to another are lost.
    fn loses(&self, from: usize, to: usize) -> bool {
        let ill = |end: usize| self.hosts.get(end).map_or(0, |host| u64::from(host.ill));
        let ill = ill(from).max(ill(to));
        if ill == 0 {
            return false;
        }
        let mut mixed = (from as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(self.number);
        mixed = (mixed ^ (mixed >> 31) ^ to as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)) % 100 < ill
    }

    /// Whether two hosts reach each other.
    pub fn reaches(&self, one: usize, other: usize) -> bool {
        let same = self.hosts[one].side == self.hosts[other].side;
        one == other || (same && !self.loses(one, other) && !self.loses(other, one))
    }

    /// Whether a host and the controller reach each other.
    pub fn hears(&self, n: usize) -> bool {
        let cut = self.hosts[n].side != 0;
        !cut && !self.loses(n, CONTROLLER) && !self.loses(CONTROLLER, n)
    }

    /// A host is on one side of a partition from now on.
    pub fn part(&mut self, n: usize, side: u8) {
        if self.hosts[n].side != side {
            self.relink(n, |seat| seat.hosts[n].side = side);
        }
    }

    /// So many of a hundred links of a host lose packets from now on.
    pub fn ail(&mut self, n: usize, percent: u8) {
        if self.hosts[n].ill != percent {
            self.relink(n, |seat| seat.hosts[n].ill = percent);
        }
    }

    /// What a host sends and is sent takes so much longer from now on.
    pub fn slow(&mut self, n: usize, delay: Span) {
        if self.hosts[n].delay != delay {
            self.relink(n, |seat| seat.hosts[n].delay = delay);
        }
    }

    /// How long it takes from one host to another.
    pub fn way(&self, from: usize, to: usize) -> Span {
        if from == to { Span(0) } else { self.hosts[from].delay + self.hosts[to].delay }
    }

    /// What a host's agent, or the end of its stream, tells the cell.
    pub fn send(&mut self, n: usize, entry: Entry) {
        let (now, host) = (self.now, &mut self.hosts[n]);
        if host.is_prompt(now, self.tick) {
            return self.tell(entry);
        }
        host.arrive.0 = host.arrive.0.max(now + host.delay);
        let at = host.arrive.0;
        self.at(at.since(now), Event::ToCell(Box::new(entry)));
    }

    /// What the cell tells an agent.
    pub fn reach(&mut self, n: usize, link: Link, message: ToAgent) {
        let (now, host) = (self.now, &mut self.hosts[n]);
        if host.passes(host.arrive.1, now, self.tick) {
            return self.hear(n, message);
        }
        host.arrive.1 = host.arrive.1.max(now + host.delay);
        let at = host.arrive.1;
        self.at(at.since(now), Event::Heard(n, link, Box::new(message)));
    }

    /// What was on its way to an agent arrives.
    pub fn arrive(&mut self, n: usize, link: Link, message: ToAgent) {
        let host = &self.hosts[n];
        if host.link == Some(link) && host.on && host.agent && host.side == 0 {
            self.hear(n, message);
        }
    }

    /// Links of a host change. Nobody is told: what is not heard is silence.
    fn relink(&mut self, n: usize, change: impl FnOnce(&mut Self)) {
        let ids = self.hosts[n].members.clone();
        let of = |id: &MemberId| {
            let goal = &self.member(*id)?.stored.applied.goal;
            Some((*id, goal.identity.service, goal.fence.is_some()))
        };
        let all: Vec<_> = ids.iter().filter_map(of).collect();
        all.iter().for_each(|(_, service, _)| self.count(*service));
        change(self);
        // Who must stop by itself when it hears nobody is awake to notice.
        for (id, _, _) in all.iter().filter(|(_, _, fences)| *fences) {
            self.rouse(*id);
        }
        if !self.hears(n) {
            self.lose(n);
        }
        for (_, service, _) in &all {
            self.stir(*service);
        }
    }
}
