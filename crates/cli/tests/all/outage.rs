//! Object storage that dies, hangs, is full and lies, one after another, under writers: nobody is stopped,
//! nothing is lost, and the archive has no gap afterwards.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::fleet::{Fleet, Ledger, missing, software, until};
use crate::storage::{Fault, Storage};

const SOON: u64 = 120;

fn backup(fleet: &Fleet) -> Value {
    fleet.show("pay")["backup"].clone()
}

fn add(fleet: &Fleet, storage: &Storage, secret: &str) -> Output {
    let file = |name: &str, text: &str| {
        let path = fleet.data.with_extension(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let bucket = storage.bucket();
    let ca = file("ca.pem", bucket.ca.as_deref().expect("its own"));
    let keys = format!("aws_access_key_id = somebody\naws_secret_access_key = {secret}\n");
    let keys = file("keys", &keys);
    let arguments = ["repository", "add", "far", "--bucket", "backups/fleet", "--region", "eu-1"];
    let place = ["--endpoint", &bucket.endpoint, "--ca", &ca, "--credentials", &keys];
    let added = fleet.run(&[&arguments[..], &place].concat());
    [ca, keys].iter().for_each(|file| fs::remove_file(file).expect("its own"));
    added
}

/// Has the log go on, with some of it in a segment that is over.
fn write(fleet: &Fleet) {
    let text = "CREATE TABLE IF NOT EXISTS filler (t text); \
                INSERT INTO filler SELECT (SELECT string_agg(md5(random()::text || n || m), '') \
                FROM generate_series(1, 100) AS m) FROM generate_series(1, 1500) AS n";
    fleet.sql("pay", text).expect("it takes writes");
}

#[test]
fn storage_may_fail_in_every_way() {
    if !software("storage_may_fail_in_every_way") {
        return;
    }
    let mut storage = Storage::start();
    let fleet = Fleet::start("outage", &[]);
    fleet.ok(&["create", "postgres", "pay", "--plan", "ha"]);
    assert!(add(&fleet, &storage, "a secret").status.success());
    let ledger = Ledger::start(&fleet, "pay");
    fleet.ok(&["backup", "pay", "--wait"]);
    // The bucket is all there is from here on.
    let local = fleet.data.join("repository");
    fs::rename(&local, fleet.data.join("away")).expect("renamed");
    let servers = |fleet: &Fleet| {
        let members = fleet.show("pay")["members"].clone();
        members.as_array().expect("two").iter().map(|m| m["pid"].clone()).collect::<Vec<_>>()
    };
    let before = servers(&fleet);
    for (fault, words) in [
        (None, "far"),
        (Some(Fault::Hangs), "far"),
        (Some(Fault::Full), "no room"),
        (Some(Fault::Lies), "far"),
    ] {
        match fault {
            None => storage.kill(),
            Some(fault) => storage.set(fault),
        }
        write(&fleet);
        until(SOON, &format!("{fault:?} is found out"), || {
            let finding = fleet.show("pay")["findings"].to_string();
            finding.contains("archive-current") && finding.contains(words)
        });
        assert_eq!(fleet.show("pay")["state"], "available", "{fault:?}");
        match fault {
            None => storage.run(),
            Some(_) => storage.set(Fault::None),
        }
        until(SOON, &format!("it is caught up after {fault:?}"), || {
            backup(&fleet)["archive_lag_bytes"] == 0 && backup(&fleet)["archive_lag_seconds"] == 0
        });
    }
    assert_eq!(servers(&fleet), before, "the same servers all along");
    // Keys that let nobody in are refused before anybody goes by them.
    let refused = add(&fleet, &storage, "an old secret");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("refuses its credentials"), "{error}");
    let acknowledged = ledger.end();
    assert!(missing(&fleet, "pay", &acknowledged).is_empty(), "a service lost writes");
    // One that does not answer keeps every restore waiting; one that is given up does not.
    fleet.ok(&["repository", "remove", "local", "--confirm", "local"]);
    fleet.ok(&["fork", "pay", "pay-copy", "--timeout", "300"]);
    let lost = missing(&fleet, "pay-copy", &acknowledged);
    assert!(lost.is_empty(), "not in the archive: {lost:?}");
    let told = fleet.log() + &fleet.ok(&["journal"]);
    assert!(!told.contains("a secret") && !told.contains("an old secret"), "credentials are told");
}
