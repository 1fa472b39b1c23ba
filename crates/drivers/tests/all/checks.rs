//! Checks against a real server: every question is answered, and what is wrong is found while it is so.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use evenkeel_core::agent::{Action, Outcome, perform};
use evenkeel_core::check::{
    Asked, Check, Family, Pace, Place as Where, Reading, Result as Found, Thresholds,
};
use evenkeel_core::driver::{Answer, Driver};
use evenkeel_core::goal::{Goal, StopMode};
use evenkeel_kinds::postgres::CHECKS;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Place, as_evenkeel, as_owner, until, value_as_owner};

/// A session of the owner that stays.
struct Held {
    runtime: Runtime,
    client: Arc<Client>,
}

impl Held {
    fn open(place: &Place) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let port = place.port;
        let config = format!(
            "host=127.0.0.1 port={port} user=orders-2 dbname=orders-2 password='a password'"
        );
        let client = runtime.block_on(async {
            let connect = tokio_postgres::connect(&config, tokio_postgres::NoTls);
            let (client, connection) = connect.await.expect("reached");
            tokio::spawn(connection);
            Arc::new(client)
        });
        Self { runtime, client }
    }

    fn does(&self, statement: &str) {
        self.runtime.block_on(self.client.batch_execute(statement)).expect(statement);
    }

    fn value(&self, statement: &str) -> String {
        let rows = self.runtime.block_on(self.client.simple_query(statement)).expect(statement);
        let value = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        rows.iter().find_map(value).expect("a value")
    }

    /// Sends a statement and waits for nothing; what it does ends with the session.
    fn begins(&self, statement: &'static str) {
        let client = Arc::clone(&self.client);
        self.runtime.spawn(async move { client.batch_execute(statement).await });
    }
}

fn check(name: &str) -> &'static dyn Check {
    *CHECKS.iter().find(|check| check.name() == name).expect(name)
}

fn judge(driver: &mut dyn Driver, goal: &Goal, name: &str, limits: &Thresholds) -> Option<Found> {
    let check = check(name);
    let reading = driver.read(goal, check.question(), check.place());
    check.judge(&reading.expect(name), limits)
}

/// A server on which every check can fire.
struct Stage<'a> {
    place: &'a Place,
    driver: Box<dyn Driver>,
    goal: Goal,
    limits: Thresholds,
}

impl Stage<'_> {
    fn new(place: &Place) -> Stage<'_> {
        let (mut driver, mut goal) = (place.driver(), place.goal(1, 1));
        Arc::make_mut(&mut goal.settings).insert("max_prepared_transactions".into(), "2".into());
        driver.initialize(&goal).expect("initialised");
        let mut stage = Stage { place, driver, goal, limits: Thresholds::default() };
        stage.start();
        stage.driver.prepare(&stage.goal).expect("prepared");
        stage
    }

    fn start(&mut self) {
        self.driver.configure(&self.goal).expect("configured");
        self.driver.start(&self.goal).expect("started");
        until(|| self.driver.probe(&self.goal, false) == Answer::Accepting);
    }

    fn finds(&mut self, name: &str) -> Option<Found> {
        judge(&mut *self.driver, &self.goal, name, &self.limits)
    }

    /// It is found in time, and what was seen says so.
    fn fires(&mut self, name: &str, seen: &str) {
        let mut found = None;
        until(|| {
            found = self.finds(name);
            found.is_some()
        });
        let found = found.expect("just so");
        let all = format!("{} {}", found.evidence, found.items.join(" "));
        assert!(all.contains(seen), "{name}: {all} has no {seen}");
    }

    fn quiet(&mut self, name: &str) {
        until(|| self.finds(name).is_none());
    }

    fn owner(&self, statement: &str) {
        as_owner(self.place.port, "a password", statement).expect(statement);
    }

    fn root(&self, statement: &str) {
        as_evenkeel(self.place, statement);
    }
}

