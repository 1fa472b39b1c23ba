//! What a service is doing.
//!
//! The story: a service is installed once and then serves. From serving it is restarted, upgraded or
//! retired by decision; retiring seals its disks (or archives it, where the plan has an archive),
//! and only an order ends it. A verdict never changes the phase by itself: it starts an operation
//! that does.

use serde::{Deserialize, Serialize};

use crate::machine::{self, Cause};
use crate::time::Span;

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Being placed, initialised, seeded.
    Installing,
    /// Its members are meant to serve.
    Serving,
    /// Its processes are being restarted.
    Restarting,
    /// Moving to another image, version or size by replacing members.
    Upgrading,
    /// Draining: endpoints closed, final backup or sealing in progress.
    Retiring,
    /// Not serving; disks kept.
    Retired,
    /// Only the verified archive remains.
    Archived,
    /// Nothing remains but the journal.
    Terminated,
}

/// What moves a service from one phase to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first healthy write probe.
    Installed,
    /// A restart began (remedy, setting or order).
    RestartBegun,
    /// An upgrade began.
    UpgradeBegun,
    /// The new processes or members are proven by a write.
    Proven,
    /// The operation was given up; the service serves as well as it can.
    GivenUp,
    /// Retirement was ordered.
    RetireBegun,
    /// The directory is sealed after a clean stop.
    Sealed,
    /// The final backup is verified and the disks are released.
    Archived,
    /// Revival was ordered.
    ReviveBegun,
    /// Termination was ordered: endpoints close first.
    TerminateBegun,
    /// The last directory is gone.
    Removed,
}

/// The machine of phases.
pub struct Machine;

impl machine::Machine for Machine {
    const NAME: &'static str = "service phase";
    type State = Phase;
    type Event = Event;
    const STATES: &'static [Phase] = &[
        Phase::Installing,
        Phase::Serving,
        Phase::Restarting,
        Phase::Upgrading,
        Phase::Retiring,
        Phase::Retired,
        Phase::Archived,
        Phase::Terminated,
    ];
    const EVENTS: &'static [Event] = &[
        Event::Installed,
        Event::RestartBegun,
        Event::UpgradeBegun,
        Event::Proven,
        Event::GivenUp,
        Event::RetireBegun,
        Event::Sealed,
        Event::Archived,
        Event::ReviveBegun,
        Event::TerminateBegun,
        Event::Removed,
    ];
    const START: Phase = Phase::Installing;

    fn next(phase: Phase, event: Event) -> Option<Phase> {
        use {Event as E, Phase as P};
        Some(match (phase, event) {
            (P::Installing, E::Installed) => P::Serving,
            (P::Serving, E::RestartBegun) => P::Restarting,
            (P::Serving, E::UpgradeBegun) => P::Upgrading,
            (P::Restarting | P::Upgrading, E::Proven | E::GivenUp) => P::Serving,
            // A restart overtaken by a person's decision ends in that decision.
            (P::Serving | P::Restarting, E::RetireBegun) => P::Retiring,
            // A retirement that cannot finish is given up into serving: nothing was removed yet.
            (P::Retiring, E::GivenUp) => P::Serving,
            (P::Retiring, E::Sealed) => P::Retired,
            (P::Retiring | P::Retired, E::Archived) => P::Archived,
            (P::Retiring | P::Retired, E::ReviveBegun) => P::Restarting,
            // An archive is revived into new members.
            (P::Archived, E::ReviveBegun) => P::Installing,
            (
                P::Installing
                | P::Serving
                | P::Restarting
                | P::Upgrading
                | P::Retiring
                | P::Retired
                | P::Archived,
                E::TerminateBegun,
            ) => P::Retiring,
            (P::Retiring, E::Removed) => P::Terminated,
            _ => return None,
        })
    }

    fn cause(event: Event) -> Cause {
        match event {
            Event::Installed | Event::Proven | Event::Sealed | Event::Archived | Event::Removed => {
                Cause::World
            }
            Event::RestartBegun
            | Event::UpgradeBegun
            | Event::GivenUp
            | Event::RetireBegun
            | Event::ReviveBegun
            | Event::TerminateBegun => Cause::Decided,
        }
    }

    fn deadline(phase: Phase) -> Option<Span> {
        match phase {
            Phase::Installing => Some(Span::mins(5)),
            Phase::Restarting => Some(Span::mins(2)),
            Phase::Upgrading => Some(Span::mins(60)),
            Phase::Retiring => Some(Span::mins(10)),
            Phase::Serving | Phase::Retired | Phase::Archived | Phase::Terminated => None,
        }
    }
}
