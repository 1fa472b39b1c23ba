//! The archive of a real server: its log, backups, restores to points, proofs, and what goes wrong.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use evenkeel_core::backup::archive::{Archived, Error};
use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::job::{Backup, Done, Job, Missed, Proof, What};
use evenkeel_core::backup::lineage::{
    Archive, BackupId, Lineage, Location, Repository, Seed, Target,
};
use evenkeel_core::driver::{Answer, Directory, Driver};
use evenkeel_core::goal::{Goal, Password, StopMode};
use evenkeel_core::id::Term;
use evenkeel_core::moment::Moment;
use evenkeel_core::promise::Position;
use evenkeel_drivers::backup::pace::Paced;
use evenkeel_drivers::backup::{engine, repository};

use super::storage::{Fault, Storage};
use super::{Place, as_owner, until, value_as_owner};

/// Bytes of a segment of the log.
const SEGMENT: u64 = 4 << 20;

/// A repository in a directory of the test's.
pub fn repository(place: &Place, name: &str) -> Repository {
    let path = text(place.dir.path().join("repositories").join(name));
    let location = Location::Directory { path };
    let repository = Repository { name: name.to_owned(), location };
    repository::found(&repository).expect("an empty directory");
    repository
}

fn text(path: PathBuf) -> String {
    path.to_str().expect("a plain path").to_owned()
}

pub fn archive(place: &Place, generation: u32) -> Archive {
    Archive {
        lineage: Lineage(format!("store/1-{generation}")),
        engine: Engine::Native,
        key: Password(format!("{generation:064x}")),
        wrapped: "wrapped".to_owned(),
        repositories: vec![repository(place, "here")],
    }
}

/// A member that archives.
pub fn archiving(place: &Place) -> (Box<dyn Driver>, Goal) {
    archiving_to(place, archive(place, 1))
}

pub fn archiving_to(place: &Place, archive: Archive) -> (Box<dyn Driver>, Goal) {
    let (mut driver, mut goal, _) = place.serving();
    goal.archive = Some(Box::new(archive));
    driver.configure(&goal).expect("configured");
    (driver, goal)
}

/// An archive as its engine has it.
pub fn opened(place: &Place, archive: &Archive) -> Box<dyn engine::Engine> {
    let backrest = place.setup.backrest_image.clone();
    let tools = engine::Tools { dir: place.dir.path().join("tools"), backrest };
    engine::open(archive, &tools).expect("opened")
}

/// Stores a file of the log that no server wrote.
pub fn push(
    place: &Place,
    engine: &dyn engine::Engine,
    name: &str,
    content: &[u8],
    term: Term,
) -> Result<Archived, Error> {
    let path = place.dir.path().join(name);
    fs::write(&path, content).expect("written");
    let data = place.data(1);
    let pace = Paced::new(None, Level::Fine);
    engine.push(&engine::LogFile { name, path: &path, data: &data }, term, &pace)
}

pub fn job(place: &Place, goal: &Goal, id: u32, what: What) -> Result<Done, String> {
    place.driver().job(goal, &Job { id, what }).map_err(|error| error.to_string())
}

pub fn backup(place: &Place, goal: &Goal, id: u32) -> Backup {
    match job(place, goal, id, What::Backup { rate_max: 0 }) {
        Ok(Done::Backup(backup)) => backup,
        other => panic!("{other:?}"),
    }
}

/// Has everything archived that was written so far.
pub fn flush(driver: &mut dyn Driver, goal: &Goal) {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let mut goal = goal.clone();
    goal.flush = NUMBER.fetch_add(1, Ordering::Relaxed);
    until(|| driver.flush(&goal).expect("asked"));
}

pub fn seed(goal: &Goal, target: Target) -> Seed {
    let archive = goal.archive.as_deref().expect("it archives").clone();
    Seed { archive, backup: None, target, owner: "orders-2".to_owned(), covered: true }
}

/// Another member's goal, made from a seed.
pub fn restoring(place: &Place, goal: &Goal, member: u32, target: Target) -> Goal {
    let mut other = place.goal(member, 1);
    other.seed = Some(Box::new(seed(goal, target)));
    (other.term, other.port) = (Term(goal.term.0 + 16), super::free_port());
    other
}

