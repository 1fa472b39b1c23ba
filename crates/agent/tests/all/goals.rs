//! Goals: kept before they are acted on, enforced, refused when they are old.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::goal::{Refusal, Want};
use evenkeel_core::member::State;
use evenkeel_core::report::{FromAgent, ToAgent, digest};

use crate::controller::{Controller, STORE, TOKEN, goal};
use crate::toy::{Host, kill, until};

#[test]
fn a_goal_is_kept_and_enforced_from_nothing_to_removed() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    let ready = stream.ready(1);
    assert_eq!(ready.pid, host.pid(1));
    assert!(ready.data_dir.ends_with("agent/members/1/data"), "{}", ready.data_dir);
    assert_eq!(host.calls()[..4], ["initialize 1", "configure 1", "start 1", "prepare 1"]);

    stream.goals(&[goal(1, 1, Want::Sealed)]);
    stream.member(1, "sealed", |m| m.state == State::Sealed);
    assert_eq!(host.pid(1), None);
    stream.goals(&[goal(1, 2, Want::Running)]);
    stream.ready(1);
    stream.goals(&[goal(1, 3, Want::Removed)]);
    stream.member(1, "gone", |m| m.state == State::Gone);
    stream.send(&ToAgent::Goals { whole: true, goals: Vec::new() });
    until("forgotten", || !host.path("agent/goals/1.json").exists());
    agent.stop();
}

#[test]
fn an_old_goal_is_refused_and_never_acted_on() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 5, Want::Running)]);
    let ready = stream.ready(1);
    stream.goals(&[goal(1, 4, Want::Removed)]);
    let refused = stream.member(1, "refused", |m| m.refused.is_some());
    assert!(matches!(refused.refused, Some(Refusal::Stale { .. })));
    assert_eq!((host.pid(1), host.count("remove 1")), (ready.pid, 0));
    agent.stop();
}

#[test]
fn a_dead_member_is_started_again_at_once_with_and_without_a_controller() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    let first = stream.ready(1).pid.unwrap();
    let died = Instant::now();
    kill(first);
    until("started again", || host.pid(1).is_some_and(|pid| pid != first));
    assert!(died.elapsed() < Duration::from_millis(500), "{:?}", died.elapsed());
    let second = stream.member(1, "the death", |m| m.deaths == 1 && m.state == State::Ready);
    drop((stream, controller));
    let second = second.pid.unwrap();
    kill(second);
    until("started again", || host.pid(1).is_some_and(|pid| pid != second));
    agent.stop();
}

#[test]
fn nothing_is_done_or_reported_of_a_goal_that_cannot_be_written() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    let pid = stream.ready(1).pid;
    // A directory where the new file is to be begun: no file can be written there.
    let obstacle = host.path("agent/goals/1.json.new");
    fs::create_dir(&obstacle).unwrap();
    stream.goals(&[goal(1, 1, Want::Stopped)]);
    let mut beats = 0;
    let applied = stream.hear("beats go on", |message| match message {
        FromAgent::Beat { .. } => {
            beats += 1;
            (beats > 15).then_some(None)
        }
        FromAgent::Members { members, .. } => {
            members.iter().find(|m| m.applied.1.0 == 1).map(|m| Some(m.clone()))
        }
        _ => None,
    });
    assert_eq!((applied, host.pid(1), host.count("stop 1")), (None, pid, 0));
    fs::remove_dir(&obstacle).unwrap();
    stream.member(1, "stopped", |m| m.state == State::Stopped && m.applied.1.0 == 1);
    agent.stop();
}

#[test]
fn a_refused_token_is_read_again_until_it_fits() {
    let host = Host::new();
    let controller = Controller::of(&host);
    host.point_at(&controller.address(), "a bad token");
    let agent = host.agent();
    let fixed = std::thread::spawn({
        let (path, address) = (host.path("controller.json"), controller.address());
        move || {
            std::thread::sleep(Duration::from_millis(300));
            let text = format!("{{\"address\":{address:?},\"token\":{TOKEN:?}}}");
            fs::write(path, text).unwrap();
        }
    });
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    stream.ready(1);
    fixed.join().unwrap();
    agent.stop();
}

#[test]
fn a_controller_of_another_store_is_not_obeyed_not_even_by_the_next_agent() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    stream.ready(1);
    agent.stop();
    drop(stream);
    let agent = host.agent();
    for (store, sequence) in [("another", 9), (STORE, 0)] {
        let mut stream = controller.accept();
        stream.welcome(store, sequence);
        stream.goals(&[goal(1, 9, Want::Removed)]);
        stream.beats(10);
        assert_eq!(host.count("remove 1"), 0);
    }
    agent.stop();
}

#[test]
fn beats_carry_the_digest_and_the_whole_is_sent_when_asked_for() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running), goal(2, 0, Want::Stopped)]);
    stream.ready(1);
    let heard = stream.hear("a beat", |message| match message {
        FromAgent::Beat { digest, .. } => Some(*digest),
        _ => None,
    });
    assert_eq!(heard, digest(stream.known.values()));
    stream.send(&ToAgent::SendAll);
    let whole = stream.hear("the whole", |message| match message {
        FromAgent::Members { whole: true, members, .. } => Some(members.len()),
        _ => None,
    });
    assert_eq!(whole, 2);
    agent.stop();
}

#[test]
fn a_driver_that_panics_takes_nothing_with_it() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    let mut bad = goal(1, 0, Want::Running);
    Arc::make_mut(&mut bad.settings).insert("toy".to_owned(), "panic".to_owned());
    stream.goals(&[bad, goal(2, 0, Want::Running)]);
    let broken = stream.member(1, "trouble", |m| m.trouble.is_some());
    assert!(broken.trouble.unwrap().contains("broke off"));
    stream.ready(2);
    stream.goals(&[goal(1, 1, Want::Running)]);
    stream.ready(1);
    agent.stop();
}

#[test]
fn a_hundred_members_come_up_together() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    let goals: Vec<_> = (1..=100).map(|member| goal(member, 0, Want::Running)).collect();
    stream.goals(&goals);
    (1..=100).for_each(|member| drop(stream.ready(member)));
    agent.stop();
}
