//! Who is let in, what is refused, what is shown.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use evenkeel_api::{Client, Error, JournalQuery, Way};
use evenkeel_controller::{Options, start, start_with};
use evenkeel_core::service::State;
use tokio::runtime::Runtime;

use crate::peer::Peer;
use crate::world::{World, new_service, parts, until};

/// Sends a request as it is and gives the whole answer.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    // A refused body may be answered before all of it was taken.
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn get(world: &World, path: &str, host: &str, token: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    raw(world.address(), &request)
}

fn post(world: &World, path: &str, length: usize, body: &str) -> String {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
        world.running().token
    );
    raw(world.address(), &request)
}

#[test]
fn only_the_token_lets_in() {
    let world = World::new();
    let wrong = Client::new(&world.address().to_string(), "wrong");
    assert!(matches!(wrong.fleet(), Err(Error::Unauthorised { .. })));
    assert!(matches!(wrong.metrics(), Err(Error::Unauthorised { .. })));
    wrong.healthz().unwrap();
    let answer = get(&world, "/v1/fleet", "localhost", "wrong");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("\"unauthorised\""), "{answer}");
    let in_query = format!("/v1/fleet?token={}", world.running().token);
    assert!(get(&world, &in_query, "localhost", "").starts_with("HTTP/1.1 401"));
    for path in ["/v1/stream/agent", "/v1/stream/gateway"] {
        let refused = Peer::open(world.address(), path, "wrong").err().unwrap();
        assert!(refused.contains("401"), "{refused}");
    }
    world.client.fleet().unwrap();
}

#[test]
fn only_known_hosts_are_answered_to() {
    let world = World::with(|options| options.allowed_hosts = vec!["Db.example".to_owned()]);
    let token = world.running().token.clone();
    for (host, status) in [
        ("localhost:1", "200"),
        ("127.0.0.1", "200"),
        ("[::1]:9", "200"),
        ("db.Example:80", "200"),
        ("evil.example", "403"),
        ("127.0.0.1.evil.example", "403"),
        ("localhost:x", "403"),
    ] {
        for path in ["/healthz", "/v1/fleet"] {
            let answer = get(&world, path, host, &token);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
        }
    }
}

#[test]
fn wrong_input_is_named() {
    let world = World::new();
    let refused = |answer: String, status: &str, words: &str| {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(words), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        serde_json::from_str::<evenkeel_api::ErrorBody>(body).unwrap();
    };
    let services = "/v1/services";
    refused(post(&world, services, 5, "{nope"), "400", "not what is asked for");
    refused(post(&world, services, 13, "{\"name\":\"a\"} "), "400", "missing field `kind`");
    let more = "{\"name\":\"a\",\"kind\":\"toy\",\"pla\":\"dev\"}";
    refused(post(&world, services, more.len(), more), "400", "unknown field `pla`");
    let large = "x".repeat(100 << 10);
    refused(post(&world, services, large.len(), &large), "413", "larger than");
    let token = world.running().token.clone();
    refused(get(&world, "/v1/journal?limit=x", "localhost", &token), "400", "query");
    refused(get(&world, "/v1/nothing", "localhost", &token), "404", "no_such_path");
    refused(get(&world, "/v1/services/a/restart", "localhost", &token), "405", "no_such_method");
    refused(get(&world, "/v1/stream/agent", "localhost", &token), "426", "upgrade_required");

    let code = |error: Error| error.code().map(str::to_owned);
    let _agent = world.agent("h1");
    let bad = world.create("Bad Name").unwrap_err();
    assert!(matches!(bad, Error::Refused { status: 400, .. }), "{bad:?}");
    assert_eq!(code(bad).as_deref(), Some("bad_name"));
    let mut of_no_kind = new_service("orders");
    of_no_kind.kind = "nokind".to_owned();
    let no_kind = world.client.create(&of_no_kind).unwrap_err();
    assert!(matches!(no_kind, Error::Refused { status: 422, .. }), "{no_kind:?}");
    assert!(matches!(world.client.service("a/b"), Err(Error::Refused { status: 404, .. })));
    assert!(matches!(world.client.kind("x"), Err(Error::Refused { status: 404, .. })));
    world.create("orders").unwrap();
    let taken = world.create("orders").unwrap_err();
    assert!(matches!(taken, Error::Refused { status: 409, .. }), "{taken:?}");
    let unconfirmed = world.client.terminate("orders", "order").unwrap_err();
    assert!(matches!(unconfirmed, Error::Refused { status: 422, .. }), "{unconfirmed:?}");
}

