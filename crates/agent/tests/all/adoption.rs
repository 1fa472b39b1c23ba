//! Agents come and go; what they ran goes on, and the next one finds it.

use std::fs;

use evenkeel_core::goal::Want;
use evenkeel_core::report::FromAgent;

use crate::controller::{Controller, goal};
use crate::toy::{Host, kill, until};

#[test]
fn an_agent_that_returns_adopts_what_runs_and_watches_it() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    let pid = stream.ready(1).pid;
    let stopping = std::thread::spawn(move || agent.stop());
    stream.hear("goodbye", |m| matches!(m, FromAgent::Absence { .. }).then_some(()));
    stopping.join().unwrap();
    assert_eq!(host.pid(1), pid, "it outlives its agent");

    let agent = host.agent();
    let mut stream = controller.welcome();
    assert_eq!(stream.ready(1).pid, pid);
    assert_eq!(host.count("start 1"), 1);
    kill(pid.unwrap());
    until("started again", || host.pid(1).is_some());
    agent.stop();
}

#[test]
fn a_member_that_died_while_no_agent_was_there_is_started() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    let pid = stream.ready(1).pid.unwrap();
    agent.stop();
    kill(pid);
    drop(controller);
    let agent = host.agent();
    until("started without a controller", || host.pid(1).is_some_and(|new| new != pid));
    agent.stop();
}

#[test]
fn a_second_agent_is_refused_its_directory() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    drop(controller.accept());
    let error = host.agent().error();
    assert!(error.contains(&format!("process id {}", std::process::id())), "{error}");
    agent.stop();
    host.agent().stop();
}

#[test]
fn a_damaged_goal_is_set_aside_named_and_not_acted_on() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running), goal(2, 0, Want::Running)]);
    let pid = stream.ready(1).pid.unwrap();
    stream.ready(2);
    agent.stop();
    kill(pid);
    let path = host.path("agent/goals/1.json");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();

    let agent = host.agent();
    let mut stream = controller.welcome();
    let finding = stream.finding("goal-files");
    assert!(finding.evidence.contains("1 goal files"), "{finding:?}");
    stream.ready(2);
    assert!(!stream.known.contains_key(&goal(1, 0, Want::Running).member));
    assert_eq!((host.pid(1), host.count("start 1")), (None, 1));
    assert!(!path.exists() && host.path("agent/goals/1.0.damaged").exists());
    stream.goals(&[goal(1, 0, Want::Running)]);
    stream.ready(1);
    agent.stop();
}
