//! Hosts that go and do not come back.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    DISK_OFF, Rules, SOON, create, member, pid, serves, until_held, until_ran, until_whole,
};
use crate::fleet::{Fleet, send, software, until};

fn host(member: &Value) -> String {
    member["host"].as_str().expect("placed").to_owned()
}

/// A standby's host goes: its agent and its server at once.
fn lose(fleet: &Fleet) -> String {
    let standby = member(fleet, "pay", "standby");
    fleet.signal(&format!("hosts/{}/pid.json", host(&standby)), Signal::KILL);
    send(pid(&standby).expect("it ran"), Signal::KILL);
    host(&standby)
}

#[test]
fn a_lost_member_gets_a_successor_and_a_second_one_a_person() {
    if !software("a_lost_member_gets_a_successor_and_a_second_one_a_person") {
        return;
    }
    let policy = json!({ "rebuild_after": 3000, "backup_first_within": 3_600_000 });
    // Each loss is one of a standby that commits wait for, too.
    let relax = |name| (name, "tries_max = 1", "tries_max = 9");
    let rules = Rules::new("hosts", &policy, &[DISK_OFF, relax("relax"), relax("restore")]);
    let flags = ["--hosts", "5", "--pool", "0", "--respawn-after", "never"];
    let fleet = Fleet::start("hosts", &rules.with(&flags));
    create(&fleet, "pay", "ha");
    until_whole(&fleet, "pay");
    let mut others: Vec<String> = (1..=5).map(|n| format!("h{n}")).collect();
    let primary = host(&member(&fleet, "pay", "primary"));
    // With two others silent, in another zone than the first, the observer may be what is wrong.
    let lost = lose(&fleet);
    others.retain(|host| *host != primary && *host != lost);
    let stopped: Vec<String> = others.iter().take(2).cloned().collect();
    let signal = |which| {
        stopped.iter().for_each(|host| fleet.signal(&format!("hosts/{host}/pid.json"), which));
    };
    signal(Signal::STOP);
    let posture = "until the posture is no longer observer-suspect";
    until_held(&fleet, "pay", "rebuild", posture, 0);
    signal(Signal::CONT);
    until_ran(&fleet, "pay", "rebuild");
    until_whole(&fleet, "pay");
    serves(&fleet, "pay");
    let successor = host(&member(&fleet, "pay", "standby"));
    assert!(successor != lost && successor != primary, "{successor}");
    // A second one within the window is for a person.
    lose(&fleet);
    until_held(&fleet, "pay", "rebuild", "are used up", 1);
    until(SOON, "it serves alone", || fleet.sql("pay", "INSERT INTO kept VALUES (3)").is_ok());
}
