//! Archive: from disks to the archive alone.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. It begins only with a last proof: a restore that got to the very end of what the sealed
/// primary has. A host that is away keeps the service retired, with a page.
pub const SPEC: Spec = Spec {
    kind: Kind::Archive,
    name: "archive",
    story: "Remove the members of a service whose archive is proven to hold everything.",
    lane: Lane::Planned,
    begins: None,
    ends: Some(phase::Event::Archived),
    outage_seconds: 0,
    manual_minutes: 30,
    steps: &[Step {
        name: "remove the directories",
        order: Effect::Remove,
        proof: Proof::Gone,
        deadline: Span::mins(2),
        past: Past::Insist { tries: 1 },
        on_death: OnDeath::Continue,
    }],
};
