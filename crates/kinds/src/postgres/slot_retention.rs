//! Check: does a replication slot nobody reads keep the log from being removed?

use evenkeel_core::check::{Check, Family, Reading, Result, Severity};

/// Log kept for an unread slot that is worth telling of. A quarter of what the smallest plan's disk
/// would notice.
const RETAINED_MAX_MIB: i64 = 1024;

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
        "Looks for replication slots without a reader that keep more than 1 GiB of log. The log \
         grows until the disk is full and the server stops. Start the reader again or drop the slot."
    }
    fn question(&self) -> &'static str {
        "SELECT count(*)::text AS slots, \
                coalesce(max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() \
                    THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)) \
                    / 1048576, 0)::bigint::text AS retained_mib \
         FROM pg_replication_slots WHERE NOT active"
    }
    fn judge(&self, reading: &Reading) -> Option<Result> {
        let retained = reading.number("retained_mib")?;
        (retained > RETAINED_MAX_MIB).then(|| Result {
            check: self.name().to_owned(),
            severity: Severity::Warning,
            evidence: format!(
                "{} unread slots keep more than {} GiB of log",
                reading.text("slots"),
                retained / 1024
            ),
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("slots", "1"), ("retained_mib", "5000")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("slots", "1"), ("retained_mib", "16")])
    }
}
