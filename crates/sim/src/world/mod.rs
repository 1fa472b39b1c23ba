//! The world: a controller, hosts with agents, a gateway, a network between them, and time.
//!
//! Everything that happens is an event at a moment; ties are broken by the order of their making.

mod agents;
mod archives;
mod chronicle;
mod clients;
mod controller;
mod faults;
mod network;
mod pager;
mod poolers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel_core::agent::{self, Brain, Call, Input, JobCall, Stored};
use evenkeel_core::alert::IncidentId;
use evenkeel_core::backup::lineage::{Location, Repository};
use evenkeel_core::cell::{Cell, Entry, Link};
use evenkeel_core::digest::Digest;
use evenkeel_core::id::{CellId, MemberId, Revision, ServiceId, Term};
use evenkeel_core::incident::chain::Step;
use evenkeel_core::kind::Loss;
use evenkeel_core::label::Label;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::pooler::Pooler;
use evenkeel_core::remedy::Remedies;
use evenkeel_core::report::ToAgent;
use evenkeel_core::route::{Route, ToGateway};
use evenkeel_core::succession::Allegiance;
use evenkeel_core::time::{Span, Time};
use evenkeel_core::view;
use evenkeel_store::Store;
use evenkeel_store::memory::Memory;

use crate::budgets::Budgets;
use crate::model::{Machine, Shared, Work, open, row_at};
use crate::mutation::Mutation;
use crate::prng::Prng;
use crate::report::{Counts, Invariant};

pub use crate::model::Condition;
pub use archives::REPOSITORIES;
pub use chronicle::Line;
pub use faults::{FAULTS, Fault};
pub use pager::Answers;

const CELL: CellId = CellId(1);
/// Until a stopped process is asked again whether it goes on.
const PAUSED: Span = Span::millis(100);
/// Between tries to open a stream.
const REDIAL: Span = Span::millis(500);
/// More events in one second than any reason there is for them: something feeds itself.
const BUSY_MAX: u64 = 20_000;
/// When worlds begin: any time but the clock's own zero.
pub const BEGIN: Time = Time(1_000_000);

/// How the network, disks and processes behave while nothing is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// By chance: messages and calls are slow at times, a killed server leaves children behind.
    Rough,
    /// Every message and call takes its usual time, so that a transcript changes with decisions only.
    Steady,
}

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// All chance comes from it.
    pub seed: u64,
    /// Hosts `h1`, `h2` ..., in the zones `a`, `b`, `c` in turn.
    pub hosts: usize,
    /// How things behave while nothing is broken on purpose.
    pub weather: Weather,
    /// What the controller and the agents decide by.
    pub policy: Policy,
    /// The remedies that the controller may run.
    pub remedies: Arc<Remedies>,
    /// Between a client's writes to one service.
    pub write_every: Span,
    /// Whether what happens is told in [`World::told`].
    pub chronicle: bool,
    /// Repositories that logs and backups go to.
    pub repositories: usize,
    /// The size of each host's disk.
    pub disk_bytes: u64,
    /// Rows that fill a segment of a log.
    pub segment_rows: usize,
    /// The rule that is broken on purpose.
    pub mutation: Option<Mutation>,
    /// Whom to tell of incidents, in order.
    pub chain: Vec<Step>,
    /// A person acknowledges what they were told of after this; `None`: never.
    pub acks_after: Option<Span>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A message arrives at the controller.
    ToCell(Entry),
    /// A message arrives at an agent, on a stream.
    ToAgent(usize, Link, ToAgent),
    /// Routes arrive at the gateway.
    ToGateway(Link, ToGateway),
    /// A call about a pooler is over.
    Pooler(usize, u64, Box<agent::poolers::Call>),
    /// An agent learns that its stream ended.
    Cut(usize, Link),
    /// A driver call is over.
    Called(usize, u64, Box<Call>),
    /// An agent is told something by its own machine.
    Told(usize, u64, Input),
    /// An agent wanted to be woken.
    WakeAgent(usize, u64),
    /// The cell wanted to be woken.
    WakeCell(u64),
    /// Whoever has no stream tries to open one.
    Dial,
    /// A server that cannot live dies of itself, if it is still this process.
    Crash(usize, MemberId, u32),
    /// Whoever is down comes back.
    Return(Process),
    /// Clients write.
    Write,
    /// Standbys receive what is new.
    Stream,
    /// Archivers go on.
    Archive,
    /// A person says that they know.
    Acknowledge(IncidentId),
    /// By now somebody must have been told through this channel, if it worked since then.
    Reached(IncidentId, Label, Time),
    /// A job goes on.
    Work(usize, u64, Box<(JobCall, Work)>),
}

