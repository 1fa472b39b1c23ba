//! Check: are nearly all connections taken?

use evenkeel_core::check::{Asked, Check, Family, Reading, Result, Severity, Thresholds};

/// `connections-near-limit`
pub struct ConnectionsNearLimit;

impl Check for ConnectionsNearLimit {
    fn name(&self) -> &'static str {
        "connections-near-limit"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Counts clients' connections against max_connections less what is reserved: a warning from \
         four fifths by default, critical from nineteen twentieths. Past the limit clients are refused. Put a \
         pooler in front, or take a larger plan."
    }
    fn question(&self) -> &'static str {
        "SELECT (SELECT count(*)::text FROM pg_stat_activity \
                 WHERE backend_type = 'client backend') AS used, \
                (current_setting('max_connections')::int \
                 - current_setting('superuser_reserved_connections')::int)::text AS most"
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["connections_warn_percent", "connections_critical_percent"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let (used, most) = (reading.number("used")?, reading.number("most")?);
        let percent = used.saturating_mul(100) / most.max(1);
        let (severity, least) = match percent {
            n if n >= limits.connections_critical_percent => {
                (Severity::Critical, limits.connections_critical_percent)
            }
            n if n >= limits.connections_warn_percent => {
                (Severity::Warning, limits.connections_warn_percent)
            }
            _ => return None,
        };
        let text = format!("{least} % or more of {most} connections are taken");
        Some(self.found(severity, text))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("used", "80"), ("most", "95")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("used", "75"), ("most", "95")])
    }
}
