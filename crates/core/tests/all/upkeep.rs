//! Windows, planned work, drills and the toil ledger, on a cell in a modelled world.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::drill::{self, Begun};
use evenkeel_core::maintenance::{self, Task};
use evenkeel_core::member;
use evenkeel_core::order::{Accepted, Error, Order};
use evenkeel_core::policy::Policy;
use evenkeel_core::time::{Span, Time};

use crate::world::World;

/// The world begins on a Thursday, a second after midnight.
const WINDOW: &str = "Thu 00:30 1h";

fn create(world: &mut World, name: &str, plan: &str) {
    let (name, kind, plan) = (name.to_owned(), "toy".to_owned(), Some(plan.to_owned()));
    world.order(Order::Create { name, kind, plan, secret: vec![1], keys: None }).expect("created");
    world.pass(Span::secs(20));
}

fn pair(policy: Policy) -> World {
    let mut world = World::with(3, policy);
    create(&mut world, "pay", "pair");
    assert!(world.cell.service("pay", world.now).expect("there").operation.is_none());
    world
}

fn plan(world: &mut World, task: Task, by: Option<Time>) -> Result<Accepted, Error> {
    let (name, reason) = ("pay".to_owned(), "new settings".to_owned());
    let order = maintenance::Order::Plan { name, task, reason, required_by: by };
    world.order(Order::Maintenance { order })
}

fn window(world: &mut World, text: Option<&str>) {
    let windows = text.map(|text| text.parse().expect("a window"));
    let order = maintenance::Order::Window { name: "pay".to_owned(), windows };
    world.order(Order::Maintenance { order }).expect("taken");
}

fn drill(world: &mut World, order: drill::Order) -> Result<Accepted, Error> {
    world.order(Order::Drill { order })
}

fn begin(world: &mut World, by: Begun) -> Result<Accepted, Error> {
    let (name, kind) = ("pay".to_owned(), drill::Kind::Failover);
    drill(world, drill::Order::Begin { name, kind, by })
}

fn schedule(world: &mut World, every: Option<Span>) -> Result<Accepted, Error> {
    let (name, kind) = ("pay".to_owned(), drill::Kind::Failover);
    drill(world, drill::Order::Schedule { name, kind, every })
}

fn drilled(world: &mut World, gap_ms: u64, failed: Option<&str>) {
    let (name, drill) = ("pay".to_owned(), "failover".to_owned());
    let failed = failed.map(str::to_owned);
    world.order(Order::Drilled { name, drill, gap_ms, lost: 0, acked: 40, failed }).expect("taken");
}

fn tells(world: &World, what: &str) -> bool {
    world.journal.iter().any(|line| line.contains(what))
}

fn states(world: &World) -> Vec<String> {
    world.cell.planned_work(world.now).into_iter().map(|item| item.state).collect()
}

fn checks(world: &World) -> Vec<String> {
    let service = world.cell.service("pay", world.now).expect("there");
    service.findings.into_iter().map(|finding| finding.check).collect()
}

#[test]
fn without_a_window_planned_work_begins_at_once() {
    let mut world = pair(Policy::default());
    plan(&mut world, Task::Restart, None).expect("taken");
    assert!(tells(&world, "maintenance 1: restart begins; its window is open"));
    world.pass(Span::secs(5));
    assert!(tells(&world, "maintenance 1 is done"), "{:#?}", world.journal);
    assert_eq!(states(&world), [""; 0]);
}

#[test]
fn planned_work_waits_for_its_window_and_over_a_restart_of_the_controller() {
    let mut world = pair(Policy::default());
    window(&mut world, Some(WINDOW));
    let accepted = plan(&mut world, Task::Switchover, None).expect("taken");
    assert!(accepted.text.contains("1970-01-01T00:30:00Z"), "{}", accepted.text);
    world.pass(Span::mins(10));
    assert_eq!(states(&world), ["waits"]);
    world.restart_controller();
    world.pass(Span::mins(10));
    assert_eq!(states(&world), ["waits"]);
    // An order by hand waits for no window.
    world.order(Order::Restart { name: "pay".to_owned() }).expect("taken");
    assert!(tells(&world, "restart"));
    world.pass(Span::mins(11));
    assert!(tells(&world, "maintenance 1: switchover begins; its window is open"));
    assert!(tells(&world, "maintenance 1 is done"), "{:#?}", world.journal);
    assert_eq!(world.cell.toil(world.now).just.len(), 1, "the plan itself is no toil");
}

