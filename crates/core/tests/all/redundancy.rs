//! Parts in replication, as tables: what an agent does next about its member, what is decided about a
//! service with standbys.

use std::sync::LazyLock;

use evenkeel_core::agent::Action;
use evenkeel_core::agent::reconcile::{self, Next, Seen};
use evenkeel_core::claim::Refusal as Claimed;
use evenkeel_core::decide::{
    Decision, Hearing, Input, Primary, Reason, Redundancy, Underway, decide,
};
use evenkeel_core::digest::Digest;
use evenkeel_core::driver::{Answer, Directory, Process};
use evenkeel_core::goal::{
    Accept, Applied, Goal, Password, Refusal, Role, StopMode, Upstream, Want, accept,
};
use evenkeel_core::id::{HostId, Incarnation, MemberId, Revision, Term};
use evenkeel_core::knowing::{Sighting, Verdict};
use evenkeel_core::member::State;
use evenkeel_core::operation::Kind;
use evenkeel_core::promise::{Copy, Missing, Position, Recruit, Set};
use evenkeel_core::remedy::{Budget, Condition, Course, Guard, Level, Remedies, Remedy};
use evenkeel_core::report::Sight;
use evenkeel_core::service::{Health, Phase};
use evenkeel_core::time::{Span, Time};

use crate::agent::{goal, seen};
use crate::automation::Fixed;

const NOW: Time = Time(1_000_000);
const OTHER: Copy = Copy { member: MemberId(9), incarnation: Incarnation(1) };

fn standby() -> Role {
    let upstream = Upstream {
        copy: OTHER,
        address: "127.0.0.1".into(),
        port: 21009,
        role: "ek_m1_i1".into(),
        password: Password("secret".into()),
    };
    Role::Standby { upstream }
}

fn primary(acks: u8, change: u32) -> Role {
    let set = if acks == 0 { Set::nobody() } else { Set::any(acks, &[OTHER]).expect("a set") };
    Role::Primary { set, change, followers: Vec::new() }
}

/// A goal of a service with two members.
fn wanted(role: Role, incarnation: u32) -> Goal {
    let mut goal = goal(1, Want::Running, 0);
    std::sync::Arc::make_mut(&mut goal.identity).members =
        vec![(MemberId(1), HostId(1)), (MemberId(9), HostId(2))];
    (goal.role, goal.incarnation) = (role, Incarnation(incarnation));
    goal
}

/// A member whose directory is of incarnation 1.
fn known(state: State, process: Process, answer: Answer) -> Seen {
    let directory = Directory::Complete { incarnation: Incarnation(1) };
    Seen {
        answer,
        prepared: Some(((Term(1), Revision(1)), Digest([0; 32]))),
        ..seen(state, directory, process, true, NOW)
    }
}

fn next(goal: &Goal, seen: &Seen) -> Next {
    reconcile::next(goal, seen, NOW)
}

const RUNS: Process = Process::Running { pid: 7 };

#[test]
fn what_was_a_primary_follows_nobody_before_it_is_made_anew() {
    let mut seen = known(State::Ready, RUNS, Answer::Accepting);
    seen.part.primary = true;
    for role in [standby(), Role::Recruit] {
        assert_eq!(next(&wanted(role, 1), &seen), Next::Do(Action::Stop(StopMode::Fast)));
    }
    (seen.state, seen.process) = (State::Stopped, Some(Process::None));
    assert_eq!(next(&wanted(Role::Recruit, 1), &seen), Next::Do(Action::EndOfLog));
    let recruit = Recruit {
        copy: wanted(Role::Recruit, 1).copy(),
        history: Term(0),
        flushed: Position(u64::MAX),
    };
    seen.part.recruited = Some((Term(1), recruit));
    assert!(matches!(next(&wanted(Role::Recruit, 1), &seen), Next::Wait(_)), "it rests");
    assert!(matches!(next(&wanted(standby(), 1), &seen), Next::Wait(_)), "it is not started");
    // A newer incarnation is the order to make it anew.
    assert_eq!(next(&wanted(standby(), 2), &seen), Next::Do(Action::Rejoin));
    seen.process = Some(RUNS);
    assert!(
        matches!(next(&wanted(standby(), 2), &seen), Next::Do(Action::Stop(_))),
        "at rest first"
    );
}

