//! The turn: events in, the brain, records to disk, then calls, reports and looks.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_core::agent::{Brain, Call, Config, Input, Outcome, Output, ScriptCall};
use evenkeel_core::backup::job::Done;
use evenkeel_core::check::Reading;
use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::import::Told;
use evenkeel_core::procedure::Ran;
use evenkeel_core::report::{Answer, FromAgent, Hello, Question, ToAgent};
use evenkeel_core::time::{Span, Time};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::disk::{Disk, Error, Kept};
use crate::drivers::Drivers;
use crate::ledger::Ledger;
use crate::reserve::Reserve;
use crate::watch::Watch;
use crate::workers::{Returned, Workers};
use crate::{Options, gateway, host, pool, poolers, stream, witness};

/// Events that wait; who sends more waits as well.
const EVENTS_MAX: usize = 1024;
/// Events taken into one turn.
const BATCH_MAX: usize = 256;
/// Looks of a witness at the same time; what is beyond is dropped, and asked again by who needs it.
const LOOKS_MAX: usize = 512;
/// While something is owed to the disk it is tried again this often.
const OWED_STEP: Span = Span::secs(1);
/// A software image is looked for this often while there is none, and this seldom when there is.
const IMAGE_STEPS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// An agent that is told to end waits this long for calls under way and for its last words.
const END_MAX: Duration = Duration::from_secs(5);
/// What an agent that was told to end announces: in place of silence, for this long.
const ABSENCE: Span = Span::secs(30);

/// One thing that happened to the agent.
pub(crate) enum Event {
    /// A stream opened; what is sent goes here.
    Opened(mpsc::Sender<FromAgent>),
    /// It ended.
    Closed,
    /// A controller's message.
    Said(ToAgent),
    /// A driver call came back.
    Returned(Returned),
    /// A watched process ended.
    Died { member: MemberId, pid: u32 },
    /// A call about a pooler came back.
    PoolerReturned(poolers::Returned),
    /// A pooler's process ended.
    PoolerDied { service: ServiceId, pid: u32 },
    /// A witness's look is done.
    Saw(Answer),
    /// The host was read.
    Host(Vec<(String, Reading)>),
    /// The image that new members run from.
    Image { digest: Option<String>, version: Option<String> },
    /// Where a member's import is.
    Importing { member: MemberId, told: Box<Told> },
    /// A script ended.
    ScriptEnded {
        /// Of which member.
        member: MemberId,
        /// Its number.
        number: u64,
        /// What came of it.
        ran: Box<Ran>,
    },
    /// A job ended.
    JobEnded {
        /// Of which member.
        member: MemberId,
        /// Its number.
        number: u64,
        /// What came of it.
        outcome: Result<Done, String>,
    },
}

/// An agent at work.
pub(crate) struct Shell {
    brain: Brain,
    clock: Clock,
    ledger: Ledger,
    workers: Workers,
    watch: Watch,
    poolers: poolers::Poolers,
    outbox: Option<mpsc::Sender<FromAgent>>,
    /// Members' reports were kept back while goals could not be written.
    withheld: bool,
    refused: Option<String>,
    looks: Arc<Semaphore>,
    gauge: Arc<Mutex<host::Gauge>>,
    reading_since: Option<Instant>,
    inputs: Vec<Input>,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    /// Everything that runs beside, ended with this.
    beside: JoinSet<()>,
    stream: tokio::task::JoinHandle<()>,
}

impl Shell {
    /// Loads what is on disk and begins to dial.
    ///
    /// # Errors
    /// When goals cannot be read at all.
    pub async fn start(
        options: Options,
        disk: Disk,
        drivers: Arc<dyn Drivers>,
    ) -> Result<Self, Error> {
        let Kept { members, store, poolers } = disk.load()?;
        tracing::info!(host = options.host, members = members.len(), "the agent begins");
        let looked = Arc::clone(&drivers);
        let look = move || (looked.image(), looked.version());
        let (image, version) = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let making = Arc::new(pool::Making::default());
        let mut beside = JoinSet::new();
        beside.spawn(pool::keep_full(Arc::clone(&drivers), Arc::clone(&making)));
        beside.spawn(watch_image(Arc::clone(&drivers), image.is_some(), sender.clone()));
        if let Some(argv) = options.gateway.clone() {
            let launcher = options.launcher.clone();
            beside.spawn(gateway::Keeper::new(argv, &options.dir, launcher).keep());
        }
        let file = options.controller_file.clone();
        let reserve = Arc::new(Reserve::new(&options.dir));
        Ok(Self {
            brain: Brain::new(config(&options, image, version), members, poolers, store),
            clock: Clock::new(),
            ledger: Ledger::new(disk, Arc::clone(&reserve)),
            poolers: poolers::Poolers::new(Arc::clone(&drivers), sender.clone()),
            workers: Workers::new(drivers, making, Arc::clone(&reserve), sender.clone()),
            watch: Watch::new(sender.clone()),
            outbox: None,
            withheld: false,
            refused: None,
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            gauge: Arc::new(Mutex::new(host::Gauge::new(&options.dir, reserve))),
            reading_since: None,
            inputs: Vec::new(),
            stream: tokio::spawn(stream::keep_open(file, sender.clone())),
            sender,
            events,
            beside,
        })
    }

