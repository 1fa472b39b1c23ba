//! The world: a controller, hosts with agents, a gateway, a network between them, and time.
//!
//! Everything that happens is an event at a moment; ties are broken by the order of their making.

mod faults;

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::agent::{self, Brain, Call, Config, Input, Stored};
use evenkeel_core::cell::{Cell, Entry, Link, Send, Setup};
use evenkeel_core::digest::Digest;
use evenkeel_core::goal::{StoreId, Want};
use evenkeel_core::id::{CellId, MemberId, Revision, ServiceId, Term};
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::{Answer, Hello, ToAgent};
use evenkeel_core::route::{self, FromGateway, Route, ToGateway};
use evenkeel_core::time::{Span, Time};
use evenkeel_store::Store;
use evenkeel_store::memory::Memory;

use crate::model::Machine;
use crate::prng::Prng;

pub use faults::{FAULTS, Fault};

const CELL: CellId = CellId(1);
/// Until a stopped process is asked again whether it goes on.
const PAUSED: Span = Span::millis(100);
/// Between tries to open a stream.
const REDIAL: Span = Span::millis(500);
/// More events in one second than any reason there is for them: something feeds itself.
const BUSY_MAX: u64 = 20_000;
/// Between a client's writes to one service.
const WRITE: Span = Span::millis(200);

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A message arrives at the controller.
    ToCell(Entry),
    /// A message arrives at an agent, on a stream.
    ToAgent(usize, Link, ToAgent),
    /// Routes arrive at the gateway.
    ToGateway(Link, ToGateway),
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
    /// Whoever is down comes back.
    Return(Process),
    /// Clients write.
    Write,
}

/// A process of Evenkeel.
#[derive(Clone, Copy, Debug)]
enum Process {
    Agent(usize),
    Controller,
    Gateway,
    Calls(usize),
}

/// A host.
struct Host {
    name: String,
    machine: Machine,
    brain: Option<Brain>,
    /// Grows with every life of the agent: what belongs to an earlier one is void.
    life: u64,
    /// When it is to be woken; earlier wishes are void.
    wake: Option<Time>,
    /// Messages of a paused agent wait.
    paused: bool,
    waiting: Vec<(Link, ToAgent)>,
    link: Option<Link>,
    saved: BTreeMap<MemberId, Stored>,
    store: Option<(StoreId, u64)>,
}

/// The world.
pub struct World {
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
    acknowledged: BTreeMap<MemberId, u64>,
    terminated: BTreeSet<String>,
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
}

impl World {
    /// A fleet that has just been started.
    pub fn new(seed: u64, hosts: usize) -> Self {
        let host = |n: usize| {
            let name = format!("h{}", n + 1);
            Host {
                machine: Machine::new(seed, &name),
                name,
                brain: None,
                life: 0,
                wake: None,
                paused: false,
                waiting: Vec::new(),
                link: None,
                saved: BTreeMap::new(),
                store: None,
            }
        };
        let mut world = Self {
            now: Time(1_000_000),
            events: BTreeMap::new(),
            made: 0,
            network: Prng::new(seed, "network"),
            hosts: (0..hosts).map(host).collect(),
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
            acknowledged: BTreeMap::new(),
            terminated: BTreeSet::new(),
            broken: None,
            trace: Digest([0; 32]),
            steps: 0,
            busy: 0,
            writes: 0,
        };
        world.come_back(Process::Controller);
        (0..hosts).for_each(|n| world.come_back(Process::Agent(n)));
        world.at(Span::millis(1), Event::Dial);
        world.at(WRITE, Event::Write);
        world
    }

    fn at(&mut self, after: Span, event: Event) {
        self.made += 1;
        self.events.insert((self.now + after, self.made), event);
    }

    /// A message takes a while; on one stream they stay in order.
    fn carry(&mut self, link: Link, up: bool, event: Event) {
        let slow = if self.network.percent(2) { 1500 } else { 12 };
        let arrival = self.now + Span::millis(1 + self.network.below(slow));
        let last = self.order.entry((link, up)).or_default();
        let arrival = arrival.max(*last);
        *last = arrival;
        self.made += 1;
        self.events.insert((arrival, self.made), event);
    }

