//! Check: can the file system still be written to?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity, Thresholds};

/// `read-only-file-system`
pub struct ReadOnlyFileSystem;

impl Check for ReadOnlyFileSystem {
    fn name(&self) -> &'static str {
        "read-only-file-system"
    }
    fn family(&self) -> Family {
        Family::Host
    }
    fn doc(&self) -> &'static str {
        "Looks whether the file system that members live on is mounted read-only, as kernels do after an error. No server on it can commit. Check the disk, then mount it again or drain the host."
    }
    fn question(&self) -> &'static str {
        "read_only"
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        (reading.text("read_only") == "true").then(|| {
            self.found(Severity::Critical, "the file system of the members is read-only".to_owned())
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("read_only", "true")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("read_only", "false")])
    }
}
