//! How far automation goes: remedies over findings, levels, pins, approvals, postures, budgets, the brake.

use std::collections::BTreeMap;

use evenkeel_core::automation::{Approval, PIN_MAX, Pin, Pinned};
use evenkeel_core::check::{self, Severity};
use evenkeel_core::claim::Refusal;
use evenkeel_core::decide::{
    self, Automation, Decision, Hearing, Input, Primary, Reason, Redundancy, Run, decide,
};
use evenkeel_core::id::{HostId, MemberId, OperationId};
use evenkeel_core::member::State;
use evenkeel_core::operation::Kind;
use evenkeel_core::order::{Error, Order};
use evenkeel_core::remedy::{Budget, Course, Found, Guard, Level, Remedies, Remedy};
use evenkeel_core::report::Sight;
use evenkeel_core::service::{self, Health, Phase};
use evenkeel_core::time::{Span, Time};

use crate::findings::say;
use crate::world::World;

const NOW: Time = Time(10_000_000);

/// What a test says of automation.
#[derive(Clone, Debug)]
pub struct Fixed {
    pub remedies: Remedies,
    pub level: Option<Level>,
    pub pin: Option<Pin>,
    pub approval: Option<Approval>,
    pub running: u16,
    pub posture: &'static str,
    pub findings: BTreeMap<String, Found>,
    pub claim: Result<(), Refusal>,
}

impl Fixed {
    /// Nobody says anything.
    pub fn with(remedies: Remedies) -> Self {
        Self {
            remedies,
            level: None,
            pin: None,
            approval: None,
            running: 0,
            posture: "normal",
            findings: BTreeMap::new(),
            claim: Ok(()),
        }
    }
}

impl Automation for Fixed {
    fn remedies(&self) -> &Remedies {
        &self.remedies
    }
    fn level(&self, remedy: &Remedy) -> Level {
        self.level.unwrap_or(remedy.level)
    }
    fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }
    fn approval(&self) -> Option<&Approval> {
        self.approval.as_ref()
    }
    fn running(&self, _: &str) -> u16 {
        self.running
    }
    fn posture(&self) -> &'static str {
        self.posture
    }
    fn offer(&self) -> (&str, &str) {
        ("toy", "ha")
    }
    fn members(&self) -> usize {
        2
    }
    fn findings(&self) -> BTreeMap<String, Found> {
        self.findings.clone()
    }
    fn claim(&self, _: &Remedy) -> Result<(), Refusal> {
        self.claim.clone()
    }
}

/// One remedy over a finding, planned; and one over a hung server, an emergency.
fn remedies() -> Remedies {
    let remedy = |name: &str, when: &str, operation| Remedy {
        name: name.into(),
        doc: "A test's.".to_owned(),
        guard: Guard::new(when).expect("sound"),
        held_in: vec!["observer_suspect".to_owned()],
        course: Course::Operation(operation),
        budget: Budget {
            tries_max: 2,
            window: Span::mins(60),
            cooldown: Span::mins(5),
            fleet_max: Some(3),
        },
        level: Level::Auto,
        manual_minutes: 7,
    };
    let found = "condition == 'none' && 'stuck' in findings && findings['stuck'].seconds >= 60";
    Remedies::new(vec![
        remedy("unstick", found, Kind::Restart),
        remedy("crash-loop", "condition == 'crash_looping'", Kind::Recover),
    ])
    .expect("named apart")
}

/// A service that serves and has had a finding for so many seconds.
fn stuck(seconds: u64) -> Fixed {
    let found = Found::new(Severity::Critical, Span::secs(seconds));
    Fixed { findings: BTreeMap::from([("stuck".to_owned(), found)]), ..Fixed::with(remedies()) }
}

fn input<'a>(automation: &'a Fixed, state: State, runs: &'a [Run]) -> Input<'a> {
    Input {
        now: NOW,
        phase: Phase::Serving,
        health: Health::Healthy,
        operation: None,
        primary: Primary {
            member: MemberId(1),
            host: HostId(1),
            agent: Hearing::Heard,
            state: Some(state),
            since: Time(0),
        },
        redundancy: None::<Redundancy>,
        verdict: None,
        witnesses: Vec::new(),
        automation,
        runs,
    }
}

