//! A cell with its hosts: a world of its own. What it shares with others (storage, people) goes in and out
//! between two windows of time.
//!
//! Everything is an event at a moment; ties are broken by the order of their making. A cell takes in what came
//! within a tick, as its shell does.

use std::collections::BTreeMap;

use evenkeel_core::agent::Input;
use evenkeel_core::alert::Delivery;
use evenkeel_core::cell::many::IDS_PER_CELL;
use evenkeel_core::cell::{Beat, Cell, Entry, Link, Send, Setup, Turn};
use evenkeel_core::driver::Process;
use evenkeel_core::goal::Goal;
use evenkeel_core::id::{MemberId, Revision, Term};
use evenkeel_core::incident::chain::Step;
use evenkeel_core::incident::fold::Standings;
use evenkeel_core::journal::{self, Topic};
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::{Answer, FromAgent, Hello, Question, Sight, ToAgent};
use evenkeel_core::route::{FromGateway, ToGateway};
use evenkeel_core::row::Table;
use evenkeel_core::time::{Span, Time};
use evenkeel_store::Store;
use evenkeel_store::memory::Memory;

use super::events::{Event, Events};
use super::host::{Host, Member, Slot};
use super::ledger::Service;
use super::replay::Replay;
use super::storage::View;
use super::tally::Tally;
use crate::budgets::Budgets;
use crate::mutation::Mutation;
use crate::prng::Prng;
use crate::report::Invariant;

/// What comes within this comes in one turn: the controller's own window.
const TICK: Span = Span::millis(50);
/// The same where hours are simulated.
const TICK_LONG: Span = Span::millis(200);
/// Between tries to open a stream.
const REDIAL: Span = Span::millis(500);
/// What supervises the controller starts it again after this.
const RESTART: Span = Span::secs(2);
/// The posture of a cell whose controller is away.
pub(super) const NO_CONTROLLER: &str = "no_controller";
/// The one gateway of a cell.
pub(super) const GATEWAY: Link = Link(0);

/// See the module.
pub(super) struct Seat {
    pub number: u32,
    pub setup: Setup,
    pub cell: Option<Cell>,
    /// What it recorded, where that is kept.
    pub store: Option<Memory>,
    pub now: Time,
    /// What comes within this comes in one turn.
    pub tick: Span,
    /// Cells exchange what they share as often as this while anything is under way.
    pub window: Span,
    events: Events,
    inbox: Vec<Entry>,
    /// What minds are told within one tick: host, slot, life.
    handed: BTreeMap<(usize, Slot, u64), Vec<Input>>,
    /// When the inbox is taken in.
    due: Option<Time>,
    wake: Option<Time>,
    next_beat: Time,
    pub hosts: Vec<Host>,
    /// By id.
    pub members: Vec<Option<Member>>,
    /// By id.
    pub services: Vec<Option<Service>>,
    pub links: BTreeMap<Link, usize>,
    pub ports: BTreeMap<u16, MemberId>,
    link: u64,
    pub pid: u32,
    pub lives: u64,
    /// Whom to tell of incidents: a controller that begins is told.
    pub chain: Vec<Step>,
    /// Whether services are being made: what is new is simply there.
    pub making: bool,
    /// How object storage is, in this window.
    pub storage: View,
    /// Segments that this seat offered in this window, and those that were taken.
    pub offered: u64,
    /// Segments a minute of hosts whose log is taken as it is written.
    pub usual_per_min: u64,
    pub deliveries: Vec<Delivery>,
    /// How its incidents stand, if that is news.
    pub standings: Option<Standings>,
    pub tally: Tally,
    pub chance: Prng,
    /// What is allowed, whatever the cell was told.
    pub allowed: Policy,
    pub budgets: Budgets,
    pub replay: Replay,
    /// The rule that is broken on purpose.
    pub mutation: Option<Mutation>,
    /// Where it is, counted from 1.
    pub region: u8,
    /// Whether the canary image is bad.
    pub bad_image: bool,
    /// Whether the controller's store takes anything.
    pub takes_records: bool,
    /// Segments that waited, and its cell's posture, when it was looked at last.
    pub waiting: u64,
    pub posture: &'static str,
}

