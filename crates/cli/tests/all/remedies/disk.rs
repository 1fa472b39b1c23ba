//! A disk that fills: with what a session left behind, and with log that a slot keeps which nobody reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use super::{Rules, SOON, brake, by_hand, create, held, ran, serves, until_held, until_ran};
use crate::damage::{on_a_disk, owner};
use crate::fleet::{Fleet, new_data, until};

/// Of the host's own disk, in MiB.
const DISK_MIB: u32 = 900;

/// A place of the service's member.
fn place(fleet: &Fleet, path: &str) -> PathBuf {
    let show = fleet.show("room");
    let data = show["members"][0]["data_dir"].as_str().expect("it has one");
    Path::new(data).join(path)
}

/// What a session that is gone left behind: a temporary file under a number that no process has.
fn leftover(fleet: &Fleet) -> PathBuf {
    place(fleet, "base/pgsql_tmp/pgsql_tmp99999999.0")
}

/// The server's own output of days ago.
fn output(fleet: &Fleet) -> PathBuf {
    place(fleet, "../log").join("old.log")
}

fn write(path: &Path, mib: u64, user: (u32, u32)) -> bool {
    let place = path.parent().expect("a directory");
    fs::create_dir_all(place).expect("made");
    std::os::unix::fs::chown(place, Some(user.0), Some(user.1)).expect("root may");
    let (count, of) = (format!("count={mib}"), format!("of={}", path.display()));
    let dd = ["if=/dev/zero", "bs=1M", "status=none", &count, &of];
    let written = Command::new("dd").args(dd).stderr(Stdio::null()).status();
    written.is_ok_and(|status| status.success())
}

/// Writes what may go until so many MiB are free; 0: until not a block is.
fn fill(fleet: &Fleet, free_mib: u64) {
    let user = owner(&fleet.data);
    assert!(write(&leftover(fleet), 5, user));
    let stat = rustix::fs::statvfs(fleet.data.join("hosts/h1")).expect("a disk");
    let free = (stat.f_bavail * stat.f_frsize) >> 20;
    let mib = if free_mib == 0 { free + 9 } else { free.saturating_sub(free_mib) };
    let old = output(fleet);
    assert_eq!(write(&old, mib, user), free_mib > 0, "it is filled as asked");
    let aged = Command::new("touch").args(["-d", "5 days ago"]).arg(&old).status();
    assert!(aged.is_ok_and(|status| status.success()));
}

/// Log that a slot keeps, which nobody reads from.
fn unread(fleet: &Fleet) {
    by_hand(fleet, "slot", "slot", "SELECT pg_create_physical_replication_slot('gone', true)");
    let text = "CREATE TABLE IF NOT EXISTS filler (t text); INSERT INTO filler SELECT (SELECT \
                string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 100) AS m) FROM \
                generate_series(1, 8000) AS n; TRUNCATE filler";
    (0..3).for_each(|_| drop(fleet.sql("slot", text).expect("written")));
    until(SOON, "its archive has all of it", || {
        fleet.show("slot")["backup"]["archive_lag_bytes"] == 0
    });
}

fn slots(fleet: &Fleet) -> String {
    let count = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'gone'";
    fleet.sql("slot", count).expect("readable")[0].clone()
}

fn level(fleet: &Fleet) -> String {
    fleet.show("room")["members"][0]["disk"]["level"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn a_full_disk_is_given_back_room_and_refusals_say_why() {
    let name = "a_full_disk_is_given_back_room_and_refusals_say_why";
    let data = new_data("room");
    on_a_disk(name, &data.join("hosts/h1"), DISK_MIB, |_| heal_and_refuse());
    let _ = fs::remove_dir_all(&data);
}

fn heal_and_refuse() {
    let data = PathBuf::from(format!("/tmp/ek-room-{}", std::process::id()));
    let user = owner(&data);
    for part in ["", "controller", "hosts", "hosts/h1", "gateways", "bin", "images", "log"] {
        fs::create_dir_all(data.join(part)).expect("made");
        std::os::unix::fs::chown(data.join(part), Some(user.0), Some(user.1)).expect("root may");
    }
    let checks = json!({ "slot_retained_warn_mib": 32 });
    let policy = json!({ "checks": checks, "backup_first_within": 3_600_000 });
    let rules = Rules::new(
        "room",
        &policy,
        &[
            ("unread-slots", "\"256\"", "\"16\""),
            // It is filled twice: nearly, and to the last block.
            ("full-disk", "tries_max = 1", "tries_max = 2"),
        ],
    );
    let fleet = Fleet::start_in(data, &rules.with(&["--pool", "0"]));
    ["h2", "h3"].iter().for_each(|host| drop(fleet.ok(&["host", "drain", host])));
    ["room", "slot"].iter().for_each(|service| create(&fleet, service, "dev"));
    let reserve = fleet.data.join("hosts/h1/reserve");
    let kept = || fs::metadata(&reserve).map_or(0, |found| found.len());
    until(SOON, "room is kept for a full disk", || kept() > 0);
    let whole = kept();
    unread(&fleet);
    brake(&fleet, "on");
    fill(&fleet, 40);
    until_held(&fleet, "room", "full-disk", "somebody looks", 0);
    until_held(&fleet, "slot", "unread-slots", "somebody looks", 0);
    brake(&fleet, "off");
    until_ran(&fleet, "room", "full-disk");
    until_ran(&fleet, "slot", "unread-slots");
    let gone = !leftover(&fleet).exists() && !output(&fleet).exists();
    assert!(gone, "nobody who lives needs it");
    assert_eq!(slots(&fleet), "0");
    let there_is_room = || {
        until(SOON, "there is room", || ["fine", "warn"].contains(&level(&fleet).as_str()));
        ["room", "slot"].iter().for_each(|service| serves(&fleet, service));
    };
    there_is_room();
    assert_eq!(kept(), whole, "nothing of what is kept was needed");
    // Not a block is left: what is done about it must be on disk first, all the same.
    fill(&fleet, 0);
    until(SOON, "full-disk runs again", || ran(&fleet, "room", "full-disk") == 2);
    there_is_room();
    until(SOON, "what is kept is whole again", || kept() == whole);
    // Once more, and it is for a person; and not for anybody while the observer is suspect.
    unread(&fleet);
    fill(&fleet, 40);
    for (service, remedy, times) in [("room", "full-disk", 2), ("slot", "unread-slots", 1)] {
        until_held(&fleet, service, remedy, "are used up", times);
        let why = held(&fleet, service);
        assert!(why.contains("a person must look, and it is tried again in"), "{why}");
    }
    let signal = |which| {
        ["h2", "h3"].iter().for_each(|host| fleet.signal(&format!("hosts/{host}/pid.json"), which));
    };
    signal(Signal::STOP);
    for (service, remedy, times) in [("room", "full-disk", 2), ("slot", "unread-slots", 1)] {
        let posture = "until the posture is no longer observer-suspect";
        until_held(&fleet, service, remedy, posture, times);
    }
    signal(Signal::CONT);
    fs::remove_file(output(&fleet)).expect("its own");
    there_is_room();
}
