//! Check: does a role, a database or the server itself commit before the log is on disk?

use evenkeel_core::check::{Check, Family, Pace, Reading, Result, Severity, Thresholds};

/// `synchronous-commit-weakened`
pub struct SynchronousCommitWeakened;

impl Check for SynchronousCommitWeakened {
    fn name(&self) -> &'static str {
        "synchronous-commit-weakened"
    }
    fn family(&self) -> Family {
        Family::Security
    }
    fn doc(&self) -> &'static str {
        "Looks for synchronous_commit set weaker than on: for the server, a role or a database. A \
         commit acknowledged under such a setting may be lost by a crash, which no promise of \
         Evenkeel covers. Reset it, or accept the loss knowingly, session by session."
    }
    fn question(&self) -> &'static str {
        "SELECT current_setting('synchronous_commit') AS server, \
                (SELECT count(*)::text FROM pg_db_role_setting, unnest(setconfig) AS s \
                 WHERE s LIKE 'synchronous_commit=%' \
                   AND s NOT IN ('synchronous_commit=on', 'synchronous_commit=remote_apply')) AS weaker"
    }
    fn pace(&self) -> Pace {
        Pace::Rarely
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<Result> {
        let server = reading.text("server");
        let weaker = reading.number("weaker")?;
        let weak_server = !matches!(server, "on" | "remote_apply");
        (weak_server || weaker > 0).then(|| {
            self.found(
                Severity::Critical,
                if weak_server {
                    format!("the server commits with synchronous_commit = {server}")
                } else {
                    format!(
                        "{weaker} roles or databases commit with less than synchronous_commit = on"
                    )
                },
            )
        })
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("server", "on"), ("weaker", "1")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("server", "on"), ("weaker", "0")])
    }
}
