//! Check: are texts still in the order they were indexed in?

use evenkeel_core::check::{Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `collation-drift`
pub struct CollationDrift;

impl Check for CollationDrift {
    fn name(&self) -> &'static str {
        "collation-drift"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Compares the version of each database's collation with the one that the operating \
         system has now. Where they differ, indexes on text may be in the wrong order: rows \
         are not found, and what must be unique is not. REINDEX what has text in it, then \
         ALTER DATABASE ... REFRESH COLLATION VERSION."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(datname, ', ' ORDER BY datname), '') AS databases FROM pg_database \
         WHERE datallowconn AND datcollversion IS NOT NULL \
         AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let databases = reading.text("databases");
        (!databases.is_empty()).then(|| {
            self.found(
                Severity::Warning,
                format!("the order of texts is not what it was in {databases}"),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("databases", "orders")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("databases", "")])
    }
}
