//! Check: does the wall clock run with time?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity, Thresholds};

/// `clock-offset`
pub struct ClockOffset;

impl Check for ClockOffset {
    fn name(&self) -> &'static str {
        "clock-offset"
    }
    fn family(&self) -> Family {
        Family::Host
    }
    fn doc(&self) -> &'static str {
        "Compares how far the wall clock and the monotonic clock went since the last reading: a warning from one second apart by default. Certificates, logs and timestamps in the data go wrong; no decision of Evenkeel rests on it. Look at the time daemon."
    }
    fn question(&self) -> &'static str {
        "jump_ms"
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["clock_jump_warn_ms"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let jump = reading.number("jump_ms")?;
        (jump.abs() >= limits.clock_jump_warn_ms).then(|| {
            self.found(
                Severity::Warning,
                format!("the wall clock jumped by about {} s", jump / 1000),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("jump_ms", "-7200000")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("jump_ms", "4")])
    }
}
