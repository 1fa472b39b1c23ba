//! Check: are there tables that a failover empties?

use evenkeel_core::check::{Check, Family, Pace, Place, Reading, Result, Severity, Thresholds};

/// `unlogged-tables`
pub struct UnloggedTables;

impl Check for UnloggedTables {
    fn name(&self) -> &'static str {
        "unlogged-tables"
    }
    fn family(&self) -> Family {
        Family::Replication
    }
    fn doc(&self) -> &'static str {
        "Looks for unlogged tables and sequences. They are not in the log: a crash, a \
         failover and a restore leave them empty. That may be meant, for what can be made \
         anew. Where it is not, ALTER TABLE ... SET LOGGED."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(string_agg(name, E'\\n' ORDER BY name), '') AS items \
         FROM (SELECT format('%I.%I.%I', current_database(), n.nspname, c.relname) AS name \
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%' ORDER BY 1 LIMIT 50) AS t"
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
            Severity::Note,
            "tables that a failover empties",
            reading.lines("items").filter_map(of).collect(),
        )
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("items", "orders.public.sessions")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("items", "")])
    }
}