#[test]
fn the_window_of_the_policy_holds_for_services_that_say_nothing() {
    let maintenance_window = Some(WINDOW.parse().expect("a window"));
    let mut world = pair(Policy { maintenance_window, ..Policy::default() });
    plan(&mut world, Task::Restart, None).expect("taken");
    assert_eq!(states(&world), ["waits"]);
    let page = world.cell.maintenance("pay", world.now).expect("there");
    assert_eq!((page.from.as_str(), page.open), ("policy", false));
    // A window of its own that is open lets it go.
    window(&mut world, Some("Thu 00:00 10m"));
    assert_eq!(world.cell.maintenance("pay", world.now).expect("there").from, "service");
    world.pass(Span::secs(5));
    assert!(tells(&world, "maintenance 1 is done"));
    window(&mut world, None);
    assert_eq!(world.cell.maintenance("pay", world.now).expect("there").from, "policy");
}

#[test]
fn a_person_lets_planned_work_go_or_cancels_it() {
    let mut world = pair(Policy::default());
    window(&mut world, Some(WINDOW));
    for _ in 0..2 {
        plan(&mut world, Task::Restart, None).expect("taken");
    }
    let act = |order| Order::Maintenance { order };
    world.order(act(maintenance::Order::Cancel { id: 1 })).expect("cancelled");
    world.order(act(maintenance::Order::RunNow { id: 2 })).expect("let go");
    assert!(tells(&world, "maintenance 2: restart begins; override: a person let it go"));
    world.pass(Span::secs(5));
    assert!(
        tells(&world, "maintenance 2 is done") && !tells(&world, "maintenance 1: restart begins")
    );
    let refused = world.order(act(maintenance::Order::Cancel { id: 2 }));
    assert_eq!(refused, Err(Error::NoSuchPlanned { id: 2 }));
}

#[test]
fn what_is_required_by_a_day_runs_then_though_the_window_is_closed() {
    let mut world = pair(Policy::default());
    window(&mut world, Some(WINDOW));
    let by = world.now + Span::mins(5);
    plan(&mut world, Task::Restart, Some(by)).expect("taken");
    world.pass(Span::mins(4));
    assert_eq!(states(&world), ["waits"]);
    assert!(!checks(&world).contains(&"maintenance-overdue".to_owned()));
    world.pass(Span::mins(2));
    assert!(tells(&world, "override: though its window is closed, as it is required by"));
    assert!(tells(&world, "maintenance 1 is done"));
    let past = plan(&mut world, Task::Restart, Some(by));
    assert!(matches!(past, Err(Error::DayPast { .. })));
}

#[test]
fn planned_work_waits_for_a_service_that_is_well_and_says_when_it_is_late() {
    let mut world = pair(Policy::default());
    window(&mut world, Some(WINDOW));
    let by = world.now + Span::secs(30);
    plan(&mut world, Task::Restart, Some(by)).expect("taken");
    // Everybody is silent: nothing is done to what nobody sees.
    for at in 0..3 {
        world.kill_agent(at);
    }
    world.pass(Span::secs(60));
    assert!(!tells(&world, "maintenance 1: restart begins"));
    assert!(checks(&world).contains(&"maintenance-overdue".to_owned()));
    for at in 0..3 {
        world.agents[at].alive = true;
    }
    world.pass(Span::secs(60));
    assert!(tells(&world, "maintenance 1 is done"), "{:#?}", world.journal);
}

