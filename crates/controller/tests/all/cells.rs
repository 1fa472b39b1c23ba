//! Several cells in one controller.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_api::{BrakeOrder, Error, JournalQuery};
use evenkeel_core::cell::many::IDS_PER_CELL;
use evenkeel_core::id::CellId;
use evenkeel_core::report::ToAgent;
use evenkeel_core::route::ToGateway;
use evenkeel_core::row::Table;
use evenkeel_core::service::State;

use crate::memory::Commits;
use crate::peer::{Agent, Gateway, Peer, gateway_hello};
use crate::world::{World, new_service, until};

/// Cells of two hosts each.
fn world() -> World {
    World::with(|options| options.cell_hosts_max = 2)
}

/// Hosts `h1` to `h5`, each with its gateway: two, two and one in a cell.
fn fleet(world: &World) -> Vec<(Agent, Gateway)> {
    let joined = (1..=5).map(|n| {
        let name = format!("h{n}");
        let mut agent = world.agent(&name);
        agent.report();
        until("it joined", || world.client.host(&name).is_ok());
        (agent, world.gateway(&name))
    });
    joined.collect()
}

/// Which cell's ids a host has.
fn cell_of(world: &World, host: &str) -> u32 {
    (world.client.host(host).expect("it is known").id.0 - 1) / IDS_PER_CELL + 1
}

fn cells(world: &World) -> Vec<u32> {
    (1..=5).map(|n| cell_of(world, &format!("h{n}"))).collect()
}

fn restarted(world: &mut World) {
    world.restart_with(|options| options.cell_hosts_max = 2);
}

#[test]
fn hosts_fill_one_cell_after_the_other_and_a_restart_keeps_them_there() {
    let mut world = world();
    let hosts = fleet(&world);
    assert_eq!(cells(&world), [1, 1, 2, 2, 3]);
    let names = |world: &World| -> Vec<String> {
        world.client.hosts().unwrap().into_iter().map(|host| host.name).collect()
    };
    assert_eq!(names(&world), ["h1", "h2", "h3", "h4", "h5"]);
    drop(hosts);
    restarted(&mut world);
    assert_eq!(cells(&world), [1, 1, 2, 2, 3]);
    // In another order than they came: each to its own, and a new one where there is room.
    for host in ["h5", "h4", "h3", "h2", "h1", "h6"] {
        let _agent = world.agent(host);
    }
    assert_eq!(cells(&world), [1, 1, 2, 2, 3]);
    assert_eq!(cell_of(&world, "h6"), 3);
    assert_eq!(world.client.fleet().unwrap().hosts.len(), 6);
}

#[test]
fn services_are_found_by_name_wherever_they_are_and_lists_are_of_all() {
    let world = world();
    let mut hosts = fleet(&world);
    for n in 0..6 {
        // Each goes where there is most room: they spread.
        world.create(&format!("s{n}")).unwrap();
    }
    let all = world.client.services().unwrap();
    let names: Vec<&str> = all.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4", "s5"], "in order of name over all cells");
    let own = all.iter().map(|service| service.id.0 / IDS_PER_CELL);
    let own: BTreeSet<u32> = own.collect();
    assert!(own.len() >= 2, "{own:?}");
    let ids: BTreeSet<_> = all.iter().map(|service| service.members[0].id).collect();
    assert_eq!(ids.len(), 6, "no two members have one id");
    // Its host's agent hears of it, and no other; its host's gateway leads there.
    for service in &all {
        let host = service.members[0].host.clone();
        let at: usize = host[1..].parse().unwrap();
        hosts[at - 1].0.obey();
    }
    until("all serve", || {
        hosts.iter_mut().for_each(|(_, gateway)| gateway.take_what_came());
        let services = world.client.services().unwrap();
        services.iter().all(|service| service.state == State::Available)
    });
    for (at, (_, gateway)) in hosts.iter().enumerate() {
        let cell = cell_of(&world, &format!("h{}", at + 1));
        let of = |id: u32| (id - 1) / IDS_PER_CELL + 1 == cell;
        assert!(gateway.led_to.iter().all(|id| of(id.0)), "{:?}", gateway.led_to);
        assert_eq!(gateway.led_to.is_empty(), !all.iter().any(|service| of(service.id.0)));
    }
    for service in &all {
        let shown = world.client.service(&service.name).unwrap();
        assert_eq!(shown.members[0].host, service.members[0].host);
        assert!(world.client.explain(&service.name).is_ok());
        world.client.restart(&service.name).unwrap();
        let at: usize = service.members[0].host[1..].parse().unwrap();
        assert_eq!(hosts[at - 1].0.goals()[0].identity.name.as_str(), service.name);
    }
    let metrics = world.client.metrics().unwrap();
    assert!(metrics.contains("evenkeel_hosts{zone=\"a\",state=\"up\"} 5\n"), "{metrics}");
    let journal = world.client.journal(&JournalQuery::default()).unwrap();
    assert!(journal.windows(2).all(|two| two[0].position + 1 == two[1].position));
    assert!(world.client.doctor().unwrap().iter().all(|i| i.ok || i.name == "fleet key"));
}

