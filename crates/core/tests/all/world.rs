//! A small modelled world around a real cell: hosts with obedient agents, one gateway, a store.
//!
//! Agents here obey at once or not at all; the simulator runs the real reconciler instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel_core::agent::{Begun, Stored};
use evenkeel_core::alert::{Delivery, Receipt, Told as AlertTold};
use evenkeel_core::backup::job::{self, Backup, Done, Job, Missed, Proof, What};
use evenkeel_core::backup::lineage::BackupId;
use evenkeel_core::backup::retention::Keep;
use evenkeel_core::cell::{Cell, Entry, Link, Send, Setup, Turn};
use evenkeel_core::check::Check;
use evenkeel_core::goal::{Applied, Goal, Login, Password, Role, StoreId, Want, accept};
use evenkeel_core::id::{CellId, MemberId, ServiceId, Term};
use evenkeel_core::import::{Chosen, Method, Stage, Told};
use evenkeel_core::incident::chain::Step;
use evenkeel_core::kind::{Kind, Loss, Plan};
use evenkeel_core::label::Label;
use evenkeel_core::member;
use evenkeel_core::moment::Moment;
use evenkeel_core::operation;
use evenkeel_core::order::{Accepted, Error, Order};
use evenkeel_core::policy::Policy;
use evenkeel_core::procedure::Ran;
use evenkeel_core::promise::{Copy, Position, Recruit};
use evenkeel_core::remedy::{Budget, Condition, Course, Guard, Level, Remedies, Remedy};
use evenkeel_core::report::{self, Answer, FromAgent, Hello, Member, Sender, Sight, ToAgent};
use evenkeel_core::route::{self, FromGateway, Route, ToGateway};
use evenkeel_core::row::Key;
use evenkeel_core::service::State;
use evenkeel_core::succession::Allegiance;
use evenkeel_core::time::{Span, Time};
use evenkeel_core::view;

/// A kind written for these tests, through its own room only.
pub struct Toy;

impl Kind for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }
    fn summary(&self) -> &'static str {
        "a kind for tests"
    }
    fn plans(&self) -> &'static [Plan] {
        const PLANS: &[Plan] = &[
            DEV,
            PAIR,
            Plan { name: "kept", keep: Some(KEEP), ..PAIR },
            Plan { name: "loose", acks: 0, loss: Some(LOSS), ..PAIR },
        ];
        const LOSS: Loss = Loss { bytes: 16 << 20, fence: Span::secs(5) };
        const PAIR: Plan = Plan { name: "pair", members: 2, acks: 1, fast: true, ..DEV };
        const KEEP: Keep = Keep { count: 1, window: Span(0) };
        const DEV: Plan = Plan {
            name: "dev",
            summary: "one member",
            members: 1,
            acks: 0,
            loss: None,
            fast: false,
            memory_mib: 1,
            connections_max: 10,
            pool: None,
            keep: None,
        };
        PLANS
    }
    fn replication(&self, _: &[u8], copy: Copy) -> Option<(Login, Password)> {
        let role = format!("copy_{copy}");
        Some((Login { role, verifier: String::new() }, Password(String::new())))
    }
    fn leaves_out(&self, plan: &Plan) -> BTreeMap<State, State> {
        let out = (!plan.archives()).then_some((State::Archived, State::Retired));
        out.into_iter().collect()
    }
    fn settings(&self, _: &Plan) -> Arc<BTreeMap<String, String>> {
        Arc::default()
    }
    fn scheme(&self) -> &'static str {
        "toy"
    }
    fn greeting(&self) -> (&'static [u8], &'static [u8]) {
        (b"hello", b"h")
    }
    fn checks(&self) -> &'static [&'static dyn Check] {
        crate::findings::CHECKS
    }
}

