//! A fleet for one test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Condvar, Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_drivers::process::{self, Identity};
use rustix::process::Signal;
use serde_json::Value;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

/// A data directory, and the `up` that serves it.
pub struct Fleet {
    pub data: PathBuf,
    pub listen: String,
    up: Option<Child>,
    ports: Ports,
}

/// Ranges of ports that nobody uses: as many fleets at once in this process as there are.
static FREE: (Mutex<Vec<(u16, u16)>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());
static RANGES: Once = Once::new();

/// A range of ports, for as long as one keeps it.
struct Ports(u16, u16);

impl Ports {
    fn take() -> Self {
        let (free, given_back) = &FREE;
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        RANGES.call_once(|| {
            // Below those that a system gives to its clients.
            free.extend([(29_250, 31_999), (26_500, 29_249), (23_750, 26_499), (21_000, 23_749)]);
        });
        loop {
            if let Some((first, last)) = free.pop() {
                return Self(first, last);
            }
            free = given_back.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        let (free, given_back) = &FREE;
        free.lock().unwrap_or_else(PoisonError::into_inner).push((self.0, self.1));
        given_back.notify_one();
    }
}

/// Where images are shared between tests, for machines without PostgreSQL.
pub fn images() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| std::env::temp_dir().join("evenkeel-test-images"))
}

/// Whether there is software to run members from; says so if not.
pub fn software(name: &str) -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        evenkeel_drivers::image::any(evenkeel_drivers::image::Software::Postgres, images()).is_ok()
            || evenkeel_drivers::image::fetch(
                evenkeel_drivers::image::Software::Postgres,
                images(),
                &|text| println!("{text}"),
            )
            .is_ok()
    });
    if !found {
        println!("1 not run: no PostgreSQL here, and none could be fetched ({name})");
    }
    found
}

/// Whether this test runs as root; says so if not.
pub fn root(name: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("1 not run: needs root ({name})");
    }
    root
}

