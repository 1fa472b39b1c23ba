//! The other half of `[watcher]`: whoever hears the pings, somewhere else, and tells people when they stay
//! away. It knows nothing of a fleet but that it was heard.
//!
//! The story: each ping says which store it is of. One that was heard and then is not for the limit is
//! silent: the first channel is told, then the next one as in any chain, until it is heard again; then
//! whoever was told hears that. If nobody was ever heard for the limit, that is told too: a watcher that is
//! started anew knows of no store.
//!
//! Invariants: it needs no store, no token and no controller; what comes over the network is bounded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State as Heard};
use axum::http::StatusCode;
use axum::routing::any;
use evenkeel_core::alert::{Delivery, IncidentId, Notice, Purpose};
use evenkeel_core::check::Severity;
use evenkeel_core::incident::Rules;
use evenkeel_core::incident::chain::{Move, Progress, Step};
use evenkeel_core::label::Label;
use evenkeel_core::moment::Moment;
use evenkeel_core::time::{Span, Time};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Channels;
use super::fields::span_text;
use crate::clock::wall;
use crate::http;

/// A ping's body is no longer than this, in bytes.
const PING_MAX_BYTES: usize = 16 << 10;
/// Stores that are known at most; the pings of more are turned away.
const STORES_MAX: usize = 64;
/// Between two looks at who is silent.
const LOOK: Duration = Duration::from_millis(250);
/// The store of whoever was never heard.
const NOBODY: &str = "none yet";

/// A store that is watched.
#[derive(Debug)]
struct Store {
    heard: Instant,
    /// None while it is heard.
    silent: Option<Silence>,
}

/// That a store is silent: under which number it is told, and how far the chain is.
#[derive(Clone, Debug)]
struct Silence {
    number: IncidentId,
    chain: Progress,
}

#[derive(Debug, Default)]
struct State {
    stores: BTreeMap<String, Store>,
}

/// Who watches from outside.
#[derive(Debug)]
pub struct Outside {
    channels: Channels,
    limit: Duration,
    path: String,
    state: Arc<Mutex<State>>,
    began: Instant,
    sent: u64,
    /// The last number given to a silence: the wall clock's seconds, and never one twice.
    number: u32,
}

impl Outside {
    /// One that tells through these channels once a store was not heard for the limit. Pings come to this
    /// path: who does not know it cannot keep a watcher quiet.
    #[must_use]
    pub fn new(channels: Channels, limit: Duration, path: &str) -> Self {
        let state = Arc::default();
        Self {
            channels,
            limit,
            path: path.to_owned(),
            state,
            began: Instant::now(),
            sent: 0,
            number: 0,
        }
    }

