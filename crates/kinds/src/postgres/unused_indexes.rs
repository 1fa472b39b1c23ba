//! Check: are there indexes that no member uses?

use evenkeel_core::check::{
    Asked, Check, Family, Holds, Pace, Place, Reading, Result, Severity, Thresholds,
};

/// `unused-indexes`
pub struct UnusedIndexes;

impl Check for UnusedIndexes {
    fn name(&self) -> &'static str {
        "unused-indexes"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks for indexes that were never scanned since statistics began, on no member of \
         the service: an index that only a standby's queries use is used. Left out are those \
         that make something unique or belong to a constraint, small ones, and all while \
         statistics are young: they begin anew after a crash, or count from the server's \
         start where they were never reset. Each costs work with every write. Drop it."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(concat_ws(E'\\t', name, bytes / 1024, days), E'\\n' ORDER BY bytes DESC, name), '') AS items \
         FROM (SELECT format('%I.%I.%I', current_database(), s.schemaname, s.indexrelname) AS name, \
         pg_relation_size(s.indexrelid) AS bytes, \
         floor(extract(epoch FROM now() - coalesce(d.stats_reset, pg_postmaster_start_time())) / 86400)::bigint AS days \
         FROM pg_stat_user_indexes AS s JOIN pg_index AS i ON i.indexrelid = s.indexrelid \
         JOIN pg_stat_database AS d ON d.datname = current_database() \
         WHERE s.idx_scan = 0 AND NOT i.indisunique AND i.indisvalid \
         AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = s.indexrelid) \
         ORDER BY 2 DESC, 1 LIMIT 50) AS t"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn place(&self) -> Place {
        Place::Databases
    }
    fn holds(&self) -> Holds {
        Holds::Everywhere
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["index_unused_days", "index_unused_min_kib"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let of = |line: Vec<&str>| -> Option<String> {
            let &[name, kib, days] = line.as_slice() else { return None };
            let (kib, days): (i64, i64) = (kib.parse().ok()?, days.parse().ok()?);
            let unused = kib >= limits.index_unused_min_kib && days >= limits.index_unused_days;
            unused.then(|| name.to_owned())
        };
        self.found_of(
            Severity::Note,
            "indexes that nobody uses",
            reading.lines("items").filter_map(of).collect(),
        )
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "orders.public.lines_note\t4096\t45")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "orders.public.lines_note\t4096\t3")])
    }
}
