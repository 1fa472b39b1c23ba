//! The contract of drivers, played against the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::lineage::{Archive, Lineage, Location, Repository};
use evenkeel_core::contract::{self, Archives, Bench, Clock, Pair, Row, Who};
use evenkeel_core::driver::{Directory, Driver};
use evenkeel_core::goal::{
    Follower, Goal, Identity, Login, Password, RestartBudget, Role, StopMode, StoreId, Upstream,
    Want,
};
use evenkeel_core::id::{HostId, Incarnation, MemberId, Revision, ServiceId, Term};
use evenkeel_core::moment::Moment;
use evenkeel_core::name::ServiceName;
use evenkeel_core::promise::Copy;
use evenkeel_core::time::{Span, Time};

use super::{Asking, Condition, Log, Machine, open, row_at};
use crate::world::Weather;

pub(super) fn goal() -> Goal {
    Goal {
        store: StoreId("store".into()),
        succeeds: Vec::new(),
        identity: Identity {
            service: ServiceId(1),
            name: ServiceName::new("orders").expect("a good name"),
            kind: "postgres".into(),
            plan: "dev".into(),
            endpoint_port: 21_000,
            members: Vec::new(),
            key: "fleet".into(),
        }
        .into(),
        member: MemberId(1),
        incarnation: Incarnation(1),
        term: Term(1),
        revision: Revision(1),
        want: Want::Running,
        role: Role::alone(),
        image: String::new(),
        address: "127.0.0.1".into(),
        port: 21_001,
        settings: Arc::default(),
        logins: Vec::new(),
        restarts: 0,
        stop: StopMode::Fast,
        ends_soon: false,
        fence: None,
        budget: RestartBudget { tries_max: 5, window: Span::mins(10), backoff: Span(1000) },
        archive: None,
        flush: 0,
        seed: None,
        import: None,
        job: None,
        script: None,
    }
}

struct Model(Machine);

impl Clock for Model {
    fn moment(&mut self) {
        self.0.now = self.0.now + Span(5);
    }
}

impl Bench for Model {
    fn goal(&self) -> Goal {
        goal()
    }
    fn other_settings(&self) -> Arc<BTreeMap<String, String>> {
        Arc::new(BTreeMap::from([("some".to_owned(), "other".to_owned())]))
    }
    fn driver(&mut self) -> &mut dyn Driver {
        &mut self.0
    }
    fn replace_driver(&mut self) {}
    fn half_make(&mut self, goal: &Goal) {
        self.0.server(goal).directory = Directory::Partial;
    }
    fn crash(&mut self, goal: &Goal) {
        assert!(self.0.kill(goal.member));
    }
    fn freeze(&mut self, goal: &Goal, frozen: bool) {
        self.0.freeze(goal.member, frozen);
    }
    fn hold_port(&mut self, goal: &Goal, held: bool) {
        self.0.held = held.then_some(goal.port).into_iter().collect();
    }
    fn write_row(&mut self, goal: &Goal) -> bool {
        let row = self.0.server(goal).log.len() as u64;
        let now = self.0.now;
        self.0.write(goal.port, row, now).is_some()
    }
    fn rows(&mut self, goal: &Goal) -> u64 {
        self.0.server(goal).log.rows().count() as u64
    }
}

#[test]
fn the_model_keeps_the_contract_of_drivers() {
    for (seed, weather) in [(0, Weather::Steady), (1, Weather::Rough), (2, Weather::Rough)] {
        let mut model = Model(Machine::new(seed, "h1", weather));
        model.0.now = Time(1_000_000);
        contract::play(&mut model, |chapter| println!("model: {chapter}"));
    }
}

/// Two members on one modelled host.
struct Two {
    machine: Machine,
    /// Where clients wait, and for which place of the log.
    waiting: Vec<(MemberId, usize)>,
    begun: u64,
    acknowledged: u64,
}

const fn member(who: Who) -> MemberId {
    match who {
        Who::First => MemberId(1),
        Who::Second => MemberId(2),
    }
}

impl Two {
    /// What may be copied now.
    fn upstream(&self) -> Option<Log> {
        let goals = [Who::First, Who::Second].map(|who| self.goal(who));
        self.machine.servers.values().find_map(|server| {
            let Role::Primary { followers, .. } = &server.role else { return None };
            let asking = Asking {
                copy: followers.first()?.copy,
                member: followers.first()?.copy.member,
                of: server.copy?,
                port: goals
                    .iter()
                    .find(|goal| Some(goal.member) == server.copy.map(|c| c.member))?
                    .port,
            };
            self.machine.serves(&asking, self.machine.now).cloned()
        })
    }
}

