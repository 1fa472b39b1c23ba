//! The contract of drivers, played against a real PostgreSQL.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::backup::lineage::Archive;
use evenkeel_core::contract::{self, Archives, Bench, Clock, Pair, Play, Row, SYNCHRONOUS, Who};
use evenkeel_core::driver::{Driver, Process};
use evenkeel_core::goal::{Follower, Goal, Upstream};
use evenkeel_core::id::{HostId, MemberId};
use evenkeel_core::moment::Moment;
use evenkeel_core::promise::Copy;
use evenkeel_kinds::postgres::replication;
use rustix::process::Signal;

use crate::archive::{archive, repository};
use crate::{Place, as_owner, free_port, process, send, value_as_owner};

const MOMENT: Duration = Duration::from_millis(3);
const TABLE: &str = "SET synchronous_commit = local; CREATE TABLE IF NOT EXISTS t (a int)";

/// A place with one member, and a hand that does what drivers do not.
struct Real<'a> {
    place: &'a Place,
    driver: Box<dyn Driver>,
    holder: Option<TcpListener>,
}

impl Real<'_> {
    fn pid(&mut self, goal: &Goal) -> u32 {
        match self.driver.process(goal) {
            Ok(Process::Running { pid } | Process::Frozen { pid }) => pid,
            other => panic!("no server: {other:?}"),
        }
    }
}

impl Clock for Real<'_> {
    fn moment(&mut self) {
        std::thread::sleep(MOMENT);
    }
}

impl Bench for Real<'_> {
    fn goal(&self) -> Goal {
        self.place.goal(1, 1)
    }
    fn other_settings(&self) -> Arc<BTreeMap<String, String>> {
        let mut settings = self.goal().settings;
        Arc::make_mut(&mut settings)
            .insert("log_min_duration_statement".to_owned(), "12345".to_owned());
        settings
    }
    fn driver(&mut self) -> &mut dyn Driver {
        &mut *self.driver
    }
    fn replace_driver(&mut self) {
        self.driver = self.place.driver();
    }
    fn half_make(&mut self, goal: &Goal) {
        // All but the last of what an initialisation does: its mark is still that of one under way.
        self.driver.initialize(goal).expect("initialised");
        let root = self.place.setup.members_dir.join("1");
        fs::rename(root.join("data/evenkeel.json"), root.join("initializing")).expect("renamed");
    }
    fn crash(&mut self, goal: &Goal) {
        let pid = self.pid(goal);
        let descriptor = process::pidfd(pid).expect("it runs");
        send(pid, Signal::KILL);
        assert!(process::wait_gone(&descriptor, Duration::from_secs(5)));
    }
    fn freeze(&mut self, goal: &Goal, frozen: bool) {
        let pid = self.pid(goal);
        send(pid, if frozen { Signal::STOP } else { Signal::CONT });
    }
    fn hold_port(&mut self, goal: &Goal, held: bool) {
        self.holder = held.then(|| TcpListener::bind(("127.0.0.1", goal.port)).expect("free"));
    }
    fn write_row(&mut self, goal: &Goal) -> bool {
        let write = "CREATE TABLE IF NOT EXISTS t (a int); INSERT INTO t VALUES (1)";
        as_owner(goal.port, "a password", write).is_ok()
    }
    fn rows(&mut self, goal: &Goal) -> u64 {
        rows(goal.port)
    }
}

fn rows(port: u16) -> u64 {
    let ask = |question: &str| value_as_owner(port, "a password", question);
    let there = ask("SELECT to_regclass('t')::text").expect("answered").is_some();
    let count = || ask("SELECT count(*) FROM t").expect("answered").expect("a row");
    if there { count().parse().expect("a number") } else { 0 }
}

/// Plays the script.
pub fn play(place: &mut Place) {
    let mut real = Real { driver: place.driver(), place, holder: None };
    contract::play(&mut real, |chapter| println!("postgres: {chapter}"));
}

/// Two members in one place, with a port and a driver each.
struct Two<'a> {
    place: &'a Place,
    ports: [u16; 2],
    drivers: [Box<dyn Driver>; 2],
    clients: tokio::runtime::Runtime,
    acknowledged: Arc<AtomicU64>,
}

const fn index(who: Who) -> usize {
    match who {
        Who::First => 0,
        Who::Second => 1,
    }
}

impl Two<'_> {
    fn processes(&self, who: Who) -> Vec<u32> {
        let data = self.place.data(self.goal(who).member.0);
        process::all_in(&data.canonicalize().expect("it is there"))
    }
}

impl Clock for Two<'_> {
    fn moment(&mut self) {
        std::thread::sleep(MOMENT);
    }
}

