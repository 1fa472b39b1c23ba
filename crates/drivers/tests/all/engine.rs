//! One suite for every engine, in a directory and in a bucket: what goes in comes out, and nothing is
//! believed that is not so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use evenkeel_core::backup::archive::{Archived, Error};
use evenkeel_core::backup::engine::Engine as Name;
use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::job::{Done, What};
use evenkeel_core::backup::lineage::{Archive, BackupId, Target};
use evenkeel_core::driver::Driver;
use evenkeel_core::goal::Goal;
use evenkeel_core::id::Term;
use evenkeel_core::promise::Position;
use evenkeel_drivers::backup::engine::{Engine, LogFile};
use evenkeel_drivers::backup::pace::Paced;
use evenkeel_drivers::backup::repository;

use super::storage::{Fault, Storage};
use super::{Place, archive};

const COUNT: &str = "SELECT count(*) FROM ledger";

/// Where a suite's repository is, and how it goes away and comes back.
trait Shelf {
    fn archive(&self, place: &Place, engine: Name) -> Archive;
    fn away(&self, place: &Place);
    fn back(&self, place: &Place);
}

/// A directory; away is a disk that is not mounted.
struct Disk;

impl Shelf for Disk {
    fn archive(&self, place: &Place, engine: Name) -> Archive {
        Archive { engine, ..archive::archive(place, 1) }
    }
    fn away(&self, place: &Place) {
        fs::rename(root(place), root(place).with_extension("away")).expect("renamed");
        fs::create_dir(root(place)).expect("made");
    }
    fn back(&self, place: &Place) {
        // Nothing was left in what is below a mount.
        fs::remove_dir(root(place)).expect("empty still");
        fs::rename(root(place).with_extension("away"), root(place)).expect("renamed");
    }
}

impl Shelf for Storage {
    fn archive(&self, place: &Place, engine: Name) -> Archive {
        let bucket = self.named_place("far");
        repository::found(&bucket).expect("founded");
        Archive { engine, repositories: vec![bucket], ..archive::archive(place, 1) }
    }
    fn away(&self, _: &Place) {
        self.set(Fault::Breaks);
    }
    fn back(&self, _: &Place) {
        self.set(Fault::None);
    }
}

fn root(place: &Place) -> PathBuf {
    place.dir.path().join("repositories/here")
}

pub fn native_conforms(place: &mut Place) {
    conforms(place, Name::Native, &Disk);
    damage_is_found(place, Name::Native);
}

pub fn native_conforms_in_a_bucket(place: &mut Place) {
    conforms(place, Name::Native, &Storage::start());
}

pub fn pgbackrest_conforms(place: &mut Place) {
    if is_there(place, "pgbackrest_conforms") {
        conforms(place, Name::PgBackRest, &Disk);
        damage_is_found(place, Name::PgBackRest);
    }
}

pub fn pgbackrest_conforms_in_a_bucket(place: &mut Place) {
    if is_there(place, "pgbackrest_conforms_in_a_bucket") {
        conforms(place, Name::PgBackRest, &Storage::start());
    }
}

fn is_there(place: &Place, name: &str) -> bool {
    let there = place.setup.backrest_image.is_some();
    if !there {
        println!("1 not run: pgBackRest is not installed ({name})");
    }
    there
}

/// The suite, over one member with a ledger of 60 rows and two backups, of 4 and of 29 of them.
fn conforms(place: &Place, name: Name, shelf: &dyn Shelf) {
    let (mut driver, goal) = archive::archiving_to(place, shelf.archive(place, name));
    let entries = archive::ledger(place, &mut *driver, &goal);
    let engine = archive::opened(place, goal.archive.as_deref().expect("it archives"));
    assert_eq!(engine.capabilities(), name.capabilities());
    assert_eq!(ids(&*engine), [5, 30]);
    let manifest = engine.lineage().manifest(BackupId(30)).expect("there");
    assert!(manifest.backup.bytes > 1 << 20 && manifest.backup.stored > 1 << 16, "{manifest:?}");
    assert!(engine.verify(&manifest, None).is_empty());
    // What was taken is not taken again.
    assert_eq!(archive::backup(place, &goal, 30), manifest.backup);
    log_goes_in_once_and_comes_out(place, &*engine, shelf);
    for (member, target, rows) in
        [(60, Target::Latest, 60), (61, Target::Position(entries[40].end), 41)]
    {
        let other = archive::restoring(place, &goal, member, target);
        assert_eq!(archive::restored(place, &other, COUNT), rows.to_string());
    }
    nothing_needed_is_let_go(place, &goal, &*engine);
    histories_are_kept_apart(place, &mut *driver, goal, &*engine, name);
}

