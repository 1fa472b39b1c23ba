//! The journal over its segments, and rows read beside the commits.

use evenkeel_core::id::CellId;
use evenkeel_core::time::Span;
use evenkeel_store::memory::Memory;
use evenkeel_store::{Store, sqlite};

use crate::place;
use crate::turns::{Expected, commit, tiny};

#[test]
fn every_question_to_the_journal_is_answered_over_segments_as_from_memory() {
    let (_dir, file) = place();
    let mut store = sqlite::open_with(&file, tiny(None)).expect("a new store");
    let mut memory = Memory::new();
    for number in 1..=150 {
        commit(&mut store, number).expect("commits");
        commit(&mut memory, number).expect("commits");
    }
    let end = memory.journal(None, None, 1).expect("memory")[0].position;
    let subjects = [None, Some("s0"), Some("s7"), Some("s49"), Some("s51"), Some("nobody")];
    let afters = [None, Some(0), Some(1), Some(19), Some(20), Some(333), Some(end - 1), Some(end)];
    for subject in subjects {
        for after in afters {
            for limit in [0, 1, 2, 19, 100, usize::MAX] {
                let found = store.journal(subject, after, limit).expect("readable");
                let expected = memory.journal(subject, after, limit).expect("memory");
                assert!(found == expected, "{subject:?} after {after:?}, {limit} at most");
            }
        }
    }
    let lines = |store: &dyn Store| {
        let mut text = Vec::new();
        store.dump(&mut text).expect("readable");
        text
    };
    assert!(lines(&store) == lines(&memory), "dumps are the same");
}

#[test]
fn entries_go_by_their_own_age_too() {
    let (_dir, file) = place();
    let mut options = tiny(None);
    options.retention.age_max = Some(Span::secs(40));
    let mut store = sqlite::open_with(&file, options).expect("a new store");
    for number in 1..=200 {
        commit(&mut store, number).expect("commits");
    }
    let kept = store.journal(None, Some(0), usize::MAX).expect("readable");
    let oldest = kept[0].entry.at.0;
    assert!((130_000..=160_000).contains(&oldest), "the oldest is of {oldest}");
    assert_eq!(store.verify().expect("sound").dropped, kept[0].position - 1);
    Expected::new().holds(&store);
}

#[test]
fn the_tail_is_never_longer_than_it_may_be() {
    let (_dir, file) = place();
    let options = tiny(None);
    let mut store = sqlite::open_with(&file, options).expect("a new store");
    let mut longest = 0;
    for number in 1..=600 {
        commit(&mut store, number).expect("commits");
        longest = longest.max(store.tail().1);
    }
    assert!(longest > 10_000, "{longest}: it is used");
    // A commit's own rows come on top.
    assert!(longest < options.limits.tail_raw_max + 5_000, "{longest}");
    Expected::new().holds(&store);
}

#[test]
fn rows_are_read_on_other_threads_while_commits_go_on() {
    let (_dir, file) = place();
    let mut store = sqlite::open_with(&file, tiny(None)).expect("a new store");
    for number in 1..=50 {
        commit(&mut store, number).expect("commits");
    }
    let reads = store.reads().expect("it has a file");
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for _ in 0..40 {
            let mut rows = 0_u64;
            let low = reads.read(CellId(0)..=CellId(1), &mut |cell, _, _| {
                assert!(cell <= CellId(1));
                rows += 1;
            });
            low.expect("readable");
            reads.read(CellId(2)..=CellId(u32::MAX), &mut |_, _, _| rows += 1).expect("readable");
            seen.push(rows);
        }
        seen
    });
    let mut number = 50;
    while !reader.is_finished() {
        number += 1;
        commit(&mut store, number).expect("no commit waits for a reader");
    }
    let seen = reader.join().expect("it ended well");
    assert!(seen.iter().all(|rows| *rows > 100), "{seen:?}");
    Expected::new().holds(&store);
}
