//! Retire: out of service, disks kept. Where a plan archives, they go after the grace period, once a last
//! proof has shown that the archive holds everything.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. Nothing in it removes anything, so every step may wait as long as it must.
pub const SPEC: Spec = Spec {
    kind: Kind::Retire,
    name: "retire",
    story: "Close the endpoint, stop the server cleanly, seal its directory.",
    lane: Lane::Planned,
    begins: Some(phase::Event::RetireBegun),
    ends: Some(phase::Event::Sealed),
    outage_seconds: 0,
    manual_minutes: 15,
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
            name: "stop cleanly",
            order: Effect::Stop,
            proof: Proof::Stopped,
            deadline: Span::mins(2),
            past: Past::Insist { tries: 1 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "seal the directory",
            order: Effect::Seal,
            proof: Proof::Sealed,
            deadline: Span::mins(1),
            past: Past::Insist { tries: 1 },
            on_death: OnDeath::Continue,
        },
    ],
};
