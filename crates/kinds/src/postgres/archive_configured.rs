//! Check: is the log archived at all?

use evenkeel_core::check::{Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `archive-configured`
pub struct ArchiveConfigured;

impl Check for ArchiveConfigured {
    fn name(&self) -> &'static str {
        "archive-configured"
    }
    fn family(&self) -> Family {
        Family::Backups
    }
    fn doc(&self) -> &'static str {
        "Looks at archive_mode. Without an archive the only copy of the data is the member's own \
         directory: a lost disk is lost data, and no moment of the past can be restored. A plan \
         with an archive ends this finding; on the plan dev it is true by choice."
    }
    fn question(&self) -> &'static str {
        "SELECT current_setting('archive_mode') AS mode"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        (reading.text("mode") == "off").then(|| {
            self.found(
                Severity::Note,
                "no archive is configured: the data is nowhere else".to_owned(),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("mode", "off")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("mode", "on")])
    }
}
