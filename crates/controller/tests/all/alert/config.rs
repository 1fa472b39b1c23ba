//! `alerts.toml`: what is right is resolved, what is wrong is explained by line and without secrets.

use evenkeel_controller::alert::{Channels, Config};

use super::{SECRET, assert_clean, config};

const RIGHT: &str = "[[channel]]\nname = \"c\"\nkind = \"command\"\nargv = [\"/bin/true\"]\n";

#[test]
fn the_example_is_right_and_shows_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("secrets")).expect("made");
    for (file, text) in [
        ("pagerduty.key", SECRET.to_owned()),
        ("slack.url", format!("https://hooks.slack.com/services/{SECRET}\n")),
        ("smtp.password", SECRET.to_owned()),
        ("watcher.url", format!("https://hc.example.com/{SECRET}")),
    ] {
        std::fs::write(dir.path().join("secrets").join(file), text).expect("written");
    }
    let path = dir.path().join("alerts.toml");
    std::fs::write(&path, include_str!("../../../../../docs/alerts.toml")).expect("written");
    let config = Config::load(&path, |_| Some(SECRET.to_owned())).expect("it is right");
    assert_clean(&format!("{config:?} {:?}", config.notes()));
    let (channels, watcher) = Channels::new(config, "st");
    let names: Vec<String> = channels.names().map(|name| name.to_string()).collect();
    assert_eq!(names, ["pager", "oncall", "chat", "robot", "mail", "modem"]);
    let chain: Vec<u64> = channels.chain().iter().map(|(_, within)| within.as_secs()).collect();
    assert_eq!(chain, [300, 180, 300, 300, 300, 300]);
    let shown = serde_json::to_string(&channels.shown()).expect("JSON");
    assert_clean(&shown);
    assert!(
        shown.contains("hooks.slack.com") && shown.contains("\"patience_ms\":30000"),
        "{shown}"
    );
    assert!(watcher.expect("there is one").describe().contains("hc.example.com each 1m"));
}

/// A file, the line that is wrong, and a part of what is said of it.
const WRONG: &[(&str, usize, &str)] = &[
    ("", 1, "no [[channel]]"),
    ("patience = 5\n[[channel]]", 1, "patience must be a time such as \"10s\""),
    ("nonsense = 1\n", 1, "there is no field \"nonsense\"; there are [[channel]], [watcher]"),
    ("[[channel]]\nname = \"Pager\"\nkind = \"slack\"", 1, "of a-z, 0-9 and -"),
    ("\n[[channel]]\nname = \"c\"\n", 2, "kind is missing"),
    ("[[channel]]\nname = \"c\"\nkind = \"pagerdudy\"", 1, "there are pagerduty, alertmanager"),
    (
        "[[channel]]\nname = \"c\"\nkind = \"pagerduty\"",
        1,
        "give it as routing_key, routing_key_file",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting_kye = \"s3cr3t+Xyz\"",
        1,
        "routing_key is missing",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting_key = \"s3cr3t+Xyz\"\nseverity = 1",
        5,
        "there is no field \"severity\"",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\n\nrouting_key_env = \"s3cr3t+Xyz\"",
        5,
        "routing_key_env names a variable",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting_key_file = \"s3cr3t+Xyz\"",
        4,
        "names a file that cannot be read",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting_key_env = \"TEST_SECRET\"\nrouting_key = \"s3cr3t+Xyz\"",
        1,
        "give one of routing_key",
    ),
    ("[[channel]]\nname = \"c\"\nkind = \"slack\"\nurl = \"s3cr3t+Xyz\"", 1, "a whole address"),
    (
        "[[channel]]\nname = \"c\"\nkind = \"slack\"\nurl = \"http://h.example/s3cr3t+Xyz\"",
        1,
        "allow_plaintext",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"slack\"\nurl = \"https://u:s3cr3t+Xyz@h/\"",
        1,
        "username and password",
    ),
    ("[[channel]]\nname = \"c\"\nkind = \"command\"\nargv = [\"call\"]", 1, "whole path"),
    (
        "[[channel]]\nname = \"c\"\nkind = \"command\"\nargv = \"call\"",
        4,
        "argv must be a list of texts",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"mail\"\nserver = \"smtp.example.com\"\nsecurity = \"none\"",
        5,
        "security must be one of starttls, tls, plain",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"mail\"\nserver = \"smtp.example.com\"\nsecurity = \"plain\"",
        1,
        "not on this machine",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"mail\"\nserver = \"localhost\"\nfrom = \"nobody\"\nto = []",
        5,
        "no e-mail address",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"command\"\nargv = [\"/bin/true\"]\npatience = \"9m\"",
        5,
        "from 1s to 1m",
    ),
    (
        "[[channel]]\nname = \"c\"\nkind = \"command\"\nargv = [\"/bin/true\"]\nack_within = \"6s\"",
        1,
        "longer than ack_within",
    ),
    ("[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting_key = s3cr3t+Xyz", 4, "not TOML"),
    ("[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting_key = \"s3cr3t+Xyz", 4, "not TOML"),
    ("channel = \"s3cr3t+Xyz\"", 1, "begin with [[channel]]"),
];

#[test]
fn what_is_wrong_is_said_by_its_line_with_the_fix_and_never_with_the_value() {
    for (text, line, part) in WRONG.iter().copied() {
        let said = config(text).expect_err(text);
        let first = said.lines().find(|said| said.contains(part));
        let first = first.unwrap_or_else(|| panic!("{text}\n{said}"));
        assert!(first.starts_with(&format!("{line}: ")), "{text}\n{said}");
    }
}

#[test]
fn a_secret_of_the_wrong_type_is_not_shown_either() {
    let text = "[[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting_key = 8675309\n";
    let said = config(text).expect_err("a number");
    assert!(said.starts_with("4: ") && said.contains("must be a text in quotes"), "{said}");
    assert!(!said.contains("8675309"), "{said}");
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_lines() {
    let text = format!(
        "{RIGHT}{RIGHT}[[channel]]\nname = \"d\"\nkind = \"slack\"\n[watcher]\nevery = \"0s\"\n"
    );
    let said = config(&text).expect_err("three faults");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].starts_with("5: ") && lines[0].contains("twice"), "{said}");
    assert!(lines[1].starts_with("9: ") && lines[1].contains("url is missing"), "{said}");
    assert!(lines[2].starts_with("12: ") && lines[2].contains("watcher: url"), "{said}");
}

#[test]
fn what_is_right_and_weak_is_noted() {
    let notes = config(RIGHT).expect("right").notes().join("\n");
    assert!(notes.contains("one channel") && notes.contains("no [watcher]"), "{notes}");
    let missing = RIGHT.replace("/bin/true", "/nowhere/at-all");
    let notes = config(&missing).expect("right").notes().join("\n");
    assert!(notes.contains("channel c: there is no program /nowhere/at-all"), "{notes}");
}
