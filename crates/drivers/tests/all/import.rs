//! Services made from a foreign server: what is brought, what is taken away, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use evenkeel_core::driver::{Answer, Driver};
use evenkeel_core::goal::{Goal, Password, StopMode};
use evenkeel_core::import::{Import, Method, Secret, Source, Stage, TERM, Told};
use evenkeel_drivers::postgres::import::look::look;
use rustix::process::Signal;
use tokio_postgres::SimpleQueryMessage;

use super::{Place, as_evenkeel, as_owner, free_port, process, until, value_as_owner};

/// It must be in no file but those that are meant to hold it.
const PASSWORD: &str = "only-the-source-knows";

/// What a source has: rows, a sequence, an index, a large object, other roles and what they may do, and
/// whatever would harm who takes it over unseen.
const CONTENT: &str = "
CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'b'; CREATE ROLE maker LOGIN CREATEROLE REPLICATION;
CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT pg_execute_server_program TO reader; GRANT postgres TO reader;
CREATE TABLE rows (n bigserial PRIMARY KEY, t text); CREATE INDEX ON rows (t);
INSERT INTO rows (t) SELECT md5(n::text) FROM generate_series(1, 20000) AS n;
GRANT SELECT ON rows TO reader; CREATE TABLE theirs (a int); ALTER TABLE theirs OWNER TO reader;
CREATE SCHEMA more; CREATE VIEW more.v AS SELECT count(*) FROM rows;
CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT a * 2';
CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE EXTENSION pgcrypto SCHEMA more; COMMENT ON SCHEMA more IS 'more';
SELECT lo_from_bytea(4711, 'a large object'); SELECT nextval('rows_n_seq');
GRANT EXECUTE ON FUNCTION pg_read_file(text) TO reader;
CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS
  $$BEGIN RAISE EXCEPTION 'nothing is changed here'; END$$;
CREATE EVENT TRIGGER guard ON ddl_command_start EXECUTE FUNCTION guard();
";

/// A server that is nobody's here.
struct Foreign {
    root: PathBuf,
    port: u16,
    process: Child,
}

impl Foreign {
    fn start(place: &Place, name: &str) -> Self {
        let (root, port) = (place.dir.path().join(name), free_port());
        fs::create_dir(&root).expect("made");
        let password = root.join("password");
        fs::write(&password, PASSWORD).expect("written");
        let data = root.join("data");
        let image = place.setup.image.as_ref().expect("set");
        let mut initdb = image.command("initdb").expect("installed");
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--locale=C.UTF-8", "-D"]);
        initdb.arg(&data).arg("--pwfile").arg(&password).env("PATH", "/usr/bin:/bin");
        assert!(initdb.output().expect("it runs").status.success());
        fs::remove_file(&password).expect("removed");
        let mut foreign = Self { process: postgres(place, &root, port), root, port };
        foreign.until_it_answers();
        foreign.ask("postgres", "CREATE DATABASE shop");
        foreign.ask("shop", CONTENT);
        // Whoever starts with its settings runs its commands.
        let ran = foreign.root.join("ran");
        let command = format!("touch {}", ran.display());
        foreign.ask("shop", &format!("ALTER SYSTEM SET archive_command = '{command}'"));
        foreign.ask("shop", "ALTER ROLE postgres SET default_transaction_read_only = on");
        foreign.ask("shop", "ALTER DATABASE shop SET search_path = more, public");
        foreign.ask("shop", "ALTER DATABASE postgres SET default_transaction_read_only = on");
        foreign
    }

    fn until_it_answers(&mut self) {
        let port = self.port;
        until(|| ask(port, "postgres", PASSWORD, "postgres", "SELECT 1").is_ok());
    }

    fn ask(&self, database: &str, statement: &str) -> String {
        let said = ask(self.port, "postgres", PASSWORD, database, statement);
        said.unwrap_or_else(|error| panic!("{statement}: {error}")).unwrap_or_default()
    }

    fn import(&self, method: Method, password: &str) -> Import {
        let url = format!("postgres://postgres@127.0.0.1:{}/shop", self.port);
        let password = Some(Secret::Open(Password(password.to_owned())));
        Import { source: Source::parse(&url).expect("an address"), method, password }
    }