impl Pair for Two<'_> {
    fn goal(&self, who: Who) -> Goal {
        let member = if who == Who::First { 1 } else { 2 };
        let mut goal = self.place.goal(member, 1);
        let identity = Arc::make_mut(&mut goal.identity);
        identity.service.0 = 1;
        identity.members = vec![(MemberId(1), HostId(1)), (MemberId(2), HostId(2))];
        goal.port = self.ports[index(who)];
        goal
    }
    fn following(&self, copy: Copy, of: &Goal) -> (Follower, Upstream) {
        let (login, password) = replication::login(b"a key", copy);
        let upstream = Upstream {
            copy: of.copy(),
            address: of.address.clone(),
            port: of.port,
            role: login.role.clone(),
            password,
        };
        (Follower { copy, login }, upstream)
    }
    fn driver(&mut self, who: Who) -> &mut dyn Driver {
        &mut *self.drivers[index(who)]
    }
    fn freeze(&mut self, who: Who, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        self.processes(who).into_iter().for_each(|pid| send(pid, signal));
    }
    fn crash(&mut self, who: Who) {
        for pid in self.processes(who) {
            let Ok(descriptor) = process::pidfd(pid) else { continue };
            send(pid, Signal::KILL);
            assert!(process::wait_gone(&descriptor, Duration::from_secs(5)));
        }
    }
    fn begin_row(&mut self, who: Who) -> bool {
        let url = format!(
            "host=127.0.0.1 port={} user=orders-2 dbname=orders-2 password='a password'",
            self.ports[index(who)]
        );
        let acknowledged = Arc::clone(&self.acknowledged);
        self.clients.block_on(async {
            let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
            let Ok((client, connection)) = connected else { return false };
            tokio::spawn(connection);
            if client.batch_execute(TABLE).await.is_err() {
                return false;
            }
            let write = "SET synchronous_commit = on; INSERT INTO t VALUES (1)";
            tokio::spawn(async move {
                if client.batch_execute(write).await.is_ok() {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
            true
        })
    }
    fn acknowledged(&mut self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
    fn rows(&mut self, who: Who) -> u64 {
        rows(self.ports[index(who)])
    }
}

/// Two members that are not there yet.
fn two(place: &Place) -> Two<'_> {
    let mut clients = tokio::runtime::Builder::new_multi_thread();
    Two {
        ports: [free_port(), free_port()],
        drivers: [place.driver(), place.driver()],
        clients: clients.worker_threads(1).enable_all().build().expect("a runtime"),
        acknowledged: Arc::default(),
        place,
    }
}

/// Plays the script of those who replicate.
pub fn play_replication(place: &mut Place) {
    contract::play_replication(&mut two(place), |chapter| println!("postgres: {chapter}"));
}

/// A primary and a standby that each commit waits for.
pub fn with_a_pair(place: &Place, act: impl FnOnce(&mut Play<'_>)) {
    let mut two = two(place);
    let mut play = Play::new(&mut two);
    play.to(SYNCHRONOUS, |_| ());
    act(&mut play);
}

/// Members in one place that archive, with a port and a driver each.
struct Archiving<'a> {
    place: &'a Place,
    ports: RefCell<BTreeMap<u32, u16>>,
    drivers: BTreeMap<MemberId, Box<dyn Driver>>,
}

impl Clock for Archiving<'_> {
    fn moment(&mut self) {
        std::thread::sleep(MOMENT);
    }
}

impl Archives for Archiving<'_> {
    fn goal(&self, member: u32) -> Goal {
        let port = *self.ports.borrow_mut().entry(member).or_insert_with(free_port);
        Goal { port, ..self.place.goal(member, 1) }
    }
    fn archive(&self, number: u32) -> Archive {
        let repositories = ["near", "far"].map(|name| repository(self.place, name));
        Archive { repositories: repositories.into(), ..archive(self.place, number) }
    }
    fn driver(&mut self, member: MemberId) -> &mut dyn Driver {
        &mut **self.drivers.entry(member).or_insert_with(|| self.place.driver())
    }
    fn reach(&mut self, repository: &str, reached: bool) {
        let root = self.place.dir.path().join("repositories");
        let (there, aside) = (root.join(repository), root.join(format!("{repository}-away")));
        let (from, to) = if reached { (aside, there) } else { (there, aside) };
        if from.exists() {
            fs::rename(from, to).expect("renamed");
        }
    }
    fn write_row(&mut self, goal: &Goal) -> Row {
        let ask = |text: &str| value_as_owner(goal.port, "a password", text).expect("written");
        ask("CREATE TABLE IF NOT EXISTS t (a int); INSERT INTO t VALUES (1)");
        let text = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || ' ' \
                    || pg_current_wal_insert_lsn()";
        let said = ask(text).expect("a row");
        let (at, end) = said.split_once(' ').expect("two words");
        let at = Moment(at.parse().expect("a number"));
        Row { end: end.parse().expect("a position"), at }
    }
    fn rows(&mut self, goal: &Goal) -> u64 {
        rows(goal.port)
    }
}

/// Plays the script of those who archive.
pub fn play_archives(place: &mut Place) {
    let mut host = Archiving { place, ports: RefCell::default(), drivers: BTreeMap::new() };
    contract::play_archives(&mut host, |chapter| println!("postgres: {chapter}"));
}
