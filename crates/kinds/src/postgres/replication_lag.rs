//! Check: is a standby far behind in time?

use evenkeel_core::check::{
    Asked, Check, Family, Reading, Result, Severity, Thresholds, longer_than,
};

/// `replication-lag`
pub struct ReplicationLag;

impl Check for ReplicationLag {
    fn name(&self) -> &'static str {
        "replication-lag"
    }
    fn family(&self) -> Family {
        Family::Replication
    }
    fn doc(&self) -> &'static str {
        "Asks a standby how old what it replayed last is. One that receives and has replayed \
         all it received is not behind, however long nothing was written; one whose receiver \
         is gone cannot know, and counts from what it replayed last. Look at the network, at \
         the standby's disk, and at its queries that hold replay back."
    }
    fn question(&self) -> &'static str {
        "SELECT CASE WHEN r.status = 'streaming' AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN '0' \
         ELSE coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::bigint, 0)::text END AS seconds, \
         coalesce(r.status, 'gone') AS receiver \
         FROM (SELECT 1) AS one LEFT JOIN pg_stat_wal_receiver AS r ON true"
    }
    fn asked(&self) -> Asked {
        Asked::Standbys
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["lag_warn_seconds", "lag_critical_seconds"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let seconds = reading.number("seconds")?;
        let severity = match seconds {
            n if n >= limits.lag_critical_seconds => Severity::Critical,
            n if n >= limits.lag_warn_seconds => Severity::Warning,
            _ => return None,
        };
        let (longer, receiver) = (longer_than(seconds), reading.text("receiver"));
        Some(self.found(
            severity,
            format!(
                "what it replayed last is older: {}; its receiver is {receiver}",
                longer.replace("longer", "more")
            ),
        ))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("seconds", "400"), ("receiver", "streaming")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("seconds", "0"), ("receiver", "streaming")])
    }
}
