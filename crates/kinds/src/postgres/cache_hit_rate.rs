//! Check: is what is read found in memory?

use evenkeel_core::check::{Asked, Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// Blocks that must have been read before a rate says anything: 8 GiB.
const READ_MIN: i64 = 1 << 20;

/// `cache-hit-rate`
pub struct CacheHitRate;

impl Check for CacheHitRate {
    fn name(&self) -> &'static str {
        "cache-hit-rate"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Compares blocks found in the server's own memory with those it asked the operating \
         system for, since statistics began. Informational: what is not found may still be in \
         the system's cache. A low rate on a busy server means that its data in use is larger \
         than its memory; take a larger plan, or look for queries that read whole tables."
    }
    fn question(&self) -> &'static str {
        "SELECT coalesce(sum(blks_hit), 0)::bigint::text AS hit, coalesce(sum(blks_read), 0)::bigint::text AS read FROM pg_stat_database"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["cache_hit_min_percent"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let (hit, read) = (reading.number("hit")?, reading.number("read")?);
        let percent = hit.saturating_mul(100) / hit.saturating_add(read).max(1);
        let low = read >= READ_MIN && percent < limits.cache_hit_min_percent;
        let tenths = percent / 10 * 10;
        low.then(|| {
            self.found(
                Severity::Note,
                format!("{tenths} to {} % of blocks are found in memory", tenths + 10),
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("hit", "3000000"), ("read", "2000000")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("hit", "3000"), ("read", "2000")])
    }
}