#[test]
fn a_recruit_is_asked_until_it_has_said_how_far_it_got() {
    let goal = wanted(Role::Recruit, 1);
    let mut seen = known(State::Following, RUNS, Answer::Following);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Replication));
    seen.part.asked = NOW;
    assert!(matches!(next(&goal, &seen), Next::Wait(at) if at <= NOW + Span::millis(20)));
    // Not running, it is started: what is not replayed cannot be told.
    (seen.state, seen.process, seen.answer) =
        (State::Stopped, Some(Process::None), Answer::Unasked);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Start));
    seen.directory = Some(Directory::Absent);
    seen.made = false;
    assert!(matches!(next(&goal, &seen), Next::Wait(_)), "nothing is made for a recruiting");
}

#[test]
fn a_primary_is_promoted_opened_and_confirmed_in_that_order() {
    let goal = wanted(primary(1, 2), 1);
    let mut seen = known(State::Following, RUNS, Answer::Following);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Promote));
    (seen.part.primary, seen.answer) = (true, Answer::Accepting);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Open));
    seen.part.tried = NOW;
    assert!(
        matches!(next(&goal, &seen), Next::Wait(_)),
        "its own write waits until clients are in"
    );
    seen.part.opened = true;
    seen.probed = Time(0);
    assert!(matches!(next(&goal, &seen), Next::Do(Action::Probe { .. })));
    (seen.probed, seen.write_proven, seen.state) = (NOW, true, State::Ready);
    seen.part.tried = Time(0);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Confirm));
    seen.part.confirmed = Some((Term(1), 1));
    assert_eq!(next(&goal, &seen), Next::Do(Action::Confirm), "of another change");
    seen.part.confirmed = Some((Term(1), 2));
    assert!(matches!(next(&goal, &seen), Next::Wait(_)));
}

#[test]
fn a_primary_that_waits_for_nobody_opens_only_after_it_heard_its_goal() {
    let goal = wanted(primary(0, 1), 1);
    let mut seen = known(State::Starting, RUNS, Answer::Accepting);
    seen.part.primary = true;
    seen.part.heard = Time(NOW.0 - 1);
    assert!(matches!(next(&goal, &seen), Next::Wait(_)), "it may have been replaced");
    seen.part.heard = NOW;
    assert_eq!(next(&goal, &seen), Next::Do(Action::Open));
    // A single member has nobody to be replaced by.
    let alone = crate::agent::goal(1, Want::Running, 0);
    seen.part.heard = Time(0);
    seen.probed = Time(0);
    assert!(matches!(next(&alone, &seen), Next::Do(Action::Probe { .. })));
}

#[test]
fn a_server_that_answered_is_asked_again_before_anything_else_is_wanted_of_it() {
    let goal = wanted(primary(1, 2), 1);
    let mut seen = known(State::Ready, RUNS, Answer::Accepting);
    (seen.part.opened, seen.write_proven, seen.prepared) = (true, true, None);
    seen.probed = Time(NOW.0 - 2_000);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Probe { write: false }));
}

#[test]
fn what_was_made_in_a_server_is_made_again_only_when_it_is_to_be_other() {
    let mut goal = wanted(primary(0, 0), 1);
    goal.revision = Revision(2);
    let mut seen = known(State::Ready, RUNS, Answer::Accepting);
    seen.configured = Some((Term(1), Revision(2)));
    assert_eq!(next(&goal, &seen), Next::Do(Action::Prepare), "made for other logins");
    seen.prepared = Some(((Term(1), Revision(1)), goal.accounts()));
    assert_ne!(next(&goal, &seen), Next::Do(Action::Prepare), "made for the same ones");
}

