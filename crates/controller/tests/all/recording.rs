//! The flight recorder and its replay.

use std::sync::Arc;

use std::path::Path;

use evenkeel_controller::recorder::{Error, replay};
use evenkeel_core::policy::Policy;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;

use crate::toy::KINDS;
use crate::world::{World, until};

/// A recording of a service's installation.
fn recorded() -> World {
    let mut world = World::new();
    let mut agent = world.agent("h1");
    let mut gateway = world.gateway("h1");
    world.create("orders").expect("accepted");
    agent.obey();
    gateway.take();
    agent.beat();
    until("available", || {
        world.client.service("orders").is_ok_and(|service| service.state == State::Available)
    });
    world.stop();
    world
}

#[test]
fn a_recording_gives_the_same_turns_and_others_under_another_policy() {
    let world = recorded();
    let files = world.recordings();
    assert_eq!(files.len(), 1, "{files:?}");
    let same = replay(&files[0], KINDS, Arc::default(), None).unwrap();
    assert!(same.turns >= 4, "{}", same.turns);
    assert_eq!(same.differing_turns, 0, "{:?}", same.differing);
    assert!(!same.unfinished && !same.torn);
    // Beats are part of every welcome.
    let policy = Policy { beat: Span::secs(9), ..Policy::default() };
    let other = replay(&files[0], KINDS, Arc::default(), Some(policy)).unwrap();
    assert!(other.differing_turns > 0);
    assert_eq!(other.turns, same.turns);
}

#[test]
fn a_restarted_controller_begins_a_recording_of_its_own() {
    let mut world = recorded();
    world.restart();
    let mut agent = world.agent("h1");
    agent.report();
    world.client.restart("orders").unwrap();
    agent.obey();
    world.stop();
    let files = world.recordings();
    assert_eq!(files.len(), 2, "{files:?}");
    let replayed = replay(&files[1], KINDS, Arc::default(), None).unwrap();
    // One that takes the order in, and one before it; how much comes in a turn is the moment's.
    assert!(replayed.turns >= 2, "{}", replayed.turns);
    assert_eq!(replayed.differing_turns, 0, "{:?}", replayed.differing);
}

#[test]
fn a_recording_that_was_tampered_with_differs() {
    let world = recorded();
    let file = &world.recordings()[0];
    let mut bytes = std::fs::read(file).unwrap();
    // The order's own words, not the cell's answer to it.
    let order = br#""order":"create","name":"orders""#;
    let at = bytes.windows(order.len()).position(|w| w == order).unwrap() + order.len() - 2;
    bytes[at] = b'z';
    std::fs::write(file, &bytes).unwrap();
    let replayed = replay(file, KINDS, Arc::default(), None).unwrap();
    assert!(replayed.differing_turns > 0);
    assert_ne!(replayed.differing[0].recorded, replayed.differing[0].replayed);
}

#[test]
fn a_torn_tail_is_left_out_and_other_damage_is_named() {
    let world = recorded();
    let file = &world.recordings()[0];
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() - 3]).unwrap();
    let torn = replay(file, KINDS, Arc::default(), None).unwrap();
    assert!(torn.torn && torn.unfinished, "the last turn's digest is torn off");
    assert_eq!(torn.differing_turns, 0);
    let mut damaged = bytes.clone();
    let digest = br#"{"gave":"#;
    let at = bytes.windows(digest.len()).position(|w| w == digest).unwrap();
    damaged[at] = b'x';
    std::fs::write(file, &damaged).unwrap();
    let error = replay(file, KINDS, Arc::default(), None).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    std::fs::write(file, b"").unwrap();
    let error = replay(file, KINDS, Arc::default(), None).unwrap_err();
    assert!(matches!(error, Error::NoRecording { .. }), "{error:?}");
    let error = replay(Path::new("/nowhere/x.rec"), KINDS, Arc::default(), None).unwrap_err();
    assert!(error.to_string().contains("/nowhere/x.rec"), "{error}");
}

#[test]
fn a_recorder_that_cannot_write_stops_nobody() {
    let world = World::with(|options| {
        // A file where the directory should be.
        std::fs::write(options.dir.join("recordings"), "").unwrap();
    });
    let _agent = world.agent("h1");
    world.create("orders").unwrap();
    until("told", || world.client.metrics().unwrap().contains("evenkeel_flight_recorder_on 0\n"));
    let doctor = world.client.doctor().unwrap();
    assert!(doctor.iter().any(|item| item.name == "flight recorder" && !item.ok));
}