/// What comes back after a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Process {
    Agent(usize),
    Controller,
    Gateway,
    Calls(usize),
    Host(usize),
    Server(usize, MemberId),
    Neighbours(usize),
    Network(usize),
    Storage,
    Node(usize, MemberId),
}

/// A host.
struct Host {
    name: String,
    machine: Machine,
    /// Whether it has power.
    on: bool,
    /// Whether its members are cut off from those on other hosts.
    alone: bool,
    /// Whether nobody but clients beside it reaches it, and nobody is told.
    cut: bool,
    /// How often it was switched on.
    boots: u64,
    brain: Option<Brain>,
    /// Since when its agent does nothing, and the longest that it ever did nothing.
    away: (Option<Time>, Span),
    /// When it did something again after it did nothing.
    back: Time,
    /// Grows with every life of the agent: what belongs to an earlier one is void.
    life: u64,
    /// When it is to be woken; earlier wishes are void.
    wake: Option<Time>,
    /// Messages of a paused agent wait.
    paused: bool,
    waiting: Vec<(Link, ToAgent)>,
    link: Option<Link>,
    saved: BTreeMap<MemberId, Stored>,
    store: Option<Allegiance>,
    /// Whether the gateway is here, and with it the poolers.
    keeps_poolers: bool,
    /// Poolers that run.
    poolers: BTreeMap<ServiceId, Pooler>,
    saved_poolers: BTreeMap<ServiceId, Pooler>,
}

impl Host {
    /// For how long its agent did nothing at most. Then nothing fences a primary that is cut off.
    fn away_max(&self, now: Time) -> Span {
        let (since, longest) = self.away;
        longest.max(since.map_or(Span(0), |since| now.since(since)))
    }

    /// Its agent does something again.
    fn back(&mut self, now: Time) {
        if self.away.0.is_some() {
            self.back = now;
        }
        self.away = (None, self.away_max(now));
    }

    /// Whether its agent did nothing at some time in the last so long.
    fn was_away(&self, now: Time, within: Span) -> bool {
        self.away.0.is_some() || now.since(self.back) < within
    }

    fn new(options: &Options, n: usize, repositories: &Shared) -> Self {
        let name = format!("h{}", n + 1);
        let mut machine = Machine::new(options.seed, &name, options.weather);
        machine.repositories = repositories.clone();
        (machine.disk_bytes, machine.segment_rows) = (options.disk_bytes, options.segment_rows);
        Self {
            machine,
            name,
            on: true,
            alone: false,
            cut: false,
            boots: 1,
            brain: None,
            away: (None, Span(0)),
            back: Time(0),
            life: 0,
            wake: None,
            paused: false,
            waiting: Vec::new(),
            link: None,
            saved: BTreeMap::new(),
            store: None,
            keeps_poolers: n == 0,
            poolers: BTreeMap::new(),
            saved_poolers: BTreeMap::new(),
        }
    }
}

/// The world.
pub struct World {
    options: Options,
    /// The moment.
    pub now: Time,
    events: BTreeMap<(Time, u64), Event>,
    made: u64,
    network: Prng,
    hosts: Vec<Host>,
    store: Memory,
    cell: Option<Cell>,
    cell_life: u64,
    cell_wake: Option<Time>,
    crash_next: Option<Fault>,
    gateway_up: bool,
    gateway: Option<Link>,
    routes: (u64, BTreeMap<ServiceId, Route>),
    links: u64,
    /// Last arrival per stream and direction: messages of one stream stay in order.
    order: BTreeMap<(Link, bool), Time>,
    sent: BTreeMap<(MemberId, Term, Revision), Digest>,
    clients: BTreeMap<ServiceId, clients::Clients>,
    terminated: BTreeSet<String>,
    /// Services whose end was ordered and confirmed.
    ended: BTreeSet<ServiceId>,
    /// Those of them whose order may still be refused, by its ticket.
    ending: BTreeMap<u64, ServiceId>,
    repositories: Shared,
    /// Whether one was lost.
    lost_repository: bool,
    /// How full the fullest disk ever was.
    fullest_percent: u64,
    pager: pager::Pager,
    /// What each service's plan may lose.
    losses: BTreeMap<ServiceId, Option<Loss>>,
    /// What happened, in words, if it is wanted; taken by whoever prints it.
    pub told: Vec<(Time, Line)>,
    /// What must never happen and did.
    pub broken: Option<String>,
    /// What happened, as one number: the same seed, the same number.
    pub trace: Digest,
    /// Events so far.
    pub steps: u64,
    /// Events in this second.
    busy: u64,
    /// Rows that clients were told are safe.
    pub writes: u64,
    /// What a report tells.
    pub counts: Counts,
    budgets: Budgets,
    /// Rows that clients wrote.
    rows: u64,
}

