//! Every machine, enumerated: goldens of its matrix and diagram, and the properties all share.

use evenkeel_core::machine::{self, Machine};
use evenkeel_core::service::{Health, Phase, State, health, phase, shown};
use evenkeel_core::{host, incident, member};

fn golden<M: Machine>(file: &str) {
    let page = format!(
        "# The machine: {}\n\nRendered from the transition function; do not edit.\n\n\
         ```mermaid\n{}```\n\n{}",
        M::NAME,
        machine::mermaid::<M>(),
        machine::matrix::<M>()
    );
    crate::golden::page(file, &page);
}

fn sound<M: Machine>(rests: &[M::State]) {
    assert_eq!(machine::reachable::<M>(), M::STATES, "{}: a state cannot be reached", M::NAME);
    for &state in M::STATES {
        let exits = machine::edges::<M>().any(|(from, _, to)| from == state && to != state);
        let rest = rests.contains(&state);
        assert_eq!(!exits, rest, "{} {state:?}: exits and finality disagree", M::NAME);
    }
    for &event in M::EVENTS {
        assert!(
            machine::edges::<M>().any(|(_, e, _)| e == event),
            "{}: event {event:?} is legal nowhere",
            M::NAME
        );
    }
}

#[test]
fn goldens_are_current() {
    golden::<phase::Machine>("service-phase.md");
    golden::<health::Machine>("service-health.md");
    golden::<member::Machine>("member.md");
    golden::<host::Machine>("host.md");
    golden::<incident::Machine>("incident.md");
}

#[test]
fn every_state_but_the_final_ones_has_an_exit() {
    sound::<phase::Machine>(&[Phase::Terminated]);
    sound::<health::Machine>(&[]);
    sound::<member::Machine>(&[member::State::Gone]);
    sound::<host::Machine>(&[host::State::Removed]);
    sound::<incident::Machine>(&[incident::State::Closed]);
}

#[test]
fn every_state_that_waits_has_a_deadline() {
    let waiting = |p: &Phase| {
        !matches!(p, Phase::Serving | Phase::Retired | Phase::Archived | Phase::Terminated)
    };
    for &p in phase::Machine::STATES {
        assert_eq!(phase::Machine::deadline(p).is_some(), waiting(&p), "{p:?}");
    }
    for &h in health::Machine::STATES {
        assert_eq!(health::Machine::deadline(h).is_none(), h == Health::Healthy, "{h:?}");
    }
}

#[test]
fn silence_alone_never_makes_anything_down() {
    for &h in health::Machine::STATES {
        let after = health::Machine::next(h, health::Evidence::Silent);
        assert!(after != Some(Health::Unavailable) || h == Health::Unavailable, "{h:?}");
    }
    for &s in host::Machine::STATES {
        for e in [host::Event::Late, host::Event::Silent] {
            assert_ne!(host::Machine::next(s, e), Some(host::State::Down), "{s:?} {e:?}");
        }
    }
}

#[test]
fn only_a_write_proves_health() {
    for &h in health::Machine::STATES {
        for &e in health::Machine::EVENTS {
            if h != Health::Healthy && health::Machine::next(h, e) == Some(Health::Healthy) {
                assert_eq!(e, health::Evidence::WriteProven);
            }
        }
    }
}

#[test]
fn a_last_copy_ends_only_by_order() {
    // Terminated is entered from Retiring alone, and Retiring only by decisions.
    for (from, event, to) in machine::edges::<phase::Machine>() {
        if to == Phase::Terminated {
            assert_eq!((from, event), (Phase::Retiring, phase::Event::Removed));
        }
        if to == Phase::Retiring && from != to {
            assert_eq!(phase::Machine::cause(event), machine::Cause::Decided, "{event:?}");
        }
    }
}

#[test]
fn shown_covers_all_ten_and_nothing_serving_looks_settled_unless_it_is() {
    let mut seen: Vec<State> = Vec::new();
    for &p in phase::Machine::STATES {
        for &h in health::Machine::STATES {
            let state = shown(p, h);
            assert_eq!(state == State::Available, p == Phase::Serving && h == Health::Healthy);
            if !seen.contains(&state) {
                seen.push(state);
            }
        }
    }
    seen.sort();
    assert_eq!(seen, State::ALL);
}

#[test]
fn a_refusal_names_machine_state_and_event() {
    let refused = machine::step::<phase::Machine>(Phase::Terminated, phase::Event::ReviveBegun);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "service phase: event ReviveBegun is not legal in state Terminated"
    );
}
