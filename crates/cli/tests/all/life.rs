//! A service's whole life through the command line, and what is printed of it.

use crate::fleet::{Fleet, software, sql};

#[test]
fn a_service_lives_its_life_and_json_has_what_programs_need() {
    if !software("a_service_lives_its_life_and_json_has_what_programs_need") {
        return;
    }
    let fleet = Fleet::start("life", &[]);
    let said = fleet.ok(&["create", "postgres", "orders"]);
    assert!(said.contains("orders is available") && said.contains("evenkeel url orders"), "{said}");
    fleet.sql("orders", "CREATE TABLE t (a int); INSERT INTO t VALUES (7)").expect("writable");
    shown(&fleet);
    let direct = fleet.ok(&["url", "orders", "--direct"]);
    let port = fleet.show("orders")["members"][0]["port"].to_string();
    assert!(direct.contains(&format!(":{port}/")), "{direct}");
    assert_eq!(sql(direct.trim(), "SELECT a FROM t").expect("readable"), ["7"]);
    let wrong = direct.trim().replacen("://orders:", "://orders:x", 1);
    assert!(sql(&wrong, "SELECT 1").expect_err("refused").contains("password"));

    let before = fleet.server("orders");
    fleet.ok(&["restart", "orders"]);
    assert_ne!(fleet.server("orders"), before);
    fleet.ok(&["retire", "orders"]);
    assert_eq!(fleet.state("orders"), "retired");
    assert!(fleet.show("orders")["url"].is_null(), "the endpoint is closed");
    let (code, said) = fleet.fails(&["restart", "orders"]);
    assert_eq!(code, 4, "{said}");
    fleet.ok(&["revive", "orders"]);
    assert_eq!(fleet.sql("orders", "SELECT a FROM t").expect("readable"), ["7"]);

    let (code, said) = fleet.fails(&["terminate", "orders"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--confirm orders"), "{said}");
    fleet.ok(&["terminate", "orders", "--confirm", "orders"]);
    let (code, said) = fleet.fails(&["show", "orders"]);
    assert_eq!(code, 3, "{said}");
    let journal = fleet.ok(&["journal", "--subject", "orders", "--limit", "200"]);
    assert!(journal.contains("nothing remains but this journal"), "{journal}");
    refusals(&fleet);
}

fn shown(fleet: &Fleet) {
    let show = fleet.show("orders");
    let fields = [
        "name",
        "kind",
        "plan",
        "state",
        "phase",
        "health",
        "term",
        "url",
        "members",
        "operation",
        "findings",
    ];
    for field in fields {
        assert!(show.get(field).is_some(), "show has no {field}: {show}");
    }
    for field in ["id", "host", "role", "state", "pid", "port", "data_dir", "image"] {
        assert!(!show["members"][0][field].is_null(), "a member has no {field}: {show}");
    }
    let hosts = fleet.json(&["host", "list"]);
    for field in ["name", "zone", "state", "pid", "members"] {
        assert!(!hosts[0][field].is_null(), "a host has no {field}: {hosts}");
    }
    let explain = fleet.ok(&["explain", "orders"]);
    for part in ["seen", "decided", "hold: healthy", "journal", "install"] {
        assert!(explain.contains(part), "explain has no {part}: {explain}");
    }
    assert!(fleet.ok(&["kind", "show", "postgres", "--diagram"]).contains("stateDiagram-v2"));
    assert!(fleet.ok(&["kind", "list"]).contains("postgres"));
    // All is well but what only a person can do: keep a copy of the fleet's key elsewhere.
    let doctor = fleet.json(&["doctor"]);
    let items = doctor.as_array().expect("a list");
    let wrong: Vec<&str> =
        items.iter().filter(|i| i["ok"] == false).filter_map(|i| i["name"].as_str()).collect();
    assert_eq!(wrong.len(), 1, "{doctor}");
    assert!(wrong[0].contains("key"), "{doctor}");
    let metrics = fleet.json(&["list"]);
    assert_eq!(metrics.as_array().map(Vec::len), Some(1));
}

fn refusals(fleet: &Fleet) {
    let long = "x".repeat(60);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["create", "postgres", "Bad"], 2, "at position 1"),
        (&["create", "postgres", "a;b"], 2, "at position 2"),
        (&["create", "postgres", &long], 2, "too long"),
        (&["create", "postgres", "postgres"], 2, "reserved"),
        (&["create", "mysql", "a"], 2, "there are: postgres"),
        (&["create", "postgres", "a", "--plan", "huge"], 2, "there are: dev"),
        (&["restart", "nobody"], 3, "evenkeel list"),
    ];
    for (arguments, code, words) in cases {
        let (found, said) = fleet.fails(arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_port_in_use_is_left_to_whoever_has_it() {
    if !software("a_port_in_use_is_left_to_whoever_has_it") {
        return;
    }
    let fleet = Fleet::start("ports", &["--hosts", "1"]);
    // The first two ports that would be drawn: one endpoint, one member.
    let first = fleet.first_port();
    let held: Vec<_> = (first..first + 2)
        .filter_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok())
        .collect();
    fleet.create("orders");
    fleet.sql("orders", "SELECT 1").expect("it is served elsewhere");
    let journal = fleet.ok(&["journal", "--subject", "orders"]);
    assert!(held.is_empty() || journal.contains("held by another process"), "{journal}");
}

#[test]
fn a_directory_that_is_somebody_elses_is_told_and_left_alone() {
    if !software("a_directory_that_is_somebody_elses_is_told_and_left_alone") {
        return;
    }
    let fleet = Fleet::start("foreign", &["--hosts", "1"]);
    let theirs = fleet.data.join("hosts/h1/members/1/data");
    std::fs::create_dir_all(&theirs).expect("writable");
    std::fs::write(theirs.join("precious"), "mine").expect("writable");
    crate::fleet::give(&fleet, &theirs);
    fleet.ok(&["create", "postgres", "orders", "--no-wait"]);
    crate::fleet::until(30, "explain says whose it is", || {
        fleet.ok(&["explain", "orders"]).contains("somebody else's")
    });
    assert_eq!(std::fs::read_to_string(theirs.join("precious")).expect("there"), "mine");
    fleet.create("payments");
    fleet.sql("payments", "SELECT 1").expect("others are not concerned");
}
