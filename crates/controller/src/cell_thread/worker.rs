//! The thread itself: take in, turn, commit, send.
//!
//! Invariants:
//! - nothing is sent before the turn that says it is committed, and the turns of one round are one commit;
//! - cells whose turns could not be committed are thrown away: what goes on is read back from the
//!   store, and every stream is ended so that agents and gateways report anew;
//! - while the store takes no commits nothing is decided, and orders are refused with the cause.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_core::cell::many::{self, FIRST};
use evenkeel_core::cell::{Beat, Cell, Entry, Link, Send, Setup, Turn};
use evenkeel_core::goal::{Goal, Password};
use evenkeel_core::id::CellId;
use evenkeel_core::import::Secret;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::procedure::Procedure;
use evenkeel_core::report::ToAgent;
use evenkeel_core::route::FromGateway;
use evenkeel_core::row::{Table, Writes};
use evenkeel_core::time::Time;
use evenkeel_core::wire;
use evenkeel_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::admit::Round;
use super::alerts::{Alerts, Teller};
use super::beats::{Beats, Held};
use super::cells::Cells;
use super::halt::Halted;
use super::item::{Item, Query, Reply, Window};
use super::outbox::Outbox;
use super::people::People;
use super::record::Record;
use super::{Handle, INBOX_MAX, Recording, Seen, Unanswered, Whom};
use crate::clock::{Clock, Wall};
use crate::credential::FleetKey;
use crate::failpoint::AbortAfter;
use crate::recorder::{Recorder, Turnstile};
use crate::stats::Stats;

/// Items taken into one round at most: bounds how long an order waits behind a fleet that dials in.
const WINDOW_MAX: usize = 4_096;
/// How long beats alone wait for company. Small beside the half interval that makes one late.
const BEAT_WINDOW: Duration = Duration::from_millis(50);
/// How often the clocks are compared and the recorder writes.
const TICK: Duration = Duration::from_secs(1);
/// Where there are many cells something is due all the time: what is due waits so long for more of it.
const TIMERS_TOGETHER: Duration = Duration::from_millis(20);