/// Restores, starts, and says what a statement gives.
pub fn restored(place: &Place, goal: &Goal, statement: &str) -> String {
    let mut driver = place.driver();
    driver.initialize(goal).expect("restored");
    driver.configure(goal).expect("configured");
    driver.start(goal).expect("started");
    until(|| driver.probe(goal, false) == Answer::Accepting);
    driver.prepare(goal).expect("prepared");
    assert_eq!(driver.probe(goal, true), Answer::Writing);
    let value = value_as_owner(goal.port, "a password", statement).expect("asked");
    driver.stop(goal, StopMode::Fast).expect("stopped");
    driver.remove(goal).expect("removed");
    value.unwrap_or_default()
}

/// A commit of a ledger: its number, and when and where it ended.
pub struct Entry {
    pub number: u64,
    pub at: Moment,
    pub end: Position,
}

pub fn write(place: &Place, number: u64) -> Entry {
    let ask = |text: &str| value_as_owner(place.port, "a password", text).expect("written");
    ask(&format!("INSERT INTO ledger VALUES ({number}, repeat('x', 3000))"));
    // One client writes: what is written next begins where this ended, and is later.
    let text = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ' ' \
                || pg_current_wal_insert_lsn()";
    let said = ask(text).expect("a row");
    let (at, end) = said.split_once(' ').expect("two words");
    let end = end.parse().expect("a position");
    Entry { number, at: Moment(at.parse().expect("a number")), end }
}

/// A ledger with a backup in its midst, all of it archived.
pub fn ledger(place: &Place, driver: &mut dyn Driver, goal: &Goal) -> Vec<Entry> {
    as_owner(place.port, "a password", "CREATE TABLE ledger (n bigint, t text)").expect("made");
    let mut entries = Vec::new();
    for number in 1..=60 {
        if number == 5 || number == 30 {
            backup(place, goal, u32::try_from(number).expect("small"));
        }
        entries.push(write(place, number));
    }
    flush(driver, goal);
    entries
}

/// How many points a ledger is restored to; each takes a second.
fn points() -> usize {
    std::env::var("POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

pub fn a_restore_ends_where_it_was_told_to(place: &mut Place) {
    let (mut driver, goal) = archiving(place);
    let entries = ledger(place, &mut *driver, &goal);
    let all = "SELECT string_agg(n::text, ',' ORDER BY n) FROM ledger";
    let expected = |upto: u64| (1..=upto).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let count = points();
    for round in 0..count {
        // Spread over the ledger, every one another transaction: by position and by time in turn.
        let entry = &entries[5 + round * 53 / count];
        let target = match round % 2 {
            0 => Target::Position(entry.end),
            _ => Target::Moment(entry.at),
        };
        let member = 10 + u32::try_from(round).expect("small");
        let other = restoring(place, &goal, member, target.clone());
        assert_eq!(restored(place, &other, all), expected(entry.number), "{target}");
    }
    // A name, the end, and a moment after the last commit.
    value_as_owner(place.port, "a password", "INSERT INTO ledger VALUES (61)").expect("written");
    super::as_evenkeel(place, "SELECT pg_create_restore_point('before the upgrade')");
    write(place, 62);
    flush(&mut *driver, &goal);
    let point = Target::Point("before the upgrade".to_owned());
    let other = restoring(place, &goal, 90, point);
    assert_eq!(restored(place, &other, all), expected(61));
    let far = "2100-01-01T00:00:00Z".parse().expect("a moment");
    for (member, target) in [(91, Target::Latest), (92, Target::Moment(far))] {
        let other = restoring(place, &goal, member, target);
        assert_eq!(restored(place, &other, all), expected(62));
    }
    // What cannot be is refused by name, and nothing is left behind as if it were whole.
    let wrong = [
        (Target::Point("nowhere".to_owned()), "before configured recovery target"),
        (Target::Position(Position(u64::MAX >> 1)), "before configured recovery target"),
        (Target::Position(Position(1)), "before its first backup"),
        (Target::Moment(Moment(1)), "before its first backup"),
    ];
    for (member, (target, words)) in (94..).zip(wrong) {
        let other = restoring(place, &goal, member, target.clone());
        let mut driver = place.driver();
        let error = driver.initialize(&other).expect_err("refused").to_string();
        assert!(error.contains(words), "{target}: {error}");
        assert_eq!(driver.directory(&other), Ok(Directory::Partial));
        driver.discard(&other).expect("discarded");
    }
}

pub fn a_backup_is_proven_and_damage_is_found(place: &mut Place) {
    let (mut driver, goal) = archiving(place);
    ledger(place, &mut *driver, &goal);
    let prove = |seed: Seed| job(place, &goal, 70, What::Prove(Box::new(seed)));
    let Ok(Done::Proof(proof)) = prove(seed(&goal, Target::Latest)) else { panic!("proven") };
    let Proof { backup, relations, wrong, canary, restore_ms, .. } = proof;
    assert_eq!((backup, &wrong[..]), (BackupId(30), &[][..]));
    assert!(relations > 100 && restore_ms > 0 && canary.is_some(), "{relations} relations");
    let left = fs::read_dir(&place.setup.members_dir).expect("there").filter_map(Result::ok);
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("proof")));
    // One bit in a backup's data, or in a file of the log, and it is no proof.
    let root = place.dir.path().join("repositories/here/store/1-1");
    let base = root.join("backups/30/base");
    flip(&base);
    let error = prove(seed(&goal, Target::Latest)).expect_err("damaged");
    assert!(error.contains("changed or cut off") || error.contains("unpack"), "{error}");
    flip(&base);
    prove(seed(&goal, Target::Latest)).expect("whole again");
    let mut log: Vec<PathBuf> = fs::read_dir(root.join("log/00000001"))
        .expect("there")
        .map(|entry| entry.expect("there").path())
        .filter(|path| path.extension().is_none())
        .collect();
    log.sort();
    let last = log.last().expect("a segment");
    flip(last);
    let error = prove(seed(&goal, Target::Latest)).expect_err("its log is damaged");
    assert!(error.contains("is damaged"), "a damaged file is not the end of the log: {error}");
}

