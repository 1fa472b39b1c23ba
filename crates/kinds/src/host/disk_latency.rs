//! Check: how long does the disk take to keep a promise?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity, Thresholds};

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
        "Times a small synced write where members live: by default a warning from 200 ms, critical from 2 s. Every commit waits for such a write. Look for a failing disk, a busy neighbour, a throttled volume."
    }
    fn question(&self) -> &'static str {
        "fsync_ms"
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["disk_latency_warn_ms", "disk_latency_critical_ms"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let took = reading.number("fsync_ms")?;
        let (severity, above) = match took {
            n if n >= limits.disk_latency_critical_ms => {
                (Severity::Critical, limits.disk_latency_critical_ms)
            }
            n if n >= limits.disk_latency_warn_ms => {
                (Severity::Warning, limits.disk_latency_warn_ms)
            }
            _ => return None,
        };
        let text = format!("a small synced write takes {above} ms or more");
        Some(self.found(severity, text))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("fsync_ms", "350")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("fsync_ms", "3")])
    }
}
