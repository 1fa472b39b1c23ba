//! The thread itself: take in, turn, commit, send.
//!
//! Invariants:
//! - nothing is sent before the turn that says it is committed;
//! - a cell whose turn could not be committed is thrown away: what goes on is read back from the
//!   store, and every stream is ended so that agents and gateways report anew;
//! - while the store takes no commits nothing is decided, and orders are refused with the cause.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_core::cell::{Cell, Entry, Link, Send, Setup, Turn};
use evenkeel_core::goal::{Goal, Password};
use evenkeel_core::import::Secret;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::journal::{self, Topic};
use evenkeel_core::procedure::Procedure;
use evenkeel_core::report::ToAgent;
use evenkeel_core::row::Writes;
use evenkeel_core::time::Time;
use evenkeel_core::wire;
use evenkeel_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;

use super::alerts::{AlertPort, Alerts, Teller};
use super::item::{Item, Query, Reply, Window};
use super::outbox::Outbox;
use super::record::{self, Record};
use super::{Handle, INBOX_MAX, Recording, Seen, Unanswered};
use crate::clock::{Clock, Wall};
use crate::credential::FleetKey;
use crate::failpoint::AbortAfter;
use crate::recorder::Recorder;
use crate::stats::Stats;

/// Items taken into one turn at most: bounds how long an order waits behind a fleet that dials in.
const WINDOW_MAX: usize = 4_096;
/// How long beats alone wait for company. Small beside the half interval that makes one late.
const BEAT_WINDOW: Duration = Duration::from_millis(50);
/// How often the clocks are compared and the recorder writes.
const TICK: Duration = Duration::from_secs(1);
/// First wait after a failed commit; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest wait between two tries to record again.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What a cell's thread begins with.
pub(crate) struct Setting {
    pub setup: Setup,
    /// What the cell proves itself by to hosts of stores before it.
    pub seal: Password,
    /// The procedures there are.
    pub procedures: Vec<Procedure>,
    pub cell: Cell,
    pub store: Box<dyn Store>,
    /// Position of the journal's newest entry.
    pub head: u64,
    /// Directory of the flight recorder.
    pub recordings: PathBuf,
    /// Opens what only agents are to read.
    pub key: Arc<FleetKey>,
    pub stats: Arc<Stats>,
    pub wall: Wall,
    pub abort_after: Option<AbortAfter>,
    /// Whom to tell of incidents, and by what.
    pub alerts: Alerts,
}

