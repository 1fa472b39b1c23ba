//! Rebuild: a new standby on another host, in the place of one that does not come back.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. The lost member is let go only when nothing rests on it any more.
pub const SPEC: Spec = Spec {
    kind: Kind::Rebuild,
    name: "rebuild",
    story: "Make a standby on another host in the lost one's place, let it follow, count on it.",
    lane: Lane::Free,
    begins: None,
    ends: None,
    outage_seconds: 0,
    manual_minutes: 60,
    steps: &[
        Step {
            name: "place a new standby",
            order: Effect::Replace,
            proof: Proof::Following,
            deadline: Span::mins(30),
            past: Past::GiveUp,
            on_death: OnDeath::HandOver,
        },
        Step {
            name: "count on those who follow",
            order: Effect::Count,
            proof: Proof::Counted,
            deadline: Span::secs(30),
            past: Past::GiveUp,
            on_death: OnDeath::HandOver,
        },
    ],
};