/// The remedies of tests.
pub fn remedies() -> Arc<Remedies> {
    let all = vec![
        remedy("restart", Condition::MemberDied, operation::Kind::Restart),
        remedy("crash-loop", Condition::CrashLooping, operation::Kind::Recover),
        remedy("hung", Condition::Hung, operation::Kind::Recover),
        remedy("failover", Condition::PrimaryLost, operation::Kind::Failover),
        often(remedy("relax", Condition::SetLacks, operation::Kind::Relax)),
        often(remedy("restore", Condition::StandbyUncounted, operation::Kind::Restore)),
        remedy("rejoin", Condition::MemberWaits, operation::Kind::Rejoin),
        Remedy {
            guard: Guard::new("'stuck' in findings && findings['stuck'].seconds >= 100")
                .expect("sound"),
            ..remedy("unstick", Condition::None, operation::Kind::Restart)
        },
        // It cannot be asked about what it is for.
        Remedy {
            guard: Guard::new("'vague' in findings && findings['other'].seconds > 3")
                .expect("sound where there are no findings"),
            ..remedy("vague", Condition::None, operation::Kind::Restart)
        },
    ];
    Arc::new(Remedies::new(all).expect("named apart"))
}

fn remedy(name: &str, condition: Condition, operation: operation::Kind) -> Remedy {
    let (window, cooldown) = (Span::mins(10), Span::secs(30));
    Remedy {
        name: name.into(),
        doc: "For tests.".to_owned(),
        guard: Guard::at(condition),
        held_in: Vec::new(),
        course: Course::Operation(operation),
        budget: Budget { tries_max: 3, window, cooldown, fleet_max: None },
        level: Level::Auto,
        manual_minutes: 1,
    }
}

/// One that may run as often as the bundled ones for standbys.
fn often(remedy: Remedy) -> Remedy {
    let budget =
        Budget { tries_max: 200, window: Span::mins(60), cooldown: Span::secs(1), ..remedy.budget };
    Remedy { budget, ..remedy }
}

/// A host's agent: obeys at once while it works.
#[derive(Clone)]
pub struct Agent {
    pub name: String,
    pub zone: String,
    pub rack: Option<String>,
    /// The image that new members run from, and the release in it.
    pub image: (String, Option<String>),
    pub alive: bool,
    pub works: bool,
    /// What becomes of its jobs; `None`: they go on.
    pub jobs: Option<Result<(), String>>,
    /// Whether it can remove what is past its time.
    pub expires: bool,
    /// Whether it has archived all that its goals ask it to.
    pub flushes: bool,
    /// What its members could not store where others took it.
    pub misses: Vec<Missed>,
    /// Its host loses its power before it hears a goal that wants this.
    pub dies_of: Option<Want>,
    /// Whether its primaries' standbys receive anything, and how far behind they are.
    pub feeds: (bool, u64),
    pub link: Option<Link>,
    pub beats: u64,
    /// Whom it obeys.
    pub store: Option<Allegiance>,
    pub goals: BTreeMap<MemberId, Goal>,
    pub members: BTreeMap<MemberId, Member>,
}

/// How an alert channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Confirms,
    Refuses,
    Hangs,
}

/// The world.
#[derive(Clone)]
pub struct World {
    pub cell: Cell,
    /// The store it records in.
    pub cell_store: StoreId,
    pub now: Time,
    pub rows: BTreeMap<Key, Vec<u8>>,
    pub journal: Vec<String>,
    pub agents: Vec<Agent>,
    pub gateway: Option<Link>,
    pub routes: BTreeMap<ServiceId, Route>,
    pub inbox: Vec<Entry>,
    pub replies: Vec<Result<Accepted, Error>>,
    /// What witnesses see of every member, while they can see.
    pub sight: Sight,
    /// What they see of some members alone.
    pub sights: BTreeMap<MemberId, Sight>,
    pub links: u64,
    pub wake_at: Option<Time>,
    /// Every goal ever sent, to hold the protocol's promise against.
    pub sent: BTreeMap<(MemberId, Term, u32), Goal>,
    pub removed_without_order: BTreeSet<MemberId>,
    pub terminates: bool,
    /// Whom to tell of incidents.
    pub chain: Vec<Step>,
    pub channels: BTreeMap<String, Channel>,
    /// What was to be told.
    pub alerts: Vec<Delivery>,
    /// The rules, and with them how finely time passes: half a beat.
    pub policy: Policy,
}

/// What the fleet's key gives.
pub fn key() -> Password {
    Password("the fleet's".to_owned())
}

pub fn setup() -> Setup {
    setup_with(Policy::default())
}

