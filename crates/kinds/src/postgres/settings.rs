//! Server settings of a plan. What must hold whatever a user writes is pinned by the driver on the
//! command line as well.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use evenkeel_core::kind::Plan;

use super::PLANS;

type Settings = BTreeMap<String, String>;

/// Those of the plans there are, made once: every goal of every member has them.
static KNOWN: LazyLock<Vec<Arc<Settings>>> =
    LazyLock::new(|| PLANS.iter().map(|plan| Arc::new(written(plan))).collect());

/// Every setting, by name.
pub fn of(plan: &Plan) -> Arc<Settings> {
    let known = PLANS.iter().position(|known| {
        // A plan of the same name may be larger in a test.
        let sizes = |plan: &Plan| (plan.memory_mib, plan.connections_max);
        known.name == plan.name && sizes(known) == sizes(plan)
    });
    known.map_or_else(|| Arc::new(written(plan)), |at| Arc::clone(&KNOWN[at]))
}

fn written(plan: &Plan) -> Settings {
    let quarter = plan.memory_mib / 4;
    let computed = [
        ("max_connections", plan.connections_max.to_string()),
        ("shared_buffers", format!("{}MB", quarter.max(16))),
        ("effective_cache_size", format!("{}MB", plan.memory_mib / 2)),
    ];
    let fixed = [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("password_encryption", "scram-sha-256"),
        ("wal_level", "replica"),
        ("min_wal_size", "80MB"),
        ("max_wal_size", "256MB"),
        ("wal_recycle", "on"),
        // A standby that is made takes two senders for a while.
        ("max_wal_senders", "10"),
        ("max_replication_slots", "10"),
        // A standby that is away must not fill the primary's disk; past this it is made anew.
        ("max_slot_wal_keep_size", "1GB"),
        ("wal_keep_size", "64MB"),
        // Always on, as turning it on takes a restart; where nothing is archived the command does nothing.
        // A standby archives too: what its primary could not any more is not lost to the archive with it.
        ("archive_mode", "always"),
        ("archive_timeout", "60"),
        ("hot_standby", "on"),
        ("wal_receiver_status_interval", "1s"),
        ("wal_receiver_timeout", "5s"),
        ("wal_sender_timeout", "5s"),
        ("wal_retrieve_retry_interval", "50ms"),
        // Where a former primary's log parted is found again by hint bits too.
        ("wal_log_hints", "on"),
        ("superuser_reserved_connections", "5"),
        ("work_mem", "4MB"),
        ("maintenance_work_mem", "32MB"),
        ("logging_collector", "off"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
        ("log_min_duration_statement", "-1"),
        ("log_checkpoints", "off"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("tcp_keepalives_idle", "60"),
        // Five failures in ten minutes should be seen by the agent, not hidden by the server.
        ("restart_after_crash", "off"),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name, value.to_owned()));
    computed.into_iter().chain(fixed).map(|(name, value)| (name.to_owned(), value)).collect()
}
