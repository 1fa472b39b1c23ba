//! A member as its agent reports it.
//!
//! The story: a directory is initialised, its server started, recovering if it must, and ready once
//! a write succeeded; a standby follows instead, and is ready once it was promoted. It is stopped by order, fails by itself, is sealed when its service retires,
//! and gone when its directory is.

use serde::{Deserialize, Serialize};

use crate::machine::{self, Cause};
use crate::time::Span;

/// What one member is doing, in its agent's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing on disk yet.
    Absent,
    /// Its directory is being made.
    Initializing,
    /// Its process is starting.
    Starting,
    /// Its process replays its log; not down.
    Recovering,
    /// It runs as a standby.
    Following,
    /// A write through it succeeded.
    Ready,
    /// Its process is there and does not answer.
    Hung,
    /// Its process ended without an order; it is started again after a back-off.
    Failed,
    /// It failed too often in its window; nobody starts it until an operation says so.
    CrashLooping,
    /// Its process is being stopped.
    Stopping,
    /// Stopped cleanly by order.
    Stopped,
    /// Stopped, and its directory sealed against starting.
    Sealed,
    /// Its directory is gone.
    Gone,
}

impl State {
    /// Whether its checks are read.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Following | Self::Ready)
    }

    /// The state's name as the CLI, the API and the pages print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Initializing => "initializing",
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Following => "following",
            Self::Ready => "ready",
            Self::Hung => "hung",
            Self::Failed => "failed",
            Self::CrashLooping => "crash_looping",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Sealed => "sealed",
            Self::Gone => "gone",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an agent sees or does to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Making the directory began.
    Initialize,
    /// The directory is complete.
    Initialized,
    /// The process was started.
    Start,
    /// The process answers that it replays its log.
    Replaying,
    /// The process answers as a standby.
    Follows,
    /// A write succeeded.
    WriteProven,
    /// The process does not answer within its time.
    NoAnswer,
    /// The process is gone.
    Died,
    /// It died more often than its budget of restarts allows.
    BudgetSpent,
    /// A stop was ordered.
    Stop,
    /// All its processes are gone after an order.
    Exited,
    /// The directory was sealed.
    Seal,
    /// The seal was lifted.
    Unseal,
    /// The directory was removed.
    Remove,
}

/// The machine of members.
pub struct Machine;

impl machine::Machine for Machine {
    const NAME: &'static str = "member";
    type State = State;
    type Event = Event;
    const STATES: &'static [State] = &[
        State::Absent,
        State::Initializing,
        State::Starting,
        State::Recovering,
        State::Following,
        State::Ready,
        State::Hung,
        State::Failed,
        State::CrashLooping,
        State::Stopping,
        State::Stopped,
        State::Sealed,
        State::Gone,
    ];
    const EVENTS: &'static [Event] = &[
        Event::Initialize,
        Event::Initialized,
        Event::Start,
        Event::Replaying,
        Event::Follows,
        Event::WriteProven,
        Event::NoAnswer,
        Event::Died,
        Event::BudgetSpent,
        Event::Stop,
        Event::Exited,
        Event::Seal,
        Event::Unseal,
        Event::Remove,
    ];
    const START: State = State::Absent;

    fn next(state: State, event: Event) -> Option<State> {
        use {Event as E, State as S};
        Some(match (state, event) {
            (S::Absent, E::Initialize) => S::Initializing,
            (S::Initializing, E::Initialized) => S::Stopped,
            // A half-made directory is never used: it is removed and made anew.
            (S::Initializing, E::Died) => S::Absent,
            // Made anew by a newer goal, of what is stopped or of nothing.
            (S::Stopped | S::Sealed, E::Initialize) => S::Initializing,
            (S::Stopped | S::Failed | S::CrashLooping, E::Start) => S::Starting,
            (S::Starting | S::Hung, E::Replaying) => S::Recovering,
            (S::Starting | S::Recovering | S::Hung | S::Following, E::Follows) => S::Following,
            (S::Starting | S::Recovering | S::Following | S::Hung | S::Ready, E::WriteProven) => {
                S::Ready
            }
            (S::Starting | S::Recovering | S::Following | S::Ready, E::NoAnswer) => S::Hung,
            (S::Starting | S::Recovering | S::Following | S::Ready | S::Hung, E::Died) => S::Failed,
            (S::Failed, E::BudgetSpent) => S::CrashLooping,
            (S::Starting | S::Recovering | S::Following | S::Ready | S::Hung, E::Stop) => {
                S::Stopping
            }
            // Between a failure and its restart there is no process: a stop is done at once.
            (S::Failed | S::CrashLooping, E::Stop) => S::Stopped,
            (S::Stopping, E::Exited | E::Died) => S::Stopped,
            (S::Stopped, E::Seal) => S::Sealed,
            (S::Sealed, E::Unseal) => S::Stopped,
            (S::Absent | S::Stopped | S::Sealed, E::Remove) => S::Gone,
            _ => return None,
        })
    }

    fn cause(event: Event) -> Cause {
        match event {
            Event::Initialize
            | Event::Start
            | Event::BudgetSpent
            | Event::Stop
            | Event::Seal
            | Event::Unseal
            | Event::Remove => Cause::Decided,
            Event::Initialized
            | Event::Replaying
            | Event::Follows
            | Event::WriteProven
            | Event::NoAnswer
            | Event::Died
            | Event::Exited => Cause::World,
        }
    }

    fn deadline(state: State) -> Option<Span> {
        match state {
            State::Initializing => Some(Span::mins(2)),
            State::Starting => Some(Span::mins(1)),
            State::Recovering => Some(Span::mins(60)),
            State::Hung | State::Failed => Some(Span::mins(1)),
            State::CrashLooping => Some(Span::mins(5)),
            State::Stopping => Some(Span::mins(2)),
            State::Absent
            | State::Following
            | State::Ready
            | State::Stopped
            | State::Sealed
            | State::Gone => None,
        }
    }
}
