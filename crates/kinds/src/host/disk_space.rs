//! Check: is there room left where members live?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity};

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
        "Looks at the free share of the file system that members live on: a warning below 15 %, critical below 5 %. A full disk stops every server on it. Free space, or drain the host."
    }
    fn question(&self) -> &'static str {
        "free_percent"
    }
    fn judge(&self, reading: &Reading) -> Option<Result> {
        let free = reading.number("free_percent")?;
        let (severity, below) = match free {
            ..5 => (Severity::Critical, 5),
            5..15 => (Severity::Warning, 15),
            _ => return None,
        };
        Some(Result {
            check: self.name().to_owned(),
            severity,
            evidence: format!("less than {below} % of the disk is free"),
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("free_percent", "9")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("free_percent", "40")])
    }
}