#[test]
fn a_name_is_taken_over_all_cells_also_at_the_same_moment() {
    let world = world();
    let _hosts = fleet(&world);
    world.store.set(Commits::Held);
    // One order holds the thread; those behind it come into one round.
    let first = order(&world, "first");
    world.store.wait_for_held();
    let orders: Vec<_> = (0..8).map(|_| order(&world, "same")).collect();
    std::thread::sleep(Duration::from_millis(100));
    world.store.set(Commits::Taken);
    first.join().unwrap().unwrap();
    let answers: Vec<_> = orders.into_iter().map(|order| order.join().unwrap()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    let taken = |answer: &&Result<_, Error>| {
        answer.as_ref().is_err_and(|error: &Error| error.code() == Some("name_taken"))
    };
    assert_eq!(answers.iter().filter(taken).count(), 7, "{answers:?}");
    assert_eq!(world.create("first").unwrap_err().code(), Some("name_taken"));
    assert_eq!(world.client.services().unwrap().len(), 2);
}

type Answer = Result<evenkeel_api::order::Accepted, Error>;

fn order(world: &World, name: &str) -> std::thread::JoinHandle<Answer> {
    let (client, service) = (world.client.clone(), new_service(name));
    std::thread::spawn(move || client.create(&service))
}

#[test]
fn an_order_for_the_fleet_is_every_cells_and_a_new_cell_takes_it_over() {
    let world = world();
    let hosts = fleet(&world);
    let commits = world.store.commits();
    let brake = BrakeOrder { on: true, reason: "a storm".to_owned() };
    let accepted = world.client.brake(&brake).unwrap();
    assert_eq!(world.store.commits(), commits + 1, "all cells in one commit");
    for cell in ["cell c1: ", "cell c2: ", "cell c3: "] {
        assert!(accepted.text.contains(cell), "{}", accepted.text);
    }
    assert!(world.client.fleet().unwrap().brake.is_some());
    let braked = |cell| {
        let rows = world.store.rows_of(CellId(cell), Table::Cell);
        rows.iter().any(|row| row.contains("a storm"))
    };
    assert!(braked(1) && braked(2) && braked(3) && !braked(4));
    let _more: Vec<Agent> = ["h6", "h7"].map(|host| world.agent(host)).into();
    assert_eq!(cell_of(&world, "h7"), 4);
    assert!(braked(4), "as the first one is");
    let without = BrakeOrder { on: true, reason: " ".to_owned() };
    assert_eq!(world.client.brake(&without).unwrap_err().code(), Some("no_reason"));
    world.client.brake(&BrakeOrder { on: false, reason: "it passed".to_owned() }).unwrap();
    assert!(!(1..=4).any(braked));
    drop(hosts);
}

#[test]
fn a_failing_commit_halts_all_cells_and_all_go_on() {
    let world = world();
    let mut hosts = fleet(&world);
    world.create("before").unwrap();
    world.store.set(Commits::Refused);
    assert_eq!(world.create("orders").unwrap_err().code(), Some("cannot_record"));
    for (agent, _) in &mut hosts {
        // Of every cell: what was said since the last commit is not known any more.
        while agent.peer.next::<ToAgent>().is_some() {}
    }
    assert!(world.client.service("orders").is_err(), "it did not happen");
    assert_eq!(world.client.hosts().unwrap().len(), 5, "what is stored is shown");
    world.store.set(Commits::Taken);
    until("recording again", || {
        !world.client.fleet().unwrap().posture.starts_with("store cannot record")
    });
    let _hosts: Vec<Agent> = (1..=5).map(|n| world.agent(&format!("h{n}"))).collect();
    assert_eq!(cells(&world), [1, 1, 2, 2, 3]);
    world.create("orders").unwrap();
    assert_eq!(world.client.services().unwrap().len(), 2);
}

#[test]
fn a_gateway_waits_for_its_host_and_is_led_to_its_cell_only() {
    let world = world();
    let _first: Vec<Agent> = ["h1", "h2"].map(|host| world.agent(host)).into();
    // There is one cell yet: it is taken for that one's.
    let mut early = world.gateway("h3");
    let _h3 = world.agent("h3");
    loop {
        if early.peer.next::<ToGateway>().is_none() {
            break;
        }
    }
    let mut unknown = Peer::gateway(world.address(), &world.running().token);
    unknown.send(&gateway_hello("h9"));
    assert_eq!(unknown.next::<ToGateway>(), None, "it is to come again");
    let third = world.gateway("h3");
    let _one = world.gateway("h1");
    let gateways = world.client.fleet().unwrap().gateways;
    assert_eq!(gateways.len(), 2, "{gateways:?}");
    drop(third);
}

#[test]
fn every_cell_has_recordings_of_its_own_that_replay() {
    let mut world = world();
    let mut hosts = fleet(&world);
    world.create("orders").unwrap();
    hosts.iter_mut().for_each(|(agent, _)| agent.beat());
    until("a turn of each", || {
        let metrics = world.client.metrics().unwrap();
        metrics.contains("evenkeel_beats_total 5\n")
    });
    let recordings = world.dir.path().join("recordings");
    let dirs = [recordings.clone(), recordings.join("c2"), recordings.join("c3")];
    // They begin one after the other.
    until("each records", || {
        dirs.iter().all(|dir| {
            let files = std::fs::read_dir(dir).into_iter().flatten();
            files.flatten().any(|file| file.path().is_file())
        })
    });
    drop(hosts);
    world.stop();
    let mut replayed = 0;
    for dir in dirs {
        let files = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|path| path.is_file()) {
            let kinds = crate::toy::KINDS;
            let same =
                evenkeel_controller::recorder::replay(&file, kinds, Default::default(), None);
            let same = same.unwrap();
            assert_eq!(same.differing_turns, 0, "{:?}", same.differing);
            replayed += same.turns;
        }
    }
    assert!(replayed >= 5, "{replayed}");
}
