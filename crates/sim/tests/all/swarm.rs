//! The swarm as CI runs it: a fixed range of seeds, and determinism.

use evenkeel_sim::edges::Edges;
use evenkeel_sim::{Plan, rerun, run, swarm};

/// Seeds of every test run; `make sim` runs more.
const SEEDS: u64 = 120;

/// Edges of machines that no run of the swarm takes. It orders no upgrades and takes no host out of its fleet, its
/// archives are too young for what is put away to come back, its servers hang for good, and its people are asked
/// for hours at most; tests of the core, of real processes and scenarios take most of them.
const NOT_TAKEN: &[&str] = &[
    "service phase: Serving -> Upgrading by UpgradeBegun",
    "service phase: Restarting -> Retiring by RetireBegun",
    "service phase: Upgrading -> Serving by Proven",
    "service phase: Upgrading -> Serving by GivenUp",
    "service phase: Upgrading -> Retiring by TerminateBegun",
    "service phase: Retiring -> Serving by GivenUp",
    "service phase: Retiring -> Archived by Archived",
    "service phase: Archived -> Installing by ReviveBegun",
    "member: Recovering -> Hung by NoAnswer",
    "member: Hung -> Recovering by Replaying",
    "member: Hung -> Following by Follows",
    "member: Hung -> Ready by WriteProven",
    "member: Stopping -> Stopped by Died",
    "member: Sealed -> Initializing by Initialize",
    "host: Joining -> Removed by Remove",
    "host: Up -> Removed by Remove",
    "host: Suspect -> Down by ConfirmedDown",
    "host: Suspect -> Uncertain by Reached",
    "host: Uncertain -> Removed by Remove",
    "host: Down -> Removed by Remove",
    "incident: Open -> Acknowledged by Acknowledge",
    "incident: Open -> Resolved by Fine",
    "incident: Open -> Closed by Merge",
    "incident: Paged -> Closed by Merge",
    "incident: Acknowledged -> Closed by Merge",
    "incident: Resolved -> Open by Back",
    "incident: Resolved -> Acknowledged by BackKnown",
    "incident: Resolved -> Closed by Lapse",
    "incident: Resolved -> Closed by Merge",
];

/// Edges that a few runs take: fewer or other runs may not.
const SELDOM: &[&str] = &[
    "service phase: Installing -> Retiring by TerminateBegun",
    "service phase: Restarting -> Retiring by TerminateBegun",
    "service phase: Retiring -> Restarting by ReviveBegun",
    "service phase: Archived -> Retiring by TerminateBegun",
    "service health: Unavailable -> Uncertain by Reached",
    "member: Absent -> Gone by Remove",
    "member: Starting -> Hung by NoAnswer",
    "member: Hung -> Failed by Died",
    "member: CrashLooping -> Stopped by Stop",
    "host: Joining -> Uncertain by Silent",
    "host: Down -> Uncertain by Reached",
    "incident: Paged -> Acknowledged by Acknowledge",
    "incident: Paged -> Resolved by Fine",
    "incident: Acknowledged -> Resolved by Fine",
];

#[test]
fn the_swarm_finds_nothing() {
    let (mut writes, mut steps, mut edges) = (0, 0, Edges::default());
    let result = swarm(0..SEEDS, |summary| {
        edges.add(&summary.edges);
        writes += summary.writes;
        steps += summary.steps;
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(writes > 1_000_000, "only {writes} rows were acknowledged: nothing was tested");
    println!("{SEEDS} seeds, {steps} events, {writes} acknowledged rows");
    println!("edges: {}", edges.summary());
    let missed: Vec<String> = edges.missed().iter().map(ToString::to_string).collect();
    let known = |edge: &&String| NOT_TAKEN.iter().chain(SELDOM).any(|known| known == edge);
    let new: Vec<&String> = missed.iter().filter(|edge| !known(edge)).collect();
    assert!(new.is_empty(), "edges that the swarm took until now, and takes no more: {new:?}");
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
