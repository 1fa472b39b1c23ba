//! Check: does any rule let clients in without proving who they are?

use evenkeel_core::check::{Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `trust-rules`
pub struct TrustRules;

impl Check for TrustRules {
    fn name(&self) -> &'static str {
        "trust-rules"
    }
    fn family(&self) -> Family {
        Family::Security
    }
    fn doc(&self) -> &'static str {
        "Looks at the rules for clients as the server reads them, for trust, and for passwords in \
         clear text or as MD5. Whoever reaches the port under trust is whoever they say they are. \
         Evenkeel writes these rules itself: one that is not its own is drift."
    }
    fn question(&self) -> &'static str {
        "SELECT count(*)::text AS rules, \
                coalesce(string_agg(DISTINCT auth_method, ', '), '') AS methods \
         FROM pg_hba_file_rules WHERE auth_method IN ('trust', 'password', 'md5', 'ident')"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let rules = reading.number("rules")?;
        (rules > 0).then(|| {
            self.found(
                Severity::Critical,
                format!("{rules} rules for clients allow {}", reading.text("methods")),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("rules", "1"), ("methods", "trust")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("rules", "0"), ("methods", "")])
    }
}