#[test]
fn a_plan_is_refused_with_what_would_do() {
    let mut world = pair(Policy::default());
    create(&mut world, "alone", "dev");
    let plan = |name: &str, task, reason: &str| {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        let order = maintenance::Order::Plan { name, task, reason, required_by: None };
        Order::Maintenance { order }
    };
    let refused = world.order(plan("alone", Task::Switchover, "x"));
    assert_eq!(refused, Err(Error::NoStandbys { name: "alone".to_owned() }));
    assert_eq!(world.order(plan("pay", Task::Restart, " ")), Err(Error::NoReason));
    let refused = world.order(plan("nobody", Task::Restart, "x"));
    assert_eq!(refused, Err(Error::NoSuchService { name: "nobody".to_owned() }));
    window(&mut world, Some(WINDOW));
    for _ in 0..maintenance::PLANNED_MAX {
        world.order(plan("pay", Task::Restart, "x")).expect("room");
    }
    let refused = world.order(plan("pay", Task::Restart, "x"));
    assert!(matches!(refused, Err(Error::TooMuchPlanned { .. })));
}

#[test]
fn a_scheduled_drill_begins_once_when_it_is_due_and_its_result_is_kept() {
    let mut world = pair(Policy::default());
    window(&mut world, Some(WINDOW));
    schedule(&mut world, Some(Span::mins(2))).expect("taken");
    let none: &[(String, drill::Kind)] = &[];
    world.pass(Span::mins(5));
    assert_eq!(world.cell.drills_due(world.now), none, "its window is closed");
    assert!(matches!(begin(&mut world, Begun::Schedule), Err(Error::NoDrill { .. })));
    world.pass(Span::mins(26));
    assert_eq!(world.cell.drills_due(world.now), [("pay".to_owned(), drill::Kind::Failover)]);
    begin(&mut world, Begun::Schedule).expect("due");
    assert_eq!(world.cell.drills_due(world.now), none, "it runs");
    assert!(matches!(begin(&mut world, Begun::Person), Err(Error::NoDrill { .. })));
    let failover = Order::Failover { name: "pay".to_owned(), reason: "a drill".to_owned() };
    world.order(failover).expect("safe");
    world.pass(Span::secs(20));
    drilled(&mut world, 321, None);
    let page = world.cell.drills("pay").expect("there");
    assert_eq!((page.running.as_ref(), page.results[0].gap_ms), (None, 321));
    // Not again before its spacing is over, though it is due.
    world.pass(Span::mins(5));
    assert_eq!(world.cell.drills_due(world.now), none);
    let toil = world.cell.toil(world.now);
    let saved: Vec<(&str, &str)> = toil.saved.iter().map(|s| (&*s.operation, &*s.by)).collect();
    assert_eq!(saved, [("failover drill", "schedule"), ("rejoin", "rejoin")]);
    assert!(toil.just.is_empty(), "what a drill orders is no toil: {toil:?}");
    // All of it is in the rows.
    world.restart_controller();
    assert_eq!(world.cell.drills("pay").expect("there"), page);
    assert_eq!(world.cell.toil(world.now), toil);
}

#[test]
fn a_planned_drill_is_due_in_its_window_and_only_once() {
    let mut world = pair(Policy::default());
    plan(&mut world, Task::Drill, None).expect("taken");
    assert_eq!(world.cell.drills_due(world.now).len(), 1);
    begin(&mut world, Begun::Schedule).expect("due");
    assert_eq!(states(&world), [""; 0]);
    drilled(&mut world, 1, None);
    assert_eq!(world.cell.drills_due(world.now).len(), 0);
}

#[test]
fn a_drill_that_fails_or_is_left_out_is_a_finding() {
    let mut world = pair(Policy { drill_spacing: Span(0), ..Policy::default() });
    schedule(&mut world, Some(Span::secs(30))).expect("taken");
    world.pass(Span::secs(31));
    assert_eq!(world.cell.drills_due(world.now).len(), 1);
    assert!(!checks(&world).contains(&"drill".to_owned()));
    world.pass(Span::secs(30));
    assert!(checks(&world).contains(&"drill".to_owned()), "nobody did it");
    begin(&mut world, Begun::Schedule).expect("due");
    drill(&mut world, drill::Order::Abort { name: "pay".to_owned() }).expect("it runs");
    assert!(world.cell.drills("pay").expect("there").aborted);
    drilled(&mut world, 0, Some("aborted"));
    assert!(checks(&world).contains(&"drill".to_owned()), "it failed");
    let refused = drill(&mut world, drill::Order::Abort { name: "pay".to_owned() });
    assert!(matches!(refused, Err(Error::NoDrillRuns { .. })));
    drilled(&mut world, 5, None);
    assert!(!checks(&world).contains(&"drill".to_owned()));
    schedule(&mut world, None).expect("taken");
    world.pass(Span::mins(10));
    assert_eq!(world.cell.drills_due(world.now).len(), 0);
}