#[test]
fn a_new_primary_takes_writes_before_anything_is_made_for_those_who_will_follow() {
    let promoted = |acks| {
        let mut seen = known(State::Following, RUNS, Answer::Accepting);
        (seen.prepared, seen.write_proven) = (None, false);
        (seen.started, seen.probed) = (Time(NOW.0 - 60_000), Time(0));
        (seen.part.promoted, seen.part.promoted_at, seen.part.heard) = (Some(Term(1)), NOW, NOW);
        (wanted(primary(acks, 0), 1), seen)
    };
    let (goal, mut seen) = promoted(0);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Open));
    seen.part.opened = true;
    assert_eq!(next(&goal, &seen), Next::Do(Action::Probe { write: true }));
    seen.write_proven = true;
    assert_eq!(next(&goal, &seen), Next::Do(Action::Prepare));
    // Who waits for others needs them to follow first; and so does a write that is not proven for long.
    let (goal, seen) = promoted(1);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Prepare));
    let (goal, mut seen) = promoted(0);
    (seen.part.promoted_at, seen.probed) = (Time(NOW.0 - 4_000), NOW);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Prepare));
}

#[test]
fn who_ends_soon_writes_a_checkpoint_once() {
    let goal = Goal { ends_soon: true, ..wanted(primary(0, 0), 1) };
    let mut seen = known(State::Ready, RUNS, Answer::Accepting);
    (seen.part.opened, seen.write_proven, seen.wrote) = (true, true, NOW);
    assert_eq!(next(&goal, &seen), Next::Do(Action::Checkpoint));
    seen.part.checkpointed = Some((Term(1), Revision(1)));
    assert_ne!(next(&goal, &seen), Next::Do(Action::Checkpoint));
}

#[test]
fn only_a_newer_goal_makes_a_member_anew_and_only_as_a_standby() {
    let applied = |goal: Goal| Applied {
        incarnation: goal.incarnation,
        pledged: goal.term,
        goal: goal.into(),
    };
    let mine = applied(wanted(Role::Recruit, 1));
    let newer = |role, incarnation| Goal { revision: Revision(2), ..wanted(role, incarnation) };
    assert_eq!(accept(Some(&mine), &newer(standby(), 2)), Ok(Accept::New));
    let refused = |goal: &Goal| {
        assert!(matches!(accept(Some(&mine), goal), Err(Refusal::Incarnation { .. })), "{goal:?}");
    };
    refused(&newer(primary(0, 0), 2));
    refused(&newer(Role::Recruit, 2));
    refused(&wanted(standby(), 2));
    assert!(accept(Some(&applied(wanted(standby(), 2))), &newer(standby(), 1)).is_err());
}

#[test]
fn a_password_is_never_printed() {
    assert!(!format!("{:?}", wanted(standby(), 1)).contains("secret"));
}

/// Nobody says anything of these remedies.
static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let remedy = |name: &str, condition, operation| Remedy {
        name: name.into(),
        doc: "A test's.".to_owned(),
        guard: Guard::at(condition),
        held_in: Vec::new(),
        course: Course::Operation(operation),
        budget: Budget { tries_max: 9, window: Span::mins(1), cooldown: Span(0), fleet_max: None },
        level: Level::Auto,
        manual_minutes: 1,
    };
    let all = vec![
        remedy("failover", Condition::PrimaryLost, Kind::Failover),
        remedy("relax", Condition::SetLacks, Kind::Relax),
        remedy("restore", Condition::StandbyUncounted, Kind::Restore),
        remedy("rejoin", Condition::MemberWaits, Kind::Rejoin),
        remedy("rebuild", Condition::MemberLost, Kind::Rebuild),
        remedy("recover", Condition::CrashLooping, Kind::Recover),
    ];
    Fixed::with(Remedies::new(all).expect("named apart"))
});

fn whole() -> Redundancy {
    Redundancy {
        safe: Ok(()),
        failed_over: false,
        recruiting: false,
        relax: false,
        restore: false,
        rejoin: false,
        rebuild: false,
    }
}

fn input(agent: Hearing, state: State, redundancy: Redundancy) -> Input<'static> {
    let vantage = |n| Sighting { vantage: HostId(n), sight: Sight::Silent, since: NOW, last: NOW };
    Input {
        now: NOW,
        phase: Phase::Serving,
        health: Health::Healthy,
        operation: None,
        primary: Primary {
            member: MemberId(1),
            host: HostId(1),
            agent,
            state: Some(state),
            since: Time(0),
        },
        redundancy: Some(redundancy),
        verdict: Some(Verdict::Down(vec![vantage(2), vantage(3)])),
        witnesses: Vec::new(),
        automation: &*FIXED,
        runs: &[],
    }
}