pub fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

pub fn what_is_let_go_is_nothing_that_is_needed(place: &mut Place) {
    let (mut driver, goal) = archiving(place);
    ledger(place, &mut *driver, &goal);
    let opened = opened(place, goal.archive.as_deref().expect("it archives"));
    let ids = || -> Vec<u32> {
        let backups = opened.lineage().backups().expect("asked");
        backups.iter().map(|manifest| manifest.backup.id.0).collect()
    };
    assert_eq!(ids(), [5, 30]);
    // Whoever asks for too much of the log gets no more than nobody needs.
    let before = Position(u64::MAX);
    let what = What::Expire { backups: vec![BackupId(5)], before };
    let Ok(Done::Expired { objects }) = job(place, &goal, 71, what) else { panic!("expired") };
    assert!(objects > 2, "{objects} objects");
    assert_eq!(ids(), [30]);
    let other = restoring(place, &goal, 80, Target::Latest);
    assert_eq!(restored(place, &other, "SELECT count(*) FROM ledger"), "60");
}

pub fn a_repository_that_fails_stops_no_server(place: &mut Place) {
    let (mut driver, goal) = archiving(place);
    as_owner(place.port, "a password", "CREATE TABLE ledger (n bigint, t text)").expect("made");
    backup(place, &goal, 1);
    write(place, 1);
    flush(&mut *driver, &goal);
    // Its disk is not mounted: the directory is there, and empty.
    let (root, aside) =
        (place.dir.path().join("repositories/here"), place.dir.path().join("repositories/away"));
    fs::rename(&root, &aside).expect("renamed");
    fs::create_dir(&root).expect("made");
    write(place, 2);
    super::as_evenkeel(place, "SELECT pg_switch_wal()");
    write(place, 3);
    until(|| {
        let archived = driver.archived(&goal).expect("asked");
        let told = archived.trouble.as_ref().is_some_and(|words| words.contains("mounted"));
        archived.pending_bytes > 0 && archived.behind_since.is_some() && told
    });
    assert_eq!(driver.probe(&goal, true), Answer::Writing);
    let error = job(place, &goal, 2, What::Backup { rate_max: 0 }).expect_err("there is nowhere");
    assert!(error.contains("mounted"), "{error}");
    // Nothing may be taken for the end of the log while nobody can be asked.
    let other = restoring(place, &goal, 81, Target::Latest);
    let error = place.driver().initialize(&other).expect_err("nobody can be asked").to_string();
    assert!(error.contains("mounted"), "{error}");
    place.driver().discard(&other).expect("discarded");
    fs::remove_dir(&root).expect("empty still");
    fs::rename(&aside, &root).expect("renamed");
    flush(&mut *driver, &goal);
    assert_eq!(driver.archived(&goal).expect("asked").pending_bytes, 0);
    let other = restoring(place, &goal, 82, Target::Latest);
    assert_eq!(restored(place, &other, "SELECT count(*) FROM ledger"), "3");
}

