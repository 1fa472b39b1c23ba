//! kill -9 of everything, alone and at once; a ledger of acknowledged writes is compared afterwards.

use rustix::process::Signal;

use crate::fleet::{BINARY, Fleet, Ledger, send, software, sql, until};

#[test]
fn a_killed_postmaster_comes_back_without_loss_and_its_recording_replays() {
    if !software("a_killed_postmaster_comes_back_without_loss_and_its_recording_replays") {
        return;
    }
    let mut fleet = Fleet::start("postmaster", &[]);
    fleet.create("orders");
    let ledger = Ledger::start(&fleet, "orders");
    for _ in 0..2 {
        let before = fleet.server("orders");
        send(before, Signal::KILL);
        until(30, "another server takes writes", || {
            let show = fleet.show("orders");
            show["state"] == "available" && show["members"][0]["pid"] != before
        });
    }
    // A backend's death is the server's: it must not go on with memory in doubt.
    let before = fleet.server("orders");
    let url = fleet.ok(&["url", "orders"]);
    let sleeper = std::thread::spawn(move || sql(url.trim(), "SELECT pg_sleep(29)"));
    let mut backend = None;
    until(10, "a client's backend is busy", || {
        let asked = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(29)'";
        let found = fleet.sql("orders", asked).expect("it serves");
        backend = found.first().map(|pid| pid.parse().expect("a process"));
        backend.is_some()
    });
    send(backend.expect("it sleeps"), Signal::KILL);
    let cut = sleeper.join().expect("it ended").expect_err("its backend was killed");
    assert!(!cut.contains("elapsed"), "{cut}");
    until(30, "the server was replaced", || {
        let show = fleet.show("orders");
        show["state"] == "available" && show["members"][0]["pid"] != before
    });
    ledger.check(&fleet, "orders");
    let journal = fleet.ok(&["journal", "--subject", "orders", "--limit", "200"]);
    assert!(journal.contains("health healthy -> unavailable"), "{journal}");
    assert!(journal.contains("the process died without an order"), "{journal}");
    assert!(journal.contains("remedy restart: its agent starts it again"), "{journal}");
    fleet.interrupt_up();
    let recordings = std::fs::read_dir(fleet.data.join("controller/recordings")).expect("recorded");
    let mut turns = 0;
    for file in recordings.filter_map(Result::ok) {
        let path = file.path();
        let replay = fleet.json(&["replay", path.to_str().expect("text")]);
        assert_eq!(replay["differing"], 0, "{}: {replay}", path.display());
        turns += replay["turns"].as_u64().unwrap_or(0);
    }
    assert!(turns > 50, "only {turns} turns were recorded");
}

#[test]
fn a_crash_loop_is_recovered_then_told() {
    if !software("a_crash_loop_is_recovered_then_told") {
        return;
    }
    let fleet = Fleet::start("loop", &["--hosts", "1"]);
    fleet.create("orders");
    let mut killed = 0;
    until(120, "the remedy for crash loops ran", || {
        let show = fleet.show("orders");
        if let Some(pid) = show["members"][0]["pid"].as_u64() {
            let pid = u32::try_from(pid).expect("a process");
            if evenkeel_drivers::process::state(pid).is_some() && killed < 7 {
                send(pid, Signal::KILL);
                killed += 1;
            }
        }
        fleet
            .ok(&["journal", "--subject", "orders", "--limit", "300"])
            .contains("act: recover by remedy crash-loop")
    });
    fleet.until_state(60, "orders", "available");
}

#[test]
fn a_killed_agent_disturbs_nothing_and_is_started_again() {
    if !software("a_killed_agent_disturbs_nothing_and_is_started_again") {
        return;
    }
    let fleet = Fleet::start("agent", &["--respawn-after", "9s"]);
    fleet.create("orders");
    let (server, host) = (fleet.server("orders"), fleet.host_of("orders"));
    let ledger = Ledger::start(&fleet, "orders");
    let file = format!("hosts/{host}/pid.json");
    let before = fleet.identity(&file);
    fleet.signal(&file, Signal::KILL);
    until(15, "the host is uncertain", || {
        fleet.json(&["host", "show", &host])["state"] == "uncertain"
    });
    assert_eq!(fleet.state("orders"), "available", "witnesses reach it");
    until(30, "the host is up again", || fleet.json(&["host", "show", &host])["state"] == "up");
    assert_ne!(fleet.identity(&file), before);
    assert_eq!(fleet.server("orders"), server, "the server was adopted, not restarted");
    ledger.check(&fleet, "orders");
}

