//! A fleet of a million: real cells, and the agents' real minds for every member that is not quiet, on virtual
//! time.
//!
//! Purpose: an outage that meets a whole fleet is rehearsed with the decision code that would meet it. A day is
//! simulated by turns and not by messages: beats reach a cell as one entry per window, what is written and what
//! waits for its archive are rates, with events only where something is told, and a member that is quiet costs
//! nothing. Where hours are simulated, what comes within a fifth of a second comes in one turn. Cells run on threads
//! in windows of a second or two; what they share (object storage, people) is exchanged
//! between two windows, in the order of their numbers. So one seed gives one report, whatever the threads.
//!
//! What is modelled: hosts and zones, power, partitions, agents that are stopped, servers that die, replication
//! and synchronous acknowledgement as positions, disks that fill with log, object storage that gives no answer or
//! is asked for more than it bears, alert channels and a person. What is real: the cells, the kinds, remedies,
//! claims, incidents and their chains, the agents' reconciler, their herd, their disk guard and their pace.

mod agents;
mod bounds;
mod calls;
mod clocks;
mod events;
mod faults;
mod host;
mod images;
mod ledger;
mod links;
mod outcome;
mod page;
mod people;
mod power;
mod reached;
mod replay;
mod script;
mod seat;
mod server;
mod storage;
mod tally;
mod threads;

use std::sync::Arc;

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::lineage::{Location, Repository};
use evenkeel_core::cell::{Entry, Setup};
use evenkeel_core::digest::Digest;
use evenkeel_core::goal::{Password, StoreId};
use evenkeel_core::id::{CellId, HostId};
use evenkeel_core::order::{Keys, Order};
use evenkeel_core::policy::Policy;
use evenkeel_core::time::{Span, Time};

pub use outcome::{Beside, Outcome, Point, Told, clock};
pub use page::html;
pub use script::{Figure, Script, Shape};

use crate::kinds;
use crate::mutation::Mutation;
use crate::prng::Prng;
use crate::scenario::{Bundled, files};
use crate::world::BEGIN;
use faults::Timeline;
use host::{Disk, Host};
use people::People;
use seat::Seat;
use storage::Storage;
use tally::Tally;
use threads::Crew;

/// Names of zones, in turn.
const ZONES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// The one repository.
const REPOSITORY: &str = "north";
/// What is said of it while it gives no answer, and while it is asked for too much.
const UNREACHABLE: &str = "repository north cannot be asked: connection timed out";
const OVERLOADED: &str = "repository north cannot be asked: 503 Slow Down";
/// Services that are ordered in one turn while a fleet is made.
const BATCH: u32 = 50;
/// What cells share is exchanged this often.
const WINDOW: Span = Span::secs(1);
/// The same where hours are simulated: a cell that runs for longer at a time has what it needs at hand.
const WINDOW_LONG: Span = Span::secs(2);
/// The same once nothing was exchanged. People are told so much later at most.
const WINDOW_CALM: Span = Span::secs(30);
/// After this nothing of a fleet's making is pending any more.
const SETTLE: Span = Span::mins(40);
/// Points of what is drawn, at least where that is more often than once a minute.
const POINTS: u64 = 1_440;
/// A scenario that lasts so long is simulated in longer steps.
const HOURS: Span = Span::mins(6 * 60);
/// Of so many cells one keeps what it records, and can be killed.
const KEEPS_ONE_IN: u32 = 16;

/// Every bundled scenario of this sort.
pub const BUNDLED: &[Bundled] = files!["fleet/":
    "s3-outage-2017",
    "zone-loss",
    "partition-2018",
    "congestion-2021",
    "agent-restart-2022",
    "network-restart-2023",
    "controllers-away",
    "half-dead-switch-2020",
    "bad-image-2024",
    "stuck-archive-2021",
    "names-2025",
    "control-store-2021",
    "clock-jumps",
];

/// A bundled scenario by name.
#[must_use]
pub fn bundled(name: &str) -> Option<Bundled> {
    BUNDLED.iter().copied().find(|scenario| scenario.name == name)
}