impl Seat {
    pub fn new(number: u32, setup: Setup, hosts: Vec<Host>, seed: u64, keeps: bool) -> Self {
        let (cell, allowed) = (Some(fresh(&setup)), setup.policy.clone());
        Self {
            number,
            setup,
            cell,
            store: keeps.then(Memory::new),
            now: crate::world::BEGIN,
            tick: TICK,
            window: super::WINDOW,
            events: Events::default(),
            inbox: Vec::new(),
            handed: BTreeMap::new(),
            due: None,
            wake: None,
            next_beat: crate::world::BEGIN,
            hosts,
            members: Vec::new(),
            services: Vec::new(),
            links: BTreeMap::new(),
            ports: BTreeMap::new(),
            link: 0,
            pid: 1000,
            lives: 0,
            chain: Vec::new(),
            making: true,
            storage: View::default(),
            offered: 0,
            usual_per_min: 0,
            deliveries: Vec::new(),
            standings: None,
            tally: Tally::default(),
            chance: Prng::new(seed, &format!("cell {number}")),
            allowed,
            budgets: Budgets::default(),
            replay: Replay::default(),
            mutation: None,
            region: 1,
            bad_image: false,
            takes_records: true,
            waiting: 0,
            posture: "normal",
        }
    }

    /// Looks how much waits, and at the cell's posture.
    pub fn look_around(&mut self) {
        let now = self.now;
        self.waiting = self.hosts.iter().map(|host| host.disk.waits(now)).sum();
        let posture = self.cell.as_ref().map(|cell| cell.posture(now).name());
        self.posture = posture.unwrap_or(NO_CONTROLLER);
    }

    pub fn policy(&self) -> &Policy {
        &self.setup.policy
    }

    pub fn at(&mut self, after: Span, event: Event) {
        self.events.add(self.now + after, event);
    }

    /// Something for the cell, in its next turn.
    pub fn tell(&mut self, entry: Entry) {
        self.inbox.push(entry);
        self.due.get_or_insert(self.now + Span(1));
    }

    /// When something happens next.
    pub fn next(&self) -> Time {
        let event = self.events.next();
        let times = [event, self.due, self.wake, Some(self.next_beat)];
        times.into_iter().flatten().min().unwrap_or(Time(u64::MAX))
    }