fn ids(engine: &dyn Engine) -> Vec<u32> {
    let all = engine.lineage().backups().expect("asked");
    all.iter().map(|manifest| manifest.backup.id.0).collect()
}

/// A segment that the server archived, by its name.
fn a_segment(place: &Place, engine: &dyn Engine, number: u32) -> String {
    let name = format!("{:08X}{:08X}{:08X}", 1, 0, number);
    assert_eq!(engine.has(&name), Ok(true), "{name} in {}", place.dir.path().display());
    name
}

fn fetched(place: &Place, engine: &dyn Engine, name: &str) -> Result<Vec<u8>, Error> {
    let to = place.dir.path().join("fetched");
    let _ = fs::remove_file(&to);
    engine.fetch(name, &place.data(1), &to)?;
    Ok(fs::read(&to).expect("fetched"))
}

fn log_goes_in_once_and_comes_out(place: &Place, engine: &dyn Engine, shelf: &dyn Shelf) {
    let push =
        |name: &str, bytes: &[u8], term| archive::push(place, engine, name, bytes, Term(term));
    let name = a_segment(place, engine, 4);
    let content = fetched(place, engine, &name).expect("there");
    assert_eq!(content.len(), 4 << 20);
    assert_eq!(push(&name, &content, 1), Ok(Archived::Already));
    let mut other = content.clone();
    other[9000] ^= 1;
    let refused = push(&name, &other, 1);
    assert!(matches!(refused, Err(Error::Differs { .. })), "{refused:?}");
    assert_eq!(fetched(place, engine, &name), Ok(content.clone()), "nothing was overwritten");
    // What a server archives beside segments.
    for (name, text) in [
        ("0000000100000000000000F0.00000028.backup", &b"START WAL LOCATION: 0/1\n"[..]),
        ("00000001.history", b"# of nothing before it\n"),
    ] {
        assert_eq!(push(name, text, 1), Ok(Archived::Stored), "{name}");
        assert_eq!(push(name, text, 1), Ok(Archived::Already), "{name}");
        assert_eq!(fetched(place, engine, name).as_deref(), Ok(text), "{name}");
        assert!(matches!(push(name, b"other\n", 1), Err(Error::Differs { .. })), "{name}");
    }
    for absent in ["0000000100000000000000F0", "0000000B.history", "000000020000000000000004"] {
        let answer = fetched(place, engine, absent);
        assert!(matches!(answer, Err(Error::NotThere { .. })), "{absent}: {answer:?}");
        assert_eq!(engine.has(absent), Ok(false));
    }
    shelf.away(place);
    for asked in [name.as_str(), "0000000100000000000000F0"] {
        let answer = fetched(place, engine, asked);
        assert!(matches!(answer, Err(Error::Unreachable { .. })), "{asked}: {answer:?}");
        assert!(engine.has(asked).is_err() && push(asked, &content, 1).is_err());
    }
    assert!(engine.lineage().backups().is_err() && engine.newest_timeline(1).is_err());
    shelf.back(place);
    assert_eq!(fetched(place, engine, &name), Ok(content));
    assert_eq!((engine.newest_timeline(0), engine.newest_timeline(7)), (Ok(1), Ok(7)));
}