pub fn setup_with(policy: Policy) -> Setup {
    Setup {
        cell: CellId(1),
        store: StoreId("store".into()),
        policy,
        kinds: &[&Toy],
        remedies: remedies(),
    }
}

impl World {
    pub fn new(hosts: usize) -> Self {
        Self::with(hosts, Policy::default())
    }

    pub fn with(hosts: usize, policy: Policy) -> Self {
        let agent = |n: usize| Agent {
            name: format!("h{}", n + 1),
            zone: ["a", "b", "c"][n % 3].to_owned(),
            rack: None,
            image: ("image".to_owned(), None),
            alive: true,
            works: true,
            jobs: Some(Ok(())),
            expires: true,
            flushes: true,
            misses: Vec::new(),
            dies_of: None,
            feeds: (true, 0),
            link: None,
            beats: 0,
            store: None,
            goals: BTreeMap::new(),
            members: BTreeMap::new(),
        };
        let mut world = Self {
            cell: Cell::new(setup_with(policy.clone())),
            cell_store: setup().store,
            now: Time(1000),
            rows: BTreeMap::new(),
            journal: Vec::new(),
            agents: (0..hosts).map(agent).collect(),
            gateway: None,
            routes: BTreeMap::new(),
            inbox: Vec::new(),
            replies: Vec::new(),
            sight: Sight::Answered,
            sights: BTreeMap::new(),
            links: 0,
            wake_at: None,
            sent: BTreeMap::new(),
            removed_without_order: BTreeSet::new(),
            terminates: false,
            chain: Vec::new(),
            channels: BTreeMap::new(),
            alerts: Vec::new(),
            policy,
        };
        world.cell.entrust(key());
        world.dial();
        world.turn();
        world
    }

    fn link(&mut self) -> Link {
        self.links += 1;
        Link(self.links)
    }

    /// Everybody who lives and has no stream dials in.
    pub fn dial(&mut self) {
        for at in 0..self.agents.len() {
            if !self.agents[at].alive || self.agents[at].link.is_some() {
                continue;
            }
            let link = self.link();
            let agent = &mut self.agents[at];
            agent.link = Some(link);
            let hello = Hello {
                host: agent.name.clone(),
                zone: agent.zone.clone(),
                rack: agent.rack.clone(),
                address: "127.0.0.1".into(),
                pid: 1,
                boot: "b".into(),
                release: "0".into(),
                image: Some(agent.image.0.clone()),
                version: agent.image.1.clone(),
                store: agent.store.as_ref().map(|s| (s.store.clone(), s.sequence)),
                checks: Vec::new(),
                poolers: false,
            };
            self.inbox.push(Entry::Agent { link, message: FromAgent::Hello(hello) });
            let members = agent.members.values().cloned().collect();
            let message = FromAgent::members(true, members);
            self.inbox.push(Entry::Agent { link, message });
        }
        if self.gateway.is_none() {
            let link = self.link();
            self.gateway = Some(link);
            let message = FromGateway::Hello {
                gateway: "g1".into(),
                address: "127.0.0.1".into(),
                pid: 2,
                routes: 0,
            };
            self.inbox.push(Entry::Gateway { link, message });
        }
    }

    pub fn order(&mut self, order: Order) -> Result<Accepted, Error> {
        self.terminates |= matches!(order, Order::Terminate { .. });
        self.inbox.push(Entry::Order { ticket: 1, by: "test".into(), order });
        self.turn();
        self.replies.pop().expect("every order is answered in its turn")
    }

    /// Turns until nothing is left to say.
    pub fn turn(&mut self) {
        loop {
            let inbox = std::mem::take(&mut self.inbox);
            let busy = self.busy();
            let turn = self.cell.turn(self.now, &inbox);
            self.record(&turn);
            self.look_at_endpoints(&busy);
            self.wake_at = turn.wake_at;
            turn.sends.into_iter().for_each(|send| self.deliver(send));
            if self.inbox.is_empty() {
                return;
            }
        }
    }

    fn record(&mut self, turn: &Turn) {
        for write in &turn.writes.rows {
            match &write.body {
                Some(body) => self.rows.insert(write.key, body.clone()),
                None => self.rows.remove(&write.key),
            };
        }
        let line = |e: &evenkeel_core::journal::Entry| format!("{}: {}", e.subject, e.text);
        self.journal.extend(turn.writes.journal.iter().map(line));
    }