    /// Lets time pass until a moment; the moment nothing is broken yet.
    pub fn run(&mut self, until: Time) {
        while self.broken.is_none()
            && let Some((&(at, _), _)) = self.events.first_key_value()
            && at <= until
        {
            let Some(((at, _), event)) = self.events.pop_first() else { return };
            if at.0 / 1000 != self.now.0 / 1000 {
                self.busy = 0;
            }
            self.now = at;
            self.steps += 1;
            self.busy += 1;
            if self.busy > BUSY_MAX {
                self.fail(format!("a storm: more than {BUSY_MAX} events a second, now {event:?}"));
            }
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToCell(entry) => self.turn(&[entry]),
            Event::WakeCell(life) if life == self.cell_life && self.cell_wake == Some(self.now) => {
                self.cell_wake = None;
                self.turn(&[]);
            }
            Event::ToAgent(n, link, message) if self.hosts[n].link == Some(link) => {
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
            Event::Return(process) => self.come_back(process),
            Event::Write => {
                self.write();
                self.at(WRITE, Event::Write);
            }
            // Of an earlier life, or on a stream that is gone.
            _ => {}
        }
    }

    /// One turn of the cell, as its shell makes it: commit, then send.
    fn turn(&mut self, inbox: &[Entry]) {
        let Some(cell) = self.cell.as_mut() else { return };
        let turn = cell.turn(self.now, inbox);
        self.trace = Digest::of_json(&(self.trace, self.now, &turn));
        if !turn.writes.is_empty() {
            if self.crash_next == Some(Fault::KillBeforeRecord) {
                return self.kill_controller();
            }
            self.store.commit(CELL, &turn.writes).expect("memory does not fail");
            if self.crash_next == Some(Fault::KillAfterRecord) {
                return self.kill_controller();
            }
        }
        for send in turn.sends {
            match send {
                Send::Agent { link, message } => {
                    self.hold_to_promise(&message);
                    if let Some(n) = self.hosts.iter().position(|h| h.link == Some(link)) {
                        self.carry(link, false, Event::ToAgent(n, link, message));
                    }
                }
                Send::Gateway { link, message } => {
                    self.carry(link, false, Event::ToGateway(link, message));
                }
                Send::Close { link } => self.cut(link),
                Send::Reply { .. } => {}
            }
        }
        if let Some(at) = turn.wake_at {
            let at = at.max(self.now + Span(1));
            if self.cell_wake != Some(at) {
                self.cell_wake = Some(at);
                self.at(at.since(self.now), Event::WakeCell(self.cell_life));
            }
        }
    }

    /// What is sent keeps the protocol's promises, whoever decided it.
    fn hold_to_promise(&mut self, message: &ToAgent) {
        let ToAgent::Goals { goals, .. } = message else { return };
        for goal in goals {
            let key = (goal.member, goal.term, goal.revision);
            let known = *self.sent.entry(key).or_insert_with(|| goal.digest());
            if known != goal.digest() {
                self.fail(format!("{} has two goals {}/{}", goal.member, goal.term, goal.revision));
            }
            let name = goal.identity.name.as_str();
            if goal.want == Want::Removed && !self.terminated.contains(name) {
                self.fail(format!("{name} is removed and nobody ordered it"));
            }
        }
    }

    fn fail(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// One turn of an agent, as its shell makes it: save, then act.
    fn think(&mut self, n: usize, inputs: &[Input]) {
        let (now, host) = (self.now, &mut self.hosts[n]);
        if host.paused {
            return;
        }
        let Some(brain) = host.brain.as_mut() else { return };
        let out = brain.turn(now, inputs);
        self.trace = Digest::of_json(&(self.trace, n, now, &out));
        let host = &mut self.hosts[n];
        host.saved.extend(out.save);
        out.forget.iter().for_each(|member| drop(host.saved.remove(member)));
        host.store = out.save_store.or(host.store.take());
        let (life, link) = (host.life, host.link);
        for call in out.calls {
            let long = if self.network.percent(3) { 2500 } else { 30 };
            let took = Span::millis(1 + self.network.below(long));
            self.at(took, Event::Called(n, life, Box::new(call)));
        }
        if let Some(link) = link {
            for message in out.send {
                self.carry(link, true, Event::ToCell(Entry::Agent { link, message }));
            }
        }
        for question in out.ask {
            // All hosts share one address: the port says whom it is about.
            let seen = self.hosts.iter().map(|host| host.machine.sight(question.port));
            let sight = seen.min().unwrap_or(evenkeel_core::report::Sight::Refused);
            let answer = Answer { id: question.id, member: question.member, sight };
            self.at(Span::millis(3), Event::Told(n, life, Input::Saw(answer)));
        }
        if let Some(at) = out.wake_at {
            let at = at.max(now + Span(1));
            if self.hosts[n].wake != Some(at) {
                self.hosts[n].wake = Some(at);
                self.at(at.since(now), Event::WakeAgent(n, life));
            }
        }
    }

    /// A driver call comes to its end, whether its agent still lives or not.
    fn called(&mut self, n: usize, life: u64, call: &Call) {
        let (now, host) = (self.now, &mut self.hosts[n]);
        // A call of an agent that died before it ended may have been made, or not.
        let voided = life != host.life || host.brain.is_none();
        if voided && !self.network.percent(50) {
            return;
        }
        if voided && host.brain.is_some() {
            // Two lives of one agent never act at once: the lock of its directory sees to it.
            return;
        }
        host.machine.now = now;
        let outcome = agent::perform(&mut host.machine, &call.goal, &call.action, &[]);
        if let Some(what) = host.machine.broken.take() {
            let text = format!("{}: {what} ({})", host.name, call.member);
            return self.fail(text);
        }
        let (member, number) = (call.member, call.number);
        if !voided {
            let input = Input::Outcome { member, number, outcome };
            self.at(Span(0), Event::Told(n, life, input));
        }
    }

    fn route(&mut self, link: Link, message: ToGateway) {
        if self.gateway != Some(link) || !self.gateway_up {
            return;
        }
        if let ToGateway::Routes { routes, whole, changed, gone } = message {
            if routes >= self.routes.0 {
                self.routes.0 = routes;
                route::merge(&mut self.routes.1, whole, &changed, &gone);
            }
            let message = FromGateway::Took { routes: self.routes.0, failed: Vec::new() };
            self.carry(link, true, Event::ToCell(Entry::Gateway { link, message }));
        }
    }

    fn link(&mut self) -> Link {
        self.links += 1;
        Link(self.links)
    }

    fn dial(&mut self) {
        if self.cell.is_none() {
            return;
        }
        for n in 0..self.hosts.len() {
            let host = &self.hosts[n];
            if host.brain.is_some() && !host.paused && host.link.is_none() {
                let link = self.link();
                self.hosts[n].link = Some(link);
                self.think(n, &[Input::Opened]);
            }
        }
        if self.gateway_up && self.gateway.is_none() {
            let link = self.link();
            self.gateway = Some(link);
            let message = FromGateway::Hello {
                gateway: "g".to_owned(),
                address: "127.0.0.1".to_owned(),
                pid: 1,
                routes: self.routes.0,
            };
            self.carry(link, true, Event::ToCell(Entry::Gateway { link, message }));
        }
    }

    fn come_back(&mut self, process: Process) {
        match process {
            Process::Controller if self.cell.is_none() => {
                let rows = self.store.load_cell(CELL).expect("memory does not fail");
                let setup = Setup {
                    cell: CELL,
                    store: self.store.id(),
                    policy: Policy::default(),
                    kinds: evenkeel_kinds::KINDS,
                    remedies: evenkeel_kinds::remedies::REMEDIES,
                };
                (self.cell_life, self.cell_wake) = (self.cell_life + 1, None);
                match Cell::load(setup, &rows) {
                    Ok(cell) => self.cell = Some(cell),
                    Err(error) => self.fail(format!("what was recorded cannot be loaded: {error}")),
                }
                self.turn(&[]);
            }
            Process::Agent(n) => self.start_agent(n),
            Process::Gateway => self.gateway_up = true,
            Process::Calls(n) => self.hosts[n].machine.failing = 0,
            Process::Controller => {}
        }
    }

    fn start_agent(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        if host.paused {
            host.paused = false;
            let waiting = std::mem::take(&mut host.waiting);
            for (link, message) in waiting {
                if self.hosts[n].link == Some(link) {
                    self.think(n, &[Input::Message(message)]);
                }
            }
            return self.think(n, &[]);
        }
        if host.brain.is_some() {
            return;
        }
        (host.life, host.wake) = (host.life + 1, None);
        let zone = ["a", "b", "c"][n % 3].to_owned();
        let config = Config {
            hello: Hello {
                host: host.name.clone(),
                zone,
                address: "127.0.0.1".to_owned(),
                pid: 1,
                boot: "boot".to_owned(),
                release: "sim".to_owned(),
                image: Some("image".to_owned()),
                store: None,
                checks: Vec::new(),
            },
            data_dirs: "/members/{}/data".to_owned(),
            policy: Policy::default(),
            kinds: evenkeel_kinds::KINDS,
            host_checks: evenkeel_kinds::host::CHECKS,
        };
        let stored = host.saved.values().cloned().collect();
        host.brain = Some(Brain::new(config, stored, host.store.clone()));
        self.think(n, &[]);
    }

    /// A stream ends for both sides.
    fn cut(&mut self, link: Link) {
        if let Some(n) = self.hosts.iter().position(|h| h.link == Some(link)) {
            self.carry(link, true, Event::ToCell(Entry::AgentClosed { link }));
            self.carry(link, false, Event::Cut(n, link));
        }
        if self.gateway == Some(link) {
            self.gateway = None;
            self.carry(link, true, Event::ToCell(Entry::GatewayClosed { link }));
        }
    }

    /// Somebody orders something.
    pub fn order(&mut self, order: Order) {
        if let Order::Terminate { name, .. } = &order {
            self.terminated.insert(name.clone());
        }
        let entry = Entry::Order { ticket: self.made, by: "somebody".to_owned(), order };
        self.turn(&[entry]);
    }

    /// Every client writes once; what is acknowledged must be there for ever.
    fn write(&mut self) {
        if !self.gateway_up {
            return;
        }
        let ports: Vec<u16> =
            self.routes.1.values().filter_map(|r| r.target.as_ref()).map(|t| t.port).collect();
        for port in ports {
            let now = self.now;
            let wrote = self.hosts.iter_mut().find_map(|host| host.machine.write(port, now));
            if let Some(member) = wrote {
                *self.acknowledged.entry(member).or_default() += 1;
                self.writes += 1;
            }
        }
    }

    /// Every acknowledged row is where it was acknowledged, unless its end was ordered.
    pub fn check_ledger(&mut self) {
        let Some(cell) = &self.cell else { return };
        let services = cell.services(self.now);
        let kept: BTreeSet<MemberId> = services
            .iter()
            .filter(|service| !self.terminated.contains(&service.name))
            .flat_map(|service| service.members.iter().map(|member| member.id))
            .collect();
        for (member, acknowledged) in &self.acknowledged {
            let rows =
                self.hosts.iter().find_map(|h| h.machine.servers.get(member)).map(|s| s.rows);
            if kept.contains(member) && rows.unwrap_or(0) < *acknowledged {
                let text =
                    format!("{member} lost rows: {acknowledged} acknowledged, {rows:?} there");
                self.broken.get_or_insert(text);
                return;
            }
        }
    }

    /// Services as people see them; none while there is no controller.
    pub fn services(&self) -> Vec<evenkeel_core::view::Service> {
        self.cell.as_ref().map(|cell| cell.services(self.now)).unwrap_or_default()
    }

    /// The journal, newest last.
    pub fn journal(&self, subject: &str, limit: usize) -> Vec<String> {
        let entries = self.store.journal(Some(subject), None, limit).unwrap_or_default();
        entries.into_iter().map(|r| format!("{} {}", r.entry.at.0, r.entry.text)).collect()
    }
}
