//! The engine alone: memory of a quiet service, time of a turn that changes nothing.
//!
//! The fleet is made through cells' own inboxes, as agents would make it. Ports are unique within a
//! cell, so many services are many cells, as in production.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_core::cell::{Beat, Cell, Entry, Link, Send, Setup};
use evenkeel_core::check;
use evenkeel_core::goal::{Goal, StoreId};
use evenkeel_core::id::{CellId, MemberId};
use evenkeel_core::member::State;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::{self, FromAgent, Hello, Mark, Member, ToAgent};
use evenkeel_core::route::{FromGateway, ToGateway};
use evenkeel_core::time::{Span, Time};

use crate::failure::{Failure, Kind};
use crate::print;

/// Services of one cell: two ports each of the range.
const PER_CELL: u32 = 5_000;
/// Hosts of one cell.
const HOSTS: u64 = 10;
/// Services created in one turn.
const BATCH: usize = 50;
/// Seconds after which nothing of an install is pending any more.
const QUIET_AFTER_S: u32 = 1200;
/// Turns measured in one run, and runs.
const TURNS: usize = 10_000;
const RUNS: usize = 5;

/// Measures and prints.
pub fn run(services: u32) -> Result<(), Failure> {
    // One for all: its bytes do not matter here, and making them would take minutes.
    let secret = evenkeel_kinds::KINDS[0].secret("", &[0; 16]);
    let before = resident_bytes()?;
    let began = Instant::now();
    let mut worlds: Vec<World> = Vec::new();
    let mut left = services;
    while left > 0 {
        let here = left.min(PER_CELL);
        let number = u32::try_from(worlds.len()).unwrap_or(u32::MAX);
        worlds.push(World::new(number, here, &secret));
        left -= here;
    }
    let created_s = began.elapsed().as_secs_f64();
    let after = resident_bytes()?;
    let per_service = (after.saturating_sub(before)) / u64::from(services.max(1));
    let mut micros = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        for turn in 0..TURNS {
            let at = turn % worlds.len();
            worlds[at].quiet_turn(Span::millis(100));
        }
        let turns = u32::try_from(TURNS).unwrap_or(u32::MAX);
        micros.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(turns));
    }
    micros.sort_by(f64::total_cmp);
    print::json(&serde_json::json!({
        "services": services,
        "cells": worlds.len(),
        "created_s": created_s,
        "resident_bytes_per_quiet_service": per_service,
        "quiet_turn_us": { "min": micros[0], "median": micros[RUNS / 2], "max": micros[RUNS - 1] },
    }))
}

fn resident_bytes() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    pages
        .map(|pages| pages * page)
        .ok_or_else(|| Failure::new(Kind::Failed, "/proc/self/statm cannot be read"))
}

/// One cell and the digests its agents beat with.
struct World {
    cell: Cell,
    now: Time,
    digests: Vec<evenkeel_core::digest::Digest>,
    beats: u64,
}

impl World {
    fn new(number: u32, services: u32, secret: &[u8]) -> Self {
        let setup = Setup {
            cell: CellId(number),
            store: StoreId("bench".to_owned()),
            policy: Policy::default(),
            kinds: evenkeel_kinds::KINDS,
            remedies: Arc::new(evenkeel_kinds::remedies::bundled()),
        };
        let mut cell = Cell::new(setup);
        let now = Time(1);
        let hellos: Vec<Entry> = (1..=HOSTS).flat_map(hello).collect();
        let gateway = FromGateway::Hello {
            gateway: "g".to_owned(),
            address: "127.0.0.1".to_owned(),
            pid: 1,
            routes: 0,
        };
        cell.turn(now, &hellos);
        cell.turn(now, &[Entry::Gateway { link: Link(0), message: gateway }]);
        let mut members: Vec<BTreeMap<MemberId, Mark>> =
            (0..HOSTS).map(|_| BTreeMap::new()).collect();
        // In batches, as an import would be: what a turn needs for itself is not measured with it.
        let numbers: Vec<u32> = (0..services).collect();
        for batch in numbers.chunks(BATCH) {
            let mut inbox: Vec<Entry> = batch.iter().map(|n| create(number, *n, secret)).collect();
            while !inbox.is_empty() {
                let turn = cell.turn(now, &inbox);
                inbox = answers(turn.sends, &mut members);
            }
        }
        let digests = members.iter().map(|m| report::digest_of(m.values().copied())).collect();
        let mut world = Self { cell, now, digests, beats: 0 };
        // Until the deadlines of its installs have passed, a service is not quiet.
        (0..QUIET_AFTER_S).for_each(|_| world.quiet_turn(Span::secs(1)));
        world
    }

    /// A window's beats, and nothing else.
    fn quiet_turn(&mut self, later: Span) {
        self.beats += 1;
        self.now = self.now + later;
        let beat = |(host, digest): (u64, &evenkeel_core::digest::Digest)| Beat {
            link: Link(host),
            number: self.beats,
            digest: *digest,
            answer: false,
        };
        let beats = (1..).zip(&self.digests).map(beat).collect();
        let turn = self.cell.turn(self.now, &[Entry::Beats(beats)]);
        assert!(turn.writes.is_empty() && turn.sends.is_empty(), "a quiet turn says nothing");
    }
}

fn hello(host: u64) -> [Entry; 2] {
    let hello = Hello {
        host: format!("h{host}"),
        zone: ["a", "b", "c"][usize::try_from(host % 3).unwrap_or(0)].to_owned(),
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
    };
    let link = Link(host);
    let none = FromAgent::Members { whole: true, members: Vec::new() };
    [Entry::Agent { link, message: FromAgent::Hello(hello) }, Entry::Agent { link, message: none }]
}

fn create(cell: u32, number: u32, secret: &[u8]) -> Entry {
    let kind = evenkeel_kinds::KINDS[0];
    let mut salt = [0; 16];
    salt[..4].copy_from_slice(&number.to_be_bytes());
    salt[4..8].copy_from_slice(&cell.to_be_bytes());
    let mut secret = secret.to_vec();
    secret[..16].copy_from_slice(&salt);
    let order = Order::Create {
        name: format!("customer-{cell}-{number}"),
        kind: kind.name().to_owned(),
        plan: None,
        secret,
        keys: None,
    };
    Entry::Order { ticket: 0, by: "bench".to_owned(), order }
}

/// What obedient agents and a gateway answer.
fn answers(sends: Vec<Send>, members: &mut [BTreeMap<MemberId, Mark>]) -> Vec<Entry> {
    let mut inbox = Vec::new();
    for send in sends {
        match send {
            Send::Agent { link, message: ToAgent::Goals { goals, .. } } => {
                let reports: Vec<Member> = goals.iter().map(ready).collect();
                let host = usize::try_from(link.0 - 1).unwrap_or(0);
                members[host].extend(reports.iter().map(|m| (m.member, report::mark(m))));
                let message = FromAgent::Members { whole: false, members: reports };
                inbox.push(Entry::Agent { link, message });
            }
            Send::Gateway { link, message: ToGateway::Routes { routes, .. } } => {
                let message = FromGateway::Took { routes, failed: Vec::new() };
                inbox.push(Entry::Gateway { link, message });
            }
            _ => {}
        }
    }
    inbox
}

/// A member that serves, with the finding every service of the plan has.
fn ready(goal: &Goal) -> Member {
    Member {
        member: goal.member,
        incarnation: goal.incarnation,
        pledged: goal.term,
        applied: (goal.term, goal.revision),
        state: State::Ready,
        pid: Some(1000 + goal.member.0),
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
