//! The contract of drivers, played against a real PostgreSQL.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use evenkeel_core::contract::{self, Bench};
use evenkeel_core::driver::{Driver, Process};
use evenkeel_core::goal::Goal;
use rustix::process::Signal;

use crate::{Place, as_owner, process, send, value_as_owner};

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

impl Bench for Real<'_> {
    fn goal(&self) -> Goal {
        self.place.goal(1, 1)
    }
    fn other_settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.goal().settings;
        settings.insert("log_min_duration_statement".to_owned(), "12345".to_owned());
        settings
    }
    fn driver(&mut self) -> &mut dyn Driver {
        &mut *self.driver
    }
    fn replace_driver(&mut self) {
        self.driver = self.place.driver();
    }
    fn moment(&mut self) {
        std::thread::sleep(Duration::from_millis(3));
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
        let ask = |question: &str| value_as_owner(goal.port, "a password", question);
        let there = ask("SELECT to_regclass('t')::text").expect("answered").is_some();
        let count = || ask("SELECT count(*) FROM t").expect("answered").expect("a row");
        if there { count().parse().expect("a number") } else { 0 }
    }
}

/// Plays the script.
pub fn play(place: &mut Place) {
    let mut real = Real { driver: place.driver(), place, holder: None };
    contract::play(&mut real, |chapter| println!("postgres: {chapter}"));
}