fn nothing_needed_is_let_go(place: &Place, goal: &Goal, engine: &dyn Engine) {
    let first = engine.lineage().manifest(BackupId(5)).expect("there").backup;
    let before = Position(u64::MAX);
    let what = What::Expire { backups: vec![BackupId(5)], before };
    let done = archive::job(place, goal, 71, what.clone());
    assert!(matches!(done, Ok(Done::Expired { objects }) if objects > 2), "{done:?}");
    assert_eq!(ids(engine), [30]);
    let segment = |at: Position| format!("{:08X}{:08X}{:08X}", 1, 0, at.0 >> 22);
    let kept = engine.lineage().manifest(BackupId(30)).expect("there").backup;
    assert_eq!(engine.has(&segment(first.from)), Ok(false), "nobody needs it");
    assert_eq!(engine.has(&segment(kept.from)), Ok(true), "it is what the other begins with");
    let again = archive::job(place, goal, 72, what);
    assert_eq!(again, Ok(Done::Expired { objects: again_of(&again) }), "safe to repeat");
    assert!(
        engine.verify(&engine.lineage().manifest(BackupId(30)).expect("there"), None).is_empty()
    );
    let other = archive::restoring(place, goal, 62, Target::Latest);
    assert_eq!(archive::restored(place, &other, COUNT), "60");
}

fn again_of(done: &Result<Done, String>) -> u64 {
    match done {
        Ok(Done::Expired { objects }) => *objects,
        other => panic!("{other:?}"),
    }
}

fn histories_are_kept_apart(
    place: &Place,
    driver: &mut dyn Driver,
    mut goal: Goal,
    engine: &dyn Engine,
    name: Name,
) {
    let push =
        |name: &str, bytes: &[u8], term| archive::push(place, engine, name, bytes, Term(term));
    // The other engine neither reads nor writes here, and nothing it does not find is taken for an end.
    let other = if name == Name::Native { Name::PgBackRest } else { Name::Native };
    let mut wrong = Archive { engine: other, ..*goal.archive.clone().expect("it archives") };
    if other == Name::Native || place.setup.backrest_image.is_some() {
        let theirs = archive::opened(place, &wrong);
        let refused = archive::push(place, &*theirs, "0000000C.history", b"x\n", Term(9));
        assert!(matches!(refused, Err(Error::OtherEngine { .. })), "{refused:?}");
        wrong.lineage.0.push_str("-none");
        assert_eq!(archive::opened(place, &wrong).lineage().is_ours(), Ok(()), "not begun yet");
        assert!(matches!(theirs.lineage().is_ours(), Err(Error::OtherEngine { .. })));
        let mut theirs = goal.clone();
        theirs.archive.as_mut().expect("it archives").engine = other;
        let what = What::Backup { rate_max: 0 };
        let error = archive::job(place, &theirs, 73, what).expect_err("another's");
        assert!(error.contains("was begun with engine"), "{error}");
    }
    // A newer term has begun elsewhere: what is written in this one is not taken any more.
    assert_eq!(push("00000002.history", b"1\t0/0\tno reason\n", 2), Ok(Archived::Stored));
    assert_eq!(push("00000002.history", b"1\t0/0\tno reason\n", 1), Ok(Archived::Already));
    let stale = push("00000003.history", b"1\t0/0\tno reason\n", 1);
    assert!(matches!(stale, Err(Error::Stale { .. })), "{stale:?}");
    assert_eq!(engine.has("00000003.history"), Ok(false));
    assert_eq!(engine.newest_timeline(1), Ok(2));
    archive::write(place, 61);
    super::as_evenkeel(place, "SELECT pg_switch_wal()");
    super::until(|| {
        let trouble = driver.archived(&goal).expect("asked").trouble;
        trouble.is_some_and(|words| words.contains("has begun"))
    });
    goal.term = Term(2);
    driver.configure(&goal).expect("configured");
    archive::flush(driver, &goal);
}

/// One bit in a backup's data, or in a file of the log.
fn damage_is_found(place: &Place, name: Name) {
    let found = Archive { engine: name, ..archive::archive(place, 1) };
    let engine = archive::opened(place, &found);
    let manifest = engine.lineage().manifest(BackupId(30)).expect("there");
    let largest =
        largest_below(&root(place), |path| !path.contains("/log/") && !path.contains("/archive/"));
    archive::flip(&largest);
    let wrong = engine.verify(&manifest, None);
    assert!(matches!(&wrong[..], [Error::Damaged { .. }]), "{wrong:?} in {}", largest.display());
    let into = place.dir.path().join("into");
    fs::create_dir(&into).expect("made");
    engine.restore(&manifest, &into).expect_err("it is damaged");
    archive::flip(&largest);
    assert!(engine.verify(&manifest, None).is_empty(), "whole again");
    let log =
        largest_below(&root(place), |path| path.contains("/log/") || path.contains("/archive/"));
    let file = log.file_name().expect("a name").to_string_lossy()[..24].to_owned();
    fetched(place, &*engine, &file).expect("whole");
    archive::flip(&log);
    let answer = fetched(place, &*engine, &file);
    assert!(matches!(answer, Err(Error::Damaged { .. })), "{answer:?}");
    archive::flip(&log);
}