impl Clock for Two {
    fn moment(&mut self) {
        let Self { machine, waiting, acknowledged, .. } = self;
        machine.now = machine.now + Span(5);
        let now = machine.now;
        let asking: Vec<Asking> = machine.asking(now);
        let served = asking.iter().filter(|asking| machine.serves(asking, now).is_some());
        let served = served.map(|asking| (asking.of.member, asking.copy)).collect();
        for asking in asking {
            let own = machine.servers.get(&asking.member);
            let more = own.and_then(|own| machine.serves(&asking, now)?.after(&own.log));
            let more = more.map(<[u64]>::to_vec);
            let flushed = machine.stream(asking.member, more.as_deref());
            machine.heard(asking.of.member, asking.copy, flushed);
        }
        machine.keep_followers(&served);
        let before = waiting.len();
        waiting.retain(|(member, length)| machine.acknowledged(*member, *length, now).is_none());
        *acknowledged += (before - waiting.len()) as u64;
    }
}

impl Pair for Two {
    fn goal(&self, who: Who) -> Goal {
        let mut goal = goal();
        (goal.member, goal.port) = (member(who), if who == Who::First { 21_001 } else { 21_002 });
        Arc::make_mut(&mut goal.identity).members =
            vec![(member(Who::First), HostId(1)), (member(Who::Second), HostId(2))];
        goal
    }
    fn following(&self, copy: Copy, of: &Goal) -> (Follower, Upstream) {
        let role = copy.to_string();
        let login = Login { role: role.clone(), verifier: String::new() };
        let upstream = Upstream {
            copy: of.copy(),
            address: of.address.clone(),
            port: of.port,
            role,
            password: Password(String::new()),
        };
        (Follower { copy, login }, upstream)
    }
    fn driver(&mut self, _who: Who) -> &mut dyn Driver {
        self.machine.upstream = self.upstream();
        &mut self.machine
    }
    fn freeze(&mut self, who: Who, frozen: bool) {
        self.machine.freeze(member(who), frozen);
    }
    fn crash(&mut self, who: Who) {
        assert!(self.machine.kill(member(who)));
        self.waiting.retain(|(at, _)| *at != member(who));
    }
    fn begin_row(&mut self, who: Who) -> bool {
        let (port, now) = (self.goal(who).port, self.machine.now);
        self.begun += 1;
        let Some(member) = self.machine.write(port, self.begun, now) else { return false };
        let length = self.machine.servers.get(&member).map_or(0, |server| server.log.len());
        self.waiting.push((member, length));
        true
    }
    fn acknowledged(&mut self) -> u64 {
        self.acknowledged
    }
    fn rows(&mut self, who: Who) -> u64 {
        self.machine.servers.get(&member(who)).map_or(0, |server| server.log.rows().count() as u64)
    }
}

#[test]
fn the_model_keeps_the_contract_of_drivers_that_replicate() {
    for (seed, weather) in [(0, Weather::Steady), (1, Weather::Rough), (2, Weather::Rough)] {
        let machine = Machine::new(seed, "h1", weather);
        let mut two = Two { machine, waiting: Vec::new(), begun: 0, acknowledged: 0 };
        two.machine.now = Time(1_000_000);
        contract::play_replication(&mut two, |chapter| println!("model: {chapter}"));
    }
}

/// A modelled host whose members archive.
struct Archiving(Machine);

impl Clock for Archiving {
    fn moment(&mut self) {
        let now = self.0.now + Span(5);
        self.0.archive(now);
    }
}

impl Archives for Archiving {
    fn goal(&self, member: u32) -> Goal {
        let mut goal = goal();
        let number = u16::try_from(member).expect("few members");
        (goal.member, goal.port) = (MemberId(member), 21_000 + number);
        Arc::make_mut(&mut goal.identity).service = ServiceId(member);
        goal
    }
    fn archive(&self, number: u32) -> Archive {
        let repository = |name: &str| {
            open(&self.0.repositories).add(name);
            let location = Location::Directory { path: format!("/{name}") };
            Repository { name: name.to_owned(), location }
        };
        Archive {
            lineage: Lineage(format!("store/1-{number}")),
            engine: Engine::Native,
            key: Password(String::new()),
            wrapped: String::new(),
            repositories: vec![repository("near"), repository("far")],
        }
    }
    fn driver(&mut self, _member: MemberId) -> &mut dyn Driver {
        &mut self.0
    }
    fn reach(&mut self, repository: &str, reached: bool) {
        let condition = if reached { Condition::Up } else { Condition::Unreachable };
        open(&self.0.repositories).become_so(repository, condition);
    }
    fn write_row(&mut self, goal: &Goal) -> Row {
        let now = self.0.now;
        self.0.write(goal.port, row_at(now), now).expect("clients are let in");
        Row { end: self.0.server(goal).log.end(), at: Moment::of_millis(now.0) }
    }
    fn rows(&mut self, goal: &Goal) -> u64 {
        self.0.server(goal).log.rows().count() as u64
    }
}

#[test]
fn the_model_keeps_the_contract_of_drivers_that_archive() {
    for seed in 0..3 {
        let mut host = Archiving(Machine::new(seed, "h1", Weather::Steady));
        host.0.now = Time(1_000_000);
        contract::play_archives(&mut host, |chapter| println!("model: {chapter}"));
        assert_eq!(host.0.broken, None);
        // The only thing that was asked for and must not be.
        let broken = open(&host.0.repositories).broken.take().expect("the newest was to expire");
        assert!(broken.contains("the newest backup expires"), "{broken}");
    }
}
