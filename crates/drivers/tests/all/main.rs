//! The driver against a real PostgreSQL: the contract of drivers, and what is PostgreSQL's own.
//!
//! PostgreSQL does not run as root: as root each test runs itself again as an unprivileged user.

mod archive;
mod bucket;
mod checks;
mod contract;
mod engine;
mod import;
mod replication;
mod scripts;
mod storage;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use evenkeel_core::check::Thresholds;
use evenkeel_core::driver::{Answer, Directory, Driver, Error, Process};
use evenkeel_core::goal::{Goal, Identity, Login, RestartBudget, Role, StopMode, StoreId, Want};
use evenkeel_core::id::{Incarnation, MemberId, Revision, ServiceId, Term};
use evenkeel_core::kind::Kind;
use evenkeel_core::name::ServiceName;
use evenkeel_core::time::Span;
use evenkeel_drivers::image::Software;
use evenkeel_drivers::{Setup, driver, fill_pool, image, process};
use rustix::process::Signal;
use tokio_postgres::SimpleQueryMessage;

/// The user `nobody` of every Debian system.
const NOBODY: u32 = 65_534;
const INSIDE: &str = "EVENKEEL_DRIVERS_TEST_INSIDE";

/// Runs a test's body as a user that PostgreSQL runs as; says so if there is no PostgreSQL.
fn unprivileged(name: &str, body: fn(&mut Place)) {
    if image::host(Software::Postgres).is_err() {
        println!("1 not run: PostgreSQL is not installed ({name})");
        return;
    }
    if !rustix::process::getuid().is_root() {
        let mut place = Place::new(std::env::var_os(INSIDE).map(PathBuf::from));
        body(&mut place);
        return;
    }
    // Programs below a home directory cannot be run by others: copies are.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let this = std::env::current_exe().expect("this test");
    let copy = dir.path().join("test");
    fs::copy(&this, &copy).expect("copied");
    fs::copy(launcher(&this), dir.path().join("launch")).expect("copied");
    std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("root may");
    let status = Command::new(&copy)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, dir.path().join("launch"))
        .env("TMPDIR", dir.path())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .status()
        .expect("the copy runs");
    assert!(status.success(), "{name} failed as an unprivileged user");
}

fn launcher(this: &Path) -> PathBuf {
    let deps = this.parent().expect("a directory");
    deps.parent().expect("a directory").join("examples/launch")
}

/// A host's directories, and what runs in them at the end of a test.
struct Place {
    dir: tempfile::TempDir,
    setup: Setup,
    port: u16,
}

impl Place {
    fn new(launch: Option<PathBuf>) -> Self {
        let dir = tempfile::Builder::new().prefix("ek").tempdir().expect("a temporary directory");
        let this = std::env::current_exe().expect("this test");
        let launch = launch.unwrap_or_else(|| launcher(&this));
        let setup = Setup {
            host: "h1".into(),
            members_dir: dir.path().join("members"),
            socket_root: dir.path().join("s"),
            pool_dir: dir.path().join("pool"),
            pool_target: 1,
            image: Some(image::host(Software::Postgres).expect("installed")),
            launcher: vec![launch.display().to_string()],
            address: "127.0.0.1".into(),
            poolers_dir: dir.path().join("poolers"),
            pooler_image: image::host(Software::PgBouncer).ok(),
            backrest_image: image::host(Software::PgBackRest).ok(),
        };
        Self { dir, setup, port: free_port() }
    }

    fn driver(&self) -> Box<dyn Driver> {
        driver("postgres", &self.setup).expect("there is one")
    }

