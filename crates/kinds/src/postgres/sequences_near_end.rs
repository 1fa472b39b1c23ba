//! Check: do sequences come to their end?

use evenkeel_core::check::{Check, Family, Pace, Place, Reading, Result, Severity, Thresholds};

/// `sequences-near-end`
pub struct SequencesNearEnd;

impl Check for SequencesNearEnd {
    fn name(&self) -> &'static str {
        "sequences-near-end"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Compares what sequences have given out with the most that they, or the columns of \
         smallint or integer that take their values, can hold. At the end every insert fails. \
         Make the column bigint in good time; that rewrites the table. Sequences that begin \
         anew at their end are left out."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(concat_ws(E'\\t', name, percent), E'\\n' ORDER BY percent DESC, name), '') AS items \
         FROM (SELECT format('%I.%I.%I', current_database(), s.schemaname, s.sequencename) AS name, \
         floor(100.0 * s.last_value / least(s.max_value, t.most))::int AS percent \
         FROM pg_sequences AS s JOIN pg_namespace AS n ON n.nspname = s.schemaname \
         JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = s.sequencename \
         LEFT JOIN LATERAL (SELECT min(CASE a.atttypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 END) AS most \
         FROM (SELECT d.refobjid AS rel, d.refobjsubid::int AS num FROM pg_depend AS d \
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass \
         AND d.deptype IN ('a', 'i') \
         UNION SELECT f.adrelid, f.adnum::int FROM pg_depend AS d JOIN pg_attrdef AS f ON f.oid = d.objid \
         WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid) AS fed \
         JOIN pg_attribute AS a ON a.attrelid = fed.rel AND a.attnum = fed.num) AS t ON true \
         WHERE s.increment_by > 0 AND NOT s.cycle AND s.last_value > 0 \
         ORDER BY 2 DESC, 1 LIMIT 50) AS q WHERE percent >= 10"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn place(&self) -> Place {
        Place::Owner
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["sequence_warn_percent", "sequence_critical_percent"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let mut most = 0;
        let mut near = Vec::new();
        for line in reading.lines("items") {
            let &[name, percent] = line.as_slice() else { continue };
            let Some(percent) = percent.parse().ok().filter(|p| *p >= limits.sequence_warn_percent)
            else {
                continue;
            };
            most = most.max(percent);
            near.push(format!("{name} ({} % or more)", percent / 5 * 5));
        }
        let critical = most >= limits.sequence_critical_percent;
        let severity = if critical { Severity::Critical } else { Severity::Warning };
        self.found_of(severity, "sequences near their end", near)
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "orders.public.lines_id_seq\t93")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "orders.public.lines_id_seq\t12")])
    }
}
