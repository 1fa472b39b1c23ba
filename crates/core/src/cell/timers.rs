//! Timers: who is looked at again at a moment, though nothing is heard of him.
//!
//! A service has one at most: the soonest moment that its last look asked for. Every look asks anew for all that
//! the service waits for, so what an earlier look asked for is void with the next. One timer for each wish would
//! have a service looked at for steps that ended long ago: in a fleet in trouble, more often than for all else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

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
#[serde(transparent)]
pub struct Timers(BTreeSet<(Time, Due)>);

impl Timers {
    /// Has a service looked at again at a moment, unless it is sooner.
    pub fn service(&mut self, id: ServiceId, again: &mut Again, at: Time) {
        if at < again.0 {
            self.void(id, again);
            self.0.insert((at, Due::Service(id)));
            again.0 = at;
        }
    }

    /// A service is looked at, or gone: it waits for nothing.
    pub fn void(&mut self, id: ServiceId, again: &mut Again) {
        let known = std::mem::take(again);
        if known != Again::default() {
            self.0.remove(&(known.0, Due::Service(id)));
        }
    }

    /// Has a host looked at again at a moment.
    pub fn host(&mut self, host: HostId, at: Time) {
        self.0.insert((at, Due::Host(host)));
    }

    /// Has incidents looked at again at a moment.
    pub fn incidents(&mut self, at: Time) {
        self.0.insert((at, Due::Incidents));
    }

    /// When the next one is due.
    pub fn first(&self) -> Option<Time> {
        self.0.first().map(|&(at, _)| at)
    }

    /// Takes one out that is due.
    pub fn pop(&mut self, now: Time) -> Option<Due> {
        self.first().filter(|at| *at <= now)?;
        self.0.pop_first().map(|(_, due)| due)
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
    fn a_look_voids_what_was_asked_for_before_it() {
        let (mut timers, mut a) = (Timers::default(), Again::default());
        timers.service(A, &mut a, Time(50));
        timers.void(A, &mut a);
        assert_eq!((timers.first(), a), (None, Again::default()));
        timers.service(A, &mut a, Time(80));
        assert_eq!(timers.first(), Some(Time(80)), "later than before, as nothing is left of that");
    }
}
