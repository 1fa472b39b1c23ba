//! An agent's process ends at any point around record and act; the next one goes on.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use evenkeel_core::agent::Stored;
use evenkeel_core::goal::Want;
use evenkeel_core::row;

use crate::controller::{Controller, goal};
use crate::toy::{Host, Toys};

/// Where the child of [`an_agent_that_crashes_anywhere_is_followed_by_one_that_goes_on`] works.
const DIR: &str = "EVENKEEL_TEST_HOST";

/// Not a test: the child, an agent in a process of its own that is made to crash.
#[test]
fn agent_in_a_process_of_its_own() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let options = evenkeel_agent::Options {
        host: "h1".to_owned(),
        zone: "a".to_owned(),
        rack: None,
        address: [127, 0, 0, 1].into(),
        dir: dir.join("agent"),
        controller_file: dir.join("controller.json"),
        launcher: Vec::new(),
        gateway: None,
        socket_root: dir.join("s"),
        pool_target: 0,
        images_dir: dir.join("images"),
        policy: evenkeel_core::policy::Policy::default(),
    };
    let drivers = Arc::new(Toys { root: dir.join("toy"), goals: options.dir.join("goals") });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let run = evenkeel_agent::run_with(options, drivers, std::future::pending());
    runtime.block_on(run).unwrap();
}

#[test]
fn an_agent_that_crashes_anywhere_is_followed_by_one_that_goes_on() {
    let points = [
        "recorded",
        "before initialize",
        "after initialize",
        "before configure",
        "before start",
        "after start",
        "before prepare",
        "after prepare",
    ];
    for point in points {
        let host = Host::new();
        let controller = Controller::of(&host);
        host.crash_at(point);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::agent_in_a_process_of_its_own"])
            .env(DIR, host.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stream = controller.welcome();
        stream.goals(&[goal(1, 0, Want::Running)]);
        let ended = child.wait().unwrap();
        assert_eq!(ended.signal(), Some(6), "{point}: it crashed, and not by itself: {ended}");

        let kept = std::fs::read(host.path("agent/goals/1.json")).unwrap();
        let kept: Stored = row::decode(&kept).unwrap();
        assert_eq!(
            kept.applied.goal,
            goal(1, 0, Want::Running).into(),
            "{point}: recorded before it acted"
        );
        let before = host.pid(1);
        // The controller sends nothing again: what was recorded is enough.
        let agent = host.agent();
        let mut stream = controller.welcome();
        let ready = stream.ready(1);
        assert_eq!(ready.pid, host.pid(1), "{point}");
        assert!(before.is_none() || before == ready.pid, "{point}: what ran is adopted");
        agent.stop();
    }
}