fn decided(automation: &Fixed, runs: &[Run]) -> Decision {
    decide(&input(automation, State::Ready, runs))
}

fn pin(level: Pinned) -> Option<Pin> {
    Some(Pin { level, until: NOW + Span::mins(5), reason: "a look".into(), by: "ada".into() })
}

#[test]
fn a_finding_that_lasts_has_its_remedy_run() {
    let Decision::Act(plan) = decided(&stuck(61), &[]) else { panic!("nothing is done") };
    assert_eq!(
        (plan.remedy.as_str(), &plan.course),
        ("unstick", &Course::Operation(Kind::Restart))
    );
    assert_eq!(plan.evidence, ["stuck (critical) for 61 s"]);
    assert_eq!(decided(&stuck(59), &[]), Decision::Hold(Reason::Healthy));
    assert_eq!(decided(&Fixed::with(remedies()), &[]), Decision::Hold(Reason::Healthy));
}

#[test]
fn what_keeps_a_remedy_from_running_is_said() {
    let remedy = || "unstick".to_owned();
    let held = |automation: Fixed| decided(&automation, &[]);
    let level = |level| Fixed { level: Some(level), ..stuck(90) };
    assert_eq!(held(level(Level::Suggest)), Decision::Hold(Reason::Suggested { remedy: remedy() }));
    assert_eq!(held(level(Level::Off)), Decision::Hold(Reason::Healthy), "off is not there");
    let asks = Decision::Hold(Reason::AwaitsPerson { remedy: remedy() });
    assert_eq!(held(level(Level::Approve)), asks);
    let posture = Fixed { posture: "observer_suspect", ..stuck(90) };
    let forbidden = Reason::PostureForbids { remedy: remedy(), posture: "observer-suspect".into() };
    assert_eq!(held(posture), Decision::Hold(forbidden));
    let share = Fixed { running: 3, ..stuck(90) };
    let used = Reason::FleetShare { remedy: remedy(), running: 3, max: 3 };
    assert_eq!(held(share), Decision::Hold(used));
    let refusal = Refusal::ServiceBusy(OperationId(4));
    let busy = Fixed { claim: Err(refusal.clone()), ..stuck(90) };
    let unclaimed = Reason::Unclaimed { remedy: remedy(), refusal };
    assert_eq!(held(busy), Decision::Hold(unclaimed));
}

#[test]
fn a_budget_ends_in_a_person() {
    let run = |ago: u64| Run { remedy: "unstick".into(), at: NOW - Span::mins(ago) };
    let cooling = decided(&stuck(90), &[run(1)]);
    let expected = Reason::Cooldown { remedy: "unstick".into(), for_another: Span::mins(4) };
    assert_eq!(cooling, Decision::Hold(expected));
    let Decision::Hold(spent) = decided(&stuck(90), &[run(30), run(20)]) else {
        panic!("a third try")
    };
    assert!(spent.needs_a_person(), "{spent}");
    // The older of the two is forgotten first.
    assert!(spent.to_string().contains("tried again in 30 min"), "{spent}");
    assert!(matches!(decided(&stuck(90), &[run(90), run(80)]), Decision::Act(_)));
}

#[test]
fn a_pin_lets_through_what_its_level_says() {
    for (level, planned, emergency) in [
        (Pinned::Essential, false, true),
        (Pinned::Pause, false, false),
        (Pinned::Stop, false, false),
    ] {
        let automation = Fixed { pin: pin(level), ..stuck(90) };
        let acts = |state| matches!(decide(&input(&automation, state, &[])), Decision::Act(_));
        assert_eq!(acts(State::Ready), planned, "{level}");
        assert_eq!(acts(State::CrashLooping), emergency, "{level}");
        let Decision::Hold(reason) = decided(&automation, &[]) else { panic!("pinned") };
        let text = reason.to_string();
        assert!(
            text.contains("ada") && text.contains("a look") && text.contains("5 min"),
            "{text}"
        );
    }
}

