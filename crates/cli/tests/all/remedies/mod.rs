//! Every bundled remedy heals a real fault by itself, within its budget; and says why where it may not.
//!
//! [`TESTED`] names for each of them which test shows the one and which the other. Tests of this room run
//! the bundled files with shorter times and smaller numbers ([`Rules`]), and nothing else changed.

mod disk;
mod findings;
mod hosts;
mod lifecycle;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use evenkeel_kinds::remedies::{FILES, bundled};
use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::{Fleet, new_data, until};

/// What a busy machine takes: checks are read each half minute.
const SOON: u64 = 120;

/// A remedy, and by `file:test` what heals by it and what is refused it.
struct Tested(&'static str, &'static str, &'static str);

const FOUND: &str = "remedies/findings.rs:what_checks_find_is_healed_and_refused";
const SEEN: &str = "remedies/lifecycle.rs:what_the_lifecycle_sees_is_healed_and_refused";
const HOSTS: &str = "remedies/hosts.rs:a_lost_member_gets_a_successor_and_a_second_one_a_person";
const DISK: &str = "remedies/disk.rs:a_full_disk_is_given_back_room_and_refusals_say_why";

/// All of them. A bundled remedy that is not here is not tested, and its test fails.
const TESTED: &[Tested] = &[
    Tested("crash-loop", SEEN, SEEN),
    Tested("failover", SEEN, SEEN),
    Tested("full-disk", DISK, DISK),
    Tested("hung", SEEN, SEEN),
    Tested("idle-transactions", FOUND, FOUND),
    Tested("invalid-indexes", FOUND, FOUND),
    Tested("rebuild", HOSTS, HOSTS),
    Tested("rejoin", SEEN, SEEN),
    Tested("relax", SEEN, SEEN),
    Tested(
        "restart",
        "kills.rs:a_killed_postmaster_comes_back_without_loss_and_its_recording_replays",
        SEEN,
    ),
    Tested("restore", SEEN, SEEN),
    Tested("runaway-connections", FOUND, FOUND),
    Tested("unread-slots", DISK, DISK),
    Tested("wraparound", FOUND, FOUND),
];

#[test]
fn every_bundled_remedy_is_seen_to_heal_and_to_be_refused() {
    let mut named: Vec<&str> = TESTED.iter().map(|Tested(remedy, ..)| *remedy).collect();
    let mut there: Vec<String> = bundled().iter().map(|remedy| remedy.name.to_string()).collect();
    named.sort_unstable();
    there.sort_unstable();
    assert_eq!(named, there, "each bundled remedy needs a line in `TESTED`");
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all");
    for Tested(remedy, heals, refuses) in TESTED {
        for test in [heals, refuses] {
            let (file, name) = test.split_once(':').expect("file:test");
            let text = fs::read_to_string(all.join(file)).expect("the file is there");
            assert!(text.contains(&format!("#[test]\nfn {name}()")), "{remedy}: no test {test}");
            let named = [format!("\"{remedy}\""), format!("remedy {remedy}")];
            assert!(named.iter().any(|name| text.contains(name)), "{test}: nothing of {remedy}");
        }
    }
}

/// A policy, the bundled remedies with other numbers, and a procedure that runs a statement with every
/// right: as files, for the flags of `up`.
struct Rules {
    dir: PathBuf,
    flags: Vec<String>,
}

/// The name of the procedure that runs any statement.
const BY_HAND: &str = "by-hand";

const MANIFEST: &str = "name = \"by-hand\"\ndoc = \"For tests.\"\nkind = \"postgres\"\n\
    interpreter = [\"/bin/sh\"]\ntime_limit_seconds = 60\nrole = \"maintenance\"\ndisruptive = false\n\
    manual_minutes = 5\n\
    [[parameters]]\nname = \"database\"\ntype = \"text\"\ndoc = \"Where.\"\n\
    [[parameters]]\nname = \"statement\"\ntype = \"text\"\ndoc = \"What.\"\n";

const SCRIPT: &str = r#"#!/bin/sh
set -eu
input=$(cat)
ask() { psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$input" "$@"; }
database=$(echo "SELECT :'input'::json->'parameters'->>'database';" | ask)
PGDATABASE=$database ask >&2 <<'SQL'
SELECT :'input'::json->'parameters'->>'statement' \gexec
SQL
echo '{"ok": true, "text": "done"}'
"#;

impl Rules {
    /// Every bundled remedy with one try and a short pause, and with these changes of its text.
    fn new(name: &str, policy: &Value, changes: &[(&str, &str, &str)]) -> Self {
        let dir = new_data(&format!("{name}-rules"));
        let (remedies, procedures) = (dir.join("remedies"), dir.join("procedures"));
        [&remedies, &procedures].iter().for_each(|dir| fs::create_dir_all(dir).expect("made"));
        for text in FILES {
            let (of, text) = changed(text, changes);
            fs::write(remedies.join(format!("{of}.toml")), text).expect("written");
        }
        fs::write(procedures.join("by-hand.toml"), MANIFEST).expect("written");
        fs::write(procedures.join("by-hand.sh"), SCRIPT).expect("written");
        let file = dir.join("policy.json");
        fs::write(&file, policy.to_string()).expect("written");
        let flags = [("--policy", file), ("--remedies", remedies), ("--procedures", procedures)];
        let flags = flags.into_iter();
        let flags = flags.flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
        Self { flags: flags.collect(), dir }
    }

    /// Flags of `up`, with more.
    fn with<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.flags.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The disk of the machine that tests run on is nobody's concern but its own test's.
const DISK_OFF: (&str, &str, &str) = ("full-disk", "level = \"auto\"", "level = \"off\"");

/// A remedy's name and its text with one try, a short pause, and what else is changed of it.
fn changed(text: &str, changes: &[(&str, &str, &str)]) -> (String, String) {
    let line = |line: &str| match line.split_once(" = ") {
        Some(("tries_max", _)) => "tries_max = 1".to_owned(),
        // What it did is seen before anybody is told that it was the last try.
        Some(("cooldown", _)) => "cooldown = \"10s\"".to_owned(),
        _ => line.to_owned(),
    };
    let mut new = text.lines().map(line).collect::<Vec<_>>().join("\n");
    let name = text.lines().find_map(|line| line.strip_prefix("name = ")).expect("it has a name");
    let name = name.trim_matches('"').to_owned();
    for (_, from, to) in changes.iter().filter(|(of, ..)| *of == name) {
        assert!(new.contains(from), "{name} says {from:?} no more:\n{new}");
        new = new.replacen(from, to, 1);
    }
    (name, new)
}

/// Runs a statement with every right.
fn by_hand(fleet: &Fleet, service: &str, database: &str, statement: &str) {
    let (database, statement) = (format!("database={database}"), format!("statement={statement}"));
    let run = ["procedure", "run", BY_HAND, service, "--wait"];
    let run = [&run[..], &["--param", &database, "--param", &statement]].concat();
    // Whatever else runs for the service goes first.
    let mut out = fleet.run(&run);
    until(SOON, "nothing else is under way", || {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.success() {
            return true;
        }
        assert!(said.contains("under way"), "{said}");
        out = fleet.run(&run);
        out.status.success()
    });
}

fn journal(fleet: &Fleet, service: &str) -> String {
    fleet.ok(&["journal", "--subject", service, "--limit", "1000"])
}

/// How often a remedy ran for a service, by the journal.
fn ran(fleet: &Fleet, service: &str, remedy: &str) -> usize {
    journal(fleet, service).matches(&format!("by remedy {remedy}, about")).count()
}

/// What nothing is done about, as a service's page has it.
fn held(fleet: &Fleet, service: &str) -> String {
    let held = fleet.show(service)["held"].clone();
    let held = held.as_array().cloned().unwrap_or_default();
    held.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// Waits until a remedy is kept from running, with this in the reason; it has run so often.
fn until_held(fleet: &Fleet, service: &str, remedy: &str, words: &str, times: usize) {
    let mut seen = String::new();
    until(SOON, &format!("{remedy} is kept from running for {service}: {words}"), || {
        seen = held(fleet, service);
        let tells =
            |line: &str| line.contains(&format!("remedy {remedy} ")) && line.contains(words);
        seen.lines().any(tells)
    });
    assert_eq!(ran(fleet, service, remedy), times, "{seen}");
}

/// Waits until a remedy ran once, by itself, and what it began is over.
fn until_ran(fleet: &Fleet, service: &str, remedy: &str) {
    until(SOON, &format!("{remedy} runs for {service}"), || {
        ran(fleet, service, remedy) == 1 && fleet.show(service)["operation"].is_null()
    });
}

fn finds(fleet: &Fleet, service: &str, check: &str) -> bool {
    let findings = fleet.show(service)["findings"].clone();
    findings.as_array().is_some_and(|all| all.iter().any(|found| found["check"] == check))
}

/// A service with a row that was acknowledged.
fn create(fleet: &Fleet, name: &str, plan: &str) {
    fleet.ok(&["create", "postgres", name, "--plan", plan]);
    fleet.sql(name, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)").expect("written");
}

/// Clients read what was acknowledged before, and write.
fn serves(fleet: &Fleet, name: &str) {
    until(SOON, &format!("{name} is available"), || fleet.state(name) == "available");
    let rows = fleet.sql(name, "SELECT n FROM kept WHERE n = 1").expect("it is read");
    assert_eq!(rows, ["1"], "{name} lost what it had acknowledged");
    fleet.sql(name, "INSERT INTO kept VALUES (2)").expect("it is written to");
}

fn brake(fleet: &Fleet, to: &str) {
    fleet.ok(&["brake", to, "--reason", "somebody looks"]);
}

/// A member by its part.
fn member(fleet: &Fleet, service: &str, role: &str) -> Value {
    let members = fleet.show(service)["members"].as_array().cloned().unwrap_or_default();
    members.into_iter().find(|member| member["role"] == role).unwrap_or_default()
}

/// A process that is there.
fn pid(member: &Value) -> Option<u32> {
    let pid = u32::try_from(member["pid"].as_u64()?).ok()?;
    evenkeel_drivers::process::state(pid).map(|_| pid)
}

/// Has every process of a member's server stop where it is; of one that does not run, nothing.
fn freeze(member: &Value) {
    let Some(server) = pid(member) else { return };
    let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
    let children = children.unwrap_or_default();
    let all = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    for pid in std::iter::once(server).chain(all) {
        if let Ok(descriptor) = evenkeel_drivers::process::pidfd(pid) {
            // It may have ended meanwhile.
            let _ = evenkeel_drivers::process::signal(&descriptor, Signal::STOP);
        }
    }
}

/// Does something while a service's standby answers nobody, however often it is started.
fn while_away(fleet: &Fleet, service: &str, act: impl FnOnce()) {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Over(&over);
        scope.spawn(|| {
            until(SOON * 2, "it may come back", || {
                let standby = member(fleet, service, "standby");
                // One that starts has a minute for it: it is left to start.
                if standby["state"] == "following" {
                    freeze(&standby);
                }
                over.load(Ordering::Relaxed)
            });
        });
        act();
        drop(ends);
    });
}

/// Waits until every standby is counted on.
fn until_whole(fleet: &Fleet, service: &str) {
    until(SOON, &format!("every standby of {service} is counted on"), || {
        let show = fleet.show(service);
        let members = show["members"].as_array().cloned().unwrap_or_default();
        show["state"] == "available"
            && show["failover"]["safe_now"] == true
            && show["operation"].is_null()
            && members.iter().all(|m| m["role"] != "standby" || m["sync"] == true)
    });
}
