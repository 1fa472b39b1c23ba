//! Check: do sessions wait for a lock, and whose?

use evenkeel_core::check::{
    Asked, Check, Family, Reading, Result, Severity, Thresholds, about, longer_than,
};

/// `blocked-queries`
pub struct BlockedQueries;

impl Check for BlockedQueries {
    fn name(&self) -> &'static str {
        "blocked-queries"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Counts sessions that wait for a lock, and follows who blocks whom to the one at the \
         root: it holds a lock and waits for none. Ending that one lets the others go on; \
         ending those that wait helps nobody. Look at what it does, then end it with \
         pg_terminate_backend; for pid 0 it is a prepared transaction, see pg_prepared_xacts."
    }
    fn question(&self) -> &'static str {
        "WITH waiting AS MATERIALIZED ( \
         SELECT pid, pg_blocking_pids(pid) AS blockers, \
         extract(epoch FROM clock_timestamp() - query_start)::bigint AS seconds \
         FROM pg_stat_activity WHERE wait_event_type = 'Lock'), \
         root AS (SELECT b.pid, count(*) AS blocks FROM waiting, unnest(blockers) AS b(pid) \
         WHERE b.pid NOT IN (SELECT pid FROM waiting) GROUP BY b.pid ORDER BY blocks DESC, b.pid LIMIT 1) \
         SELECT (SELECT count(*)::text FROM waiting) AS waiting, \
         (SELECT coalesce(max(seconds), 0)::text FROM waiting) AS seconds, \
         coalesce(r.pid::text, '') AS root, coalesce(a.usename, '') AS role, \
         coalesce(a.state, '') AS state, coalesce(a.datname, '') AS database \
         FROM (SELECT 1) AS one LEFT JOIN root AS r ON true LEFT JOIN pg_stat_activity AS a ON a.pid = r.pid"
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["blocked_warn_seconds", "blocked_critical_seconds"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let (waiting, seconds) = (reading.number("waiting")?, reading.number("seconds")?);
        if waiting == 0 {
            return None;
        }
        let severity = match seconds {
            n if n >= limits.blocked_critical_seconds => Severity::Critical,
            n if n >= limits.blocked_warn_seconds => Severity::Warning,
            _ => return None,
        };
        let text = |column| reading.text(column);
        let root = match (text("root"), text("role"), text("state"), text("database")) {
            ("", ..) => "one another".to_owned(),
            ("0", ..) => "a prepared transaction".to_owned(),
            (pid, role, state, database) => format!("pid {pid} ({role} in {database}, {state})"),
        };
        let (waiting, longer) = (about(waiting), longer_than(seconds));
        Some(self.found(
            severity,
            format!("{waiting} sessions wait for a lock for {longer}; at the root: {root}"),
        ))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[
            ("waiting", "3"),
            ("seconds", "75"),
            ("root", "4242"),
            ("role", "orders"),
            ("state", "idle in transaction"),
            ("database", "orders"),
        ])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[
            ("waiting", "0"),
            ("seconds", "0"),
            ("root", ""),
            ("role", ""),
            ("state", ""),
            ("database", ""),
        ])
    }
}
