//! Services with standbys: nodes killed, frozen and thawed, standbys that go and come back, planned
//! switchovers. A ledger of acknowledged writes is compared after each: nothing is missing, ever.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::{Fleet, Ledger, send, software, sql, until};

/// What agents and databases take to notice, decide and be quick about it on a slow machine.
const SOON: u64 = 60;

fn create(fleet: &Fleet, name: &str, plan: &str) {
    fleet.ok(&["create", "postgres", name, "--plan", plan]);
}

/// A member by its part.
fn member(show: &Value, role: &str) -> Value {
    let members = show["members"].as_array().cloned().unwrap_or_default();
    members.into_iter().find(|member| member["role"] == role).unwrap_or_default()
}

fn primary(fleet: &Fleet, name: &str) -> u64 {
    member(&fleet.show(name), "primary")["id"].as_u64().expect("somebody is primary")
}

/// Waits until every standby is counted on again.
fn until_whole(fleet: &Fleet, name: &str) {
    until(SOON * 2, "every standby is counted on", || {
        let show = fleet.show(name);
        let members = show["members"].as_array().cloned().unwrap_or_default();
        show["state"] == "available"
            && show["failover"]["safe_now"] == true
            && show["operation"].is_null()
            && members.iter().all(|m| m["role"] == "primary" || m["sync"] == true)
    });
}

/// Every process of a member's host: its agent and its server with all its children.
fn node(fleet: &Fleet, name: &str, role: &str) -> Vec<u32> {
    node_with(fleet, &member(&fleet.show(name), role))
}

/// The same of a member as it is shown.
fn node_with(fleet: &Fleet, found: &Value) -> Vec<u32> {
    let server = u32::try_from(found["pid"].as_u64().expect("it runs")).expect("a process");
    let host = found["host"].as_str().expect("placed").to_owned();
    let agent = fleet.json(&["host", "show", &host])["pid"].as_u64().expect("its agent runs");
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let agent = u32::try_from(agent).expect("a process");
    [agent, server].into_iter().chain(children).collect()
}

fn send_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        // A child may have ended by itself meanwhile.
        if evenkeel_drivers::process::state(*pid).is_some() {
            send(*pid, signal);
        }
    }
}

#[test]
fn a_killed_node_loses_nothing_and_comes_back_as_a_standby() {
    if !software("a_killed_node_loses_nothing_and_comes_back_as_a_standby") {
        return;
    }
    let fleet = Fleet::start("node", &["--respawn-after", "5s"]);
    create(&fleet, "pay", "ha");
    let show = fleet.show("pay");
    assert_eq!(show["failover"]["because"], "n=1, k=1, reached 1, need 1");
    let zones = |member: &Value| member["host"].clone();
    assert_ne!(zones(&show["members"][0]), zones(&show["members"][1]), "one host, one member");
    let ledger = Ledger::start(&fleet, "pay");
    for _ in 0..2 {
        let before = primary(&fleet, "pay");
        send_all(&node(&fleet, "pay", "primary"), Signal::KILL);
        until(SOON, "its standby takes writes", || {
            let show = fleet.show("pay");
            let now = member(&show, "primary");
            show["state"] == "available" && now["id"] != before && now["state"] == "ready"
        });
        until_whole(&fleet, "pay");
        assert_eq!(member(&fleet.show("pay"), "standby")["id"], before, "it came back");
    }
    ledger.check(&fleet, "pay");
    let journal = fleet.ok(&["journal", "--subject", "pay", "--limit", "300"]);
    assert!(journal.contains("act: failover by remedy failover"), "{journal}");
    assert!(journal.contains("bytes of log that its primary does not have were set aside"));
}

