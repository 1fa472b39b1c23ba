//! Relax: commits wait no longer for a standby that is not there.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. From the moment this is recorded the one that is no longer counted on is not promoted
/// without a person, though it may come back: what is acknowledged from now on it does not have.
pub const SPEC: Spec = Spec {
    kind: Kind::Relax,
    name: "relax",
    story: "Let commits wait only for the standbys that are there, and promote no other one from then on.",
    lane: Lane::Emergency,
    begins: None,
    ends: None,
    outage_seconds: 0,
    manual_minutes: 20,
    steps: &[Step {
        name: "count on those who follow",
        order: Effect::Count,
        proof: Proof::Counted,
        deadline: Span::secs(10),
        past: Past::Insist { tries: 3 },
        on_death: OnDeath::HandOver,
    }],
};