#[test]
fn a_yes_lets_one_remedy_run_once() {
    let asked = Approval { id: 1, remedy: "unstick".into(), since: NOW, given: None };
    let given = Approval { given: Some(("ada".into(), NOW)), ..asked.clone() };
    let other = Approval { remedy: "crash-loop".into(), ..given.clone() };
    for (approval, runs) in [(asked, false), (other, false), (given, true)] {
        let automation =
            Fixed { level: Some(Level::Approve), approval: Some(approval), ..stuck(90) };
        assert_eq!(matches!(decided(&automation, &[]), Decision::Act(_)), runs);
    }
}

/// A world of one service that crash-loops, with a level set for its remedy.
fn crash_looping(level: Option<Level>) -> World {
    let mut world = World::new(1);
    world.create("orders").expect("created");
    world.pass(Span::secs(5));
    assert_eq!(world.state(), service::State::Available);
    if let Some(level) = level {
        let remedy = "crash-loop".to_owned();
        let order = Order::Level { remedy, service: None, kind: None, level: Some(level) };
        world.order(order).expect("a level");
    }
    world.agents[0].works = false;
    world.report(0, State::CrashLooping);
    world.turn();
    world
}

fn repairs(world: &World) -> bool {
    world.said("act: recover by remedy crash-loop")
}

#[test]
fn an_approval_is_asked_for_given_and_used() {
    let mut world = crash_looping(Some(Level::Approve));
    assert!(!repairs(&world) && world.said("evenkeel approve 1"));
    let unknown = world.order(Order::Approve { id: 7 });
    assert_eq!(unknown, Err(Error::NoSuchApproval { id: 7 }));
    // The question is not asked twice, and outlives a restart of the controller.
    world.restart_controller();
    world.dial();
    world.report(0, State::CrashLooping);
    world.turn();
    assert!(!world.said("evenkeel approve 2"));
    world.order(Order::Approve { id: 1 }).expect("a yes");
    world.turn();
    assert!(repairs(&world));
    assert_eq!(world.order(Order::Approve { id: 1 }), Err(Error::NoSuchApproval { id: 1 }));
}

#[test]
fn a_pin_holds_for_its_time_and_ends_by_itself() {
    let mut world = World::new(1);
    world.create("orders").expect("created");
    world.pass(Span::secs(5));
    let pin = |level, for_ms, reason: &str| Order::Pin {
        name: "orders".into(),
        level,
        for_ms,
        reason: reason.into(),
    };
    assert_eq!(world.order(pin(Some(Pinned::Pause), Span::mins(2), " ")), Err(Error::NoReason));
    let for_ever = world.order(pin(Some(Pinned::Pause), PIN_MAX.times(2), "x"));
    assert!(matches!(for_ever, Err(Error::PinTooLong { .. })), "{for_ever:?}");
    world.order(pin(Some(Pinned::Pause), Span::mins(2), "a look")).expect("pinned");
    world.agents[0].works = false;
    world.report(0, State::CrashLooping);
    world.turn();
    assert!(!repairs(&world));
    world.pass(Span::secs(118));
    assert!(!repairs(&world), "its time is not over");
    world.pass(Span::secs(3));
    assert!(repairs(&world) && world.said("has ended by itself"));
}

#[test]
fn a_pin_to_stop_gives_up_what_a_remedy_began() {
    let mut world = World::new(3);
    world.create("orders").expect("created");
    world.pass(Span::secs(5));
    let home = world.home();
    world.agents[home].works = false;
    world.report(home, State::Hung);
    world.sight = Sight::Silent;
    world.pass(Span::secs(12));
    assert!(world.service().and_then(|s| s.operation).is_some_and(|o| o.name == "recover"));
    let (name, reason) = ("orders".to_owned(), "hands off".to_owned());
    let level = Some(Pinned::Stop);
    world.order(Order::Pin { name, level, for_ms: Span::mins(5), reason }).expect("pinned");
    world.pass(Span::secs(5));
    assert!(world.service().is_some_and(|s| s.operation.is_none()));
    assert!(world.said("gives way to a pin"));
}

