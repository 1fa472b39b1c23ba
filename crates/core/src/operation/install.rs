//! Install: the story of a new service.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. Placement happened when the order was accepted: the host is in the row.
pub const SPEC: Spec = Spec {
    kind: Kind::Install,
    name: "install",
    story: "Initialise a member on its host, start it, prove a write, open the endpoint.",
    lane: Lane::Free,
    begins: None,
    ends: Some(phase::Event::Installed),
    outage_seconds: 0,
    manual_minutes: 30,
    steps: &[
        Step {
            name: "initialise, start and prove a write",
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