pub fn every_question_is_answered_by_who_may_look_at_statistics_only(place: &mut Place) {
    let (mut driver, goal, _) = place.serving();
    for check in CHECKS {
        let (name, place) = (check.name(), check.place());
        let reading = driver.read(&goal, check.question(), place).expect(name);
        let columns = |reading: &evenkeel_core::check::Reading| -> Vec<String> {
            reading.0.keys().cloned().collect()
        };
        assert_eq!(columns(&reading), columns(&check.firing()), "{name}: its examples are like it");
        assert_eq!(columns(&reading), columns(&check.quiet()), "{name}: its examples are like it");
    }
    let who = "SELECT current_user AS who, rolsuper::text AS super, \
               current_setting('transaction_read_only') AS read_only, \
               current_setting('search_path') AS path, current_setting('statement_timeout') AS most \
               FROM pg_roles WHERE rolname = current_user";
    for (place, expected) in [
        (Where::Server, "evenkeel_probe"),
        (Where::Databases, "evenkeel_probe"),
        (Where::Owner, "orders-2"),
    ] {
        let reading = driver.read(&goal, who, place).expect("answered");
        let said = ["who", "super", "read_only", "path", "most"].map(|column| reading.text(column));
        assert_eq!(said, [expected, "false", "on", "pg_catalog", "2s"], "{place:?}");
    }
    // What takes too long is ended by the server, and hurts nothing else.
    driver.read(&goal, "SELECT pg_sleep(60)", Where::Server).expect_err("ended");
    assert_eq!(driver.probe(&goal, true), Answer::Writing);
    let long =
        driver.read(&goal, "SELECT current_setting('statement_timeout') AS most", Where::Server);
    assert_eq!(long.expect("answered").text("most"), "2s", "each time anew");
    assert_eq!(
        driver.probe(&goal, true),
        Answer::Writing,
        "a probe is no transaction of a check's"
    );
}

pub fn sessions_in_the_way_are_found_while_they_are(place: &mut Place) {
    let mut stage = Stage::new(place);
    let limits = &mut stage.limits;
    (limits.transaction_warn_seconds, limits.idle_transaction_warn_seconds) = (1, 1);
    (limits.blocked_warn_seconds, limits.prepared_warn_seconds) = (1, 1);
    (limits.snapshot_warn_xids, limits.temporary_warn_mib) = (3, 1);
    let names = [
        "long-transactions",
        "idle-in-transaction",
        "blocked-queries",
        "prepared-transactions",
        "vacuum-held-back",
        "temporary-files",
    ];
    names.iter().for_each(|name| stage.quiet(name));
    stage.owner("CREATE TABLE t (a int)");

    let holder = Held::open(place);
    holder
        .does("BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE t; SELECT count(*) FROM pg_class");
    let pid = holder.value("SELECT pg_backend_pid()");
    stage.fires("idle-in-transaction", &format!("pid {pid}"));
    let waits = [Held::open(place), Held::open(place)];
    waits.iter().for_each(|held| held.begins("SELECT * FROM t"));
    stage.fires(
        "blocked-queries",
        &format!("pid {pid} (orders-2 in orders-2, idle in transaction)"),
    );
    (0..5).for_each(|_| stage.owner("SELECT pg_current_xact_id()"));
    stage.fires("vacuum-held-back", &format!("pid {pid}"));
    let found = stage.finds("long-transactions").expect("those that wait work");
    assert!(!found.evidence.contains(&format!("pid {pid})")), "{}", found.evidence);
    drop((holder, waits));
    ["idle-in-transaction", "blocked-queries", "vacuum-held-back", "long-transactions"]
        .iter()
        .for_each(|name| stage.quiet(name));

    let long = Held::open(place);
    long.begins("SELECT pg_sleep(60)");
    stage.fires("long-transactions", "of orders-2 in orders-2");
    drop(long);
    stage.root("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'");
    stage.quiet("long-transactions");

    let sorts = Held::open(place);
    sorts.does("BEGIN; DECLARE c CURSOR FOR SELECT g FROM generate_series(1, 1000000) AS g ORDER BY g DESC; FETCH c");
    stage.fires("temporary-files", "of temporary files");
    drop(sorts);
    stage.quiet("temporary-files");

    stage.owner("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'forgotten'");
    stage.fires("prepared-transactions", "forgotten");
    stage.owner("ROLLBACK PREPARED 'forgotten'");
    stage.quiet("prepared-transactions");
}

