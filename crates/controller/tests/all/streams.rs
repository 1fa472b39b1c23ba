//! Streams that do not behave.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use evenkeel_api::JournalQuery;
use evenkeel_core::host;
use evenkeel_core::report::{FromAgent, ToAgent};
use evenkeel_core::route::ToGateway;
use evenkeel_core::time::Span;

use crate::peer::{Agent, Peer, gateway_hello, hello};
use crate::world::{World, until};

#[test]
fn a_stream_says_hello_first_and_soon() {
    let world = World::new();
    let (address, token) = (world.address(), world.running().token.clone());
    let mut silent = Peer::agent(address, &token);
    let began = Instant::now();
    assert_eq!(silent.next::<ToAgent>(), None);
    let waited = began.elapsed();
    assert!((4..10).contains(&waited.as_secs()), "closed after {waited:?}");

    let mut rude = Peer::agent(address, &token);
    rude.send(&FromAgent::members(true, Vec::new()));
    assert_eq!(rude.next::<ToAgent>(), None);
    let mut confused = Peer::gateway(address, &token);
    confused.send(&FromAgent::Hello(hello("h1")));
    assert_eq!(confused.next::<ToGateway>(), None);
    assert!(world.client.hosts().unwrap().is_empty(), "nobody joined");
}

#[test]
fn the_end_of_a_stream_is_told_and_a_new_one_takes_its_place() {
    // No beat is ever late here: what is doubted, is doubted for its stream's end.
    let world = World::with(|options| options.policy.beat = Span::mins(10));
    let mut agent = world.agent("h1");
    agent.report();
    agent.beat();
    let state = || world.client.host("h1").unwrap().state;
    until("up", || state() == host::State::Up);
    let mut second = world.agent("h1");
    loop {
        // The older stream of a host is ended.
        if agent.peer.next::<ToAgent>().is_none() {
            break;
        }
    }
    second.beat();
    assert_eq!(state(), host::State::Up);
    drop(second);
    until("doubted", || state() != host::State::Up);
}

#[test]
fn a_stream_that_does_not_read_is_cut_and_disturbs_nobody() {
    let world = World::new();
    let mut agent = world.agent("h1");
    for n in 0..150 {
        world.create(&format!("s{n}")).unwrap();
    }
    (0..150).for_each(|_| agent.obey());
    until("all routes are open", || {
        world.client.services().unwrap().iter().all(|s| s.operation.is_none())
    });
    let token = world.running().token.clone();
    let mut deaf = Peer::gateway(world.address(), &token);
    // Each hello of a new name is answered with every route; nobody reads them.
    let cut = |world: &World| {
        world.client.metrics().unwrap().contains("evenkeel_streams_too_slow_total 1\n")
    };
    let mut hellos = 0;
    while !cut(&world) {
        agent.beat();
        for _ in 0..16 {
            hellos += 1;
            if deaf.try_send(&gateway_hello(&format!("g{hellos}"))).is_err() {
                break;
            }
            // A question runs between two turns: each hello gets a turn of its own.
            world.client.host("h1").unwrap();
        }
        assert!(hellos < 20_000, "never cut");
    }
    let ended = loop {
        match deaf.within::<ToGateway>(Duration::from_secs(20)) {
            Some(Some(_)) => {}
            Some(None) => break true,
            None => break false,
        }
    };
    assert!(ended, "its connection is ended");
    agent.beat();
    until("heard", || world.client.host("h1").unwrap().state == host::State::Up);
    world.create("after").unwrap();
    assert_eq!(agent.goals()[0].identity.name.as_str(), "after", "others are served");
}

#[test]
fn an_agent_of_another_control_plane_is_told_so_and_closed() {
    let world = World::new();
    let mut peer = Peer::agent(world.address(), &world.running().token);
    let mut hello = hello("h1");
    hello.store = Some((evenkeel_core::goal::StoreId("other".to_owned()), 1));
    peer.send(&FromAgent::Hello(hello));
    match peer.next::<ToAgent>() {
        Some(ToAgent::Refused { reason }) => assert!(reason.contains("another"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.next::<ToAgent>(), None, "closed after what was sent");
}

#[test]
fn frames_that_cannot_be_read_end_their_stream_only() {
    let world = World::new();
    let good = Agent::hello(Peer::agent(world.address(), &world.running().token), "h1");
    let mut bad = world.agent("h2");
    bad.peer.send(&serde_json::json!({ "no_such_message": 1 }));
    loop {
        if bad.peer.next::<ToAgent>().is_none() {
            break;
        }
    }
    assert!(world.client.metrics().unwrap().contains("evenkeel_agent_streams 1\n"));
    drop(good);
}

#[test]
fn a_jump_of_the_wall_clock_is_told_and_moves_nothing() {
    static AHEAD_MS: AtomicI64 = AtomicI64::new(0);
    let world = World::with(|options| {
        options.wall = || evenkeel_controller::wall() + AHEAD_MS.load(Ordering::SeqCst);
    });
    let before = world.client.fleet().unwrap().now;
    AHEAD_MS.store(-7_200_000, Ordering::SeqCst);
    until("told", || {
        let journal = world.client.journal(&JournalQuery::default()).unwrap();
        journal.iter().any(|entry| entry.text.contains("jumped by -7"))
    });
    let after = world.client.fleet().unwrap().now;
    assert!(after >= before && after.since(before).0 < 60_000, "{before:?} {after:?}");
}
