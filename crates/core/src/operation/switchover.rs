//! Switchover: another member takes the primary's place, in order.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. The primary stops in order and its standbys have all of its log before they are deaf;
/// if that does not come to be in time, whoever covers is promoted, the old primary included.
pub const SPEC: Spec = Spec {
    kind: Kind::Switchover,
    name: "switchover",
    story: "Have pooled clients wait, stop the primary when its standby has everything, promote \
            that one, prove a write.",
    lane: Lane::Planned,
    begins: None,
    ends: None,
    outage_seconds: 1,
    manual_minutes: 30,
    steps: &[
        Step {
            name: "write a checkpoint",
            order: Effect::Checkpoint,
            proof: Proof::Checkpointed,
            deadline: Span::secs(30),
            past: Past::GoOn,
            on_death: OnDeath::HandOver,
        },
        Step {
            name: "have pooled clients wait",
            order: Effect::Pause,
            proof: Proof::Paused,
            deadline: Span::secs(5),
            past: Past::GoOn,
            on_death: OnDeath::HandOver,
        },
        Step {
            name: "stop the primary, its log handed over",
            order: Effect::HandOver,
            proof: Proof::HandedOver,
            deadline: Span::secs(30),
            past: Past::GoOn,
            on_death: OnDeath::Continue,
        },
        Step {
            name: "recruit the others",
            order: Effect::RecruitOthers,
            proof: Proof::Covered,
            deadline: Span::secs(5),
            past: Past::Insist { tries: 3 },
            on_death: OnDeath::Continue,
        },
        Step {
            name: "promote and prove a write",
            order: Effect::Promote,
            proof: Proof::Writing,
            deadline: Span::secs(60),
            past: Past::GiveUp,
            on_death: OnDeath::HandOver,
        },
    ],
};
