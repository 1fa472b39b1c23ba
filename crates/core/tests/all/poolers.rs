//! An agent's poolers: each row a story of what is wanted, heard and done.

use evenkeel_core::agent::poolers::{Call, Poolers};
use evenkeel_core::driver::Error;
use evenkeel_core::id::ServiceId;
use evenkeel_core::pooler::{Kept, News, Pooler, State};
use evenkeel_core::time::{Span, Time};

const SERVICE: ServiceId = ServiceId(1);

fn wanted(paused: bool) -> Pooler {
    Pooler {
        service: SERVICE,
        name: "pay".to_owned(),
        kind: "toy".to_owned(),
        port: 21_001,
        endpoint_port: 21_000,
        logins: Vec::new(),
        sessions_max: 5,
        clients_max: 10,
        paused,
    }
}

/// An agent's poolers at a moment, with a controller that is heard.
struct Host {
    poolers: Poolers,
    now: Time,
}

impl Host {
    fn new() -> Self {
        let mut poolers = Poolers::default();
        poolers.hear(true);
        Self { poolers, now: Time(1_000) }
    }

    fn order(&mut self, routes: u64, paused: bool) -> bool {
        !self.poolers.take(routes, false, &[wanted(paused)], &[]).is_empty()
    }

    /// The one call that is due, if one is.
    fn call(&mut self) -> Option<Call> {
        let mut calls = self.poolers.drive(self.now);
        assert!(calls.len() < 2, "one pooler, one call");
        calls.pop()
    }

    fn done(&mut self, call: &Call, so: bool) {
        let kept = call.wanted.as_ref().map(|_| Kept { pid: 7, so });
        self.poolers.outcome(SERVICE, call.number, &Ok(kept), self.now);
    }

    fn obey(&mut self) -> Option<Pooler> {
        let call = self.call()?;
        self.done(&call, true);
        call.wanted
    }

    fn news(&mut self) -> Option<(u64, State)> {
        self.poolers.news().pop().map(|News { routes, state, .. }| (routes, state))
    }
}

#[test]
fn a_pooler_is_kept_paused_and_resumed_and_each_is_told_once() {
    let mut host = Host::new();
    assert!(host.order(5, false), "what is new is kept on disk");
    assert_eq!(host.news(), None, "nothing is told before it is so");
    assert_eq!(host.obey(), Some(wanted(false)));
    assert_eq!(host.news(), Some((5, State::Serving)));
    assert_eq!((host.obey(), host.news()), (None, None));

    assert!(!host.order(6, true), "a pause is not for the disk");
    assert_eq!(host.obey(), Some(wanted(true)));
    assert_eq!(host.news(), Some((6, State::Paused)));

    host.order(7, false);
    assert_eq!(host.obey(), Some(wanted(false)));
    assert_eq!(host.news(), Some((7, State::Serving)));
}

#[test]
fn open_transactions_are_waited_for_in_short_steps() {
    let mut host = Host::new();
    host.order(5, true);
    for _ in 0..3 {
        let call = host.call().expect("asked for again");
        host.done(&call, false);
        assert_eq!((host.news(), host.call()), (None, None));
        let due = host.poolers.wake_at().unwrap();
        assert!(due.since(host.now) <= Span::millis(20), "{due:?}");
        host.now = due;
    }
    host.obey().expect("and once more");
    assert_eq!(host.news(), Some((5, State::Paused)));
}

#[test]
fn what_was_wanted_before_is_not_told_as_what_is_wanted_now() {
    let mut host = Host::new();
    host.order(5, false);
    let early = host.call().unwrap();
    host.order(6, true);
    assert_eq!(host.call(), None, "one call at a time");
    host.done(&early, true);
    assert_eq!(host.news(), None, "it serves, and should wait");
    assert_eq!(host.obey(), Some(wanted(true)));
    assert_eq!(host.news(), Some((6, State::Paused)));
    // Other routes changed: it still waits, and that is told for them too.
    host.order(8, true);
    assert_eq!((host.obey(), host.news()), (None, Some((8, State::Paused))));
}

#[test]
fn nobody_waits_for_a_controller_that_is_not_heard() {
    let mut host = Host::new();
    host.order(5, true);
    host.obey();
    host.poolers.hear(false);
    assert_eq!(host.obey(), Some(wanted(false)));
    host.poolers.hear(true);
    assert_eq!(host.obey(), Some(wanted(true)), "it says so again");
    assert_eq!(host.news(), Some((5, State::Paused)));
}

#[test]
fn a_death_is_answered_at_once_and_what_goes_on_failing_ever_more_seldom() {
    let mut host = Host::new();
    host.order(5, false);
    host.obey();
    host.news();
    host.poolers.died(SERVICE);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let call = host.call().expect("due");
        let failed = Err(Error::PortTaken { port: 21_001 });
        host.poolers.outcome(SERVICE, call.number, &failed, host.now);
        let due = host.poolers.wake_at().unwrap();
        waits.push(due.since(host.now).0);
        host.now = due;
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000]);
    let (routes, State::Failed(why)) = host.news().unwrap() else { panic!("it failed") };
    assert!(routes == 5 && why.contains("21001"), "{why}");
    host.obey();
    assert_eq!(host.news(), Some((5, State::Serving)));
}

#[test]
fn what_is_not_wanted_any_more_is_removed_and_forgotten() {
    let mut host = Host::new();
    host.order(5, false);
    host.obey();
    let save = host.poolers.take(6, true, &[], &[]);
    assert_eq!(save, [(SERVICE, None)]);
    assert_eq!(host.call().map(|call| call.wanted), Some(None));
    // Wanted again while it is being removed: it is made anew.
    assert!(host.order(7, false));
    let removed: Option<Kept> = None;
    host.poolers.outcome(SERVICE, 2, &Ok(removed), host.now);
    assert_eq!(host.obey(), Some(wanted(false)));
}

#[test]
fn an_agent_that_comes_back_keeps_what_it_had_before_anybody_is_heard() {
    let mut poolers = Poolers::new(&[wanted(false)]);
    let calls = poolers.drive(Time(1));
    assert_eq!(
        calls.into_iter().map(|call| call.wanted).collect::<Vec<_>>(),
        [Some(wanted(false))]
    );
}