pub fn what_is_wrong_in_a_database_is_found_while_it_is(place: &mut Place) {
    let mut stage = Stage::new(place);
    let limits = &mut stage.limits;
    (limits.index_unused_days, limits.index_unused_min_kib) = (0, 0);
    (limits.dead_rows_min, limits.dead_rows_warn_percent) = (1000, 40);
    let names = [
        "duplicate-indexes",
        "invalid-indexes",
        "unused-indexes",
        "sequences-near-end",
        "dead-rows",
        "unlogged-tables",
    ];
    names.iter().for_each(|name| stage.quiet(name));

    stage.owner(
        "CREATE TABLE t (a int, b int) WITH (autovacuum_enabled = off); CREATE INDEX one ON t (a)",
    );
    stage.fires("unused-indexes", "\"orders-2\".public.one");
    stage.owner("SET enable_seqscan = off; SELECT * FROM t WHERE a = 1");
    stage.quiet("unused-indexes");
    stage.owner("CREATE INDEX two ON t (a); CREATE INDEX other ON t (a) WHERE b > 1");
    stage.fires("duplicate-indexes", "\"orders-2\".public.one = \"orders-2\".public.two");
    stage.owner("DROP INDEX two");
    stage.quiet("duplicate-indexes");
    // What a build that failed leaves behind.
    stage.owner("INSERT INTO t VALUES (1, 1), (1, 1)");
    as_owner(place.port, "a password", "CREATE UNIQUE INDEX CONCURRENTLY half ON t (b)")
        .expect_err("two are the same");
    stage.fires("invalid-indexes", "public.half");
    stage.owner("DROP INDEX half");
    stage.quiet("invalid-indexes");

    stage.owner("CREATE SEQUENCE q; ALTER TABLE t ALTER b SET DEFAULT nextval('q')");
    stage.owner("SELECT setval('q', 2000000000)");
    stage.fires("sequences-near-end", "public.q (90 % or more)");
    stage.owner("ALTER TABLE t ALTER b TYPE bigint");
    stage.quiet("sequences-near-end");
    stage.owner("CREATE TABLE s (id smallserial); SELECT setval('s_id_seq', 26000)");
    stage.fires("sequences-near-end", "public.s_id_seq");
    stage.owner("DROP TABLE s");
    stage.quiet("sequences-near-end");

    stage.owner("INSERT INTO t SELECT g, g FROM generate_series(1, 5000) AS g");
    stage.owner("DELETE FROM t");
    stage.fires("dead-rows", "public.t (");
    stage.owner("VACUUM t");
    stage.quiet("dead-rows");
    stage.owner("CREATE UNLOGGED TABLE u (a int)");
    stage.fires("unlogged-tables", "public.u");
    stage.owner("ALTER TABLE u SET LOGGED");
    stage.quiet("unlogged-tables");
}

pub fn what_is_wrong_with_a_server_is_found_while_it_is(place: &mut Place) {
    let mut stage = Stage::new(place);
    let conf = place.setup.members_dir.join("1/conf");
    let names = [
        "settings-wait-for-restart",
        "settings-errors",
        "trust-rules",
        "superuser-logins",
        "synchronous-commit-weakened",
        "passwords-expire",
        "collation-drift",
        "wraparound",
        "connections-near-limit",
    ];
    names.iter().for_each(|name| stage.quiet(name));

    stage.root("ALTER SYSTEM SET max_connections = 77");
    stage.root("SELECT pg_reload_conf()");
    stage.fires("settings-wait-for-restart", "max_connections");
    assert!(stage.finds("settings-errors").is_none(), "it waits, and is no error");
    stage.root("ALTER SYSTEM RESET max_connections");
    stage.root("SELECT pg_reload_conf()");
    stage.quiet("settings-wait-for-restart");

    for (file, line, name, seen) in [
        ("postgresql.conf", "nonsense = 1\n", "settings-errors", "unrecognized"),
        ("pg_hba.conf", "host all all nowhere/99 trust\n", "settings-errors", "rules for clients"),
        ("pg_hba.conf", "host all all 127.9.9.9/32 trust\n", "trust-rules", "trust"),
    ] {
        let path = conf.join(file);
        let before = fs::read_to_string(&path).expect("there");
        fs::write(&path, format!("{before}{line}")).expect("written");
        stage.fires(name, seen);
        fs::write(&path, before).expect("written");
        stage.quiet(name);
    }

    stage.root("CREATE ROLE bob SUPERUSER LOGIN");
    stage.fires("superuser-logins", "bob");
    stage.root("DROP ROLE bob");
    stage.quiet("superuser-logins");
    stage.owner("ALTER ROLE \"orders-2\" SET synchronous_commit = off");
    stage.fires("synchronous-commit-weakened", "1 roles");
    stage.owner("ALTER ROLE \"orders-2\" RESET synchronous_commit");
    stage.quiet("synchronous-commit-weakened");
    stage.root("ALTER ROLE \"orders-2\" VALID UNTIL 'tomorrow'");
    stage.fires("passwords-expire", "orders-2 (soon)");
    stage.root("ALTER ROLE \"orders-2\" VALID UNTIL 'infinity'");
    stage.quiet("passwords-expire");
    stage.root("UPDATE pg_database SET datcollversion = '0' WHERE datname = 'orders-2'");
    stage.fires("collation-drift", "orders-2");
    stage.root("UPDATE pg_database SET datcollversion = NULL WHERE datname = 'orders-2'");
    stage.quiet("collation-drift");

    stage.limits.wraparound_warn_xids = 1;
    stage.fires("wraparound", "not frozen");
    stage.limits.connections_warn_percent = 1;
    stage.fires("connections-near-limit", "1 % or more");
    stage.limits = Thresholds::default();
    stage.quiet("wraparound");
    stage.quiet("connections-near-limit");
}

