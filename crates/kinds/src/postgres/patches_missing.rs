//! Check: is there a newer minor release?

use evenkeel_core::check::{Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// The newest minor release of each major version that gets patches.
///
/// Source: the announcement of 18.1, 17.7, 16.11, 15.15, 14.20 and 13.23 on www.postgresql.org.
const NEWEST: [(i64, i64); 6] = [(18, 1), (17, 7), (16, 11), (15, 15), (14, 20), (13, 23)];
/// When that was so.
const AS_OF: &str = "2025-11-13";

/// `patches-missing`
pub struct PatchesMissing;

impl Check for PatchesMissing {
    fn name(&self) -> &'static str {
        "patches-missing"
    }
    fn family(&self) -> Family {
        Family::Security
    }
    fn doc(&self) -> &'static str {
        "Compares the server's release with the newest minor release of its major version \
         that this Evenkeel knows of: a table with a date, not the world's state. Minor \
         releases mend data corruption and holes in security, and need a restart only. \
         Install it on the hosts, then restart the service."
    }
    fn question(&self) -> &'static str {
        "SELECT current_setting('server_version_num') AS version"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let version = reading.number("version")?;
        let (major, minor) = (version / 10_000, version % 10_000);
        let oldest = NEWEST.iter().map(|(major, _)| *major).min()?;
        if major < oldest {
            return Some(self.found(
                Severity::Warning,
                format!("PostgreSQL {major} gets no patches any more, as known on {AS_OF}"),
            ));
        }
        let (_, newest) = NEWEST.iter().find(|(known, _)| *known == major)?;
        let text =
            || format!("it is {major}.{minor}, and there is {major}.{newest} as known on {AS_OF}");
        (minor < *newest).then(|| self.found(Severity::Note, text()))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("version", "150002")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("version", "150099")])
    }
}
