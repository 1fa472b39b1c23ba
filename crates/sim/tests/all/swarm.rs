//! The swarm as CI runs it: a fixed range of seeds, and determinism.

use evenkeel_sim::{Plan, rerun, run, swarm};

/// Seeds of every test run; `make sim` runs more.
const SEEDS: u64 = 120;

#[test]
fn the_swarm_finds_nothing() {
    let (mut writes, mut steps) = (0, 0);
    let result = swarm(0..SEEDS, |summary| {
        writes += summary.writes;
        steps += summary.steps;
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(writes > 1_000_000, "only {writes} rows were acknowledged: nothing was tested");
    println!("{SEEDS} seeds, {steps} events, {writes} acknowledged rows");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [3, 14, 159] {
        let (once, again) = (run(seed).expect("a good seed"), run(seed).expect("a good seed"));
        assert_eq!(once, again);
    }
    let (one, other) = (run(1).expect("good"), run(2).expect("good"));
    assert_ne!(one.trace, other.trace);
}

#[test]
fn what_once_failed_does_not_fail_again() {
    let kept = include_str!("../../regressions.txt").lines();
    for line in kept.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let plan: Plan = line.parse().expect("a plan");
        if let Err(failure) = rerun(&plan) {
            panic!("{failure}");
        }
    }
}
