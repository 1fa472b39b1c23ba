//! Check: do transactions come to the end of their ids?

use evenkeel_core::check::{Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `wraparound`
pub struct Wraparound;

impl Check for Wraparound {
    fn name(&self) -> &'static str {
        "wraparound"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks at the age of the oldest ids of transactions and multixacts that are not \
         frozen, in any database. Near 2^31 the server takes no writes any more. Vacuum \
         freezes them in good time unless it is held back: look for old transactions, slots \
         and prepared transactions, then run VACUUM FREEZE in the database that is named."
    }
    fn question(&self) -> &'static str {
        "SELECT max(age(datfrozenxid))::text AS xids, max(mxid_age(datminmxid))::text AS multixacts, \
         (SELECT datname FROM pg_database ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC, datname LIMIT 1) AS database \
         FROM pg_database"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["wraparound_warn_xids", "wraparound_critical_xids"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let age = reading.number("xids")?.max(reading.number("multixacts")?);
        let severity = match age {
            n if n >= limits.wraparound_critical_xids => Severity::Critical,
            n if n >= limits.wraparound_warn_xids => Severity::Warning,
            _ => return None,
        };
        let (hundreds, database) = (age / 100_000_000 * 100, reading.text("database"));
        Some(self.found(
            severity,
            format!("{hundreds} million ids or more are not frozen in {database}, of 2147"),
        ))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("xids", "900000000"), ("multixacts", "3"), ("database", "orders")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("xids", "180000000"), ("multixacts", "3"), ("database", "orders")])
    }
}
