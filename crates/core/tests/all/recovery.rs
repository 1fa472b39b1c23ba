//! A burnt control plane comes back: from an older copy, and from what its hosts keep.

use std::collections::BTreeMap;

use evenkeel_core::cell::recovery::{Found, Source, begin};
use evenkeel_core::cell::{Cell, Setup};
use evenkeel_core::goal::{Password, Role, StoreId, Want};
use evenkeel_core::member;
use evenkeel_core::order::{Error, Order};
use evenkeel_core::row::Key;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;
use evenkeel_core::view;

use crate::world::{World, key, setup};

type Rows = BTreeMap<Key, Vec<u8>>;

/// A fleet with a service of one member and one of two.
fn fleet() -> World {
    let mut world = World::new(3);
    world.create("orders").expect("accepted");
    world.create_as("pay", Some("pair")).expect("accepted");
    world.pass(Span::secs(10));
    assert_eq!(named(&world, "pay").state, State::Available);
    world
}

fn named(world: &World, name: &str) -> view::Service {
    world.cell.service(name, world.now).unwrap_or_else(|| panic!("{name} is there"))
}

/// Another controller takes over, with a store of its own.
fn recover(world: &mut World, name: &str, from: Option<&Rows>, hosts: Option<u32>) -> Found {
    recover_with(world, name, from, hosts, &key())
}

fn recover_with(
    world: &mut World,
    name: &str,
    from: Option<&Rows>,
    hosts: Option<u32>,
    key: &Password,
) -> Found {
    let rows: Vec<_> = from.into_iter().flatten().map(|(k, v)| (*k, v.clone())).collect();
    let succeeds = match from {
        Some(_) => vec![world.cell_store.clone()],
        None => Vec::new(),
    };
    let source =
        Source { rows: &rows, succeeds: &succeeds, open: from.is_none(), hosts, now: world.now };
    let (writes, found) = begin(&source).expect("sound rows");
    let mut stored: Rows = rows.iter().cloned().collect();
    for write in writes.rows {
        stored.insert(write.key, write.body.expect("nothing is removed"));
    }
    // Hosts are as they were in the copy.
    world.rows = stored;
    world.cell_store = StoreId(name.to_owned());
    start(world, key);
    found
}

/// A controller begins with what is recorded.
fn start(world: &mut World, key: &Password) {
    let rows: Vec<_> = world.rows.iter().map(|(k, v)| (*k, v.clone())).collect();
    let setup = Setup { store: world.cell_store.clone(), ..setup() };
    world.cell = Cell::load(setup, &rows).expect("what was recorded");
    world.cell.entrust(key.clone());
    world.agents.iter_mut().for_each(|agent| agent.link = None);
    world.gateway = None;
    world.inbox.clear();
    world.dial();
    world.turn();
}

/// What people rely on, of every service.
fn shape(world: &World) -> Vec<(String, State, u16, Vec<String>)> {
    let shape = |s: view::Service| {
        let members = s.members.iter().map(|m| format!("{} on {}", m.id, m.host)).collect();
        (s.name, s.state, s.endpoint_port, members)
    };
    world.cell.services(world.now).into_iter().map(shape).collect()
}

fn primary(world: &World, name: &str) -> String {
    named(world, name).members[0].id.to_string()
}

#[test]
fn from_a_copy_everything_is_as_its_hosts_have_it_now() {
    let mut world = fleet();
    let copy = world.rows.clone();
    world.create("later").unwrap();
    let reason = "a test".to_owned();
    let first = primary(&world, "pay");
    world.order(Order::Failover { name: "pay".into(), reason }).unwrap();
    world.pass(Span::secs(60));
    assert_ne!(primary(&world, "pay"), first);
    let (before, routes) = (shape(&world), world.routes.clone());
    let found = recover(&mut world, "second", Some(&copy), None);
    let names: Vec<&str> = found.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!((names, found.hosts.len()), (vec!["orders", "pay"], 3), "as of the copy");
    world.pass(Span::secs(60));
    assert!(!world.cell.recovers());
    assert_eq!(shape(&world), before);
    assert_eq!(world.routes, routes, "clients are led where they were");
    assert!(world.said("pay: what was promised is known again"));
    let old = primary(&world, "pay");
    world.order(Order::Failover { name: "pay".into(), reason: "again".into() }).unwrap();
    world.pass(Span::secs(60));
    assert_ne!(primary(&world, "pay"), old);
}

