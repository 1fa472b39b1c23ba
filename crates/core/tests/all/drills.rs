//! Drills, as tables: when they are due, which begin, what is kept of them.

use evenkeel_core::drill::{
    Begun, Budget, Candidate, Drills, Kind, Outcome, RESULTS_MAX, RUN_MAX, Rule, Running, Schedule,
    Trend, pick,
};
use evenkeel_core::id::ServiceId;
use evenkeel_core::maintenance::{Windows, day};
use evenkeel_core::time::{Span, Time};

const DAY: Span = Span::mins(24 * 60);

fn at(text: &str) -> Time {
    day(&format!("2026-11-{text}:00Z")).expect("a time")
}

fn result(kind: Kind, at: Time, gap_ms: u64, failed: Option<&str>) -> Outcome {
    Outcome { kind, at, gap_ms, lost: 0, acked: 9, failed: failed.map(str::to_owned) }
}

#[test]
fn a_drill_is_due_in_the_first_window_after_its_time() {
    let schedule = Schedule { kind: Kind::Failover, every: DAY.times(3), since: at("19T12:00") };
    let sunday: Windows = "Sun 02:00 4h".parse().expect("a window");
    let mut drills = Drills { schedules: vec![schedule], ..Drills::default() };
    assert_eq!(drills.due(&schedule, None), at("22T12:00"), "the first, without windows");
    assert_eq!(drills.due(&schedule, Some(&sunday)), at("29T02:00"));
    // One of another sort moves nothing; its own does, whatever it came to.
    drills.keep(result(Kind::Controller, at("20T00:00"), 1, None));
    assert_eq!(drills.due(&schedule, None), at("22T12:00"));
    drills.keep(result(Kind::Failover, at("19T23:30"), 1, Some("no standby")));
    assert_eq!(drills.due(&schedule, None), at("22T23:30"));
    drills.keep(result(Kind::Failover, at("19T03:00"), 1, None));
    assert_eq!(drills.due(&schedule, Some(&sunday)), at("29T02:00"), "not before it was asked for");
    assert_eq!(drills.late(&schedule, None), drills.due(&schedule, None) + DAY.times(3));
}

#[test]
fn a_drill_that_is_due_within_its_window_is_due_at_once() {
    let schedule = Schedule { kind: Kind::Failover, every: DAY.times(3), since: at("19T03:00") };
    let sunday: Windows = "Sun 02:00 4h".parse().expect("a window");
    assert_eq!(Drills::default().due(&schedule, Some(&sunday)), at("22T03:00"));
}

#[test]
fn no_more_drills_begin_than_the_budgets_allow() {
    let now = at("22T12:00");
    let due = |service: u32, hours: u64, touched: Option<u64>| Candidate {
        service: ServiceId(service),
        kind: Kind::Failover,
        since: now - Span::mins(60 * hours),
        touched: touched.map(|hours| now - Span::mins(60 * hours)),
        planned: false,
    };
    let all = [due(1, 1, None), due(2, 5, Some(100)), due(3, 9, Some(3)), due(4, 5, None)];
    let ids = |due: &[Candidate], running, at_once| -> Vec<u32> {
        let budget = Budget { at_once, spacing: DAY };
        pick(now, due, running, budget).into_iter().map(|(service, _)| service.0).collect()
    };
    assert_eq!(ids(&all, 0, 9), [2, 4, 1], "3 was drilled three hours ago");
    assert_eq!(ids(&all, 0, 1), [2], "the longest due first, ties by id");
    assert_eq!(ids(&all, 1, 2), [2]);
    assert_eq!(ids(&all, 1, 1), [0; 0]);
    assert_eq!(ids(&all, 0, 0), [0; 0], "a budget of none is none");
    let planned = Candidate { planned: true, ..due(3, 9, Some(3)) };
    assert_eq!(ids(&[planned], 0, 1), [3], "a person's plan is not spaced");
    let twice = [due(1, 1, None), Candidate { kind: Kind::Controller, ..due(1, 2, None) }];
    assert_eq!(ids(&twice, 0, 9), [1], "one at a time on a service");
}

#[test]
fn results_are_bounded_by_kind_and_their_trend_is_of_medians() {
    let mut drills = Drills::default();
    drills.keep(result(Kind::Controller, at("01T00:00"), 7, None));
    for n in 0..30 {
        drills.keep(result(Kind::Failover, at("02T00:00") + Span::secs(n), 100 * n, None));
    }
    assert_eq!(drills.of(Kind::Failover).count(), RESULTS_MAX);
    assert_eq!(drills.of(Kind::Controller).count(), 1, "another kind's are kept");
    assert_eq!(drills.newest(Kind::Failover).map(|r| r.gap_ms), Some(2900));
    let trend = Trend { newest_ms: 2700, before_ms: Some(2200) };
    assert_eq!(drills.trend(Kind::Failover), Some(trend));
    assert_eq!(drills.trend(Kind::Proof), None);
    assert_eq!(drills.trend(Kind::Controller), Some(Trend { newest_ms: 7, before_ms: None }));
    // One that failed measured nothing.
    drills.keep(result(Kind::Failover, at("03T00:00"), 0, Some("aborted")));
    assert_eq!(drills.trend(Kind::Failover), Some(trend));
}

#[test]
fn a_drill_that_never_ends_is_over_after_a_while() {
    let running =
        Running { kind: Kind::Failover, since: at("22T12:00"), by: Begun::Person, aborted: false };
    let drills = Drills { running: Some(running), ..Drills::default() };
    assert!(drills.runs(at("22T12:00") + RUN_MAX - Span(1)).is_some());
    assert!(drills.runs(at("22T12:00") + RUN_MAX).is_none());
    assert_eq!(drills.touched(), Some(at("22T12:00")));
}

#[test]
fn first_drills_of_a_rule_are_spread_over_its_turn() {
    let every = DAY.times(30);
    let rule = Rule { kind: Kind::Brake, every, since: at("22T12:00") };
    let mut tenths = [0; 10];
    for service in 1..=1_000 {
        let due = Drills::default().due(&rule.schedule(ServiceId(service)), None);
        assert!(due >= rule.since && due < rule.since + every, "{due:?}");
        let tenth = due.since(rule.since).0 * 10 / every.0;
        tenths[usize::try_from(tenth).expect("one of ten")] += 1;
    }
    assert!(tenths.iter().all(|n| (80..=120).contains(n)), "{tenths:?}");
}