/// What the cells' thread begins with.
pub(crate) struct Setting {
    /// The first cell's; the others' differ in which cell they are.
    pub setup: Setup,
    /// What cells prove themselves by to hosts of stores before this one.
    pub seal: Password,
    /// The procedures there are.
    pub procedures: Vec<Procedure>,
    pub cells: Vec<Cell>,
    /// Hosts of one cell; past that a new host opens one more.
    pub hosts_max: usize,
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

/// Starts the cells' thread. It ends after [`Item::Stop`], or when every handle is gone.
pub(crate) fn spawn(setting: Setting) -> io::Result<(Handle, JoinHandle<()>)> {
    let (items, inbox) = mpsc::channel(INBOX_MAX);
    let (recording_out, recording) = watch::channel(None);
    let (head_out, head) = watch::channel(setting.head);
    let (changed_out, changed) = watch::channel(0);
    let ids = setting.cells.iter().map(Cell::id).collect::<Arc<[CellId]>>();
    let (listed_out, cells) = watch::channel(ids);
    let beats = Arc::new(Beats::default());
    let gathered = Arc::clone(&beats);
    let links = Arc::new(AtomicU64::new(1));
    let handle = Handle { items, recording, head, changed, cells, beats, links };
    let teller = Teller::new(handle.items.clone());
    let told =
        Told { recording: recording_out, head: head_out, changed: changed_out, listed: listed_out };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name("cell".to_owned()).spawn(move || {
        let worker = Worker::new(setting, teller, told);
        runtime.block_on(worker.run_on(inbox, &gathered));
    })?;
    Ok((handle, thread))
}

/// What everybody may watch of the thread.
struct Told {
    recording: watch::Sender<Recording>,
    head: watch::Sender<u64>,
    changed: watch::Sender<u64>,
    listed: watch::Sender<Arc<[CellId]>>,
}

/// A stream a cell knows.
pub(super) struct Stream {
    pub cell: CellId,
    /// Without one where the cell ended a stream that has not said so yet.
    outbox: Option<Outbox>,
    /// The gateway's name, if it is one.
    gateway: Option<Box<str>>,
}

pub(super) struct Worker {
    pub setup: Setup,
    key: Arc<FleetKey>,
    pub seal: Password,
    pub procedures: Vec<Procedure>,
    pub hosts_max: usize,
    /// None while what is stored cannot even be read back.
    pub cells: Option<Cells>,
    pub record: Record,
    pub clock: Clock,
    recordings: PathBuf,
    pub recorders: BTreeMap<CellId, Recorder>,
    /// When the next recording may begin, where there are many cells.
    snapshots: Turnstile,
    pub stats: Arc<Stats>,
    pub links: BTreeMap<Link, Stream>,
    /// Gateways' streams, by name.
    pub gateways: BTreeMap<String, Link>,
    held: Option<Held>,
    chain: Vec<Step>,
    pub people: People,
    pub replies: BTreeMap<u64, Reply>,
    pub tickets: u64,
    pub halted: Option<Halted>,
    pub recording: watch::Sender<Recording>,
    head: watch::Sender<u64>,
    changed: watch::Sender<u64>,
    listed: watch::Sender<Arc<[CellId]>>,
}

impl Worker {
    fn new(setting: Setting, teller: Teller, told: Told) -> Self {
        let mut cells = Cells::of(setting.cells.into_iter().map(|mut cell| {
            cell.entrust(setting.seal.clone());
            cell.equip(setting.procedures.clone());
            cell
        }));
        let clock = Clock::new(cells.clock(), setting.wall);
        // The first turns look at everything that is stored.
        cells.wake_all(clock.now());
        let stats = setting.stats;
        stats.recorder_on.set(1);
        let mut people = People::new((setting.alerts.open)(teller), Arc::clone(&stats));
        people.begin(&cells);
        Self {
            setup: setting.setup,
            key: setting.key,
            seal: setting.seal,
            procedures: setting.procedures,
            hosts_max: setting.hosts_max,
            cells: Some(cells),
            record: Record::new(setting.store, Arc::clone(&stats), setting.abort_after),
            clock,
            recordings: setting.recordings,
            recorders: BTreeMap::new(),
            snapshots: Turnstile::new(),
            stats,
            links: BTreeMap::new(),
            gateways: BTreeMap::new(),
            held: None,
            chain: setting.alerts.chain,
            people,
            replies: BTreeMap::new(),
            tickets: 0,
            halted: None,
            recording: told.recording,
            head: told.head,
            changed: told.changed,
            listed: told.listed,
        }
    }

    async fn run_on(mut self, mut inbox: mpsc::Receiver<Item>, beats: &Beats) {
        let mut items = Vec::new();
        loop {
            let open = self.gather(&mut inbox, beats, &mut items).await;
            let beats = self.take_beats(&mut inbox, beats, &mut items);
            let stop = self.take(items.drain(..), beats) || !open;
            self.recorders.values_mut().for_each(Recorder::tick);
            let all_on = self.recorders.values().all(Recorder::is_on);
            self.stats.recorder_on.set(i64::from(all_on));
            if stop {
                self.recorders.values_mut().for_each(Recorder::end);
                return;
            }
        }
    }

    /// Waits until there is something to do and takes what is queued; false when nobody can queue
    /// anything any more.
    async fn gather(
        &self,
        inbox: &mut mpsc::Receiver<Item>,
        beats: &Beats,
        items: &mut Vec<Item>,
    ) -> bool {
        let mut until = self.next_look();
        let mut beaten = false;
        loop {
            tokio::select! {
                biased;
                taken = inbox.recv_many(items, WINDOW_MAX) => return taken > 0,
                () = beats.some(), if !beaten => {
                    beaten = true;
                    until = until.min(tokio::time::Instant::now() + BEAT_WINDOW);
                }
                () = sleep_until(until) => return true,
            }
        }
    }

