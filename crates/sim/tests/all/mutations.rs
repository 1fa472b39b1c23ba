//! Rules of archives broken on purpose: the checkers find each.

use evenkeel_sim::report::{Checked, Invariant};
use evenkeel_sim::scenario::{self, How, Script};
use evenkeel_sim::{Mutation, caught};

/// Seeds in which one of them must be found.
const SEEDS: u64 = 200;

#[test]
fn every_broken_rule_is_found_by_what_it_breaks() {
    let broken = [
        (Mutation::ProvenExpires, "expir"),
        (Mutation::EarlyLastProof, "it is removed and nobody ordered it"),
        (Mutation::StaleTermArchives, "was stored in t"),
    ];
    for (mutation, expected) in broken {
        let failure = caught(mutation, 0..SEEDS);
        let told = failure.map(|failure| failure.to_string()).unwrap_or_default();
        assert!(told.contains(expected), "{mutation:?}: {told:?}");
    }
}

/// A run with a rule broken.
fn broken(mutation: Mutation) -> How {
    How { mutation: Some(mutation), ..How::default() }
}

/// What was written last is in a repository that does not answer, and the other one does.
const SILENT: &str = "
title = 'a'
story = 'b'
hosts = 1
repositories = 2
steps = [
    { create = 'pay' },
    { journal = { about = 'pay', says = 'stored in north, south', within = '3 min' } },
    { repository = { name = 'south', is = 'unreachable' } },
    { wait = '3 min' },
    { repository = { name = 'north', is = 'unreachable' } },
    { repository = { name = 'south', is = 'up' } },
    { prove = 'pay' },
    { journal = { about = 'pay', says = 'failed: repository north cannot be asked', within = '1 min' } },
]
";

#[test]
fn a_repository_that_does_not_answer_is_not_one_that_has_nothing() {
    let script = Script::parse("silent", SILENT).expect("a good script");
    assert_eq!(script.run().held, Ok(()));
    let held = script.run_how(broken(Mutation::SilenceIsNothing)).held;
    let told = held.expect_err("the end of the log is elsewhere");
    assert!(told.contains("a restore ended before its log did"), "{told}");
}

#[test]
fn a_disk_that_nobody_guards_ends_its_server() {
    let script = scenario::bundled("disk-fills").expect("it is there").script().expect("good");
    let run = script.run_how(broken(Mutation::NoGuard));
    let told = run.held.expect_err("nobody guards it");
    assert!(told.contains("died of a full disk"), "{told}");
    // The report says which rule it was, and which assertion was not reached.
    let of = |(rule, all): (&Invariant, &Checked)| (all.broken > 0).then_some(*rule);
    let rules: Vec<Invariant> = run.report.invariants.iter().filter_map(of).collect();
    assert_eq!(rules, [Invariant::DisksNeverFull]);
}
