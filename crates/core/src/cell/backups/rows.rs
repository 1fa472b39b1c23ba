//! What is stored of a service's archive. The catalogue itself is in the repositories; this is what
//! decisions rest on, and what a person is shown.

use serde::{Deserialize, Serialize};

use crate::backup::engine::Engine;
use crate::backup::job::{Backup, Job, Proof};
use crate::backup::lineage::{BackupId, Seed};
use crate::goal::{Password, StoreId};
use crate::id::{MemberId, ServiceId};
use crate::import::{Import, Told};
use crate::moment::Moment;
use crate::name::ServiceName;
use crate::time::Time;

/// A service's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The store whose name its lineages are under; `None`: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<StoreId>,
    /// Which of its lineages is written to.
    pub generation: u32,
    /// Who packs what is written to it.
    #[serde(default, skip_serializing_if = "Engine::is_default")]
    pub engine: Engine,
    /// What everything in it is sealed with.
    pub key: Password,
    /// The same, for the holder of the fleet's recovery key.
    pub wrapped: String,
    /// Complete backups, oldest first.
    #[serde(default)]
    pub backups: Vec<Backup>,
    /// The newest proof, whatever it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The newest backup that a restore showed to be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<BackupId>,
    /// When a last proof succeeded, while nothing is known that it would not hold against: no repository
    /// was removed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_at: Option<Time>,
    /// The job under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<Running>>,
    /// When a job last ended without success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Box<Failed>>,
    /// How often all of the log was wanted archived at once.
    #[serde(default)]
    pub flush: u32,
    /// Whether somebody wants it put away without waiting for its grace period.
    #[serde(default)]
    pub put_away: bool,
    /// Whether it is all there is: nothing on any host is its service's any more.
    #[serde(default)]
    pub bare: bool,
    /// The owner's role and database, where they have another name than the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<ServiceName>,
    /// What it is being made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
    /// Log that was given up, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
    /// Members that are still to give up theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub give_up: Vec<MemberId>,
    /// The foreign server that its service was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Box<Imported>>,
}

/// What cannot be restored, though there are backups from before and after: its log was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Everything until then can be restored.
    pub since: Moment,
    /// Everything from then on can be again: a backup was complete. `None`: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// Who decided that.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What a service is, or was, imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// From where and how; without a password when it is over.
    pub import: Import,
    /// What its agent said that is worth keeping.
    pub told: Told,
    /// Whether nothing more is read from there.
    pub over: bool,
}

/// What a service is being made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// For its first member's first directory.
    pub seed: Seed,
    /// Whose log it is.
    pub source: ServiceId,
    /// Whether it takes that service's place when it serves.
    pub replaces: bool,
}

/// A job under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// What is done.
    pub job: Job,
    /// By whose agent.
    pub member: MemberId,
    /// Since when.
    pub since: Time,
}

/// A job that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub job: u32,
    /// When.
    pub at: Time,
    /// How many in a row.
    pub times: u8,
    /// Why.
    pub why: String,
}
