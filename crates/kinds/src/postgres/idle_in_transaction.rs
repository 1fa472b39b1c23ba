//! Check: is a transaction open in which nothing happens?

use evenkeel_core::check::{
    Asked, Check, Family, Reading, Result, Severity, Thresholds, longer_than,
};

/// `idle-in-transaction`
pub struct IdleInTransaction;

impl Check for IdleInTransaction {
    fn name(&self) -> &'static str {
        "idle-in-transaction"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for the session that is longest in a transaction without doing anything. It \
         holds its locks and keeps dead rows from being cleared away, most often because a \
         client forgot to commit or waits for something else. Mend the client, end the \
         session with pg_terminate_backend, or set idle_in_transaction_session_timeout for \
         its role."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(t.seconds, 0)::text AS seconds, coalesce(t.pid::text, '') AS pid, coalesce(t.usename, '') AS role, \
         coalesce(t.datname, '') AS database \
         FROM (SELECT 1) AS one LEFT JOIN LATERAL ( \
         SELECT extract(epoch FROM clock_timestamp() - state_change)::bigint AS seconds, pid, usename, datname \
         FROM pg_stat_activity WHERE backend_type = 'client backend' \
         AND state LIKE 'idle in transaction%' AND usename NOT LIKE 'evenkeel%' \
         ORDER BY state_change LIMIT 1) AS t ON true"
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["idle_transaction_warn_seconds", "idle_transaction_critical_seconds"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let seconds = reading.number("seconds")?;
        let severity = match seconds {
            n if n >= limits.idle_transaction_critical_seconds => Severity::Critical,
            n if n >= limits.idle_transaction_warn_seconds => Severity::Warning,
            _ => return None,
        };
        let text = |column| reading.text(column);
        let (pid, role, database) = (text("pid"), text("role"), text("database"));
        let longer = longer_than(seconds);
        Some(self.found(severity, format!("a session of {role} in {database} (pid {pid}) is idle in its transaction for {longer}")))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[
            ("seconds", "900"),
            ("pid", "4242"),
            ("role", "orders"),
            ("database", "orders"),
        ])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("seconds", "0"), ("pid", ""), ("role", ""), ("database", "")])
    }
}
