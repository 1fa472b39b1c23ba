//! Failover: another member takes the place of a primary that is lost.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. A term begins with the recruiting: whoever answers follows nobody any more, so that
/// nothing can be acknowledged in an older one. Once a promotion is recorded there is no way back; before
/// that, a primary that turns out to serve goes on in a newer term.
pub const SPEC: Spec = Spec {
    kind: Kind::Failover,
    name: "failover",
    story: "Recruit the members that are left, promote the one with the newest log, prove a write.",
    lane: Lane::Emergency,
    begins: None,
    ends: None,
    outage_seconds: 1,
    manual_minutes: 45,
    steps: &[
        Step {
            name: "recruit who is left",
            order: Effect::Recruit,
            proof: Proof::Covered,
            deadline: Span::secs(10),
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
