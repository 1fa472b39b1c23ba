//! The swarm: one run a seed, each with its own mix of faults, and what is checked. A run that fails
//! is shrunk, and its plan printed: that text runs again exactly so.

mod plan;
mod shrink;

use std::fmt;

use evenkeel_core::backup::retention::Keep;
use evenkeel_core::backup::schedule::Schedule;
use evenkeel_core::digest::Digest;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::label::Label;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::service::State;
use evenkeel_core::time::{Span, Time};
use evenkeel_core::view;

use crate::HEAL;
use crate::edges::Edges;
use crate::kinds;
use crate::mutation::Mutation;
use crate::world::{Answers, BEGIN, Options, Weather, World};

pub use plan::{Act, Error as PlanError, Plan, Verb, What};

/// Between a client's writes to one service.
const WRITE: Span = Span::millis(200);
/// A fleet that was just started has dialled in after this.
const SETTLED: Span = Span::secs(2);
/// Entries of the journal that are printed with a failure.
const JOURNAL: usize = 30;
/// What has just begun when everything is judged is over after this.
const REST: Span = Span::secs(30);
/// What was written is archived after this.
const CAUGHT_UP: Span = Span::secs(20);
/// Of each host, where there are archives: four minutes of all services' log would fill it.
const DISK_BYTES: u64 = 384 << 20;
/// Rows that fill a segment: few, so that a disk fills within a run.
const SWARM_SEGMENT_ROWS: usize = 40;

/// What a run was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// Events.
    pub steps: u64,
    /// Rows acknowledged to clients.
    pub writes: u64,
    /// All that happened, as one number.
    pub trace: Digest,
    /// Edges of machines that were taken.
    pub edges: Edges,
}

/// What was wrong with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// What must never happen did.
    Broken(String),
    /// It did not heal in time.
    Unsettled(String),
}

impl Wrong {
    /// Whether two runs show the same mistake, though perhaps of another member at another time.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Broken(one), Self::Broken(other)) => shape(one) == shape(other),
            (Self::Unsettled(_), Self::Unsettled(_)) => true,
            _ => false,
        }
    }
}

/// The words of a text without numbers.
fn shape(text: &str) -> Vec<&str> {
    text.split_whitespace().filter(|word| !word.bytes().any(|b| b.is_ascii_digit())).collect()
}

/// A run that showed a mistake.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it did.
    pub plan: Box<Plan>,
    /// What was wrong.
    pub wrong: Wrong,
    /// The end of the journal of the service concerned, where one is.
    pub journal: Vec<String>,
    /// The plan it was shrunk from, by its number of hosts and acts.
    pub shrunk: Option<(usize, usize)>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Wrong::Broken(what) | Wrong::Unsettled(what)) = &self.wrong;
        let plan = &self.plan;
        writeln!(f, "seed {}: {what}", plan.seed)?;
        self.journal.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        if let Some((hosts, acts)) = self.shrunk {
            let (now, left) = (plan.hosts, plan.acts.len());
            writeln!(f, "  shrunk from {acts} acts on {hosts} hosts to {left} acts on {now}")?;
        }
        write!(f, "  again: evenkeel sim swarm --plan \"{plan}\"")
    }
}

/// Looks at the world after each act; what is wrong, if something is.
type Look = dyn Fn(&World, &Act) -> Option<String>;

/// The run of a seed.
///
/// # Errors
/// [`Failure`], with the plan that shows it again.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    rerun(&Plan::of(seed))
}

/// The run of a plan.
///
/// # Errors
/// [`Failure`].
pub fn rerun(plan: &Plan) -> Result<Summary, Failure> {
    play(plan, None, &|_, _| None)
}

/// Many runs, until one fails; that one is shrunk.
///
/// # Errors
/// The first [`Failure`], as small as it was found to be.
pub fn swarm(seeds: std::ops::Range<u64>, mut each: impl FnMut(&Summary)) -> Result<(), Failure> {
    swarm_with(seeds, &mut each, &|_, _| None)
}

