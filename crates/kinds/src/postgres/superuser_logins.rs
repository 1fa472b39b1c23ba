//! Check: can anybody but Evenkeel log in as a superuser?

use evenkeel_core::check::{Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `superuser-logins`
pub struct SuperuserLogins;

impl Check for SuperuserLogins {
    fn name(&self) -> &'static str {
        "superuser-logins"
    }
    fn family(&self) -> Family {
        Family::Security
    }
    fn doc(&self) -> &'static str {
        "Looks for superusers that can log in, other than Evenkeel's own. A superuser reads files, \
         runs programs as the server's user and changes what backups and replication rest on. \
         Take the attribute away or forbid the login."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(rolname, ', ' ORDER BY rolname), '') AS roles \
         FROM pg_roles WHERE rolsuper AND rolcanlogin AND rolname <> 'evenkeel'"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let roles = reading.text("roles");
        (!roles.is_empty())
            .then(|| self.found(Severity::Critical, format!("superusers that can log in: {roles}")))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("roles", "bob")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("roles", "")])
    }
}