/// How a scenario is run.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// All chance comes from it.
    pub seed: u64,
    /// How many services, instead of what the script says.
    pub services: Option<u32>,
    /// Threads; 0: as many as there are cores.
    pub threads: usize,
    /// Nobody holds back: agents send all that waits at once, and servers start all at once.
    pub naive: bool,
    /// A rule that is broken on purpose.
    pub mutation: Option<Mutation>,
}

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// The fleet is being made.
    Making {
        /// Cells that are there.
        cells: u32,
        /// Of these.
        of: u32,
    },
    /// Time passes.
    Running {
        /// Since the beginning.
        at: Span,
        /// Until the end.
        of: Span,
        /// Services whose clients cannot write.
        down: u64,
    },
}

/// Runs a scenario.
#[must_use]
pub fn run(script: &Script, how: &How, progress: &mut dyn FnMut(Progress)) -> Outcome {
    let mut fleet = Fleet::make(script, how, progress);
    fleet.play(progress);
    fleet.outcome()
}

/// See the module.
struct Fleet<'a> {
    script: &'a Script,
    how: How,
    crew: Crew,
    began: Time,
    now: Time,
    storage: Storage,
    people: People,
    timeline: Timeline,
    /// Nothing was exchanged in the last window.
    calm: bool,
    told: Vec<Told>,
    points: Vec<Point>,
    /// Since when everything is well.
    well_since: Option<Time>,
    /// Cells that were in a posture at some time, by its name.
    postures: std::collections::BTreeMap<String, std::collections::BTreeSet<u32>>,
}

/// What a script's policy comes to: checks are not asked at this size, ports are as many as there are.
fn policy(script: &Script, how: &How) -> Policy {
    let mut policy = script.policy.clone();
    (policy.port_first, policy.port_last) = (1_024, 65_000);
    (policy.checks.often_seconds, policy.checks.rarely_seconds) = (0, 0);
    if how.naive {
        policy.host_starts_max = Some(u32::MAX);
    }
    policy
}

/// The same with its bounds away, where that is what is broken.
fn mutated(policy: &Policy, mutation: Option<Mutation>) -> Policy {
    let mut policy = policy.clone();
    if mutation == Some(Mutation::NoBudgets) {
        (policy.host_emergencies_max, policy.zone_emergencies_max) = (u16::MAX, u32::MAX);
        (policy.image_emergencies_max, policy.cell_emergencies_max) = (u32::MAX, u32::MAX);
    }
    policy
}

impl<'a> Fleet<'a> {
    fn make(script: &'a Script, how: &How, progress: &mut dyn FnMut(Progress)) -> Self {
        let shape = &script.fleet;
        let services = how.services.unwrap_or(shape.services).max(1);
        let cells = services.div_ceil(shape.per_cell).max(u32::from(shape.regions)).min(services);
        let policy = policy(script, how);
        let mut people =
            People::new(&script.chain(), &shape.by_address, shape.acks_after.map(|s| s.0));
        people.each = how.mutation == Some(Mutation::TellsEach);
        let capacity = u64::from(services) * shape.storage_per_thousand / 1000;
        let remedies = Arc::new(evenkeel_kinds::remedies::bundled());
        let mut seats = Vec::new();
        for number in 0..cells {
            let told = mutated(&policy, how.mutation);
            let setup = Setup {
                cell: CellId(number + 1),
                store: StoreId("sim".to_owned()),
                policy: told,
                kinds: crate::kinds::KINDS,
                remedies: Arc::clone(&remedies),
            };
            let here = services / cells + u32::from(number < services % cells);
            let hosts = hosts(script, how.seed, number, here);
            let killed = |line: &script::Happening| {
                use script::What;
                matches!(line.what, What::KillControllers { .. } | What::ControlStore(_))
            };
            let keeps = number.is_multiple_of(KEEPS_ONE_IN) || script.timeline.iter().any(killed);
            let mut seat = Seat::new(number, setup, hosts, how.seed, keeps);
            seat.storage.naive = how.naive;
            seat.tick = seat::tick(shape.lasts.0);
            seat.window = window(shape.lasts.0, false);
            seat.region = u8::try_from(number % u32::from(shape.regions)).unwrap_or(0) + 1;
            (seat.allowed, seat.mutation) = (policy.clone(), how.mutation);
            seats.push((seat, here));
        }
        let plans: Vec<(String, u8)> = shape.plans.clone().into_iter().collect();
        let crew = Crew::make(seats, how.threads, &people.chain(), &plans, &mut |cells, of| {
            progress(Progress::Making { cells, of });
        });
        let began = crew.now();
        Self {
            script,
            how: how.clone(),
            crew,
            began,
            now: began,
            storage: Storage::new(capacity.max(1), how.naive),
            people,
            timeline: Timeline::new(script, began),
            calm: false,
            told: Vec::new(),
            points: Vec::new(),
            well_since: Some(began),
            postures: std::collections::BTreeMap::new(),
        }
    }