    /// Nothing is left there, and it is as it was.
    fn is_unharmed(&self) {
        assert_eq!(self.ask("shop", "SELECT count(*) FROM pg_replication_slots"), "0");
        assert_eq!(self.ask("shop", "SELECT count(*) FROM rows"), "20000");
        until(|| {
            let others = "SELECT count(*) FROM pg_stat_activity \
                          WHERE application_name = 'evenkeel import' OR backend_type = 'walsender'";
            self.ask("shop", others) == "0"
        });
        let names =
            "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE oid >= 16384";
        assert_eq!(self.ask("shop", names), "boss maker reader");
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // A failed test leaves it no more than a passed one.
        super::send(self.process.id(), Signal::INT);
        let _ = self.process.wait();
    }
}

fn postgres(place: &Place, root: &Path, port: u16) -> Child {
    let image = place.setup.image.as_ref().expect("set");
    let log = fs::File::create(root.join("log")).expect("a log");
    let mut command = Command::new(image.program("postgres").expect("installed"));
    command.arg("-D").arg(root.join("data")).args(["-c", &format!("port={port}")]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    command.args([
        "-c",
        "fsync=off",
        "-c",
        "max_connections=150",
        "-c",
        "max_prepared_transactions=5",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it runs")
}

/// The first column of a statement's last row.
fn ask(
    port: u16,
    role: &str,
    password: &str,
    database: &str,
    statement: &str,
) -> Result<Option<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(role).password(password).dbname(database);
    runtime.expect("a runtime").block_on(async {
        let words = |error: tokio_postgres::Error| {
            error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned())
        };
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(words)?;
        let connection = tokio::spawn(connection);
        let free = "SET default_transaction_read_only = off";
        client.simple_query(free).await.map_err(words)?;
        let done = client.simple_query(statement).await.map_err(words);
        connection.abort();
        let value = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(done?.iter().rev().find_map(value))
    })
}

/// A goal that is made from a foreign server.
fn goal(place: &Place, import: Import) -> Goal {
    let mut goal = place.goal(1, 1);
    (goal.term, goal.import) = (TERM, Some(Box::new(import)));
    goal
}

fn told(driver: &mut dyn Driver, goal: &Goal) -> Told {
    driver.importing(goal).expect("it is told of")
}

/// Starts what was imported as an agent does.
fn serve(driver: &mut dyn Driver, goal: &Goal) {
    driver.configure(goal).expect("configured");
    driver.start(goal).expect("started");
    until(|| driver.probe(goal, false) == Answer::Accepting);
    driver.prepare(goal).expect("prepared");
    assert_eq!(driver.probe(goal, true), Answer::Writing);
}

fn value(place: &Place, statement: &str) -> String {
    let said = value_as_owner(place.port, "a password", statement);
    said.unwrap_or_else(|error| panic!("{statement}: {error}")).unwrap_or_default()
}

/// What is the same however it came.
fn is_all_there(place: &Place) {
    for (statement, expected) in [
        ("SELECT count(*) FROM rows", "20000"),
        ("SELECT nextval('rows_n_seq') > 20001", "t"),
        ("SELECT convert_from(lo_get(4711), 'UTF8')", "a large object"),
        ("SELECT * FROM more.v", "20000"),
        ("SELECT twice(21)", "42"),
        ("SELECT total(a) FROM generate_series(1, 4) AS a", "10"),
        ("SELECT 'good'::mood", "good"),
        ("SELECT length(more.digest('a', 'sha256'))", "32"),
        ("SELECT count(*) FROM theirs", "0"),
        ("SELECT count(*) FROM pg_indexes WHERE tablename = 'rows'", "2"),
        ("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'rows'", "orders-2"),
        ("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'rows_n_seq'", "orders-2"),
        ("SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'twice'", "orders-2"),
        ("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'orders-2'", "orders-2"),
        ("SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname <> 'evenkeel'", "0"),
        ("SELECT count(*) FROM pg_roles WHERE rolname = 'ek_import'", "0"),
        ("CREATE TABLE own (a int); DROP TABLE own; SELECT 'made'", "made"),
        ("ALTER TABLE rows ADD COLUMN b int; SELECT 'altered'", "altered"),
    ] {
        assert_eq!(value(place, statement), expected, "{statement}");
    }
    for forbidden in ["CREATE ROLE r", "SELECT pg_read_file('/etc/passwd')", "SET ROLE evenkeel"] {
        as_owner(place.port, "a password", forbidden).expect_err(forbidden);
    }
}

/// Every file below a directory that has some words in it.
fn holding(root: &Path, words: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, words));
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(words.len()).any(|window| window == words.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

pub fn all_of_a_foreign_server_becomes_a_services(place: &mut Place) {
    let foreign = Foreign::start(place, "foreign");
    let goal = goal(place, foreign.import(Method::Auto, PASSWORD));
    let mut driver = place.driver();
    driver.initialize(&goal).expect("imported");
    let told = told(&mut *driver, &goal);
    assert_eq!((told.stage, &told.failed), (Stage::Done, &None));
    assert_eq!(told.chosen.as_ref().map(|chosen| chosen.method), Some(Method::Base), "{told:?}");
    foreign.is_unharmed();
    serve(&mut *driver, &goal);
    is_all_there(place);
    // A role of the source logs in as before, and its powers over the host are gone.
    let reader = |statement: &str| ask(place.port, "reader", "r", "orders-2", statement);
    assert_eq!(reader("SELECT count(*) FROM rows"), Ok(Some("20000".to_owned())));
    for forbidden in
        ["SELECT pg_read_file('/etc/passwd')", "COPY rows TO PROGRAM 'cat'", "SET ROLE evenkeel"]
    {
        reader(forbidden).expect_err(forbidden);
    }
    let boss = |statement: &str| ask(place.port, "boss", "b", "orders-2", statement);
    boss("CREATE ROLE another").expect_err("it is no superuser any more");
    // Under its old name, and with its password, the first superuser is an ordinary role.
    let old = |statement: &str| ask(place.port, "postgres", PASSWORD, "orders-2", statement);
    assert_eq!(old("SELECT count(*) FROM rows"), Ok(Some("20000".to_owned())));
    old("CREATE ROLE another").expect_err("it is no superuser any more");
    for word in [
        "role boss has no SUPERUSER",
        "role maker has no SUPERUSER",
        "role reader is no member of postgres any more",
        "role reader is no member of pg_execute_server_program any more",
        "database shop is orders-2 now",
        "event triggers are disabled: guard",
        "REVOKE ALL ON FUNCTION pg_read_file(text) FROM reader",
    ] {
        assert!(told.changes.iter().any(|change| change.contains(word)), "{word}: {told:#?}");
    }
    // Its timeline is the term's, and none of the source's commands ran here.
    assert_eq!(value(place, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"), "00000100");
    as_evenkeel(place, "SELECT pg_switch_wal()");
    until(|| value(place, "SELECT archived_count > 0 FROM pg_stat_archiver") == "t");
    assert!(!foreign.root.join("ran").exists(), "the source's command was run here");
    driver.stop(&goal, StopMode::Fast).expect("stopped");
    assert_eq!(holding(&place.setup.members_dir, PASSWORD), Vec::<PathBuf>::new());
    driver.remove(&goal).expect("removed");
    assert!(driver.importing(&goal).is_none(), "nothing is left of it");
}

pub fn a_foreign_database_is_read_into_a_fresh_server(place: &mut Place) {
    let foreign = Foreign::start(place, "foreign");
    let goal = goal(place, foreign.import(Method::Dump, PASSWORD));
    let mut driver = place.driver();
    driver.initialize(&goal).expect("imported");
    let told = told(&mut *driver, &goal);
    assert_eq!((told.stage, &told.failed), (Stage::Done, &None));
    foreign.is_unharmed();
    serve(&mut *driver, &goal);
    is_all_there(place);
    assert_eq!(value(place, "SELECT obj_description('more'::regnamespace)"), "more");
    assert_eq!(value(place, "SELECT count(*) FROM pg_roles WHERE rolname = 'reader'"), "0");
    let guard = told.changes.iter().any(|change| change.contains("EVENT TRIGGER - guard"));
    assert!(guard, "what is left out is named: {told:#?}");
    driver.stop(&goal, StopMode::Fast).expect("stopped");
    assert!(!place.setup.members_dir.join("1/dump").exists());
    assert_eq!(holding(&place.setup.members_dir, PASSWORD), Vec::<PathBuf>::new());
}

pub fn what_stands_in_an_imports_way_is_told_with_its_fix(place: &mut Place) {
    let foreign = Foreign::start(place, "foreign");
    let image = place.setup.image.clone().expect("set");
    let space = foreign.root.join("space");
    fs::create_dir(&space).expect("made");
    let text = format!("CREATE TABLESPACE fast LOCATION '{}'", space.display());
    foreign.ask("shop", &text);
    let looked = |import: &Import, password: &str| {
        let password = Some(Password(password.to_owned()));
        look(&image, &import.source, password, import.method)
    };
    let fine = looked(&foreign.import(Method::Auto, ""), PASSWORD).expect("it lets us look");
    assert_eq!(
        fine.chosen.map(|chosen| chosen.method),
        Some(Method::Dump),
        "a tablespace is there"
    );
    let mut nowhere = foreign.import(Method::Auto, "");
    nowhere.source.port = free_port();
    let mut unnamed = foreign.import(Method::Auto, "");
    unnamed.source.database = "nothing".to_owned();
    for (import, password, words) in [
        (foreign.import(Method::Auto, ""), "wrong", "refuses the password of role postgres"),
        (nowhere, PASSWORD, "is not reached (Connection refused)"),
        (unnamed, PASSWORD, "has no database \"nothing\""),
    ] {
        let error = looked(&import, password).expect_err(words).to_string();
        assert!(error.contains(words) && !error.contains(PASSWORD), "{words}: {error}");
    }
    // The same where it is carried out, where it is told once and never tried again.
    let goal = goal(place, foreign.import(Method::Base, PASSWORD));
    let mut driver = place.driver();
    let error = driver.initialize(&goal).expect_err("refused").to_string();
    assert!(error.contains("the source has tablespaces: fast (use --method dump"), "{error}");
    assert_eq!(told(&mut *driver, &goal).failed, Some(error.clone()));
    foreign.ask("shop", "DROP TABLESPACE fast");
    driver.discard(&goal).expect("what was begun goes");
    assert_eq!(driver.initialize(&goal).expect_err("it failed for good").to_string(), error);
    foreign.is_unharmed();
}

pub fn an_import_is_ended_by_order_and_begun_anew_after_a_kill(place: &mut Place) {
    let foreign = Foreign::start(place, "foreign");
    let fill =
        "INSERT INTO rows (t) SELECT repeat(md5(n::text), 30) FROM generate_series(1, 150000) AS n";
    foreign.ask("shop", fill);
    let goal = goal(place, foreign.import(Method::Base, PASSWORD));
    let root = place.setup.members_dir.join("1");
    let works = || root.canonicalize().map(|root| process::all_in(&root)).unwrap_or_default();
    let (mut other, wanted) = (place.driver(), goal.clone());
    let importing =
        std::thread::spawn(move || other.initialize(&wanted).map_err(|e| e.to_string()));
    until(|| !works().is_empty() && root.join("data/base").exists());
    // The copying program dies as it does with its host: the same is begun once more.
    works().into_iter().for_each(|pid| super::send(pid, Signal::KILL));
    importing.join().expect("it ended").expect_err("its program was killed");
    let mut driver = place.driver();
    assert_eq!(told(&mut *driver, &goal).failed, None, "that may pass");
    driver.discard(&goal).expect("what was begun goes");
    driver.initialize(&goal).expect("the second time it is not killed");
    driver.remove(&goal).expect("removed");
    // Ended by order, it is soon over and has failed for nothing.
    let (mut other, wanted) = (place.driver(), goal.clone());
    let importing =
        std::thread::spawn(move || other.initialize(&wanted).map_err(|e| e.to_string()));
    until(|| !works().is_empty() && root.join("data/base").exists());
    driver.interrupt(&goal).expect("asked");
    let error = importing.join().expect("it ended").expect_err("it was ended");
    assert!(error.contains("by order"), "{error}");
    assert!(works().is_empty());
    assert_eq!(told(&mut *driver, &goal).failed, None);
    assert_eq!(foreign.ask("shop", "SELECT count(*) FROM pg_replication_slots"), "0");
}