    /// Turns until it is told to end.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let wake_at = self.turn().await;
            if !self.inputs.is_empty() {
                continue;
            }
            tokio::select! {
                () = &mut shutdown => break,
                event = self.events.recv() => self.take_all(event),
                () = tokio::time::sleep(self.clock.until(wake_at)) => {}
            }
        }
        self.end().await;
    }

    fn take_all(&mut self, first: Option<Event>) {
        let mut next = first;
        while let Some(event) = next {
            self.take(event);
            next = match self.inputs.len() < BATCH_MAX {
                true => self.events.try_recv().ok(),
                false => None,
            };
        }
    }

    /// What an event is to the brain; handles stay here.
    fn take(&mut self, event: Event) {
        self.inputs.push(match event {
            Event::Opened(outbox) => {
                self.outbox = Some(outbox);
                Input::Opened
            }
            Event::Closed => {
                self.outbox = None;
                Input::Closed
            }
            Event::Said(message) => Input::Message(message),
            Event::Returned(mut returned) => {
                self.workers.back(&mut returned);
                let Returned { member, number, outcome, .. } = returned;
                self.watch.learn(member, &outcome);
                Input::Outcome { member, number, outcome }
            }
            Event::Died { member, pid } => {
                if !self.watch.died(member, pid) {
                    return;
                }
                tracing::info!(%member, pid, "a server's process ended");
                Input::Died { member }
            }
            Event::PoolerReturned(mut returned) => {
                self.poolers.back(&mut returned);
                let poolers::Returned { service, number, outcome, .. } = returned;
                Input::Pooler { service, number, outcome }
            }
            Event::PoolerDied { service, pid } => {
                if !self.poolers.died(service, pid) {
                    return;
                }
                tracing::info!(%service, pid, "a pooler's process ended");
                Input::PoolerDied { service }
            }
            Event::ScriptEnded { member, number, ran } => {
                self.workers.script_ended(number);
                Input::Script { member, number, ran }
            }
            Event::JobEnded { member, number, outcome } => Input::Job { member, number, outcome },
            Event::Importing { member, told } => Input::Importing { member, told },
            Event::Saw(answer) => Input::Saw(answer),
            Event::Host(readings) => {
                self.reading_since = None;
                Input::Host(readings)
            }
            Event::Image { digest, version } => Input::Image { digest, version },
        });
    }

    /// One turn: nothing is done or said before what it rests on is on disk.
    async fn turn(&mut self) -> Time {
        let inputs = std::mem::take(&mut self.inputs);
        let now = self.clock.now();
        let mut out = self.brain.turn(now, &inputs);
        self.ledger.record(&mut out).await;
        let wake_at = out.wake_at.unwrap_or(now + OWED_STEP);
        self.act(out);
        if self.ledger.is_settled() {
            if std::mem::take(&mut self.withheld) {
                self.inputs.push(Input::Message(ToAgent::SendAll));
            }
            return wake_at;
        }
        wake_at.min(now + OWED_STEP)
    }

    fn act(&mut self, out: Output) {
        for member in out.forget {
            self.workers.forget(member);
            self.watch.end(member);
        }
        for call in out.calls {
            self.call(call);
        }
        for call in out.jobs {
            self.workers.begin(call);
        }
        out.end_scripts.into_iter().for_each(|number| self.workers.end_script(number));
        for call in out.scripts {
            self.script(call);
        }
        for goal in out.interrupts {
            self.workers.interrupt(goal);
        }
        for call in out.pooler_calls {
            self.poolers.call(call);
        }
        for message in out.send {
            self.send(message);
        }
        for question in out.ask {
            self.look(question);
        }
        if out.look_at_host {
            self.read_host();
        }
        if out.refused.is_some() && out.refused != self.refused {
            let why = out.refused.clone().unwrap_or_default();
            tracing::error!(
                why,
                "the controller is not obeyed, or does not take this agent; members are kept alone"
            );
        }
        self.refused = out.refused.or(self.refused.take());
    }

    fn call(&mut self, call: Call) {
        match self.ledger.refusal(call.member) {
            None => self.workers.call(call),
            Some(error) => {
                let outcome = Outcome::Failed(error.clone());
                let (member, number) = (call.member, call.number);
                self.inputs.push(Input::Outcome { member, number, outcome });
            }
        }
    }

    /// A script is begun only when it is on disk that it was.
    fn script(&mut self, call: ScriptCall) {
        match self.ledger.refusal(call.member) {
            None => self.workers.begin_script(call),
            Some(error) => {
                let ran = Box::new(Ran::failed(format!("it was not run: {error}")));
                let (member, number) = (call.member, call.number);
                self.inputs.push(Input::Script { member, number, ran });
            }
        }
    }

    fn send(&mut self, message: FromAgent) {
        // A report is a pledge: what it says is on disk, or it is not sent.
        if matches!(message, FromAgent::Members { .. }) && !self.ledger.is_settled() {
            self.withheld = true;
            return;
        }
        if let Some(outbox) = &self.outbox
            && outbox.try_send(message).is_err()
        {
            // It does not read: the stream ends, and a new one begins with everything.
            self.outbox = None;
        }
    }

    fn look(&self, question: Question) {
        let Ok(permit) = Arc::clone(&self.looks).try_acquire_owned() else { return };
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let seen = witness::look(&question).await;
            drop(permit);
            if let Some(sight) = seen {
                let answer = Answer { id: question.id, member: question.member, sight };
                // The shell has gone if it takes no event any more.
                let _ = sender.send(Event::Saw(answer)).await;
            }
        });
    }

    fn read_host(&mut self) {
        if let Some(since) = self.reading_since {
            self.inputs.push(Input::Host(host::stuck(since)));
            return;
        }
        self.reading_since = Some(Instant::now());
        let (gauge, sender) = (Arc::clone(&self.gauge), self.sender.clone());
        tokio::task::spawn_blocking(move || {
            let readings = gauge.lock().unwrap_or_else(PoisonError::into_inner).read();
            let _ = sender.blocking_send(Event::Host(readings));
        });
    }

    /// Says goodbye and lets calls under way come to their end; servers and gateway run on.
    async fn end(mut self) {
        self.beside.abort_all();
        let reason = "its agent was told to end".to_owned();
        self.send(FromAgent::Absence { until_back: ABSENCE, reason });
        self.outbox = None;
        let calls = async {
            while !self.workers.are_idle() {
                match self.events.recv().await {
                    Some(Event::Returned(mut returned)) => self.workers.back(&mut returned),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if timeout(END_MAX, calls).await.is_err() {
            tracing::warn!("driver calls are still under way; the next agent finds what they did");
        }
        drop(self.events);
        if timeout(END_MAX, &mut self.stream).await.is_err() {
            self.stream.abort();
        }
    }
}

fn config(options: &Options, image: Option<String>, version: Option<String>) -> Config {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Config {
        hello: Hello {
            host: options.host.clone(),
            zone: options.zone.clone(),
            rack: options.rack.clone(),
            address: options.address.to_string(),
            pid: std::process::id(),
            boot: boot.trim().to_owned(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            image,
            version,
            store: None,
            checks: Vec::new(),
            poolers: options.gateway.is_some(),
        },
        data_dirs: options.dir.join("members/{}/data").display().to_string(),
        policy: options.policy.clone(),
        kinds: evenkeel_kinds::KINDS,
        host_checks: host::checks(),
    }
}

async fn watch_image(drivers: Arc<dyn Drivers>, mut found: bool, events: mpsc::Sender<Event>) {
    loop {
        let (soon, late) = IMAGE_STEPS;
        tokio::time::sleep(if found { late } else { soon }).await;
        let drivers = Arc::clone(&drivers);
        let look = move || (drivers.image(), drivers.version());
        let Ok((digest, version)) = tokio::task::spawn_blocking(look).await else { return };
        found = digest.is_some();
        if events.send(Event::Image { digest, version }).await.is_err() {
            return;
        }
    }
}