    fn goal(&self, member: u32, incarnation: u32) -> Goal {
        let kind = evenkeel_kinds::postgres::Postgres;
        let secret = kind.secret("a password", &[7; 16]);
        let verifier = kind.verifier(&secret).expect("its own secret");
        Goal {
            store: StoreId("store".into()),
            succeeds: Vec::new(),
            identity: Identity {
                service: ServiceId(member),
                name: ServiceName::new("orders-2").expect("a good name"),
                kind: "postgres".into(),
                plan: "dev".into(),
                endpoint_port: 21000,
                members: Vec::new(),
                key: "fleet".into(),
            }
            .into(),
            member: MemberId(member),
            incarnation: Incarnation(incarnation),
            term: Term(1),
            revision: Revision(1),
            want: Want::Running,
            role: Role::alone(),
            image: String::new(),
            address: "127.0.0.1".into(),
            port: self.port,
            settings: kind.settings(&kind.plans()[0]),
            logins: vec![Login { role: "orders-2".into(), verifier }],
            restarts: 0,
            stop: StopMode::Fast,
            ends_soon: false,
            fence: None,
            budget: RestartBudget { tries_max: 5, window: Span::mins(10), backoff: Span::secs(1) },
            archive: None,
            flush: 0,
            seed: None,
            import: None,
            job: None,
            script: None,
        }
    }

    /// A member that takes writes.
    fn serving(&self) -> (Box<dyn Driver>, Goal, u32) {
        let (mut driver, goal) = (self.driver(), self.goal(1, 1));
        driver.initialize(&goal).expect("initialised");
        driver.configure(&goal).expect("configured");
        let pid = driver.start(&goal).expect("started");
        until(|| driver.probe(&goal, false) == Answer::Accepting);
        driver.prepare(&goal).expect("prepared");
        assert_eq!(driver.probe(&goal, true), Answer::Writing);
        (driver, goal, pid)
    }

    fn data(&self, member: u32) -> PathBuf {
        self.setup.members_dir.join(member.to_string()).join("data")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whatever a failed test left running works in its own directory.
        let Ok(members) = fs::read_dir(&self.setup.members_dir) else { return };
        for member in members.filter_map(Result::ok) {
            let Ok(data) = member.path().join("data").canonicalize() else { continue };
            process::all_in(&data).into_iter().for_each(|pid| send(pid, Signal::KILL));
        }
        let _ = self.dir.path();
    }
}

fn free_port() -> u16 {
    let port = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // Processes and threads of the same test run start their search apart.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let apart = NEXT.fetch_add(1, Ordering::Relaxed);
    let start = 22_000 + u16::try_from(std::process::id() % 900).expect("small") * 10 + apart;
    (start..31_999).find(port).expect("a free port")
}

fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "it did not become so in 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(pid: u32, signal: Signal) {
    if let Ok(descriptor) = process::pidfd(pid) {
        process::signal(&descriptor, signal).expect("it is ours");
    }
}

/// What the owner gets for a statement, over TCP with the password.
fn as_owner(port: u16, password: &str, statement: &str) -> Result<(), String> {
    value_as_owner(port, password, statement).map(drop)
}

/// The same, and the last row's first column, where there is one.
fn value_as_owner(port: u16, password: &str, statement: &str) -> Result<Option<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let config =
        format!("host=127.0.0.1 port={port} user=orders-2 dbname=orders-2 password='{password}'");
    runtime.expect("a runtime").block_on(async {
        let words = |error: tokio_postgres::Error| {
            error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned())
        };
        let (client, connection) =
            tokio_postgres::connect(&config, tokio_postgres::NoTls).await.map_err(words)?;
        let connection = tokio::spawn(connection);
        let done = client.simple_query(statement).await.map_err(words);
        connection.abort();
        let value = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(done?.iter().rev().find_map(value))
    })
}

/// A statement as the superuser, through the member's socket.
fn as_evenkeel(place: &Place, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut config = tokio_postgres::Config::new();
    config.host_path(&place.setup.socket_root).port(place.port).user("evenkeel").dbname("postgres");
    runtime.expect("a runtime").block_on(async {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("reached");
        let connection = tokio::spawn(connection);
        client.simple_query(statement).await.expect("done");
        connection.abort();
    });
}

macro_rules! real {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            unprivileged(stringify!($name), $body);
        }
    };
}

