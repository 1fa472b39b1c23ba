//! A script beside a member's server, by its manifest.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::time::Span;

/// The runbook. How long its step may take, and whether it is planned or disturbs nobody, is said by the
/// procedure's own manifest.
pub const SPEC: Spec = Spec {
    kind: Kind::Procedure,
    name: "procedure",
    story: "A script runs beside a member's server, by the contract of procedures, once.",
    lane: Lane::Planned,
    begins: None,
    ends: None,
    outage_seconds: 0,
    manual_minutes: 15,
    steps: &[Step {
        name: "run the script",
        order: Effect::Script,
        proof: Proof::Scripted,
        deadline: Span::mins(15),
        past: Past::GiveUp,
        on_death: OnDeath::Continue,
    }],
};