impl World {
    /// A fleet that has just been started.
    pub fn new(options: Options) -> Self {
        let repositories = Shared::default();
        open(&repositories).mutation = options.mutation;
        let mut world = Self {
            now: BEGIN,
            events: BTreeMap::new(),
            made: 0,
            network: Prng::new(options.seed, "network"),
            hosts: (0..options.hosts).map(|n| Host::new(&options, n, &repositories)).collect(),
            store: Memory::new(),
            cell: None,
            cell_life: 0,
            cell_wake: None,
            crash_next: None,
            gateway_up: true,
            gateway: None,
            routes: (0, BTreeMap::new()),
            links: 0,
            order: BTreeMap::new(),
            sent: BTreeMap::new(),
            clients: BTreeMap::new(),
            terminated: BTreeSet::new(),
            ended: BTreeSet::new(),
            ending: BTreeMap::new(),
            repositories,
            lost_repository: false,
            fullest_percent: 0,
            pager: pager::Pager::new(&options.chain, options.acks_after),
            losses: BTreeMap::new(),
            told: Vec::new(),
            broken: None,
            trace: Digest([0; 32]),
            steps: 0,
            busy: 0,
            writes: 0,
            counts: Counts::default(),
            budgets: Budgets::default(),
            rows: 1,
            options,
        };
        world.come_back(Process::Controller);
        (0..world.hosts.len()).for_each(|n| world.come_back(Process::Agent(n)));
        world.at(Span::millis(1), Event::Dial);
        world.at(world.options.write_every, Event::Write);
        world.at(Span::millis(10), Event::Stream);
        world.add_repositories();
        world
    }

    fn add_repositories(&mut self) {
        for name in archives::REPOSITORIES.into_iter().take(self.options.repositories) {
            open(&self.repositories).add(name);
            let location = Location::Directory { path: format!("/{name}") };
            let repository = Repository { name: name.to_owned(), location };
            self.order(Order::AddRepository { repository });
        }
        if self.options.repositories > 0 {
            self.at(Span::secs(1), Event::Archive);
        }
    }

    /// A name for a row that nobody else has.
    fn row(&mut self) -> u64 {
        self.rows = row_at(self.now).max(self.rows + 1);
        self.rows
    }

    fn at(&mut self, after: Span, event: Event) {
        self.made += 1;
        self.events.insert((self.now + after, self.made), event);
    }

    /// How long something takes: its usual time, or by chance up to `most`, rarely `long`.
    fn takes(&mut self, usual: Span, most: Span, rarely_percent: u64, long: Span) -> Span {
        match self.options.weather {
            Weather::Steady => usual,
            Weather::Rough => {
                let most = if self.network.percent(rarely_percent) { long } else { most };
                Span::millis(1 + self.network.below(most.0))
            }
        }
    }

    /// Lets time pass until a moment, or until something is broken.
    pub fn run(&mut self, until: Time) {
        self.run_until(until, |_| false);
    }

    /// Lets time pass until something is so, at most until a moment; whether it is so then.
    pub fn run_until(&mut self, until: Time, mut so: impl FnMut(&Self) -> bool) -> bool {
        while !so(self) {
            let next = self.events.first_key_value().map(|(&(at, _), _)| at);
            let Some(at) = next.filter(|&at| at <= until && self.broken.is_none()) else {
                self.now = self.now.max(until);
                return so(self);
            };
            self.moment(at);
        }
        true
    }

