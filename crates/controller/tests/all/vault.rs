//! Snapshots of the store: taken while it changes, told of, never in the way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel_api::{Client, NewRepository};
use evenkeel_controller::{FleetKey, Options, Running, Vault, start};
use evenkeel_core::backup::lineage::Repository;
use evenkeel_core::backup::snapshot::Manifest;
use evenkeel_core::goal::{Password, StoreId};
use evenkeel_store::{Store, sqlite};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::world::until;

/// A snapshot, how many entries its journal has, and what it is to be sealed with.
type Kept = (Manifest, u64, Password);

/// A vault in memory that may be shut.
#[derive(Debug, Default)]
struct Safe {
    shut: AtomicBool,
    stuck: AtomicBool,
    kept: Mutex<BTreeMap<String, Vec<Kept>>>,
}

impl Safe {
    fn of(&self, place: &str) -> Vec<Kept> {
        self.kept.lock().expect("nobody panicked").get(place).cloned().unwrap_or_default()
    }
}

impl Vault for Safe {
    fn found(&self, place: &Repository) -> Result<(), String> {
        match place.name.as_str() {
            "closed" => Err("user evenkeel may not use it; give it to that user".to_owned()),
            _ => Ok(()),
        }
    }

    fn keep(
        &self,
        place: &Repository,
        manifest: &Manifest,
        copy: &Path,
        key: &Password,
    ) -> Result<(), String> {
        while self.stuck.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.shut.load(Ordering::Relaxed) {
            return Err("it is shut".to_owned());
        }
        let entries =
            sqlite::open_existing(copy).expect("a store").verify().expect("sound").entries;
        let mut kept = self.kept.lock().expect("nobody panicked");
        let kept = kept.entry(place.name.clone()).or_default();
        kept.push((manifest.clone(), entries, key.clone()));
        Ok(())
    }

    fn newest(&self, place: &Repository, _: &StoreId) -> Result<Option<String>, String> {
        Ok(self.of(&place.name).last().map(|(manifest, ..)| manifest.name()))
    }
}

struct Fleet {
    runtime: Runtime,
    dir: TempDir,
    safe: Arc<Safe>,
    running: Option<Running>,
    client: Client,
}

impl Fleet {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let safe = Arc::new(Safe::default());
        let runtime = Runtime::new().expect("threads");
        let running = runtime.block_on(start(options(&dir, &safe))).expect("starts");
        let client = Client::new(&running.address.to_string(), &running.token);
        Self { runtime, dir, safe, running: Some(running), client }
    }

    fn add(&self, name: &str) {
        let directory = Some("/nowhere".to_owned() + name);
        let new = NewRepository { name: name.to_owned(), directory, bucket: None };
        self.client.add_repository(&new).expect("accepted");
    }

    fn stop(&mut self) {
        self.runtime.block_on(self.running.take().expect("it runs").stop());
    }

    fn doctor(&self) -> (bool, String) {
        let items = self.client.doctor().expect("it answers");
        let item = items.into_iter().find(|item| item.name == "store backups").expect("told");
        (item.ok, item.detail)
    }
}

fn options(dir: &TempDir, safe: &Arc<Safe>) -> Options {
    Options {
        vault: Some(Arc::clone(safe) as Arc<dyn Vault>),
        save_every: Duration::from_millis(50),
        ..Options::new(dir.path().to_owned())
    }
}

#[test]
fn what_is_recorded_is_saved_soon_and_at_the_end() {
    let mut fleet = Fleet::new();
    assert!(!fleet.doctor().0, "there is no repository");
    fleet.add("one");
    until("it is saved", || !fleet.safe.of("one").is_empty());
    let (manifest, entries, key) = fleet.safe.of("one").pop().expect("one");
    assert!(entries >= 1 && manifest.sequence >= 1 && manifest.bytes > 0, "{manifest:?}");
    let own = FleetKey::read(&fleet.dir.path().join("fleet.key")).expect("it has one");
    assert_eq!((key, manifest.key), (own.store_key(), own.digits()));
    until("doctor knows", || fleet.doctor().0);
    let saved = |fleet: &Fleet| {
        let mut pages = fleet.client.repositories().expect("answers");
        pages.remove(0).store_saved_at
    };
    assert!(saved(&fleet).is_some());
    // An order that is just recorded when it ends is saved too.
    fleet.add("two");
    let before = fleet.safe.of("one").len();
    fleet.stop();
    assert!(fleet.safe.of("one").len() > before);
    let last = fleet.safe.of("two").pop().expect("the new one has it");
    let store = sqlite::open(&fleet.dir.path().join("store.db")).expect("its store");
    assert_eq!(last.1, store.verify().expect("sound").entries, "nothing came after it");
    assert_eq!(last.0.store, store.id());
    drop(store);
    // Another controller knows when it was saved before it saves itself.
    fleet.safe.shut.store(true, Ordering::Relaxed);
    let again = fleet.runtime.block_on(start(options(&fleet.dir, &fleet.safe))).expect("starts");
    fleet.client = Client::new(&again.address.to_string(), &again.token);
    fleet.running = Some(again);
    until("it is told", || saved(&fleet).is_some());
    fleet.stop();
}

#[test]
fn a_repository_that_takes_nothing_is_told_of_and_tried_again() {
    let mut fleet = Fleet::new();
    fleet.safe.shut.store(true, Ordering::Relaxed);
    fleet.add("one");
    until("doctor tells", || fleet.doctor().1.contains("it is shut"));
    let (ok, text) = fleet.doctor();
    assert!(!ok && text.contains("not yet, and it takes none since 20"), "{text}");
    fleet.safe.shut.store(false, Ordering::Relaxed);
    until("it is saved", || fleet.doctor().0);
    fleet.stop();
}

#[test]
fn a_place_that_the_fleet_cannot_make_a_repository_is_not_added() {
    let mut fleet = Fleet::new();
    let directory = Some("/somebody/elses".to_owned());
    let new = NewRepository { name: "closed".to_owned(), directory, bucket: None };
    let error = fleet.client.add_repository(&new).expect_err("it may not");
    let told = error.to_string();
    assert!(told.contains("give it to that user"), "{told}");
    assert!(fleet.client.repositories().expect("answers").is_empty());
    fleet.stop();
}

#[test]
fn a_repository_that_never_answers_is_in_nobodys_way() {
    let mut fleet = Fleet::new();
    fleet.safe.stuck.store(true, Ordering::Relaxed);
    let began = Instant::now();
    for name in ["one", "two", "three"] {
        fleet.add(name);
        std::thread::sleep(Duration::from_millis(600));
    }
    assert_eq!(fleet.client.repositories().expect("answers").len(), 3);
    assert!(began.elapsed() < Duration::from_secs(5));
    fleet.safe.stuck.store(false, Ordering::Relaxed);
    fleet.stop();
}