pub fn a_bucket_is_as_good_as_a_directory(place: &mut Place) {
    let storage = Storage::start();
    let bucket = storage.place("far");
    repository::found(&bucket).expect("founded");
    let (mut driver, mut goal, _) = place.serving();
    let archive = Archive { repositories: vec![bucket], ..archive(place, 1) };
    goal.archive = Some(Box::new(archive));
    driver.configure(&goal).expect("configured");
    let entries = ledger(place, &mut *driver, &goal);
    let count = "SELECT count(*) FROM ledger";
    let other = restoring(place, &goal, 60, Target::Position(entries[40].end));
    assert_eq!(restored(place, &other, count), "41");
    let what = What::Prove(Box::new(seed(&goal, Target::Latest)));
    assert!(
        matches!(job(place, &goal, 70, what), Ok(Done::Proof(proof)) if proof.wrong.is_empty())
    );
    // It says that it stores, and stores nothing; it breaks; it has no room: the log stays here.
    for (number, fault) in (61..).zip([Fault::Lies, Fault::Breaks, Fault::Full]) {
        storage.set(fault);
        write(place, number);
        super::as_evenkeel(place, "SELECT pg_switch_wal()");
        until(|| {
            let archived = driver.archived(&goal).expect("asked");
            archived.pending_bytes > 0 && archived.trouble.is_some()
        });
        assert_eq!(driver.probe(&goal, true), Answer::Writing, "{fault:?}");
        storage.set(Fault::None);
        flush(&mut *driver, &goal);
    }
    storage.set(Fault::Breaks);
    let other = restoring(place, &goal, 61, Target::Latest);
    let error = place.driver().initialize(&other).expect_err("it cannot be asked").to_string();
    assert!(error.contains("500"), "{error}");
    place.driver().discard(&other).expect("discarded");
    storage.set(Fault::None);
    assert_eq!(restored(place, &other, count), "63");
}

pub fn a_disk_that_fills_slows_writers_and_then_takes_no_writes(place: &mut Place) {
    let (mut driver, goal) = archiving(place);
    let ask = |text: &str| value_as_owner(place.port, "a password", text);
    let show = |name: &str| ask(&format!("SHOW {name}")).expect("asked").unwrap_or_default();
    as_owner(place.port, "a password", "CREATE TABLE ledger (n bigint, t text)").expect("made");
    let room = driver.archived(&goal).expect("asked").room.expect("a disk");
    assert!(room.total >= room.free && room.free > 0, "{room:?}");
    driver.guard(&goal, Level::Throttle).expect("told");
    until(|| show("commit_delay") == "100000" && show("commit_siblings") == "0");
    write(place, 1);
    // A statement that would go on writing until the disk is full is ended with it.
    let port = place.port;
    let endless = "INSERT INTO ledger SELECT generate_series(1, 1000000000), repeat('x', 1000)";
    let writer = std::thread::spawn(move || as_owner(port, "a password", endless));
    let writes = "SELECT count(*)::text FROM pg_stat_activity WHERE backend_xid IS NOT NULL";
    until(|| ask(writes).expect("asked").as_deref() == Some("1"));
    driver.guard(&goal, Level::ReadOnly).expect("told");
    let error = writer.join().expect("it ends").expect_err("it would never end");
    assert!(error.contains("terminating connection"), "{error}");
    until(|| show("default_transaction_read_only") == "on");
    let error = ask("INSERT INTO ledger VALUES (2)").expect_err("there is no room").to_string();
    assert!(error.contains("read-only"), "{error}");
    assert_eq!(ask("SELECT count(*)::text FROM ledger").expect("readable").as_deref(), Some("1"));
    // It is known by its writes still, and what is written for it is as ever.
    assert_eq!(driver.probe(&goal, true), Answer::Writing);
    driver.prepare(&goal).expect("prepared");
    driver.configure(&goal).expect("configured");
    assert_eq!(show("default_transaction_read_only"), "on", "settings do not undo it");
    driver.guard(&goal, Level::Fine).expect("told");
    until(|| show("default_transaction_read_only") == "off" && show("commit_delay") == "0");
    write(place, 2);
}

