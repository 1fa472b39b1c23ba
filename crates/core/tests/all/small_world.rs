//! One service, two hosts, an adversarial environment: every order of events to a depth, from every
//! state reached, with safety on each and an exit from each though every effect fails.

use std::collections::BTreeSet;

use evenkeel_core::digest::Digest;
use evenkeel_core::member::State as M;
use evenkeel_core::order::Order;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::Sight;
use evenkeel_core::service::{Health, Phase, State};
use evenkeel_core::time::Span;

use crate::world::World;

/// What the environment may do between any two turns.
#[derive(Clone, Copy, Debug)]
enum Move {
    Restart,
    Retire,
    Revive,
    Terminate,
    MemberDies,
    CrashLoops,
    Hangs,
    AgentDies,
    AllAgentsDie,
    AgentReturns,
    EffectsFail,
    EffectsWork,
    GatewayDies,
    ControllerRestarts,
    WitnessesSeeNothing,
    WitnessesSee,
    SecondsPass,
    MinutesPass,
}

const MOVES: &[Move] = &[
    Move::Restart,
    Move::Retire,
    Move::Revive,
    Move::Terminate,
    Move::MemberDies,
    Move::CrashLoops,
    Move::Hangs,
    Move::AgentDies,
    Move::AllAgentsDie,
    Move::AgentReturns,
    Move::EffectsFail,
    Move::EffectsWork,
    Move::GatewayDies,
    Move::ControllerRestarts,
    Move::WitnessesSeeNothing,
    Move::WitnessesSee,
    Move::SecondsPass,
    Move::MinutesPass,
];

const DEPTH: usize = 4;

fn apply(world: &mut World, step: Move) {
    let name = || "orders".to_owned();
    let home = world.service().map(|_| world.home());
    match (step, home) {
        // Orders may be refused; that is their safety.
        (Move::Restart, _) => drop(world.order(Order::Restart { name: name() })),
        (Move::Retire, _) => drop(world.order(Order::Retire { name: name() })),
        (Move::Revive, _) => drop(world.order(Order::Revive { name: name(), keys: None })),
        (Move::Terminate, _) => {
            drop(world.order(Order::Terminate { name: name(), confirm: name() }));
        }
        (Move::MemberDies, Some(home)) => world.report(home, M::Failed),
        (Move::CrashLoops, Some(home)) => world.report(home, M::CrashLooping),
        (Move::Hangs, Some(home)) => world.report(home, M::Hung),
        (Move::AgentDies, Some(home)) => world.kill_agent(home),
        (Move::AllAgentsDie, _) => (0..world.agents.len()).for_each(|at| world.kill_agent(at)),
        (Move::AgentReturns, _) => {
            world.agents.iter_mut().for_each(|a| a.alive = true);
            world.dial();
            world.turn();
        }
        (Move::EffectsFail, _) => world.agents.iter_mut().for_each(|a| a.works = false),
        (Move::EffectsWork, _) => {
            world.agents.iter_mut().for_each(|a| a.works = true);
            (0..world.agents.len()).for_each(|at| world.obey(at));
            world.turn();
        }
        (Move::GatewayDies, _) => {
            if let Some(link) = world.gateway.take() {
                world.inbox.push(evenkeel_core::cell::Entry::GatewayClosed { link });
                world.turn();
            }
        }
        (Move::ControllerRestarts, _) => world.restart_controller(),
        (Move::WitnessesSeeNothing, _) => world.sight = Sight::Refused,
        (Move::WitnessesSee, _) => world.sight = Sight::Answered,
        (Move::SecondsPass, _) => world.pass(Span::secs(60)),
        (Move::MinutesPass, _) => world.pass(Span::mins(3)),
        (_, None) => {}
    }
}

/// What must hold after every move.
fn safe(world: &World, path: &[Move]) {
    assert!(world.removed_without_order.is_empty(), "removed without an order: {path:?}");
    let Some(service) = world.service() else {
        assert!(world.terminates, "gone without an order: {path:?}");
        return;
    };
    let explained = world.cell.explain("orders", world.now).is_some();
    assert!(explained, "every state explains itself: {path:?}");
    if service.phase != Phase::Installing && !world.terminates {
        let gone = world.agents.iter().any(|a| a.members.values().any(|m| m.state == M::Gone));
        assert!(!gone, "the last copy is gone without an order: {path:?}");
    }
    let silence_only = !path.iter().any(|step| {
        matches!(
            step,
            Move::MemberDies
                | Move::CrashLoops
                | Move::Hangs
                | Move::WitnessesSeeNothing
                | Move::Retire
                | Move::Terminate
                | Move::EffectsFail
        )
    });
    if silence_only {
        assert_ne!(service.health, Health::Unavailable, "silence made it down: {path:?}");
    }
}

/// With every effect failing from here on, the world must not wait in silence: the service rests,
/// serves, or a person was told.
fn has_an_exit(world: &World, path: &[Move]) {
    let mut world = world.clone();
    world.agents.iter_mut().for_each(|a| (a.works, a.alive) = (false, true));
    world.pass(Span::mins(20));
    let Some(service) = world.service() else { return };
    let told = world.said("page:");
    let rests = matches!(service.state, State::Available | State::Retired);
    assert!(rests || told, "stuck in {} without a word: {path:?}", service.state);
    // And with everything working again it gets out.
    world.agents.iter_mut().for_each(|a| a.works = true);
    world.sight = Sight::Answered;
    for _ in 0..3 {
        (0..world.agents.len()).for_each(|at| world.obey(at));
        world.pass(Span::mins(11));
    }
    let state = world.state();
    let out = matches!(state, State::Available | State::Retired | State::Terminated);
    assert!(out, "no way out of {state} though all works: {path:?}");
}

fn explore(world: &World, path: &mut Vec<Move>, seen: &mut BTreeSet<Digest>, count: &mut usize) {
    *count += 1;
    if path.len() == DEPTH {
        return;
    }
    for &step in MOVES {
        let mut next = world.clone();
        path.push(step);
        apply(&mut next, step);
        safe(&next, path);
        let agents: Vec<(bool, bool)> = next.agents.iter().map(|a| (a.alive, a.works)).collect();
        let key = (next.cell.snapshot(), agents, format!("{:?}", next.sight));
        // A state met before is not gone through again, unless less of the depth was used then.
        if seen.insert(Digest::of_json(&(key, path.len()))) {
            if path.len() < DEPTH {
                has_an_exit(&next, path);
            }
            explore(&next, path, seen, count);
        }
        path.pop();
    }
}

/// The rules of the largest fleets: a beat every ten seconds, so that minutes pass quickly.
fn slow() -> Policy {
    Policy {
        beat: Span::secs(10),
        ask_every: Span::secs(5),
        answer_stale_after: Span::secs(15),
        start_grace: Span::secs(60),
        ..Policy::default()
    }
}

#[test]
fn safety_and_an_exit_whatever_the_environment_does() {
    let mut world = World::with(2, slow());
    world.create("orders").expect("accepted");
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    explore(&world, &mut Vec::new(), &mut seen, &mut count);
    assert!(count > 1_000, "only {count} worlds were visited");
}

#[test]
fn an_install_in_a_failing_world_has_an_exit_too() {
    let mut world = World::with(2, slow());
    world.agents.iter_mut().for_each(|a| a.works = false);
    world.create("orders").expect("accepted");
    let mut seen = BTreeSet::new();
    explore(&world, &mut vec![Move::EffectsFail, Move::EffectsFail], &mut seen, &mut 0);
}
