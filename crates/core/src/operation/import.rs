//! Import: a new service from a server that is nobody's here.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. What fails for good is told by its agent, and ends it; what may pass is tried again there.
pub const SPEC: Spec = Spec {
    kind: Kind::Import,
    name: "import",
    story: "Look at a foreign server, copy it or one of its databases, make that the service's own, \
            prove a write, have standbys follow, open the endpoint.",
    lane: Lane::Free,
    begins: None,
    ends: Some(phase::Event::Installed),
    outage_seconds: 0,
    manual_minutes: 240,
    steps: &[
        Step {
            name: "look at the source and choose how",
            order: Effect::RunPrimary,
            proof: Proof::Chosen,
            deadline: Span::mins(10),
            past: Past::Insist { tries: 0 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "copy, take over and prove a write",
            order: Effect::RunPrimary,
            proof: Proof::Writing,
            deadline: Span::mins(24 * 60),
            past: Past::Insist { tries: 0 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "make standbys that follow",
            order: Effect::Follow,
            proof: Proof::Following,
            deadline: Span::mins(6 * 60),
            past: Past::Insist { tries: 1 },
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
