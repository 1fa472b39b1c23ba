//! Check: is the log archived at all?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity};

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
    fn judge(&self, reading: &Reading) -> Option<Result> {
        (reading.text("mode") == "off").then(|| Result {
            check: self.name().to_owned(),
            severity: Severity::Note,
            evidence: "no archive is configured: the data is nowhere else".to_owned(),
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("mode", "off")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("mode", "on")])
    }
}