#[test]
fn a_killed_gateway_is_started_again_and_serves_from_its_disk() {
    if !software("a_killed_gateway_is_started_again_and_serves_from_its_disk") {
        return;
    }
    let fleet = Fleet::start("gateway", &[]);
    fleet.create("orders");
    let before = fleet.identity("gateways/h1/pid.json");
    fleet.signal("gateways/h1/pid.json", Signal::KILL);
    until(20, "another gateway runs", || {
        let text = std::fs::read(fleet.data.join("gateways/h1/pid.json")).unwrap_or_default();
        serde_json::from_slice::<evenkeel_drivers::process::Identity>(&text)
            .is_ok_and(|now| now != before && now.lives())
    });
    until(20, "the endpoint serves", || fleet.sql("orders", "SELECT 1").is_ok());
}

#[test]
fn without_controller_and_agents_clients_are_served_and_all_is_known_again() {
    if !software("without_controller_and_agents_clients_are_served_and_all_is_known_again") {
        return;
    }
    let mut fleet = Fleet::start("control", &["--respawn-after", "never"]);
    fleet.create("orders");
    let (server, url) = (fleet.server("orders"), fleet.ok(&["url", "orders"]));
    let ledger = Ledger::start(&fleet, "orders");
    // One connection is open all the while, through the gateway.
    let held = std::thread::spawn(move || {
        crate::fleet::sql(url.trim(), "SELECT pg_sleep(8), 'still here'").map(|rows| rows.len())
    });
    fleet.kill_up();
    for host in ["h1", "h2", "h3"] {
        fleet.signal(&format!("hosts/{host}/pid.json"), Signal::KILL);
    }
    let (code, said) = fleet.fails(&["list"]);
    assert_eq!(code, 5, "{said}");
    fleet.up(&["--respawn-after", "never"]);
    fleet.until_state(30, "orders", "available");
    assert_eq!(fleet.server("orders"), server);
    assert_eq!(held.join().expect("joined").expect("never cut"), 1);
    ledger.check(&fleet, "orders");
}

#[test]
fn everything_killed_at_once_heals_without_loss() {
    if !software("everything_killed_at_once_heals_without_loss") {
        return;
    }
    let mut fleet = Fleet::start("all", &[]);
    fleet.create("orders");
    fleet.create("payments");
    let ledgers = ["orders", "payments"].map(|name| (name, Ledger::start(&fleet, name)));
    let servers = ["orders", "payments"].map(|name| fleet.server(name));
    fleet.kill_up();
    for host in ["h1", "h2", "h3"] {
        fleet.signal(&format!("hosts/{host}/pid.json"), Signal::KILL);
    }
    fleet.signal("gateways/h1/pid.json", Signal::KILL);
    servers.into_iter().for_each(|pid| send(pid, Signal::KILL));
    fleet.up(&[]);
    for (name, ledger) in ledgers {
        fleet.until_state(60, name, "available");
        until(30, "the endpoint serves", || fleet.sql(name, "SELECT 1").is_ok());
        ledger.check(&fleet, name);
    }
}

#[test]
fn ctrl_c_leaves_databases_serving_and_down_stops_them_by_identity() {
    if !software("ctrl_c_leaves_databases_serving_and_down_stops_them_by_identity") {
        return;
    }
    let mut fleet = Fleet::start("ctrlc", &["--hosts", "1"]);
    fleet.create("orders");
    let (server, url) = (fleet.server("orders"), fleet.ok(&["url", "orders"]));
    fleet.interrupt_up();
    let log = std::fs::read_to_string(fleet.data.with_extension("log")).expect("a log");
    assert!(log.contains("1 database goes on serving") && log.contains("evenkeel down"), "{log}");
    crate::fleet::sql(url.trim(), "SELECT 1").expect("it serves");
    let down = fleet.json(&["down"]);
    assert_eq!(
        (&down["agents"], &down["gateways"], &down["databases"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(evenkeel_drivers::process::state(server), None);
    assert!(fleet.ok(&["down"]).contains("nothing of"), "safe to repeat");
    assert!(std::path::Path::new(BINARY).exists());
}
