//! The form every machine of Evenkeel has: states, events, one total transition function.
//!
//! A machine's transition is a plain `match` in its own file. This room holds only what all of
//! them share: enumeration, the matrix and the diagram that are rendered from the function itself,
//! so documentation cannot drift from the code.
//!
//! ```
//! use evenkeel_core::{machine, service::phase::Machine};
//! assert!(machine::mermaid::<Machine>().starts_with("stateDiagram-v2"));
//! ```

use std::fmt::{Debug, Write};

use crate::time::Span;

/// Who brings an event about. Diagrams draw what we decide solid and what the world decides dashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A decision or order of Evenkeel or of a person.
    Decided,
    /// Something seen in the world.
    World,
}

/// A state machine as a type without values: its states, events and total functions.
pub trait Machine {
    /// Name used as the title of rendered pages.
    const NAME: &'static str;
    /// A state.
    type State: Copy + Debug + Eq + 'static;
    /// An event.
    type Event: Copy + Debug + Eq + 'static;
    /// Every state, in the order of the documentation.
    const STATES: &'static [Self::State];
    /// Every event, in the order of the documentation.
    const EVENTS: &'static [Self::Event];
    /// Where the machine begins.
    const START: Self::State;

    /// The transition. `None` is a refusal: the event is not legal in that state.
    fn next(state: Self::State, event: Self::Event) -> Option<Self::State>;
    /// Whether we or the world bring the event about.
    fn cause(event: Self::Event) -> Cause;
    /// How long the machine may wait in a state before somebody is told; `None` where it rests.
    fn deadline(state: Self::State) -> Option<Span>;
}

/// A refused transition, as a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{machine}: event {event} is not legal in state {state}")]
pub struct Illegal {
    /// The machine's name.
    pub machine: &'static str,
    /// The state it was in.
    pub state: String,
    /// The event that was refused.
    pub event: String,
}

/// Applies one event, or says which pair was refused.
///
/// # Errors
/// [`Illegal`] where the machine's table has no entry for the pair.
pub fn step<M: Machine>(state: M::State, event: M::Event) -> Result<M::State, Illegal> {
    M::next(state, event).ok_or_else(|| Illegal {
        machine: M::NAME,
        state: format!("{state:?}"),
        event: format!("{event:?}"),
    })
}

/// Every legal edge, states and events in documentation order.
pub fn edges<M: Machine>() -> impl Iterator<Item = (M::State, M::Event, M::State)> {
    M::STATES
        .iter()
        .flat_map(|&s| M::EVENTS.iter().filter_map(move |&e| M::next(s, e).map(|to| (s, e, to))))
}

/// The machine as a Mermaid state diagram; dashed edges (`..`) are marked in their label.
#[must_use]
pub fn mermaid<M: Machine>() -> String {
    let mut out = format!("stateDiagram-v2\n    [*] --> {:?}\n", M::START);
    for (from, event, to) in edges::<M>().filter(|(from, _, to)| from != to) {
        let mark = match M::cause(event) {
            Cause::Decided => "",
            Cause::World => " (world)",
        };
        let _ = writeln!(out, "    {from:?} --> {to:?}: {event:?}{mark}");
    }
    out
}

/// The machine as a table: one row a state, one column an event, `-` where it is refused.
#[must_use]
pub fn matrix<M: Machine>() -> String {
    let mut out = String::from("| state | deadline |");
    for event in M::EVENTS {
        let _ = write!(out, " {event:?} |");
    }
    out.push_str("\n|---|---|");
    out.push_str(&"---|".repeat(M::EVENTS.len()));
    out.push('\n');
    for &state in M::STATES {
        let wait = M::deadline(state).map_or_else(|| "rests".to_owned(), |d| d.to_string());
        let _ = write!(out, "| {state:?} | {wait} |");
        for &event in M::EVENTS {
            match M::next(state, event) {
                Some(to) if to == state => out.push_str(" stays |"),
                Some(to) => {
                    let _ = write!(out, " {to:?} |");
                }
                None => out.push_str(" - |"),
            }
        }
        out.push('\n');
    }
    out
}

/// The states reachable from [`Machine::START`], in documentation order.
#[must_use]
pub fn reachable<M: Machine>() -> Vec<M::State> {
    let mut seen = vec![M::START];
    let mut at = 0;
    while at < seen.len() {
        for &event in M::EVENTS {
            if let Some(to) = M::next(seen[at], event)
                && !seen.contains(&to)
            {
                seen.push(to);
            }
        }
        at += 1;
    }
    M::STATES.iter().copied().filter(|s| seen.contains(s)).collect()
}
