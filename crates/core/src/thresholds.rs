//! Thresholds of checks and how often they are run: policy, one for the whole fleet. A controller tells them
//! to its agents; an agent that heard none since it began goes by the defaults. One that does not know a
//! field leaves it out.

use serde::{Deserialize, Serialize};

/// From where on a check's reading is a finding. Each field's unit is last in its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// Between two rounds of the checks that are run often. 0: they are not run; what they found before stays,
    /// and is shown as not read.
    pub often_seconds: i64,
    /// The same of those that are run rarely.
    pub rarely_seconds: i64,
    /// Connections taken of those there are: a warning from here.
    pub connections_warn_percent: i64,
    /// The same, critical.
    pub connections_critical_percent: i64,
    /// A transaction that works this long: a warning. It keeps dead rows from being removed.
    pub transaction_warn_seconds: i64,
    /// The same, critical.
    pub transaction_critical_seconds: i64,
    /// A transaction in which nothing happens this long: a warning. It holds its locks.
    pub idle_transaction_warn_seconds: i64,
    /// The same, critical.
    pub idle_transaction_critical_seconds: i64,
    /// A session that waits this long for another's lock: a warning.
    pub blocked_warn_seconds: i64,
    /// The same, critical.
    pub blocked_critical_seconds: i64,
    /// A prepared transaction this old: a warning.
    pub prepared_warn_seconds: i64,
    /// Transactions since the oldest snapshot that anybody holds: a warning. A quarter of what autovacuum
    /// freezes at by default (`autovacuum_freeze_max_age`, 200 million).
    pub snapshot_warn_xids: i64,
    /// Dead rows of a table, of all its rows: a warning. Autovacuum begins at 20 by default.
    pub dead_rows_warn_percent: i64,
    /// Tables with fewer dead rows are not looked at.
    pub dead_rows_min: i64,
    /// Blocks found in memory, of those that were wanted: a note below.
    pub cache_hit_min_percent: i64,
    /// An index that nobody used for so long is told of.
    pub index_unused_days: i64,
    /// Smaller unused indexes are not told of.
    pub index_unused_min_kib: i64,
    /// What a sequence has given out, of what it or its column can hold: a warning.
    pub sequence_warn_percent: i64,
    /// The same, critical.
    pub sequence_critical_percent: i64,
    /// Age of the oldest transaction's id or multixact that is not frozen: a warning. Servers stop taking
    /// writes some 3 million before 2^31.
    pub wraparound_warn_xids: i64,
    /// The same, critical. Vacuum hurries by itself from 1.6 billion (`vacuum_failsafe_age`).
    pub wraparound_critical_xids: i64,
    /// Temporary files that are there: a warning.
    pub temporary_warn_mib: i64,
    /// A standby that is so far behind: a warning. An idle primary is written to each 60 s, so less than
    /// twice that could be idleness.
    pub lag_warn_seconds: i64,
    /// The same, critical.
    pub lag_critical_seconds: i64,
    /// Log kept for a slot without a reader: a warning. Half of what the server keeps for one
    /// (`max_slot_wal_keep_size`): past that it is given up.
    pub slot_retained_warn_mib: i64,
    /// A password that ends within so long: a warning.
    pub password_warn_days: i64,
    /// Free room where members live: a warning below.
    pub disk_free_warn_percent: i64,
    /// The same, critical.
    pub disk_free_critical_percent: i64,
    /// A small synced write that takes so long: a warning.
    pub disk_latency_warn_ms: i64,
    /// The same, critical.
    pub disk_latency_critical_ms: i64,
    /// Wall and monotonic clock went so far apart between two looks: a warning.
    pub clock_jump_warn_ms: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            often_seconds: 30,
            rarely_seconds: 600,
            connections_warn_percent: 80,
            connections_critical_percent: 95,
            transaction_warn_seconds: 3600,
            transaction_critical_seconds: 24 * 3600,
            idle_transaction_warn_seconds: 600,
            idle_transaction_critical_seconds: 6 * 3600,
            blocked_warn_seconds: 60,
            blocked_critical_seconds: 600,
            prepared_warn_seconds: 3600,
            snapshot_warn_xids: 50_000_000,
            dead_rows_warn_percent: 40,
            dead_rows_min: 10_000,
            cache_hit_min_percent: 90,
            index_unused_days: 30,
            index_unused_min_kib: 1024,
            sequence_warn_percent: 75,
            sequence_critical_percent: 90,
            wraparound_warn_xids: 500_000_000,
            wraparound_critical_xids: 1_500_000_000,
            temporary_warn_mib: 4096,
            lag_warn_seconds: 120,
            lag_critical_seconds: 1800,
            slot_retained_warn_mib: 512,
            password_warn_days: 14,
            disk_free_warn_percent: 15,
            disk_free_critical_percent: 5,
            disk_latency_warn_ms: 200,
            disk_latency_critical_ms: 2000,
            clock_jump_warn_ms: 1000,
        }
    }
}

impl Thresholds {
    /// Whether they are those that an agent has from its beginning.
    #[must_use]
    pub fn are_default(&self) -> bool {
        *self == Self::default()
    }

    /// One of them, by the name of its field.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<i64> {
        serde_json::to_value(self).ok()?.get(name)?.as_i64()
    }
}
