//! PostgreSQL, as far as it can be said without touching a server.

mod archive_configured;
mod archive_failing;
mod blocked_queries;
mod cache_hit_rate;
mod checksum_failures;
mod collation_drift;
mod connections_near_limit;
mod dead_rows;
mod duplicate_indexes;
mod durability_weakened;
mod idle_in_transaction;
mod invalid_indexes;
pub mod log;
mod long_transactions;
mod passwords_expire;
mod patches_missing;
mod prepared_transactions;
pub mod procedures;
pub mod replication;
mod replication_lag;
mod secret;
mod sequences_near_end;
mod settings;
mod settings_errors;
mod settings_wait_for_restart;
mod slot_retention;
mod superuser_logins;
mod synchronous_commit_weakened;
mod temporary_files;
mod trust_rules;
mod unlogged_tables;
mod unused_indexes;
mod vacuum_held_back;
mod wraparound;

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_core::backup::retention::Keep;
use evenkeel_core::check::Check;
use evenkeel_core::goal::{Login, Password};
use evenkeel_core::kind::{Kind, Loss, Plan, Pool};
use evenkeel_core::promise::Copy;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;

/// The checks of PostgreSQL. A new one is a file and a line here.
pub const CHECKS: &[&dyn Check] = &[
    &archive_configured::ArchiveConfigured,
    &slot_retention::SlotRetention,
    &superuser_logins::SuperuserLogins,
    &trust_rules::TrustRules,
    &synchronous_commit_weakened::SynchronousCommitWeakened,
    &connections_near_limit::ConnectionsNearLimit,
    &long_transactions::LongTransactions,
    &idle_in_transaction::IdleInTransaction,
    &blocked_queries::BlockedQueries,
    &prepared_transactions::PreparedTransactions,
    &vacuum_held_back::VacuumHeldBack,
    &dead_rows::DeadRows,
    &cache_hit_rate::CacheHitRate,
    &unused_indexes::UnusedIndexes,
    &duplicate_indexes::DuplicateIndexes,
    &invalid_indexes::InvalidIndexes,
    &sequences_near_end::SequencesNearEnd,
    &wraparound::Wraparound,
    &temporary_files::TemporaryFiles,
    &replication_lag::ReplicationLag,
    &archive_failing::ArchiveFailing,
    &checksum_failures::ChecksumFailures,
    &settings_wait_for_restart::SettingsWaitForRestart,
    &settings_errors::SettingsErrors,
    &durability_weakened::DurabilityWeakened,
    &unlogged_tables::UnloggedTables,
    &collation_drift::CollationDrift,
    &passwords_expire::PasswordsExpire,
    &patches_missing::PatchesMissing,
];

const DEV: Plan = Plan {
    name: "dev",
    summary: "one member: for development; with its host what was written in the last minute is lost, \
              the rest is in its archive",
    members: 1,
    acks: 0,
    loss: None,
    fast: false,
    memory_mib: 256,
    connections_max: 100,
    pool: None,
    keep: Some(Keep { count: 2, window: Span::mins(3 * 24 * 60) }),
};

/// Half of a server's sessions are the pooled endpoint's.
const POOL: Option<Pool> = Some(Pool { sessions_max: 50, clients_max: 1000 });

/// What a service with standbys keeps: a week, to any moment of which it can be put back.
const WEEK: Option<Keep> = Some(Keep { count: 2, window: Span::mins(7 * 24 * 60) });

/// A standby is asked for a reply every 2.5 s (half of `wal_sender_timeout`), and a primary hears its
/// controller every second: 6 s without either is no accident.
const LOSS: Loss = Loss { bytes: 16 << 20, fence: Span::secs(8) };

const PLANS: &[Plan] = &[
    DEV,
    Plan {
        name: "ha",
        summary: "a primary and a synchronous standby in another zone; no acknowledged write is \
                  lost with either of them",
        members: 2,
        acks: 1,
        fast: true,
        pool: POOL,
        keep: WEEK,
        ..DEV
    },
    Plan {
        name: "ha3",
        summary: "a primary and two standbys in other zones, any of which acknowledges; writes go \
                  on when one member is lost",
        members: 3,
        acks: 1,
        fast: true,
        pool: POOL,
        keep: WEEK,
        ..DEV
    },
    Plan {
        name: "ha-async",
        summary: "a primary and a standby in another zone that no commit waits for; a failover waits \
                  8 s for the primary to stop by itself, and may lose what was written in them and \
                  the 16 MiB before",
        members: 2,
        loss: Some(LOSS),
        fast: true,
        pool: POOL,
        keep: WEEK,
        ..DEV
    },
];

/// An `SSLRequest`: length 8, code 80877103. Every server answers it with one byte, before any
/// login ("Message Formats" in the documentation of the frontend/backend protocol).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// `S` and `N` are its answers; `E` is an error's first byte, of a server that starts or is full.
const ANSWERS: &[u8] = b"SNE";

/// The kind `postgres`.
pub struct Postgres;

impl Kind for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn summary(&self) -> &'static str {
        "PostgreSQL"
    }

    fn plans(&self) -> &'static [Plan] {
        PLANS
    }

    fn leaves_out(&self, plan: &Plan) -> BTreeMap<State, State> {
        // Without an archive there is nothing to keep but the disks.
        let left_out = (!plan.archives()).then_some((State::Archived, State::Retired));
        left_out.into_iter().collect()
    }

    fn settings(&self, plan: &Plan) -> Arc<BTreeMap<String, String>> {
        settings::of(plan)
    }

    fn scheme(&self) -> &'static str {
        "postgresql"
    }

    fn greeting(&self) -> (&'static [u8], &'static [u8]) {
        (&SSL_REQUEST, ANSWERS)
    }

    fn checks(&self) -> &'static [&'static dyn Check] {
        CHECKS
    }

    fn secret(&self, password: &str, salt: &[u8; 16]) -> Vec<u8> {
        secret::pack(password, salt)
    }

    fn replication(&self, secret: &[u8], copy: Copy) -> Option<(Login, Password)> {
        Some(replication::login(secret, copy))
    }

    fn verifier(&self, packed: &[u8]) -> Option<String> {
        secret::verifier(packed)
    }

    fn secret_in(&self, verifier: &str) -> Option<Vec<u8>> {
        secret::packed(verifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_sound() {
        evenkeel_core::check::sound(CHECKS).expect("every check has its examples");
        for check in CHECKS {
            let text = check.question();
            let reads = text.starts_with("SELECT") || text.starts_with("WITH");
            assert!(reads && !text.contains(';'), "{}", check.name());
        }
    }

    #[test]
    fn every_family_but_the_hosts_has_a_check() {
        use evenkeel_core::check::Family as F;
        for family in [F::Backups, F::Replication, F::Security, F::Performance] {
            assert!(CHECKS.iter().any(|c| c.family() == family), "{family}");
        }
    }

    #[test]
    fn a_plan_without_an_archive_has_no_archived_state() {
        let plan = Plan { keep: None, ..DEV };
        let out = Postgres.leaves_out(&plan);
        assert!(Postgres.leaves_out(&DEV).is_empty());
        assert_eq!(out.get(&State::Archived), Some(&State::Retired));
    }
}
