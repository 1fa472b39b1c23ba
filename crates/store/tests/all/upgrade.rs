//! A file of layout 1, made by the code of its time, brought to today's layout in place.

use std::fs;

use evenkeel_core::id::CellId;
use evenkeel_core::journal::{GENESIS, chain};
use evenkeel_store::{Error, Store, sqlite};

use crate::place;
use crate::turns;

const OLD: &[u8] = include_bytes!("../fixtures/layout1.db");
const ID: &str = "91ced97ca24425ab572a00361bbbe5cd";
const HEAD: &str = "7e4a6c73407357b52ba59e6560bdae5beeb002be4ec3a24a71cc5a41377aed67";
/// Of the dump that the code of its time made of it.
const DUMP: &str = "66ef4c53f72d83af85c42f684484676cd29918044c5c0d04c06bb7c5a979c588";

/// It is what it was: identity, rows, entries and the chain over them.
fn same(store: &sqlite::Sqlite) {
    assert_eq!(store.id().0, ID);
    let verified = store.verify().expect("sound");
    assert_eq!((verified.rows, verified.entries, verified.dropped), (201, 360, 0));
    let entries = store.journal(None, Some(0), usize::MAX).expect("readable");
    let mut head = GENESIS;
    for recorded in &entries {
        head = chain(head, &recorded.entry);
        assert_eq!(recorded.link, head);
    }
    assert_eq!(head.to_string(), HEAD);
    let mut dump = Vec::new();
    store.dump(&mut dump).expect("readable");
    assert_eq!(evenkeel_core::digest::Digest::of(&dump).to_string(), DUMP);
}

#[test]
fn a_file_of_the_layout_before_is_brought_to_this_one_in_place() {
    let (_dir, file) = place();
    fs::write(&file, OLD).expect("writable");
    let mut store = sqlite::open_with(&file, turns::tiny(None)).expect("an old file");
    same(&store);
    assert_eq!(store.journal(Some("s12"), None, 9).expect("readable").len(), 6);
    for number in 1..=30 {
        turns::commit(&mut store, number).expect("it is gone on with");
    }
    drop(store);
    let store = sqlite::open(&file).expect("its own file");
    assert!(store.verify().expect("sound").entries > 400);
    assert!(store.load_cell(CellId(1)).expect("rows").len() > 60);
}

#[test]
fn a_crash_amid_it_goes_on_where_it_was() {
    let (dir, file) = place();
    fs::write(&file, OLD).expect("writable");
    let _open = sqlite::open_existing(&file).expect("an old file");
    let crashed = dir.path().join("crashed");
    fs::create_dir(&crashed).expect("writable");
    let crashed = crashed.join("store.db");
    crate::crash::cuts(&file, &crashed, |_| {
        same(&sqlite::open_existing(&crashed).expect("opens after a crash"));
    });
}

#[test]
fn damage_in_it_is_found_before_anything_is_changed() {
    let (_dir, file) = place();
    let text = b"starting -> ready";
    let at = OLD.windows(text.len()).rposition(|window| window == text).expect("an entry");
    let mut bytes = OLD.to_vec();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).expect("writable");
    let error = sqlite::open(&file).expect_err("damaged");
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(fs::read(&file).expect("readable") == bytes, "nothing in it was changed");
}
