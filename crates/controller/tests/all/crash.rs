//! Ends that nobody ordered: of the cell's thread, of the whole process around a commit.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_api::Client;
use evenkeel_controller::recorder::replay;
use evenkeel_controller::{AbortAfter, Alerts, Error, Options, Parts, start_with};
use evenkeel_core::id::CellId;
use evenkeel_core::report::{FromAgent, ToAgent};
use evenkeel_core::row::Table;
use evenkeel_store::{Store, sqlite};
use tokio::runtime::Runtime;

use crate::memory::Commits;
use crate::peer::{Agent, Peer};
use crate::toy;
use crate::world::{World, new_service};

#[test]
fn a_cell_that_panics_is_told_and_its_last_inbox_is_recorded() {
    let mut world = World::new();
    let _agent = world.agent("h1");
    let mut running = world.running.take().unwrap();
    world.runtime.block_on(async {
        let failed = tokio::time::timeout(Duration::from_millis(300), running.failed()).await;
        assert!(failed.is_err(), "it has not failed yet: {failed:?}");
    });
    world.store.set(Commits::Broken);
    let refused = world.create("orders").unwrap_err();
    assert_eq!(refused.code(), Some("stopping"), "{refused:?}");
    let failed = world.runtime.block_on(running.failed());
    assert!(matches!(failed, Error::CellEnded { .. }), "{failed:?}");
    world.runtime.block_on(running.stop());
    let replayed = replay(&world.recordings()[0], toy::KINDS, Arc::default(), None).unwrap();
    assert!(replayed.unfinished, "the turn it died in is there");
    assert_eq!(replayed.differing_turns, 0);
}

/// The commit that records the order: the one before it is the host's joining.
const ORDER: u64 = 2;

/// What a controller that dies at the order's commit left behind.
struct Left {
    status: ExitStatus,
    services: usize,
    /// Whether the agent was sent a goal.
    sent: bool,
}

/// A process that ends with its test, whatever that finds.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn die(point: &str) -> Left {
    let dir = tempfile::tempdir().expect("a directory");
    let child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env("CRASH_DIR", dir.path())
        .env("CRASH_POINT", point)
        .spawn()
        .expect("a process");
    let mut child = Process(child);
    let file = dir.path().join("controller.json");
    crate::world::until("it answers", || file.exists());
    let told = std::fs::read_to_string(&file).expect("its address");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let (address, token) = (told["address"].as_str(), told["token"].as_str());
    let (address, token) = (address.expect("an address"), token.expect("a token"));
    let peer = Peer::agent(address.parse().expect("an address"), token);
    let mut agent = Agent::hello(peer, "h1");
    agent.peer.send(&FromAgent::members(true, Vec::new()));
    let lost = Client::new(address, token).create(&new_service("orders")).err();
    assert!(lost.is_some(), "a controller that dies does not answer");
    let mut sent = false;
    while let Some(message) = agent.peer.next::<ToAgent>() {
        sent |= matches!(message, ToAgent::Goals { goals, .. } if !goals.is_empty());
    }
    let status = child.0.wait().expect("it died");
    Left { status, services: services(dir.path()), sent }
}

fn services(dir: &Path) -> usize {
    let store = sqlite::open(&dir.join("store.db")).expect("a store");
    let rows = store.load_cell(CellId(1)).expect("rows");
    rows.iter().filter(|(key, _)| key.table == Table::Service).count()
}

#[test]
fn a_crash_before_the_commit_leaves_nothing() {
    let left = die("decided");
    assert!(!left.status.success());
    assert_eq!((left.services, left.sent), (0, false));
}

#[test]
fn a_crash_after_the_commit_leaves_the_record_and_no_act() {
    let left = die("recorded");
    assert!(!left.status.success());
    assert_eq!((left.services, left.sent), (1, false));
}

/// A controller for [`die`], in a process of its own. Run without it, there is nothing to do.
#[test]
#[ignore = "run by the tests of crashes as a process of its own"]
fn child() {
    let (Ok(dir), Ok(point)) = (std::env::var("CRASH_DIR"), std::env::var("CRASH_POINT")) else {
        return;
    };
    let mut options = Options::new(dir.into());
    options.abort_after = Some(match point.as_str() {
        "decided" => AbortAfter::Decided { commit: ORDER },
        _ => AbortAfter::Recorded { commit: ORDER },
    });
    let store = sqlite::open(&options.dir.join("store.db")).unwrap();
    let parts = Parts {
        store: Box::new(store),
        kinds: toy::KINDS,
        remedies: Arc::default(),
        alerts: Alerts::default(),
    };
    let runtime = Runtime::new().unwrap();
    let mut running = runtime.block_on(start_with(options, parts)).unwrap();
    let failed = runtime.block_on(running.failed());
    panic!("it should have died: {failed}");
}
