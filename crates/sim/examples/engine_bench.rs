//! What the engine alone costs: memory at rest, installs, transitions, quiet turns, a cold start.
//!
//! `cargo run --release -p evenkeel-sim --example engine_bench -- SERVICES HOSTS_PER_CELL
//! [--per-cell N] [--archives] [--only install,quiet,transitions,load]`

use std::time::Instant;

use evenkeel_core::cell::{Cell, Turn};
use evenkeel_core::journal::Topic;
use evenkeel_core::member::State;
use evenkeel_core::time::{Span, Time};
use evenkeel_sim::obedient::{Obedient, Recorded, Shape, setup};

const PARTS: [&str; 4] = ["install", "quiet", "transitions", "load"];
const RUNS: usize = 5;

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut sizes, mut archives, mut per_cell) = (Vec::new(), false, 5_000);
    let mut only: Vec<String> = PARTS.map(str::to_owned).into();
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("a flag with a value has one");
        match arg.as_str() {
            "--archives" => archives = true,
            "--per-cell" => per_cell = value().parse().expect("a number of services"),
            "--only" => only = value().split(',').map(str::to_owned).collect(),
            size => sizes.push(size.parse::<u32>().expect("SERVICES HOSTS_PER_CELL")),
        }
    }
    let services = sizes.first().copied().unwrap_or(5_000);
    let shape = Shape {
        services: services.min(per_cell),
        hosts: sizes.get(1).copied().unwrap_or(100),
        archives,
    };
    let has = |part: &str| only.iter().any(|name| name == part);
    println!("{services} services, {shape:?}");
    if has("install") {
        let cells = install(services, shape);
        if has("quiet") {
            quiet(cells);
        }
    } else if has("quiet") {
        let mut cell = Obedient::new(0, shape);
        cell.rest();
        quiet(vec![cell]);
    }
    if has("transitions") {
        (0..RUNS).for_each(|_| transitions(shape));
    }
    if has("load") {
        load(shape);
    }
}

fn install(services: u32, shape: Shape) -> Vec<Obedient> {
    let before = resident_bytes();
    let mut cells = Vec::new();
    let (mut left, mut micros) = (services, Vec::new());
    let mut recorded = Recorded::default();
    while left > 0 {
        let here = left.min(shape.services);
        let began = Instant::now();
        let number = u32::try_from(cells.len()).unwrap_or(u32::MAX);
        let mut cell = Obedient::new(number, Shape { services: here, ..shape });
        micros.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(here));
        recorded = cell.recorded;
        cell.rest();
        cells.push(cell);
        left -= here;
    }
    micros.sort_by(f64::total_cmp);
    let bytes = resident_bytes().saturating_sub(before);
    println!(
        "install: {:.1} us per service in the fastest cell, {:.1} in the middle one; {:?}",
        micros[0],
        micros[micros.len() / 2],
        recorded
    );
    println!(
        "memory: {} bytes per service; the whole process {} MiB",
        bytes / u64::from(services),
        resident_bytes() >> 20
    );
    cells
}

fn quiet(mut cells: Vec<Obedient>) {
    const TURNS: u32 = 2_000;
    for cell in &mut cells {
        // What else is due is due at the same moments in every run.
        (0..3).for_each(|_| cell.pass(Span::millis(100)));
    }
    for _ in 0..RUNS {
        let began = Instant::now();
        let count = cells.len();
        for turn in 0..TURNS {
            cells[usize::try_from(turn).unwrap_or(0) % count].pass(Span::millis(100));
        }
        println!("quiet turn: {:.2} us", began.elapsed().as_secs_f64() * 1e6 / f64::from(TURNS));
    }
}

/// Every member dies and comes back, by its agent's reports, all hosts in one window.
fn transitions(shape: Shape) {
    let mut fleet = Obedient::keeping(0, shape);
    fleet.rest();
    let dead = fleet.reports(|member| (member.state, member.deaths) = (State::Failed, 1));
    let back = fleet.reports(|member| member.deaths = 1);
    for (what, inbox) in [("down", dead), ("back", back)] {
        let began = Instant::now();
        let turn = fleet.turn(Span::millis(100), &inbox);
        tell(what, began.elapsed().as_secs_f64(), &turn, shape);
    }
}

fn tell(what: &str, seconds: f64, turn: &Turn, shape: Shape) {
    let micros = seconds * 1e6;
    let moved = turn.writes.journal.iter();
    let moved = moved.filter(|entry| matches!(entry.topic, Topic::Transition | Topic::Verdict));
    let entries = u32::try_from(moved.count()).unwrap_or(u32::MAX);
    println!(
        "{what}: {:.2} us a service; {:.2} us a transition; {} rows, {} entries, {entries} of transitions",
        micros / f64::from(shape.services),
        micros / f64::from(entries.max(1)),
        turn.writes.rows.len(),
        turn.writes.journal.len(),
    );
}

fn load(shape: Shape) {
    let mut fleet = Obedient::keeping(0, shape);
    fleet.rest();
    let rows = fleet.rows();
    let bytes: usize = rows.iter().map(|(_, body)| body.len()).sum();
    println!("rows: {} of {} bytes in all", rows.len(), bytes);
    let per = 1e6 / f64::from(shape.services);
    for _ in 0..RUNS {
        let began = Instant::now();
        let mut cell = Cell::load(setup(0), &rows).expect("what was recorded can be loaded");
        let loaded = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let turn = cell.turn(fleet.now + Span::secs(1), &[]);
        let first = began.elapsed().as_secs_f64();
        println!(
            "load: {:.2} us a service; first turn {:.2} us a service, {} rows, {} entries, wake {:?}",
            loaded * per,
            first * per,
            turn.writes.rows.len(),
            turn.writes.journal.len(),
            turn.wake_at.map(|at| at.since(Time(0)))
        );
    }
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
