//! Timers: who is looked at again at a moment, though nothing is heard of him.
//!
//! A service has one at most: the soonest moment that its last look asked for. Every look asks anew for all that
//! the service waits for, so what an earlier look asked for is void with the next. One timer for each wish would
//! have a service looked at for steps that ended long ago: in a fleet in trouble, more often than for all else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::compact;
use crate::id::{HostId, ServiceId};
use crate::time::Time;

/// What a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// A host waits for something.
    Host(HostId),
    /// A service waits for something.
    Service(ServiceId),
    /// An incident or its chain waits for something.
    Incidents,
}

/// When a service is looked at again, as [`Timers`] has it: each keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Again(Time);

impl Default for Again {
    fn default() -> Self {
        Self(Time(u64::MAX))
    }
}

/// Timers in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timers {
    due: BTreeSet<(Time, Due)>,
    /// When hosts' beats may be late. Nearly always they are not, and come together.
    late: BTreeMap<Time, Vec<HostId>>,
}

impl Timers {
    /// Has a service looked at again at a moment, unless it is sooner.
    pub fn service(&mut self, id: ServiceId, again: &mut Again, at: Time) {
        if at < again.0 {
            self.void(id, again);
            self.due.insert((at, Due::Service(id)));
            again.0 = at;
        }
    }

    /// A service is looked at, or gone: it waits for nothing.
    pub fn void(&mut self, id: ServiceId, again: &mut Again) {
        let known = std::mem::take(again);
        if known != Again::default() {
            self.due.remove(&(known.0, Due::Service(id)));
        }
    }

    /// Has a host looked at again at a moment.
    pub fn host(&mut self, host: HostId, at: Time) {
        self.due.insert((at, Due::Host(host)));
    }

    /// Has incidents looked at again at a moment.
    pub fn incidents(&mut self, at: Time) {
        self.due.insert((at, Due::Incidents));
    }

    /// Has it looked at whether a host is still heard at a moment.
    pub fn late(&mut self, host: HostId, at: Time) {
        compact::insert(self.late.entry(at).or_default(), host);
    }

    /// When the next one is due.
    pub fn first(&self) -> Option<Time> {
        let due = self.due.first().map(|&(at, _)| at);
        due.into_iter().chain(self.late.first_key_value().map(|(at, _)| *at)).min()
    }

    /// Takes one out that is due.
    pub fn pop(&mut self, now: Time) -> Option<Due> {
        self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.pop_first().map(|(_, due)| due)
    }

    /// Takes out whose beats may be late by now.
    pub fn pop_late(&mut self, now: Time) -> Vec<HostId> {
        let mut hosts = Vec::new();
        while let Some(late) = self.late.first_entry().filter(|late| *late.key() <= now) {
            hosts.append(&mut late.remove());
        }
        hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServiceId = ServiceId(1);
    const B: ServiceId = ServiceId(2);

    #[test]
    fn a_service_has_one_timer_and_it_is_the_soonest() {
        let (mut timers, mut a, mut b) = (Timers::default(), Again::default(), Again::default());
        timers.service(A, &mut a, Time(50));
        timers.service(A, &mut a, Time(70));
        timers.service(B, &mut b, Time(60));
        timers.service(A, &mut a, Time(40));
        timers.host(HostId(1), Time(45));
        assert_eq!((timers.first(), timers.pop(Time(39))), (Some(Time(40)), None));
        let due: Vec<Due> = std::iter::from_fn(|| timers.pop(Time(100))).collect();
        assert_eq!(due, [Due::Service(A), Due::Host(HostId(1)), Due::Service(B)]);
    }

    #[test]
    fn hosts_whose_beats_may_be_late_come_once_each() {
        let (mut timers, host) = (Timers::default(), HostId);
        for (n, at) in [(2, 50), (1, 50), (2, 50), (3, 60)] {
            timers.late(host(n), Time(at));
        }
        timers.host(host(4), Time(55));
        assert_eq!(timers.first(), Some(Time(50)));
        assert_eq!(timers.pop_late(Time(49)), []);
        assert_eq!(timers.pop_late(Time(59)), [host(1), host(2)]);
        assert_eq!((timers.first(), timers.pop_late(Time(60))), (Some(Time(55)), vec![host(3)]));
    }

    #[test]
    fn a_look_voids_what_was_asked_for_before_it() {
        let (mut timers, mut a) = (Timers::default(), Again::default());
        timers.service(A, &mut a, Time(50));
        timers.void(A, &mut a);
        assert_eq!((timers.first(), a), (None, Again::default()));
        timers.service(A, &mut a, Time(80));
        assert_eq!(timers.first(), Some(Time(80)), "later than before, as nothing is left of that");
    }
}
