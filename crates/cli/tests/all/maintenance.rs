//! Windows, scheduled drills, toil and the journal's chain, with real processes.

use std::fs;

use evenkeel_core::moment::Moment;
use serde_json::Value;

use crate::fleet::{Fleet, software, until};

const SOON: u64 = 90;

/// A window that is not open now, nor will be while a test runs.
fn closed() -> &'static str {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.expect("after 1970").as_secs();
    // 1970 began on a Thursday.
    let today = (seconds / 86_400 + 4) % 7;
    if (2..=4).contains(&today) { "Sat 12:00 1h" } else { "Wed 12:00 1h" }
}

fn journal(fleet: &Fleet, name: &str) -> String {
    fleet.ok(&["journal", "--subject", name, "--limit", "300"])
}

fn drills(fleet: &Fleet) -> Value {
    fleet.json(&["drill", "results", "pay"])[0].clone()
}

fn doctor(fleet: &Fleet, flags: &[&str], name: &str) -> (bool, String) {
    let items = fleet.json(&[&["doctor"], flags].concat());
    let items = items.as_array().cloned().unwrap_or_default();
    let item = items.into_iter().find(|item| item["name"] == name).unwrap_or_default();
    (item["ok"] == true, item["detail"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn planned_work_waits_and_drills_run_by_themselves() {
    if !software("planned_work_waits_and_drills_run_by_themselves") {
        return;
    }
    let fleet = Fleet::start("windows", &[]);
    fleet.ok(&["create", "postgres", "pay", "--plan", "ha"]);
    fleet.ok(&["maintenance", "window", "pay", closed()]);
    let plan = ["maintenance", "plan", "pay", "restart", "--reason", "new settings"];
    let told = fleet.ok(&plan);
    assert!(told.contains("maintenance 1: restart of pay at"), "{told}");
    let show = fleet.json(&["maintenance", "show", "pay"]);
    assert_eq!((&show["open"], &show["planned"][0]["state"]), (&false.into(), &"waits".into()));
    let opens = show["opens_at"].as_str().and_then(|at| at.parse::<Moment>().ok());
    assert!(opens.is_some(), "{show}");
    let before = fleet.show("pay")["members"][0]["pid"].clone();
    fleet.ok(&["maintenance", "run-now", "1"]);
    until(SOON, "the restart was done", || {
        journal(&fleet, "pay").contains("maintenance 1 is done")
    });
    assert!(journal(&fleet, "pay").contains("override: a person let it go"));
    assert_ne!(fleet.show("pay")["members"][0]["pid"], before);
    assert_eq!(fleet.json(&["maintenance", "list"]), Value::Array(vec![]));
    let (code, refused) = fleet.fails(&["maintenance", "window", "pay", "Sunday 2am"]);
    assert!(code != 0 && refused.contains("Sun 02:00 4h"), "{refused}");

    // A drill that is due waits for the window too, and begins by itself once it is open.
    fleet.ok(&["drill", "schedule", "pay", "--every", "1s"]);
    until(SOON, "every standby is counted on", || {
        let show = fleet.show("pay");
        show["failover"]["safe_now"] == true && show["operation"].is_null()
    });
    assert_eq!(drills(&fleet)["results"], Value::Array(vec![]));
    fleet.ok(&["maintenance", "window", "pay", "--clear"]);
    until(SOON, "a drill was done", || drills(&fleet)["results"][0]["kind"] == "failover");
    let page = drills(&fleet);
    let result = &page["results"][0];
    assert!(result["failed"].is_null() && result["lost"] == 0, "{page}\n{}", fleet.log());
    assert!(result["acked"].as_u64() >= Some(40) && result["gap_ms"].as_u64() > Some(0), "{page}");
    assert_eq!(page["trends"][0]["newest_ms"], result["gap_ms"]);
    let table = fleet.ok(&["drill", "results", "pay"]);
    assert!(table.contains("failover") && table.contains("well"), "{table}");
    // No second one on this day.
    until(SOON, "it is available again", || fleet.state("pay") == "available");
    assert_eq!(drills(&fleet)["results"].as_array().map(Vec::len), Some(1));

    // What ran by itself is on one side of the ledger, what a person ordered on the other.
    fleet.ok(&["restart", "pay"]);
    let toil = fleet.json(&["toil"]);
    let saved = toil["saved"].as_array().cloned().unwrap_or_default();
    assert!(saved.iter().any(|row| row["operation"] == "failover drill"), "{toil}");
    let just = toil["just"].as_array().cloned().unwrap_or_default();
    let acts: Vec<&str> = just.iter().filter_map(|row| row["act"].as_str()).collect();
    assert_eq!(acts, ["restart"], "{toil}");
    assert!(fleet.ok(&["toil", "--just"]).contains("maintenance plan"));
}

fn results<'a>(page: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = page["results"].as_array().into_iter().flatten();
    all.filter(|result| result["kind"] == kind).collect()
}

#[test]
fn the_loss_of_the_controller_and_the_brake_are_exercised_by_hand_and_by_themselves() {
    if !software("the_loss_of_the_controller_and_the_brake_are_exercised_by_hand_and_by_themselves")
    {
        return;
    }
    let fleet = Fleet::start("losses", &["--hosts", "2"]);
    fleet.create("pay");
    let began = || fleet.json(&["drill", "controller", "pay"]);
    let first = began();
    assert!(first["gap_ms"].as_u64() > Some(0), "{first}\n{}", fleet.log());
    let unharmed = (&first["lost"], &first["refused"]);
    assert_eq!(unharmed, (&0.into(), &0.into()), "{first}");
    assert!(first["acked"].as_u64() >= Some(40), "{first}");
    let told = fleet.ok(&["drill", "brake", "pay"]);
    assert!(told.contains("the brake held ask-locks for 3 s"), "{told}");
    let page = drills(&fleet);
    for kind in ["controller", "brake"] {
        let kept = results(&page, kind);
        assert!(kept.len() == 1 && kept[0]["failed"].is_null(), "{kind}: {page}");
    }
    // By itself, in a process that outlives the controller.
    for kind in ["controller", "brake"] {
        fleet.ok(&["drill", "schedule", "pay", "--kind", kind, "--every", "1s"]);
        until(SOON, "one was done by itself", || results(&drills(&fleet), kind).len() > 1);
        fleet.ok(&["drill", "schedule", "pay", "--kind", kind, "--off"]);
        until(SOON, "none runs", || drills(&fleet)["running"].is_null());
        let page = drills(&fleet);
        let failed = |result: &&&Value| !result["failed"].is_null();
        let kept = results(&page, kind);
        assert_eq!(kept.iter().filter(failed).count(), 0, "{page}\n{}", fleet.log());
    }
    let (code, refused) =
        fleet.fails(&["drill", "schedule", "pay", "--kind", "proof", "--every", "1d"]);
    assert!(code != 0 && refused.contains("prove_every"), "{refused}");
}

#[test]
fn a_changed_past_is_found_and_the_copy_of_a_sound_one_is_kept() {
    if !software("a_changed_past_is_found_and_the_copy_of_a_sound_one_is_kept") {
        return;
    }
    let mut fleet = Fleet::start("tamper", &["--hosts", "1"]);
    let (ok, detail) = doctor(&fleet, &[], "journal");
    assert!(ok && detail.contains("form one chain"), "{detail}");
    // The next look goes on from there; a deep one goes through all.
    let (ok, detail) = doctor(&fleet, &[], "journal");
    assert!(ok && detail.contains("on in this look"), "{detail}");
    let (ok, detail) = doctor(&fleet, &["--deep"], "journal");
    assert!(ok && !detail.contains("on in this look"), "{detail}");
    fleet.interrupt_up();
    // The end of the first commit is the end of its entries.
    let store = fleet.data.join("controller/store.db");
    let good = fs::read(fleet.data.join("controller/store.db.good")).expect("made at the start");
    let file = rusqlite::Connection::open(&store).expect("it is a file of SQLite");
    let read = "SELECT id, body FROM tail ORDER BY id LIMIT 1";
    let (id, mut body): (i64, Vec<u8>) =
        file.query_row(read, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("there is one");
    *body.last_mut().expect("it has bytes") ^= 1;
    let update = "UPDATE tail SET body = ?1 WHERE id = ?2";
    file.execute(update, rusqlite::params![body, id]).expect("changed");
    drop(file);
    fleet.up(&["--hosts", "1"]);
    for flags in [&[][..], &["--deep"]] {
        let (ok, detail) = doctor(&fleet, flags, "journal");
        let named = detail.contains("commit 1, part ") && detail.contains("store.db.good");
        assert!(!ok && named && detail.contains("does not fit its checksum"), "{detail}");
    }
    fleet.interrupt_up();
    let kept = fs::read(fleet.data.join("controller/store.db.good")).expect("still there");
    assert!(kept == good, "the copy of a sound store was overwritten");
    fs::copy(fleet.data.join("controller/store.db.good"), &store).expect("put back, as it is said");
    fleet.up(&["--hosts", "1"]);
    let (ok, detail) = doctor(&fleet, &["--deep"], "journal");
    assert!(ok, "{detail}");
}