    /// Services with an operation under way.
    fn busy(&self) -> Vec<ServiceId> {
        let services = self.cell.services(self.now).into_iter();
        services.filter(|service| service.operation.is_some()).map(|service| service.id).collect()
    }

    /// Who waits for an operation until its service is available finds its endpoint where it is said to be.
    fn look_at_endpoints(&self, before: &[ServiceId]) {
        let services = self.cell.services(self.now);
        let ended = |s: &&view::Service| before.contains(&s.id) && s.operation.is_none();
        for service in services.iter().filter(ended).filter(|s| s.state == State::Available) {
            let (id, port) = (service.id, service.endpoint_port);
            let open = self.routes.get(&id).is_some_and(|route| route.port == port);
            assert!(open, "{}: port {port}: {:?}", service.name, self.routes);
        }
    }

    fn deliver(&mut self, send: Send) {
        match send {
            Send::Agent { link, message } => self.agent_hears(link, message),
            Send::Gateway { link, message: ToGateway::Routes { routes, whole, changed, gone } } => {
                if self.gateway == Some(link) {
                    route::merge(&mut self.routes, whole, &changed, &gone);
                    let message = FromGateway::Took { routes, failed: Vec::new() };
                    self.inbox.push(Entry::Gateway { link, message });
                }
            }
            Send::Gateway { .. } | Send::Close { .. } => {}
            Send::Alert(delivery) => self.alert(delivery),
            Send::Reply { result, .. } => self.replies.push(result),
        }
    }

    /// A channel does what it does, at once.
    fn alert(&mut self, delivery: Delivery) {
        let Delivery { number, channel, .. } = &delivery;
        let outcome = match self.channels.get(channel.as_str()) {
            Some(Channel::Confirms) => Some(Ok(Receipt { text: "taken".to_owned() })),
            Some(Channel::Refuses) => Some(Err("not now".to_owned())),
            Some(Channel::Hangs) | None => None,
        };
        let number = *number;
        self.inbox.extend(outcome.map(|outcome| Entry::Told(AlertTold::new(number, outcome))));
        self.alerts.push(delivery);
    }

    /// The chain: these channels, in order, a minute each.
    pub fn channels(&mut self, channels: &[(&str, Channel)]) {
        let step = |name: &str| Step {
            channel: Label::new(name).expect("a label"),
            ack_within: Span::mins(1),
        };
        self.chain = channels.iter().map(|(name, _)| step(name)).collect();
        self.channels = channels.iter().map(|(name, is)| ((*name).to_owned(), *is)).collect();
        self.inbox.push(Entry::Chain(self.chain.clone()));
        self.turn();
    }

    fn agent_hears(&mut self, link: Link, message: ToAgent) {
        let Some(at) = self.agents.iter().position(|a| a.link == Some(link)) else { return };
        let agent = &mut self.agents[at];
        if let ToAgent::Goals { goals, .. } = &message {
            agent.alive &= !goals.iter().any(|goal| Some(goal.want) == agent.dies_of);
        }
        if !agent.alive {
            return;
        }
        match message {
            ToAgent::Goals { whole, goals } => self.take_goals(at, whole, goals),
            ToAgent::SendAll => {
                let members = self.agents[at].members.values().cloned().collect();
                let message = FromAgent::members(true, members);
                self.inbox.push(Entry::Agent { link, message });
            }
            ToAgent::Ask(questions) => {
                let answer = |q: report::Question| {
                    let sight = self.sights.get(&q.member).copied().unwrap_or(self.sight);
                    Answer { id: q.id, member: q.member, sight }
                };
                let answers = questions.into_iter().map(answer).collect();
                self.inbox.push(Entry::Agent { link, message: FromAgent::Answers(answers) });
            }
            ToAgent::Welcome { host, store: (store, sequence), seal, succession, .. } => {
                let new = || Allegiance::from((store.clone(), sequence));
                let mine = self.agents[at].store.get_or_insert_with(new);
                let follows = mine.follows(&store, sequence, succession.as_ref());
                follows.expect("whoever is welcomed follows");
                mine.take(&store, sequence, host, seal.as_ref());
            }
            ToAgent::Show { store, succession } => {
                let mine = self.agents[at].store.as_ref().expect("asked of whom it succeeds");
                let message = match mine.believes(&store, Some(&succession)) {
                    Ok(()) => FromAgent::Kept(kept(&self.agents[at])),
                    Err(refused) => FromAgent::Unconvinced { reason: refused.to_string() },
                };
                self.inbox.push(Entry::Agent { link, message });
            }
            ToAgent::Refused { .. } | ToAgent::Heard { .. } | ToAgent::Poolers { .. } => {}
        }
    }

