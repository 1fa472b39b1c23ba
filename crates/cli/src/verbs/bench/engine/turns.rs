//! Transitions of the real engine's cells over distinct services, recorded, synced and acted on.
//!
//! The story: services die, some of each cell of a group, and come back a round later. A round is one turn of
//! each cell that is concerned and one synced commit of all of them; what they send leaves after it, and only
//! then agents answer it. While one round is synced, the next is decided: so a service that died comes back no
//! earlier than the round after the next, when what was sent about it was released.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use evenkeel_core::cell::Send;
use evenkeel_core::id::CellId;
use evenkeel_core::journal::Topic;
use evenkeel_core::row::{Table, Writes};
use evenkeel_core::time::Span;
use evenkeel_core::wire;
use evenkeel_store::{Store as _, sqlite};
use serde_json::{Value, json};

use super::fill::failed;
use super::fleet::{self, Given, Seat};
use super::process::{self, rounded};
use super::sizes::Sizes;
use crate::failure::{Failure, Kind};
use crate::print;

/// Cells that turn in one round at most.
const ROUND_CELLS_MAX: usize = 20;
/// Services that die in one round at most.
const ROUND_DEATHS_MAX: usize = 4_000;
/// A service that died is back after so long by its cell's clock.
const BACK_AFTER: Span = Span::secs(1);
/// Each dies again no earlier than this, by its cell's clock: sooner would be a crash loop, which is another story.
const AGAIN_AFTER: Span = Span::mins(60);
/// A tail so much shorter than the longest permitted is as long as it gets: the next commits do not fit.
const TAIL_SLACK: u64 = 16 << 20;

/// When it is over.
#[derive(Clone, Copy)]
enum Until {
    Lasted(Duration),
    /// The tail is so long, in bytes of rows.
    Tail(u64),
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    commits: u64,
    /// Rows of services: each is one service that moved, once in a round.
    moved: u64,
    /// Steps of machines, by their entries.
    transitions: u64,
    entries: u64,
    sends: u64,
    send_bytes: u64,
}

/// Resident memory of the engine alone: all cells after a start, with every host heard and quiet.
pub fn rest(sizes: &Sizes, dir: &Path) -> Result<Value, Failure> {
    let (mut store, mut seats) = fleet::open(dir, sizes, sqlite::Options::default())?;
    for (n, (seat, size)) in seats.iter_mut().zip(sizes.cells()).enumerate() {
        for given in seat.dial(n, &size, false) {
            store.commit(given.cell, &given.writes).map_err(failed)?;
        }
    }
    let began = Instant::now();
    for (n, seat) in seats.iter_mut().enumerate() {
        let given = seat.turn(n, Span::millis(500), Vec::new());
        store.commit(given.cell, &given.writes).map_err(failed)?;
    }
    let micros = began.elapsed().as_secs_f64() * 1e6 / process::float(seats.len() as u64);
    let rss = process::resident_bytes(std::process::id())?;
    Ok(json!({
        "cells": seats.len(),
        "rss_bytes": rss,
        "bytes_per_service": rss / u64::from(sizes.services),
        "turn_in_which_all_hosts_are_heard_us": rounded(micros, 1),
    }))
}

/// Transitions for so long; afterwards, if that is wanted, until the store's tail is as long as it may be.
pub fn run(sizes: &Sizes, dir: &Path, lasts: Duration, lengthen: bool) -> Result<Value, Failure> {
    let (mut store, mut seats) = fleet::open(dir, sizes, sqlite::Options::default())?;
    for (n, (seat, size)) in seats.iter_mut().zip(sizes.cells()).enumerate() {
        for given in seat.dial(n, &size, true) {
            store.commit(given.cell, &given.writes).map_err(failed)?;
        }
    }
    let mut next = 0;
    print::note(&format!("transitions for {} s", lasts.as_secs()));
    let (store, measured) = go(store, &mut seats, &mut next, Until::Lasted(lasts))?;
    let mut figures = measured;
    if lengthen {
        print::note("the store's tail is made as long as it may be");
        drop(store);
        let mut options = sqlite::Options::default();
        options.limits.step_blocks_max = 0;
        let store = sqlite::open_with(&dir.join("store.db"), options).map_err(failed)?;
        let until = Until::Tail(sqlite::TAIL_RAW_MAX - TAIL_SLACK);
        let (store, _) = go(store, &mut seats, &mut next, until)?;
        figures["tail_row_bytes"] = store.tail().1.into();
    }
    Ok(figures)
}

