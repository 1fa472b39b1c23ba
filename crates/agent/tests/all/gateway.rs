//! The gateway is kept running, outlives its agent and is adopted by the next.

use std::fs;
use std::time::{Duration, Instant};

use evenkeel_agent::Options;

use crate::controller::{Controller, STORE};
use crate::toy::{Host, identity_in, kill, until};

/// A launcher's contract in a shell's words: `--out FILE --log FILE -- PROGRAM ...`.
const LAUNCHER: &str = r#"
out=$2; log=$4; shift 5
echo started >>"$out.count"
setsid "$@" >"$log" 2>&1 </dev/null &
pid=$!
until [ "$(tr -d '\0' </proc/$pid/cmdline)" = "$(printf %s "$@")" ]; do :; done
echo "{\"pid\":$pid,\"start_ticks\":$(cut -d' ' -f22 /proc/$pid/stat)}" >"$out"
"#;

fn options(host: &Host) -> Options {
    let script = host.path("launcher");
    fs::write(&script, LAUNCHER).expect("a file");
    Options {
        launcher: vec!["sh".to_owned(), script.display().to_string()],
        gateway: Some(vec!["sleep".to_owned(), "1001".to_owned()]),
        ..host.options()
    }
}

fn pid(host: &Host) -> Option<u32> {
    identity_in(&host.path("agent/gateway.json"))
}

fn starts(host: &Host) -> usize {
    let text = fs::read_to_string(host.path("agent/gateway.json.count"));
    text.expect("a file").lines().count()
}

#[test]
fn a_gateway_is_kept_running_and_adopted() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent_with(options(&host));
    let stream = controller.accept();
    until("a gateway", || pid(&host).is_some());
    let first = pid(&host).unwrap();
    let died = Instant::now();
    kill(first);
    until("another gateway", || pid(&host).is_some_and(|pid| pid != first));
    assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
    let second = pid(&host).unwrap();
    agent.stop();
    assert_eq!(pid(&host), Some(second), "it outlives its agent");
    drop(stream);
    let agent = host.agent_with(options(&host));
    let mut stream = controller.accept();
    stream.welcome(STORE, 1);
    stream.beats(10);
    assert_eq!((pid(&host), starts(&host)), (Some(second), 2), "it is adopted");
    kill(second);
    until("a third gateway", || pid(&host).is_some_and(|pid| pid != second));
    agent.stop();
}
