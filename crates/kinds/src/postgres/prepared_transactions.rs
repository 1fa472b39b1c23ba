//! Check: was a prepared transaction forgotten?

use evenkeel_core::check::{
    Check, Family, Pace, Reading, Result, Severity, Thresholds, longer_than,
};

/// `prepared-transactions`
pub struct PreparedTransactions;

impl Check for PreparedTransactions {
    fn name(&self) -> &'static str {
        "prepared-transactions"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for prepared transactions that nobody ended. Such a one outlives its session \
         and every restart; it holds its locks and keeps dead rows for ever. Ask whoever \
         coordinates it, then COMMIT PREPARED or ROLLBACK PREPARED."
    }
    fn question(&self) -> &'static str {
        "SELECT count(*)::text AS prepared, \
         coalesce(max(extract(epoch FROM clock_timestamp() - prepared))::bigint, 0)::text AS seconds, \
         coalesce((SELECT gid FROM pg_prepared_xacts ORDER BY prepared LIMIT 1), '') AS gid \
         FROM pg_prepared_xacts"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["prepared_warn_seconds"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let seconds = reading.number("seconds")?;
        let old = reading.number("prepared")? > 0 && seconds >= limits.prepared_warn_seconds;
        let (gid, longer) = (reading.text("gid"), longer_than(seconds));
        let text = format!("the transaction {gid} is prepared for {longer} and not ended");
        old.then(|| self.found(Severity::Warning, text))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("prepared", "1"), ("seconds", "90000"), ("gid", "tx-7")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("prepared", "1"), ("seconds", "3"), ("gid", "tx-7")])
    }
}
