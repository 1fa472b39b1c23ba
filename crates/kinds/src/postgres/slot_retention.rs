//! Check: does a replication slot nobody reads keep the log from being removed?

use evenkeel_core::check::{Asked, Check, Family, Reading, Result, Severity, Thresholds};

/// What is kept is told in such steps, as it grows all the time.
const BAND_MIB: i64 = 64;

/// `slot-retention`
pub struct SlotRetention;

impl Check for SlotRetention {
    fn name(&self) -> &'static str {
        "slot-retention"
    }
    fn family(&self) -> Family {
        Family::Replication
    }
    fn doc(&self) -> &'static str {
        "Looks for replication slots without a reader that keep much log, 512 MiB by default. The log \
         grows until the disk is full and the server stops; past 1 GiB the server gives the slot up. Start \
         the reader again or drop the slot."
    }
    fn question(&self) -> &'static str {
        "SELECT count(*)::text AS slots, \
                coalesce(max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() \
                    THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)) \
                    / 1048576, 0)::bigint::text AS retained_mib \
         FROM pg_replication_slots WHERE NOT active"
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["slot_retained_warn_mib"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let retained = reading.number("retained_mib")?;
        (retained > limits.slot_retained_warn_mib).then(|| {
            self.found(
                Severity::Warning,
                format!(
                    "{} unread slots keep {} MiB of log or more",
                    reading.text("slots"),
                    retained / BAND_MIB * BAND_MIB
                ),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("slots", "1"), ("retained_mib", "5000")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("slots", "1"), ("retained_mib", "16")])
    }
}
