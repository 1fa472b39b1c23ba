//! Flipped bytes: found, or without effect; never believed.

use std::fs;

use evenkeel_store::{Error, Store, sqlite};

use crate::place;
use crate::turns::{commit, rows, tiny};

fn filled(file: &std::path::Path, options: sqlite::Options, commits: u64) {
    let mut store = sqlite::open_with(file, options).expect("a new store");
    for number in 1..=commits {
        commit(&mut store, number).expect("commits");
    }
}

fn journal(store: &dyn Store) -> Result<Vec<evenkeel_store::Recorded>, Error> {
    store.journal(None, Some(0), usize::MAX)
}

/// Flips bits all over a file; `look` sees each store that opens.
fn flips<T: PartialEq>(
    options: sqlite::Options,
    look: impl Fn(&sqlite::Sqlite) -> Result<T, Error>,
) {
    let (dir, file) = place();
    filled(&file, options, 60);
    let whole = fs::read(&file).expect("readable");
    let expected = look(&sqlite::open_existing(&file).expect("its own file")).expect("sound");
    let flipped = dir.path().join("flipped.db");
    let (mut found, mut tried) = (0, 0);
    for at in (0..whole.len()).step_by(61) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&flipped, &bytes).expect("writable");
        tried += 1;
        match sqlite::open_with(&flipped, options).and_then(|store| look(&store)) {
            Err(_) => found += 1,
            Ok(seen) => assert!(seen == expected, "byte {at} was believed"),
        }
        // Its damage must not be what the next one's log or copy says.
        let _ = fs::remove_file(dir.path().join("flipped.db-wal"));
    }
    assert!(found > 60, "only {found} of {tried} flips were found");
}

#[test]
fn a_flipped_byte_is_found_or_harmless_and_never_believed() {
    for options in [sqlite::Options::default(), tiny(None)] {
        flips(options, |store| {
            store.verify()?;
            Ok((rows(store)?, journal(store)?))
        });
    }
}

#[test]
fn a_start_that_checks_nothing_but_what_it_reads_finds_every_flip_in_rows_too() {
    for mut options in [sqlite::Options::default(), tiny(None)] {
        // As a large file is opened: without a look at the whole of it first.
        options.limits.checked_at_once_max = 0;
        flips(options, |store| rows(store));
        flips(options, |store| journal(store));
    }
}

#[test]
fn a_large_file_is_copied_beside_the_commits_and_once_a_day() {
    let (dir, file) = place();
    let mut options = tiny(None);
    filled(&file, options, 40);
    let good = dir.path().join("store.db.good");
    fs::remove_file(&good).expect("a clean start left one");
    options.limits.checked_at_once_max = 0;
    let mut store = sqlite::open_with(&file, options).expect("its own file");
    let mut number = 40;
    while !good.exists() {
        number += 1;
        assert!(number < 100_000, "no copy was made");
        commit(&mut store, number).expect("commits go on beside it");
    }
    drop(store);
    let mut copied = sqlite::open_existing(&good).expect("a store");
    assert!(copied.verify().expect("sound").entries > 40);
    commit(&mut copied, number + 1).expect("it can be gone on with");
    drop(copied);
    let made = fs::metadata(&good).expect("there").modified().expect("a time");
    drop(sqlite::open_with(&file, options).expect("its own file"));
    assert_eq!(fs::metadata(&good).expect("there").modified().expect("a time"), made);
}

#[test]
fn damage_that_is_found_beside_the_commits_refuses_the_next() {
    let (dir, file) = place();
    let mut options = tiny(None);
    filled(&file, options, 40);
    let whole = fs::read(&file).expect("readable");
    fs::remove_file(dir.path().join("store.db.good")).expect("a clean start left one");
    options.limits.checked_at_once_max = 0;
    // A page of the journal's past loses a row: nothing that a start reads.
    let connection = rusqlite::Connection::open(&file).expect("sqlite works");
    let page: u32 = connection
        .query_row("SELECT rootpage FROM sqlite_master WHERE name = 'pieces'", [], |row| row.get(0))
        .expect("there");
    drop(connection);
    let mut bytes = whole;
    bytes[usize::try_from(page - 1).expect("few") * 4096 + 4] ^= 1;
    fs::write(&file, &bytes).expect("writable");
    let mut store = sqlite::open_with(&file, options).expect("opens: that page is not read");
    let error = (41..100_000).find_map(|number| commit(&mut store, number).err());
    let error = error.expect("a commit is refused");
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(matches!(store.verify(), Err(Error::Corrupt { .. })));
    assert!(!dir.path().join("store.db.good").exists(), "no copy of what is damaged");
}

#[test]
fn a_row_of_any_table_that_is_lost_without_a_trace_is_missed() {
    let (dir, file) = place();
    filled(&file, tiny(None), 45);
    let whole = fs::read(&file).expect("readable");
    for table in ["state", "tail", "blocks", "cells", "segments", "pieces"] {
        let lacking = dir.path().join(format!("{table}.db"));
        fs::write(&lacking, &whole).expect("writable");
        let connection = rusqlite::Connection::open(&lacking).expect("sqlite works");
        let lost = match table {
            "blocks" => "DELETE FROM blocks WHERE number = (SELECT max(number) FROM blocks)".into(),
            _ => format!("DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})"),
        };
        assert!(connection.execute(&lost, []).expect("sqlite works") > 0, "{table} had none");
        drop(connection);
        let seen =
            sqlite::open_existing(&lacking).and_then(|store| Ok((rows(&store)?, journal(&store)?)));
        assert!(matches!(seen, Err(Error::Corrupt { .. })), "a lost row of {table}");
    }
}
