//! Recover: what a remedy does to a member that loops or hangs.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::goal::StopMode;
use crate::service::phase;
use crate::time::Span;

/// The runbook. The hard stop loses nothing acknowledged: the log is replayed at the next start.
pub const SPEC: Spec = Spec {
    kind: Kind::Recover,
    name: "recover",
    story: "End what is left of the server, start it with a fresh budget of restarts, prove a write.",
    lane: Lane::Emergency,
    begins: Some(phase::Event::RestartBegun),
    ends: Some(phase::Event::Proven),
    outage_seconds: 2,
    manual_minutes: 20,
    steps: &[Step {
        name: "restart hard and prove a write",
        order: Effect::Restart(StopMode::Immediate),
        proof: Proof::Writing,
        deadline: Span::mins(1),
        past: Past::GiveUp,
        on_death: OnDeath::Continue,
    }],
};