    /// Lets time pass until a moment.
    pub fn run(&mut self, until: Time) {
        while let next = self.next()
            && next <= until
        {
            // Ticks are the same for all, so that what is near each other comes together.
            self.now = Time(next.0.div_ceil(self.tick.0) * self.tick.0).min(until).max(self.now);
            while let Some(event) = self.events.take_due(self.now) {
                self.happen(event);
            }
            for ((host, slot, life), inputs) in std::mem::take(&mut self.handed) {
                self.think_of(host, slot, life, &inputs);
            }
            let beats = self.beats();
            let due = [self.due, self.wake].into_iter().flatten().any(|at| at <= self.now);
            if due || !beats.is_empty() {
                let mut inbox = std::mem::take(&mut self.inbox);
                inbox.extend((!beats.is_empty()).then_some(Entry::Beats(beats)));
                self.due = None;
                self.turn(&inbox);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Called(host, slot, life, call) => self.called(host, slot, life, &call),
            Event::Told(host, slot, life, input) => self.hand(host, slot, life, *input),
            Event::Wake(host, slot, life) => self.woken(host, slot, life),
            Event::Worked(member, job, ok) => self.worked(member, job, ok),
            Event::ToCell(entry) => {
                self.inbox.push(*entry);
                self.due = Some(self.now);
            }
            Event::Dial(host) => self.dial(host),
            Event::Felt(service) => self.felt(service),
            Event::Stream(service) => self.stream(service),
            Event::Survey(host, number) => self.survey(host, number),
            Event::Power(host, on) => self.power(host, on),
            Event::Agent(host, on) => self.agent(host, on),
            Event::Side(host, side) => self.part(host, side),
            Event::Ill(host, percent) => self.ail(host, percent),
            Event::Slow(host, delay) => self.slow(host, delay),
            Event::Heard(host, link, message) => self.arrive(host, link, *message),
            Event::Stuck(host, stuck) => self.archive_sticks(host, stuck),
            Event::Spoil(member) => self.spoil(member),
            Event::ImageIsGood => self.bad_image = false,
            Event::Cut(host) => {
                if let Some(link) = self.hosts[host].link {
                    self.close(link);
                }
            }
            Event::Rouse(member) => self.rouse(member),
            Event::Die(member) => self.die(member),
            Event::Begin => self.begin(),
        }
    }

    /// Something for a mind: all of one tick comes at once, as an agent's loop takes it in.
    pub fn hand(&mut self, host: usize, slot: Slot, life: u64, input: Input) {
        self.handed.entry((host, slot, life)).or_default().push(input);
    }

    /// The beats of every host that reaches the controller, once an interval.
    fn beats(&mut self) -> Vec<Beat> {
        if self.now < self.next_beat {
            return Vec::new();
        }
        self.next_beat = self.now + self.policy().beat;
        if self.cell.is_none() {
            return Vec::new();
        }
        let mut beats = Vec::with_capacity(self.hosts.len());
        let mut late = Vec::new();
        for (n, host) in self.hosts.iter_mut().enumerate() {
            let Some(link) = host.link.filter(|_| host.on && host.agent && host.side == 0) else {
                continue;
            };
            if host.welcome.is_none() {
                continue;
            }
            host.beats += 1;
            let marks = &host.marks;
            let of = || evenkeel_core::report::digest_of(marks.values().copied());
            let digest = *host.digest.get_or_insert_with(of);
            let beat = Beat { link, number: host.beats, digest, answer: false };
            match host.is_prompt(self.now, self.tick) {
                true => beats.push(beat),
                false => late.push((n, beat)),
            }
        }
        late.into_iter().for_each(|(n, beat)| self.send(n, Entry::Beats(vec![beat])));
        beats
    }

    fn turn(&mut self, inbox: &[Entry]) {
        let Some(cell) = self.cell.as_mut() else { return };
        let Turn { mut writes, sends, wake_at, edges } = cell.turn(self.now, inbox);
        self.tally.counts.edges.take(&edges);
        self.wake = wake_at.map(|at| at.max(self.now + self.tick));
        let of_incidents = writes.rows.iter().any(|write| write.key.table == Table::Incident);
        let standings = of_incidents.then(|| cell.standings());
        self.tally.turn(&writes, &sends);
        if !self.takes_records && !writes.is_empty() {
            // What is not recorded is not done: its shell halts, and is started again until it can go on.
            return self.halt(None);
        }
        if self.store.is_some() && !writes.is_empty() {
            self.keep(&mut writes.rows, &writes.journal);
        }
        if let Some(store) = self.store.as_mut().filter(|_| !writes.is_empty()) {
            store.commit(self.setup.cell, &writes).expect("memory does not fail");
        }
        for entry in &writes.journal {
            self.tally.recorded(self.now, entry);
            self.hold_to_budgets(entry);
            if entry.topic == Topic::Decision {
                self.tally.decided(&entry.text);
            }
        }
        for send in sends {
            self.carry(send);
        }
        if standings.is_some() {
            self.standings = standings;
        }
    }

    fn carry(&mut self, send: Send) {
        match send {
            Send::Agent { link, message } => {
                let Some(&host) = self.links.get(&link) else { return };
                let reached = &self.hosts[host];
                if reached.link == Some(link) && reached.on && reached.agent && reached.side == 0 {
                    if self.budgets.sent(host, &message) {
                        self.hold(Invariant::BudgetsKept, self.budgets.hold_jobs(&self.allowed));
                    }
                    self.reach(host, link, message);
                }
            }
            Send::Gateway { message, .. } => self.route(message),
            Send::Close { link } => self.close(link),
            Send::Alert(delivery) => self.deliveries.push(delivery),
            // What was refused is not there, and is missed in the end.
            Send::Reply { .. } => {}
        }
    }

    /// What begins is within its budgets.
    fn hold_to_budgets(&mut self, entry: &journal::Entry) {
        let (cell, now) = (self.cell.as_ref(), self.now);
        let place = |name: &str| {
            let cell = cell?;
            let host = cell.service(name, now)?.members.first()?.host.clone();
            let zone = cell.host(&host, now)?.zone;
            Some((host, zone))
        };
        let rules = (&self.allowed, &*self.setup.remedies);
        if let Some(said) = self.budgets.recorded(entry, rules, place) {
            self.hold(Invariant::BudgetsKept, said);
        }
    }

    /// Something was looked at.
    pub fn hold(&mut self, invariant: Invariant, said: Result<(), String>) {
        self.tally.check(invariant);
        if let Err(what) = said {
            self.tally.broke(invariant, what);
        }
    }

    /// A message arrives at an agent.
    pub fn hear(&mut self, host: usize, message: ToAgent) {
        match message {
            ToAgent::Goals { whole, goals } => self.take_goals(host, whole, goals),
            ToAgent::SendAll => self.report_all(host),
            ToAgent::Ask(questions) => {
                questions.iter().for_each(|question| self.look(host, question));
            }
            ToAgent::Welcome { host: id, .. } => {
                self.hosts[host].id = id;
                self.hosts[host].welcome = Some(Box::new(message.clone()));
                self.tell_minds(host, &Input::Message(message));
            }
            ToAgent::Heard { .. } => self.tell_minds(host, &Input::Message(message)),
            ToAgent::Poolers { .. } | ToAgent::Show { .. } | ToAgent::Refused { .. } => {}
        }
    }

    /// A witness looks.
    fn look(&mut self, from: usize, question: &Question) {
        let sight = self.sight(from, question.port);
        let (sight, took) = match sight {
            Sight::Answered | Sight::Refused => {
                let there = self.ports.get(&question.port).and_then(|id| self.member(*id));
                let way = there.map_or(Span(0), |member| self.way(from, member.host));
                let took = Span::millis(3) + way.times(2);
                let seen = if took <= question.patience { sight } else { Sight::Silent };
                (seen, took.min(question.patience))
            }
            Sight::Silent | Sight::Unreachable => (sight, question.patience),
        };
        let delay = self.hosts[from].delay;
        let Some(link) = self.hosts[from].link else { return };
        let answer = Answer { id: question.id, member: question.member, sight };
        let message = FromAgent::Answers(vec![answer]);
        self.at(took + delay, Event::ToCell(Box::new(Entry::Agent { link, message })));
    }

    fn sight(&self, from: usize, port: u16) -> Sight {
        let Some(member) = self.ports.get(&port).and_then(|id| self.member(*id)) else {
            return Sight::Refused;
        };
        let host = &self.hosts[member.host];
        match member.server.process {
            _ if !host.on => Sight::Unreachable,
            _ if !self.reaches(from, member.host) => Sight::Silent,
            Process::Running { .. } => Sight::Answered,
            Process::Frozen { .. } => Sight::Silent,
            Process::None | Process::Leftovers { .. } => Sight::Refused,
        }
    }

    /// Routes arrive at the gateway. Clients are led to nobody who follows.
    fn route(&mut self, message: ToGateway) {
        let ToGateway::Routes { routes, changed, .. } = message else { return };
        for route in &changed {
            let Some(target) = route.leads_to() else { continue };
            self.tally.check(Invariant::OneWriter);
            let server = self.member(target.member).map(|member| &member.server);
            let part = server.and_then(|server| server.part.as_deref());
            if part.is_some_and(|part| part.standby && server.is_some_and(|s| s.runs(self.now))) {
                let text = format!("clients of {} are led to a standby", route.name);
                self.tally.broke(Invariant::OneWriter, text);
            }
        }
        let message = FromGateway::Took { routes, failed: Vec::new() };
        self.tell(Entry::Gateway { link: GATEWAY, message });
    }

    /// An agent opens its stream.
    pub fn dial(&mut self, n: usize) {
        let host = &self.hosts[n];
        if host.link.is_some() || !host.on || !host.agent {
            return;
        }
        if !self.hears(n) || self.cell.is_none() {
            return self.at(REDIAL, Event::Dial(n));
        }
        self.link += 1;
        let link = Link(self.link);
        self.links.insert(link, n);
        let host = &mut self.hosts[n];
        (host.link, host.beats) = (Some(link), 0);
        let message = FromAgent::Hello(hello(host, self.number));
        self.send(n, Entry::Agent { link, message });
        self.tell_minds(n, &Input::Opened);
        self.report_all(n);
    }

    /// An agent's stream ended, and both sides know.
    pub fn close(&mut self, link: Link) {
        let Some(n) = self.links.remove(&link) else { return };
        if self.hosts[n].link == Some(link) {
            self.send(n, Entry::AgentClosed { link });
            self.lose(n);
        }
    }

    /// An agent has no stream any more.
    pub fn lose(&mut self, n: usize) {
        self.budgets.lost(n);
        if let Some(link) = self.hosts[n].link.take() {
            self.links.remove(&link);
            self.hosts[n].welcome = None;
            self.tell_minds(n, &Input::Closed);
            let jitter = Span(self.chance.below(REDIAL.0));
            self.at(REDIAL + jitter, Event::Dial(n));
        }
    }

    /// A person or program orders something.
    pub fn order(&mut self, order: Order) {
        self.tell(Entry::Order { ticket: 0, by: "somebody".to_owned(), order });
    }

    /// The controller's process ends, and begins again after a while.
    pub fn kill_controller(&mut self, away: Option<Span>) {
        self.hold_to_records();
        self.halt(away);
    }

    fn halt(&mut self, away: Option<Span>) {
        if self.cell.take().is_none() {
            return;
        }
        (self.wake, self.due) = (None, None);
        self.inbox.clear();
        for n in 0..self.hosts.len() {
            self.lose(n);
        }
        self.at(away.unwrap_or(RESTART), Event::Begin);
    }

    /// A controller begins with what is recorded.
    fn begin(&mut self) {
        let Some(store) = &self.store else { return };
        if !self.takes_records {
            return self.at(RESTART, Event::Begin);
        }
        self.tally.check(Invariant::ControllersGoOn);
        let rows = store.load_cell(self.setup.cell).expect("memory does not fail");
        match Cell::load(self.setup.clone(), &rows) {
            Ok(mut cell) => {
                cell.equip(evenkeel_kinds::procedures::bundled());
                self.cell = Some(cell);
            }
            Err(error) => {
                let text = format!("what was recorded cannot be loaded: {error}");
                self.tally.broke(Invariant::ControllersGoOn, text);
            }
        }
        self.greet();
        self.wake = Some(self.now + Span(1));
    }

    /// The gateway dials, as it does whenever a controller begins, and that is told whom to tell.
    pub fn greet(&mut self) {
        let message = FromGateway::Hello {
            gateway: "g".to_owned(),
            address: "127.0.0.1".to_owned(),
            pid: 1,
            routes: 0,
        };
        self.tell(Entry::Gateway { link: GATEWAY, message });
        self.tell(Entry::Chain(self.chain.clone()));
    }

    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(place(id.0))?.as_ref()
    }