type Round = (u64, Vec<Given>);

/// Rounds until it is over: decided here, recorded by another thread.
fn go(
    store: sqlite::Sqlite,
    seats: &mut [Seat],
    next: &mut usize,
    until: Until,
) -> Result<(sqlite::Sqlite, Value), Failure> {
    let over = &AtomicBool::new(false);
    let (rounds, to_record) = mpsc::sync_channel::<Round>(1);
    let (release, released) = mpsc::channel::<Round>();
    std::thread::scope(|scope| {
        let recording = scope.spawn(move || record(store, &to_record, &release, until, over));
        let mut engine = Engine { seats, released, seen: 0, made: 0 };
        engine.run(next, &rounds, over);
        drop(rounds);
        recording.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    })
}

/// The cells' side.
struct Engine<'a> {
    seats: &'a mut [Seat],
    released: mpsc::Receiver<Round>,
    /// Rounds that were released.
    seen: u64,
    made: u64,
}

impl Engine<'_> {
    fn run(&mut self, next: &mut usize, rounds: &mpsc::SyncSender<Round>, over: &AtomicBool) {
        // Two groups at least, where there are two cells: one dies while the other's rest is synced.
        let group = self.seats.len().div_ceil(2).min(ROUND_CELLS_MAX);
        let smallest = self.seats.iter().map(Seat::members).min().unwrap_or(0);
        // Half of a cell at most: the others go on meanwhile.
        let deaths = (ROUND_DEATHS_MAX / group).min(smallest.div_ceil(2)).max(1);
        let (groups, chunks) = (self.seats.len().div_ceil(group), smallest.div_ceil(deaths));
        let between = Span(AGAIN_AFTER.0 / chunks as u64);
        let place = |n: usize| {
            let (cells, chunk) = (n % groups * group, n / groups % chunks);
            (cells..cells + group, chunk * deaths..(chunk + 1) * deaths)
        };
        let mut dead: std::collections::VecDeque<(usize, u64)> = std::collections::VecDeque::new();
        loop {
            let ends = over.load(Ordering::Relaxed);
            if !ends {
                let sent = self.round(&place(*next), true, between, rounds);
                dead.push_back((*next, self.made));
                *next += 1;
                if !sent {
                    return;
                }
            }
            // With one cell, each comes back right after; with more, while others die.
            let waits = usize::from(groups > 1 && !ends);
            while dead.len() > waits {
                let Some((at, made)) = dead.pop_front() else { break };
                self.wait_for(made);
                if !self.round(&place(at), false, BACK_AFTER, rounds) {
                    return;
                }
            }
            if ends {
                return;
            }
        }
    }

    /// Waits until what a round sent was released, and lets agents take it.
    fn wait_for(&mut self, round: u64) {
        while self.seen < round {
            let Ok(released) = self.released.recv() else { return };
            self.take(released);
        }
    }

    fn take(&mut self, (number, givens): Round) {
        self.seen = number;
        for given in givens {
            for send in &given.sends {
                self.seats[given.seat].take(send);
            }
        }
    }

    fn round(
        &mut self,
        (cells, which): &(std::ops::Range<usize>, std::ops::Range<usize>),
        dead: bool,
        later: Span,
        rounds: &mpsc::SyncSender<Round>,
    ) -> bool {
        while let Ok(released) = self.released.try_recv() {
            self.take(released);
        }
        let mut givens = Vec::with_capacity(cells.len());
        for n in cells.start..cells.end.min(self.seats.len()) {
            let seat = &mut self.seats[n];
            let inbox = seat.change(which.start..which.end.min(seat.members()), dead);
            givens.push(seat.turn(n, later, inbox));
        }
        self.made += 1;
        rounds.send((self.made, givens)).is_ok()
    }
}