    /// Answers pings that come to a listener, for as long as it is polled.
    pub fn hear(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + use<> {
        let router = Router::new()
            .route(&self.path, any(ping))
            .layer(DefaultBodyLimit::max(PING_MAX_BYTES))
            .with_state(Arc::clone(&self.state));
        let (kept, never) = watch::channel(false);
        async move {
            http::serve(listener, router, never).await;
            drop(kept);
        }
    }

    /// Watches, and tells `said` what it does, in a sentence each. Never ends.
    pub fn watch(mut self, said: impl Fn(&str)) -> ! {
        loop {
            self.look(&said);
            thread::sleep(LOOK);
        }
    }

    /// Who is silent now, and who was: tells whom it is time to tell.
    fn look(&mut self, said: &impl Fn(&str)) {
        let names: Vec<String> = {
            let mut state = lock(&self.state);
            if state.stores.is_empty() {
                let nobody = Store { heard: self.began, silent: None };
                state.stores.insert(NOBODY.to_owned(), nobody);
            }
            state.stores.keys().cloned().collect()
        };
        let others = names.len() > 1;
        for name in names {
            let known = lock(&self.state).stores.get(&name).map(|s| (s.heard, s.silent.clone()));
            let Some((heard, known)) = known else { continue };
            // Who was waited for has come, under a name.
            let has_come = name == NOBODY && others;
            let lasts = if has_come { Duration::ZERO } else { heard.elapsed() };
            let silent = match known {
                None if lasts <= self.limit => continue,
                Some(silence) if lasts <= self.limit => {
                    self.tell_end(&name, &silence, said);
                    None
                }
                Some(silence) => Some(self.press(&name, silence, lasts, said)),
                None => {
                    let silence = Silence { number: self.next(), chain: Progress::default() };
                    Some(self.press(&name, silence, lasts, said))
                }
            };
            if let Some(store) = lock(&self.state).stores.get_mut(&name) {
                store.silent = silent;
            }
        }
    }

    fn next(&mut self) -> IncidentId {
        let seconds = u32::try_from(wall() / 1000).unwrap_or(u32::MAX);
        self.number = seconds.max(self.number.saturating_add(1));
        IncidentId(self.number)
    }

    /// Goes on down the chain.
    fn press(
        &mut self,
        name: &str,
        mut silence: Silence,
        lasts: Duration,
        said: &impl Fn(&str),
    ) -> Silence {
        let rules = Rules::DEFAULT;
        let step = |(channel, wait)| Step { channel, ack_within: span(wait) };
        let steps: Vec<Step> = self.channels.chain().into_iter().map(step).collect();
        let chain = &mut silence.chain;
        let now = Time(span(self.began.elapsed()).0);
        let Move::Tell(channel) = chain.next(&steps, &rules, now) else { return silence };
        let lasts = span_text(Duration::from_secs(lasts.as_secs()));
        let text = match name {
            NOBODY => format!("no control plane was heard for {lasts}"),
            store => format!("the control plane of store {store} is silent for {lasts}"),
        };
        said(&format!("{text}: telling {channel}"));
        chain.sent(self.sent + 1, &rules, now);
        let confirmed = self.deliver(channel, silence.number, Purpose::Raise, &text, said);
        let now = Time(span(self.began.elapsed()).0);
        silence.chain.answered(self.sent, confirmed, &steps, &rules, now);
        if confirmed {
            silence.chain.knows(channel);
        }
        silence
    }

    fn tell_end(&mut self, name: &str, silence: &Silence, said: &impl Fn(&str)) {
        let text = match name {
            NOBODY => "a control plane is heard".to_owned(),
            store => format!("the control plane of store {store} is heard again"),
        };
        said(&text);
        for &channel in &silence.chain.told {
            self.deliver(channel, silence.number, Purpose::Resolve, &text, said);
        }
    }

    /// Tells one channel; whether it confirmed.
    fn deliver(
        &mut self,
        channel: Label,
        incident: IncidentId,
        purpose: Purpose,
        text: &str,
        said: &impl Fn(&str),
    ) -> bool {
        self.sent += 1;
        let notice = Notice {
            incident,
            under: None,
            purpose,
            severity: Severity::Page,
            title: text.to_owned(),
            domain: "fleet".to_owned(),
            evidence: vec!["databases go on serving; see to the controller".to_owned()],
            since: Moment(wall().saturating_mul(1000)).to_string(),
        };
        let delivery = Delivery { number: self.sent, channel, notice };
        let told = self.channels.deliver(&delivery);
        match &told.outcome {
            Ok(receipt) => said(&format!("{channel} confirmed: {}", receipt.text)),
            Err(why) => said(&format!("{channel} failed: {why}")),
        }
        told.outcome.is_ok()
    }
}

fn span(wait: Duration) -> Span {
    Span(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics while it is held.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ping(Heard(state): Heard<Arc<Mutex<State>>>, body: Bytes) -> StatusCode {
    heard(&state, &body)
}

/// Notes that a store was heard. A ping by GET names none.
fn heard(state: &Mutex<State>, body: &[u8]) -> StatusCode {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = document["store"].as_str().unwrap_or("of the pings").to_owned();
    let mut state = lock(state);
    if !state.stores.contains_key(&name) && state.stores.len() >= STORES_MAX {
        return StatusCode::INSUFFICIENT_STORAGE;
    }
    let new = || Store { heard: Instant::now(), silent: None };
    state.stores.entry(name).or_insert_with(new).heard = Instant::now();
    StatusCode::OK
}