/// An unused data directory that the fleet's own user can reach.
pub fn new_data(name: &str) -> PathBuf {
    let data = PathBuf::from(format!("/tmp/ek-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&data);
    data
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Fleet {
    /// A fleet that runs, with more flags for `up`.
    pub fn start(name: &str, flags: &[&str]) -> Self {
        Self::start_in(new_data(name), flags)
    }

    /// A fleet in a directory that does not exist yet.
    pub fn start_in(data: PathBuf, flags: &[&str]) -> Self {
        // Ports that the kernel gives to whoever asks for any are not among them.
        let ports = Ports::take();
        let listen = format!("127.0.0.1:{}", ports.1);
        let mut fleet = Self { data, listen, up: None, ports };
        fleet.up(flags);
        fleet
    }

    /// A fleet that others started in a directory: verbs are run on it, and it is taken down at the end.
    pub fn over(data: PathBuf) -> Self {
        Self { data, listen: String::new(), up: None, ports: Ports::take() }
    }

    /// Starts `up` and waits until every host is heard.
    pub fn up(&mut self, flags: &[&str]) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .expect("a log");
        let child = self
            .command(&["up", "--listen", &self.listen, "--ports", &self.ports()])
            .args(flags)
            .env("EVENKEEL_IMAGES", images())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        self.up = Some(child);
        let hosts = flags
            .iter()
            .position(|f| *f == "--hosts")
            .map_or(3, |at| flags[at + 1].parse::<usize>().expect("a number"));
        until(60, "every host is up", || {
            let all = self.json(&["host", "list"]);
            all.as_array().is_some_and(|all| {
                all.len() == hosts && all.iter().all(|host| host["state"] == "up")
            })
        });
        until(30, "the gateway is heard", || {
            self.json(&["doctor"]).as_array().is_some_and(|items| {
                items.iter().any(|i| {
                    i["name"].as_str().is_some_and(|n| n.contains("gateway")) && i["ok"] == true
                })
            })
        });
    }

    /// Its range of ports, as `up` takes it; the last is the controller's.
    fn ports(&self) -> String {
        format!("{}-{}", self.ports.0, self.ports.1 - 1)
    }

    /// The first of its ports.
    pub fn first_port(&self) -> u16 {
        self.ports.0
    }

    /// A command on this fleet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).env("EVENKEEL_DATA", &self.data).env_remove("EVENKEEL_URL");
        command
    }

    /// Runs a verb; whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// Runs a verb that must do; what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert!(
            out.status.success(),
            "{arguments:?}: {} {}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr),
            self.log()
        );
        String::from_utf8(out.stdout).expect("text")
    }

    /// Runs a verb that must fail; its exit code and what it said.
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let out = self.run(arguments);
        assert!(!out.status.success(), "{arguments:?} did not fail");
        let code = out.status.code().expect("it ended by itself");
        (code, String::from_utf8_lossy(&out.stderr).into_owned())
    }

    /// A verb's JSON; null while it fails.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let out = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
    }

    /// A service, as `show --json` prints it.
    pub fn show(&self, name: &str) -> Value {
        self.json(&["show", name])
    }

    pub fn state(&self, name: &str) -> String {
        self.show(name)["state"].as_str().unwrap_or("gone").to_owned()
    }

    pub fn create(&self, name: &str) {
        self.ok(&["create", "postgres", name]);
    }

    /// Waits for a state.
    pub fn until_state(&self, seconds: u64, name: &str, state: &str) {
        until(seconds, &format!("{name} is {state}"), || self.state(name) == state);
    }

    /// The process of a service's server.
    pub fn server(&self, name: &str) -> u32 {
        let mut found = None;
        until(30, "a server runs", || {
            found = self.show(name)["members"][0]["pid"].as_u64();
            found.is_some()
        });
        u32::try_from(found.expect("waited for")).expect("a process")
    }

    /// The host of a service's member.
    pub fn host_of(&self, name: &str) -> String {
        self.show(name)["members"][0]["host"].as_str().expect("placed").to_owned()
    }

    pub fn identity(&self, file: &str) -> Identity {
        let text = fs::read(self.data.join(file)).expect("it was written down");
        serde_json::from_slice(&text).expect("an identity")
    }

    /// Sends a signal to a process this fleet wrote down.
    pub fn signal(&self, file: &str, which: Signal) {
        send(self.identity(file).pid, which);
    }

    /// Kills `up`, and with it the controller, the hard way.
    pub fn kill_up(&mut self) {
        self.signal("up.json", Signal::KILL);
        self.reap();
    }

    /// Ends `up` as Ctrl-C does.
    pub fn interrupt_up(&mut self) {
        self.signal("up.json", Signal::INT);
        self.reap();
    }

    fn reap(&mut self) {
        if let Some(mut up) = self.up.take() {
            let _ = up.wait();
        }
    }

    /// What `up` and the agents said.
    pub fn log(&self) -> String {
        let mut files = vec![self.data.with_extension("log")];
        let logs = fs::read_dir(self.data.join("log")).into_iter().flatten();
        files.extend(logs.filter_map(|entry| Some(entry.ok()?.path())));
        let text = |file: &PathBuf| {
            format!("--- {}\n{}", file.display(), fs::read_to_string(file).unwrap_or_default())
        };
        files.iter().map(text).collect()
    }

    /// Runs a statement as the owner, through the gateway.
    pub fn sql(&self, name: &str, statement: &str) -> Result<Vec<String>, String> {
        let url = self.ok(&["url", name]);
        sql(url.trim(), statement)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let down = self.run(&["down"]);
        self.reap();
        if std::thread::panicking() {
            println!("{}", self.log());
        } else {
            assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
            let _ = fs::remove_dir_all(&self.data);
            let _ = fs::remove_file(self.data.with_extension("log"));
        }
    }
}