#[test]
fn a_frozen_primary_that_thaws_acknowledges_nothing_any_more() {
    if !software("a_frozen_primary_that_thaws_acknowledges_nothing_any_more") {
        return;
    }
    let fleet = Fleet::start("frozen", &[]);
    create(&fleet, "pay", "ha3");
    let ledger = Ledger::start(&fleet, "pay");
    // A session that is open at the old primary itself, past every gateway.
    let old = member(&fleet.show("pay"), "primary");
    let answer = fleet.json(&["url", "pay"]);
    let direct = format!(
        "postgresql://pay:{}@127.0.0.1:{}/pay",
        answer["password"].as_str().expect("a password"),
        old["port"]
    );
    let frozen = node(&fleet, "pay", "primary");
    send_all(&frozen, Signal::STOP);
    let writer = std::thread::spawn(move || sql(&direct, "INSERT INTO ledger VALUES (-1)"));
    until(SOON, "another member takes writes", || {
        let now = member(&fleet.show("pay"), "primary");
        now["id"] != old["id"] && now["state"] == "ready"
    });
    send_all(&frozen, Signal::CONT);
    let late = writer.join().expect("it ends");
    assert!(late.is_err(), "a fenced primary acknowledged a write");
    until_whole(&fleet, "pay");
    assert_eq!(fleet.sql("pay", "SELECT n FROM ledger WHERE n = -1").expect("readable").len(), 0);
    ledger.check(&fleet, "pay");
}

#[test]
fn planned_switchovers_lose_nothing_and_refusals_say_why() {
    if !software("planned_switchovers_lose_nothing_and_refusals_say_why") {
        return;
    }
    let fleet = Fleet::start("switch", &[]);
    create(&fleet, "pay", "ha3");
    fleet.create("alone");
    let ledger = Ledger::start(&fleet, "pay");
    for _ in 0..3 {
        let before = primary(&fleet, "pay");
        fleet.ok(&["switchover", "pay"]);
        assert_ne!(primary(&fleet, "pay"), before);
        until_whole(&fleet, "pay");
    }
    let show = fleet.show("pay");
    let standby = member(&show, "standby");
    let host = standby["host"].as_str().expect("placed");
    fleet.ok(&["switchover", "pay", "--to", host]);
    assert_eq!(primary(&fleet, "pay"), standby["id"]);
    until_whole(&fleet, "pay");
    let before = primary(&fleet, "pay");
    fleet.ok(&["failover", "pay", "--reason", "a test"]);
    assert_ne!(primary(&fleet, "pay"), before);
    until_whole(&fleet, "pay");
    let drilled = fleet.json(&["drill", "failover", "pay"]);
    assert_eq!(drilled["lost"], 0, "{drilled}");
    assert!(drilled["acked"].as_u64() >= Some(40) && drilled["gap_ms"].as_u64() > Some(0));
    assert_ne!(drilled["old_primary"], drilled["new_primary"]);
    let journal = fleet.ok(&["journal", "--subject", "pay", "--limit", "300"]);
    assert!(journal.contains("ordered a drill: failover: write gap"), "{journal}");
    until_whole(&fleet, "pay");
    ledger.check(&fleet, "pay");
    let refused = |arguments: &[&str], words: &str| {
        let (_, text) = fleet.fails(arguments);
        assert!(text.contains(words), "{arguments:?}: {text}");
    };
    refused(&["switchover", "alone"], "has one member by its plan");
    refused(&["switchover", "pay", "--to", "nobody"], "has no standby \"nobody\"");
    refused(&["failover", "pay", "--reason", " "], "say why");
    refused(&["failover", "none", "--reason", "x"], "no service is named");
    let url = fleet.ok(&["url", "pay", "--direct"]);
    assert!(url.contains("target_session_attrs=read-write"), "{url}");
    assert_eq!(sql(url.trim(), "SELECT 1").expect("it finds the primary"), ["1"]);
}

#[test]
fn commits_wait_for_a_lost_standby_only_so_long_and_nobody_is_promoted_meanwhile() {
    if !software("commits_wait_for_a_lost_standby_only_so_long_and_nobody_is_promoted_meanwhile") {
        return;
    }
    let fleet = Fleet::start("relax", &["--respawn-after", "20s"]);
    create(&fleet, "pay", "ha");
    let ledger = Ledger::start(&fleet, "pay");
    let before = primary(&fleet, "pay");
    send_all(&node(&fleet, "pay", "standby"), Signal::KILL);
    let began = Instant::now();
    fleet.sql("pay", "INSERT INTO ledger VALUES (-1)").expect("acknowledged at last");
    assert!(began.elapsed() < Duration::from_secs(SOON));
    until(SOON, "it is told that there is only one copy", || {
        let show = fleet.show("pay");
        show["findings"].to_string().contains("acknowledged alone")
            && show["failover"]["safe_now"] == false
    });
    let (_, text) = fleet.fails(&["failover", "pay", "--reason", "a test"]);
    assert!(text.contains("without risk of loss"), "{text}");
    // It comes back by itself, and is counted on again.
    until_whole(&fleet, "pay");
    assert_eq!(primary(&fleet, "pay"), before, "nobody was promoted");
    ledger.check(&fleet, "pay");
}