#[test]
fn a_service_is_installed_and_shown_everywhere() {
    let world = World::new();
    let mut agent = world.agent("h1");
    let mut gateway = world.gateway("h1");
    world.create("orders").unwrap();
    agent.obey();
    gateway.take();
    let client = &world.client;
    until("available", || client.service("orders").unwrap().state == State::Available);
    assert_eq!(client.services().unwrap().len(), 1);
    assert_eq!(client.explain("orders").unwrap().service.name, "orders");
    assert_eq!(client.hosts().unwrap()[0].name, "h1");
    assert_eq!(client.host("h1").unwrap().members, 1);
    assert_eq!(client.kinds().unwrap()[0].name, "toy");
    let page = client.kind("toy").unwrap();
    assert!(page.phase_diagram.starts_with("stateDiagram") && page.member_table.contains("| Hung"));
    assert_eq!(client.openapi().unwrap(), evenkeel_api::openapi());

    let url = client.url("orders", Way::Endpoint).unwrap();
    let direct = client.url("orders", Way::Direct).unwrap();
    let service = client.service("orders").unwrap();
    assert_eq!(url.port, service.endpoint_port);
    assert_eq!(direct.port, service.members[0].port);
    assert_eq!((url.user.as_str(), url.password.len()), ("orders", 32));
    assert_eq!(url.password, direct.password, "derived again, the same");
    let expected = format!("toy://orders:{}@127.0.0.1:{}/orders", url.password, url.port);
    assert_eq!(url.url, expected);
    assert!(!serde_json::to_string(&service).unwrap().contains(&url.password));

    let metrics = client.metrics().unwrap();
    for line in [
        "evenkeel_services{kind=\"toy\",plan=\"dev\",zone=\"a\",state=\"available\"} 1",
        "evenkeel_hosts{zone=\"a\",state=\"up\"} 1",
        "evenkeel_gateways{current=\"true\"} 1",
        "evenkeel_agent_streams 1",
        "evenkeel_orders_total 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    let doctor = client.doctor().unwrap();
    let ill: Vec<&str> = doctor.iter().filter(|i| !i.ok).map(|i| i.name.as_str()).collect();
    assert_eq!(ill, ["fleet key"], "{doctor:?}");
    std::fs::write(world.dir.path().join("fleet.key.saved"), "").unwrap();
    assert!(client.doctor().unwrap().iter().all(|item| item.ok));
}

#[test]
fn the_verifier_a_server_gets_is_of_the_password_that_is_shown() {
    let world = World::new();
    let mut agent = world.agent("h1");
    world.create("orders").unwrap();
    let goals = agent.goals();
    let password = world.client.url("orders", Way::Direct).unwrap().password;
    assert_eq!(goals[0].logins[0].verifier, password, "the toy's verifier is the password");
}

#[test]
fn events_come_once_and_go_on_where_they_broke() {
    let world = World::new();
    let _agent = world.agent("h1");
    let mut events = world.client.events(None).unwrap();
    let began = events.position();
    world.create("one").unwrap();
    let first = events.next().unwrap().unwrap();
    assert_eq!(first.position, began + 1);
    drop(events);
    world.create("two").unwrap();
    let resumed = world.client.events(Some(first.position)).unwrap();
    let query = JournalQuery { after: Some(first.position), ..JournalQuery::default() };
    let journal = world.client.journal(&query).unwrap();
    assert!(journal.iter().any(|entry| entry.subject == "two"));
    let seen: Vec<_> = resumed.take(journal.len()).map(Result::unwrap).collect();
    assert_eq!(seen, journal, "no gap, nothing twice");

    let header = format!("Host: localhost\r\nAuthorization: Bearer {}\r\n", world.running().token);
    let request = format!("GET /v1/events HTTP/1.1\r\n{header}Last-Event-ID: {began}\r\n\r\n");
    let mut stream = TcpStream::connect(world.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !text.contains(&format!("id: {}\n", began + 2)) {
        let length = stream.read(&mut chunk).unwrap();
        text.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
    }
    assert!(text.contains(&format!("id: {}\n", began + 1)), "{text}");
}

#[test]
fn the_journal_is_asked_by_subject_and_in_parts() {
    let world = World::new();
    let _agent = world.agent("h1");
    world.create("one").unwrap();
    world.create("two").unwrap();
    let of = |subject: Option<&str>, after, limit| {
        let query = JournalQuery { subject: subject.map(str::to_owned), after, limit };
        world.client.journal(&query).unwrap()
    };
    assert!(of(Some("two"), None, None).iter().all(|entry| entry.subject == "two"));
    let all = of(None, Some(0), None);
    assert_eq!(of(None, None, Some(1)), all[all.len() - 1..]);
    assert_eq!(of(None, Some(1), Some(2)), all[1..3]);
    let links = all.iter().scan(evenkeel_core::journal::GENESIS, |previous, entry| {
        let plain = evenkeel_core::journal::Entry {
            at: entry.at,
            topic: entry.topic,
            subject: entry.subject.clone(),
            text: entry.text.clone(),
            evidence: entry.evidence.clone(),
        };
        *previous = evenkeel_core::journal::chain(*previous, &plain);
        Some(*previous)
    });
    assert!(links.eq(all.iter().map(|entry| entry.link)), "the chain can be checked from outside");
}

#[test]
fn the_embedded_store_and_the_real_kinds_are_the_default() {
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut position = 0;
    for _ in 0..2 {
        let options = Options::new(dir.path().join("controller"));
        let running = runtime.block_on(start(options)).unwrap();
        let client = Client::new(&running.address.to_string(), &running.token);
        assert_eq!(client.kinds().unwrap()[0].name, "postgres");
        let mut orders = new_service("orders");
        orders.kind = "postgres".to_owned();
        let nowhere = client.create(&orders).unwrap_err();
        assert_eq!(nowhere.code(), Some("nowhere"), "{nowhere:?}");
        let last = client.journal(&JournalQuery::default()).unwrap().pop().unwrap();
        assert!(last.position > position, "the journal goes on");
        position = last.position;
        runtime.block_on(running.stop());
    }
}

#[test]
fn one_directory_one_controller_and_taken_ports_are_named() {
    let mut world = World::new();
    let start = |world: &World, options: Options| {
        world.runtime.block_on(start_with(options, parts(&world.store)))
    };
    let options = Options::new(world.dir.path().to_owned());
    let second = start(&world, options.clone()).unwrap_err().to_string();
    assert!(second.contains(&std::process::id().to_string()), "{second}");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut taken = Options::new(elsewhere.path().to_owned());
    taken.listen = world.address();
    let refused = start(&world, taken).unwrap_err().to_string();
    assert!(refused.contains(&world.address().to_string()), "{refused}");
    let text = std::fs::read_to_string(world.dir.path().join("controller.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["address"], world.address().to_string());
    assert_eq!(told["token"], world.running().token);
    world.stop();
    let third = start(&world, options).unwrap();
    world.runtime.block_on(third.stop());
}
