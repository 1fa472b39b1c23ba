//! Imports as their users have them: from a foreign server that is written to, by both ways; with what
//! fails on the way, and without a trace of the password.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use evenkeel_drivers::image::{self, Software};
use rustix::process::Signal;
use serde_json::Value;

use crate::fleet::{Fleet, free_port, images, send, software, until};

const SOON: u64 = 60;
const ROWS: u64 = 200_000;
/// The user `nobody` of every Debian system.
const NOBODY: u32 = 65_534;

/// A server that is nobody's here, and a client that writes to it.
struct Foreign {
    root: PathBuf,
    port: u16,
    image: image::Image,
    /// It must be in no file, argument or answer; another test beside looks for its own.
    password: String,
    process: Child,
}

impl Foreign {
    fn start(name: &str) -> Self {
        let root = PathBuf::from(format!("/tmp/ek-source-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).expect("made");
        let (password, file) = (format!("known-to-{name}-alone"), root.join("password"));
        fs::write(&file, &password).expect("written");
        for path in [&root, &file] {
            let _ = std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
        }
        let image = image::any(Software::Postgres, images()).expect("there is software");
        let mut initdb = as_nobody(image.command("initdb").expect("installed"));
        initdb.args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--locale=C.UTF-8",
            "--pwfile",
        ]);
        initdb.arg(&file).arg("-D").arg(root.join("data")).env("PATH", "/usr/bin:/bin");
        let made = initdb.output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::remove_file(&file).expect("removed");
        let port = free_port();
        let mut server = as_nobody(image.command("postgres").expect("installed"));
        server.arg("-D").arg(root.join("data")).args(["-c", &format!("port={port}")]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let process = server.args(["-c", "fsync=off"]).stdin(Stdio::null()).stderr(Stdio::null());
        let process = process.stdout(Stdio::null()).spawn().expect("it runs");
        let foreign = Self { root, port, image, password, process };
        until(SOON, "the source answers", || foreign.sql("postgres", "SELECT 1").is_ok());
        foreign.ask("postgres", "CREATE DATABASE shop");
        foreign.ask(
            "shop",
            &format!(
                "CREATE ROLE clerk LOGIN PASSWORD 'clerk'; CREATE TABLE rows (n bigserial PRIMARY KEY, \
                 t text); CREATE INDEX ON rows (t); CREATE TABLE twins (n bigint); \
                 INSERT INTO rows (t) SELECT repeat(md5(g::text), 5) FROM generate_series(1, {ROWS}) AS g; \
                 INSERT INTO twins SELECT n FROM rows; GRANT SELECT ON rows TO clerk; \
                 SELECT lo_from_bytea(4711, 'a large object')"
            ),
        );
        foreign
    }

    /// What a statement gives, over a connection as anybody has one.
    fn sql(&self, database: &str, statement: &str) -> Result<String, String> {
        let mut psql = self.image.command("psql").expect("installed");
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
        ]);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", statement]);
        let out = psql.env("PGPASSWORD", &self.password).output().expect("psql runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
    }