/// Starts a cell's thread. It ends after [`Item::Stop`], or when every handle is gone.
pub(crate) fn spawn(setting: Setting) -> io::Result<(Handle, JoinHandle<()>)> {
    let (items, inbox) = mpsc::channel(INBOX_MAX);
    let (recording_out, recording) = watch::channel(None);
    let (head_out, head) = watch::channel(setting.head);
    let (changed_out, changed) = watch::channel(0);
    let handle = Handle { items, recording, head, changed, links: Arc::new(AtomicU64::new(1)) };
    let teller = Teller::new(handle.items.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name("cell".to_owned()).spawn(move || {
        let worker = Worker::new(setting, teller, recording_out, head_out, changed_out);
        runtime.block_on(worker.run(inbox));
    })?;
    Ok((handle, thread))
}

struct Worker {
    setup: Setup,
    key: Arc<FleetKey>,
    seal: Password,
    procedures: Vec<Procedure>,
    /// None while what is stored cannot even be read back.
    cell: Option<Cell>,
    record: Record,
    clock: Clock,
    recorder: Recorder,
    stats: Arc<Stats>,
    /// Streams this cell knows; without an outbox where it ended one that has not said so yet.
    links: BTreeMap<Link, Option<Outbox>>,
    chain: Vec<Step>,
    /// Whether the cell was told the chain: one that is read back is told again.
    knows_chain: bool,
    alerts: Box<dyn AlertPort>,
    replies: BTreeMap<u64, Reply>,
    tickets: u64,
    wake_at: Option<Time>,
    halted: Option<Halted>,
    recording: watch::Sender<Recording>,
    head: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

/// The store takes no commits.
struct Halted {
    cause: Arc<str>,
    since: Time,
    retry_at: Instant,
    backoff: Duration,
}

impl Worker {
    fn new(
        setting: Setting,
        teller: Teller,
        recording: watch::Sender<Recording>,
        head: watch::Sender<u64>,
        changed: watch::Sender<u64>,
    ) -> Self {
        let clock = Clock::new(setting.cell.clock(), setting.wall);
        let mut cell = setting.cell;
        cell.equip(setting.procedures.clone());
        let stats = setting.stats;
        stats.recorder_on.set(1);
        Self {
            recorder: Recorder::new(&setting.recordings, &setting.setup),
            setup: setting.setup,
            key: setting.key,
            seal: setting.seal,
            procedures: setting.procedures,
            cell: Some(cell),
            record: Record::new(setting.store, Arc::clone(&stats), setting.abort_after),
            // The first turn looks at everything that is stored.
            wake_at: Some(clock.now()),
            clock,
            stats,
            links: BTreeMap::new(),
            chain: setting.alerts.chain,
            knows_chain: false,
            alerts: (setting.alerts.open)(teller),
            replies: BTreeMap::new(),
            tickets: 0,
            halted: None,
            recording,
            head,
            changed,
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Item>) {
        let mut items = Vec::new();
        loop {
            let open = self.gather(&mut inbox, &mut items).await;
            let stop = self.take(items.drain(..)) || !open;
            self.recorder.tick();
            self.stats.recorder_on.set(i64::from(self.recorder.is_on()));
            if stop {
                self.recorder.end();
                return;
            }
        }
    }

    /// Waits until there is something to do and takes what is queued; false when nobody can queue
    /// anything any more.
    async fn gather(&self, inbox: &mut mpsc::Receiver<Item>, items: &mut Vec<Item>) -> bool {
        let until = self.next_look();
        let Ok(mut taken) = timeout_at(until, inbox.recv_many(items, WINDOW_MAX)).await else {
            return true;
        };
        let until = until.min(tokio::time::Instant::now() + BEAT_WINDOW);
        while taken > 0
            && items.len() < WINDOW_MAX
            && items.iter().rev().take(taken).all(Item::is_beat)
        {
            let room = WINDOW_MAX - items.len();
            match timeout_at(until, inbox.recv_many(items, room)).await {
                Ok(more) => taken = more,
                Err(_) => break,
            }
        }
        taken > 0
    }

    fn next_look(&self) -> tokio::time::Instant {
        let wait = match (&self.halted, self.wake_at) {
            (Some(halted), _) => halted.retry_at.saturating_duration_since(Instant::now()),
            (None, Some(at)) => self.clock.until(at),
            (None, None) => TICK,
        };
        tokio::time::Instant::now() + wait.min(TICK)
    }

    /// One round over what was gathered; true when the controller stops.
    fn take(&mut self, items: impl Iterator<Item = Item>) -> bool {
        let mut window = Window::default();
        let mut queries = Vec::new();
        let mut stop = false;
        for item in items {
            match item {
                Item::Query(query) => queries.push(query),
                Item::Stop => stop = true,
                item => self.sort(item, &mut window),
            }
        }
        if self.halted.is_some() {
            self.retry();
        } else {
            if !std::mem::replace(&mut self.knows_chain, true) {
                window.entries.insert(0, Entry::Chain(self.chain.clone()));
            }
            if let Some(by_ms) = self.clock.jump_ms() {
                window.entries.push(Entry::ClockJumped { by_ms });
            }
            self.turn(window);
        }
        self.answer(queries);
        stop
    }

    fn sort(&mut self, item: Item, window: &mut Window) {
        let is_open = |links: &BTreeMap<Link, Option<Outbox>>, link| {
            links.get(link).is_some_and(Option::is_some)
        };
        match item {
            Item::Order { by, order, reply } => {
                self.stats.orders.add(1);
                if let Some(halted) = &self.halted {
                    let cause = halted.cause.to_string();
                    let _ = reply.send(Err(Unanswered::CannotRecord { cause }));
                    return;
                }
                self.tickets += 1;
                self.replies.insert(self.tickets, reply);
                window.entries.push(Entry::Order { ticket: self.tickets, by, order });
            }
            // While nothing can be recorded nobody is let in: who dials is sent away to dial again.
            Item::Opened { link, outbox, hello } => {
                if self.halted.is_none() {
                    self.links.insert(link, Some(outbox));
                    window.entries.push(hello);
                }
            }
            Item::Message { link, entry } => {
                if is_open(&self.links, &link) {
                    window.entries.push(entry);
                }
            }
            Item::Beat(beat) => {
                if is_open(&self.links, &beat.link) {
                    window.beat(beat);
                }
            }
            Item::Closed { link, entry } => {
                if self.links.remove(&link).is_some() {
                    window.entries.push(entry);
                }
            }
            // While nothing can be recorded its word is lost; the delivery is made again.
            Item::Told(told) => {
                if self.halted.is_none() {
                    window.entries.push(Entry::Told(told));
                }
            }
            Item::Query(_) | Item::Stop => unreachable!("taken out before"),
        }
    }

    fn turn(&mut self, window: Window) {
        let Some(cell) = &mut self.cell else { return };
        self.stats.beats.add(window.beats());
        self.stats.entries.add(window.entries.len());
        let inbox = window.into_inbox();
        let now = self.clock.now();
        if inbox.is_empty() && self.wake_at.is_none_or(|at| at > now) {
            return;
        }
        self.recorder.given(cell, now, &inbox);
        let began = Instant::now();
        let turn = cell.turn(now, &inbox);
        self.stats.turns.observe(began.elapsed());
        self.wake_at = turn.wake_at;
        let news = cell.has_incident_news();
        let committed = self.commit(&turn.writes);
        if committed.is_ok() {
            self.send(&turn);
        }
        self.recorder.gave(&turn, news);
        if let Err(error) = committed {
            self.halt(&error);
        }
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), evenkeel_store::Error> {
        if writes.is_empty() {
            return Ok(());
        }
        let head = self.record.commit(&self.setup, writes)?;
        self.changed.send_modify(|commits| *commits += 1);
        if !writes.journal.is_empty() {
            self.head.send_replace(head);
        }
        Ok(())
    }

    fn send(&mut self, turn: &Turn) {
        for send in &turn.sends {
            match send {
                Send::Agent { link, message } => {
                    let frame = wire::encode(&*unsealed(&self.key, message));
                    self.frame(*link, frame);
                }
                Send::Gateway { link, message } => self.frame(*link, wire::encode(message)),
                Send::Alert(delivery) => self.alerts.send(delivery.clone()),
                Send::Close { link } => {
                    if let Some(stream) = self.links.get_mut(link) {
                        *stream = None;
                    }
                }
                Send::Reply { ticket, result } => {
                    if let Some(reply) = self.replies.remove(ticket) {
                        // Whoever gave the order may have gone; it is recorded all the same.
                        let _ = reply.send(result.clone().map_err(Unanswered::Refused));
                    }
                }
            }
        }
    }

    fn frame(&mut self, link: Link, frame: Vec<u8>) {
        let Some(stream) = self.links.get_mut(&link) else { return };
        let too_slow = stream.as_ref().is_some_and(|outbox| outbox.send(frame).is_err());
        if too_slow && let Some(outbox) = stream.take() {
            tracing::warn!(link = link.0, "a stream does not read what it is sent and is cut");
            self.stats.streams_too_slow.add(1);
            outbox.cut();
        }
    }

    fn answer(&self, queries: Vec<Query>) {
        // Without a cell the questions are dropped, which tells whoever asked.
        let Some(cell) = &self.cell else { return };
        let seen = Seen { cell, store: &*self.record.store, now: self.clock.now() };
        queries.into_iter().for_each(|query| query(&seen));
    }

    /// The store took no commit: the turn did not happen.
    fn halt(&mut self, error: &evenkeel_store::Error) {
        let cause: Arc<str> = crate::chain(error).into();
        tracing::error!(%cause, "the store cannot record: nothing is decided until it can");
        self.links.clear();
        for (_, reply) in std::mem::take(&mut self.replies) {
            let _ = reply.send(Err(Unanswered::CannotRecord { cause: cause.to_string() }));
        }
        self.recorder.end();
        self.knows_chain = false;
        // What people see meanwhile is what is stored, not what was never committed.
        self.cell = self.load().ok();
        self.wake_at = None;
        self.stats.cannot_record.set(1);
        self.recording.send_replace(Some(Arc::clone(&cause)));
        self.halted = Some(Halted {
            cause,
            since: self.clock.now(),
            retry_at: Instant::now() + RETRY_FIRST,
            backoff: RETRY_FIRST,
        });
    }

    /// The cell as it was committed last.
    fn load(&self) -> Result<Cell, record::Error> {
        let (mut cell, _) = record::load(&*self.record.store, &self.setup)?;
        cell.entrust(self.seal.clone());
        cell.equip(self.procedures.clone());
        Ok(cell)
    }

    /// Goes on if the store takes a commit again: the note that it does.
    fn retry(&mut self) {
        let Some(halted) = &mut self.halted else { return };
        if Instant::now() < halted.retry_at {
            return;
        }
        halted.backoff = (halted.backoff * 2).min(RETRY_MAX);
        halted.retry_at = Instant::now() + halted.backoff;
        let now = self.clock.now();
        let text = format!(
            "the store takes records again after {}; nothing was decided meanwhile",
            now.since(halted.since)
        );
        let note = Writes { rows: Vec::new(), journal: vec![note(now, text, &halted.cause)] };
        let cell = match self.load() {
            Ok(cell) => cell,
            Err(error) => {
                tracing::error!(error = crate::chain(&error), "the store cannot be read back");
                return;
            }
        };
        if let Err(error) = self.commit(&note) {
            tracing::warn!(error = crate::chain(&error), "the store still cannot record");
            return;
        }
        tracing::info!("the store records again");
        self.cell = Some(cell);
        self.wake_at = Some(now);
        self.halted = None;
        self.stats.cannot_record.set(0);
        self.recording.send_replace(None);
    }
}

/// What goes to an agent, with the secrets that the cell keeps sealed open for it.
fn unsealed<'a>(key: &FleetKey, message: &'a ToAgent) -> Cow<'a, ToAgent> {
    let sealed = |goal: &Goal| goal.import.as_ref().is_some_and(|i| i.password.is_some());
    match message {
        ToAgent::Goals { whole, goals } if goals.iter().any(sealed) => {
            let mut goals = goals.clone();
            for import in goals.iter_mut().filter_map(|goal| goal.import.as_mut()) {
                if let Some(Secret::Sealed(text)) = &import.password
                    && let Some(open) = key.unseal(text)
                {
                    import.password = Some(Secret::Open(Password(open)));
                }
            }
            Cow::Owned(ToAgent::Goals { whole: *whole, goals })
        }
        _ => Cow::Borrowed(message),
    }
}

fn note(at: Time, text: String, cause: &str) -> journal::Entry {
    journal::Entry {
        at,
        topic: Topic::Fleet,
        subject: "fleet".to_owned(),
        text,
        evidence: vec![cause.to_owned()],
    }
}
