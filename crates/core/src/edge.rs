//! Edges of machines that were taken: what a turn says of them, and every one there is.
//!
//! Purpose: whoever runs many turns (the simulator, above all) counts which transitions of which machine ever
//! happened, and sees which never did. A turn only names what it did; nothing here decides anything.
//!
//! ```
//! use evenkeel_core::{edge::{self, Edge}, host};
//! let late = Edge::of::<host::Machine>(host::State::Up, host::Event::Late);
//! assert_eq!(edge::all().iter().find(|named| named.edge == late).unwrap().to, "Suspect");
//! ```

use crate::machine::{self, Machine};
use crate::{host, incident, member, service};

/// An edge of a machine: a state, and an event that takes it to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The machine's name.
    pub machine: &'static str,
    /// The state, by place among the machine's.
    from: u8,
    /// The event, by place among the machine's.
    event: u8,
}

impl Edge {
    /// The edge of a machine that leaves a state by an event.
    #[must_use]
    pub fn of<M: Machine>(from: M::State, event: M::Event) -> Self {
        let place = |at: Option<usize>| at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX);
        Self {
            machine: M::NAME,
            from: place(M::STATES.iter().position(|state| *state == from)),
            event: place(M::EVENTS.iter().position(|known| *known == event)),
        }
    }
}

/// An edge with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which.
    pub edge: Edge,
    /// The state that it leaves.
    pub from: String,
    /// The event that it is taken by.
    pub event: String,
    /// The state that it leads to.
    pub to: String,
}

/// Every edge of every machine that leads from one state to another, in the order of the documentation. An
/// event that changes nothing is none.
#[must_use]
pub fn all() -> Vec<Named> {
    let mut all = Vec::new();
    all.extend(named::<service::phase::Machine>());
    all.extend(named::<service::health::Machine>());
    all.extend(named::<member::Machine>());
    all.extend(named::<host::Machine>());
    all.extend(named::<incident::Machine>());
    all
}

fn named<M: Machine>() -> impl Iterator<Item = Named> {
    machine::edges::<M>().filter(|(from, _, to)| from != to).map(|(from, event, to)| Named {
        edge: Edge::of::<M>(from, event),
        from: format!("{from:?}"),
        event: format!("{event:?}"),
        to: format!("{to:?}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_edge_has_a_place_of_its_own() {
        let all = all();
        let edges: BTreeSet<Edge> = all.iter().map(|named| named.edge).collect();
        assert_eq!(edges.len(), all.len());
        assert!(all.iter().all(|named| named.from != named.to));
        let machines: BTreeSet<&str> = edges.iter().map(|edge| edge.machine).collect();
        assert_eq!(machines.len(), 5, "{machines:?}");
    }
}