#[test]
fn a_primary_restarted_with_waiting_commits_lets_nobody_see_them_early() {
    if !software("a_primary_restarted_with_waiting_commits_lets_nobody_see_them_early") {
        return;
    }
    // Nobody starts the standby's agent again, and only a person's word relaxes anything for long.
    let fleet = Fleet::start("waiting", &[]);
    create(&fleet, "pay", "ha");
    fleet.sql("pay", "CREATE TABLE seen (n int)").expect("made");
    let standby = node(&fleet, "pay", "standby");
    send_all(&standby, Signal::STOP);
    let url = fleet.ok(&["url", "pay"]);
    let writer = std::thread::spawn(move || sql(url.trim(), "INSERT INTO seen VALUES (1)"));
    let server = fleet.server("pay");
    until(10, "a commit waits", || {
        let busy = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        busy.unwrap_or_default().split_whitespace().any(|pid| {
            let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&title).contains("waiting for")
        })
    });
    send(server, Signal::KILL);
    assert!(writer.join().expect("it ends").is_err(), "it was not acknowledged");
    // While nobody else has it, nobody sees it: either clients wait, or it was relaxed on record.
    let mut seen = None;
    until(SOON, "clients are let in", || {
        seen = fleet.sql("pay", "SELECT n FROM seen").ok();
        seen.is_some()
    });
    let seen = seen.expect("waited for");
    let journal = fleet.ok(&["journal", "--subject", "pay", "--limit", "300"]);
    let relaxed = journal.contains("commits wait for nobody");
    assert!(seen.is_empty() || relaxed, "{seen:?} was seen before any other member had it");
    send_all(&standby, Signal::CONT);
    until_whole(&fleet, "pay");
}

