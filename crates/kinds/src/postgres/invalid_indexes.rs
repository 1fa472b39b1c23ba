//! Check: are there indexes that cannot be used?

use evenkeel_core::check::{Check, Family, Pace, Place, Reading, Result, Severity, Thresholds};

/// `invalid-indexes`
pub struct InvalidIndexes;

impl Check for InvalidIndexes {
    fn name(&self) -> &'static str {
        "invalid-indexes"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for indexes that are not valid or not ready, and not being built now: what \
         CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY leaves behind when it fails. They \
         cost work with every write and answer nothing. Drop each and build it anew."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(name, E'\\n' ORDER BY name), '') AS items \
         FROM (SELECT format('%I.%I.%I', current_database(), n.nspname, c.relname) AS name \
         FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE NOT (i.indisvalid AND i.indisready) AND c.relkind = 'i' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' \
         AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid OR p.relid = i.indrelid) \
         ORDER BY 1 LIMIT 50) AS t"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn place(&self) -> Place {
        Place::Databases
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let of = |line: Vec<&str>| line.first().map(|name| (*name).to_owned());
        self.found_of(
            Severity::Warning,
            "indexes that are not valid",
            reading.lines("items").filter_map(of).collect(),
        )
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "orders.public.half")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "")])
    }
}