    /// All that happens at one moment.
    fn moment(&mut self, at: Time) {
        if at.0 / 1000 != self.now.0 / 1000 {
            self.busy = 0;
        }
        self.now = at;
        while self.broken.is_none()
            && let Some(first) = self.events.first_entry()
            && first.key().0 <= at
        {
            let event = first.remove();
            self.steps += 1;
            self.busy += 1;
            if self.busy > BUSY_MAX {
                self.fail(
                    Invariant::ControllersGoOn,
                    format!("a storm: more than {BUSY_MAX} events a second, now {event:?}"),
                );
            }
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToCell(entry) => self.turn(&[entry]),
            Event::WakeCell(life) if life == self.cell_life && self.cell_wake == Some(self.now) => {
                self.cell_wake = None;
                self.turn(&[]);
            }
            Event::ToAgent(n, link, message)
                if self.hosts[n].link == Some(link) && !self.hosts[n].cut =>
            {
                if self.hosts[n].paused {
                    self.hosts[n].waiting.push((link, message));
                } else {
                    self.think(n, &[Input::Message(message)]);
                }
            }
            Event::ToGateway(link, message) => self.route(link, message),
            Event::Cut(n, link) if self.hosts[n].link == Some(link) => {
                self.hosts[n].link = None;
                self.think(n, &[Input::Closed]);
            }
            Event::Called(n, life, call) => self.called(n, life, &call),
            Event::Pooler(n, life, call) => self.pooler_called(n, life, &call),
            Event::Told(n, life, input) if life == self.hosts[n].life => {
                if self.hosts[n].paused {
                    // Whoever is stopped hears of it later.
                    self.at(PAUSED, Event::Told(n, life, input));
                } else {
                    self.think(n, &[input]);
                }
            }
            Event::WakeAgent(n, life)
                if life == self.hosts[n].life && self.hosts[n].wake == Some(self.now) =>
            {
                self.hosts[n].wake = None;
                self.think(n, &[]);
            }
            Event::Dial => {
                self.dial();
                self.at(REDIAL, Event::Dial);
            }
            Event::Crash(n, member, pid) => self.crash(n, member, pid),
            Event::Return(process) => self.come_back(process),
            Event::Stream => self.stream(),
            Event::Archive => self.archive(),
            Event::Acknowledge(id) => self.say_known(id),
            Event::Reached(id, channel, since) => self.check_reached(id, channel, since),
            Event::Work(n, life, of) => self.work(n, life, of),
            Event::Write => {
                self.write();
                self.at(self.options.write_every, Event::Write);
            }
            // Of an earlier life, or on a stream that is gone.
            _ => {}
        }
    }

    /// What must never be otherwise is looked at.
    fn check(&mut self, invariant: Invariant) {
        self.counts.check(invariant);
    }

    /// It is otherwise.
    fn fail(&mut self, invariant: Invariant, what: String) {
        self.counts.broke(invariant);
        self.broken.get_or_insert(what);
    }

    /// Whoever was down comes back.
    pub(crate) fn come_back(&mut self, process: Process) {
        match process {
            Process::Controller => self.start_controller(),
            Process::Agent(n) => self.start_agent(n),
            Process::Gateway => {
                if !self.gateway_up {
                    self.tell(|_| "the gateway is started again".to_owned());
                }
                self.gateway_up = true;
            }
            Process::Calls(n) => self.hosts[n].machine.failing = 0,
            Process::Host(n) => self.power_on(n),
            Process::Neighbours(n) => self.hosts[n].alone = false,
            Process::Network(n) => self.reach(n),
            Process::Storage => self.heal_storage(false),
            Process::Node(n, member) => {
                self.hosts[n].machine.freeze(member, false);
                self.start_agent(n);
            }
            Process::Server(n, member) => self.hosts[n].machine.doom(member, false),
        }
    }

    /// Services as people see them; none while there is no controller.
    pub fn services(&self) -> Vec<view::Service> {
        self.cell.as_ref().map(|cell| cell.services(self.now)).unwrap_or_default()
    }

    /// Whether a controller runs.
    pub fn has_controller(&self) -> bool {
        self.cell.is_some()
    }

    /// What the journal says about a service or host, oldest first.
    pub fn recorded(&self, subject: &str) -> impl Iterator<Item = String> {
        let entries = self.store.journal(Some(subject), None, usize::MAX).unwrap_or_default();
        entries.into_iter().map(|recorded| recorded.entry.text)
    }

    /// The journal, newest last.
    pub fn journal(&self, subject: &str, limit: usize) -> Vec<String> {
        let entries = self.store.journal(Some(subject), None, limit).unwrap_or_default();
        entries.into_iter().map(|r| format!("{} {}", r.entry.at.0, r.entry.text)).collect()
    }
}
