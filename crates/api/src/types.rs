//! What travels and is not already a view or an order of the core.

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::lineage::{Bucket, Location};
use evenkeel_core::check::{Family, Severity};
use evenkeel_core::digest::Digest;
use evenkeel_core::goal::Password;
use evenkeel_core::journal::Topic;
use evenkeel_core::time::Time;
use serde::{Deserialize, Serialize};

/// A service to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// Its kind's name.
    pub kind: String,
    /// Its plan's name; the kind's first plan if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What packs its archive; the fleet's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_engine: Option<Engine>,
}

/// What a drill came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillResult {
    /// What was exercised.
    pub drill: String,
    /// The longest time without an acknowledged write, in milliseconds.
    pub gap_ms: u64,
    /// Acknowledged rows that were missing afterwards.
    pub lost: u64,
    /// Rows that were acknowledged.
    pub acked: u64,
}

/// The body of an order for a failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverOrder {
    /// Why, for the journal.
    pub reason: String,
}

/// The body of an order to give up log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GiveUpOrder {
    /// The service's name again.
    pub confirm: String,
    /// Why, for the journal.
    pub reason: String,
}

/// The body of an order for a switchover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchoverOrder {
    /// Which member, by its id or its host's name; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How far something is restored: at most one of the three; none of them: as far as the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreTarget {
    /// A moment, as RFC 3339 writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// A position in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// A restore point by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
}

/// The body of an order for a fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkOrder {
    /// The new service's name.
    pub name: String,
    /// How far the source's log is replayed.
    #[serde(default)]
    pub target: RestoreTarget,
}

/// The body of an order for an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportOrder {
    /// The new service's name.
    pub name: String,
    /// The source, like `postgres://user@host:5432/database`, without a password.
    pub from: String,
    /// The new service's plan; the kind's first plan if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// `auto`, `base` or `dump`; the first if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The source's password, where it asks for one. No answer ever shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
}

/// The body of an order for a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackOrder {
    /// How far the service's log is replayed.
    pub target: RestoreTarget,
}

/// A repository, where archives go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryPage {
    /// Its name.
    pub name: String,
    /// Where it is, in words; never what opens it.
    pub place: String,
    /// When the newest snapshot of the control plane's own store in it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_saved_at: Option<String>,
    /// Since when it takes none, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_trouble: Option<String>,
}

/// The body of an order to go on with the hosts that have shown what they keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryEnd {
    /// How many have, by whoever says so.
    pub hosts: u32,
}

/// The body of an order for a repository: a directory or a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRepository {
    /// Its name.
    pub name: String,
    /// A directory that every host sees under this absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// A bucket of object storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
}

impl NewRepository {
    /// Its place.
    ///
    /// # Errors
    /// Unless it names one: what is wrong with it.
    pub fn location(&self) -> Result<Location, String> {
        match (&self.directory, &self.bucket) {
            (Some(path), None) if path.starts_with('/') => {
                Ok(Location::Directory { path: path.clone() })
            }
            (Some(path), None) => {
                Err(format!("{path:?} is no absolute path; every host must see it by one name"))
            }
            (None, Some(bucket)) => Ok(Location::S3(Box::new(bucket.clone()))),
            _ => Err("name one place: a directory or a bucket".to_owned()),
        }
    }
}

/// The body of an order to terminate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Termination {
    /// The service's name again.
    pub confirm: String,
}

/// How to connect to a service. The only answer that shows a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlAnswer {
    /// Everything below in one line.
    pub url: String,
    /// Where to connect.
    pub host: String,
    /// Where to connect.
    pub port: u16,
    /// The login; empty where the kind has none.
    pub user: String,
    /// Its password; empty where the kind has none.
    pub password: String,
    /// The database.
    pub database: String,
}

impl std::fmt::Debug for UrlAnswer {
    /// Leaves out what holds the password: debug output ends in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UrlAnswer")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A plan of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Its name, as `--plan` takes it.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Members of a service.
    pub members: u8,
    /// Memory a member may count on, in MiB.
    pub memory_mib: u32,
    /// Most client connections.
    pub connections_max: u32,
    /// Whether the service has an archive.
    pub archives: bool,
    /// Backups that are kept at least; 0 without an archive.
    pub backups_kept: usize,
    /// Every moment since so long ago can be restored, in seconds; 0 without an archive.
    pub restorable_seconds: u64,
}

/// A check of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSummary {
    /// Its name.
    pub name: String,
    /// Its family.
    pub family: Family,
    /// What it looks at, why it matters, what to do.
    pub doc: String,
}

/// A check in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLine {
    /// Its name.
    pub name: String,
    /// Who runs it: the agents for a kind of service (its name) or for a host (`host`), or the control plane
    /// by itself (`lifecycle`).
    pub of: String,
    /// Its family.
    pub family: Family,
    /// What it is about: a `service`, a `member` or a `host`.
    pub scope: String,
    /// How often it is run, in words.
    pub every: String,
    /// Its first sentence.
    pub summary: String,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPage {
    /// It in a list.
    pub check: CheckLine,
    /// What it looks at, why it matters, what to do.
    pub doc: String,
    /// What is asked: a query, or a reading of the host; empty where nobody is asked.
    pub question: String,
    /// What it goes by now.
    pub thresholds: Vec<Threshold>,
    /// An answer at which it fires.
    pub firing: String,
    /// What it says then.
    pub evidence: String,
    /// An answer at which it is quiet.
    pub quiet: String,
}

/// A threshold of policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// Its name; its unit is last.
    pub name: String,
    /// What it is now.
    pub value: i64,
}

/// Which findings are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingsQuery {
    /// Only those of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only those of this family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Only those so bad, or worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

/// A kind of service in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSummary {
    /// Its name, as `create` takes it.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Its plans; the first is the default.
    pub plans: Vec<PlanSummary>,
    /// Its checks.
    pub checks: Vec<CheckSummary>,
}

/// A kind with its machines, rendered from the functions that decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindPage {
    /// What the list shows.
    #[serde(flatten)]
    pub kind: KindSummary,
    /// Phases and events, as a Markdown table.
    pub phase_table: String,
    /// Phases, as a Mermaid state diagram.
    pub phase_diagram: String,
    /// Health and evidence, as a Markdown table.
    pub health_table: String,
    /// Health, as a Mermaid state diagram.
    pub health_diagram: String,
    /// A member's states and events, as a Markdown table.
    pub member_table: String,
    /// A member's states, as a Mermaid state diagram.
    pub member_diagram: String,
}

/// One entry of the journal as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Counts from 1, without gaps.
    pub position: u64,
    /// On the cell's clock, in milliseconds.
    pub at: Time,
    /// What kind of entry.
    pub topic: Topic,
    /// The service or host it is about.
    pub subject: String,
    /// One sentence.
    pub text: String,
    /// What it rests on.
    pub evidence: Vec<String>,
    /// The hash that chains it to all before it.
    pub link: Digest,
}

/// Which entries of the journal are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalQuery {
    /// Only those about this service or host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only those after this position, oldest first; the newest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// One thing `doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorItem {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// What to do about it; empty where it is well.
    pub fix: String,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word for programs.
    pub error: String,
    /// What is wrong and what would do, for people.
    pub message: String,
}
