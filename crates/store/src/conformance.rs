//! What every store must do, as functions that any store's tests call.
//!
//! # Panics
//! Each function, when the store does not do what its name says.

use std::collections::BTreeMap;

use evenkeel_core::id::CellId;
use evenkeel_core::journal::{Entry, GENESIS, Topic, chain};
use evenkeel_core::row::{Key, Table, Write, Writes};
use evenkeel_core::time::Time;

use crate::Store;

const CELL: CellId = CellId(1);

/// One property: panics when a store lacks it.
pub type Property = fn(&mut dyn Store);

/// A property that also opens the store again.
pub type Reopened = fn(Box<dyn Store>, &mut dyn FnMut(Box<dyn Store>) -> Box<dyn Store>);

/// Every property, by name.
pub const SUITE: &[(&str, Property)] = &[
    ("an empty store is empty", empty),
    ("rows come back in order, newest body", rows),
    ("cells do not see each other", cells),
    ("a batch is one commit", batch),
    ("the journal is a chain from its first entry", journal),
    ("the journal is read by subject, from a place, newest first", reading),
    ("a dump has every row and entry", dump),
    ("of two changes of a row in one batch the later stands", later),
    ("many turns of many cells come to the rows of their newest", many),
    ("one subject's entries are found among many", among_many),
];

/// Properties of stores that keep a hundred entries ([`Retention`](crate::sqlite::Retention)).
pub const KEEPS_100: &[(&str, Property)] = &[
    ("what is dropped is counted, and the rest is a chain", dropped),
    ("rows do not depend on what is kept of the journal", many),
];

/// Properties of stores that are opened again in between.
pub const REOPENED: &[(&str, Reopened)] = &[("nothing is lost and nothing comes back", reopened)];

fn key(table: Table, id: u64) -> Key {
    Key { table, id }
}

fn put(table: Table, id: u64, body: &[u8]) -> Write {
    Write { key: key(table, id), body: Some(body.to_vec()) }
}

fn entry(subject: &str, text: &str) -> Entry {
    Entry {
        at: Time(7),
        topic: Topic::Order,
        subject: subject.to_owned(),
        text: text.to_owned(),
        evidence: vec!["seen".to_owned()],
    }
}

fn commit(store: &mut dyn Store, rows: Vec<Write>, journal: Vec<Entry>) -> u64 {
    store.commit(CELL, &Writes { rows, journal }).expect("a healthy store commits")
}

fn load(store: &dyn Store, cell: CellId) -> Vec<(Key, Vec<u8>)> {
    store.load_cell(cell).expect("a healthy store loads")
}

fn empty(store: &mut dyn Store) {
    assert!(load(store, CELL).is_empty() && store.cells().expect("readable").is_empty());
    assert!(store.journal(None, None, 10).expect("readable").is_empty());
    assert!(!store.id().0.is_empty());
    assert_eq!(commit(store, Vec::new(), Vec::new()), 0);
}

fn rows(store: &mut dyn Store) {
    commit(store, vec![put(Table::Service, 2, b"b"), put(Table::Service, 1, b"a")], Vec::new());
    commit(store, vec![put(Table::Cell, 0, b"c"), put(Table::Service, 2, b"bb")], Vec::new());
    let expected = vec![
        (key(Table::Cell, 0), b"c".to_vec()),
        (key(Table::Service, 1), b"a".to_vec()),
        (key(Table::Service, 2), b"bb".to_vec()),
    ];
    assert_eq!(load(store, CELL), expected);
    commit(store, vec![Write { key: key(Table::Service, 1), body: None }], Vec::new());
    assert_eq!(load(store, CELL).len(), 2);
}

fn cells(store: &mut dyn Store) {
    let writes = Writes { rows: vec![put(Table::Host, 1, b"x")], journal: Vec::new() };
    store.commit(CellId(2), &writes).expect("commits");
    assert!(load(store, CELL).is_empty());
    assert_eq!(load(store, CellId(2)).len(), 1);
    assert_eq!(store.cells().expect("readable"), [CellId(2)]);
    store.commit(CellId(9), &writes).expect("commits");
    store.commit(CELL, &writes).expect("commits");
    assert_eq!(store.cells().expect("readable"), [CELL, CellId(2), CellId(9)]);
}

