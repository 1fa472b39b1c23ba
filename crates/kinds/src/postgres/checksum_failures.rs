//! Check: was a block read that is not what was written?

use evenkeel_core::check::{
    Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds, about,
};

/// `checksum-failures`
pub struct ChecksumFailures;

impl Check for ChecksumFailures {
    fn name(&self) -> &'static str {
        "checksum-failures"
    }
    fn family(&self) -> Family {
        Family::Backups
    }
    fn doc(&self) -> &'static str {
        "Counts blocks whose checksum was wrong when they were read. The disk or memory below \
         gave back something else than was written; what else is wrong is not known, and \
         backups taken since may hold it. Restore from a backup that was proven before, or \
         have another member take over and make this one anew."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(sum(checksum_failures), 0)::bigint::text AS failures, \
         coalesce(string_agg(coalesce(datname, 'shared catalogs'), ', ' ORDER BY datname) FILTER (WHERE checksum_failures > 0), '') AS databases \
         FROM pg_stat_database"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let failures = reading.number("failures")?;
        let text = || {
            format!(
                "{} blocks with a wrong checksum were read in {}",
                about(failures),
                reading.text("databases")
            )
        };
        (failures > 0).then(|| self.found(Severity::Page, text()))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("failures", "2"), ("databases", "orders")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("failures", "0"), ("databases", "")])
    }
}
