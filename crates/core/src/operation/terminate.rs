//! Terminate: the end, by a person's order and confirmation only.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. A host that is away keeps the service in `retiring`, with a page: what cannot be
/// seen gone is not called gone.
pub const SPEC: Spec = Spec {
    kind: Kind::Terminate,
    name: "terminate",
    story: "Close the endpoint, stop the server, remove its directory.",
    lane: Lane::Planned,
    begins: Some(phase::Event::TerminateBegun),
    ends: Some(phase::Event::Removed),
    outage_seconds: 0,
    manual_minutes: 10,
    steps: &[
        Step {
            name: "close the endpoint",
            order: Effect::CloseEndpoint,
            proof: Proof::Routed,
            deadline: Span::secs(10),
            past: Past::GoOn,
            on_death: OnDeath::Continue,
        },
        Step {
            name: "stop and remove",
            order: Effect::Remove,
            proof: Proof::Gone,
            deadline: Span::mins(2),
            past: Past::Insist { tries: 1 },
            on_death: OnDeath::Continue,
        },
    ],
};
