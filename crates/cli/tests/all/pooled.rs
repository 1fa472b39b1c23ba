//! The pooled endpoint: clients in transaction loops through switchovers, killed and stopped poolers.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use evenkeel_drivers::image::{Software, any, fetch};
use rustix::process::Signal;

use crate::fleet::{Fleet, images, send, software, sql, until};

/// Clients at the same time.
const CLIENTS: usize = 16;
/// Longest that a client may be kept waiting on a slow machine.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Whether there is a pooler to run; says so if not.
fn pooler(name: &str) -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        any(Software::PgBouncer, images()).is_ok()
            || fetch(Software::PgBouncer, images(), &|text| println!("{text}")).is_ok()
    });
    if !found {
        println!("1 not run: no PgBouncer here, and none could be fetched ({name})");
    }
    found
}

/// Clients in loops of transactions, each on one connection that is never opened again.
struct Loops {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<Result<Vec<i64>, String>>>,
}

impl Loops {
    fn start(url: &str) -> Self {
        sql(url, "CREATE TABLE IF NOT EXISTS loops (id bigserial, client int)").expect("made");
        let stop = Arc::new(AtomicBool::new(false));
        let client = |n: usize| {
            let (stop, url) = (Arc::clone(&stop), url.to_owned());
            std::thread::spawn(move || transactions(n, &url, &stop))
        };
        Self { clients: (0..CLIENTS).map(client).collect(), stop }
    }

    /// Every row that was acknowledged; none of the clients may have seen an error.
    fn end(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let all = self.clients.into_iter().map(|client| client.join().expect("it ends"));
        all.flat_map(|rows| rows.expect("no client sees an error")).collect()
    }
}

fn transactions(client: usize, url: &str, stop: &AtomicBool) -> Result<Vec<i64>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let words = |error: tokio_postgres::Error| {
            error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned())
        };
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
        let (session, connection) = connected.map_err(words)?;
        tokio::spawn(connection);
        let mut rows = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            session.simple_query("BEGIN").await.map_err(words)?;
            let insert = format!("INSERT INTO loops (client) VALUES ({client}) RETURNING id");
            let told = session.simple_query(&insert).await.map_err(words)?;
            session.simple_query("SELECT 1").await.map_err(words)?;
            session.simple_query("COMMIT").await.map_err(words)?;
            assert!(began.elapsed() < WAIT_MAX, "a transaction took {:?}", began.elapsed());
            rows.extend(told.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
                _ => None,
            }));
        }
        Ok(rows)
    })
}

fn check(fleet: &Fleet, mut acknowledged: Vec<i64>) {
    let there = fleet.sql("pay", "SELECT id FROM loops").expect("read");
    let there: std::collections::BTreeSet<i64> =
        there.iter().filter_map(|n| n.parse().ok()).collect();
    acknowledged.retain(|row| !there.contains(row));
    assert!(acknowledged.is_empty(), "acknowledged and lost: {acknowledged:?}");
}

fn url(fleet: &Fleet) -> String {
    fleet.ok(&["url", "pay", "--pooled"]).trim().to_owned()
}

/// The pooler's process, when it is not this one any more.
fn process(fleet: &Fleet, other_than: u32) -> u32 {
    let mut found = 0;
    until(30, "a pooler runs", || {
        let place = fleet.data.join("hosts/h1/poolers");
        let dirs =
            fs::read_dir(place).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let all: Vec<PathBuf> = dirs.filter(|path| path.is_dir()).collect();
        let pids = all.iter().flat_map(|dir| evenkeel_drivers::process::all_in(dir));
        // Whoever launches one works there for a moment too.
        let is_one = |pid: &u32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            program.file_name().is_some_and(|name| name == "pgbouncer")
        };
        found = pids.into_iter().filter(is_one).find(|pid| *pid != other_than).unwrap_or(0);
        found != 0
    });
    found
}

fn until_whole(fleet: &Fleet) {
    until(120, "every standby is counted on", || {
        let show = fleet.show("pay");
        show["failover"]["safe_now"] == true && show["operation"].is_null()
    });
}

/// Another image of the same pooler, which is preferred to the first while this lives.
struct Other;

impl Other {
    fn place() -> PathBuf {
        images().join("images").join("f".repeat(64))
    }

