//! Drain: a host gives away what it holds, so that it can be taken down.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. It disturbs nobody: what moves a member away is an operation of its service's own,
/// with a claim of its own. An only copy moves nowhere, so that step waits, and a person is told.
pub const SPEC: Spec = Spec {
    kind: Kind::Drain,
    name: "drain",
    story: "Place nothing on the host any more, and wait until nothing is left on it.",
    lane: Lane::Free,
    begins: None,
    ends: None,
    outage_seconds: 0,
    manual_minutes: 30,
    steps: &[
        Step {
            name: "take no new members",
            order: Effect::CloseHost,
            proof: Proof::HostClosed,
            deadline: Span::secs(10),
            past: Past::Insist { tries: 1 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "hold no members",
            order: Effect::EmptyHost,
            proof: Proof::HostEmpty,
            deadline: Span::mins(10),
            past: Past::Insist { tries: 0 },
            on_death: OnDeath::Continue,
        },
    ],
};
