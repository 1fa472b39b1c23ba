//! The swarm: one run a seed, each with its own mix of faults, and what is checked.

use std::fmt;

use evenkeel_core::digest::Digest;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;

use crate::prng::Prng;
use crate::world::{FAULTS, Fault, Options, Weather, World};
use crate::{HEAL, TROUBLE};

/// Names of services that people create, and end, and create again.
const NAMES: [&str; 5] = ["orders", "payments", "search", "users", "stock"];

/// Between a client's writes to one service.
const WRITE: Span = Span::millis(200);

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

/// A run that showed a mistake.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
    /// The end of the journal of the service concerned, where one is.
    pub journal: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        self.journal.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        write!(f, "  again: evenkeel sim --seed {}", self.seed)
    }
}

/// One run.
///
/// # Errors
/// [`Failure`], with the seed that shows it again.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    let mut chance = Prng::new(seed, "fate");
    let hosts = usize::try_from(1 + chance.below(4)).unwrap_or(3);
    let mut world = World::new(Options {
        seed,
        hosts,
        weather: Weather::Rough,
        policy: Policy::default(),
        write_every: WRITE,
        chronicle: false,
    });
    let fail = |world: &World, what: String, subject: &str| Failure {
        seed,
        what,
        journal: world.journal(subject, 30),
    };
    // Each run knows some of the faults, so that rare mixes come up too.
    let mix: Vec<Fault> = FAULTS.iter().copied().filter(|_| chance.percent(55)).collect();
    world.run(world.now + Span::secs(2));
    let end = world.now + TROUBLE;
    while world.now < end {
        world.run(world.now + Span::millis(chance.below(6_000)));
        if chance.percent(50) {
            let order = order(&mut chance);
            world.order(order);
        } else if !mix.is_empty() {
            let at = usize::try_from(chance.below(u64::try_from(mix.len()).unwrap_or(1)));
            let draw = chance.next();
            world.break_something(mix[at.unwrap_or(0)], draw);
        }
        world.check_ledger();
        if let Some(what) = world.broken.clone() {
            return Err(fail(&world, what, "fleet"));
        }
    }
    world.heal();
    heal(&mut world);
    world.check_ledger();
    if let Some(what) = world.broken.clone() {
        return Err(fail(&world, what, "fleet"));
    }
    for service in world.services() {
        let settled = matches!(service.state, State::Available | State::Retired);
        if !settled || service.operation.is_some() {
            let what = format!(
                "{} is {} {HEAL} after the last fault, operation {:?}, findings {:?}",
                service.name, service.state, service.operation, service.findings
            );
            return Err(fail(&world, what, &service.name));
        }
    }
    Ok(Summary { seed, steps: world.steps, writes: world.writes, trace: world.trace })
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

/// Something people order.
fn order(chance: &mut Prng) -> Order {
    let name = NAMES[usize::try_from(chance.below(5)).unwrap_or(0)].to_owned();
    match chance.below(100) {
        0..55 => {
            let secret = vec![7; 80];
            Order::Create { name, kind: "postgres".to_owned(), plan: None, secret }
        }
        55..70 => Order::Restart { name },
        70..80 => Order::Retire { name },
        80..92 => Order::Revive { name },
        _ => Order::Terminate { confirm: name.clone(), name },
    }
}

/// Many runs, until one fails.
///
/// # Errors
/// The first [`Failure`].
pub fn swarm(seeds: std::ops::Range<u64>, mut each: impl FnMut(&Summary)) -> Result<(), Failure> {
    for seed in seeds {
        each(&run(seed)?);
    }
    Ok(())
}
