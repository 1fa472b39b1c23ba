//! Incidents: what goes wrong together is told once.
//!
//! The story: whatever needs a person is a *trouble* of a service or a host. Troubles that come within a
//! short while are grouped by the narrowest failure domain that stands out against its siblings
//! ([`group`]), and each group is one incident with one page. An incident is open until a channel
//! confirmed that somebody was told, paged until a person acknowledges it, and resolved once all of its
//! members have been fine for a while; one that comes back soon after that is the same incident, and
//! whoever had acknowledged it is not told again. The chain of channels is in [`chain`].
//!
//! Knows nothing of how troubles are found, of stores, or of how a channel works.

mod bits;
pub mod chain;
mod domain;
pub mod fold;
mod grouping;

use serde::{Deserialize, Serialize};

pub use domain::{Domain, Sort};
pub use grouping::{Group, Population, Shares, Subject, Trouble, group};

use crate::machine::{self, Cause};
use crate::time::Span;

/// How far an incident is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It needs a person, and no channel confirmed yet that one was told.
    #[default]
    Open,
    /// A channel confirmed; no person has said anything.
    Paged,
    /// A person knows.
    Acknowledged,
    /// All of its members have been fine for a while; it may come back.
    Resolved,
    /// It is over.
    Closed,
}

impl State {
    /// The state's name as the CLI, the API and the pages print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paged => "paged",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }

    /// Whether something is wrong still.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Open | Self::Paged | Self::Acknowledged)
    }

    /// Whether a person is still to be reached.
    #[must_use]
    pub const fn needs_a_person(self) -> bool {
        matches!(self, Self::Open | Self::Paged)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A channel confirmed a page.
    Confirmed,
    /// A person acknowledged it.
    Acknowledge,
    /// All members have been fine for long enough.
    Fine,
    /// A member is in trouble again, and nobody had acknowledged it.
    Back,
    /// A member is in trouble again, and a person had acknowledged it.
    BackKnown,
    /// It has been over for long enough.
    Lapse,
    /// An incident on a wider domain has its members now.
    Merge,
}

/// The machine of incidents.
pub struct Machine;

impl machine::Machine for Machine {
    const NAME: &'static str = "incident";
    type State = State;
    type Event = Event;
    const STATES: &'static [State] =
        &[State::Open, State::Paged, State::Acknowledged, State::Resolved, State::Closed];
    const EVENTS: &'static [Event] = &[
        Event::Confirmed,
        Event::Acknowledge,
        Event::Fine,
        Event::Back,
        Event::BackKnown,
        Event::Lapse,
        Event::Merge,
    ];
    const START: State = State::Open;

    fn next(state: State, event: Event) -> Option<State> {
        use {Event as E, State as S};
        Some(match (state, event) {
            (S::Open | S::Paged, E::Confirmed) => S::Paged,
            // A channel's word may come late.
            (S::Acknowledged | S::Resolved, E::Confirmed) => state,
            (S::Open | S::Paged | S::Acknowledged, E::Acknowledge) => S::Acknowledged,
            // It is over; should it come back, the person knows.
            (S::Resolved, E::Acknowledge) => S::Resolved,
            (S::Open | S::Paged | S::Acknowledged, E::Fine) => S::Resolved,
            (S::Resolved, E::Back) => S::Open,
            (S::Resolved, E::BackKnown) => S::Acknowledged,
            (S::Resolved, E::Lapse) => S::Closed,
            (S::Open | S::Paged | S::Acknowledged | S::Resolved, E::Merge) => S::Closed,
            _ => return None,
        })
    }

    fn cause(event: Event) -> Cause {
        match event {
            Event::Acknowledge | Event::Lapse | Event::Merge => Cause::Decided,
            Event::Confirmed | Event::Fine | Event::Back | Event::BackKnown => Cause::World,
        }
    }

    /// By the default rules. The chain goes on by itself when these pass; an acknowledged incident rests
    /// with a person.
    fn deadline(state: State) -> Option<Span> {
        let rules = Rules::DEFAULT;
        match state {
            State::Open => Some(rules.patience),
            State::Paged => Some(rules.pause),
            State::Resolved => Some(rules.reopen_within),
            State::Acknowledged | State::Closed => None,
        }
    }
}

/// The numbers that incidents and their pages go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Troubles are gathered so long before the first page: a host's members fall one after the other.
    pub gather: Span,
    /// An incident is resolved when all members have been fine for so long; doubled each time it comes
    /// back, up to [`Rules::reopen_within`].
    pub fine_for: Span,
    /// What comes back within this after it was resolved is the same incident.
    pub reopen_within: Span,
    /// A channel that has said nothing for so long has failed.
    pub patience: Span,
    /// After the last channel it begins with the first again, after this.
    pub pause: Span,
    /// While every channel fails the pause is doubled, up to this.
    pub pause_max: Span,
    /// Every channel is exercised so often.
    pub exercise_every: Span,
    /// A service whose only copy is on a host that is down is told after this: most hosts that go down start anew
    /// and are back. A minute at most, as no outage of a service is kept from people for longer.
    pub alone_after: Span,
    /// A service's log may wait for its archive so long before a person is told: a crash then loses it.
    pub archive_after: Span,
    /// A repository may take nothing for so long, while another one takes everything, before a person is
    /// told.
    pub repository_after: Span,
    /// Incidents that are over are kept so long.
    pub keep: Span,
}

impl Rules {
    /// The rules unless the policy has others. Five seconds are a few beats; a minute is long beside any
    /// restart; a quarter of an hour is Ubicloud's window for the same root; log that waits
    /// for half an hour is told twice as late as its finding is critical, and an hour is longer than object
    /// storage is away in nearly every public report; the rest are those of providers' own escalation
    /// policies.
    pub const DEFAULT: Self = Self {
        gather: Span::secs(5),
        fine_for: Span::secs(60),
        reopen_within: Span::mins(15),
        patience: Span::secs(30),
        pause: Span::mins(5),
        pause_max: Span::mins(60),
        exercise_every: Span::mins(24 * 60),
        alone_after: Span::secs(60),
        archive_after: Span::mins(30),
        repository_after: Span::mins(60),
        keep: Span::mins(30 * 24 * 60),
    };

    /// How long members must have been fine, for an incident that came back so often.
    #[must_use]
    pub fn fine_after(&self, flaps: u8) -> Span {
        self.fine_for.times(1 << flaps.min(16)).min(self.reopen_within.max(self.fine_for))
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::DEFAULT
    }
}
