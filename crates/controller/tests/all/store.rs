//! Record, then act; and what happens while nothing can be recorded.

use std::time::Duration;

use evenkeel_api::Error;
use evenkeel_core::report::ToAgent;
use evenkeel_core::row::Table;
use evenkeel_core::service::State;

use crate::memory::Commits;
use crate::world::{World, new_service, until};

#[test]
fn nothing_is_sent_or_answered_before_it_is_recorded() {
    let world = World::new();
    let mut agent = world.agent("h1");
    agent.report();
    world.store.set(Commits::Held);
    let client = world.client.clone();
    let order = std::thread::spawn(move || client.create(&new_service("orders")));
    world.store.wait_for_held();
    // Nothing may come while the commit is held, however long that is.
    let quiet = Duration::from_millis(300);
    while let Some(message) = next_within(&mut agent, quiet) {
        assert!(!matches!(message, ToAgent::Goals { ref goals, .. } if !goals.is_empty()));
    }
    assert!(!order.is_finished());
    assert_eq!(world.store.rows(Table::Service), 0);
    world.store.set(Commits::Taken);
    order.join().unwrap().unwrap();
    assert_eq!(agent.goals().len(), 1);
    assert_eq!(world.store.rows(Table::Service), 1);
}

fn next_within(agent: &mut crate::peer::Agent, long: Duration) -> Option<ToAgent> {
    agent.peer.within(long).flatten()
}

#[test]
fn a_store_that_takes_no_commit_stops_deciding_and_it_goes_on_by_itself() {
    let world = World::new();
    let mut agent = world.agent("h1");
    let mut gateway = world.gateway("h1");
    world.create("before").unwrap();
    agent.obey();
    gateway.take();
    until("available", || world.client.service("before").unwrap().state == State::Available);
    world.store.set(Commits::Refused);
    let refused = world.create("orders").unwrap_err();
    match &refused {
        Error::Refused { status: 503, code, message } => {
            assert_eq!(code, "cannot_record");
            assert!(message.contains("cannot record"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    // The turn did not happen: no goal of it goes out, and every stream ends.
    loop {
        match agent.peer.next::<ToAgent>() {
            None => break,
            Some(ToAgent::Goals { goals, .. }) => {
                assert!(goals.iter().all(|goal| goal.identity.name.as_str() != "orders"));
            }
            Some(_) => {}
        }
    }
    assert!(world.client.fleet().unwrap().posture.starts_with("store cannot record"));
    assert!(world.client.service("orders").is_err(), "what was not recorded is not shown");
    assert_eq!(world.client.service("before").unwrap().name, "before");
    let again = world.create("orders").unwrap_err();
    assert_eq!(again.code(), Some("cannot_record"), "{again:?}");
    let metrics = world.client.metrics().unwrap();
    assert!(metrics.contains("evenkeel_store_cannot_record 1\n"), "{metrics}");
    let doctor = world.client.doctor().unwrap();
    assert!(doctor.iter().any(|item| item.name == "posture" && !item.ok));

    world.store.set(Commits::Taken);
    until("recording again", || {
        !world.client.fleet().unwrap().posture.starts_with("store cannot record")
    });
    let mut agent = world.agent("h1");
    let goals = agent.goals();
    assert_eq!(goals.len(), 1, "what was recorded before is wanted still: {goals:?}");
    world.create("orders").unwrap();
    assert_eq!(agent.goals()[0].identity.name.as_str(), "orders");
    let journal = world.client.journal(&evenkeel_api::JournalQuery::default()).unwrap();
    assert!(journal.iter().any(|entry| entry.text.contains("takes records again")));
}

#[test]
fn a_restarted_controller_goes_on_in_the_middle() {
    let mut world = World::new();
    let mut agent = world.agent("h1");
    world.create("orders").unwrap();
    let before = agent.goals();
    world.restart();
    let shown = world.client.service("orders").unwrap();
    assert_eq!(shown.operation.unwrap().name, "install");
    let mut agent = world.agent("h1");
    assert_eq!(agent.goals(), before, "the same goal, not a new revision");
    drop(agent);
    let mut agent = world.agent("h1");
    let mut gateway = world.gateway("h1");
    agent.obey();
    gateway.take();
    until("available", || world.client.service("orders").unwrap().state == State::Available);
}

#[test]
fn a_lost_key_is_not_replaced_in_silence() {
    let mut world = World::new();
    let _agent = world.agent("h1");
    world.stop();
    std::fs::remove_file(world.dir.path().join("fleet.key")).unwrap();
    let options = evenkeel_controller::Options::new(world.dir.path().to_owned());
    let parts = crate::world::parts(&world.store);
    let error = world.runtime.block_on(evenkeel_controller::start_with(options, parts));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("fleet.key") && error.contains("put it back"), "{error}");
}