pub fn what_was_stopped_is_archived_to_its_end(place: &mut Place) {
    let (mut driver, goal) = archiving(place);
    ledger(place, &mut *driver, &goal);
    let last = || job(place, &goal, 70, What::Last(Box::new(seed(&goal, Target::Latest))));
    let error = last().expect_err("its server runs");
    assert!(error.contains("not stopped cleanly"), "{error}");
    // It is stopped while there is nowhere to put what it wrote last.
    let (root, aside) =
        (place.dir.path().join("repositories/here"), place.dir.path().join("repositories/away"));
    fs::rename(&root, &aside).expect("renamed");
    write(place, 61);
    driver.stop(&goal, StopMode::Fast).expect("stopped");
    driver.seal(&goal, true).expect("sealed");
    let error = last().expect_err("there is nowhere");
    assert!(error.contains("repositor"), "{error}");
    fs::rename(&aside, &root).expect("renamed");
    let Ok(Done::Proof(proof)) = last() else { panic!("archived") };
    assert_eq!(proof.wrong, [""; 0]);
    // What is missing at the end is found.
    let log = root.join("store/1-1/log/00000001");
    let mut names: Vec<PathBuf> =
        fs::read_dir(&log).expect("there").map(|entry| entry.expect("there").path()).collect();
    names.sort();
    let newest = names.pop().expect("a segment");
    fs::rename(&newest, place.dir.path().join("kept")).expect("renamed");
    let Ok(Done::Proof(proof)) = last() else { panic!("a proof that says so") };
    assert!(proof.wrong.iter().any(|wrong| wrong.contains("its log ends at")), "{proof:?}");
    fs::rename(place.dir.path().join("kept"), &newest).expect("renamed");
    driver.remove(&goal).expect("removed");
    let other = restoring(place, &goal, 61, Target::Latest);
    assert_eq!(restored(place, &other, "SELECT count(*) FROM ledger"), "61");
}

pub fn two_histories_never_share_a_lineage(place: &mut Place) {
    let (mut driver, mut goal) = archiving(place);
    as_owner(place.port, "a password", "CREATE TABLE ledger (n bigint, t text)").expect("made");
    backup(place, &goal, 1);
    write(place, 1);
    flush(&mut *driver, &goal);
    let opened = opened(place, goal.archive.as_deref().expect("it archives"));
    // A newer term has begun elsewhere: what is written in this one is not taken any more.
    push(place, &*opened, "00000002.history", b"1\t0/0\tno reason\n", Term(2)).expect("stored");
    write(place, 2);
    super::as_evenkeel(place, "SELECT pg_switch_wal()");
    until(|| {
        let trouble = driver.archived(&goal).expect("asked").trouble;
        trouble.is_some_and(|words| words.contains("has begun"))
    });
    // The same name with other content is refused, with the same it is there.
    let error = push(place, &*opened, "00000002.history", b"other", Term(2)).expect_err("refused");
    assert!(error.to_string().contains("other content"), "{error}");
    push(place, &*opened, "00000002.history", b"1\t0/0\tno reason\n", Term(2))
        .expect("it is there");
    push(place, &*opened, "00000002.history", b"1\t0/0\tno reason\n", Term(1))
        .expect("nothing is written");
    goal.term = Term(2);
    driver.configure(&goal).expect("configured");
    flush(&mut *driver, &goal);
}