#[test]
fn what_time_alone_changes_is_decided_and_a_page_ends_with_its_reason() {
    let mut world = World::new(1);
    world.create("orders").expect("created");
    world.pass(Span::secs(5));
    let stuck = check::Result {
        check: "stuck".to_owned(),
        severity: Severity::Critical,
        evidence: "bad".to_owned(),
        items: Vec::new(),
    };
    let unread = check::Unread::default();
    say(&mut world, 0, &[stuck], &unread);
    let begun = |world: &World| {
        world.journal.iter().filter(|line| line.contains("begins: remedy unstick")).count()
    };
    // Nothing is heard from here on but beats.
    world.pass(Span::secs(95));
    assert_eq!(begun(&world), 0);
    world.pass(Span::secs(40));
    assert_eq!(begun(&world), 1);
    world.pass(Span::mins(5));
    assert_eq!(begun(&world), 3, "its budget");
    assert!(world.said("page: the tries of remedy unstick are used up"));
    let told = |world: &World| {
        let findings = world.service().expect("there").findings;
        findings.iter().any(|finding| finding.check == "state-lasts")
    };
    assert!(told(&world));
    say(&mut world, 0, &[], &unread);
    assert!(!told(&world), "its reason is gone");
}

#[test]
fn the_brake_holds_automation_and_plans_until_it_is_off() {
    let mut world = World::new(1);
    world.create("orders").expect("created");
    world.pass(Span::secs(5));
    let brake = |on, reason: &str| Order::Brake { on, reason: reason.into() };
    assert_eq!(world.order(brake(true, "")), Err(Error::NoReason));
    world.order(brake(true, "a look")).expect("on");
    world.restart_controller();
    world.dial();
    world.pass(Span::secs(2));
    world.order(Order::Restart { name: "orders".into() }).expect("taken, and waits");
    world.pass(Span::secs(3));
    let waits = world.service().and_then(|s| s.operation).expect("it waits");
    assert!(!waits.claimed);
    world.order(brake(false, "")).expect("off");
    world.pass(Span::secs(3));
    assert!(world.said("restart") && world.service().is_some_and(|s| s.operation.is_none()));
}

#[test]
fn levels_are_known_by_name_and_taken_back() {
    let mut world = crash_looping(Some(Level::Off));
    assert!(!repairs(&world));
    let unknown = Order::Level {
        remedy: "magic".into(),
        service: None,
        kind: None,
        level: Some(Level::Auto),
    };
    assert!(matches!(world.order(unknown), Err(Error::NoSuchRemedy { .. })));
    let back = Order::Level { remedy: "crash-loop".into(), service: None, kind: None, level: None };
    world.order(back).expect("taken back");
    world.turn();
    assert!(repairs(&world));
}

/// Remedies for two findings: two for the first, one after another, and one for the second.
fn three(level: Level) -> Fixed {
    let one = remedies().named("unstick").expect("there").clone();
    let for_finding = |name: &str, check: &str, level| Remedy {
        name: name.into(),
        guard: Guard::new(&format!("condition == 'none' && '{check}' in findings")).expect("sound"),
        level,
        ..one.clone()
    };
    let all = vec![
        for_finding("cheap", "stuck", level),
        for_finding("dear", "stuck", Level::Auto),
        for_finding("other", "slow", Level::Auto),
    ];
    let found = Found::new(Severity::Critical, Span::secs(5));
    let findings = ["stuck", "slow"].map(|check| (check.to_owned(), found));
    let all = Remedies::new(all).expect("named apart");
    Fixed { findings: BTreeMap::from(findings), ..Fixed::with(all) }
}

fn ran(remedy: &str, ago: Span) -> Run {
    Run { remedy: remedy.into(), at: NOW - ago }
}

#[test]
fn a_remedy_that_is_kept_from_running_keeps_no_other_from_it() {
    let acts = |automation: &Fixed, runs: &[Run]| match decided(automation, runs) {
        Decision::Act(plan) => plan.remedy,
        Decision::Hold(reason) => reason.to_string(),
        Decision::Ask { .. } => unreachable!("its agent is heard"),
    };
    let spent = [ran("cheap", Span::mins(30)), ran("cheap", Span::mins(20))];
    for (level, runs, wanted) in [
        (Level::Auto, &[][..], "cheap"),
        (Level::Off, &[], "dear"),
        (Level::Suggest, &[], "dear"),
        (Level::Approve, &[], "dear"),
        (Level::Auto, &spent, "dear"),
        // What it did is waited for, by those that are for the same alone.
        (Level::Auto, &[ran("cheap", Span::mins(1))], "other"),
    ] {
        assert_eq!(acts(&three(level), runs), wanted, "{level} {runs:?}");
    }
}

