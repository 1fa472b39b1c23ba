//! A host as the controller knows it.
//!
//! The story: a host joins when its agent's stream opens and is up while beats come. A closed stream
//! or a late beat makes it suspect, at which witnesses are asked; only their evidence makes it down,
//! and one beat makes it up again.

use serde::{Deserialize, Serialize};

use crate::machine::{self, Cause};
use crate::time::Span;

/// What is known of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Known by name; its agent was not heard since this controller began.
    Joining,
    /// Its agent beats.
    Up,
    /// Its stream closed or a beat is late; witnesses are asked, nothing shown changes.
    Suspect,
    /// Three beats missed. Its members may well serve.
    Uncertain,
    /// No positive evidence from anyone, negative evidence from two vantage points.
    Down,
    /// Taken out of the fleet by order, empty.
    Removed,
}

impl State {
    /// The state's name as the CLI, the API and the pages print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Uncertain => "uncertain",
            Self::Down => "down",
            Self::Removed => "removed",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is learnt of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A beat or a report came.
    Heard,
    /// The stream closed, or a beat is late by half an interval.
    Late,
    /// Three beats are missing.
    Silent,
    /// Witnesses confirm that it is down.
    ConfirmedDown,
    /// A witness reached something on it.
    Reached,
    /// A person took it out, empty.
    Remove,
}

/// The machine of hosts.
pub struct Machine;

impl machine::Machine for Machine {
    const NAME: &'static str = "host";
    type State = State;
    type Event = Event;
    const STATES: &'static [State] =
        &[State::Joining, State::Up, State::Suspect, State::Uncertain, State::Down, State::Removed];
    const EVENTS: &'static [Event] = &[
        Event::Heard,
        Event::Late,
        Event::Silent,
        Event::ConfirmedDown,
        Event::Reached,
        Event::Remove,
    ];
    const START: State = State::Joining;

    fn next(state: State, event: Event) -> Option<State> {
        use {Event as E, State as S};
        Some(match (state, event) {
            (S::Removed, _) => return None,
            (_, E::Heard) => S::Up,
            (S::Up, E::Late) => S::Suspect,
            (S::Joining | S::Suspect, E::Silent) => S::Uncertain,
            (S::Suspect | S::Uncertain, E::ConfirmedDown) => S::Down,
            (S::Suspect | S::Uncertain | S::Down, E::Reached) => S::Uncertain,
            (S::Joining | S::Up | S::Uncertain | S::Down, E::Remove) => S::Removed,
            _ => return None,
        })
    }

    fn cause(event: Event) -> Cause {
        match event {
            Event::Remove => Cause::Decided,
            Event::Heard | Event::Late | Event::Silent | Event::ConfirmedDown | Event::Reached => {
                Cause::World
            }
        }
    }

    fn deadline(state: State) -> Option<Span> {
        match state {
            State::Joining | State::Suspect => Some(Span::secs(3)),
            State::Uncertain => Some(Span::mins(2)),
            State::Down => Some(Span::mins(10)),
            State::Up | State::Removed => None,
        }
    }
}
