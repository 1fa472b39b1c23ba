//! Restore: commits wait again for every standby that follows.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. A standby is counted on when it has everything that was written before it was.
pub const SPEC: Spec = Spec {
    kind: Kind::Restore,
    name: "restore",
    story: "Have commits wait for the standbys that follow, so that a failover loses nothing.",
    lane: Lane::Free,
    begins: None,
    ends: None,
    outage_seconds: 0,
    manual_minutes: 20,
    steps: &[Step {
        name: "count on those who follow",
        order: Effect::Count,
        proof: Proof::Counted,
        deadline: Span::secs(30),
        past: Past::GiveUp,
        on_death: OnDeath::HandOver,
    }],
};