    /// The beats that may be in this round: what their streams sent before them is in it or was before.
    fn take_beats(
        &mut self,
        inbox: &mut mpsc::Receiver<Item>,
        beats: &Beats,
        items: &mut Vec<Item>,
    ) -> Vec<Beat> {
        let mut ready = Vec::new();
        if let Some(mut held) = self.held.take() {
            held.behind = held.behind.saturating_sub(items.len());
            if held.behind > 0 {
                self.held = Some(held);
                return ready;
            }
            ready = held.beats;
        }
        let new = beats.take();
        if new.is_empty() {
            return ready;
        }
        while items.len() < WINDOW_MAX
            && let Ok(item) = inbox.try_recv()
        {
            items.push(item);
        }
        match inbox.len() {
            0 => ready.extend(new),
            behind => self.held = Some(Held { beats: new, behind }),
        }
        ready
    }

    fn next_look(&self) -> tokio::time::Instant {
        let next = self.cells.as_ref().and_then(Cells::next_wake);
        let many = self.cells.as_ref().is_some_and(|cells| cells.len() > 1);
        let wait = match (&self.halted, next) {
            // Cells are told at once what people and channels have said to others.
            (None, _) if self.people.has_words() => Duration::ZERO,
            (None, Some(at)) if many => self.clock.until(at).max(TIMERS_TOGETHER),
            (Some(halted), _) => halted.retry_at.saturating_duration_since(Instant::now()),
            (None, Some(at)) => self.clock.until(at),
            (None, None) => TICK,
        };
        tokio::time::Instant::now() + wait.min(TICK)
    }

    /// One round over what was gathered; true when the controller stops.
    fn take(&mut self, items: impl Iterator<Item = Item>, beats: Vec<Beat>) -> bool {
        let mut round = Round::default();
        for (cell, entry) in self.people.take_words() {
            round.window(cell).entries.push(entry);
        }
        let mut queries = Vec::new();
        let mut stop = false;
        for item in items {
            match item {
                Item::Query { whom, query } => queries.push((whom, query)),
                Item::Stop => stop = true,
                item => self.sort(item, &mut round),
            }
        }
        for beat in beats {
            self.sort_beat(beat, &mut round);
        }
        if self.halted.is_some() {
            self.retry();
        } else {
            if let Some(by_ms) = self.clock.jump_ms() {
                for id in self.cells.iter().flat_map(Cells::ids) {
                    round.window(id).entries.push(Entry::ClockJumped { by_ms });
                }
            }
            self.run(round.windows, &round.expecting);
        }
        round.fleet.into_iter().for_each(|order| self.order_all(order));
        self.answer(queries);
        stop
    }

    fn sort_beat(&mut self, beat: Beat, round: &mut Round) {
        if let Some(stream) = self.links.get(&beat.link).filter(|s| s.outbox.is_some()) {
            round.window(stream.cell).beat(beat);
        }
    }

