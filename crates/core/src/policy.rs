//! Every number that decides, in one place, with its source.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::backup::retention::Keep;
use crate::backup::schedule::Schedule;
use crate::drill;
use crate::incident;
use crate::maintenance::Windows;
use crate::thresholds::Thresholds;
use crate::time::Span;

const DAY: Span = Span::mins(24 * 60);

/// The rules a cell decides by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Interval of agents' beats. DESIGN 4: 1 s; 10 s is allowed for the largest fleets.
    pub beat: Span,
    /// Beats missed before a host without positive evidence is shown uncertain.
    pub missed_beats_max: u64,
    /// Negative evidence from two vantage points must last this long before a member is down.
    pub down_after: Span,
    /// The same for plans that are fast: DESIGN 4.
    pub down_after_fast: Span,
    /// How often witnesses are asked while in doubt.
    pub ask_every: Span,
    /// The same for plans that are fast.
    pub ask_every_fast: Span,
    /// Commits wait this long for a standby that is gone before it is no longer counted on.
    pub relax_after: Span,
    /// A member is away this long before another is made in its place.
    pub rebuild_after: Span,
    /// How long a witness waits for an answer.
    pub witness_patience: Span,
    /// An answer older than this is no evidence.
    pub answer_stale_after: Span,
    /// After a start, hosts have this long to dial in before their silence means anything.
    pub start_grace: Span,
    /// Servers that one host starts at once at most, as after a power cut. Without it each host finds by trying
    /// what it bears: more while starts stay as fast as its fastest, half when they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_starts_max: Option<u32>,
    /// Disruptive operations at once on one host, planned ones.
    pub host_operations_max: u16,
    /// The emergency lane's own share on top of that; each host gets as much of it as it bears.
    pub host_emergencies_max: u16,
    /// The same in one zone.
    pub zone_operations_max: u32,
    /// The same in one zone.
    pub zone_emergencies_max: u32,
    /// The same of members that run from one image: a bad one shows itself before all are on it.
    pub image_operations_max: u32,
    /// The same of members that run from one image.
    pub image_emergencies_max: u32,
    /// The same in a whole cell.
    pub cell_operations_max: u32,
    /// The same in a whole cell.
    pub cell_emergencies_max: u32,
    /// First port of endpoints and members.
    pub port_first: u16,
    /// Last port of endpoints and members.
    pub port_last: u16,
    /// Members one host may hold.
    pub host_members_max: u32,
    /// When backups are taken.
    pub backup: Schedule,
    /// Which are kept, instead of what plans say.
    pub backup_keep: Option<Keep>,
    /// A new service's first backup is taken within this: services created together are spread over it.
    pub backup_first_within: Span,
    /// Bytes a second that a scheduled backup reads at most, beside clients; 0 for no limit. One that a
    /// person orders is waited for, and has none.
    pub backup_rate_max: u64,
    /// Jobs at once on one host: backups, proofs, expiry.
    pub backup_host_max: u16,
    /// Jobs at once on the repositories.
    pub backup_repository_max: u16,
    /// A backup's restore is proven so often.
    pub prove_every: Span,
    /// A retired service's disks are kept so long; then it is archived.
    pub retired_keep: Span,
    /// A first backup's within this.
    pub prove_first_within: Span,
    /// When planned work is done on services that say nothing else; `None`: at any time.
    pub maintenance_window: Option<Windows>,
    /// How often every service is drilled that has no schedule of its own, by kind of drill; what is left
    /// out is not done by itself. Proofs are taken by `prove_every`.
    pub drill_every: BTreeMap<drill::Kind, Span>,
    /// Drills at once in the whole fleet.
    pub drills_max: u16,
    /// Between two drills on one service that people could feel.
    pub drill_spacing: Span,
    /// Minutes a person would need, by name of the remedy or operation, instead of what those say themselves.
    pub manual_minutes: BTreeMap<String, u16>,
    /// How incidents are gathered, told and ended.
    pub incidents: incident::Rules,
    /// From where on a check's reading is a finding.
    pub checks: Thresholds,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            beat: Span::secs(1),
            missed_beats_max: 3,
            down_after: Span::secs(10),
            down_after_fast: Span::millis(500),
            ask_every: Span::secs(1),
            ask_every_fast: Span::millis(100),
            relax_after: Span::secs(3),
            rebuild_after: Span::mins(2),
            witness_patience: Span::millis(500),
            answer_stale_after: Span::secs(3),
            start_grace: Span::secs(15),
            host_starts_max: None,
            host_operations_max: 4,
            host_emergencies_max: 64,
            zone_operations_max: 32,
            zone_emergencies_max: 512,
            image_operations_max: 64,
            image_emergencies_max: 1_024,
            cell_operations_max: 64,
            cell_emergencies_max: 1_024,
            port_first: 21_000,
            port_last: 31_999,
            host_members_max: 2_000,
            backup: Schedule { every: DAY, from: Span(0), open: DAY },
            backup_keep: None,
            backup_first_within: Span::secs(30),
            backup_rate_max: 64 << 20,
            backup_host_max: 1,
            backup_repository_max: 8,
            prove_every: DAY.times(7),
            retired_keep: DAY.times(7),
            prove_first_within: Span::mins(60),
            maintenance_window: None,
            drill_every: BTreeMap::new(),
            drills_max: 1,
            drill_spacing: DAY,
            manual_minutes: BTreeMap::new(),
            incidents: incident::Rules::DEFAULT,
            checks: Thresholds::default(),
        }
    }
}

