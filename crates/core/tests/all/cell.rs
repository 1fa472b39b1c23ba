//! A cell's decisions as stories: what goes in, what people see, what is recorded.

use evenkeel_core::cell::{Beat, Cell, Entry, Send};
use evenkeel_core::decide::Decision;
use evenkeel_core::digest::Digest;
use evenkeel_core::host;
use evenkeel_core::member::State as M;
use evenkeel_core::order::{Error, Order};
use evenkeel_core::report::{self, FromAgent, Mark, Sight, ToAgent};
use evenkeel_core::service::{Health, State};
use evenkeel_core::time::{Span, Time};

use crate::world::{World, setup};

fn with_service() -> World {
    let mut world = World::new(3);
    world.create("orders").expect("accepted");
    assert_eq!(world.state(), State::Available);
    world
}

fn order(world: &mut World, which: &str) -> Result<(), Error> {
    let name = "orders".to_owned();
    let order = match which {
        "restart" => Order::Restart { name },
        "retire" => Order::Retire { name },
        "revive" => Order::Revive { name, keys: None },
        _ => Order::Terminate { confirm: name.clone(), name },
    };
    world.order(order).map(|_| ())
}

#[test]
fn a_service_lives_its_whole_life() {
    let mut world = with_service();
    assert_eq!(world.routes.len(), 1);
    order(&mut world, "restart").expect("accepted");
    assert_eq!(world.state(), State::Available);
    assert_eq!(world.service().expect("there").members[0].goal.1.0, 2);
    order(&mut world, "retire").expect("accepted");
    assert_eq!(world.state(), State::Retired);
    assert!(world.routes.is_empty());
    order(&mut world, "revive").expect("accepted");
    assert_eq!(world.state(), State::Available);
    order(&mut world, "terminate").expect("accepted");
    assert_eq!(world.state(), State::Terminated);
    assert!(world.said("orders: nothing remains but this journal"));
    let services = evenkeel_core::row::Table::Service;
    assert!(world.rows.keys().all(|key| key.table != services), "its row is gone");
    world.create("orders").expect("its name is free again");
}

#[test]
fn refusals_name_the_input_and_the_fix() {
    let mut world = with_service();
    let mut refused = |order: Order| world.order(order).expect_err("refused").to_string();
    let create = |name: &str, kind: &str, plan: Option<&str>| Order::Create {
        name: name.into(),
        kind: kind.into(),
        plan: plan.map(Into::into),
        secret: Vec::new(),
        keys: None,
    };
    assert!(refused(create("Bad", "toy", None)).contains("'B' at position 1"));
    assert!(refused(create("orders", "toy", None)).contains("exists already"));
    assert!(refused(create("a", "mysql", None)).contains("there are: toy"));
    assert!(refused(create("a", "toy", Some("big"))).contains("there are: dev"));
    let name = || "orders".to_owned();
    assert!(
        refused(Order::Revive { name: name(), keys: None }).contains("while orders is available")
    );
    let unconfirmed = Order::Terminate { name: name(), confirm: "order".into() };
    assert!(refused(unconfirmed).contains("--confirm orders"));
    assert!(refused(Order::Restart { name: "b".into() }).contains("evenkeel list"));
    assert!(refused(Order::Drain { host: "h9".into() }).contains("evenkeel host list"));
    let busy = Order::RemoveHost { host: "h1".into() };
    assert!(refused(busy).contains("still holds 1 members"));
}

#[test]
fn a_silent_agent_whose_member_is_reached_disturbs_nothing() {
    let mut world = with_service();
    let home = world.home();
    world.kill_agent(home);
    world.pass(Span::secs(120));
    let service = world.service().expect("there");
    assert_eq!((service.state, service.health), (State::Available, Health::Healthy));
    assert!(service.findings.iter().any(|f| f.check == "agent-heard"));
    let host = world.cell.host(&world.agents[home].name, world.now).expect("known");
    assert_eq!(host.state, host::State::Uncertain);
    let explain = world.cell.explain("orders", world.now).expect("there");
    assert!(explain.decision_text.contains("witnesses reach it"), "{}", explain.decision_text);
    assert!(explain.observations.iter().any(|o| o.text.contains("answered")));
}

