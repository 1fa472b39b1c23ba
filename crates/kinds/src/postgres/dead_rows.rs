//! Check: are tables bloated by dead rows?

use evenkeel_core::check::{Check, Family, Pace, Place, Reading, Result, Severity, Thresholds};

/// `dead-rows`
pub struct DeadRows;

impl Check for DeadRows {
    fn name(&self) -> &'static str {
        "dead-rows"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks at the share of dead rows in tables, by the counters of statistics: an \
         estimate of what vacuum has left to do, not a measurement of files. Many dead rows \
         make a table slow and large. Look whether autovacuum comes through (its last run is \
         told), whether something holds it back, and run VACUUM; space inside files comes \
         back with VACUUM FULL or pg_repack only."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(concat_ws(E'\\t', name, dead, live, vacuumed), E'\\n' ORDER BY dead DESC, name), '') AS items \
         FROM (SELECT format('%I.%I.%I', current_database(), schemaname, relname) AS name, \
         n_dead_tup AS dead, n_live_tup AS live, coalesce(greatest(last_vacuum, last_autovacuum)::date::text, 'never') AS vacuumed \
         FROM pg_stat_user_tables WHERE n_dead_tup >= 1000 ORDER BY n_dead_tup DESC, 1 LIMIT 50) AS t"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn place(&self) -> Place {
        Place::Databases
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["dead_rows_warn_percent", "dead_rows_min"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let of = |line: Vec<&str>| -> Option<String> {
            let &[name, dead, live, vacuumed] = line.as_slice() else { return None };
            let (dead, live): (i64, i64) = (dead.parse().ok()?, live.parse().ok()?);
            let percent = dead.saturating_mul(100) / dead.saturating_add(live).max(1);
            let many = dead >= limits.dead_rows_min && percent >= limits.dead_rows_warn_percent;
            let tenths = percent / 10 * 10;
            let text =
                || format!("{name} ({tenths} % or more dead by estimate, last vacuum: {vacuumed})");
            many.then(text)
        };
        self.found_of(
            Severity::Warning,
            "tables bloated by dead rows",
            reading.lines("items").filter_map(of).collect(),
        )
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "orders.public.lines\t90000\t60000\tnever")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "orders.public.lines\t9000\t600000\t2026-01-02")])
    }
}
