//! What every store must do, as functions that any store's tests call.
//!
//! # Panics
//! Each function, when the store does not do what its name says.

use evenkeel_core::id::CellId;
use evenkeel_core::journal::{Entry, GENESIS, Topic, chain};
use evenkeel_core::row::{Key, Table, Write, Writes};
use evenkeel_core::time::Time;

use crate::Store;

const CELL: CellId = CellId(1);

/// One property: panics when a store lacks it.
pub type Property = fn(&mut dyn Store);

/// Every property, by name.
pub const SUITE: &[(&str, Property)] = &[
    ("an empty store is empty", empty),
    ("rows come back in order, newest body", rows),
    ("cells do not see each other", cells),
    ("a batch is one commit", batch),
    ("the journal is a chain from its first entry", journal),
    ("the journal is read by subject, from a place, newest first", reading),
    ("a dump has every row and entry", dump),
];

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
