//! Restart: by order, in an orderly way.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::goal::StopMode;
use crate::service::phase;
use crate::time::Span;

/// The runbook. The endpoint stays open: the gateway holds new connections meanwhile.
pub const SPEC: Spec = Spec {
    kind: Kind::Restart,
    name: "restart",
    story: "Stop the server with a checkpoint, start it, prove a write.",
    lane: Lane::Planned,
    begins: Some(phase::Event::RestartBegun),
    ends: Some(phase::Event::Proven),
    outage_seconds: 1,
    manual_minutes: 5,
    steps: &[Step {
        name: "restart and prove a write",
        order: Effect::Restart(StopMode::Fast),
        proof: Proof::Writing,
        deadline: Span::mins(2),
        past: Past::GiveUp,
        on_death: OnDeath::Continue,
    }],
};
