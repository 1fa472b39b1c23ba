//! A control plane that burns and comes back: from a repository, and from its hosts alone. Databases serve
//! on meanwhile, under a ledger of acknowledged writes.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::{Fleet, Ledger, send, software, until};

const SOON: u64 = 120;

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of words")
}

/// The fleet's key, copied and confirmed.
fn key(fleet: &Fleet) -> PathBuf {
    let path = fleet.data.join("copy-of-the.key");
    let doctor = |ok: bool| {
        let items = fleet.json(&["doctor"]);
        let items = items.as_array().cloned().unwrap_or_default();
        items.iter().any(|i| i["name"] == "fleet key" && i["ok"] == ok)
    };
    assert!(doctor(false), "nobody has said that there is a copy");
    fleet.ok(&["key", "export", "--to", text(&path)]);
    let (code, said) = fleet.fails(&["key", "export", "--to", text(&path)]);
    assert!(code == 1 && said.contains("exists and is not overwritten"), "{said}");
    let wrong = fleet.data.join("wrong.key");
    fs::write(&wrong, [1; 32]).expect("writable");
    let (code, said) = fleet.fails(&["key", "confirm", "--file", text(&wrong)]);
    assert!(code == 2 && said.contains("is of another key"), "{said}");
    let own = fleet.data.join("controller/fleet.key");
    let (code, said) = fleet.fails(&["key", "confirm", "--file", text(&own)]);
    assert!(code == 2 && said.contains("no copy"), "{said}");
    assert!(doctor(false));
    fleet.ok(&["key", "confirm", "--file", text(&path)]);
    assert!(doctor(true));
    path
}

/// What people rely on of a service: where it is, and what lets them in.
fn face(fleet: &Fleet, name: &str) -> (Value, Value) {
    let url = fleet.json(&["url", name]);
    let show = fleet.show(name);
    (url, serde_json::json!([show["endpoint_port"], show["pooled_port"], show["plan"]]))
}

fn primary(fleet: &Fleet, name: &str) -> Value {
    let members = fleet.show(name)["members"].as_array().cloned().unwrap_or_default();
    members.into_iter().find(|member| member["role"] == "primary").unwrap_or_default()
}

fn until_whole(fleet: &Fleet, name: &str) {
    until(SOON, "it can fail over without loss", || {
        let show = fleet.show(name);
        show["state"] == "available"
            && show["failover"]["safe_now"] == true
            && show["operation"].is_null()
            && show["members"].as_array().is_some_and(|members| {
                members.iter().all(|m| m["role"] == "primary" || m["sync"] == true)
            })
    });
}

/// Kills the primary's server and its agent; another takes its place.
fn fails_over(fleet: &Fleet, name: &str) {
    let before = primary(fleet, name);
    let host = before["host"].as_str().expect("placed");
    let agent = fleet.json(&["host", "show", host])["pid"].as_u64().expect("it runs");
    let server = before["pid"].as_u64().expect("it runs");
    for pid in [agent, server] {
        send(u32::try_from(pid).expect("a process"), Signal::KILL);
    }
    until(SOON, "its standby takes writes", || {
        let now = primary(fleet, name);
        fleet.state(name) == "available" && now["id"] != before["id"] && now["state"] == "ready"
    });
    until_whole(fleet, name);
}

/// The controller is killed and its directory burns; where a copy of it is.
fn burn(fleet: &mut Fleet) -> PathBuf {
    fleet.kill_up();
    let dir = fleet.data.join("controller");
    let copy = fleet.data.join("controller.copied");
    let _ = fs::remove_dir_all(&copy);
    let copied = std::process::Command::new("cp").arg("-a").arg(&dir).arg(&copy).status();
    assert!(copied.expect("it runs").success());
    fs::remove_dir_all(&dir).expect("it burns");
    copy
}

fn snapshots(fleet: &Fleet) -> String {
    let all = fleet.json(&["repository", "list"]);
    all[0]["store_saved_at"].as_str().unwrap_or_default().to_owned()
}

fn create_ha(fleet: &Fleet, name: &str) {
    fleet.ok(&["create", "postgres", name, "--plan", "ha"]);
}