    fn sort(&mut self, item: Item, round: &mut Round) {
        match item {
            Item::Order { by, order, reply } => {
                self.stats.orders.add(1);
                if let Some(halted) = &self.halted {
                    let cause = halted.cause.to_string();
                    let _ = reply.send(Err(Unanswered::CannotRecord { cause }));
                    return;
                }
                self.take_order(by, order, reply, round);
            }
            // While nothing can be recorded nobody is let in: who dials is sent away to dial again.
            Item::Opened { link, outbox, hello } => {
                if self.halted.is_none()
                    && let Some(cell) = self.admit(link, &hello, round)
                {
                    let gateway = match &hello {
                        Entry::Gateway { message: FromGateway::Hello { gateway, .. }, .. } => {
                            Some(gateway.as_str().into())
                        }
                        _ => None,
                    };
                    self.links.insert(link, Stream { cell, outbox: Some(outbox), gateway });
                    round.window(cell).entries.push(hello);
                }
            }
            Item::Message { link, entry } => {
                if let Some(stream) = self.links.get(&link).filter(|s| s.outbox.is_some()) {
                    round.window(stream.cell).entries.push(entry);
                }
            }
            Item::Beat(beat) => self.sort_beat(beat, round),
            Item::Closed { link, entry } => {
                if let Some(stream) = self.links.remove(&link) {
                    if let Some(name) = stream.gateway
                        && self.gateways.get(&*name) == Some(&link)
                    {
                        self.gateways.remove(&*name);
                    }
                    round.window(stream.cell).entries.push(entry);
                }
            }
            // While nothing can be recorded its word is lost; the delivery is made again.
            Item::Told(told) => {
                if self.halted.is_none()
                    && let Some(cells) = &self.cells
                {
                    let cell = cells.find(&Whom::Cell(many::of_number(told.number)));
                    for (cell, told) in self.people.told(cell, told) {
                        round.window(cell).entries.push(Entry::Told(told));
                    }
                }
            }
            Item::Query { .. } | Item::Stop => unreachable!("taken out before"),
        }
    }

    /// Runs one turn of every cell that something came for, or that is due; what they gave, once it is
    /// committed and sent. `None`: it could not be, and nothing is decided any more.
    pub fn run(
        &mut self,
        mut windows: BTreeMap<CellId, Window>,
        expecting: &BTreeSet<CellId>,
    ) -> Option<Vec<(CellId, Turn)>> {
        let now = self.clock.now();
        let cells = self.cells.as_ref()?;
        for id in cells.due(now) {
            windows.entry(id).or_default();
        }
        let mut turns = Vec::with_capacity(windows.len());
        let mut news = Vec::with_capacity(windows.len());
        for (id, window) in windows {
            if let Some((turn, is_news)) = self.turn(id, window, now) {
                turns.push((id, turn));
                news.push(is_news);
            }
        }
        let batch = turns.iter().map(|(id, turn)| (*id, &turn.writes));
        let batch: Vec<_> = batch.filter(|(_, writes)| !writes.is_empty()).collect();
        let committed = self.commit(&batch);
        if committed.is_ok() {
            turns.iter().for_each(|(id, turn)| self.send(*id, turn));
            self.learn(&turns, expecting);
        }
        for ((id, turn), news) in turns.iter().zip(news) {
            if let Some(recorder) = self.recorders.get_mut(id) {
                recorder.gave(turn, news);
            }
        }
        match committed {
            Ok(()) => Some(turns),
            Err(error) => {
                self.halt(&error);
                None
            }
        }
    }

    /// One turn of one cell, and whether an incident began or ended in it.
    fn turn(&mut self, id: CellId, mut window: Window, now: Time) -> Option<(Turn, bool)> {
        let cells = self.cells.as_mut()?;
        let many = cells.len() > 1;
        let hosted = cells.get_mut(id)?;
        if !std::mem::replace(&mut hosted.knows_chain, true) {
            window.entries.insert(0, Entry::Chain(self.chain.clone()));
        }
        if window.is_empty() && hosted.wake_at.is_none_or(|at| at > now) {
            return None;
        }
        self.stats.beats.add(window.beats());
        self.stats.entries.add(window.entries.len());
        let inbox = window.into_inbox();
        let recorder = self.recorders.entry(id).or_insert_with(|| {
            let setup = Setup { cell: id, ..self.setup.clone() };
            Recorder::new(&recordings_of(&self.recordings, id), &setup)
        });
        recorder.given(&hosted.cell, now, &inbox, (&self.snapshots, many));
        let began = Instant::now();
        let turn = hosted.cell.turn(now, &inbox);
        self.stats.turns.observe(began.elapsed());
        let news = hosted.cell.has_incident_news();
        cells.wake(id, turn.wake_at);
        Some((turn, news))
    }