/// A server's own command, as it was started; it runs as whoever ran it.
fn by_hand(server: u32) -> Command {
    let read = |name: &str| std::fs::read(format!("/proc/{server}/{name}")).expect("it runs");
    let parts = |bytes: Vec<u8>| -> Vec<String> {
        let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    };
    let program = std::fs::read_link(format!("/proc/{server}/exe")).expect("it runs");
    let owner = std::fs::metadata(format!("/proc/{server}")).expect("it runs");
    let mut command = Command::new(program);
    command.args(parts(read("cmdline")).iter().skip(1)).env_clear();
    let environment = parts(read("environ"));
    command.envs(environment.iter().filter_map(|pair| pair.split_once('=')));
    command.current_dir(std::fs::read_link(format!("/proc/{server}/cwd")).expect("it runs"));
    if rustix::process::getuid().is_root() {
        use std::os::unix::fs::MetadataExt;
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn an_old_primary_started_alone_after_everything_moved_on_acknowledges_nothing() {
    if !software("an_old_primary_started_alone_after_everything_moved_on_acknowledges_nothing") {
        return;
    }
    let fleet = Fleet::start("old", &["--respawn-after", "never"]);
    create(&fleet, "pay", "ha");
    let ledger = Ledger::start(&fleet, "pay");
    let old = member(&fleet.show("pay"), "primary");
    let data = old["data_dir"].as_str().expect("it has one").to_owned();
    let mut command = by_hand(fleet.server("pay"));
    send_all(&node(&fleet, "pay", "primary"), Signal::KILL);
    until(SOON, "its standby takes writes", || {
        let now = member(&fleet.show("pay"), "primary");
        now["id"] != old["id"] && now["state"] == "ready"
    });
    // No agent is there to stop it, and no setting says that it is no primary any more.
    // Where nobody reaps it a killed server looks alive to the next one; a person would remove its locks.
    let lock = format!("s/{}/.s.PGSQL.{}.lock", old["host"].as_str().expect("placed"), old["port"]);
    let _ = std::fs::remove_file(format!("{data}/postmaster.pid"));
    let _ = std::fs::remove_file(fleet.data.join(lock));
    let mut server = command.spawn().expect("it starts");
    let answer = fleet.json(&["url", "pay"]);
    let direct = format!(
        "postgresql://pay:{}@127.0.0.1:{}/pay?connect_timeout=2",
        answer["password"].as_str().expect("a password"),
        old["port"]
    );
    until(SOON, "it answers its own clients", || sql(&direct, "SELECT 1").is_ok());
    let late = std::thread::spawn(move || sql(&direct, "INSERT INTO ledger VALUES (-1)"));
    // Long enough for any commit that waits for nobody.
    let waited = Instant::now();
    until(SOON, "it was waited for", || waited.elapsed() > Duration::from_secs(3));
    assert!(!late.is_finished(), "an old primary answered a write");
    send(server.id(), Signal::KILL);
    server.wait().expect("it ended");
    assert!(late.join().expect("it ends").is_err(), "an old primary acknowledged a write");
    assert_eq!(fleet.sql("pay", "SELECT n FROM ledger WHERE n = -1").expect("readable").len(), 0);
    ledger.check(&fleet, "pay");
}

/// Every process of the host of a member.
fn node_of(fleet: &Fleet, name: &str, id: u64) -> Vec<u32> {
    let show = fleet.show(name);
    let members = show["members"].as_array().cloned().unwrap_or_default();
    let found = members.into_iter().find(|member| member["id"] == id).expect("it is there");
    node_with(fleet, &found)
}

#[test]
fn standbys_that_fail_and_return_in_every_order_lose_nothing() {
    if !software("standbys_that_fail_and_return_in_every_order_lose_nothing") {
        return;
    }
    let fleet = Fleet::start("orders", &[]);
    create(&fleet, "pay", "ha3");
    let ledger = Ledger::start(&fleet, "pay");
    let show = fleet.show("pay");
    let members = show["members"].as_array().cloned().unwrap_or_default();
    let standbys = members.iter().filter(|member| member["role"] == "standby");
    let ids: Vec<u64> = standbys.filter_map(|member| member["id"].as_u64()).collect();
    let [one, other] = ids[..] else { panic!("two standbys: {ids:?}") };
    let leader = primary(&fleet, "pay");
    for (a, b) in [(one, other), (other, one)] {
        // True: it fails. False: it returns.
        for order in [
            [(a, true), (a, false), (b, true), (b, false)],
            [(a, true), (b, true), (a, false), (b, false)],
            [(a, true), (b, true), (b, false), (a, false)],
        ] {
            let mut frozen: Vec<(u64, Vec<u32>)> = Vec::new();
            for (id, fails) in order {
                if fails {
                    let node = node_of(&fleet, "pay", id);
                    send_all(&node, Signal::STOP);
                    frozen.push((id, node));
                } else {
                    let at =
                        frozen.iter().position(|(frozen, _)| *frozen == id).expect("it failed");
                    send_all(&frozen.remove(at).1, Signal::CONT);
                }
                let gone: Vec<u64> = frozen.iter().map(|(id, _)| *id).collect();
                until(SOON, "who is counted on is known, and writes go on", || {
                    let show = fleet.show("pay");
                    let members = show["members"].as_array().cloned().unwrap_or_default();
                    let right = members.iter().filter(|m| m["role"] == "standby").all(|member| {
                        let gone = gone.iter().any(|id| member["id"] == *id);
                        (member["sync"] == true) != gone
                    });
                    // Commits wait for those who are there: one is enough, and without any nothing is safe.
                    let safe = show["failover"]["safe_now"] == true;
                    right
                        && safe == (gone.len() < ids.len())
                        && fleet.sql("pay", "CREATE TABLE IF NOT EXISTS x ()").is_ok()
                });
            }
            until_whole(&fleet, "pay");
        }
    }
    assert_eq!(primary(&fleet, "pay"), leader, "a lost standby is no reason to fail over");
    ledger.check(&fleet, "pay");
}