#[test]
fn from_its_hosts_alone_everything_is_as_it_was() {
    let mut world = fleet();
    world.order(Order::Failover { name: "pay".into(), reason: "a test".into() }).unwrap();
    world.pass(Span::secs(60));
    world.order(Order::Retire { name: "orders".into() }).unwrap();
    world.pass(Span::secs(5));
    let (before, routes) = (shape(&world), world.routes.clone());
    for name in ["second", "third"] {
        let found = recover(&mut world, name, None, Some(3));
        assert_eq!(found, Found::default(), "nothing is known before hosts show it");
        world.pass(Span::secs(60));
        assert_eq!(shape(&world), before, "{name}");
        assert_eq!(world.routes, routes, "{name}");
        // What was made by order of an earlier store stays their own.
        let goals = world.agents.iter().flat_map(|agent| agent.goals.values());
        let known = |goal: &evenkeel_core::goal::Goal| goal.succeeds.contains(&setup().store);
        assert!(goals.into_iter().all(known), "{name}");
    }
    world.order(Order::Failover { name: "pay".into(), reason: "again".into() }).unwrap();
    world.order(Order::Revive { name: "orders".into(), keys: None }).unwrap();
    let new = world.create("new").unwrap();
    assert!(new.service.unwrap().0 > 2, "no id is drawn twice");
    world.pass(Span::secs(60));
    let states: Vec<State> = shape(&world).into_iter().map(|(_, state, ..)| state).collect();
    assert_eq!(states, [State::Available; 3]);
}

/// Every order in which three hosts may show what they keep leads to the same.
fn whatever_the_order(world: &World, from: Option<&Rows>) {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = world.clone();
        let before = shape(&world);
        world.agents.iter_mut().for_each(|agent| agent.alive = false);
        recover(&mut world, "second", from, Some(3));
        for at in order {
            world.agents[at].alive = true;
            world.dial();
            world.turn();
        }
        world.pass(Span::secs(60));
        assert_eq!(shape(&world), before, "{order:?}");
        assert!(world.said("pay: what was promised is known again"), "{order:?}");
    }
}

#[test]
fn in_whatever_order_hosts_come_the_outcome_is_the_same() {
    let mut world = fleet();
    let copy = world.rows.clone();
    world.order(Order::Failover { name: "pay".into(), reason: "a test".into() }).unwrap();
    world.pass(Span::secs(60));
    whatever_the_order(&world, Some(&copy));
    whatever_the_order(&world, None);
}

#[test]
fn a_host_that_was_away_knows_less_and_is_believed_less() {
    let mut world = fleet();
    let before = world.rows.clone();
    let host = named(&world, "pay").members[0].host.clone();
    let away = world.agents.iter().position(|agent| agent.name == host).unwrap();
    world.kill_agent(away);
    world.pass(Span::secs(5));
    world.order(Order::Failover { name: "pay".into(), reason: "a test".into() }).unwrap();
    world.pass(Span::secs(20));
    assert_ne!(named(&world, "pay").members[0].host, host, "another took its place");
    let after = world.rows.clone();
    // It comes back when there is another control plane, and still thinks that it leads.
    for from in [Some(&before), Some(&after), None] {
        let mut world = world.clone();
        world.agents.iter_mut().for_each(|agent| agent.alive = true);
        let health = |shape: &mut Vec<(String, State, u16, Vec<String>)>| {
            shape.iter_mut().for_each(|service| service.1 = State::Available);
        };
        let mut known = shape(&world);
        health(&mut known);
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let mut world = world.clone();
            world.agents.iter_mut().for_each(|agent| agent.alive = false);
            recover(&mut world, "second", from, Some(3));
            for at in order {
                world.agents[at].alive = true;
                world.dial();
                world.turn();
            }
            world.pass(Span::secs(60));
            assert_eq!(shape(&world), known, "{order:?}");
        }
    }
}

