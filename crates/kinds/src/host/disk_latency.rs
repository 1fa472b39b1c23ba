//! Check: how long does the disk take to keep a promise?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity};

/// `disk-latency`
pub struct DiskLatency;

impl Check for DiskLatency {
    fn name(&self) -> &'static str {
        "disk-latency"
    }
    fn family(&self) -> Family {
        Family::Host
    }
    fn doc(&self) -> &'static str {
        "Times a small synced write where members live: a warning from 200 ms, critical from 2 s. Every commit waits for such a write. Look for a failing disk, a busy neighbour, a throttled volume."
    }
    fn question(&self) -> &'static str {
        "fsync_ms"
    }
    fn judge(&self, reading: &Reading) -> Option<Result> {
        let took = reading.number("fsync_ms")?;
        let (severity, above) = match took {
            ..200 => return None,
            200..2000 => (Severity::Warning, "200 ms"),
            _ => (Severity::Critical, "2 s"),
        };
        Some(Result {
            check: self.name().to_owned(),
            severity,
            evidence: format!("a small synced write takes more than {above}"),
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("fsync_ms", "350")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("fsync_ms", "3")])
    }
}