#[test]
fn a_drill_does_not_outlive_its_controller() {
    let mut world = pair(Policy::default());
    schedule(&mut world, Some(Span::secs(30))).expect("taken");
    world.pass(Span::secs(31));
    begin(&mut world, Begun::Schedule).expect("due");
    world.restart_controller();
    let page = world.cell.drills("pay").expect("there");
    assert_eq!(page.running, None);
    assert_eq!(page.results[0].failed.as_deref(), Some("the controller ended meanwhile"));
    // A person's goes on: whoever does it says what it came to.
    begin(&mut world, Begun::Person).expect("taken");
    world.restart_controller();
    assert_eq!(world.cell.drills("pay").expect("there").running.as_deref(), Some("failover"));
}

#[test]
fn drills_that_cannot_be_are_refused_by_name() {
    let mut world = pair(Policy::default());
    create(&mut world, "alone", "dev");
    let order = |name: &str, kind, every| {
        let order = drill::Order::Schedule { name: name.to_owned(), kind, every };
        Order::Drill { order }
    };
    use drill::Kind;
    let day = Some(Span::mins(24 * 60));
    let refused = world.order(order("alone", Kind::Failover, day));
    assert_eq!(refused, Err(Error::NoStandbys { name: "alone".to_owned() }));
    let refused = world.order(order("pay", Kind::Proof, day)).expect_err("the policy's");
    assert!(refused.to_string().contains("evenkeel"), "{refused}");
    assert!(world.order(order("pay", Kind::Failover, Some(Span(5)))).is_err());
}

#[test]
fn what_remedies_do_is_counted_with_the_minutes_of_the_policy() {
    let manual_minutes = BTreeMap::from([("crash-loop".to_owned(), 44)]);
    let mut world = World::with(3, Policy { manual_minutes, ..Policy::default() });
    create(&mut world, "alone", "dev");
    let hosts: Vec<bool> = world.agents.iter().map(|agent| !agent.members.is_empty()).collect();
    let at = hosts.iter().position(|holds| *holds).expect("it is placed");
    world.report(at, member::State::CrashLooping);
    world.obey(at);
    world.turn();
    world.pass(Span::secs(20));
    let toil = world.cell.toil(world.now);
    assert_eq!(toil.minutes, 44, "{toil:?} {:#?}", world.journal);
    assert_eq!((&*toil.saved[0].operation, &*toil.saved[0].by), ("recover", "crash-loop"));
}

fn begin_of(world: &mut World, kind: drill::Kind, by: Begun) -> Result<Accepted, Error> {
    drill(world, drill::Order::Begin { name: "pay".to_owned(), kind, by })
}

#[test]
fn a_brake_drill_holds_what_would_begin_and_lets_it_go_by_itself() {
    let mut world = pair(Policy::default());
    begin_of(&mut world, drill::Kind::Brake, Begun::Person).expect("taken");
    world.order(Order::Restart { name: "pay".to_owned() }).expect("taken");
    let held = |world: &World| {
        let explained = world.cell.explain("pay", world.now).expect("there");
        let claimed = explained.service.operation.is_some_and(|operation| operation.claimed);
        (explained.decision_text.contains("a drill of the brake holds it"), claimed)
    };
    world.pass(Span(drill::HOLD.0 - 500));
    assert_eq!(held(&world), (true, false), "{:#?}", world.journal);
    // Another service is not held.
    create(&mut world, "alone", "dev");
    assert!(tells(&world, "restart"), "{:#?}", world.journal);
    world.pass(Span::secs(2));
    assert!(!held(&world).0);
    world.pass(Span::secs(20));
    assert!(world.cell.service("pay", world.now).expect("there").operation.is_none());
}