    fn take_goals(&mut self, at: usize, whole: bool, goals: Vec<Arc<Goal>>) {
        for goal in &goals {
            if goal.want == Want::Removed && !self.terminates {
                self.removed_without_order.insert(goal.member);
            }
            let key = (goal.member, goal.term, goal.revision.0);
            let known = self.sent.entry(key).or_insert_with(|| Goal::clone(goal));
            assert_eq!(*known, **goal, "one (term, revision) has one content");
            let applied = self.agents[at].goals.get(&goal.member).map(applied);
            accept(applied.as_ref(), goal).expect("nothing is ordered that is not obeyed");
        }
        let agent = &mut self.agents[at];
        if whole {
            let named: BTreeSet<MemberId> = goals.iter().map(|g| g.member).collect();
            agent.goals.retain(|id, _| named.contains(id));
            agent.members.retain(|id, m| named.contains(id) || m.state != member::State::Gone);
        }
        agent.goals.extend(goals.into_iter().map(|g| (g.member, Goal::clone(&g))));
        self.obey(at);
    }

    /// A working agent reaches its goals; a failing one says what it is stuck at.
    pub fn obey(&mut self, at: usize) {
        let (now, agent) = (self.now, &mut self.agents[at]);
        let Some(link) = agent.link.filter(|_| agent.alive) else { return };
        let mut changed = Vec::new();
        for goal in agent.goals.values() {
            let mut new = match agent.works {
                true => Member { archive: jobs(goal, agent, now), ..reached(goal) },
                false => stuck(goal, agent.members.get(&goal.member)),
            };
            let senders = new.replication.iter_mut().flat_map(|r| r.senders.iter_mut());
            senders.for_each(|s| (s.streaming, s.lag_bytes) = agent.feeds);
            if let Some(before) = agent.members.get(&goal.member) {
                new.checks.clone_from(&before.checks);
                new.unread.clone_from(&before.unread);
            }
            if agent.members.get(&goal.member) != Some(&new) {
                agent.members.insert(goal.member, new.clone());
                changed.push(new);
            }
        }
        if !changed.is_empty() {
            let message = FromAgent::members(false, changed);
            self.inbox.push(Entry::Agent { link, message });
        }
    }

    /// Sets what an agent reports of its first member.
    pub fn report(&mut self, at: usize, state: member::State) {
        let agent = &mut self.agents[at];
        let Some(link) = agent.link else { return };
        let Some(member) = agent.members.values_mut().next() else { return };
        (member.state, member.write_proven) = (state, state == member::State::Ready);
        let message = FromAgent::members(false, vec![member.clone()]);
        self.inbox.push(Entry::Agent { link, message });
        self.turn();
    }

    /// An agent reports all of its members anew, changed like this.
    pub fn report_all(&mut self, at: usize, change: impl Fn(&mut Member)) {
        let agent = &mut self.agents[at];
        let Some(link) = agent.link else { return };
        agent.members.values_mut().for_each(change);
        let members = agent.members.values().cloned().collect();
        let message = FromAgent::members(false, members);
        self.inbox.push(Entry::Agent { link, message });
        self.turn();
    }

    /// Agents dial anew, with what they say of their hosts now.
    pub fn redial(&mut self) {
        self.agents.iter_mut().for_each(|agent| agent.link = None);
        self.dial();
        self.turn();
    }

    /// The agent process dies: its stream closes, its members stay.
    pub fn kill_agent(&mut self, at: usize) {
        self.agents[at].alive = false;
        if let Some(link) = self.agents[at].link.take() {
            self.inbox.push(Entry::AgentClosed { link });
        }
        self.turn();
    }

