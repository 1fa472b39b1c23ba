//! Check: is there room left where members live?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity, Thresholds};

/// `disk-space`
pub struct DiskSpace;

impl Check for DiskSpace {
    fn name(&self) -> &'static str {
        "disk-space"
    }
    fn family(&self) -> Family {
        Family::Host
    }
    fn doc(&self) -> &'static str {
        "Looks at the free share of the file system that members live on: by default a warning below 15 %, critical below 5 %. A full disk stops every server on it. Free space, or drain the host."
    }
    fn question(&self) -> &'static str {
        "free_percent"
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["disk_free_warn_percent", "disk_free_critical_percent"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let free = reading.number("free_percent")?;
        let (severity, below) = match free {
            n if n < limits.disk_free_critical_percent => {
                (Severity::Critical, limits.disk_free_critical_percent)
            }
            n if n < limits.disk_free_warn_percent => {
                (Severity::Warning, limits.disk_free_warn_percent)
            }
            _ => return None,
        };
        Some(self.found(severity, format!("less than {below} % of the disk is free")))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("free_percent", "9")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("free_percent", "40")])
    }
}
