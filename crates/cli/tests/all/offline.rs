//! Verbs without a fleet, and the units that are shipped.

use std::process::{Command, Output};

use crate::fleet::{BINARY, new_data};

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .env("EVENKEEL_DATA", new_data("none"))
        .env_remove("EVENKEEL_URL")
        .output()
        .expect("the binary runs")
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn without_a_controller_every_verb_says_how_to_get_one() {
    for verb in [&["list"][..], &["show", "a"], &["host", "list"], &["journal"], &["url", "a"]] {
        let out = run(verb);
        assert_eq!(out.status.code(), Some(5), "{verb:?}: {}", said(&out));
        assert!(said(&out).contains("evenkeel up"), "{}", said(&out));
    }
    let out = run(&["list", "--server", "http://127.0.0.1:1", "--token-file", "/dev/null"]);
    assert_eq!(out.status.code(), Some(5), "{}", said(&out));
    assert_eq!(run(&["down"]).status.code(), Some(3));
    assert_eq!(run(&["store", "verify"]).status.code(), Some(3));
    assert_eq!(run(&["doctor"]).status.code(), Some(7));
    assert_eq!(run(&["nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["up", "--hosts", "99"]).status.code(), Some(2));
    assert_eq!(run(&["replay", "/dev/null"]).status.code(), Some(1));
}

#[test]
fn completions_and_help_come_without_a_fleet() {
    let out = run(&["completions", "bash"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("terminate"));
    let help = run(&["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes"));
}

#[test]
fn the_units_that_are_shipped_leave_databases_running() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    for (unit, verb) in [
        ("evenkeel-controller.service", "controller"),
        ("evenkeel-agent.service", "agent"),
        ("evenkeel-gateway.service", "gateway"),
    ] {
        let text = std::fs::read_to_string(folder.join(unit)).expect("it is shipped");
        let has = |line: &str| text.lines().any(|found| found == line);
        for line in ["KillMode=process", "User=evenkeel", "Restart=always", "NoNewPrivileges=yes"] {
            assert!(has(line), "{unit} has no {line}");
        }
        // Its flags are flags of the verb: with --help last they parse, or clap says otherwise.
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("one");
        let arguments: Vec<&str> = start.split_whitespace().skip(1).collect();
        assert_eq!(arguments.first(), Some(&verb), "{unit}");
        let out = run(&[&arguments[..], &["--help"]].concat());
        assert!(out.status.success(), "{unit}: {}", said(&out));
    }
}

#[test]
fn a_chain_of_alerts_is_checked_and_tried_without_a_fleet() {
    let dir = new_data("alerts");
    std::fs::create_dir_all(&dir).expect("made");
    let file = dir.join("alerts.toml");
    let named = file.display().to_string();
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    assert_eq!(run(&["alert", "check", &named]).status.code(), Some(3), "it is not there");
    write("[[channel]]\nname = \"pager\"\nkind = \"pagerduty\"\nrouting_key = 8675309\n");
    let out = run(&["alert", "check", &named]);
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert!(said(&out).contains("alerts.toml:4: ") && !said(&out).contains("8675309"));
    write(
        "[[channel]]\nname = \"pager\"\nkind = \"pagerduty\"\nrouting_key = \"k-8675309\"\n\
         [[channel]]\nname = \"yes\"\nkind = \"command\"\nargv = [\"/bin/sh\", \"-c\", \"echo told\"]\n\
         [[channel]]\nname = \"no\"\nkind = \"command\"\nargv = [\"/bin/false\"]\n",
    );
    let out = run(&["alert", "check", &named]);
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{}", said(&out));
    assert!(shown.contains("events.pagerduty.com") && shown.contains("/bin/false"), "{shown}");
    assert!(!format!("{shown}{}", said(&out)).contains("8675309"), "{shown}");
    assert!(said(&out).contains("no [watcher]"), "{}", said(&out));
    let out = run(&["alert", "send", &named, "--channel", "yes"]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(String::from_utf8_lossy(&out.stdout).contains("yes confirmed: /bin/sh did it: told"));
    let out = run(&["alert", "send", &named, "--channel", "yes", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(told["outcome"]["Ok"]["text"], "/bin/sh did it: told");
    let out = run(&["alert", "send", &named, "--channel", "no"]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("no did not confirm: /bin/false ended with 1"), "{}", said(&out));
    let out = run(&["alert", "send", &named, "--channel", "nobody"]);
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
    assert!(said(&out).contains("pager, yes, no"), "{}", said(&out));
}