fn batch(store: &mut dyn Store) {
    let one = Writes { rows: vec![put(Table::Host, 1, b"1")], journal: vec![entry("a", "1")] };
    let two = Writes { rows: vec![put(Table::Host, 2, b"2")], journal: vec![entry("b", "2")] };
    let end = store.commit_batch(&[(CELL, &one), (CellId(2), &two)]).expect("commits");
    assert_eq!(end, 2);
    assert_eq!((load(store, CELL).len(), load(store, CellId(2)).len()), (1, 1));
}

fn journal(store: &mut dyn Store) {
    let entries = [entry("a", "1"), entry("b", "2"), entry("a", "3")];
    assert_eq!(commit(store, Vec::new(), entries[..2].to_vec()), 2);
    assert_eq!(commit(store, Vec::new(), entries[2..].to_vec()), 3);
    let mut head = GENESIS;
    for (recorded, expected) in
        store.journal(None, Some(0), 10).expect("readable").iter().zip(&entries)
    {
        head = chain(head, expected);
        assert_eq!((&recorded.entry, recorded.link), (expected, head));
    }
    let verified = store.verify().expect("sound");
    assert_eq!((verified.rows, verified.entries), (0, 3));
}

fn reading(store: &mut dyn Store) {
    let texts: Vec<Entry> =
        (1..=9).map(|n| entry(if n % 2 == 0 { "even" } else { "odd" }, &n.to_string())).collect();
    commit(store, Vec::new(), texts);
    let read = |subject, after, limit| -> Vec<String> {
        let found = store.journal(subject, after, limit).expect("readable");
        found.into_iter().map(|recorded| recorded.entry.text).collect()
    };
    assert_eq!(read(None, None, 2), ["8", "9"]);
    assert_eq!(read(None, Some(3), 2), ["4", "5"]);
    assert_eq!(read(Some("even"), None, 2), ["6", "8"]);
    assert_eq!(read(Some("even"), Some(2), 9), ["4", "6", "8"]);
    assert!(read(Some("none"), None, 9).is_empty());
    assert!(read(None, None, 0).is_empty());
}

fn dump(store: &mut dyn Store) {
    commit(store, vec![put(Table::Host, 1, b"\x01{\"name\":\"h1\"}")], vec![entry("h1", "joined")]);
    let mut text = Vec::new();
    store.dump(&mut text).expect("readable");
    let text = String::from_utf8(text).expect("a dump is text");
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("\"name\":\"h1\"") && text.contains("\"version\":1"));
    assert!(text.contains("joined"));
}

fn later(store: &mut dyn Store) {
    let one = Writes { rows: vec![put(Table::Host, 1, b"1")], journal: Vec::new() };
    let two = Writes {
        rows: vec![put(Table::Host, 1, b"2"), put(Table::Host, 2, b"3")],
        journal: Vec::new(),
    };
    let gone = Writes { rows: vec![Write { key: key(Table::Host, 2), body: None }], ..one.clone() };
    store.commit_batch(&[(CELL, &one), (CELL, &two), (CELL, &gone)]).expect("commits");
    assert_eq!(load(store, CELL), [(key(Table::Host, 1), b"2".to_vec())]);
}

/// What many commits come to.
type Model = BTreeMap<(CellId, Key), Vec<u8>>;

/// The turns of several cells: rows are made, changed and removed.
fn turns(number: u64) -> Vec<(CellId, Writes)> {
    let some = |n: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(9) % n;
    let cells = if number.is_multiple_of(5) { 4 } else { 1 };
    let writes = |of: u64| {
        let id = |n: u64| (some(97) + n * 13 + of * 7) % 300;
        let rows = (0..=some(6)).map(|n| Write {
            key: key(if n % 4 == 3 { Table::Host } else { Table::Service }, id(n)),
            body: (some(9) + n != 8).then(|| format!("{number} ").repeat(40).into_bytes()),
        });
        let journal = vec![entry(&format!("s{}", id(0)), &format!("turn {number} of {of}"))];
        Writes { rows: rows.collect(), journal }
    };
    let cell = |of: u64| CellId(u32::try_from(of + some(4)).expect("few") % 5 + 1);
    (0..cells).map(|of| (cell(of), writes(of))).collect()
}