    /// Keeps which hosts are where, after turns that changed it.
    fn learn(&mut self, turns: &[(CellId, Turn)], expecting: &BTreeSet<CellId>) {
        let of_hosts = |turn: &Turn| turn.writes.rows.iter().any(|w| w.key.table == Table::Host);
        let mut changed: BTreeSet<CellId> =
            turns.iter().filter(|(_, turn)| of_hosts(turn)).map(|(id, _)| *id).collect();
        changed.extend(expecting);
        if changed.is_empty() {
            return;
        }
        if let Some(cells) = &mut self.cells {
            cells.learn_hosts(&changed);
        }
        self.list_cells();
    }

    /// Tells everybody which cells there are.
    pub fn list_cells(&self) {
        let Some(cells) = &self.cells else { return };
        self.listed.send_if_modified(|listed| {
            let differs = listed.len() != cells.len();
            if differs {
                *listed = cells.ids().collect();
            }
            differs
        });
    }

    pub fn commit(&mut self, batch: &[(CellId, &Writes)]) -> Result<(), evenkeel_store::Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let head = self.record.commit(batch)?;
        self.changed.send_modify(|commits| *commits += 1);
        if batch.iter().any(|(_, writes)| !writes.journal.is_empty()) {
            self.head.send_replace(head);
        }
        Ok(())
    }

    fn send(&mut self, id: CellId, turn: &Turn) {
        for send in &turn.sends {
            match send {
                Send::Agent { link, message } => {
                    let frame = wire::encode(&*unsealed(&self.key, message));
                    self.frame(*link, frame);
                }
                Send::Gateway { link, message } => self.frame(*link, wire::encode(message)),
                Send::Alert(delivery) => self.people.deliver(id, delivery.clone()),
                Send::Close { link } => {
                    if let Some(stream) = self.links.get_mut(link) {
                        stream.outbox = None;
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
        if turn.writes.rows.iter().any(|write| write.key.table == Table::Incident)
            && let Some(cell) = self.cells.as_ref().and_then(|cells| cells.get(id))
        {
            self.people.learn(cell);
        }
    }

    fn frame(&mut self, link: Link, frame: Vec<u8>) {
        let Some(stream) = self.links.get_mut(&link) else { return };
        let outbox = stream.outbox.as_ref();
        let too_slow = outbox.is_some_and(|outbox| outbox.send(frame).is_err());
        if too_slow && let Some(outbox) = stream.outbox.take() {
            tracing::warn!(link = link.0, "a stream does not read what it is sent and is cut");
            self.stats.streams_too_slow.add(1);
            outbox.cut();
        }
    }

    fn answer(&self, queries: Vec<(Whom, Query)>) {
        // Without a cell the questions are dropped, which tells whoever asked.
        let Some(cells) = &self.cells else { return };
        for (whom, query) in queries {
            if let Some(cell) = cells.get(cells.find(&whom)) {
                query(&Seen { cell, store: &*self.record.store, now: self.clock.now() });
            }
        }
    }
}

/// Where a cell's recordings lie: the first one's where they always did, the others' below.
pub(crate) fn recordings_of(all: &Path, cell: CellId) -> PathBuf {
    if cell == FIRST { all.to_owned() } else { all.join(cell.to_string()) }
}

/// What goes to an agent, with the secrets that the cell keeps sealed open for it.
fn unsealed<'a>(key: &FleetKey, message: &'a ToAgent) -> Cow<'a, ToAgent> {
    let sealed = |goal: &Arc<Goal>| goal.import.as_ref().is_some_and(|i| i.password.is_some());
    match message {
        ToAgent::Goals { whole, goals } if goals.iter().any(sealed) => {
            let mut goals = goals.clone();
            for goal in goals.iter_mut().filter(|goal| sealed(goal)) {
                let Some(import) = &mut Arc::make_mut(goal).import else { continue };
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
