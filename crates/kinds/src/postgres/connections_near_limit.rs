//! Check: are nearly all connections taken?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity};

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
         four fifths, critical from nineteen twentieths. Past the limit clients are refused. Put a \
         pooler in front, or take a larger plan."
    }
    fn question(&self) -> &'static str {
        "SELECT (SELECT count(*)::text FROM pg_stat_activity \
                 WHERE backend_type = 'client backend') AS used, \
                (current_setting('max_connections')::int \
                 - current_setting('superuser_reserved_connections')::int)::text AS most"
    }
    fn judge(&self, reading: &Reading) -> Option<Result> {
        let (used, most) = (reading.number("used")?, reading.number("most")?);
        let (severity, share) = match used * 20 {
            n if n >= most * 19 => (Severity::Critical, "nineteen twentieths"),
            n if n >= most * 16 => (Severity::Warning, "four fifths"),
            _ => return None,
        };
        Some(Result {
            check: self.name().to_owned(),
            severity,
            evidence: format!("more than {share} of {most} connections are taken"),
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("used", "80"), ("most", "95")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("used", "75"), ("most", "95")])
    }
}