#[test]
fn silence_alone_is_uncertain_for_ever_and_a_person_is_told_once() {
    let mut world = World::new(1);
    world.create("orders").expect("accepted");
    world.kill_agent(0);
    world.pass(Span::secs(2));
    assert_eq!(world.state(), State::Available, "three beats are not missing yet");
    world.pass(Span::secs(3));
    assert_eq!(world.state(), State::Uncertain);
    world.pass(Span::mins(20));
    assert_eq!(world.state(), State::Uncertain);
    let pages = world.journal.iter().filter(|line| line.contains("page:")).count();
    assert_eq!(pages, 1);
    world.agents[0].alive = true;
    world.pass(Span::secs(2));
    assert_eq!(world.state(), State::Available);
    assert!(world.service().expect("there").findings.is_empty());
}

#[test]
fn two_witnesses_in_two_zones_make_it_down_after_ten_seconds_and_no_sooner() {
    let mut world = with_service();
    let home = world.home();
    world.sight = Sight::Refused;
    world.kill_agent(home);
    world.pass(Span::secs(9));
    assert_eq!(world.state(), State::Uncertain);
    world.pass(Span::secs(4));
    assert_eq!(world.state(), State::Unavailable);
    world.pass(Span::secs(60));
    assert!(world.said("only copy is where nobody can act"));
    world.agents[home].alive = true;
    world.pass(Span::secs(2));
    assert_eq!(world.state(), State::Available);
}

#[test]
fn disagreeing_or_late_witnesses_prove_nothing() {
    let mut world = with_service();
    let home = world.home();
    world.sight = Sight::Refused;
    world.kill_agent(home);
    world.pass(Span::secs(8));
    world.sight = Sight::Answered;
    world.pass(Span::secs(2));
    world.sight = Sight::Refused;
    world.pass(Span::secs(8));
    assert_ne!(world.state(), State::Unavailable, "the count began anew");
}

#[test]
fn the_agents_word_that_the_process_is_gone_is_enough() {
    let mut world = with_service();
    let home = world.home();
    world.report(home, M::Failed);
    assert_eq!(world.state(), State::Unavailable);
    world.report(home, M::Recovering);
    assert_eq!(world.state(), State::Unavailable);
    world.report(home, M::Ready);
    assert_eq!(world.state(), State::Available);
}

#[test]
fn a_crash_loop_is_recovered_and_its_budget_ends_in_a_page() {
    let mut world = with_service();
    let home = world.home();
    world.report(home, M::CrashLooping);
    world.pass(Span::secs(1));
    assert!(world.said("act: recover by remedy crash-loop"));
    assert_eq!(world.state(), State::Available, "the agent obeyed and it came up");
    world.agents[home].works = false;
    world.report(home, M::CrashLooping);
    world.pass(Span::mins(9));
    assert_eq!(world.state(), State::Unavailable);
    assert!(world.said("page: the tries of remedy crash-loop are used up"));
    let runs = world.journal.iter().filter(|l| l.contains("begins: remedy crash-loop")).count();
    assert_eq!(runs, 3, "three tries in ten minutes");
}

#[test]
fn a_hung_server_is_recovered_only_when_a_witness_agrees() {
    let mut world = with_service();
    let home = world.home();
    world.report(home, M::Hung);
    world.pass(Span::secs(30));
    assert_eq!(world.state(), State::Uncertain, "witnesses still get answers");
    assert!(!world.said("act: recover"));
    world.sight = Sight::Silent;
    world.pass(Span::secs(12));
    assert!(world.said("act: recover by remedy hung"));
    assert_eq!(world.state(), State::Available);
}

