//! Check: does anybody keep dead rows from being cleared away?

use evenkeel_core::check::{Check, Family, Pace, Reading, Result, Severity, Thresholds, about};

/// `vacuum-held-back`
pub struct VacuumHeldBack;

impl Check for VacuumHeldBack {
    fn name(&self) -> &'static str {
        "vacuum-held-back"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Looks at the oldest snapshot that anybody holds, in the four places where one can \
         be: a session, a replication slot, a prepared transaction, a standby that asks for \
         it. What was removed since cannot be cleared away, however often vacuum runs. End \
         what holds it."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(age(x.xmin), 0)::text AS xids, coalesce(x.holder, '') AS holder \
         FROM (SELECT 1) AS one LEFT JOIN LATERAL ( \
         SELECT xmin, holder FROM ( \
         SELECT backend_xmin AS xmin, 'pid ' || pid AS holder FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
         UNION ALL SELECT xmin, 'slot ' || slot_name FROM pg_replication_slots \
         UNION ALL SELECT catalog_xmin, 'slot ' || slot_name FROM pg_replication_slots \
         UNION ALL SELECT transaction, 'prepared transaction ' || gid FROM pg_prepared_xacts \
         UNION ALL SELECT backend_xmin, 'standby ' || application_name FROM pg_stat_replication) AS held \
         WHERE xmin IS NOT NULL ORDER BY age(xmin) DESC LIMIT 1) AS x ON true"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["snapshot_warn_xids"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let held = reading.number("xids")? >= limits.snapshot_warn_xids;
        let millions = about(reading.number("xids")? / 1_000_000);
        let holder = reading.text("holder");
        let text = format!("{holder} keeps what {millions} million transactions removed");
        held.then(|| self.found(Severity::Warning, text))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("xids", "60000000"), ("holder", "pid 4242")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("xids", "12"), ("holder", "pid 4242")])
    }
}
