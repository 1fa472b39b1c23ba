//! Archives as their users have them: backups, forks, rollbacks, proofs; storage that fails under load;
//! a host that burns.

use std::fs;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::{Fleet, Ledger, missing, send, software, until};

const SOON: u64 = 60;

fn backup(fleet: &Fleet, name: &str) -> Value {
    let show = fleet.show(name);
    assert!(!show["backup"].is_null(), "{show}");
    show["backup"].clone()
}

fn count(fleet: &Fleet, name: &str) -> String {
    fleet.sql(name, "SELECT count(*) FROM ledger").expect("readable")[0].clone()
}

/// The server's own clock, as a moment that a restore can be told.
fn moment(fleet: &Fleet, name: &str) -> String {
    let text =
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    fleet.sql(name, text).expect("a moment")[0].clone()
}

#[test]
fn a_service_is_backed_up_forked_rolled_back_and_proven() {
    if !software("a_service_is_backed_up_forked_rolled_back_and_proven") {
        return;
    }
    let fleet = Fleet::start("backup", &[]);
    fleet.create("orders");
    fleet.sql("orders", "CREATE TABLE ledger (n bigint)").expect("made");
    let taken = fleet.json(&["backup", "orders", "--wait"]);
    let id = taken["id"].as_str().expect("an id").to_owned();
    assert_eq!(taken["repositories"], serde_json::json!(["local"]));
    assert_eq!(fleet.json(&["backup", "list", "orders"])[0]["id"], id.as_str());
    assert_eq!(fleet.json(&["backup", "show", &id])["service"], "orders");
    assert_eq!(backup(&fleet, "orders")["last_at"], taken["ended_at"]);
    fleet.sql("orders", "INSERT INTO ledger SELECT generate_series(1, 100)").expect("written");
    let then = moment(&fleet, "orders");
    fleet.sql("orders", "DELETE FROM ledger WHERE n > 10").expect("written");
    // All that was written, and what was there then, each under a name and an owner of its own.
    let fork = fleet.json(&["fork", "orders", "orders-now"]);
    assert_eq!((&fork["name"], &fork["state"]), (&"orders-now".into(), &"available".into()));
    assert_eq!(count(&fleet, "orders-now"), "10");
    assert_eq!(fleet.sql("orders-now", "SELECT current_user").expect("asked"), ["orders-now"]);
    fleet.ok(&["fork", "orders", "orders-then", "--at", &then]);
    assert_eq!(count(&fleet, "orders-then"), "100");
    // A rollback keeps name, endpoint and password, and what was there can come back.
    let url = fleet.ok(&["url", "orders"]);
    fleet.ok(&["rollback", "orders", "--at", &then]);
    assert_eq!(fleet.ok(&["url", "orders"]), url);
    assert_eq!(count(&fleet, "orders"), "100");
    let all = fleet.json(&["list"]);
    let all = all.as_array().expect("a list").clone();
    let before = all.iter().find(|s| s["name"].as_str().is_some_and(|n| n.contains("-before-")));
    let before = before.expect("it is kept")["name"].as_str().expect("a name").to_owned();
    fleet.until_state(SOON, &before, "retired");
    fleet.ok(&["revive", &before]);
    assert_eq!(count(&fleet, &before), "10");
    // What was restored is proven as well as anything else.
    fleet.ok(&["backup", "orders-then", "--wait"]);
    let proof = fleet.json(&["prove", "orders-then"]);
    assert!(proof["proven_at"].is_string() && proof["restore_seconds"].as_f64() > Some(0.0));
    assert!(proof["loss_window_seconds"].as_u64().is_some(), "{proof}");
    // A repository more, lost for good: it keeps no restore waiting once it is removed.
    let second = fleet.data.join("second");
    fleet.ok(&["repository", "add", "second", "--directory", &second.display().to_string()]);
    fleet.ok(&["backup", "orders-then", "--wait"]);
    fs::remove_dir_all(&second).expect("lost");
    let (_, error) = fleet.fails(&["prove", "orders-then"]);
    assert!(error.contains("repository second"), "{error}");
    let (_, error) = fleet.fails(&["repository", "remove", "second"]);
    assert!(error.contains("--confirm second"), "{error}");
    fleet.ok(&["repository", "remove", "second", "--confirm", "second"]);
    fleet.ok(&["prove", "orders-then"]);
    // What cannot be is refused, with what would do.
    for (arguments, words) in [
        (&["fork", "orders", "x", "--at", "yesterday"][..], "write one like"),
        (&["fork", "orders-then", "x", "--at", "2001-01-01T00:00:00Z"], "its archive begins at"),
        (&["fork", "orders-then", "x", "--at", "2101-01-01T00:00:00Z"], "in the future"),
        (&["fork", "orders-then", "orders"], "exists already"),
        (&["fork", "nobody", "x"], "no service is named"),
        (&["rollback", "orders"], "say how far back"),
        (&["backup", "show", "b999"], "no backup has the id"),
        (&["repository", "show", "nowhere"], "no repository is named"),
        (&["repository", "add", "local", "--directory", "/proc/nothing"], "repository local"),
    ] {
        let (_, error) = fleet.fails(arguments);
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn storage_that_is_down_stops_no_service_and_leaves_no_gap() {
    if !software("storage_that_is_down_stops_no_service_and_leaves_no_gap") {
        return;
    }
    let fleet = Fleet::start("storage", &["--respawn-after", "never"]);
    fleet.ok(&["create", "postgres", "pay", "--plan", "ha"]);
    let ledger = Ledger::start(&fleet, "pay");
    fleet.ok(&["backup", "pay", "--wait"]);
    let (here, away) = (fleet.data.join("repository"), fleet.data.join("away"));
    fs::rename(&here, &away).expect("renamed");
    // Written on: more than a segment of the log, by a primary that is lost while nothing takes it.
    let fill = |fleet: &Fleet| {
        let text = "CREATE TABLE IF NOT EXISTS filler (t text); \
                    INSERT INTO filler SELECT (SELECT string_agg(md5(random()::text || n || m), '') \
                    FROM generate_series(1, 100) AS m) FROM generate_series(1, 4000) AS n";
        fleet.sql("pay", text).expect("it takes writes");
    };
    fill(&fleet);
    until(SOON, "the archive is known to be behind", || {
        backup(&fleet, "pay")["archive_lag_seconds"].as_u64() > Some(5)
    });
    let posture = fleet.json(&["explain", "pay"])["explain"]["posture"].clone();
    assert!(posture.as_str().is_some_and(|p| p.starts_with("storage-down")), "{posture}");
    let finding = fleet.show("pay").to_string();
    assert!(finding.contains("archive-current") && finding.contains("mounted"), "{finding}");
    let (_, error) = fleet.fails(&["backup", "pay", "--wait"]);
    assert!(error.contains("mounted"), "{error}");
    let show = fleet.show("pay");
    let primary = &show["members"][0];
    let old = primary["id"].clone();
    let (server, host) = (primary["pid"].as_u64(), primary["host"].as_str().expect("placed"));
    let agent = fleet.json(&["host", "show", host])["pid"].as_u64();
    for pid in [agent, server].into_iter().flatten() {
        send(u32::try_from(pid).expect("a process"), Signal::KILL);
    }
    until(SOON, "a standby takes writes", || {
        let show = fleet.show("pay");
        show["state"] == "available" && show["members"][0]["id"] != old
    });
    fill(&fleet);
    let acknowledged = ledger.end();
    assert!(missing(&fleet, "pay", &acknowledged).is_empty(), "a service lost writes");
    fs::rename(&away, &here).expect("renamed");
    until(SOON * 2, "what waited is archived", || {
        let backup = backup(&fleet, "pay");
        backup["archive_lag_seconds"] == 0 && backup["archive_lag_bytes"] == 0
    });
    // The backup is from before all that: every segment since is needed, those of the lost primary too.
    fleet.ok(&["fork", "pay", "pay-copy", "--timeout", "300"]);
    let lost = missing(&fleet, "pay-copy", &acknowledged);
    assert!(lost.is_empty(), "not in the archive: {lost:?}");
}

#[test]
fn what_a_burnt_host_held_is_in_the_archive() {
    if !software("what_a_burnt_host_held_is_in_the_archive") {
        return;
    }
    let fleet = Fleet::start("burnt", &["--respawn-after", "never"]);
    fleet.create("orders");
    fleet.ok(&["backup", "orders", "--wait"]);
    let ledger = Ledger::start(&fleet, "orders");
    // Until a segment that has some of it ended by its timeout and went: nobody asks for it.
    let rows = fleet.data.join("repository");
    let segments = || {
        let found = walk(&rows).into_iter().filter(|path| path.contains("/log/"));
        found.count()
    };
    let before = segments();
    until(SOON * 2, "the log goes on its way by itself", || segments() > before);
    let show = fleet.show("orders");
    let member = &show["members"][0];
    let (server, host) = (member["pid"].as_u64(), member["host"].as_str().expect("placed"));
    let agent = fleet.json(&["host", "show", host])["pid"].as_u64();
    for pid in [agent, server].into_iter().flatten() {
        send(u32::try_from(pid).expect("a process"), Signal::KILL);
    }
    let burnt = Instant::now();
    fs::remove_dir_all(fleet.data.join("hosts").join(host)).expect("burnt");
    let acknowledged = ledger.end();
    until(SOON, "it is known", || fleet.state("orders") != "available");
    fleet.ok(&["fork", "orders", "orders-again", "--timeout", "300"]);
    let lost = missing(&fleet, "orders-again", &acknowledged);
    // What is there is all until some moment: nothing is missing in between.
    let kept = acknowledged.len() - lost.len();
    assert_eq!(lost, &acknowledged[kept..], "a hole");
    assert!(kept > 0, "nothing was archived");
    println!(
        "lost {} of {} rows, the newest {:.1} s; back {:.1} s after the fire",
        lost.len(),
        acknowledged.len(),
        60.0 * f64::from(u32::try_from(lost.len()).expect("few"))
            / f64::from(u32::try_from(acknowledged.len()).expect("few")),
        burnt.elapsed().as_secs_f64()
    );
}

fn walk(path: &std::path::Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false => vec![path.display().to_string()],
        })
        .collect()
}

