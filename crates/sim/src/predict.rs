//! How long writes are out after a fault, as the simulator has it: to be held against what is measured.
//!
//! One healthy `ha` service; the fault comes at a moment that the seed draws; the longest time between
//! two acknowledged writes is what counts. Servers of the model start, replay and stream in fixed times:
//! where a real run differs, that is the server's and the machine's; the rest is Evenkeel's deciding.

use evenkeel_core::id::MemberId;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::time::Span;

use crate::model::SEGMENT_ROWS;
use crate::prng::Prng;
use crate::world::{BEGIN, Options, Process, Weather, World};

/// Between a client's writes.
const WRITE: Span = Span::millis(5);
/// Everything is whole before this has passed, and over.
const SETTLED: Span = Span::secs(30);
/// What is killed is started again after this.
const RESPAWN: Span = Span::secs(1);
const NAME: &str = "pay";

/// What is done to a host and its member, and undone after a while.
type Act = fn(&mut World, usize, MemberId, Span);

/// Faults by name, the part of the member that they befall, and what is done.
const FAULTS: &[(&str, &str, Act)] = &[
    ("kill-node", "primary", |world, n, member, _| kill_node(world, n, member)),
    ("kill-standby-node", "standby", |world, n, member, _| kill_node(world, n, member)),
    ("freeze-node", "primary", freeze_node),
    ("freeze-standby-node", "standby", freeze_node),
    ("vanish", "primary", |world, n, _, lasts| {
        world.power_off(n);
        world.later(lasts, Process::Host(n));
    }),
    ("kill-postmaster", "primary", |world, n, member, _| world.kill_server(n, member)),
    ("kill-agent", "primary", |world, n, _, _| {
        world.kill_agent(n);
        world.later(RESPAWN, Process::Agent(n));
    }),
    ("kill-controller", "primary", |world, _, _, _| world.kill_controller()),
    ("switchover", "primary", |world, _, _, _| {
        world.order(Order::Switchover { name: NAME.to_owned(), to: None });
    }),
    ("failover", "primary", |world, _, _, _| {
        world.order(Order::Failover { name: NAME.to_owned(), reason: "to know".to_owned() });
    }),
];

fn kill_node(world: &mut World, n: usize, member: MemberId) {
    world.kill_server(n, member);
    world.kill_agent(n);
    world.later(RESPAWN, Process::Agent(n));
}

fn freeze_node(world: &mut World, n: usize, member: MemberId, lasts: Span) {
    world.freeze_server(n, member);
    world.pause_agent(n);
    world.later(lasts, Process::Node(n, member));
}

/// The faults that are predicted, by name.
pub fn predicted() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|(name, _, _)| *name)
}

/// Outages of a fault in so many runs; none for a fault that is not predicted.
///
/// # Panics
/// When the model's fleet does not get as far as the fault, or a row is lost.
#[must_use]
pub fn outages(fault: &str, trials: u64) -> Vec<Span> {
    let found = FAULTS.iter().find(|(name, _, _)| *name == fault);
    let Some((_, role, act)) = found else { return Vec::new() };
    (0..trials).map(|seed| outage(seed, role, *act)).collect()
}

fn outage(seed: u64, role: &str, act: Act) -> Span {
    let mut world = World::new(Options {
        remedies: std::sync::Arc::new(evenkeel_kinds::remedies::bundled()),
        seed,
        hosts: 3,
        weather: Weather::Steady,
        policy: Policy::default(),
        write_every: WRITE,
        chronicle: false,
        repositories: 0,
        disk_bytes: u64::MAX,
        segment_rows: SEGMENT_ROWS,
        mutation: None,
        chain: Vec::new(),
        acks_after: None,
    });
    world.run(BEGIN + Span::secs(2));
    world.order(Order::Create {
        name: NAME.to_owned(),
        kind: "postgres".to_owned(),
        plan: Some("ha".to_owned()),
        secret: vec![7; 80],
        keys: None,
    });
    let whole = |world: &World| {
        let all = world.services();
        all.iter().any(|s| s.operation.is_none() && s.failover.as_ref().is_some_and(|f| f.safe_now))
    };
    assert!(world.run_until(world.now + SETTLED, whole), "it is never whole");
    let mut chance = Prng::new(seed, "when");
    world.run(world.now + Span::secs(5) + Span::millis(chance.below(2_000)));
    let member = world.services().into_iter().flat_map(|service| service.members);
    let member = member.into_iter().find(|member| member.role == role).expect("it has one");
    let n = world.host_of(&member.host).expect("it is there");
    world.forget_outages();
    act(&mut world, n, member.id, Span::millis(500 + chance.below(7_500)));
    world.run(world.now + SETTLED);
    world.check_ledger();
    assert_eq!(world.broken, None);
    world.longest_outage(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_over_and_some_take_longer_than_others() {
        let worst = |fault: &str| outages(fault, 3).into_iter().max().expect(fault);
        for (fault, _, _) in FAULTS {
            assert!(worst(fault) < SETTLED, "{fault}");
        }
        assert!(worst("vanish") > worst("kill-node"));
        assert!(worst("kill-node") > worst("kill-agent"));
        assert!(outages("no such fault", 3).is_empty());
    }
}