    fn ask(&self, database: &str, statement: &str) -> String {
        self.sql(database, statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/shop", self.port)
    }

    /// Writes on until it is told to end: a row and its twin in every transaction.
    fn write(&self) -> Writer {
        let ends = Arc::new(AtomicBool::new(false));
        let (told, port, password) = (Arc::clone(&ends), self.port, self.password.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut config = tokio_postgres::Config::new();
                config
                    .host("127.0.0.1")
                    .port(port)
                    .user("postgres")
                    .password(password)
                    .dbname("shop");
                let (client, connection) =
                    config.connect(tokio_postgres::NoTls).await.expect("let in");
                let connection = tokio::spawn(connection);
                let text = "WITH new AS (INSERT INTO rows (t) VALUES ('more') RETURNING n) \
                            INSERT INTO twins SELECT n FROM new";
                let mut written = 0_u64;
                while !told.load(Ordering::Relaxed) {
                    client.batch_execute(text).await.expect("written");
                    written += 1;
                }
                connection.abort();
                written
            })
        });
        Writer { ends, thread }
    }

    /// Nothing is left there, and nothing is missing.
    fn is_unharmed(&self, written: u64) {
        let rows = (ROWS + written).to_string();
        assert_eq!(self.ask("shop", "SELECT count(*) FROM rows"), rows);
        assert_eq!(self.ask("shop", "SELECT count(*) FROM pg_replication_slots"), "0");
        let names = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE oid >= 16384";
        assert_eq!(self.ask("shop", names), "clerk");
        until(SOON, "nobody reads from the source", || {
            let others =
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'evenkeel import'";
            self.ask("shop", others) == "0"
        });
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        send(self.process.id(), Signal::INT);
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

struct Writer {
    ends: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Writer {
    /// How many rows were acknowledged.
    fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("it wrote to the end")
    }
}

/// A server does not run as root.
fn as_nobody(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

/// Everything is there as of one moment: each row with its twin, none missing in between.
fn is_whole(fleet: &Fleet, name: &str) {
    let one = |statement: &str| fleet.sql(name, statement).expect("readable")[0].clone();
    let counts =
        one("SELECT count(*) || ' ' || max(n) || ' ' || (SELECT count(*) FROM twins) || ' ' || \
         (SELECT count(*) FROM rows JOIN twins USING (n)) FROM rows");
    let counts: Vec<u64> = counts.split(' ').filter_map(|number| number.parse().ok()).collect();
    assert!(counts[0] >= ROWS && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    assert_eq!(one("SELECT convert_from(lo_get(4711), 'UTF8')"), "a large object");
    assert_eq!(one("SELECT count(*) FROM pg_indexes WHERE tablename = 'rows'"), "2");
    assert_eq!(one("INSERT INTO rows (t) VALUES ('own') RETURNING n > 200000"), "t");
    assert_eq!(one("SELECT current_user || ' ' || current_database()"), format!("{name} {name}"));
}

/// The orders of an import, with the password where nobody sees it.
fn import(fleet: &Fleet, arguments: &[&str], password: &str) -> (Option<i32>, String, String) {
    let mut command = fleet.command(&[&["import"], arguments].concat());
    let out = command.env("PGPASSWORD", password).stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

/// Looks at every process's arguments until it is told to end; those that hold the password.
fn watch_arguments(password: &str) -> (Arc<AtomicBool>, std::thread::JoinHandle<Vec<String>>) {
    let ends = Arc::new(AtomicBool::new(false));
    let (told, password) = (Arc::clone(&ends), password.to_owned());
    let thread = std::thread::spawn(move || {
        let mut found = Vec::new();
        while !told.load(Ordering::Relaxed) {
            for process in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
                let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
                let words = String::from_utf8_lossy(&words).into_owned();
                found.extend(words.contains(&password).then_some(words));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        found
    });
    (ends, thread)
}

/// Files of a fleet that hold the password, its log among them.
fn holding(fleet: &Fleet, password: &str) -> Vec<String> {
    // What is looked for is no argument, as other tests look at those.
    let (pattern, mut typed) = std::io::pipe().expect("a pipe");
    typed.write_all(password.as_bytes()).expect("it is short");
    drop(typed);
    let mut grep = Command::new("grep");
    grep.args(["-rlFf", "-"]).stdin(pattern);
    grep.arg(&fleet.data).arg(fleet.data.with_extension("log"));
    let found = grep.output().expect("it runs").stdout;
    String::from_utf8_lossy(&found).lines().map(str::to_owned).collect()
}

#[test]
fn a_foreign_server_is_imported_while_it_is_written_to() {
    if !software("a_foreign_server_is_imported_while_it_is_written_to") {
        return;
    }
    let fleet = Fleet::start("import", &[]);
    let foreign = Foreign::start("import");
    let password = foreign.password.as_str();
    let (ends, arguments) = watch_arguments(password);
    let writer = foreign.write();
    let url = foreign.url();
    let (code, look, _) =
        import(&fleet, &["orders", "--from", &url, "--check", "--json"], password);
    let look: Value = serde_json::from_str(&look).expect("a look");
    assert_eq!((code, &look["chosen"]["method"]), (Some(0), &"base".into()), "{look}");
    assert_eq!(fleet.json(&["list"]).as_array().map(Vec::len), Some(0), "a look makes nothing");
    // All of its server, with a standby.
    let (code, said, told) =
        import(&fleet, &["orders", "--from", &url, "--plan", "ha", "--timeout", "300"], password);
    assert_eq!(code, Some(0), "{said}{told}\n{}", fleet.log());
    assert!(said.contains("imported  by base from postgres@127.0.0.1"), "{said}");
    assert!(told.contains("copying the source's files: ") && told.contains(" MiB"), "{told}");
    // One of its databases.
    let dump = ["lists", "--from", &url, "--method", "dump", "--timeout", "300"];
    let (code, said, told) = import(&fleet, &dump, password);
    assert_eq!(code, Some(0), "{said}{told}\n{}", fleet.log());
    assert!(told.contains("reading the source's database: "), "{told}");
    foreign.is_unharmed(writer.end());
    for name in ["orders", "lists"] {
        is_whole(&fleet, name);
    }
    // Both are services like any other.
    for name in ["orders", "lists"] {
        fleet.ok(&["backup", name, "--wait"]);
        let proof = fleet.json(&["prove", name]);
        assert!(proof["proven_at"].is_string(), "{proof}");
    }
    let rows = || fleet.sql("orders", "SELECT count(*) FROM rows").expect("readable")[0].clone();
    let before = rows();
    fleet.ok(&["switchover", "orders"]);
    assert_eq!(rows(), before);
    let journal = fleet.ok(&["journal", "--subject", "orders", "--limit", "1000"]);
    assert!(journal.contains("imports by base: ") && !journal.contains(password), "{journal}");
    ends.store(true, Ordering::Relaxed);
    assert_eq!(arguments.join().expect("it looked"), Vec::<String>::new());
    assert_eq!(holding(&fleet, password), Vec::<String>::new());
}

/// Whether a host is reading a source's database.
fn is_read(fleet: &Fleet, host: &str) -> bool {
    let members = fs::read_dir(fleet.data.join("hosts").join(host).join("members"));
    members.into_iter().flatten().filter_map(Result::ok).any(|m| m.path().join("dump").exists())
}

#[test]
fn what_stops_an_import_is_told_and_ended() {
    if !software("what_stops_an_import_is_told_and_ended") {
        return;
    }
    let fleet = Fleet::start("unimported", &[]);
    let foreign = Foreign::start("unimported");
    let password = foreign.password.as_str();
    let url = foreign.url();
    let closed = format!("postgres://postgres@127.0.0.1:{}/shop", free_port());
    for (name, from, given, words) in [
        ("a", &url, "wrong", "refuses the password of role postgres"),
        ("b", &closed, password, "is not reached"),
    ] {
        let (code, _, told) = import(&fleet, &[name, "--from", from], given);
        assert!(code == Some(1) && told.contains(words), "{code:?}: {told}");
        let show = fleet.show(name);
        assert!(show["import"]["failed"].as_str().is_some_and(|why| why.contains(words)), "{show}");
        assert!(show["operation"].is_null(), "{show}");
        fleet.ok(&["terminate", name, "--confirm", name]);
        until(SOON, "it is gone", || fleet.state(name) == "gone");
    }
    let with = url.replace("postgres@", &format!("postgres:{password}@"));
    let (code, _, told) = import(&fleet, &["c", "--from", &with], "");
    assert!(
        code == Some(2) && told.contains("--password-file") && !told.contains(password),
        "{told}"
    );
    // Its agent dies half way: it is begun again, and ends well.
    let (code, _, told) =
        import(&fleet, &["d", "--from", &url, "--method", "dump", "--no-wait"], password);
    assert_eq!(code, Some(0), "{told}");
    let host = fleet.host_of("d");
    until(SOON, "its data is being read", || is_read(&fleet, &host));
    fleet.signal(&format!("hosts/{host}/pid.json"), Signal::KILL);
    fleet.until_state(SOON * 2, "d", "available");
    is_whole(&fleet, "d");
    // Ended by order while it goes on, it is soon gone.
    import(&fleet, &["e", "--from", &url, "--method", "dump", "--no-wait"], password);
    let host = fleet.host_of("e");
    until(SOON, "its data is being read", || is_read(&fleet, &host));
    fleet.ok(&["terminate", "e", "--confirm", "e"]);
    until(SOON, "it is gone", || fleet.state("e") == "gone");
    foreign.is_unharmed(0);
    assert_eq!(holding(&fleet, password), Vec::<String>::new());
}
