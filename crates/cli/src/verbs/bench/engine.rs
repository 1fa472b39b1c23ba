//! The engine alone: memory of a quiet service, time of a turn that changes nothing.
//!
//! The fleet is made through cells' own inboxes, as agents would make it. Ports are unique within a
//! cell, so many services are many cells, as in production.

use std::time::Instant;

use evenkeel_core::time::Span;
use evenkeel_sim::obedient::{Obedient, Shape};

use crate::failure::{Failure, Kind};
use crate::print;

/// Services of one cell: two ports each of the range.
const PER_CELL: u32 = 5_000;
/// Services of one host.
const PER_HOST: u32 = 50;
/// Turns measured in one run, and runs.
const TURNS: usize = 10_000;
const RUNS: usize = 5;

/// Measures and prints.
pub fn run(services: u32) -> Result<(), Failure> {
    let before = resident_bytes()?;
    let began = Instant::now();
    let mut worlds: Vec<Obedient> = Vec::new();
    let mut left = services;
    while left > 0 {
        let here = left.min(PER_CELL);
        let number = u32::try_from(worlds.len()).unwrap_or(u32::MAX);
        let hosts = here.div_ceil(PER_HOST);
        let mut world = Obedient::new(number, Shape { services: here, hosts, archives: false });
        world.rest();
        worlds.push(world);
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
