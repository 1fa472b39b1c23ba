//! What is stored of a service's archive. The catalogue itself is in the repositories; this is what
//! decisions rest on, and what a person is shown.

use serde::{Deserialize, Serialize};

use crate::backup::job::{Backup, Job, Proof};
use crate::backup::lineage::{BackupId, Seed};
use crate::goal::Password;
use crate::id::{MemberId, ServiceId};
use crate::name::ServiceName;
use crate::time::Time;

/// A service's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Which of its lineages is written to.
    pub generation: u32,
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
    /// The job under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Running>,
    /// When a job last ended without success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
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