real!(postgres_keeps_the_contract_of_drivers, contract::play);
real!(postgres_keeps_the_contract_of_drivers_that_replicate, contract::play_replication);
real!(postgres_keeps_the_contract_of_drivers_that_archive, contract::play_archives);
real!(a_restore_ends_where_it_was_told_to, archive::a_restore_ends_where_it_was_told_to);
real!(a_backup_is_proven_and_damage_is_found, archive::a_backup_is_proven_and_damage_is_found);
real!(what_is_let_go_is_nothing_that_is_needed, archive::what_is_let_go_is_nothing_that_is_needed);
real!(a_repository_that_fails_stops_no_server, archive::a_repository_that_fails_stops_no_server);
real!(a_bucket_is_as_good_as_a_directory, archive::a_bucket_is_as_good_as_a_directory);
real!(
    a_disk_that_fills_slows_writers_and_then_takes_no_writes,
    archive::a_disk_that_fills_slows_writers_and_then_takes_no_writes
);
real!(
    log_that_is_given_up_is_gone_once_and_for_all,
    archive::log_that_is_given_up_is_gone_once_and_for_all
);
real!(
    a_repository_that_was_away_gets_what_others_took,
    archive::a_repository_that_was_away_gets_what_others_took
);
real!(what_was_stopped_is_archived_to_its_end, archive::what_was_stopped_is_archived_to_its_end);
real!(the_native_engine_conforms, engine::native_conforms);
real!(the_native_engine_conforms_in_a_bucket, engine::native_conforms_in_a_bucket);
real!(pgbackrest_conforms, engine::pgbackrest_conforms);
real!(pgbackrest_conforms_in_a_bucket, engine::pgbackrest_conforms_in_a_bucket);
real!(pgbackrest_leaves_no_secret_where_others_read, engine::no_secret_is_left);
real!(two_servers_archive_one_log, engine::two_servers_archive_one_log);
real!(two_histories_never_share_a_lineage, archive::two_histories_never_share_a_lineage);
real!(a_stopped_part_keeps_a_set_unproven, replication::a_stopped_part_keeps_a_set_unproven);
real!(torn_settings_are_made_whole, replication::torn_settings_are_made_whole);
real!(
    all_of_a_foreign_server_becomes_a_services,
    import::all_of_a_foreign_server_becomes_a_services
);
real!(
    a_foreign_database_is_read_into_a_fresh_server,
    import::a_foreign_database_is_read_into_a_fresh_server
);
real!(
    what_stands_in_an_imports_way_is_told_with_its_fix,
    import::what_stands_in_an_imports_way_is_told_with_its_fix
);
real!(
    an_import_is_ended_by_order_and_begun_anew_after_a_kill,
    import::an_import_is_ended_by_order_and_begun_anew_after_a_kill
);
real!(
    who_stops_waiting_has_no_acknowledgement,
    replication::who_stops_waiting_has_no_acknowledgement
);

real!(scripts_keep_their_contract, scripts::scripts_keep_their_contract);
real!(bundled_procedures_do_what_they_are_for, scripts::bundled_procedures_do_what_they_are_for);
real!(a_round_is_asked_together, checks::a_round_is_asked_together);
real!(a_question_is_planned_once, checks::a_question_is_planned_once);
real!(
    every_question_is_answered_by_who_may_look_at_statistics_only,
    checks::every_question_is_answered_by_who_may_look_at_statistics_only
);
real!(
    sessions_in_the_way_are_found_while_they_are,
    checks::sessions_in_the_way_are_found_while_they_are
);
real!(
    what_is_wrong_in_a_database_is_found_while_it_is,
    checks::what_is_wrong_in_a_database_is_found_while_it_is
);
real!(
    what_is_wrong_with_a_server_is_found_while_it_is,
    checks::what_is_wrong_with_a_server_is_found_while_it_is
);
real!(
    a_block_that_is_not_what_was_written_is_found,
    checks::a_block_that_is_not_what_was_written_is_found
);

