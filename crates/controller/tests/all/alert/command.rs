//! Commands that do it, fail, hang, and talk without end.

use std::time::Instant;

use evenkeel_core::alert::Purpose;

use super::{BOUND, channel, deliver};

/// Runs a shell's script as the channel's command.
fn run(script: &str) -> Result<String, String> {
    let argv = ["/bin/sh", "-c", script];
    deliver(&channel(&format!("kind = \"command\"\nargv = {argv:?}")), Purpose::Raise)
}

#[test]
fn a_command_gets_the_notice_and_nothing_else_and_confirms_by_its_exit() {
    let dir = tempfile::tempdir().expect("a directory");
    let (input, env) = (dir.path().join("input"), dir.path().join("env"));
    let script = format!("cat > {}; env > {}; echo sent", input.display(), env.display());
    let said = run(&script).expect("it did it");
    assert!(said.ends_with("did it: sent"), "{said}");
    let input = std::fs::read_to_string(input).expect("its input");
    let input: serde_json::Value = serde_json::from_str(&input).expect("JSON");
    assert_eq!(input["notice"]["domain"], "host ha1");
    assert_eq!(input["key"], "st-i7");
    let env = std::fs::read_to_string(env).expect("its environment");
    // A shell sets PWD and the like by itself.
    let inherited = |line: &str| line.starts_with("HOME=") || line.starts_with("CARGO");
    assert!(!env.lines().any(inherited), "{env}");
}

#[test]
fn a_command_that_does_not_read_its_input_may_still_do_it() {
    run("exit 0").expect("it did it");
}

#[test]
fn a_command_that_fails_says_how() {
    let why = run("echo no credit >&2; exit 3").expect_err("it failed");
    assert!(why.ends_with("ended with 3: no credit"), "{why}");
    let why = run("kill -KILL $$").expect_err("it was killed");
    assert!(why.contains("signal 9"), "{why}");
    let missing = channel("kind = \"command\"\nargv = [\"/nowhere/at-all\"]");
    let why = deliver(&missing, Purpose::Raise).expect_err("it is not there");
    assert!(why.contains("cannot be started"), "{why}");
}

/// Whether a process runs; one that nobody waits for any more does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

#[test]
fn a_command_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().expect("a directory");
    let pid = dir.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; sleep 600", pid.display());
    let why = run(&script).expect_err("it hangs");
    assert!(why.contains("took longer than 1s and was killed"), "{why}");
    let pid = std::fs::read_to_string(pid).expect("its child's number");
    let until = Instant::now() + BOUND;
    while runs(pid.trim()) {
        assert!(Instant::now() < until, "its child runs on");
        std::thread::yield_now();
    }
}

#[test]
fn a_child_that_keeps_the_output_open_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let pid = dir.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; echo done", pid.display());
    let said = run(&script).expect("it did it");
    assert!(said.ends_with("did it: done"), "{said}");
    let pid = std::fs::read_to_string(pid).expect("its child's number").trim().parse();
    let pid = rustix::process::Pid::from_raw(pid.expect("a number")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("this test's own");
}

#[test]
fn a_command_that_floods_is_read_to_its_end_and_quoted_briefly() {
    let said = run("head -c 30000000 /dev/zero | tr '\\0' x; echo; echo the end").expect("it ends");
    assert!(said.len() < 600, "{} bytes", said.len());
    let why = run("yes").expect_err("it never ends");
    assert!(why.contains("was killed") && why.len() < 600, "{why}");
}