#[test]
fn everything_that_is_kept_from_running_is_told_and_a_persons_part_first() {
    let again = |remedy| [ran(remedy, Span::mins(30)), ran(remedy, Span::mins(20))];
    let runs = [again("dear"), again("other")].concat();
    let automation = three(Level::Approve);
    let asks = Decision::Hold(Reason::AwaitsPerson { remedy: "cheap".into() });
    assert_eq!(decided(&automation, &runs), asks);
    let held = decide::held(&input(&automation, State::Ready, &runs));
    let words: Vec<String> = held.iter().map(ToString::to_string).collect();
    let tells = |at: usize, remedy: &str, why: &str| {
        assert!(words[at].contains(remedy) && words[at].contains(why), "{words:?}");
    };
    assert_eq!(words.len(), 3, "{words:?}");
    tells(0, "cheap", "a person's yes");
    tells(1, "dear", "used up");
    tells(2, "other", "again in 30 min");
    assert_eq!(decide::held(&input(&Fixed::with(remedies()), State::Ready, &[])), []);
    assert_eq!(decide::held(&input(&stuck(90), State::Ready, &[])), [], "it runs");
}

#[test]
fn a_guard_that_gives_no_answer_is_told_by_name_and_keeps_nothing_from_running() {
    let mut world = World::new(1);
    world.create("orders").expect("created");
    world.pass(Span::secs(5));
    let found = |check: &str| check::Result {
        check: check.to_owned(),
        severity: Severity::Critical,
        evidence: "bad".to_owned(),
        items: Vec::new(),
    };
    let unread = check::Unread::default();
    let fails = |world: &World| {
        let vague = world.cell.remedies().into_iter().find(|remedy| remedy.name == "vague");
        vague.expect("there").fails
    };
    assert_eq!(fails(&world), None);
    say(&mut world, 0, &[found("vague")], &unread);
    let why = fails(&world).expect("it gave no answer");
    assert!(why.contains("orders") && why.contains("other"), "{why}");
    let held = |world: &World| world.cell.service("orders", world.now).expect("there").held;
    let told = held(&world);
    assert!(told.len() == 1 && told[0].contains("remedy level vague off"), "{told:?}");
    assert!(world.said("page: whether remedy vague applies cannot be said"));
    // Another that applies runs all the same.
    say(&mut world, 0, &[found("vague"), found("stuck")], &unread);
    world.pass(Span::mins(3));
    assert!(world.said("begins: remedy unstick"));
    say(&mut world, 0, &[], &unread);
    assert_eq!((fails(&world), held(&world)), (None, vec![]));
}

#[test]
fn a_server_whose_repair_did_not_hold_is_told_of_and_tried_again_when_the_window_is_over() {
    let mut world = crash_looping(None);
    let begun = |world: &World| {
        world.journal.iter().filter(|line| line.contains("begins: remedy crash-loop")).count()
    };
    // Each repair is given up, as its server never comes up.
    world.pass(Span::mins(9));
    let tried = begun(&world);
    assert!(tried >= 1, "{:?}", world.journal);
    world.pass(Span::mins(30));
    assert!(begun(&world) > tried, "{:?}", world.journal);
}

#[test]
fn a_server_that_its_agent_may_not_start_says_so() {
    let automation = Fixed::with(
        Remedies::new(vec![
            Remedy {
                guard: Guard::new("condition == 'member_died'").expect("sound"),
                level: Level::Suggest,
                ..remedies().named("unstick").expect("there").clone()
            },
            remedies().named("crash-loop").expect("there").clone(),
        ])
        .expect("named apart"),
    );
    let Decision::Act(plan) = decide(&input(&automation, State::CrashLooping, &[])) else {
        panic!("its repair is on")
    };
    let said = "its agent: it died, and is not started again: remedy unstick is on suggest";
    assert_eq!(plan.evidence, [said]);
}