real!(a_member_is_made_started_used_and_removed, |place| {
    assert!(fill_pool(&place.setup).expect("filled"));
    assert!(!fill_pool(&place.setup).expect("full"));
    let (mut driver, goal, pid) = place.serving();
    assert!(!place.setup.pool_dir.join("making").exists());
    assert_eq!(driver.process(&goal), Ok(Process::Running { pid }));
    as_owner(place.port, "a password", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .expect("the owner owns the database");
    let refused = as_owner(place.port, "another", "SELECT 1").expect_err("refused");
    assert!(refused.contains("password authentication failed"), "{refused}");
    for forbidden in ["CREATE ROLE r", "SELECT pg_read_file('/etc/passwd')", "CREATE DATABASE d"] {
        as_owner(place.port, "a password", forbidden).expect_err(forbidden);
    }
    for check in evenkeel_kinds::postgres::CHECKS {
        let reading = driver.read(&goal, check.question(), check.place()).expect("a row");
        let judged = check.judge(&reading, &Thresholds::default());
        // What is installed here may be older than what is known.
        assert!(judged.is_none() || check.name() == "patches-missing", "{reading:?}");
    }
    driver.prepare(&goal).expect("safe to repeat");
    driver.stop(&goal, StopMode::Fast).expect("stopped");
    driver.seal(&goal, true).expect("sealed");
    assert_eq!(driver.directory(&goal), Ok(Directory::Sealed { incarnation: Incarnation(1) }));
    assert!(driver.start(&goal).is_err(), "what is sealed is not started");
    driver.seal(&goal, false).expect("unsealed");
    driver.remove(&goal).expect("removed");
    assert_eq!(driver.directory(&goal), Ok(Directory::Absent));
    assert!(place.setup.members_dir.join(".tombstones/1.json").is_file());
});

real!(every_directory_has_an_identifier_of_its_own, |place| {
    fill_pool(&place.setup).expect("filled");
    let mut identifiers = std::collections::BTreeSet::new();
    for member in 1..=2 {
        let goal = place.goal(member, 1);
        place.driver().initialize(&goal).expect("initialised");
        let control =
            place.setup.image.as_ref().expect("set").program("pg_controldata").expect("installed");
        let out = Command::new(control).arg(place.data(member)).output().expect("it runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let line = |start: &str| {
            text.lines().find(|line| line.starts_with(start)).expect(start).to_owned()
        };
        identifiers.insert(line("Database system identifier"));
        assert!(!line("Data page checksum version").ends_with(" 0"), "checksums are on");
    }
    assert_eq!(identifiers.len(), 2);
});

real!(a_killed_postmaster_is_seen_and_another_starts_without_loss, |place| {
    let (mut driver, goal, pid) = place.serving();
    as_owner(place.port, "a password", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .expect("written");
    let descriptor = process::pidfd(pid).expect("it runs");
    send(pid, Signal::KILL);
    assert!(process::wait_gone(&descriptor, Duration::from_secs(5)));
    let found = driver.process(&goal).expect("readable");
    assert!(matches!(found, Process::None | Process::Leftovers { .. }), "{found:?}");
    driver.kill(&goal).expect("nothing is left");
    assert_eq!(driver.process(&goal), Ok(Process::None));
    let again = driver.start(&goal).expect("started over its own remains");
    assert_ne!(again, pid);
    until(|| driver.probe(&goal, true) == Answer::Writing);
    as_owner(place.port, "a password", "DO $$BEGIN ASSERT (SELECT count(*) FROM t) = 1; END$$")
        .expect("nothing acknowledged was lost");
});

real!(a_frozen_server_is_silent_and_answers_again_when_it_goes_on, |place| {
    let (mut driver, goal, pid) = place.serving();
    let backends = process::all_in(&place.data(1).canonicalize().expect("there"));
    backends.iter().for_each(|&pid| send(pid, Signal::STOP));
    until(|| driver.process(&goal) == Ok(Process::Frozen { pid }));
    assert_eq!(driver.probe(&goal, true), Answer::Silent);
    assert_eq!(driver.probe(&goal, true), Answer::Silent);
    backends.iter().for_each(|&pid| send(pid, Signal::CONT));
    until(|| driver.probe(&goal, true) == Answer::Writing);
    assert_eq!(driver.process(&goal), Ok(Process::Running { pid }));
});

real!(a_stopped_postmaster_is_silent_though_its_sessions_go_on, |place| {
    let (mut driver, goal, pid) = place.serving();
    send(pid, Signal::STOP);
    until(|| driver.process(&goal) == Ok(Process::Frozen { pid }));
    assert_eq!(driver.probe(&goal, false), Answer::Silent);
    assert_eq!(driver.probe(&goal, true), Answer::Silent);
    // It is not waited for: whoever asked goes on to what helps.
    let refused = driver.stop(&goal, StopMode::Immediate).expect_err("it hears nothing");
    assert!(refused.to_string().contains("hears nothing"), "{refused}");
    send(pid, Signal::CONT);
    until(|| driver.probe(&goal, true) == Answer::Writing);
});

real!(a_server_is_adopted_by_a_second_driver_and_stops_under_open_clients, |place| {
    let (_first, goal, pid) = place.serving();
    let mut second = place.driver();
    assert_eq!(second.directory(&goal), Ok(Directory::Complete { incarnation: Incarnation(1) }));
    assert_eq!(second.process(&goal), Ok(Process::Running { pid }));
    assert_eq!(second.probe(&goal, true), Answer::Writing);
    let port = place.port;
    let client = std::thread::spawn(move || as_owner(port, "a password", "SELECT pg_sleep(600)"));
    until(|| {
        let question =
            "SELECT count(*)::text AS n FROM pg_stat_activity WHERE query ~ 'sleep\\(600'";
        second
            .read(&goal, question, evenkeel_core::check::Place::Server)
            .is_ok_and(|reading| reading.number("n") >= Some(1))
    });
    second.stop(&goal, StopMode::Fast).expect("clients do not hold a stop up");
    assert_eq!(second.process(&goal), Ok(Process::None));
    client.join().expect("joined").expect_err("its session was ended");
});

real!(what_is_not_the_members_is_never_touched, |place| {
    let (mut driver, goal) = (place.driver(), place.goal(1, 1));
    let root = place.setup.members_dir.join("1");
    fs::create_dir_all(root.join("data")).expect("writable");
    fs::write(root.join("data/precious"), "mine").expect("writable");
    assert!(matches!(driver.directory(&goal), Ok(Directory::Foreign { .. })));
    assert!(matches!(driver.initialize(&goal), Err(Error::Foreign { .. })));
    assert!(matches!(driver.remove(&goal), Err(Error::Foreign { .. })));
    assert!(matches!(driver.discard(&goal), Err(Error::Foreign { .. })));
    assert!(matches!(driver.seal(&goal, true), Err(Error::Foreign { .. })));
    assert_eq!(fs::read_to_string(root.join("data/precious")).expect("there"), "mine");
    fs::remove_dir_all(&root).expect("the test's own");
    driver.initialize(&goal).expect("initialised");
    let mut other = place.goal(1, 1);
    Arc::make_mut(&mut other.identity).service = ServiceId(99);
    assert!(matches!(driver.directory(&other), Ok(Directory::Foreign { .. })));
    other = place.goal(1, 2);
    assert_eq!(driver.directory(&other), Ok(Directory::Complete { incarnation: Incarnation(1) }));
    let aside = place.setup.members_dir.join("aside");
    fs::rename(&root, &aside).expect("renamed");
    std::os::unix::fs::symlink(&aside, &root).expect("linked");
    assert!(matches!(driver.directory(&goal), Ok(Directory::Foreign { .. })));
});

real!(a_half_made_directory_is_told_and_made_anew, |place| {
    let (mut driver, goal) = (place.driver(), place.goal(1, 1));
    driver.initialize(&goal).expect("initialised");
    let root = place.setup.members_dir.join("1");
    fs::copy(root.join("data/evenkeel.json"), root.join("initializing")).expect("copied");
    assert_eq!(driver.directory(&goal), Ok(Directory::Partial));
    assert!(driver.start(&goal).is_err());
    driver.discard(&goal).expect("discarded");
    assert_eq!(driver.directory(&goal), Ok(Directory::Absent));
    driver.initialize(&goal).expect("made anew");
});

real!(a_taken_port_is_told_and_left_alone, |place| {
    let (mut driver, goal) = (place.driver(), place.goal(1, 1));
    driver.initialize(&goal).expect("initialised");
    driver.configure(&goal).expect("configured");
    let holder = TcpListener::bind(("127.0.0.1", place.port)).expect("free");
    assert_eq!(driver.start(&goal), Err(Error::PortTaken { port: place.port }));
    drop(holder);
    driver.start(&goal).expect("free again");
});

real!(a_setting_it_cannot_take_is_told_in_the_servers_words, |place| {
    let (mut driver, mut goal) = (place.driver(), place.goal(1, 1));
    driver.initialize(&goal).expect("initialised");
    goal.settings = Arc::new(BTreeMap::from([("shared_buffers".to_owned(), "1PB".to_owned())]));
    driver.configure(&goal).expect("written");
    let Err(Error::Failed(words)) = driver.start(&goal) else { panic!("it must not start") };
    assert!(words.contains("shared_buffers"), "{words}");
    assert_eq!(driver.process(&goal), Ok(Process::None));
});

real!(missing_software_and_long_sockets_are_told_with_the_fix, |place| {
    let goal = place.goal(1, 1);
    place.setup.image = None;
    let missing = place.driver().initialize(&goal).expect_err("no software");
    assert!(matches!(missing, Error::ProgramMissing { .. }), "{missing}");
    place.setup.socket_root = place.dir.path().join("x".repeat(120));
    let long = place.driver().configure(&goal).expect_err("too long").to_string();
    assert!(long.contains("shorter directory"), "{long}");
});

/// The same member with one setting of its own.
fn with_work_mem(goal: &Goal, revision: u32, value: &str) -> Goal {
    let mut goal = Goal { revision: Revision(revision), ..goal.clone() };
    Arc::make_mut(&mut goal.settings).insert("work_mem".into(), value.into());
    goal
}

fn until_work_mem_is(driver: &mut dyn Driver, goal: &Goal, value: i64) {
    let question = "SELECT setting AS n FROM pg_settings WHERE name = 'work_mem'";
    until(|| {
        driver
            .read(goal, question, evenkeel_core::check::Place::Server)
            .is_ok_and(|reading| reading.number("n") == Some(value))
    });
}

real!(settings_written_by_an_agent_that_was_killed_are_read, |place| {
    let (mut first, goal, _) = place.serving();
    let (five, six) = (with_work_mem(&goal, 2, "5MB"), with_work_mem(&goal, 3, "6MB"));
    let path = place.setup.members_dir.join("1/conf/postgresql.conf");
    first.configure(&six).expect("configured");
    let written = fs::read(&path).expect("written");
    first.configure(&five).expect("configured");
    until_work_mem_is(&mut *first, &five, 5 << 10);
    // It wrote them and was killed before it told the server.
    fs::write(&path, written).expect("written");
    let mut second = place.driver();
    second.configure(&six).expect("configured");
    until_work_mem_is(&mut *second, &six, 6 << 10);
});

real!(settings_written_while_its_server_is_stopped_are_read_when_it_goes_on, |place| {
    let (mut driver, goal, pid) = place.serving();
    let goal = with_work_mem(&goal, 2, "5MB");
    send(pid, Signal::STOP);
    until(|| driver.process(&goal) == Ok(Process::Frozen { pid }));
    driver.configure(&goal).expect("configured");
    send(pid, Signal::CONT);
    until_work_mem_is(&mut *driver, &goal, 5 << 10);
});