#[test]
fn what_is_retired_is_archived_and_revived_from_its_archive() {
    if !software("what_is_retired_is_archived_and_revived_from_its_archive") {
        return;
    }
    let fleet = Fleet::start("away", &[]);
    fleet.create("orders");
    fleet.sql("orders", "CREATE TABLE ledger (n bigint)").expect("made");
    fleet.ok(&["backup", "orders", "--wait"]);
    fleet.sql("orders", "INSERT INTO ledger SELECT generate_series(1, 100)").expect("written");
    let url = fleet.ok(&["url", "orders"]);
    let (_, error) = fleet.fails(&["archive", "orders"]);
    assert!(error.contains("retire it first"), "{error}");
    // Its disks stay for as long as the archive cannot be shown to hold everything.
    let (here, away) = (fleet.data.join("repository"), fleet.data.join("away"));
    fs::rename(&here, &away).expect("renamed");
    fleet.sql("orders", "INSERT INTO ledger VALUES (101)").expect("written");
    fleet.ok(&["retire", "orders"]);
    fleet.ok(&["archive", "orders", "--no-wait"]);
    let failed = || backup(&fleet, "orders")["failed"].is_object();
    until(SOON, "the last proof has nowhere to go", failed);
    assert_eq!(fleet.show("orders")["state"], "retired");
    let directory = fleet.show("orders")["members"][0]["data_dir"].as_str().map(str::to_owned);
    let directory = std::path::PathBuf::from(directory.expect("a directory"));
    assert!(directory.exists());
    fs::rename(&away, &here).expect("renamed");
    fleet.ok(&["archive", "orders"]);
    assert!(!directory.exists(), "its disks are free");
    for _ in 0..2 {
        assert_eq!(fleet.show("orders")["state"], "archived");
        fleet.ok(&["revive", "orders"]);
        assert_eq!(fleet.ok(&["url", "orders"]), url);
        assert_eq!(count(&fleet, "orders"), "101");
        fleet.ok(&["backup", "orders", "--wait"]);
        fleet.ok(&["retire", "orders"]);
        fleet.ok(&["archive", "orders"]);
    }
    // What it was before is an archive still, until somebody ends it.
    let all = fleet.json(&["list"]);
    let kept = all.as_array().expect("a list").iter().filter(|s| s["state"] == "archived");
    let names: Vec<&str> = kept.filter_map(|service| service["name"].as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let old = names.iter().find(|name| **name != "orders").expect("one from before");
    fleet.ok(&["terminate", old, "--confirm", old]);
    fleet.ok(&["revive", "orders"]);
    assert_eq!(count(&fleet, "orders"), "101");
}