/// The store's side: a commit of all turns of a round, and then its sends.
fn record(
    mut store: sqlite::Sqlite,
    rounds: &mpsc::Receiver<Round>,
    release: &mpsc::Sender<Round>,
    until: Until,
    over: &AtomicBool,
) -> Result<(sqlite::Sqlite, Value), Failure> {
    let (began, mut seconds) = (Instant::now(), Seconds::default());
    let (mut counted, mut times, mut in_store) = (Counted::default(), Vec::new(), Duration::ZERO);
    let mut noted = Instant::now();
    for (number, givens) in rounds {
        let batch: Vec<(CellId, &Writes)> = givens.iter().map(|g| (g.cell, &g.writes)).collect();
        let commit = Instant::now();
        store.commit_batch(&batch).map_err(failed)?;
        let took = commit.elapsed();
        in_store += took;
        times.push(took.as_secs_f64() * 1e3);
        let before = counted;
        counted.take(&givens);
        seconds.add(counted.moved - before.moved, counted.transitions - before.transitions);
        // Who decides may have ended.
        let _ = release.send((number, givens));
        let ends = match until {
            Until::Lasted(lasts) => began.elapsed() >= lasts,
            Until::Tail(bytes) => store.tail().1 >= bytes,
        };
        over.fetch_or(ends, Ordering::Relaxed);
        if noted.elapsed() >= Duration::from_secs(30) {
            noted = Instant::now();
            let rate = process::float(counted.transitions) / began.elapsed().as_secs_f64();
            print::note(&format!("{rate:.0} durable transitions a second so far"));
        }
    }
    let lasted = began.elapsed().as_secs_f64();
    let per_second = |n: u64| (process::float(n) / lasted).round();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        rounded(times.get(times.len() * percent / 100).or(times.last()).copied().unwrap_or(0.0), 1)
    };
    let busy = in_store.as_secs_f64() / lasted;
    let figures = json!({
        "durable_transitions_per_second": per_second(counted.transitions),
        "services_moved_per_second": per_second(counted.moved),
        "per_second": seconds.figures(),
        "seconds": rounded(lasted, 1),
        "services_moved": counted.moved,
        "transitions": counted.transitions,
        "journal_entries": counted.entries,
        "commits": counted.commits,
        "commit_ms": { "median": at(50), "p99": at(99), "longest": at(100) },
        "share_of_time_in_the_store": rounded(busy, 3),
        "sends_released": counted.sends,
        "send_bytes": counted.send_bytes,
    });
    if counted.commits == 0 {
        return Err(Failure::new(Kind::Failed, "nothing was recorded"));
    }
    Ok((store, figures))
}

impl Counted {
    /// Counts a round that is synced, and makes frames of what it sends as a controller would.
    fn take(&mut self, givens: &[Given]) {
        self.commits += 1;
        for given in givens {
            let services = given.writes.rows.iter().filter(|row| row.key.table == Table::Service);
            self.moved += services.count() as u64;
            let entries = &given.writes.journal;
            self.entries += entries.len() as u64;
            let steps = entries.iter().filter(|e| e.topic == Topic::Transition);
            self.transitions += steps.count() as u64;
            for send in &given.sends {
                let frame = match send {
                    Send::Agent { message, .. } => wire::encode(message),
                    Send::Gateway { message, .. } => wire::encode(message),
                    _ => continue,
                };
                self.sends += 1;
                self.send_bytes += frame.len() as u64;
            }
        }
    }
}

/// Rates by the second.
#[derive(Default)]
struct Seconds {
    since: Option<Instant>,
    moved: u64,
    transitions: u64,
    rates: Vec<(f64, f64)>,
}

impl Seconds {
    fn add(&mut self, moved: u64, transitions: u64) {
        let since = *self.since.get_or_insert_with(Instant::now);
        (self.moved, self.transitions) = (self.moved + moved, self.transitions + transitions);
        let lasted = since.elapsed().as_secs_f64();
        if lasted >= 1.0 {
            let rate = |n| process::float(n) / lasted;
            self.rates.push((rate(self.transitions), rate(self.moved)));
            (self.since, self.moved, self.transitions) = (Some(Instant::now()), 0, 0);
        }
    }

    fn figures(mut self) -> Value {
        self.rates.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = |percent: usize| {
            let found = self.rates.get(self.rates.len() * percent / 100).or(self.rates.last());
            found.map(|(transitions, _)| transitions.round())
        };
        json!({ "min": at(0), "p5": at(5), "median": at(50), "max": at(100) })
    }
}