/// The first of many runs that shows a rule broken on purpose; it is not shrunk. `None`: none does.
#[must_use]
pub fn caught(mutation: Mutation, seeds: std::ops::Range<u64>) -> Option<Failure> {
    seeds.into_iter().find_map(|seed| play(&Plan::of(seed), Some(mutation), &|_, _| None).err())
}

fn swarm_with(
    seeds: std::ops::Range<u64>,
    each: &mut dyn FnMut(&Summary),
    look: &Look,
) -> Result<(), Failure> {
    for seed in seeds {
        let plan = Plan::of(seed);
        match play(&plan, None, look) {
            Ok(summary) => each(&summary),
            Err(failure) => {
                let shrunk = shrink::shrink(failure, &mut |plan| play(plan, None, look));
                return Err(Failure { shrunk: Some((plan.hosts, plan.acts.len())), ..shrunk });
            }
        }
    }
    Ok(())
}

/// The rules of a run: with archives, days are minutes, so that backups are taken, proven and let go, and
/// retired services are archived, within a run.
fn policy(plan: &Plan) -> Policy {
    if plan.repositories == 0 {
        return Policy::default();
    }
    let schedule = Schedule { every: Span::secs(90), from: Span(0), open: Span::mins(24 * 60) };
    Policy {
        backup: schedule,
        backup_keep: Some(Keep { count: 1, window: Span::secs(100) }),
        backup_first_within: Span::secs(10),
        prove_first_within: Span::secs(20),
        prove_every: Span::mins(4),
        retired_keep: Span::secs(90),
        ..Policy::default()
    }
}

/// Channels of every run.
const CHANNELS: [&str; 2] = ["pager", "mail"];
/// A person acknowledges what they were told of after this.
const ACKS_AFTER: Span = Span::secs(100);
/// Once every service is well, incidents end within this: the longest that members must have been fine.
const INCIDENTS_END: Span = Span::mins(17);

fn chain() -> Vec<Step> {
    let step = |name: &str| Step {
        channel: Label::new(name).expect("they are labels"),
        ack_within: Span::mins(1),
    };
    CHANNELS.into_iter().map(step).collect()
}

/// What is missing in an archive once everything has healed; `None`: nothing.
fn unarchived(world: &World, plan: &Plan, until: Time) -> Option<String> {
    let archives = |service: &&view::Service| {
        plan.repositories > 0
            && kinds::archives(&service.kind, &service.plan)
            && service.state != State::Retired
    };
    world.services().iter().filter(archives).find_map(|service| {
        let gap = world.archive_gap(service, until)?;
        Some(format!("{}: {HEAL} after the last fault {gap}", service.name))
    })
}

/// Two halves: in the first everything of the plan happens, in the second nothing breaks any more.
fn play(plan: &Plan, mutation: Option<Mutation>, look: &Look) -> Result<Summary, Failure> {
    let mut world = World::new(Options {
        remedies: std::sync::Arc::new(evenkeel_kinds::remedies::bundled()),
        seed: plan.seed,
        hosts: plan.hosts,
        weather: Weather::Rough,
        policy: policy(plan),
        write_every: WRITE,
        chronicle: false,
        repositories: plan.repositories,
        disk_bytes: if plan.repositories > 0 { DISK_BYTES } else { u64::MAX },
        segment_rows: SWARM_SEGMENT_ROWS,
        mutation,
        chain: chain(),
        acks_after: Some(ACKS_AFTER),
    });
    break_channel(&mut world, plan.seed);
    let fail = |world: &World, (wrong, subject): (Wrong, String)| Failure {
        plan: Box::new(plan.clone()),
        wrong,
        journal: world.journal(&subject, JOURNAL),
        shrunk: None,
    };
    let begin = BEGIN + SETTLED;
    for act in &plan.acts {
        world.run(begin + act.at);
        match &act.what {
            What::Order(verb, name) => {
                if let Some(order) = verb.of(name, world.keys(), world.now) {
                    world.order(order);
                }
            }
            What::Break(fault, draw) => world.break_something(*fault, *draw),
        }
        world.check_ledger();
        if let Some(what) = world.broken.clone().or_else(|| look(&world, act)) {
            return Err(fail(&world, about(what)));
        }
    }
    world.run(begin + plan.lasts);
    world.heal();
    let archived_until = heal(&mut world);
    world.check_ledger();
    if let Some(what) = world.broken.clone() {
        return Err(fail(&world, about(what)));
    }
    // An operation that has just begun is let come to its end.
    world.run_until(world.now + REST, |world| world.services().iter().all(rests));
    for service in world.services() {
        if !rests(&service) {
            let what = format!(
                "{} is {} {HEAL} after the last fault, members {:?}, operation {:?}, findings {:?}",
                service.name, service.state, service.members, service.operation, service.findings
            );
            return Err(fail(&world, (Wrong::Unsettled(what), service.name)));
        }
    }
    if let Some(what) = unarchived(&world, plan, archived_until) {
        return Err(fail(&world, about(what)));
    }
    end_incidents(&mut world).map_err(|wrong| fail(&world, wrong))?;
    if let Some(what) = world.poolers_wrong() {
        return Err(fail(&world, (Wrong::Unsettled(what), "fleet".to_owned())));
    }
    let (steps, writes, trace) = (world.steps, world.writes, world.trace);
    let edges = world.counts.edges.clone();
    Ok(Summary { seed: plan.seed, steps, writes, trace, edges })
}

