//! Check: are there indexes that are the same as others?

use evenkeel_core::check::{Check, Family, Pace, Place, Reading, Result, Severity, Thresholds};

/// `duplicate-indexes`
pub struct DuplicateIndexes;

impl Check for DuplicateIndexes {
    fn name(&self) -> &'static str {
        "duplicate-indexes"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for indexes of one table with the same columns, order, operators, expressions \
         and condition. All but one cost work with every write and help nobody. Drop the one \
         that makes nothing unique and belongs to no constraint."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(names, E'\\n' ORDER BY names), '') AS items \
         FROM (SELECT string_agg(format('%I.%I.%I', current_database(), n.nspname, c.relname), ' = ' ORDER BY c.oid) AS names \
         FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE i.indisvalid AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' \
         GROUP BY i.indrelid, c.relam, i.indkey::text, i.indclass::text, i.indcollation::text, i.indoption::text, \
         coalesce(i.indexprs::text, ''), coalesce(i.indpred::text, '') \
         HAVING count(*) > 1 ORDER BY 1 LIMIT 50) AS t"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn place(&self) -> Place {
        Place::Databases
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let of = |line: Vec<&str>| line.first().map(|names| (*names).to_owned());
        self.found_of(
            Severity::Note,
            "indexes that are the same",
            reading.lines("items").filter_map(of).collect(),
        )
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "orders.public.a = orders.public.b")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "")])
    }
}