    /// Another controller starts from the rows.
    pub fn restart_controller(&mut self) {
        let rows: Vec<_> = self.rows.iter().map(|(k, v)| (*k, v.clone())).collect();
        self.cell = Cell::load(setup_with(self.policy.clone()), &rows)
            .expect("what was recorded can be loaded");
        self.cell.entrust(key());
        self.agents.iter_mut().for_each(|agent| agent.link = None);
        self.gateway = None;
        self.inbox.clear();
        self.inbox.push(Entry::Chain(self.chain.clone()));
        self.dial();
        self.turn();
    }

    /// Time passes in steps, with beats from whoever lives.
    pub fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + Span(self.policy.beat.0 / 2);
            self.dial();
            let mut beats = Vec::new();
            for agent in self.agents.iter_mut().filter(|a| a.alive) {
                let Some(link) = agent.link else { continue };
                agent.beats += 1;
                let digest = report::digest(agent.members.values());
                beats.push(evenkeel_core::cell::Beat {
                    link,
                    number: agent.beats,
                    digest,
                    answer: false,
                });
            }
            self.inbox.push(Entry::Beats(beats));
            self.turn();
        }
    }

    pub fn service(&self) -> Option<view::Service> {
        self.cell.services(self.now).into_iter().next()
    }

    pub fn state(&self) -> State {
        self.service().map_or(State::Terminated, |s| s.state)
    }

    /// On which agent the first service's member lies.
    pub fn home(&self) -> usize {
        let host = &self.service().expect("a service").members[0].host;
        self.agents.iter().position(|a| a.name == *host).expect("its host is in the world")
    }

    pub fn create(&mut self, name: &str) -> Result<Accepted, Error> {
        self.create_as(name, None)
    }

    pub fn create_as(&mut self, name: &str, plan: Option<&str>) -> Result<Accepted, Error> {
        let (kind, plan, secret) = ("toy".to_owned(), plan.map(str::to_owned), Vec::new());
        self.order(Order::Create { name: name.to_owned(), kind, plan, secret, keys: None })
    }

    pub fn said(&self, text: &str) -> bool {
        self.journal.iter().any(|line| line.contains(text))
    }
}

/// What an import came to: one from a host named "wrong" fails for good.
fn importing(goal: &Goal) -> Option<Box<Told>> {
    let import = goal.import.as_ref()?;
    let failed = import.source.host == "wrong";
    let chosen = Chosen { method: Method::Dump, why: "it is asked for".to_owned() };
    Some(Box::new(Told {
        stage: Stage::Done,
        chosen: Some(chosen).filter(|_| !failed),
        changes: vec!["role boss is no superuser any more".to_owned()],
        failed: failed.then(|| "password authentication failed".to_owned()),
        ..Told::default()
    }))
}

/// What is on a host's disk of a goal that was reached.
fn applied(goal: &Goal) -> Applied {
    Applied { incarnation: goal.incarnation, pledged: goal.term, goal: goal.clone().into() }
}

/// What a host shows to a successor.
pub fn kept(agent: &Agent) -> report::Kept {
    let mine = agent.store.as_ref().expect("it obeys somebody");
    let stored =
        |goal: &Goal| Stored { applied: applied(goal), ..Stored::first(goal.clone().into()) };
    report::Kept {
        store: mine.store.clone(),
        past: mine.past.clone(),
        host: mine.host,
        members: agent.goals.values().map(stored).collect(),
        poolers: Vec::new(),
    }
}

/// A member's part, done at once. All logs are of one length.
fn part(goal: &Goal) -> Option<Box<report::Replication>> {
    let none = report::Replication::default();
    let part = match &goal.role {
        Role::Primary { change, followers, .. } => report::Replication {
            confirmed: Some((goal.term, *change)),
            promoted: Some(goal.term),
            senders: followers
                .iter()
                .map(|f| Sender { copy: f.copy, streaming: true, lag_bytes: 0 })
                .collect(),
            ..none
        },
        Role::Standby { .. } => report::Replication { streams: true, ..none },
        Role::Recruit => {
            let (copy, history) = (goal.copy(), Term(0));
            let recruit = Recruit { copy, history, flushed: Position(1) };
            report::Replication { recruited: Some((goal.term, recruit)), ..none }
        }
    };
    (goal.identity.members.len() > 1).then(|| Box::new(part))
}

