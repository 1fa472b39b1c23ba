//! The file after a crash between any two writes, and after a real process was killed at work.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use evenkeel_store::{Store, sqlite};

use crate::place;
use crate::turns::{Expected, commit, last, tiny};

/// Set for the child that turns until it is killed: where its store is.
const VICTIM: &str = "EVENKEEL_STORE_TEST_TURNING";
/// Bytes of a log's header and of a page's header in it.
const LOG_HEADER: usize = 32;
const PAGE_HEADER: usize = 24;

pub fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Every file that a crash could leave: the log in order, cut behind each of its pages.
pub fn cuts(file: &Path, to: &Path, mut each: impl FnMut(usize)) {
    let (whole, log) = (fs::read(file).expect("readable"), fs::read(log_of(file)).expect("a log"));
    let page = usize::from(u16::from_be_bytes([whole[16], whole[17]])) + PAGE_HEADER;
    let pages = (log.len() - LOG_HEADER) / page;
    assert!(pages > 20, "{pages} pages in the log");
    for kept in 0..=pages {
        fs::write(to, &whole).expect("writable");
        fs::write(log_of(to), &log[..LOG_HEADER + kept * page]).expect("writable");
        each(kept);
        for left in fs::read_dir(to.parent().expect("has one")).expect("readable").flatten() {
            fs::remove_file(left.path()).expect("its own");
        }
    }
}

#[test]
fn a_crash_between_any_two_writes_leaves_a_whole_store_of_all_that_was_answered() {
    let (dir, file) = place();
    let mut store = sqlite::open_with(&file, tiny(Some(60))).expect("a new store");
    // How long the log was when each commit was answered.
    let mut answered = vec![0];
    let mut moved = (0, 0);
    for number in 1..=70 {
        let before = store.tail();
        commit(&mut store, number).expect("commits");
        answered.push(fs::metadata(log_of(&file)).expect("a log").len());
        moved.0 += u64::from(store.tail().0 < before.0);
        moved.1 = store.verify().expect("sound").dropped;
    }
    assert!(moved.0 > 5 && moved.1 > 100, "tails were trimmed, entries dropped: {moved:?}");
    let crashed = dir.path().join("crashed");
    fs::create_dir(&crashed).expect("writable");
    let (crashed, mut expected) = (crashed.join("store.db"), Expected::new());
    cuts(&file, &crashed, |_| {
        let length = fs::metadata(log_of(&crashed)).expect("there").len();
        let mut found = sqlite::open_with(&crashed, tiny(Some(60))).expect("opens after a crash");
        let acknowledged = answered.iter().filter(|at| **at <= length).count() - 1;
        let number = last(&found);
        assert!(number >= acknowledged as u64, "{number} of {acknowledged} at {length}");
        expected.holds(&found);
        if length.is_multiple_of(5) {
            commit(&mut found, number + 1).expect("it goes on");
            drop(found);
            expected.holds(&sqlite::open_existing(&crashed).expect("opens"));
        }
    });
}

#[test]
fn nothing_answered_is_lost_when_a_process_is_killed_amid_write_back() {
    if let Ok(file) = std::env::var(VICTIM) {
        return turn_for_ever(Path::new(&file));
    }
    let (_dir, file) = place();
    let (mut total, mut expected) = (0, Expected::new());
    for round in 0..30 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "crash::nothing_answered_is_lost_when_a_process_is_killed_amid_write_back",
            ])
            .arg("--nocapture")
            .env(VICTIM, &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test starts again");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let numbers = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("answered ").and_then(|number| number.parse::<u64>().ok())
        });
        let (mut answered, mut left) = (0, 5 + round);
        for number in numbers {
            answered = number;
            left -= 1;
            if left == 0 {
                child.kill().expect("it runs");
            }
        }
        child.wait().expect("it ended");
        let store = sqlite::open_with(&file, tiny(Some(60))).expect("opens after a kill");
        assert!(last(&store) >= answered && answered > total, "{answered} after {total}");
        expected.holds(&store);
        total = last(&store);
    }
}

fn turn_for_ever(file: &Path) {
    let mut store = sqlite::open_with(file, tiny(Some(60))).expect("opens");
    for number in last(&store) + 1.. {
        commit(&mut store, number).expect("commits");
        println!("answered {number}");
    }
}