    fn play(&mut self, progress: &mut dyn FnMut(Progress)) {
        let end = self.began + self.script.fleet.lasts.0;
        let mut next_point = self.began;
        while self.now < end {
            self.happen();
            let next = [self.timeline.next(), self.people.next(), Some(next_point)];
            let next = next.into_iter().flatten().min().unwrap_or(end).min(self.crew.next());
            // Never past a window, and never into what happened already.
            let long = window(self.script.fleet.lasts.0, self.calm);
            let next_window = Time((next.0 / long.0 + 1) * long.0);
            // What is written down happens when it is to.
            let written = self.timeline.next().map_or(end, |at| at.min(end));
            let until = next_window.min(written).max(self.now + WINDOW);
            self.crew.run(until, self.storage.view(), until >= next_point);
            let took = until.since(self.now);
            self.now = until;
            self.exchange(took);
            if self.now >= next_point {
                next_point = self.now + points_every(self.script.fleet.lasts.0);
                self.point();
                let down = self.points.last().map_or(0, |point| point.down);
                let at = self.now.since(self.began);
                progress(Progress::Running { at, of: self.script.fleet.lasts.0, down });
            }
        }
    }

    /// What is shared: what was asked of storage, what people are told.
    fn exchange(&mut self, took: Span) {
        let now = self.now;
        let (mut offered, mut usual) = (0, 0);
        let (mut deliveries, mut standings) = (Vec::new(), Vec::new());
        self.crew.each(|seat| {
            offered += std::mem::take(&mut seat.offered);
            usual += seat.usual_per_min / 60;
            let cell = seat.setup.cell;
            deliveries.extend(std::mem::take(&mut seat.deliveries).into_iter().map(|d| (cell, d)));
            standings.extend(seat.standings.take().map(|standings| (cell, standings)));
        });
        self.storage.took(offered, usual, took.0 / 1000);
        let mut entries: Vec<(CellId, Entry)> = Vec::new();
        let people = deliveries.len();
        for (cell, delivery) in deliveries {
            let pages = self.people.pages.len();
            entries.extend(self.people.deliver(cell, delivery, now));
            if let Some(page) = self.people.pages.get(pages) {
                let text = format!("a person is told by {}: {}", page.channel, page.title);
                self.told.push(Told { at: now.since(self.began), text });
            }
        }
        for (cell, standings) in standings {
            entries.extend(self.people.learn(cell, &standings));
        }
        entries.extend(self.people.due(now));
        // While storage gives no answer, it does not matter how often it is asked.
        let apart = offered == 0 || !self.storage.up();
        self.calm = apart && people == 0 && entries.is_empty();
        for (cell, entry) in entries {
            self.crew.tell(cell, entry);
        }
    }

    /// A point of what is drawn, and whether everything is well.
    fn point(&mut self) {
        let now = self.now;
        let (mut down, mut waiting) = (0, 0);
        let mut postures = Vec::new();
        self.crew.each(|seat| {
            down += seat.tally.down;
            waiting += seat.waiting;
            postures.push((seat.number, seat.posture));
        });
        let mut normal = true;
        for (cell, posture) in postures {
            normal &= posture == "normal";
            let new = !self.postures.contains_key(posture);
            self.postures.entry(posture.to_owned()).or_default().insert(cell);
            if new && posture != "normal" {
                let text = format!("the first cell's posture is {}", posture.replace('_', "-"));
                self.told.push(Told { at: now.since(self.began), text });
            }
        }
        let well = down == 0 && waiting == 0 && normal && self.storage.up();
        self.well_since = self.well_since.filter(|_| well).or_else(|| well.then_some(now));
        let asked = self.storage.take_asked_percent();
        let at = now.since(self.began);
        self.points.push(Point { at, down, waiting, asked_percent: asked });
    }
}

/// For how long cells run before they exchange what they share: in a short scenario it is done more often.
fn window(lasts: Span, calm: bool) -> Span {
    let whole = lasts.0 / POINTS / WINDOW.0 * WINDOW.0;
    match calm {
        false if lasts < HOURS => WINDOW,
        false => WINDOW_LONG,
        true => Span(whole.clamp(WINDOW.0 * 5, WINDOW_CALM.0)),
    }
}