fn turn(store: &mut dyn Store, model: &mut Model, number: u64) {
    let turns = turns(number);
    let batch: Vec<(CellId, &Writes)> = turns.iter().map(|(cell, w)| (*cell, w)).collect();
    store.commit_batch(&batch).expect("a healthy store commits");
    for (cell, writes) in turns {
        for write in writes.rows {
            match write.body {
                Some(body) => model.insert((cell, write.key), body),
                None => model.remove(&(cell, write.key)),
            };
        }
    }
}

fn same(store: &dyn Store, model: &Model) {
    let mut seen = Model::new();
    let mut last = None;
    let mut take = |cell, key, body: &[u8]| {
        assert!(last.replace((cell, key)).is_none_or(|last| last < (cell, key)), "in order");
        seen.insert((cell, key), body.to_vec());
    };
    store.load_each(&mut take).expect("a healthy store loads");
    assert!(seen == *model, "{} rows, not {}", seen.len(), model.len());
    for cell in (1..=5).map(CellId) {
        let expected = model.iter().filter(|((of, _), _)| *of == cell);
        let expected: Vec<_> = expected.map(|((_, key), body)| (*key, body.clone())).collect();
        assert!(load(store, cell) == expected, "the rows of {cell}");
    }
    let verified = store.verify().expect("sound");
    assert_eq!(verified.rows, model.len() as u64);
}

fn many(store: &mut dyn Store) {
    let mut model = Model::new();
    for number in 1..=400 {
        turn(store, &mut model, number);
        if number % 40 == 0 {
            same(store, &model);
        }
    }
}

fn reopened(mut store: Box<dyn Store>, reopen: &mut dyn FnMut(Box<dyn Store>) -> Box<dyn Store>) {
    let mut model = Model::new();
    for number in 1..=300 {
        turn(store.as_mut(), &mut model, number);
        if number % 13 == 0 {
            let journal = store.journal(None, Some(0), usize::MAX).expect("readable");
            store = reopen(store);
            same(store.as_ref(), &model);
            assert!(store.journal(None, Some(0), usize::MAX).expect("readable") == journal);
        }
    }
}

fn among_many(store: &mut dyn Store) {
    let subject = |n: u64| format!("\"s{}\"", n % 37);
    for number in 1..=300 {
        commit(store, Vec::new(), vec![entry(&subject(number), &number.to_string())]);
    }
    for about in [0, 5, 36] {
        let expected: Vec<u64> = (1..=300).filter(|n| n % 37 == about).collect();
        let read = |after, limit| -> Vec<u64> {
            let found = store.journal(Some(&subject(about)), after, limit).expect("readable");
            found.iter().map(|recorded| recorded.position).collect()
        };
        assert_eq!(read(None, 1_000), expected);
        assert_eq!(read(None, 3), expected[expected.len() - 3..]);
        assert_eq!(read(Some(expected[1]), 4), expected[2..6]);
    }
    assert!(store.journal(Some("s0"), None, 9).expect("readable").is_empty());
}

fn dropped(store: &mut dyn Store) {
    for number in 1..=1_000_u64 {
        commit(store, Vec::new(), vec![entry("a", &number.to_string())]);
        if !number.is_multiple_of(50) {
            continue;
        }
        let verified = store.verify().expect("sound");
        assert_eq!(verified.dropped + verified.entries, number);
        assert!(verified.entries >= number.min(100), "{verified:?}");
        assert!(verified.entries <= 300, "{verified:?}");
        let kept = store.journal(None, Some(0), usize::MAX).expect("readable");
        assert_eq!(kept[0].position, verified.dropped + 1);
        let (position, link) = store.dropped();
        assert_eq!((position, chain(link, &kept[0].entry)), (verified.dropped, kept[0].link));
        let ends = |pair: &[crate::Recorded]| chain(pair[0].link, &pair[1].entry) == pair[1].link;
        assert!(kept.windows(2).all(ends), "what is kept is one chain");
        assert_eq!(kept.len() as u64, verified.entries);
    }
    assert!(store.verify().expect("sound").dropped > 600);
}
