//! Check: does the kernel end processes for want of memory?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity, Thresholds};

/// `out-of-memory-kills`
pub struct OutOfMemoryKills;

impl Check for OutOfMemoryKills {
    fn name(&self) -> &'static str {
        "out-of-memory-kills"
    }
    fn family(&self) -> Family {
        Family::Host
    }
    fn doc(&self) -> &'static str {
        "Counts processes the kernel killed for want of memory since the last reading. A killed server restarts, and will be killed again. Move members to other hosts or give them smaller plans."
    }
    fn question(&self) -> &'static str {
        "kills"
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let kills = reading.number("kills")?;
        (kills > 0).then(|| {
            self.found(
                Severity::Critical,
                "the kernel killed processes for want of memory".to_owned(),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("kills", "2")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("kills", "0")])
    }
}