/// Runs a statement; the first column of its rows.
pub fn sql(url: &str, statement: &str) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let words = |error: tokio_postgres::Error| {
            error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned())
        };
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls);
        let limit = Duration::from_secs(30);
        let connected = tokio::time::timeout(limit, connected).await.map_err(|e| e.to_string())?;
        let (client, connection) = connected.map_err(words)?;
        let connection = tokio::spawn(connection);
        let done = tokio::time::timeout(limit, client.simple_query(statement)).await;
        connection.abort();
        let rows = done.map_err(|error| error.to_string())?.map_err(words)?;
        Ok(rows
            .iter()
            .filter_map(|row| match row {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect())
    })
}

pub fn send(pid: u32, which: Signal) {
    let descriptor = process::pidfd(pid).expect("it runs");
    process::signal(&descriptor, which).expect("it may be sent");
    if which == Signal::KILL {
        assert!(process::wait_gone(&descriptor, Duration::from_secs(10)), "{pid} is killed");
    }
}

/// Gives a path, and what is above it inside the fleet's directory, to the fleet's own user.
pub fn give(fleet: &Fleet, path: &Path) {
    use std::os::unix::fs::MetadataExt;
    // Resolved, so that neither `..` nor a link leads out of it: all that is walked is below it.
    let data = fleet.data.canonicalize().expect("there");
    let inside = path.canonicalize().expect("there");
    assert!(
        inside.starts_with(&data) && inside != data,
        "{} is not inside {}",
        path.display(),
        fleet.data.display()
    );
    let owner = fs::metadata(&data).expect("there");
    for path in inside.ancestors().take_while(|path| *path != data) {
        let (uid, gid) = (Some(owner.uid()), Some(owner.gid()));
        std::os::unix::fs::chown(path, uid, gid).expect("root, or its own user");
    }
}

/// Waits for a condition; there is no other waiting in these tests.
pub fn until(seconds: u64, what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Writes numbered rows for ever and remembers what was acknowledged.
pub struct Ledger {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    writer: Option<std::thread::JoinHandle<Vec<u64>>>,
}

impl Ledger {
    /// Begins to write.
    pub fn start(fleet: &Fleet, name: &str) -> Self {
        let url = fleet.ok(&["url", name]).trim().to_owned();
        sql(&url, "CREATE TABLE IF NOT EXISTS ledger (n bigint PRIMARY KEY)").expect("made");
        // Another may have written to it before.
        let newest = sql(&url, "SELECT coalesce(max(n), 0) FROM ledger").expect("readable");
        let newest: u64 = newest[0].parse().expect("a number");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            let (mut acknowledged, mut number) = (Vec::new(), newest);
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                if sql(&url, &format!("INSERT INTO ledger VALUES ({number})")).is_ok() {
                    acknowledged.push(number);
                }
            }
            acknowledged
        });
        Self { stop, writer: Some(writer) }
    }

    /// Ends writing; what was acknowledged.
    pub fn end(mut self) -> Vec<u64> {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let writer = self.writer.take().expect("it writes");
        writer.join().expect("the writer ends")
    }

    /// Ends writing; every acknowledged row must be there.
    pub fn check(self, fleet: &Fleet, name: &str) -> usize {
        let acknowledged = self.end();
        let lost = missing(fleet, name, &acknowledged);
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert!(!acknowledged.is_empty(), "nothing was ever acknowledged");
        acknowledged.len()
    }
}

/// Rows of a ledger that are not in a service.
pub fn missing(fleet: &Fleet, name: &str, rows: &[u64]) -> Vec<u64> {
    let found = fleet.sql(name, "SELECT n FROM ledger").expect("readable");
    let found: std::collections::BTreeSet<u64> =
        found.iter().filter_map(|n| n.parse().ok()).collect();
    rows.iter().filter(|n| !found.contains(n)).copied().collect()
}
