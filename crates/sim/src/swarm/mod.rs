//! The swarm: one run a seed, each with its own mix of faults, and what is checked. A run that fails
//! is shrunk, and its plan printed: that text runs again exactly so.

mod plan;
mod shrink;

use std::fmt;

use evenkeel_core::digest::Digest;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;

use crate::HEAL;
use crate::world::{BEGIN, Options, Weather, World};

pub use plan::{Act, Error as PlanError, Plan, Verb, What};

/// Between a client's writes to one service.
const WRITE: Span = Span::millis(200);
/// A fleet that was just started has dialled in after this.
const SETTLED: Span = Span::secs(2);
/// Entries of the journal that are printed with a failure.
const JOURNAL: usize = 30;

/// What a run was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// Events.
    pub steps: u64,
    /// Rows acknowledged to clients.
    pub writes: u64,
    /// All that happened, as one number.
    pub trace: Digest,
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
        write!(f, "  again: evenkeel sim --plan \"{plan}\"")
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
    play(plan, &|_, _| None)
}

/// Many runs, until one fails; that one is shrunk.
///
/// # Errors
/// The first [`Failure`], as small as it was found to be.
pub fn swarm(seeds: std::ops::Range<u64>, mut each: impl FnMut(&Summary)) -> Result<(), Failure> {
    swarm_with(seeds, &mut each, &|_, _| None)
}

fn swarm_with(
    seeds: std::ops::Range<u64>,
    each: &mut dyn FnMut(&Summary),
    look: &Look,
) -> Result<(), Failure> {
    for seed in seeds {
        let plan = Plan::of(seed);
        match play(&plan, look) {
            Ok(summary) => each(&summary),
            Err(failure) => {
                let shrunk = shrink::shrink(failure, &mut |plan| play(plan, look));
                return Err(Failure { shrunk: Some((plan.hosts, plan.acts.len())), ..shrunk });
            }
        }
    }
    Ok(())
}

/// Two halves: in the first everything of the plan happens, in the second nothing breaks any more.
fn play(plan: &Plan, look: &Look) -> Result<Summary, Failure> {
    let mut world = World::new(Options {
        seed: plan.seed,
        hosts: plan.hosts,
        weather: Weather::Rough,
        policy: Policy::default(),
        write_every: WRITE,
        chronicle: false,
    });
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
            What::Order(verb, name) => world.order(verb.of(name)),
            What::Break(fault, draw) => world.break_something(*fault, *draw),
        }
        world.check_ledger();
        if let Some(what) = world.broken.clone().or_else(|| look(&world, act)) {
            return Err(fail(&world, about(what)));
        }
    }
    world.run(begin + plan.lasts);
    world.heal();
    heal(&mut world);
    world.check_ledger();
    if let Some(what) = world.broken.clone() {
        return Err(fail(&world, about(what)));
    }
    for service in world.services() {
        let settled = matches!(service.state, State::Available | State::Retired);
        if !settled || service.operation.is_some() {
            let what = format!(
                "{} is {} {HEAL} after the last fault, members {:?}, operation {:?}, findings {:?}",
                service.name, service.state, service.members, service.operation, service.findings
            );
            return Err(fail(&world, (Wrong::Unsettled(what), service.name)));
        }
    }
    if let Some(what) = world.poolers_wrong() {
        return Err(fail(&world, (Wrong::Unsettled(what), "fleet".to_owned())));
    }
    let (steps, writes, trace) = (world.steps, world.writes, world.trace);
    Ok(Summary { seed: plan.seed, steps, writes, trace })
}

/// What was broken, and whom it is about: it begins with that name.
fn about(what: String) -> (Wrong, String) {
    let subject = what.split_once(": ").map_or("fleet", |(name, _)| name).to_owned();
    (Wrong::Broken(what), subject)
}

/// Time to heal. Halfway a person does what a page asks for: orders a restart of what is still down.
fn heal(world: &mut World) {
    world.run(world.now + Span(HEAL.0 / 2));
    let down = |state: State| matches!(state, State::Unavailable | State::Uncertain);
    let names: Vec<String> =
        world.services().into_iter().filter(|s| down(s.state)).map(|s| s.name).collect();
    names.into_iter().for_each(|name| world.order(Order::Restart { name }));
    world.run(world.now + Span(HEAL.0 / 2));
}
