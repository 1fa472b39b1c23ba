//! Check: does the server fail to archive its log?

use evenkeel_core::check::{Asked, Check, Family, Reading, Result, Severity, Thresholds};

/// `archive-failing`
pub struct ArchiveFailing;

impl Check for ArchiveFailing {
    fn name(&self) -> &'static str {
        "archive-failing"
    }
    fn family(&self) -> Family {
        Family::Backups
    }
    fn doc(&self) -> &'static str {
        "Looks at the server's own word on its archive: whether its last try failed and none \
         went well since. What is not archived cannot be restored, and the log stays on the \
         disk until it is. How far behind the archive is, in bytes and time, is told by \
         archive-current."
    }
    fn question(&self) -> &'static str {
        "SELECT (last_failed_time > coalesce(last_archived_time, '-infinity'))::text AS failing, \
         coalesce(last_failed_wal, '') AS file FROM pg_stat_archiver"
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let failing = reading.text("failing") == "true";
        failing.then(|| {
            self.found(
                Severity::Warning,
                format!("the last try to archive {} failed", reading.text("file")),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("failing", "true"), ("file", "00000001000000000000002A")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("failing", ""), ("file", "")])
    }
}