fn acts(input: &Input<'_>) -> Option<Kind> {
    match decide(input) {
        Decision::Act(plan) => plan.course.operation(),
        Decision::Hold(_) | Decision::Ask { .. } => None,
    }
}

fn missing() -> Missing {
    Missing::Primary { primary: OTHER }
}

#[test]
fn a_lost_primary_is_replaced_only_where_nothing_can_be_lost() {
    let lost = || input(Hearing::Silent, State::Ready, whole());
    assert_eq!(acts(&lost()), Some(Kind::Failover));
    let unsafe_now =
        Input { redundancy: Some(Redundancy { safe: Err(missing()), ..whole() }), ..lost() };
    let held = decide(&unsafe_now);
    assert_eq!(held, Decision::Hold(Reason::NotCovered { missing: missing() }));
    assert!(matches!(held, Decision::Hold(reason) if reason.needs_a_person()));
    let again = Input { redundancy: Some(Redundancy { failed_over: true, ..whole() }), ..lost() };
    assert_eq!(decide(&again), Decision::Hold(Reason::NotRedundantYet));
    let disputed = Input { verdict: Some(Verdict::Disputed(Vec::new())), ..lost() };
    assert_eq!(acts(&disputed), None, "doubt replaces nobody");
    let alone = Input { redundancy: None, ..lost() };
    assert_eq!(decide(&alone), Decision::Hold(Reason::OnlyCopyOutOfReach));
}

#[test]
fn a_primary_that_dies_again_gives_its_place_and_one_that_dies_once_does_not() {
    for (state, what) in [
        (State::Failed, Some(Kind::Failover)),
        (State::CrashLooping, Some(Kind::Failover)),
        (State::Starting, None),
    ] {
        assert_eq!(acts(&input(Hearing::Heard, state, whole())), what, "{state}");
    }
    let mut just_now = input(Hearing::Heard, State::Failed, whole());
    just_now.primary.since = NOW;
    assert_eq!(acts(&just_now), None, "its agent may be about to start it");
    let bare = Redundancy { safe: Err(missing()), ..whole() };
    assert_eq!(
        acts(&input(Hearing::Heard, State::CrashLooping, bare.clone())),
        Some(Kind::Recover)
    );
    assert_eq!(acts(&input(Hearing::Heard, State::Failed, bare)), None, "its agent goes on");
}

#[test]
fn a_lost_primary_goes_before_what_only_improves_things() {
    for (kind, aside) in [
        (Kind::Rejoin, true),
        (Kind::Rebuild, true),
        (Kind::Relax, true),
        (Kind::Restore, true),
        (Kind::Restart, true),
        (Kind::Failover, false),
        (Kind::Switchover, false),
        (Kind::Terminate, false),
        (Kind::Install, false),
    ] {
        let claim: Result<(), Claimed> = Ok(());
        let running = Underway { kind, claim, step: "a step", due: NOW, paged: false };
        let lost =
            Input { operation: Some(running), ..input(Hearing::Silent, State::Ready, whole()) };
        assert_eq!(acts(&lost).is_some(), aside, "{kind:?}");
    }
    let resting = Input { phase: Phase::Retiring, ..input(Hearing::Silent, State::Ready, whole()) };
    assert_eq!(acts(&resting), None);
}

#[test]
fn a_primary_is_repaired_though_something_beside_it_is_under_way() {
    let bare = Redundancy { safe: Err(missing()), ..whole() };
    for (kind, aside) in [(Kind::Rejoin, true), (Kind::Relax, true), (Kind::Failover, false)] {
        let running = Underway { kind, claim: Ok(()), step: "a step", due: NOW, paged: false };
        let broken = Input {
            operation: Some(running),
            ..input(Hearing::Heard, State::CrashLooping, bare.clone())
        };
        let expected = aside.then_some(Kind::Recover);
        assert_eq!(acts(&broken), expected, "{kind:?}");
    }
}