#[test]
fn nothing_is_touched_before_every_host_has_shown_or_a_person_says_so() {
    let mut world = fleet();
    let sent = world.sent.len();
    world.kill_agent(2);
    let missing: Vec<String> = shape(&world)
        .into_iter()
        .filter(|(.., members)| members.iter().any(|m| m.ends_with("h3")))
        .map(|(name, ..)| name)
        .collect();
    assert!(!missing.is_empty(), "something lies on the host that is away");
    let routes = world.routes.clone();
    recover(&mut world, "second", None, Some(3));
    world.pass(Span::secs(60));
    assert_eq!((world.sent.len(), &world.routes), (sent, &routes), "nothing was sent");
    let refused = world.create("new").unwrap_err();
    assert!(
        matches!(&refused, Error::Recovering { waits } if waits.contains("2 of 3")),
        "{refused}"
    );
    let refused = world.order(Order::Recovered { hosts: 3 }).unwrap_err();
    assert!(matches!(refused, Error::OtherHosts { named: 3, shown: 2, .. }), "{refused}");
    // A controller that begins again asks again.
    start(&mut world, &key());
    world.order(Order::Recovered { hosts: 2 }).unwrap();
    assert_eq!(world.order(Order::Recovered { hosts: 2 }), Err(Error::NotRecovering));
    world.pass(Span::secs(20));
    let unknown = named(&world, "pay").failover.expect("it has standbys");
    assert_eq!(!unknown.safe_now, missing.contains(&"pay".to_owned()));
    world.agents[2].alive = true;
    world.pass(Span::secs(60));
    let states: Vec<State> = shape(&world).into_iter().map(|(_, state, ..)| state).collect();
    assert_eq!(states, [State::Available; 2]);
    assert!(world.said("pay: what was promised is known again"));
}

#[test]
fn while_it_is_unknown_what_was_promised_the_set_stays_as_it_is() {
    let mut world = fleet();
    let standby = named(&world, "pay").members[1].host.clone();
    let away = world.agents.iter().position(|agent| agent.name == standby).unwrap();
    let copy = world.rows.clone();
    world.kill_agent(away);
    recover(&mut world, "second", Some(&copy), Some(2));
    world.pass(Span::secs(120));
    let set = |world: &World| {
        let goals = world.agents.iter().flat_map(|agent| agent.goals.values());
        let mut sets = goals.filter_map(|goal| match &goal.role {
            Role::Primary { set, .. } if goal.identity.name.as_str() == "pay" => Some(set.acks()),
            _ => None,
        });
        sets.next().expect("somebody leads")
    };
    assert_eq!(set(&world), 1, "it is not relaxed: the standby may obey another controller");
    assert!(!world.said("pay: relax"), "nor is it tried");
    assert!(!world.said("what was promised is known again"));
    world.agents[away].alive = true;
    world.pass(Span::secs(10));
    assert!(world.said("what was promised is known again"));
    world.kill_agent(away);
    world.pass(Span::secs(60));
    assert_eq!(set(&world), 0, "as always from now on");
}

#[test]
fn what_no_host_has_any_more_is_not_made_anew() {
    let mut world = fleet();
    let copy = world.rows.clone();
    for name in ["orders", "pay"] {
        let confirm = name.to_owned();
        world.order(Order::Terminate { name: name.into(), confirm }).unwrap();
    }
    world.pass(Span::secs(60));
    let sent = world.sent.len();
    recover(&mut world, "second", Some(&copy), None);
    world.pass(Span::secs(60));
    assert_eq!(shape(&world), Vec::new());
    assert_eq!(world.sent.len(), sent, "no member was ordered");
    assert!(world.said("orders: no host has anything of it"));
}