#[test]
fn the_drill_of_a_lost_controller_outlives_it_and_is_alone() {
    let mut world = pair(Policy::default());
    begin(&mut world, Begun::Person).expect("taken");
    create(&mut world, "alone", "dev");
    let (name, kind) = ("alone".to_owned(), drill::Kind::Controller);
    let order = drill::Order::Begin { name, kind, by: Begun::Person };
    let refused = drill(&mut world, order).expect_err("it would cut the other short");
    assert!(refused.to_string().contains("a failover drill runs on pay"), "{refused}");
    drilled(&mut world, 1, None);
    let (name, every) = ("pay".to_owned(), Some(Span::secs(30)));
    drill(&mut world, drill::Order::Schedule { name, kind, every }).expect("taken");
    world.pass(Span::secs(31));
    assert_eq!(world.cell.drills_due(world.now), [("pay".to_owned(), kind)], "it is not felt");
    begin_of(&mut world, kind, Begun::Schedule).expect("due");
    world.restart_controller();
    let page = world.cell.drills("pay").expect("there");
    assert_eq!((page.running.as_deref(), page.results.len()), (Some("controller"), 1));
    // Nor does another begin that it would cut short.
    let (name, kind) = ("alone".to_owned(), drill::Kind::Brake);
    let order = drill::Order::Begin { name, kind, by: Begun::Person };
    let refused = drill(&mut world, order).expect_err("the controller is about to go");
    assert!(refused.to_string().contains("a controller drill runs on pay"), "{refused}");
}

#[test]
fn what_the_policy_has_drilled_is_drilled_everywhere_once_in_its_time() {
    let every = Span::mins(60);
    let drill_every = BTreeMap::from([(drill::Kind::Failover, every)]);
    let policy = Policy { drill_every, drill_spacing: Span(0), drills_max: 9, ..Policy::default() };
    let mut world = pair(policy);
    create(&mut world, "alone", "dev");
    create(&mut world, "also", "pair");
    let (began, mut first) = (world.now, BTreeSet::new());
    while world.now < began + every {
        for (name, kind) in world.cell.drills_due(world.now) {
            assert_eq!(kind, drill::Kind::Failover);
            first.insert(name.clone());
            drill(
                &mut world,
                drill::Order::Begin { name: name.clone(), kind, by: Begun::Schedule },
            )
            .expect("due");
            let drill = kind.to_string();
            let (gap_ms, lost, acked, failed) = (1, 0, 9, None);
            world
                .order(Order::Drilled { name, drill, gap_ms, lost, acked, failed })
                .expect("taken");
        }
        world.pass(Span::secs(30));
    }
    // One without standbys has nobody to take over.
    assert_eq!(first.iter().map(String::as_str).collect::<Vec<_>>(), ["also", "pay"]);
    let pages = world.cell.all_drills();
    assert_eq!(pages.iter().map(|page| page.scheduled.len()).collect::<Vec<_>>(), [1, 1]);
    // Since when it is so outlives a controller; who wants none has none.
    world.restart_controller();
    assert_eq!(world.cell.all_drills(), pages);
    schedule(&mut world, None).expect("taken");
    assert_eq!(world.cell.drills("pay").expect("there").scheduled, []);
}

#[test]
fn who_follows_from_far_behind_is_not_made_anew() {
    let mut world = World::new(3);
    create(&mut world, "pay", "loose");
    let feeds = |world: &mut World, streaming, lag_bytes| {
        for at in 0..3 {
            world.agents[at].feeds = (streaming, lag_bytes);
            world.obey(at);
        }
        world.pass(Span::secs(90));
        tells(world, "is made anew")
    };
    // A server that is filled with data: its standby receives all of it, some time later.
    assert!(!feeds(&mut world, true, 64 << 20), "{:#?}", world.journal);
    // One that receives nothing went astray.
    assert!(feeds(&mut world, false, 0), "{:#?}", world.journal);
}