#[test]
fn a_server_that_hangs_while_its_service_is_made_is_started_again() {
    let mut world = World::new(3);
    world.agents.iter_mut().for_each(|agent| agent.works = false);
    world.create("orders").expect("created");
    world.pass(Span::secs(2));
    let hangs = |world: &mut World| {
        let home = world.home();
        world.report_all(home, |member| member.state = M::Hung);
        world.pass(Span::secs(15));
        world.journal.iter().filter(|line| line.contains("hangs; it is ended hard")).count()
    };
    assert_eq!(hangs(&mut world), 0, "a witness gets an answer");
    world.sight = Sight::Silent;
    // These agents do as they are told at once, and it hangs all the same.
    assert_eq!(hangs(&mut world), 3);
    assert_eq!(hangs(&mut world), 3, "its step has an end, and then a person is told");
    world.agents.iter_mut().for_each(|agent| agent.works = true);
    world.pass(Span::mins(4));
    assert_eq!(world.state(), State::Available);
}

#[test]
fn many_silent_hosts_make_the_observer_suspect() {
    let mut world = with_service();
    (0..3).for_each(|at| world.kill_agent(at));
    world.pass(Span::secs(30));
    assert_eq!(world.state(), State::Uncertain);
    assert!(world.cell.fleet(world.now).posture.starts_with("observer-suspect"));
}

#[test]
fn while_hosts_dial_in_after_a_start_the_silence_of_others_means_nothing() {
    let joining = |world: &World| {
        let fleet = world.cell.fleet(world.now);
        let hosts =
            fleet.hosts.iter().filter(|host| host.state == evenkeel_core::host::State::Joining);
        hosts.count()
    };
    for (hosts, apart, until) in
        [(2, Span::secs(40), 15), (6, Span::secs(4), 25), (40, Span::secs(4), 120)]
    {
        let mut world = World::new(hosts);
        // The last one never comes.
        world.agents.iter_mut().for_each(|agent| agent.alive = false);
        world.restart_controller();
        let began = world.now;
        let mut comes = began + Span::secs(4);
        let mut next = 0;
        while world.now < began + Span::secs(until + 2) {
            if world.now >= comes && next < hosts - 1 {
                world.agents[next].alive = true;
                (next, comes) = (next + 1, world.now + apart);
            }
            world.pass(Span::millis(500));
            let waited = world.now.since(began);
            if waited + Span::secs(2) < Span::secs(until) {
                assert!(joining(&world) > 0, "{hosts} hosts, after {waited}");
            }
        }
        assert_eq!(joining(&world), 0, "{hosts} hosts: it is not waited for any longer");
    }
}

#[test]
fn a_new_controller_goes_on_where_the_old_one_was() {
    let mut world = with_service();
    let home = world.home();
    world.agents[home].works = false;
    order(&mut world, "retire").expect("accepted");
    assert_eq!(world.state(), State::Retiring);
    let before = world.service().expect("there").operation.expect("under way");
    world.restart_controller();
    let after = world.service().expect("there").operation.expect("still under way");
    assert_eq!((before.id, &before.steps[1].name), (after.id, &after.steps[1].name));
    world.agents[home].works = true;
    world.obey(home);
    world.turn();
    assert_eq!(world.state(), State::Retired);
    assert_eq!(world.service().expect("there").members[0].goal.1, before_goal(&world));
}

fn before_goal(world: &World) -> evenkeel_core::id::Revision {
    let newest =
        world.sent.keys().map(|(_, _, revision)| *revision).max().expect("goals were sent");
    evenkeel_core::id::Revision(newest)
}

#[test]
fn orders_push_aside_what_they_may_and_wait_for_the_rest() {
    let mut world = with_service();
    let home = world.home();
    world.agents[home].works = false;
    order(&mut world, "restart").expect("accepted");
    assert!(matches!(order(&mut world, "restart"), Err(Error::Busy { .. })));
    order(&mut world, "retire").expect("goes before a restart");
    assert!(matches!(order(&mut world, "restart"), Err(Error::Busy { .. })));
    order(&mut world, "terminate").expect("goes before everything");
    assert!(matches!(order(&mut world, "terminate"), Err(Error::Busy { .. })));
    world.agents[home].works = true;
    world.obey(home);
    world.turn();
    assert_eq!(world.state(), State::Terminated);
}

