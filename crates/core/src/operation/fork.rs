//! Fork: a new service from another's backup and log.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. A source that cannot archive what it wrote last is restored as far as it did.
pub const SPEC: Spec = Spec {
    kind: Kind::Fork,
    name: "fork",
    story: "Archive what the source wrote last, restore into a new member, prove a write, have standbys \
            follow, open the endpoint, take the source's place if it should.",
    lane: Lane::Free,
    begins: None,
    ends: Some(phase::Event::Installed),
    outage_seconds: 0,
    manual_minutes: 60,
    steps: &[
        Step {
            name: "archive what its source wrote last",
            order: Effect::Flush,
            proof: Proof::Flushed,
            deadline: Span::secs(60),
            past: Past::GoOn,
            on_death: OnDeath::Continue,
        },
        Step {
            name: "restore, replay and prove a write",
            order: Effect::RunPrimary,
            proof: Proof::Writing,
            deadline: Span::mins(6 * 60),
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
        Step {
            name: "take its source's place, if it should",
            order: Effect::TakePlace,
            proof: Proof::Routed,
            deadline: Span::secs(10),
            past: Past::GoOn,
            on_death: OnDeath::Continue,
        },
    ],
};
