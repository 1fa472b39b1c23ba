//! A disk that fills with log that no repository takes: nobody is stopped, and what is done about it is
//! told, in order; then log is given up, by name.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::damage::on_a_small_disk;
use crate::fleet::{Fleet, until};

const SOON: u64 = 180;

fn disk(fleet: &Fleet) -> Value {
    fleet.show("orders")["members"][0]["disk"].clone()
}

fn level(fleet: &Fleet) -> String {
    disk(fleet)["level"].as_str().unwrap_or("none").to_owned()
}

/// Fills most of a disk with something else.
fn put(ballast: &Path, mib: u64) {
    let of = format!("of={}", ballast.display());
    let put = Command::new("dd")
        .args(["if=/dev/zero", "bs=1M", "status=none", &format!("count={mib}"), &of])
        .status();
    assert!(put.is_ok_and(|status| status.success()));
}

/// Writes a few MiB, as far as the server takes them.
fn fill(fleet: &Fleet) -> Result<Vec<String>, String> {
    let text = "INSERT INTO filler SELECT (SELECT string_agg(md5(random()::text || n || m), '') \
                FROM generate_series(1, 100) AS m) FROM generate_series(1, 2000) AS n";
    fleet.sql("orders", text)
}

/// Writes until the server takes no more; the levels that were seen on the way.
fn fill_up(fleet: &Fleet) -> Vec<String> {
    let mut seen = vec![level(fleet)];
    until(SOON * 2, "no writes are taken", || {
        let refused = fill(fleet).is_err_and(|words| {
            assert!(
                words.contains("read-only") || words.contains("terminating connection"),
                "a full disk: {words}"
            );
            true
        });
        fleet.sql("orders", "TRUNCATE filler").ok();
        let now = level(fleet);
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        refused && now == "read_only"
    });
    seen
}

#[test]
fn a_disk_that_fills_with_log_stops_nobody() {
    on_a_small_disk("a_disk_that_fills_with_log_stops_nobody", 1200, |mount| {
        let fleet = Fleet::start_in(mount.join("data"), &["--hosts", "1", "--pool", "0"]);
        fleet.create("orders");
        fleet
            .sql("orders", "CREATE TABLE filler (t text); CREATE TABLE ledger (n bigint)")
            .expect("made");
        fleet.ok(&["backup", "orders", "--wait"]);
        let server = fleet.server("orders");
        until(SOON, "its disk is looked at", || level(&fleet) == "fine");
        let (here, away) = (fleet.data.join("repository"), fleet.data.join("away"));
        // Its archive is on another disk.
        let elsewhere = mount.with_extension("repository");
        let moved = Command::new("cp").arg("-a").args([&here, &elsewhere]).status();
        assert!(moved.is_ok_and(|status| status.success()));
        fs::remove_dir_all(&here).expect("copied");
        symlink(&elsewhere, &here).expect("linked");
        let ballast = mount.join("ballast");
        put(&ballast, 700);
        storage_returns(&fleet, &here, &away, &ballast);
        put(&ballast, 700);
        log_is_given_up(&fleet, &here, &away, &ballast);
        assert_eq!(fleet.server("orders"), server, "the same server all along");
        drop(fleet);
        fs::remove_dir_all(&elsewhere).expect("its own");
    });
}

/// Storage is down until no writes are taken; then it is back, and so are the writes.
fn storage_returns(fleet: &Fleet, here: &Path, away: &Path, ballast: &Path) {
    fs::rename(here, away).expect("renamed");
    fleet.sql("orders", "INSERT INTO ledger VALUES (1)").expect("written");
    let seen = fill_up(fleet);
    let order = ["fine", "warn", "throttle", "read_only"];
    assert!(
        seen.iter().is_sorted_by_key(|level| order.iter().position(|one| one == level)),
        "{seen:?}"
    );
    let show = fleet.show("orders");
    assert_eq!(show["state"], "available", "{show}");
    assert!(disk(fleet)["free_bytes"].as_u64() > Some(16 << 20), "{show}");
    let findings = show["findings"].to_string();
    assert!(
        findings.contains("disk-room") && findings.contains("no writes are taken"),
        "{findings}"
    );
    assert!(fleet.ok(&["show", "orders"]).contains("no writes are taken until there is room"));
    fleet.sql("orders", "SELECT count(*) FROM ledger").expect("it is read");
    fs::rename(away, here).expect("renamed");
    until(SOON, "its log is archived, and it takes writes again", || {
        let lag = fleet.show("orders")["backup"]["archive_lag_bytes"].clone();
        let takes = ["fine", "warn"].contains(&level(fleet).as_str());
        lag == 0 && takes && fleet.sql("orders", "INSERT INTO ledger VALUES (2)").is_ok()
    });
    // A restore beside it is refused before it takes what the server needs.
    let more = ballast.with_extension("more");
    let stat = rustix::fs::statvfs(ballast).expect("a disk");
    let reserve = stat.f_blocks / 10 + (8 << 20) / stat.f_frsize;
    put(&more, (stat.f_bavail.saturating_sub(reserve) * stat.f_frsize) >> 20);
    let (_, error) = fleet.fails(&["prove", "orders"]);
    assert!(error.contains("no space left for a restore"), "{error}");
    fs::remove_file(more).expect("its own");
    fs::remove_file(ballast).expect("its own");
    fleet.ok(&["fork", "orders", "whole", "--timeout", "300"]);
    assert_eq!(fleet.sql("whole", "SELECT count(*) FROM ledger").expect("restored"), ["2"]);
    fleet.ok(&["terminate", "whole", "--confirm", "whole"]);
}

/// Storage is down for longer than the disk bears: a person gives up log.
fn log_is_given_up(fleet: &Fleet, here: &Path, away: &Path, ballast: &Path) {
    fs::rename(here, away).expect("renamed");
    fill_up(fleet);
    let reason = "the bucket is gone for the day";
    let give_up = ["backup", "give-up", "orders", "--reason", reason];
    let (_, error) = fleet.fails(&give_up);
    assert!(error.contains("--confirm orders"), "{error}");
    let said = fleet.ok(&[&give_up[..], &["--confirm", "orders"]].concat());
    assert!(said.contains("gives up its log since"), "{said}");
    until(SOON, "there is room", || {
        level(fleet) != "read_only" && fleet.sql("orders", "INSERT INTO ledger VALUES (3)").is_ok()
    });
    let findings = fleet.show("orders")["findings"].to_string();
    assert!(findings.contains("archive-hole") && findings.contains(reason), "{findings}");
    let (_, error) = fleet.fails(&["fork", "orders", "early"]);
    assert!(error.contains("was given up by"), "{error}");
    let journal = fleet.ok(&["journal"]);
    assert!(journal.contains("that log is given up") && journal.contains(reason), "{journal}");
    fs::rename(away, here).expect("renamed");
    // Nobody asks for it.
    until(SOON, "there is a backup", || {
        fleet.json(&["backup", "list", "orders"]).as_array().is_some_and(|all| all.len() == 2)
    });
    let findings = fleet.show("orders")["findings"].to_string();
    assert!(findings.contains("archive-hole") && findings.contains("warning"), "{findings}");
    fs::remove_file(ballast).expect("its own");
    fleet.ok(&["fork", "orders", "late", "--timeout", "300"]);
    assert_eq!(fleet.sql("late", "SELECT count(*) FROM ledger").expect("restored"), ["3"]);
}