impl Policy {
    /// Whether it can be decided by: what would never end, never begin or has no room is refused by name.
    ///
    /// # Errors
    /// What is wrong, with the key that it is about.
    pub fn check(&self) -> Result<(), String> {
        let spans = [
            ("beat", self.beat),
            ("down_after", self.down_after),
            ("down_after_fast", self.down_after_fast),
            ("ask_every", self.ask_every),
            ("ask_every_fast", self.ask_every_fast),
            ("witness_patience", self.witness_patience),
        ];
        if let Some((key, _)) = spans.into_iter().find(|(_, span)| *span == Span(0)) {
            return Err(format!("`{key}` is 0, and must be some milliseconds"));
        }
        let counts = [
            ("missed_beats_max", self.missed_beats_max == 0),
            ("host_members_max", self.host_members_max == 0),
            ("host_starts_max", self.host_starts_max == Some(0)),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, is_none)| *is_none) {
            return Err(format!("`{key}` is 0, and must be 1 or more"));
        }
        if self.port_first > self.port_last {
            let (first, last) = (self.port_first, self.port_last);
            return Err(format!("`port_first` is {first}, past `port_last`, which is {last}"));
        }
        Ok(())
    }

    /// A beat later than this makes its host suspect: one interval and a half.
    #[must_use]
    pub const fn late_after(&self) -> Span {
        Span(self.beat.0 + self.beat.0 / 2)
    }

    /// Silence longer than this is shown.
    #[must_use]
    pub const fn silent_after(&self) -> Span {
        self.beat.times(self.missed_beats_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_never_end_or_begin_is_refused_by_its_key() {
        assert_eq!(Policy::default().check(), Ok(()));
        let why = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check().expect_err("it is refused")
        };
        let refused = [
            ("beat", why(|p| p.beat = Span(0))),
            ("down_after", why(|p| p.down_after = Span(0))),
            ("down_after_fast", why(|p| p.down_after_fast = Span(0))),
            ("ask_every", why(|p| p.ask_every = Span(0))),
            ("ask_every_fast", why(|p| p.ask_every_fast = Span(0))),
            ("witness_patience", why(|p| p.witness_patience = Span(0))),
            ("missed_beats_max", why(|p| p.missed_beats_max = 0)),
            ("host_members_max", why(|p| p.host_members_max = 0)),
            ("host_starts_max", why(|p| p.host_starts_max = Some(0))),
            ("port_first", why(|p| (p.port_first, p.port_last) = (9_000, 8_000))),
        ];
        for (key, why) in refused {
            assert!(why.starts_with(&format!("`{key}` is ")), "{key}: {why}");
        }
    }
}