#[test]
fn the_store_that_was_succeeded_commands_nobody() {
    let mut world = fleet();
    let (old, copy) = (world.cell_store.clone(), world.rows.clone());
    recover(&mut world, "second", Some(&copy), None);
    world.pass(Span::secs(20));
    let (sent, routes) = (world.sent.len(), world.routes.clone());
    let second = std::mem::replace(&mut world.rows, copy);
    world.cell_store = old;
    world.routes.clear();
    start(&mut world, &key());
    world.pass(Span::secs(60));
    assert_eq!(world.sent.len(), sent, "no goal was sent");
    assert!(world.routes.is_empty(), "no route was sent");
    assert!(
        world.cell.posture(world.now).to_string().contains("succeeded: hosts obey store second")
    );
    let refused = world.create("new").unwrap_err();
    assert!(matches!(refused, Error::Succeeded { .. }), "{refused}");
    // The one that came after goes on.
    (world.rows, world.cell_store, world.routes) = (second, StoreId("second".into()), routes);
    start(&mut world, &key());
    world.pass(Span::secs(10));
    assert!(world.create("new").is_ok());
}

#[test]
fn a_host_that_was_not_moved_yet_is_not_ordered_about_by_the_old_store() {
    let mut world = fleet();
    let (old, copy) = (world.cell_store.clone(), world.rows.clone());
    world.agents[0].alive = false;
    recover(&mut world, "second", Some(&copy), Some(2));
    world.pass(Span::secs(20));
    world.agents[0].alive = true;
    (world.rows, world.cell_store) = (copy, old.clone());
    start(&mut world, &key());
    // The one that stayed is heard first, the others tell that they left.
    let sent = world.sent.len();
    let stayed = world.agents[0].store.as_ref().expect("it obeys").store.clone();
    assert_eq!(stayed, old);
    world.report(0, member::State::CrashLooping);
    world.pass(Span::secs(120));
    assert_eq!(world.sent.len(), sent, "nothing more was ordered");
}

#[test]
fn a_store_with_another_key_is_shown_nothing() {
    let mut world = fleet();
    let copy = world.rows.clone();
    let other = Password("another fleet's".to_owned());
    recover_with(&mut world, "second", Some(&copy), None, &other);
    world.pass(Span::secs(20));
    let waits = world.cell.awaits().expect("it waits");
    assert!(waits.contains("its proof is not made with this fleet's key"), "{waits}");
    start(&mut world, &key());
    world.pass(Span::secs(20));
    assert_eq!(world.cell.awaits(), None);
}

#[test]
fn a_primary_that_is_down_then_is_followed_only_when_every_member_was_recruited() {
    let mut world = fleet();
    let copy = world.rows.clone();
    let host = named(&world, "pay").members[0].host.clone();
    let home = world.agents.iter().position(|agent| agent.name == host).unwrap();
    let old = primary(&world, "pay");
    let member = named(&world, "pay").members[0].id;
    // Its process does not come up: what it acknowledged last nobody knows but itself.
    world.agents[home].works = false;
    let down = |world: &mut World| {
        let report = world.agents[home].members.get_mut(&member).expect("it has it");
        (report.state, report.write_proven) = (member::State::CrashLooping, false);
        report.replication = None;
    };
    down(&mut world);
    recover(&mut world, "second", Some(&copy), None);
    world.pass(Span::secs(30));
    assert_eq!(primary(&world, "pay"), old, "one is missing among the recruited");
    // It can be asked how far it got.
    world.agents[home].works = true;
    world.obey(home);
    world.turn();
    world.pass(Span::secs(90));
    assert_eq!(named(&world, "pay").state, State::Available);
    let wanted = |goal: &&evenkeel_core::goal::Goal| goal.want == Want::Running;
    assert!(world.agents[home].goals.values().filter(wanted).count() >= 1);
    assert!(world.said("what was promised is known again"));
}