#[test]
fn a_burnt_control_plane_comes_back_from_a_repository() {
    if !software("a_burnt_control_plane_comes_back_from_a_repository") {
        return;
    }
    let mut fleet = Fleet::start("recover", &["--respawn-after", "3s"]);
    let key = key(&fleet);
    fleet.create("orders");
    create_ha(&fleet, "pay");
    until_whole(&fleet, "pay");
    let ledgers = ["orders", "pay"].map(|name| (name, Ledger::start(&fleet, name)));
    let before = snapshots(&fleet);
    until(SOON, "both are in a snapshot", || snapshots(&fleet) > before);
    // What is recorded after the newest snapshot is known to the hosts alone.
    fleet.create("later");
    fleet.sql("later", "CREATE TABLE kept AS SELECT 7 AS n").expect("made");
    let faces = ["orders", "pay", "later"].map(|name| (name, face(&fleet, name)));
    let repository = fleet.data.join("repository");
    let copy = burn(&mut fleet);
    let place = ["--from-repository", text(&repository)];
    let wrong = fleet.data.join("wrong.key");
    let refused = fleet.fails(&[&["recover"][..], &place, &["--key", text(&wrong)]].concat());
    assert!(refused.0 == 2 && refused.1.contains("sealed for a key"), "{}", refused.1);
    let arguments = [&["recover"][..], &place, &["--key", text(&key)]].concat();
    let dry = fleet.json(&[&arguments[..], &["--dry-run"]].concat());
    let names: Vec<&str> = dry["snapshot"]["services"]
        .as_array()
        .expect("services")
        .iter()
        .filter_map(|service| service["name"].as_str())
        .collect();
    assert!(names.contains(&"orders") && names.contains(&"pay"), "{dry}");
    assert!(!fleet.data.join("controller/store.db").exists(), "a dry run writes nothing");
    let said = fleet.ok(&arguments);
    assert!(said.contains("services, 3 hosts"), "{said}");
    let again = fleet.fails(&arguments);
    assert!(again.1.contains("exists; move"), "{}", again.1);
    fleet.up(&["--respawn-after", "3s"]);
    until_whole(&fleet, "pay");
    for (name, face_before) in &faces {
        fleet.until_state(SOON, name, "available");
        assert_eq!(face(&fleet, name), *face_before, "{name}");
    }
    assert_eq!(fleet.sql("later", "SELECT n FROM kept").expect("readable"), ["7"]);
    fails_over(&fleet, "pay");
    for (name, ledger) in ledgers {
        ledger.check(&fleet, name);
    }
    the_old_one_commands_nobody(&mut fleet, &copy);
}

/// The controller that burnt is found again, and started over the directory it had.
fn the_old_one_commands_nobody(fleet: &mut Fleet, copy: &Path) {
    let ledger = Ledger::start(fleet, "pay");
    fleet.kill_up();
    let dir = fleet.data.join("controller");
    fs::rename(&dir, fleet.data.join("controller.second")).expect("moved");
    fs::rename(copy, &dir).expect("put back");
    let mut child = fleet
        .command(&["up", "--listen", &fleet.listen])
        .env("EVENKEEL_IMAGES", crate::fleet::images())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    until(SOON, "it learns that it was succeeded", || {
        fleet.json(&["doctor"]).as_array().is_some_and(|items| {
            items.iter().any(|i| i["detail"].as_str().is_some_and(|d| d.contains("succeeded")))
        })
    });
    let (code, said) = fleet.fails(&["create", "postgres", "more"]);
    assert!(code == 4 && said.contains("has succeeded this control plane"), "{code} {said}");
    send(child.id(), Signal::KILL);
    let _ = child.wait();
    fs::remove_dir_all(&dir).expect("gone");
    fs::rename(fleet.data.join("controller.second"), &dir).expect("back");
    fleet.up(&["--respawn-after", "3s"]);
    until_whole(fleet, "pay");
    ledger.check(fleet, "pay");
    fleet.create("more");
}

#[test]
fn a_burnt_control_plane_comes_back_from_its_hosts_again_and_again() {
    if !software("a_burnt_control_plane_comes_back_from_its_hosts_again_and_again") {
        return;
    }
    let mut fleet = Fleet::start("rebuilt", &["--respawn-after", "3s"]);
    let key = key(&fleet);
    fleet.create("orders");
    create_ha(&fleet, "pay");
    fleet.create("old");
    fleet.ok(&["retire", "old"]);
    until_whole(&fleet, "pay");
    let ledgers = ["orders", "pay"].map(|name| (name, Ledger::start(&fleet, name)));
    let faces = ["orders", "pay"].map(|name| (name, face(&fleet, name)));
    for round in 0..2 {
        burn(&mut fleet);
        let arguments = ["recover", "--from-agents", "--key", text(&key)];
        let told = fleet.json(&[&arguments[..], &["--dry-run"]].concat());
        assert_eq!(told["hosts"], 3, "{told}");
        fleet.ok(&arguments);
        fleet.up(&["--respawn-after", "3s"]);
        until_whole(&fleet, "pay");
        for (name, face_before) in &faces {
            fleet.until_state(SOON, name, "available");
            assert_eq!(face(&fleet, name), *face_before, "{name}, round {round}");
        }
        assert_eq!(fleet.state("old"), "retired");
        fails_over(&fleet, "pay");
    }
    for (name, ledger) in ledgers {
        ledger.check(&fleet, name);
    }
    fleet.ok(&["revive", "old"]);
    fleet.until_state(SOON, "old", "available");
    fleet.ok(&["backup", "orders", "--wait"]);
    fleet.create("new");
}