fn largest_below(root: &Path, wanted: impl Fn(&str) -> bool) -> PathBuf {
    let (mut open, mut best) = (vec![root.to_owned()], (0, PathBuf::new()));
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("there").map(|entry| entry.expect("there")) {
            let found = entry.metadata().expect("there");
            if found.is_dir() {
                open.push(entry.path());
            } else if found.len() > best.0 && wanted(&entry.path().to_string_lossy()) {
                best = (found.len(), entry.path());
            }
        }
    }
    best.1
}

pub fn no_secret_is_left(place: &mut Place) {
    if !is_there(place, "pgbackrest_leaves_no_secret_where_others_read") {
        return;
    }
    let storage = Storage::start();
    let archive = storage.archive(place, Name::PgBackRest);
    let key = archive.key.0.clone();
    let (mut driver, goal) = archive::archiving_to(place, archive);
    archive::ledger(place, &mut *driver, &goal);
    let other = archive::restoring(place, &goal, 60, Target::Latest);
    let mut restoring = place.driver();
    restoring.initialize(&other).expect("restored");
    let below = place.setup.members_dir.join("60/engine");
    assert!(!below.exists(), "what was restored from is nobody's business here");
    let (mut open, mut with) = (vec![place.setup.members_dir.clone()], 0);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("there").map(|entry| entry.expect("there")) {
            let (found, path) = (entry.metadata().expect("there"), entry.path());
            if found.is_dir() {
                open.push(path);
                continue;
            }
            let text = fs::read(&path).expect("readable");
            let secret = |secret: &[u8]| text.windows(secret.len()).any(|part| part == secret);
            if secret(key.as_bytes()) || secret(b"a secret") {
                let mode = found.permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", path.display());
                with += 1;
            }
        }
    }
    assert!(with > 1, "its settings and pgBackRest's were looked at");
}

/// A primary and its standby archive the same files, at once and again and again.
pub fn two_servers_archive_one_log(place: &mut Place) {
    if !is_there(place, "two_servers_archive_one_log") {
        return;
    }
    let archive = Archive { engine: Name::PgBackRest, ..archive::archive(place, 1) };
    let (_driver, _goal, _) = place.serving();
    let (data, log) = (place.data(1), place.dir.path().join("log"));
    fs::create_dir(&log).expect("made");
    let segment = fs::read_dir(data.join("pg_wal")).expect("there");
    let segment = segment.filter_map(Result::ok).find(|entry| entry.file_name().len() == 24);
    let content = fs::read(segment.expect("a segment").path()).expect("readable");
    let writers: Vec<Box<dyn Engine>> = (0..3)
        .map(|number| {
            let dir = place.dir.path().join(format!("writer-{number}"));
            let backrest = place.setup.backrest_image.clone();
            let tools = evenkeel_drivers::backup::engine::Tools { dir, backrest };
            evenkeel_drivers::backup::engine::open(&archive, &tools).expect("opened")
        })
        .collect();
    let names: Vec<String> = (0..8).map(|n| format!("0000000100000000000001{n:02X}")).collect();
    std::thread::scope(|scope| {
        for writer in &writers {
            let (names, log, data, content) = (&names, &log, &data, &content);
            scope.spawn(move || {
                for name in names {
                    let own = log.join(format!("{:?}", std::thread::current().id()));
                    fs::create_dir_all(&own).expect("made");
                    let path = own.join(name);
                    fs::write(&path, content).expect("written");
                    let file = LogFile { name, path: &path, data };
                    writer
                        .push(&file, Term(1), &Paced::new(None, Level::Fine))
                        .expect("stored, by whomever");
                }
            });
        }
    });
    let engine = archive::opened(place, &archive);
    for name in &names {
        assert!(fetched(place, &*engine, name) == Ok(content.clone()), "{name} is whole");
    }
}
