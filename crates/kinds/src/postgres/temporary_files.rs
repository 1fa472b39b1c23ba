//! Check: do queries spill to disk?

use evenkeel_core::check::{Asked, Check, Family, Reading, Result, Severity, Thresholds, about};

/// `temporary-files`
pub struct TemporaryFiles;

impl Check for TemporaryFiles {
    fn name(&self) -> &'static str {
        "temporary-files"
    }
    fn family(&self) -> Family {
        Family::Performance
    }
    fn doc(&self) -> &'static str {
        "Adds up the temporary files that are there now, of sorts and joins that found no \
         room in memory. They are slow, and can fill the disk. Look for the query in \
         pg_stat_activity; give its role more work_mem, or a limit with temp_file_limit."
    }
    fn question(&self) -> &'static str {
        "SELECT count(*)::text AS files, (coalesce(sum(size), 0) / 1048576)::bigint::text AS mib FROM pg_ls_tmpdir()"
    }
    fn asked(&self) -> Asked {
        Asked::Everyone
    }
    fn thresholds(&self) -> &'static [&'static str] {
        &["temporary_warn_mib"]
    }
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result> {
        let mib = reading.number("mib")?;
        let text = || format!("{} GiB of temporary files", about((mib / 1024).max(1)));
        (mib >= limits.temporary_warn_mib).then(|| self.found(Severity::Warning, text()))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("files", "3"), ("mib", "9000")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("files", "1"), ("mib", "12")])
    }
}
