//! The ping to an outside watcher, which alarms when it stays away: so that Evenkeel's own silence
//! wakes somebody too, and the journal's head is known to somebody else.
//!
//! It is a dead man's switch, so what pings must not be alive on its own: a ping goes out only while
//! the cell says that it lives. [`Watch::beat`] is to be called by the thread whose life it is, at
//! least each [`Watch::every`]; a beat is good for two of these.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_core::moment::Moment;
use serde_json::json;
use ureq::http::Method;

use super::fields::{Fault, Fields};
use super::http::{Ask, Content, Site};
use super::secret::Secrets;
use super::{Deadline, presentable};
use crate::clock::wall;

/// Between pings, unless said otherwise.
const EVERY: Duration = Duration::from_secs(60);
/// A ping is waited for so long at most.
const PATIENCE_MAX: Duration = Duration::from_secs(10);
/// A beat is good for so many intervals.
const BEAT_GOOD: u32 = 2;
/// After a failure the next try comes after this part of an interval.
const SOONER: u32 = 4;

/// `[watcher]`: where pings go, and how often.
#[derive(Debug)]
pub struct Watcher {
    site: Site,
    method: Method,
    every: Duration,
    pub(super) secrets: Secrets,
}

/// The newest entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its position.
    pub position: u64,
    /// Its digest, which is made of all before it, in hexadecimal digits.
    pub digest: String,
}

/// How the pings go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Where they go: the host.
    pub host: String,
    /// How many were confirmed.
    pub sent: u64,
    /// How many failed.
    pub failed: u64,
    /// How many failed since one was confirmed.
    pub failed_in_a_row: u64,
    /// How often nothing was sent, since no beat was good any more.
    pub withheld: u64,
    /// When one was confirmed last, by the wall clock.
    pub confirmed: Option<Moment>,
    /// What happened when one failed last, without secrets.
    pub failure: Option<String>,
}

/// Takes the watcher's fields.
pub(super) fn open(fields: &mut Fields<'_>) -> Result<Watcher, Fault> {
    let site = Site::take(fields, None, Content::Secret)?;
    let bounds = (Duration::from_secs(1), Duration::from_secs(3600));
    let every = fields.span("every", EVERY, bounds)?;
    let method = match fields.word("method", &["POST", "GET"])? {
        "GET" => Method::GET,
        _ => Method::POST,
    };
    Ok(Watcher { site, method, every, secrets: Secrets::default() })
}

impl Watcher {
    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let every = super::fields::span_text(self.every);
        format!("pings {} each {every}", self.site.host)
    }

    /// Pings once.
    ///
    /// # Errors
    /// A sentence without secrets.
    pub fn ping(&self, store: &str, head: &Head) -> Result<(), String> {
        let body = json!({ "store": store, "position": head.position, "head": head.digest });
        let json = (self.method == Method::POST).then_some(&body);
        let ask = Ask { method: self.method.clone(), below: "", headers: &[], json };
        let deadline = Deadline::after(self.every.min(PATIENCE_MAX));
        let host = &self.site.host;
        let outcome = self.site.ask(&ask, &deadline).and_then(|answer| match answer.status {
            200..=299 => Ok(()),
            _ => Err(format!("{host} did not take the ping, {}", answer.quote())),
        });
        outcome.map_err(|why| presentable(&self.secrets, &why))
    }

    /// Begins to ping, on a thread of its own, as soon as there is a beat.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn watch(self, store: &str) -> std::io::Result<Watch> {
        let status = Status { host: self.site.host.clone(), ..Status::default() };
        let every = self.every;
        let state = State { beat: None, status, over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (own, store) = (Arc::clone(&shared), store.to_owned());
        std::thread::Builder::new()
            .name("alert-watcher".to_owned())
            .spawn(move || run(&self, &store, &own))?;
        Ok(Watch { shared, every })
    }
}

struct State {
    beat: Option<(Instant, Head)>,
    status: Status,
    over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; and if it did, counts would be off by one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pings that go out while there are beats; dropped, they end.
pub struct Watch {
    shared: Arc<Shared>,
    every: Duration,
}

impl Watch {
    /// Says that the cell lives, and where its journal ends. Never blocks for long.
    pub fn beat(&self, head: Head) {
        let mut state = self.shared.lock();
        let first = state.beat.is_none();
        state.beat = Some((Instant::now(), head));
        if first {
            self.shared.changed.notify_all();
        }
    }

    /// A beat is wanted at least so often.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// How the pings go.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.lock().status.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
    }
}

fn run(watcher: &Watcher, store: &str, shared: &Shared) {
    let mut state = shared.lock();
    while !state.over && state.beat.is_none() {
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    while !state.over {
        let good = watcher.every * BEAT_GOOD;
        let head = state.beat.as_ref().filter(|(at, _)| at.elapsed() <= good);
        let pause = match head.map(|(_, head)| head.clone()) {
            None => {
                state.status.withheld += 1;
                watcher.every
            }
            Some(head) => {
                drop(state);
                let outcome = watcher.ping(store, &head);
                state = shared.lock();
                note(&mut state.status, outcome, watcher.every)
            }
        };
        let over = |state: &mut State| !state.over;
        let waited = shared.changed.wait_timeout_while(state, pause, over);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Counts a ping; says when the next is due.
fn note(status: &mut Status, outcome: Result<(), String>, every: Duration) -> Duration {
    match outcome {
        Ok(()) => {
            status.sent += 1;
            status.failed_in_a_row = 0;
            status.confirmed = Some(Moment(wall().saturating_mul(1000)));
            every
        }
        Err(why) => {
            if status.failed_in_a_row == 0 {
                tracing::warn!(host = status.host, why, "the outside watcher is not reached");
            }
            status.failed += 1;
            status.failed_in_a_row += 1;
            status.failure = Some(why);
            every / SOONER
        }
    }
}
