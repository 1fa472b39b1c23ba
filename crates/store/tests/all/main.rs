//! Stores against the conformance suite; the file against kills, damage and a full disk.

mod crash;
mod damage;
mod past;
mod turns;
mod upgrade;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use evenkeel_core::id::CellId;
use evenkeel_core::journal::{Entry, Topic};
use evenkeel_core::row::{Key, Table, Write, Writes};
use evenkeel_core::time::Time;
use evenkeel_store::memory::Memory;
use evenkeel_store::{Error, Store, conformance, sqlite};

const CELL: CellId = CellId(1);
/// Set for the child that commits until it is killed: where its store is.
const VICTIM: &str = "EVENKEEL_STORE_TEST_VICTIM";

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("store.db");
    (dir, file)
}

fn writes(number: u64) -> Writes {
    let row = |id, body: String| Write {
        key: Key { table: Table::Service, id },
        body: Some(body.into_bytes()),
    };
    let entry = Entry {
        at: Time(number),
        topic: Topic::Transition,
        subject: format!("s{}", number % 7),
        text: format!("turn {number}"),
        evidence: Vec::new(),
    };
    let rows = vec![row(0, number.to_string()), row(1 + number % 50, "x".repeat(300))];
    Writes { rows, journal: vec![entry] }
}

fn filled(file: &Path, commits: u64) {
    let mut store = sqlite::open(file).expect("a new store");
    for number in 1..=commits {
        store.commit(CELL, &writes(number)).expect("commits");
    }
}

#[test]
fn every_store_conforms() {
    for (name, property) in conformance::SUITE {
        println!("memory: {name}");
        property(&mut Memory::new());
        println!("sqlite: {name}");
        let (_dir, file) = place();
        property(&mut sqlite::open(&file).expect("a new store"));
        println!("sqlite with everything on the move: {name}");
        let (_dir, file) = place();
        property(&mut sqlite::open_with(&file, turns::tiny(None)).expect("a new store"));
    }
}

#[test]
fn every_store_keeps_of_its_journal_what_it_is_told() {
    let kept = sqlite::Retention { entries_max: 100, age_max: None };
    for (name, property) in conformance::KEEPS_100 {
        println!("memory: {name}");
        property(&mut Memory::keeping(kept));
        println!("sqlite: {name}");
        let (_dir, file) = place();
        let options = sqlite::Options { retention: kept, ..turns::tiny(None) };
        property(&mut sqlite::open_with(&file, options).expect("a new store"));
    }
}

#[test]
fn every_store_is_the_same_after_it_was_opened_again() {
    for (name, property) in conformance::REOPENED {
        println!("memory: {name}");
        property(Box::new(Memory::new()), &mut |store| store);
        for options in [sqlite::Options::default(), turns::tiny(None)] {
            println!("sqlite: {name}");
            let (_dir, file) = place();
            let open = || -> Box<dyn Store> {
                Box::new(sqlite::open_with(&file, options).expect("its own file"))
            };
            property(open(), &mut |store| {
                drop(store);
                open()
            });
        }
    }
}

#[test]
fn what_was_committed_is_there_after_reopening_with_the_same_identity() {
    let (_dir, file) = place();
    filled(&file, 20);
    let store = sqlite::open(&file).expect("its own file");
    assert_eq!(store.journal(None, None, 1).expect("readable")[0].position, 20);
    let id = store.id();
    drop(store);
    assert_eq!(sqlite::open(&file).expect("its own file").id(), id);
    let (_other, other) = place();
    assert_ne!(sqlite::open(&other).expect("another file").id(), id);
}

#[test]
fn only_one_process_has_it_open_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, file) = place();
    let _held = sqlite::open(&file).expect("a new store");
    assert!(matches!(sqlite::open(&file), Err(Error::InUse { .. })));
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn copies_are_whole_while_commits_go_on_and_begin_another_store() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, file) = place();
    let mut store = sqlite::open(&file).expect("a new store");
    store.commit(CELL, &writes(1)).expect("commits");
    let copies = store.copies().expect("it has a file");
    let copy = dir.path().join("copy");
    let to = copy.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    let copier = std::thread::spawn(move || {
        for _ in 0..20 {
            copies.copy(&to).expect("copied");
            let copied = sqlite::open_existing(&to).expect("a store").verify().expect("sound");
            sender.send(copied.entries).expect("waited for");
        }
    });
    let mut last = 1;
    while !copier.is_finished() {
        last += 1;
        store.commit(CELL, &writes(last)).expect("no commit waits for a copy");
    }
    copier.join().expect("it ended well");
    let seen: Vec<u64> = receiver.try_iter().collect();
    assert!(seen.is_sorted() && seen[0] < *seen.last().expect("20"), "{seen:?}");
    assert_eq!(fs::metadata(&copy).expect("there").permissions().mode() & 0o777, 0o600);
    let entries = *seen.last().expect("20");
    let next = dir.path().join("next.db");
    let id = sqlite::succeed(&next, Some(&copy), CELL, &writes(entries + 1)).expect("another");
    assert!(matches!(sqlite::succeed(&next, None, CELL, &writes(1)), Err(Error::Exists { .. })));
    let other = sqlite::open(&next).expect("a store");
    assert_eq!((other.id(), other.verify().expect("sound").entries), (id, entries + 1));
    assert_ne!(other.id(), store.id());
    let fresh = dir.path().join("fresh.db");
    sqlite::succeed(&fresh, None, CELL, &writes(1)).expect("from nothing");
    assert_eq!(sqlite::open(&fresh).expect("a store").verify().expect("sound").entries, 1);
}

