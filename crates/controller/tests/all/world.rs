//! A controller and what it is made of, for one test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_api::{Client, NewService};
use evenkeel_controller::{Alerts, Options, Parts, Running, start_with};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::memory::Memory;
use crate::peer::{Agent, Gateway, Peer};
use crate::toy;

/// Everything here happens within milliseconds; a machine under load may need longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub runtime: Runtime,
    pub dir: TempDir,
    pub store: Memory,
    pub running: Option<Running>,
    pub client: Client,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world whose controller has other options.
    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        Self::telling(Alerts::default(), change)
    }

    /// A world whose controller tells people.
    pub fn telling(alerts: Alerts, change: impl FnOnce(&mut Options)) -> Self {
        let runtime = Runtime::new().expect("threads");
        let dir = tempfile::tempdir().expect("a directory");
        let store = Memory::new();
        let mut options = Options::new(dir.path().to_owned());
        change(&mut options);
        let parts = Parts { alerts, ..parts(&store) };
        let running = runtime.block_on(start_with(options, parts)).expect("starts");
        let client = Client::new(&running.address.to_string(), &running.token);
        Self { runtime, dir, store, running: Some(running), client }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub fn address(&self) -> SocketAddr {
        self.running().address
    }

    /// Ends the controller and starts another over the same store and directory.
    pub fn restart(&mut self) {
        self.restart_with(|_| {});
    }

    pub fn restart_with(&mut self, change: impl FnOnce(&mut Options)) {
        self.restart_telling(Alerts::default(), change);
    }

    pub fn restart_telling(&mut self, alerts: Alerts, change: impl FnOnce(&mut Options)) {
        self.stop();
        let mut options = Options::new(self.dir.path().to_owned());
        change(&mut options);
        let parts = Parts { alerts, ..parts(&self.store) };
        let running = self.runtime.block_on(start_with(options, parts));
        let running = running.expect("starts again");
        self.client = Client::new(&running.address.to_string(), &running.token);
        self.running = Some(running);
    }

    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }

    pub fn agent(&self, host: &str) -> Agent {
        Agent::hello(Peer::agent(self.address(), &self.running().token), host)
    }

    pub fn gateway(&self, name: &str) -> Gateway {
        Gateway::hello(Peer::gateway(self.address(), &self.running().token), name)
    }

    pub fn create(&self, name: &str) -> Result<evenkeel_api::order::Accepted, evenkeel_api::Error> {
        self.client.create(&new_service(name))
    }

    pub fn recordings(&self) -> Vec<PathBuf> {
        let dir = std::fs::read_dir(self.dir.path().join("recordings")).expect("recordings");
        let mut files: Vec<_> = dir.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        files
    }
}

pub fn new_service(name: &str) -> NewService {
    NewService { name: name.to_owned(), kind: "toy".to_owned(), plan: None, backup_engine: None }
}

pub fn parts(store: &Memory) -> Parts {
    Parts {
        store: Box::new(store.clone()),
        kinds: toy::KINDS,
        remedies: Arc::default(),
        alerts: Alerts::default(),
    }
}

/// Looks again until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