/// What comes of a script is said by its text.
fn scripted(goal: &Goal) -> Option<Box<Begun>> {
    let script = goal.script.as_ref()?;
    let failed = Ran::failed("it was not to be");
    let ran = match script.code.text.as_str() {
        "ok" => Some(Ran { ok: true, text: "done".to_owned(), ..failed }),
        "wait" => None,
        _ => Some(failed),
    };
    Some(Box::new(Begun { id: script.id, ran }))
}

/// What a member's agent says of its archive, and of its job.
fn jobs(goal: &Goal, agent: &Agent, now: Time) -> Option<Box<report::Archive>> {
    goal.archive.as_ref()?;
    let at = Moment::of_millis(now.0);
    let done = |job: &Job| match &job.what {
        What::Backup { .. } => Done::Backup(Backup {
            id: BackupId(job.id),
            begun: at,
            ended: at,
            from: Position(1),
            to: Position(1),
            timeline: 1,
            bytes: 1,
            stored: 1,
            repositories: vec!["north".to_owned()],
        }),
        What::Prove(seed) | What::Last(seed) => Done::Proof(Proof {
            backup: seed.backup.expect("it is named"),
            begun: at,
            restore_ms: 1,
            canary: None,
            relations: 1,
            wrong: Vec::new(),
        }),
        What::Expire { .. } => Done::Expired { objects: 0 },
        What::Even => Done::Evened { objects: 0 },
        What::GiveUp => Done::GaveUp { bytes: 0 },
    };
    let job = goal.job.as_deref().zip(agent.jobs.as_ref()).map(|(job, end)| job::Told {
        id: job.id,
        outcome: match &job.what {
            What::Expire { .. } if !agent.expires => Err("a repository is away".to_owned()),
            _ => end.clone().map(|()| done(job)),
        },
    });
    let missed = agent.misses.clone();
    let flushed = if agent.flushes { goal.flush } else { 0 };
    Some(Box::new(report::Archive { job, flushed, missed, ..Default::default() }))
}

fn reached(goal: &Goal) -> Member {
    let leads = matches!(goal.role, Role::Primary { .. });
    let import = importing(goal);
    let failed = import.as_ref().is_some_and(|told| told.failed.is_some());
    let state = match goal.want {
        Want::Running if failed => member::State::Failed,
        Want::Running if !leads => member::State::Following,
        Want::Running => member::State::Ready,
        Want::Stopped => member::State::Stopped,
        Want::Sealed => member::State::Sealed,
        Want::Removed => member::State::Gone,
    };
    let running = goal.want == Want::Running && !failed;
    Member {
        member: goal.member,
        incarnation: goal.incarnation,
        pledged: goal.term,
        applied: (goal.term, goal.revision),
        state,
        pid: running.then_some(100 + goal.restarts),
        restarts: goal.restarts,
        deaths: 0,
        write_proven: running && leads,
        trouble: None,
        refused: None,
        port_taken: false,
        data_dir: format!("/data/{}/pg", goal.member.0),
        checks: Vec::new(),
        unread: evenkeel_core::check::Unread::default(),
        identity: goal.identity.clone(),
        replication: part(goal),
        archive: None,
        import,
        script: scripted(goal),
    }
}

/// Every effect fails: the goal is taken and nothing comes of it.
fn stuck(goal: &Goal, before: Option<&Member>) -> Member {
    let state = before.map_or(member::State::Absent, |m| m.state);
    let trouble = Some("nothing works here".to_owned());
    let write_proven = before.is_some_and(|m| m.write_proven);
    let pid = before.and_then(|m| m.pid);
    Member {
        state,
        trouble,
        write_proven,
        pid,
        restarts: 0,
        replication: None,
        script: None,
        ..reached(goal)
    }
}

/// A label, for tests that name remedies.
#[allow(dead_code, reason = "not every test file names one")]
pub fn label(text: &str) -> Label {
    Label::new(text).expect("a short text")
}