#[test]
fn a_host_share_makes_planned_work_wait_its_turn() {
    let mut world = World::new(1);
    let names: Vec<String> = (0..7).map(|n| format!("db{n}")).collect();
    names.iter().for_each(|name| drop(world.create(name).expect("accepted")));
    world.agents[0].works = false;
    for name in &names {
        world.order(Order::Restart { name: name.clone() }).expect("accepted");
    }
    let running = |world: &World| {
        let services = world.cell.services(world.now);
        services.iter().filter(|s| s.operation.as_ref().is_some_and(|o| o.claimed)).count()
    };
    assert_eq!(running(&world), 4);
    let waits = world.cell.explain("db6", world.now).expect("there").decision_text;
    assert!(waits.contains("4 of 4 planned operations running"), "{waits}");
    world.agents[0].works = true;
    world.obey(0);
    world.pass(Span::secs(1));
    assert_eq!(running(&world), 0);
    assert!(world.cell.services(world.now).iter().all(|s| s.state == State::Available));
}

#[test]
fn a_drained_host_takes_nothing_and_says_what_holds_it() {
    let mut world = with_service();
    let home = world.agents[world.home()].name.clone();
    world.order(Order::Drain { host: home.clone() }).expect("accepted");
    for n in 0..4 {
        world.create(&format!("db{n}")).expect("accepted");
    }
    let host = world.cell.host(&home, world.now).expect("known");
    assert_eq!((host.members, host.draining), (1, true));
    let waits = host.operation.expect("it drains").steps[1].missing.clone();
    assert_eq!(waits, ["m1 of orders: its only copy; retire or terminate it"]);
    world.restart_controller();
    world.pass(Span::mins(11));
    assert!(world.said("page: drain"), "a person is told that it waits");
    order(&mut world, "terminate").expect("accepted");
    let host = world.cell.host(&home, world.now).expect("known");
    assert!(host.operation.is_none() && host.draining, "drained, and closed until it is returned");
    world.order(Order::RemoveHost { host: home.clone() }).expect("it is empty now");
    assert!(world.cell.host(&home, world.now).is_none());
}

#[test]
fn a_host_that_is_returned_takes_members_again() {
    let mut world = with_service();
    let homes: Vec<String> = world.agents.iter().map(|agent| agent.name.clone()).collect();
    homes.iter().for_each(|host| {
        world.order(Order::Drain { host: host.clone() }).expect("accepted");
    });
    let refused = world.create("second").expect_err("every host is closed").to_string();
    assert!(refused.contains("it is draining"), "{refused}");
    world.order(Order::Return { host: homes[0].clone() }).expect("accepted");
    world.create("third").expect("accepted");
    assert!(world.cell.host(&homes[0], world.now).expect("known").operation.is_none());
}

#[test]
fn a_taken_port_is_left_to_whoever_has_it() {
    let mut world = World::new(1);
    world.agents[0].works = false;
    world.create("orders").expect("accepted");
    let before = world.service().expect("there").members[0].port;
    let member = world.agents[0].members.values_mut().next().expect("reported");
    (member.port_taken, member.pid) = (true, None);
    world.report(0, M::Stopped);
    let after = world.service().expect("there").members[0].port;
    assert_ne!(before, after);
    assert!(world.said(&format!("port {before} is held by another process")));
}

