//! Install: the story of a new service.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. Placement happened when the order was accepted: the hosts are in the row. Standbys are
/// made from the primary; a service without any skips their steps.
pub const SPEC: Spec = Spec {
    kind: Kind::Install,
    name: "install",
    story: "Initialise the primary, prove a write, have standbys follow, open the endpoint.",
    lane: Lane::Free,
    begins: None,
    ends: Some(phase::Event::Installed),
    outage_seconds: 0,
    manual_minutes: 30,
    steps: &[
        Step {
            name: "initialise, start and prove a write",
            order: Effect::RunPrimary,
            proof: Proof::Writing,
            deadline: Span::mins(2),
            past: Past::Insist { tries: 1 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "make standbys that follow",
            order: Effect::Follow,
            proof: Proof::Following,
            deadline: Span::mins(3),
            past: Past::Insist { tries: 5 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "count on them",
            order: Effect::Count,
            proof: Proof::Counted,
            deadline: Span::secs(30),
            past: Past::Insist { tries: 3 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "open the endpoint",
            order: Effect::OpenEndpoint,
            proof: Proof::Routed,
            deadline: Span::secs(10),
            past: Past::GoOn,
            on_death: OnDeath::Continue,
        },
    ],
};
