//! Revive: back into service from the disks that retirement kept. Where only the archive is left, it is a
//! fork that takes the service's place.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook.
pub const SPEC: Spec = Spec {
    kind: Kind::Revive,
    name: "revive",
    story: "Lift the seal, start the server, prove a write, open the endpoint.",
    lane: Lane::Free,
    begins: Some(phase::Event::ReviveBegun),
    ends: Some(phase::Event::Proven),
    outage_seconds: 0,
    manual_minutes: 15,
    steps: &[
        Step {
            name: "start and prove a write",
            order: Effect::Run,
            proof: Proof::Writing,
            deadline: Span::mins(2),
            past: Past::Insist { tries: 1 },
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
