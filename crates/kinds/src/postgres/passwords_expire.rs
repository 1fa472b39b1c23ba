//! Check: does a password end soon?

use evenkeel_core::check::{Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `passwords-expire`
pub struct PasswordsExpire;

impl Check for PasswordsExpire {
    fn name(&self) -> &'static str {
        "passwords-expire"
    }
    fn family(&self) -> Family {
        Family::Security
    }
    fn doc(&self) -> &'static str {
        "Looks for roles that may log in and whose password ends within the policy's time, or \
         has ended. From then on their clients are refused. Give the role a new password, or \
         another end with ALTER ROLE ... VALID UNTIL. PostgreSQL does not keep when a \
         password was set, so its age is not known."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(concat_ws(E'\\t', rolname, floor(extract(epoch FROM rolvaliduntil - now()) / 86400)::bigint), E'\\n' ORDER BY rolvaliduntil, rolname), '') AS items \
         FROM (SELECT rolname, rolvaliduntil FROM pg_roles WHERE rolcanlogin AND rolvaliduntil < now() + interval '1 year' ORDER BY rolvaliduntil, rolname LIMIT 50) AS t"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["password_warn_days"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let mut ended = false;
        let mut soon = Vec::new();
        for line in reading.lines("items") {
            let &[role, days] = line.as_slice() else { continue };
            let Some(days) = days.parse().ok().filter(|d: &i64| *d < limits.password_warn_days)
            else {
                continue;
            };
            ended |= days < 0;
            soon.push(if days < 0 { format!("{role} (ended)") } else { format!("{role} (soon)") });
        }
        let severity = if ended { Severity::Critical } else { Severity::Warning };
        self.found_of(severity, "passwords that end", soon)
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "orders\t3")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "orders\t200")])
    }
}
