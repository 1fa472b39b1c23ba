//! A store with a fleet that was installed long ago, made by the cells themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_core::cell::{Cell, Entry, Link, Send, Setup, Turn};
use evenkeel_core::check;
use evenkeel_core::goal::Goal;
use evenkeel_core::id::CellId;
use evenkeel_core::member::State;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::{FromAgent, Hello, Member, ToAgent};
use evenkeel_core::route::{FromGateway, ToGateway};
use evenkeel_core::row::{Key, Write, Writes};
use evenkeel_core::time::{Span, Time};
use evenkeel_store::{Store, sqlite};

use crate::Args;

/// Services created in one turn.
const BATCH: u32 = 50;
/// Seconds after which nothing of an install is pending any more.
const QUIET_AFTER_S: u64 = 1200;

pub fn fill(args: &Args) {
    let own = args.dir.join("key");
    std::fs::write(&own, [7; 32]).expect("a key");
    let key = evenkeel_controller::FleetKey::read(&own).expect("a key");
    key.write(&args.dir.join("fleet.key")).expect("the controller's");
    let mut store = sqlite::open(&args.dir.join("store.db")).expect("a store");
    let secret = evenkeel_kinds::KINDS[0].secret("", &[0; 16]);
    let mut hosts = args.streams;
    let mut cell = CellId(1);
    while hosts > 0 {
        let here = hosts.min(args.cell);
        let first = args.streams - hosts;
        let rows = rows(cell, &store, first..first + here, here * args.members, &secret);
        let rows = rows.into_iter().map(|(key, body)| Write { key, body: Some(body) }).collect();
        store.commit(cell, &Writes { rows, journal: Vec::new() }).expect("it is kept");
        hosts -= here;
        cell = cell.next();
    }
}

/// A cell's rows after its services were installed.
fn rows(
    id: CellId,
    store: &sqlite::Sqlite,
    hosts: std::ops::Range<u32>,
    services: u32,
    secret: &[u8],
) -> BTreeMap<Key, Vec<u8>> {
    let mut cell = Cell::new(Setup {
        cell: id,
        store: store.id(),
        policy: Policy::default(),
        kinds: evenkeel_kinds::KINDS,
        remedies: Arc::new(evenkeel_kinds::remedies::bundled()),
    });
    let mut rows = BTreeMap::new();
    let mut keep = |turn: Turn| {
        for write in turn.writes.rows {
            match write.body {
                Some(body) => drop(rows.insert(write.key, body)),
                None => drop(rows.remove(&write.key)),
            }
        }
        turn.sends
    };
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let now =
        Time(u64::try_from(wall.as_millis()).expect("a time")) - Span::secs(QUIET_AFTER_S * 2);
    let none = FromAgent::Members { whole: true, members: Vec::new() };
    let mut inbox: Vec<Entry> = Vec::new();
    for host in hosts {
        let link = Link(u64::from(host) + 1);
        inbox.push(Entry::Agent { link, message: FromAgent::Hello(hello(host)) });
        inbox.push(Entry::Agent { link, message: none.clone() });
    }
    keep(cell.turn(now, &inbox));
    let gateway = FromGateway::Hello {
        gateway: "g".to_owned(),
        address: "127.0.0.1".to_owned(),
        pid: 1,
        routes: 0,
    };
    keep(cell.turn(now, &[Entry::Gateway { link: Link(0), message: gateway }]));
    for first in (0..services).step_by(BATCH as usize) {
        let batch = first..services.min(first + BATCH);
        let mut inbox: Vec<Entry> = batch.map(|n| create(id, n, secret)).collect();
        while !inbox.is_empty() {
            inbox = answers(keep(cell.turn(now, &inbox)));
        }
    }
    keep(cell.turn(now + Span::secs(QUIET_AFTER_S), &[]));
    rows
}

pub fn hello(host: u32) -> Hello {
    Hello {
        host: format!("h{host}"),
        zone: ["a", "b", "c"][host as usize % 3].to_owned(),
        rack: None,
        address: "127.0.0.1".to_owned(),
        pid: 1,
        boot: "b".to_owned(),
        release: "bench".to_owned(),
        image: Some("0".repeat(64)),
        version: None,
        store: None,
        checks: Vec::new(),
        poolers: false,
    }
}

fn create(cell: CellId, number: u32, secret: &[u8]) -> Entry {
    let kind = evenkeel_kinds::KINDS[0];
    let mut secret = secret.to_vec();
    secret[..4].copy_from_slice(&number.to_be_bytes());
    secret[4..8].copy_from_slice(&cell.0.to_be_bytes());
    let order = Order::Create {
        name: format!("customer-{}-{number}", cell.0),
        kind: kind.name().to_owned(),
        plan: None,
        secret,
        keys: None,
    };
    Entry::Order { ticket: 0, by: "bench".to_owned(), order }
}

/// What obedient agents and a gateway answer.
fn answers(sends: Vec<Send>) -> Vec<Entry> {
    let answer = |send: Send| match send {
        Send::Agent { link, message: ToAgent::Goals { goals, .. } } => {
            let members = goals.iter().map(ready).collect();
            Some(Entry::Agent { link, message: FromAgent::Members { whole: false, members } })
        }
        Send::Gateway { link, message: ToGateway::Routes { routes, .. } } => {
            Some(Entry::Gateway { link, message: FromGateway::Took { routes, failed: Vec::new() } })
        }
        _ => None,
    };
    sends.into_iter().filter_map(answer).collect()
}

/// A member that serves, with the finding every service of the plan has.
pub fn ready(goal: &Goal) -> Member {
    Member {
        member: goal.member,
        incarnation: goal.incarnation,
        pledged: goal.term,
        applied: (goal.term, goal.revision),
        state: State::Ready,
        pid: Some(1000),
        restarts: goal.restarts,
        deaths: 0,
        write_proven: true,
        trouble: None,
        refused: None,
        port_taken: false,
        data_dir: format!("/var/lib/evenkeel/hosts/h/members/{}/data", goal.member.0),
        checks: vec![check::Result {
            check: "archive-configured".to_owned(),
            severity: check::Severity::Note,
            evidence: "no archive is configured: the data is nowhere else".to_owned(),
            items: Vec::new(),
        }],
        unread: check::Unread::default(),
        identity: goal.identity.clone(),
        replication: None,
        archive: None,
        import: None,
        script: None,
    }
}
