//! SIGSTOP: what is there and answers nobody.

use rustix::process::Signal;

use crate::fleet::{Fleet, Ledger, send, software, until};

#[test]
fn a_stopped_postmaster_is_uncertain_then_recovered_without_loss() {
    if !software("a_stopped_postmaster_is_uncertain_then_recovered_without_loss") {
        return;
    }
    let fleet = Fleet::start("sigstop", &[]);
    fleet.create("orders");
    let ledger = Ledger::start(&fleet, "orders");
    let server = fleet.server("orders");
    // The postmaster alone: its sessions go on, and that must not hide it.
    send(server, Signal::STOP);
    until(40, "it is in doubt", || {
        ["uncertain", "unavailable", "restart"].contains(&fleet.state("orders").as_str())
    });
    until(60, "another server runs", || {
        let show = fleet.show("orders");
        show["state"] == "available" && show["members"][0]["pid"] != server
    });
    let journal = fleet.ok(&["journal", "--subject", "orders", "--limit", "200"]);
    assert!(journal.contains("act: recover by remedy hung"), "{journal}");
    ledger.check(&fleet, "orders");
}

#[test]
fn a_stopped_agent_is_silence_and_silence_is_not_death() {
    if !software("a_stopped_agent_is_silence_and_silence_is_not_death") {
        return;
    }
    let fleet = Fleet::start("stopagent", &[]);
    fleet.create("orders");
    let (server, host) = (fleet.server("orders"), fleet.host_of("orders"));
    let file = format!("hosts/{host}/pid.json");
    fleet.signal(&file, Signal::STOP);
    until(20, "the host is uncertain", || {
        fleet.json(&["host", "show", &host])["state"] == "uncertain"
    });
    let explain = fleet.ok(&["explain", "orders"]);
    assert!(explain.contains("witnesses reach it"), "{explain}");
    assert_eq!(fleet.state("orders"), "available");
    fleet.signal(&file, Signal::CONT);
    until(20, "the host is up", || fleet.json(&["host", "show", &host])["state"] == "up");
    assert_eq!(fleet.server("orders"), server);
}
