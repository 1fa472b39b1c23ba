//! Scripts at an agent: begun once, told of for as long as they are wanted, ended when they are not.

use std::collections::BTreeMap;
use std::fs;

use evenkeel_core::agent::Begun;
use evenkeel_core::goal::{Goal, Want};
use evenkeel_core::id::OperationId;
use evenkeel_core::procedure::{Code, Login, Script};
use evenkeel_core::report::Member;
use evenkeel_core::time::Span;

use crate::controller::{Controller, goal};
use crate::toy::{Host, until};

fn scripted(revision: u32, id: u64, repeatable: bool) -> Goal {
    let code = Code {
        interpreter: vec!["/bin/sh".to_owned()],
        limit: Span::secs(60),
        login: Login::Check,
        disruptive: false,
        repeatable,
        text: "true".to_owned(),
    };
    let script = Script {
        id: OperationId(id),
        procedure: "tidy".to_owned(),
        digest: code.digest(),
        limit: code.limit,
        code,
        parameters: BTreeMap::new(),
        dry_run: false,
    };
    Goal { script: Some(Box::new(script)), ..goal(1, revision, Want::Running) }
}

/// What came of a script, where that is told.
fn told(member: &Member, id: u64) -> Option<(bool, String)> {
    let Begun { id: own, ran } = member.script.as_deref()?;
    ran.as_ref().filter(|_| own.0 == id).map(|ran| (ran.ok, ran.text.clone()))
}

#[test]
fn a_script_runs_once_and_is_told_of_until_nobody_asks() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    stream.ready(1);
    stream.goals(&[scripted(1, 5, false)]);
    let done = stream.member(1, "the script", |m| told(m, 5).is_some());
    assert_eq!(told(&done, 5), Some((true, "tidy ran".to_owned())));
    stream.goals(&[scripted(1, 5, false)]);
    // One whose text is another's is never run.
    let mut forged = scripted(2, 6, false);
    forged.script.iter_mut().for_each(|script| script.code.text = "rm".to_owned());
    stream.goals(&[forged]);
    let refused = stream.member(1, "the refusal", |m| told(m, 6).is_some());
    assert!(told(&refused, 6).is_some_and(|(ok, text)| !ok && text.contains("digest")));
    stream.goals(&[goal(1, 3, Want::Running)]);
    stream.member(1, "no script", |m| m.script.is_none());
    assert_eq!(host.count("script 1"), 1);
    agent.stop();
}

#[test]
fn an_agent_that_restarts_tells_of_an_interruption_and_runs_nothing_twice() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let mut stream = controller.welcome();
    stream.goals(&[goal(1, 0, Want::Running)]);
    stream.ready(1);
    fs::write(host.path("toy/1/wait"), "").expect("a file");
    stream.goals(&[scripted(1, 5, false)]);
    until("it runs", || host.path("toy/1/script-runs").exists());
    agent.stop();
    drop(stream);
    let agent = host.agent();
    let mut stream = controller.welcome();
    let told_of = stream.member(1, "the interruption", |m| told(m, 5).is_some());
    assert!(told(&told_of, 5).is_some_and(|(ok, text)| !ok && text.contains("interrupted")));
    assert_eq!(host.count("script 1"), 1);
    // What nobody wants any more is ended.
    stream.goals(&[scripted(2, 6, false)]);
    until("the next one runs", || host.count("script 1") == 2);
    stream.goals(&[goal(1, 3, Want::Running)]);
    stream.member(1, "no script", |m| m.script.is_none());
    until("it has ended", || !host.path("toy/1/script-runs").exists());
    let _ = fs::remove_file(host.path("toy/1/wait"));
    agent.stop();
}