pub fn log_that_is_given_up_is_gone_once_and_for_all(place: &mut Place) {
    let (mut driver, goal) = archiving(place);
    as_owner(place.port, "a password", "CREATE TABLE ledger (n bigint, t text)").expect("made");
    backup(place, &goal, 1);
    write(place, 1);
    flush(&mut *driver, &goal);
    let root = place.dir.path().join("repositories/here");
    let aside = place.dir.path().join("repositories/away");
    fs::rename(&root, &aside).expect("renamed");
    let pending = |driver: &mut dyn Driver| driver.archived(&goal).expect("asked").pending_bytes;
    let segment = |place: &Place, number| {
        write(place, number);
        super::as_evenkeel(place, "SELECT pg_switch_wal()");
    };
    // The first of them may be on its way just now, and is tried to the end.
    segment(place, 2);
    segment(place, 22);
    until(|| pending(&mut *driver) > SEGMENT);
    let Ok(Done::GaveUp { bytes }) = job(place, &goal, 7, What::GiveUp) else { panic!("given up") };
    assert!(bytes > SEGMENT, "{bytes}");
    assert_eq!(pending(&mut *driver), 0);
    // Begun again, as after a crash of its agent: what came later is not given up.
    segment(place, 3);
    until(|| pending(&mut *driver) > 0);
    assert_eq!(job(place, &goal, 7, What::GiveUp), Ok(Done::GaveUp { bytes: 0 }));
    assert!(pending(&mut *driver) > 0);
    fs::rename(&aside, &root).expect("renamed");
    flush(&mut *driver, &goal);
    // The log has a hole: nothing past it is reached, and no end of it is taken for what was asked for.
    let end = write(place, 4).end;
    flush(&mut *driver, &goal);
    let other = restoring(place, &goal, 83, Target::Position(end));
    let error = place.driver().initialize(&other).expect_err("a hole").to_string();
    assert!(error.contains("before configured recovery target"), "{error}");
    place.driver().discard(&other).expect("discarded");
    backup(place, &goal, 8);
    let other = restoring(place, &goal, 84, Target::Latest);
    assert_eq!(restored(place, &other, "SELECT count(*) FROM ledger"), "5");
}

pub fn a_repository_that_was_away_gets_what_others_took(place: &mut Place) {
    let (mut driver, mut goal) = archiving(place);
    let (here, far) = (repository(place, "here"), repository(place, "far"));
    let archive = Archive { repositories: vec![here, far], ..archive(place, 1) };
    goal.archive = Some(Box::new(archive));
    driver.configure(&goal).expect("configured");
    as_owner(place.port, "a password", "CREATE TABLE ledger (n bigint, t text)").expect("made");
    write(place, 1);
    flush(&mut *driver, &goal);
    assert_eq!(driver.archived(&goal).expect("asked").missed, []);
    let root = place.dir.path().join("repositories");
    fs::rename(root.join("far"), root.join("away")).expect("renamed");
    for number in 2..=4 {
        write(place, number);
        flush(&mut *driver, &goal);
    }
    backup(place, &goal, 1);
    let missed = |driver: &mut dyn Driver| driver.archived(&goal).expect("asked").missed;
    assert_eq!(missed(&mut *driver), [Missed { repository: "far".to_owned(), over: false }]);
    let error = job(place, &goal, 2, What::Even).expect_err("it is away").to_string();
    assert!(error.contains("mounted"), "{error}");
    fs::rename(root.join("away"), root.join("far")).expect("renamed");
    let Ok(Done::Evened { objects }) = job(place, &goal, 3, What::Even) else { panic!("evened") };
    assert!(objects > 3, "{objects} objects");
    assert_eq!(missed(&mut *driver), []);
    assert_eq!(job(place, &goal, 4, What::Even), Ok(Done::Evened { objects: 0 }));
    // The other one is lost: this one is enough.
    fs::remove_dir_all(root.join("here")).expect("lost");
    goal.archive.as_mut().expect("it archives").repositories.remove(0);
    let other = restoring(place, &goal, 85, Target::Latest);
    assert_eq!(restored(place, &other, "SELECT count(*) FROM ledger"), "4");
}
