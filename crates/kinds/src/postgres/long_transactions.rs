//! Check: does a transaction run for very long?

use evenkeel_core::check::{
    Asked, Check, Family, Reading, Result, Severity, Thresholds, longer_than,
};

/// `long-transactions`
pub struct LongTransactions;

impl Check for LongTransactions {
    fn name(&self) -> &'static str {
        "long-transactions"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for the oldest transaction of a client that works. While it runs, no row that \
         was removed or changed since can be cleared away, in any table, and standbys that \
         ask for it keep them too. Tables and their indexes grow. Let it end, or end it with \
         pg_terminate_backend."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(t.seconds, 0)::text AS seconds, coalesce(t.pid::text, '') AS pid, coalesce(t.usename, '') AS role, \
         coalesce(t.datname, '') AS database \
         FROM (SELECT 1) AS one LEFT JOIN LATERAL ( \
         SELECT extract(epoch FROM clock_timestamp() - xact_start)::bigint AS seconds, pid, usename, datname \
         FROM pg_stat_activity WHERE backend_type = 'client backend' AND xact_start IS NOT NULL \
         AND state NOT LIKE 'idle in transaction%' AND usename NOT LIKE 'evenkeel%' \
         ORDER BY xact_start LIMIT 1) AS t ON true"
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["transaction_warn_seconds", "transaction_critical_seconds"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let seconds = reading.number("seconds")?;
        let severity = match seconds {
            n if n >= limits.transaction_critical_seconds => Severity::Critical,
            n if n >= limits.transaction_warn_seconds => Severity::Warning,
            _ => return None,
        };
        let text = |column| reading.text(column);
        let (pid, role, database) = (text("pid"), text("role"), text("database"));
        let longer = longer_than(seconds);
        Some(self.found(
            severity,
            format!("a transaction of {role} in {database} (pid {pid}) runs for {longer}"),
        ))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[
            ("seconds", "7300"),
            ("pid", "4242"),
            ("role", "orders"),
            ("database", "orders"),
        ])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[
            ("seconds", "4"),
            ("pid", "4242"),
            ("role", "orders"),
            ("database", "orders"),
        ])
    }
}