/// Each seed has a first channel of its own sort; the second works.
fn break_channel(world: &mut World, seed: u64) {
    let answers = Answers::ALL[usize::try_from(seed % 4).unwrap_or(0)];
    if let Err(what) = world.channel(CHANNELS[0], answers) {
        world.broken = Some(what);
    }
}

/// Once every service is well, every incident comes to its end.
fn end_incidents(world: &mut World) -> Result<(), (Wrong, String)> {
    world.heal_channels();
    world.run_until(world.now + INCIDENTS_END, |world| world.incidents(false).is_empty());
    if let Some(incident) = world.incidents(false).first() {
        let what = format!("{} has no end: {incident:?}", incident.id);
        return Err((Wrong::Unsettled(what), incident.id.to_string()));
    }
    world.broken.clone().map_or(Ok(()), |what| Err(about(what)))
}

/// Whether nothing is under way for a service, and nothing is left to be done.
fn rests(service: &view::Service) -> bool {
    let settled = matches!(service.state, State::Available | State::Retired | State::Archived);
    settled && service.operation.is_none()
}

/// What was broken, and whom it is about: it begins with that name.
fn about(what: String) -> (Wrong, String) {
    let subject = what.split_once(": ").map_or("fleet", |(name, _)| name).to_owned();
    (Wrong::Broken(what), subject)
}

/// Time to heal; until when everything must be archived then. Halfway a person does what a page asks for: orders a restart of what is still down.
fn heal(world: &mut World) -> Time {
    let end = world.now + HEAL;
    world.run(world.now + Span(HEAL.0 / 2));
    let down = |state: State| matches!(state, State::Unavailable | State::Uncertain);
    let names: Vec<String> =
        world.services().into_iter().filter(|s| down(s.state)).map(|s| s.name).collect();
    names.into_iter().for_each(|name| world.order(Order::Restart { name }));
    if world.lost_a_repository() {
        after_a_loss(world);
    }
    // What was to be put back to a moment that its log does not reach, and whose service is gone.
    for name in world.services().into_iter().map(|service| service.name) {
        let of = name.split_once("-rollback-").map(|(of, _)| of);
        if of.is_some_and(|of| world.was_terminated(of)) {
            world.order(Order::Terminate { confirm: name.clone(), name });
        }
    }
    world.run(end - CAUGHT_UP);
    let until = world.now;
    world.end_segments();
    world.run(world.now + CAUGHT_UP);
    until
}

/// What a person does when a repository was lost for good: what is left of the archives may lack their
/// beginning, so new backups are ordered, and what was to be restored from the lost ones is given up.
fn after_a_loss(world: &mut World) {
    // What is being restarted takes no other order.
    world.run(world.now + Span::mins(1));
    for service in world.services() {
        let name = service.name;
        if service.operation.is_some_and(|operation| operation.name == "fork") {
            world.order(Order::Terminate { confirm: name.clone(), name });
        } else if let Some(keys) = world.keys() {
            world.order(Order::Backup { name, keys });
        }
    }
}