/// How often it is looked at how everything is: a short scenario is drawn closer.
fn points_every(lasts: Span) -> Span {
    Span((lasts.0 / POINTS).clamp(WINDOW.0 * 5, 60_000))
}

/// The hosts of a cell, as many as its members need.
fn hosts(script: &Script, seed: u64, cell: u32, services: u32) -> Vec<Host> {
    let shape = &script.fleet;
    let more: u32 = shape
        .plans
        .iter()
        .map(|(plan, share)| {
            let members = kinds::plan(plan).map_or(1, |(_, plan)| u32::from(plan.members));
            services * u32::from(*share) / 100 * (members - 1)
        })
        .sum();
    let hosts = (services + more).div_ceil(shape.per_host).max(u32::from(shape.zones) * 2);
    let mut chance = Prng::new(seed, &format!("disks of cell {cell}"));
    let total = shape.disk_gib << 30;
    let (from, to) = shape.used_percent;
    (0..hosts)
        .map(|n| {
            let used = from + chance.below(to.saturating_sub(from) + 1);
            let (zones, racks) = (u32::from(shape.zones), u32::from(shape.racks));
            let rack = |zone: &str| format!("{zone}{}", n / zones % racks + 1);
            let canary = n * 100 < hosts * u32::from(shape.canary_percent);
            Host {
                name: format!("c{}-h{}", cell + 1, n + 1),
                zone: (n % u32::from(shape.zones)) as usize,
                on: true,
                agent: true,
                side: 0,
                ill: 0,
                delay: Span(0),
                arrive: (Time(0), Time(0)),
                rack: (racks > 0).then(|| rack(ZONES[(n % zones) as usize])),
                image: if canary { images::CANARY } else { images::USUAL },
                link: None,
                boots: 1,
                beats: 0,
                welcome: None,
                id: HostId(0),
                members: Vec::new(),
                marks: std::collections::BTreeMap::new(),
                digest: None,
                minds: Vec::new(),
                disk: Disk::new(total, total / 100 * used),
            }
        })
        .collect()
}

impl Seat {
    /// Makes the services of a cell, by orders as people give them.
    fn make(
        &mut self,
        services: u32,
        plans: &[(String, u8)],
        chain: &[evenkeel_core::incident::chain::Step],
    ) {
        self.chain = chain.to_vec();
        self.greet();
        for n in 0..self.hosts.len() {
            self.dial(n);
        }
        let location = Location::Directory { path: format!("/{REPOSITORY}") };
        let repository = Repository { name: REPOSITORY.to_owned(), location };
        self.order(Order::AddRepository { repository });
        self.run(self.now + self.tick.times(4));
        let mut made = 0;
        while made < services {
            for number in made..services.min(made + BATCH) {
                self.order(create(self.number, number, services, plans));
            }
            made += BATCH;
            self.run(self.now + self.tick.times(3));
        }
        let end = BEGIN + SETTLE;
        self.run(end.max(self.now));
        self.making = false;
        // What is told of a run begins here.
        self.tally = Tally { trace: self.tally.trace, down: self.tally.down, ..Tally::default() };
    }
}

fn create(cell: u32, number: u32, services: u32, plans: &[(String, u8)]) -> Order {
    // The rarer plans are spread over all, so that any share of hosts has its part of them.
    let place = u64::from(number) * 100 / u64::from(services) + u64::from(number % 100);
    let mut left = place % 100;
    let plan = plans.iter().find(|(_, share)| {
        let here = left < u64::from(*share);
        left = left.saturating_sub(u64::from(*share));
        here
    });
    let (kind, plan) = kinds::ordered(plan.map(|(plan, _)| plan.as_str()));
    let mut secret = vec![7; 80];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    secret[4..8].copy_from_slice(&cell.to_be_bytes());
    Order::Create {
        name: format!("customer-{}-{number}", cell + 1),
        kind,
        plan,
        secret,
        keys: Some(Keys {
            key: Password("00".repeat(32)),
            wrapped: "wrapped".to_owned(),
            engine: Engine::Native,
        }),
    }
}

/// One number for what all seats recorded, in their order.
fn digest(traces: &[u64]) -> Digest {
    Digest::of_json(&traces)
}