#[test]
fn foreign_files_newer_layouts_and_nothing_at_all_are_refused_by_name() {
    let (dir, file) = place();
    assert!(matches!(sqlite::open_existing(&file), Err(Error::Missing { .. })));
    fs::write(
        &file,
        "just some text that somebody keeps here, longer than a header would be. ".repeat(9),
    )
    .expect("writable");
    assert!(matches!(sqlite::open(&file), Err(Error::NotAStore { .. })));
    let foreign = dir.path().join("foreign.db");
    let other = rusqlite::Connection::open(&foreign).expect("sqlite works");
    other.execute_batch("CREATE TABLE t (a)").expect("sqlite works");
    drop(other);
    let before = fs::read(&foreign).expect("readable");
    assert!(matches!(sqlite::open(&foreign), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read(&foreign).expect("readable"), before, "nothing in it was changed");
    let newer = dir.path().join("newer.db");
    filled(&newer, 1);
    let other = rusqlite::Connection::open(&newer).expect("sqlite works");
    other.pragma_update(None, "user_version", 99).expect("sqlite works");
    drop(other);
    let error = sqlite::open(&newer).expect_err("refused");
    assert!(matches!(error, Error::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_file_cut_off_anywhere_is_refused_and_its_good_copy_opens() {
    let (dir, file) = place();
    filled(&file, 200);
    drop(sqlite::open(&file).expect("its own file")); // leaves a copy of all 200
    let whole = fs::read(&file).expect("readable");
    let cut = dir.path().join("cut.db");
    for part in 0..40 {
        let length = whole.len() * part / 40;
        fs::write(&cut, &whole[..length]).expect("writable");
        match sqlite::open(&cut) {
            Err(Error::Corrupt { .. }) => {}
            other => panic!("cut at {length} of {}: {other:?}", whole.len()),
        }
    }
    let message = sqlite::open(&cut).expect_err("cut").to_string();
    assert!(message.contains("cut.db.good") && message.contains("was not changed"), "{message}");
    fs::copy(dir.path().join("store.db.good"), &cut).expect("the copy is there");
    assert_eq!(sqlite::open(&cut).expect("the copy").verify().expect("sound").entries, 200);
}

fn all(store: &dyn Store) -> Vec<evenkeel_store::Recorded> {
    store.journal(None, Some(0), 100_000).expect("readable")
}

#[test]
fn a_full_disk_refuses_the_commit_and_keeps_what_was_there() {
    let (_dir, file) = place();
    filled(&file, 5);
    // SQLite's own limit gives the same error as a file system without space.
    let limited = rusqlite::Connection::open(&file).expect("sqlite works");
    let pages: i64 =
        limited.pragma_query_value(None, "page_count", |row| row.get(0)).expect("sqlite works");
    drop(limited);
    let mount = file.parent().expect("has one").join("small");
    fs::create_dir(&mount).expect("writable");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=400k", "tmpfs"])
        .arg(&mount)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        println!("1 not run: a full disk needs a file system of its own (root); {pages} pages");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        fill_up(&mount.join("store.db"), sqlite::Options::default());
        for left in fs::read_dir(&mount).expect("readable").flatten() {
            fs::remove_file(left.path()).expect("its own");
        }
        fill_up(&mount.join("store.db"), turns::tiny(None));
    });
    let gone = Command::new("umount").arg(&mount).status().is_ok_and(|status| status.success());
    assert!(gone, "the test's own file system is taken away");
    result.expect("the body of the test");
}

fn fill_up(file: &Path, options: sqlite::Options) {
    let mut store = sqlite::open_with(file, options).expect("a new store");
    let mut acknowledged = 0;
    let error = loop {
        match store.commit(CELL, &writes(acknowledged + 1)) {
            Ok(position) => acknowledged = position,
            Err(error) => break error,
        }
        assert!(acknowledged < 100_000, "the disk was never full");
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert_eq!(all(&store).len() as u64, acknowledged, "nothing of the refused commit is there");
    store.verify().expect("sound");
    drop(store);
    let store = sqlite::open_existing(file).expect("opens on a full disk");
    assert_eq!(all(&store).len() as u64, acknowledged);
    let mut expected = Memory::new();
    for number in 1..=acknowledged {
        expected.commit(CELL, &writes(number)).expect("commits");
    }
    assert_eq!(store.load_cell(CELL).expect("rows"), expected.load_cell(CELL).expect("rows"));
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    if let Ok(file) = std::env::var(VICTIM) {
        return commit_for_ever(Path::new(&file));
    }
    let (_dir, file) = place();
    let mut total = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "nothing_acknowledged_is_lost_when_the_process_is_killed"])
            .arg("--nocapture")
            .env(VICTIM, &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test starts again");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let positions = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok())
        });
        let mut acknowledged = 0;
        let mut left = 3 + round * 7;
        for position in positions {
            acknowledged = position;
            left -= 1;
            if left == 0 {
                child.kill().expect("it runs");
            }
        }
        child.wait().expect("it ended");
        let store = sqlite::open(&file).expect("opens after a kill");
        let verified = store.verify().expect("sound after a kill");
        assert!(verified.entries >= acknowledged, "{} < {acknowledged}", verified.entries);
        assert!(acknowledged > total, "the child went on from where the last one was");
        total = acknowledged;
    }
}

fn commit_for_ever(file: &Path) {
    let mut store = sqlite::open(file).expect("opens");
    loop {
        let next = all(&store).last().map_or(1, |last| last.position + 1);
        for number in next.. {
            let position = store.commit(CELL, &writes(number)).expect("commits");
            println!("acknowledged {position}");
        }
    }
}