#[test]
fn what_is_missing_beside_a_primary_that_serves_comes_back_in_order() {
    let serving = |redundancy| acts(&input(Hearing::Heard, State::Ready, redundancy));
    assert_eq!(serving(whole()), None);
    let all = Redundancy { relax: true, restore: true, rejoin: true, rebuild: true, ..whole() };
    assert_eq!(serving(all.clone()), Some(Kind::Relax), "commits wait: that goes first");
    let all = Redundancy { relax: false, ..all };
    assert_eq!(serving(all.clone()), Some(Kind::Restore));
    let all = Redundancy { restore: false, ..all };
    assert_eq!(serving(all.clone()), Some(Kind::Rejoin));
    assert_eq!(serving(Redundancy { rejoin: false, ..all }), Some(Kind::Rebuild));
    let nobody = Redundancy { recruiting: true, ..whole() };
    assert_eq!(serving(nobody), Some(Kind::Failover), "nobody is primary");
}

/// A primary of an asynchronous plan that has been in contact at `NOW`.
fn tied_by_a_clock() -> (Goal, Seen) {
    let goal = Goal { fence: Some(Span::secs(8)), ..wanted(primary(0, 0), 1) };
    let mut seen = known(State::Ready, RUNS, Answer::Writing);
    (seen.write_proven, seen.part.primary, seen.part.opened) = (true, true, true);
    (seen.part.contact, seen.started) = (NOW, Time(0));
    (goal, seen)
}

#[test]
fn a_primary_that_hears_nobody_stops_taking_writes_before_another_may_be_promoted() {
    let (goal, mut seen) = tied_by_a_clock();
    let at = |seen: &Seen, after| reconcile::next(&goal, seen, NOW + Span::millis(after));
    let stops = Next::Do(Action::Stop(StopMode::Immediate));
    assert_ne!(at(&seen, 5_999), stops);
    assert_eq!(at(&seen, 6_000), stops);
    seen.part.heard = NOW + Span::secs(3);
    assert_ne!(at(&seen, 8_999), stops, "its controller is somebody");
    // A failing call is no reason to wait.
    seen.not_before = NOW + Span::secs(60);
    assert_eq!(at(&seen, 9_000), stops);
    (seen.stop_failed, seen.not_before) = (true, NOW);
    assert_eq!(at(&seen, 9_000), Next::Do(Action::Kill));
    seen.stop_failed = false;
    seen.process = Some(Process::Frozen { pid: 7 });
    assert_eq!(at(&seen, 9_000), Next::Do(Action::Kill), "it hears no request to stop");
    // Started again it lets nobody in, so there is nothing to stop; and it waits to be told.
    (seen.process, seen.part.opened, seen.part.shut) = (Some(RUNS), false, true);
    assert_ne!(at(&seen, 60_000), stops);
    seen.started = NOW + Span::secs(10);
    assert!(!matches!(at(&seen, 60_000), Next::Do(Action::Open)));
}

#[test]
fn who_is_found_running_has_a_moment_to_hear_somebody() {
    let (goal, mut seen) = tied_by_a_clock();
    seen.started = NOW + Span::secs(20);
    (seen.part.opened, seen.part.shut) = (false, false);
    let at = |after| reconcile::next(&goal, &seen, NOW + Span::millis(after));
    let stops = Next::Do(Action::Stop(StopMode::Immediate));
    assert_ne!(at(23_999), stops);
    assert_eq!(at(24_000), stops, "it may be open since before its agent was started");
}

#[test]
fn no_clock_ties_who_waits_for_others_or_follows() {
    let (mut goal, seen) = tied_by_a_clock();
    let far = NOW + Span::mins(9);
    let stops = Next::Do(Action::Stop(StopMode::Immediate));
    assert_eq!(reconcile::next(&goal, &seen, far), stops);
    goal.fence = None;
    assert_ne!(reconcile::next(&goal, &seen, far), stops);
    let (goal, mut seen) = (Goal { role: standby(), ..tied_by_a_clock().0 }, seen);
    (seen.part.primary, seen.answer) = (false, Answer::Following);
    assert_ne!(reconcile::next(&goal, &seen, far), stops);
}
