//! Archive: from disks to the archive alone.

use super::{Effect, Kind, OnDeath, Past, Proof, Spec, Step};
use crate::claim::Lane;
use crate::service::phase;
use crate::time::Span;

/// The runbook. It begins only with a last proof: a restore that got to the very end of what the sealed
/// primary has, told a moment ago. The primary goes last, so that whatever is left has everything and can
/// be proven again. When a host is away, a repository was removed or a removal takes too long, what is left
/// stays (`cell::backups::away`): the service is retired again, and nothing goes before another last proof.
pub const SPEC: Spec = Spec {
    kind: Kind::Archive,
    name: "archive",
    story: "Remove the members of a service whose archive is proven to hold everything.",
    lane: Lane::Planned,
    begins: None,
    ends: Some(phase::Event::Archived),
    outage_seconds: 0,
    manual_minutes: 30,
    steps: &[
        Step {
            name: "remove the standbys' directories",
            order: Effect::RemoveStandbys,
            proof: Proof::StandbysGone,
            deadline: Span::mins(10),
            past: Past::GiveUp,
            on_death: OnDeath::Continue,
        },
        Step {
            name: "remove the primary's directory",
            order: Effect::Remove,
            proof: Proof::Gone,
            deadline: Span::mins(10),
            past: Past::GiveUp,
            on_death: OnDeath::Continue,
        },
    ],
};
