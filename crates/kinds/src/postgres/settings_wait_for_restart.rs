//! Check: do settings wait for a restart?

use evenkeel_core::check::{Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `settings-wait-for-restart`
pub struct SettingsWaitForRestart;

impl Check for SettingsWaitForRestart {
    fn name(&self) -> &'static str {
        "settings-wait-for-restart"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for settings that were changed in files and take effect with the next start \
         only. The server does not run as its files say, and the next unplanned restart will \
         change it. Restart the service when it suits."
    }
    fn question(&self) -> &'static str {
        "SELECT count(*)::text AS settings, coalesce(string_agg(name, ', ' ORDER BY name), '') AS names FROM pg_settings WHERE pending_restart"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let waits = reading.number("settings")? > 0;
        waits.then(|| {
            self.found(
                Severity::Note,
                format!("settings that wait for a restart: {}", reading.text("names")),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("settings", "1"), ("names", "max_connections")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("settings", "0"), ("names", "")])
    }
}