    /// None where the pooler is the system's.
    fn image() -> Option<Self> {
        if evenkeel_drivers::image::host(Software::PgBouncer).is_ok() {
            println!("1 not run: the pooler is the system's, and has no other image");
            return None;
        }
        let first = any(Software::PgBouncer, images()).expect("found before");
        let home = images().join("images").join(first.digest.to_string());
        let copied =
            std::process::Command::new("cp").arg("-a").arg(&home).arg(Self::place()).status();
        assert!(copied.expect("cp runs").success());
        let record = Self::place().join("image.json");
        let text = fs::read_to_string(&record).expect("there");
        let text = text.replace(&first.digest.to_string(), &"f".repeat(64));
        fs::write(&record, text).expect("written");
        Some(Self)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Self::place());
    }
}

#[test]
fn clients_of_the_pooled_endpoint_see_a_pause_and_no_error() {
    const NAME: &str = "clients_of_the_pooled_endpoint_see_a_pause_and_no_error";
    if !software(NAME) || !pooler(NAME) {
        return;
    }
    let fleet = Fleet::start("pooled", &[]);
    fleet.ok(&["create", "postgres", "pay", "--plan", "ha"]);
    fleet.create("alone");
    until(30, "the pooled endpoint takes clients", || sql(&url(&fleet), "SELECT 1").is_ok());
    let loops = Loops::start(&url(&fleet));
    for _ in 0..4 {
        until_whole(&fleet);
        let before = fleet.show("pay")["members"][0]["id"].clone();
        fleet.ok(&["switchover", "pay"]);
        assert_ne!(fleet.show("pay")["members"][0]["id"], before);
    }
    if let Some(_other) = Other::image() {
        // Its successor from another image takes over a pooler's clients.
        let before = process(&fleet, 0);
        fleet.signal("hosts/h1/pid.json", Signal::KILL);
        let after = process(&fleet, before);
        until(30, "its predecessor is gone", || evenkeel_drivers::process::state(before).is_none());
        let program = fs::read_link(format!("/proc/{after}/exe")).expect("it runs");
        assert!(program.starts_with(Other::place()), "{}", program.display());
    }
    let acknowledged = loops.end();
    assert!(acknowledged.len() > CLIENTS * 10, "{} rows", acknowledged.len());
    check(&fleet, acknowledged);
    let journal = fleet.ok(&["journal", "--subject", "pay", "--limit", "300"]);
    assert_eq!(journal.matches("\"have pooled clients wait\" done").count(), 4, "{journal}");

    let (_, refused) = fleet.fails(&["url", "alone", "--pooled"]);
    assert!(refused.contains("plan dev has none"), "{refused}");
    assert_eq!(fleet.show("alone")["pooled_port"], serde_json::Value::Null);
    let (_, refused) = fleet.fails(&["url", "pay", "--pooled", "--direct"]);
    assert!(refused.contains("cannot be used with"), "{refused}");
    let stranger = url(&fleet).replace("pay:", "pay:x");
    assert!(sql(&stranger, "SELECT 1").is_err(), "a wrong password is refused");
    fleet.ok(&["terminate", "pay", "--confirm", "pay"]);
    until(30, "its pooler is gone", || {
        fs::read_dir(fleet.data.join("hosts/h1/poolers")).is_ok_and(|mut all| all.next().is_none())
    });
}

#[test]
fn a_pooler_that_dies_or_hangs_is_started_again_and_outlives_its_agent() {
    const NAME: &str = "a_pooler_that_dies_or_hangs_is_started_again_and_outlives_its_agent";
    if !software(NAME) || !pooler(NAME) {
        return;
    }
    let mut fleet = Fleet::start("pooler", &[]);
    fleet.ok(&["create", "postgres", "pay", "--plan", "ha"]);
    let works = |fleet: &Fleet| sql(&url(fleet), "SELECT 1").is_ok();
    until(30, "the pooled endpoint takes clients", || works(&fleet));
    let first = process(&fleet, 0);
    send(first, Signal::KILL);
    let second = process(&fleet, first);
    until(30, "it takes clients again", || works(&fleet));
    send(second, Signal::STOP);
    let third = process(&fleet, second);
    until(30, "it takes clients again", || works(&fleet));

    // Nobody of the fleet's own processes is needed for it to serve.
    let url = url(&fleet);
    fleet.kill_up();
    fleet.signal("hosts/h1/pid.json", Signal::KILL);
    assert_eq!(sql(&url, "SELECT 1").expect("it serves alone"), ["1"]);
    fleet.up(&[]);
    assert_eq!(sql(&url, "SELECT 1").expect("it serves"), ["1"]);
    assert!(evenkeel_drivers::process::state(third).is_some(), "it was adopted and not touched");
    until_whole(&fleet);
    fleet.ok(&["switchover", "pay"]);
    assert_eq!(sql(&url, "SELECT 1").expect("it serves"), ["1"]);
}
