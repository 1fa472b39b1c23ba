//! Rejoin: a former primary, or a standby that went astray, follows again.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. Only what is owed to nobody is made anew: its own tail of the log is saved, the rest is
/// rewound, or copied where that does not work.
pub const SPEC: Spec = Spec {
    kind: Kind::Rejoin,
    name: "rejoin",
    story: "Make the member anew from the primary, let it follow, count on it.",
    lane: Lane::Free,
    begins: None,
    ends: None,
    outage_seconds: 0,
    manual_minutes: 40,
    steps: &[
        Step {
            name: "follow the primary",
            order: Effect::Follow,
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