#[test]
fn a_store_put_back_orders_nothing() {
    let mut world = with_service();
    let mut old = Cell::new(setup());
    let hello = evenkeel_core::report::Hello {
        host: "h1".into(),
        zone: "a".into(),
        rack: None,
        address: "127.0.0.1".into(),
        pid: 1,
        boot: "b".into(),
        release: "0".into(),
        image: None,
        version: None,
        store: Some((setup().store, 99)),
        checks: Vec::new(),
        poolers: false,
    };
    let message = evenkeel_core::report::FromAgent::Hello(hello);
    let turn = old.turn(Time(1), &[Entry::Agent { link: evenkeel_core::cell::Link(1), message }]);
    assert!(format!("{:?}", turn.sends).contains("older than what this agent has seen"));
    assert!(old.posture(Time(1)).to_string().contains("put back"));
    world.pass(Span::secs(1));
}

#[test]
fn same_in_same_out_also_from_a_snapshot() {
    let mut world = with_service();
    world.report(world.home(), M::Hung);
    world.pass(Span::secs(3));
    let mut copy = Cell::restore(setup(), &world.cell.snapshot()).expect("its own snapshot");
    for step in 1..200 {
        let now = world.now + Span::millis(step * 250);
        assert_eq!(world.cell.turn(now, &[]), copy.turn(now, &[]));
    }
    assert_eq!(world.cell.snapshot(), copy.snapshot());
}

#[test]
fn a_quiet_turn_writes_and_sends_nothing() {
    let mut world = with_service();
    world.pass(Span::secs(30));
    let turn = world.cell.turn(world.now, &[]);
    assert!(turn.writes.is_empty() && turn.sends.is_empty());
    let explain = world.cell.explain("orders", world.now).expect("there");
    assert!(matches!(explain.decision, Decision::Hold(_)));
}

#[test]
fn a_host_with_one_member_down_and_one_reached_is_not_down() {
    let mut world = World::new(3);
    world.order(Order::Drain { host: "h2".into() }).expect("accepted");
    world.order(Order::Drain { host: "h3".into() }).expect("accepted");
    world.create("orders").expect("accepted");
    world.create("payments").expect("accepted");
    world.sights.insert(evenkeel_core::id::MemberId(1), Sight::Refused);
    world.kill_agent(0);
    world.pass(Span::secs(60));
    let states: Vec<State> = world.cell.services(world.now).iter().map(|s| s.state).collect();
    assert_eq!(states, [State::Unavailable, State::Available]);
    assert_eq!(world.cell.host("h1", world.now).expect("known").state, host::State::Uncertain);
}

#[test]
fn new_connections_are_held_while_the_primary_takes_none() {
    let mut world = with_service();
    let home = world.home();
    let holds = |world: &World| world.routes.values().next().expect("open").holds;
    assert!(!holds(&world));
    world.report(home, M::Recovering);
    assert!(holds(&world), "it replays its log");
    world.report(home, M::Ready);
    assert!(!holds(&world));
    // Hung, or not heard of: it may well serve, and nobody here knows better.
    world.report(home, M::Hung);
    assert!(!holds(&world));
}

#[test]
fn beats_go_by_the_marks_that_their_agent_sent() {
    let mut world = World::new(1);
    world.create("orders").expect("accepted");
    world.pass(Span::secs(2));
    let agent = &world.agents[0];
    let (link, member) = (agent.link.expect("dialled"), agent.members.values().next().cloned());
    let member = member.expect("one member");
    // Its release says more of a member than this one reads.
    let mark = Mark([7; 8]);
    let message = FromAgent::marked(false, vec![(mark, member.clone())]);
    world.cell.turn(world.now, &[Entry::Agent { link, message }]);
    let mut asks = |digest: Digest| {
        let asks = |send: &Send| matches!(send, Send::Agent { message: ToAgent::SendAll, .. });
        (100..103).any(|number| {
            let beat = Beat { link, number, digest, answer: false };
            world.cell.turn(world.now, &[Entry::Beats(vec![beat])]).sends.iter().any(asks)
        })
    };
    assert!(!asks(report::digest_of([mark])));
    assert!(asks(report::digest([&member])), "which is not what was sent");
}