pub fn a_block_that_is_not_what_was_written_is_found(place: &mut Place) {
    let mut stage = Stage::new(place);
    stage.owner("CREATE TABLE t AS SELECT g FROM generate_series(1, 100) AS g");
    stage.quiet("checksum-failures");
    let file = "SELECT pg_relation_filepath('t')";
    let file = value_as_owner(place.port, "a password", file).expect("said").expect("a file");
    stage.driver.stop(&stage.goal, StopMode::Fast).expect("stopped");
    let path = place.data(1).join(file);
    let block = fs::OpenOptions::new().write(true).open(&path).expect("there");
    block.write_all_at(b"rot", 8000).expect("damaged");
    stage.start();
    as_owner(place.port, "a password", "SELECT sum(g) FROM t").expect_err("damaged");
    stage.fires("checksum-failures", "orders-2");
}

/// A check whose question is refused.
struct Refused;

impl Check for Refused {
    fn name(&self) -> &'static str {
        "refused"
    }
    fn family(&self) -> Family {
        Family::Host
    }
    fn doc(&self) -> &'static str {
        "Asks what cannot be answered."
    }
    fn question(&self) -> &'static str {
        "SELECT (1 / 0)::text AS never"
    }
    fn judge(&self, _: &Reading, _: &Thresholds) -> Option<Found> {
        None
    }
    fn firing(&self) -> Reading {
        Reading::default()
    }
    fn quiet(&self) -> Reading {
        Reading::default()
    }
}

/// Questions of a round go together and bring what each brings alone; one that is refused costs no other its
/// reading.
pub fn a_round_is_asked_together(place: &mut Place) {
    let (mut driver, goal, _) = place.serving();
    as_owner(
        place.port,
        "a password",
        "CREATE TABLE t (a serial); CREATE UNLOGGED TABLE u (a int)",
    )
    .expect("made");
    for (where_, least) in [(Where::Server, 10), (Where::Databases, 4), (Where::Owner, 1)] {
        let here: Vec<_> = CHECKS.iter().filter(|check| check.place() == where_).collect();
        assert!(here.len() >= least, "{where_:?} has {}", here.len());
        let questions: Vec<&str> = here.iter().map(|check| check.question()).collect();
        let together = driver.read_all(&goal, &questions, where_).expect("all are answered");
        for (check, together) in here.iter().zip(&together) {
            let alone = driver.read(&goal, check.question(), where_).expect("answered");
            let columns = |reading: &Reading| reading.0.keys().cloned().collect::<Vec<_>>();
            assert_eq!(columns(together), columns(&alone), "{}", check.name());
        }
        let unlogged = here.iter().position(|check| check.name() == "unlogged-tables");
        let items = unlogged.map(|at| together[at].text("items").to_owned());
        assert!(items.is_none_or(|items| items.contains("public.u")), "it has its own answer");
        let refused = [&questions[..], &[Refused.question()]].concat();
        driver.read_all(&goal, &refused, where_).expect_err("one of them is refused");
    }
    for pace in [Pace::Often, Pace::Rarely] {
        let all: Vec<&dyn Check> = CHECKS.iter().copied().chain([&Refused as &dyn Check]).collect();
        let Outcome::Read(read) = perform(&mut *driver, &goal, &Action::Check(pace), &all) else {
            panic!("a round brings readings")
        };
        // It takes writes: what only standbys are asked it is not.
        let asked = |check: &&&dyn Check| check.pace() == pace && check.asked() != Asked::Standbys;
        assert_eq!(read.len(), all.iter().filter(asked).count(), "{read:?}");
        for (name, reading) in read {
            assert_eq!(reading.is_none(), name == "refused", "{name}");
        }
    }
    // Nobody stays in a database of users.
    let sessions = "SELECT count(*)::text AS n FROM pg_stat_activity WHERE datname = 'orders-2'";
    until(|| {
        let reading = driver.read(&goal, sessions, Where::Server).expect("answered");
        reading.number("n") == Some(0)
    });
}

/// The server plans a question once on a connection.
pub fn a_question_is_planned_once(place: &mut Place) {
    let (mut driver, goal, _) = place.serving();
    let known = "SELECT count(*)::text AS n FROM pg_prepared_statements";
    let mut ask = |question: &str| {
        let reading = driver.read(&goal, question, Where::Server).expect("answered");
        reading.text("n").to_owned()
    };
    assert_eq!([ask(known), ask(known)], ["1", "1"]);
    assert_eq!(ask("SELECT 'another' AS n"), "another");
    assert_eq!(ask(known), "2");
}