    pub fn member_mut(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.get_mut(place(id.0))?.as_mut()
    }

    /// A goal is what it says, however often it is sent.
    pub fn hold_to_goal(&mut self, goal: &Goal, version: (Term, Revision), same: bool) {
        self.tally.check(Invariant::GoalsAreSettled);
        if (goal.term, goal.revision) == version && !same {
            let text = format!("{} has two goals {}/{}", goal.member, goal.term, goal.revision);
            self.tally.broke(Invariant::GoalsAreSettled, text);
        }
    }
}

/// A tick of a scenario that lasts so long.
pub(super) fn tick(lasts: Span) -> Span {
    if lasts < super::HOURS { TICK } else { TICK_LONG }
}

/// Where an id is among its cell's: each has a range of its own.
pub(super) fn place(id: u32) -> usize {
    (id.saturating_sub(1) % IDS_PER_CELL) as usize
}

fn fresh(setup: &Setup) -> Cell {
    let mut cell = Cell::new(setup.clone());
    cell.equip(evenkeel_kinds::procedures::bundled());
    cell
}

pub(super) fn hello(host: &Host, cell: u32) -> Hello {
    Hello {
        host: host.name.clone(),
        zone: super::ZONES[host.zone % super::ZONES.len()].to_owned(),
        rack: host.rack.clone(),
        address: "127.0.0.1".to_owned(),
        pid: 1,
        boot: format!("boot {cell}.{}", host.boots),
        release: "sim".to_owned(),
        image: Some(host.image.to_owned()),
        version: None,
        store: None,
        checks: Vec::new(),
        poolers: false,
    }
}
