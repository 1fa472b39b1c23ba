//! Work on a member's data beside its server: taken with its goal, done once, told in its report.
//!
//! Invariant: a job is safe to begin again. An agent that restarts begins it anew, and what an earlier
//! try completed is found and not done twice.

use serde::{Deserialize, Serialize};

use super::lineage::{BackupId, Seed};
use crate::moment::Moment;
use crate::promise::Position;

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Names it: no other job of its service ever had this number.
    pub id: u32,
    /// What is to be done.
    pub what: What,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Take a backup of this member under the job's number.
    Backup {
        /// Bytes a second that are read at most; 0 for no limit.
        rate_max: u64,
    },
    /// Restore into a scratch directory, look whether everything is there, and drop it.
    Prove(Box<Seed>),
    /// Archive all that a stopped server wrote and nobody took yet, then prove that a restore gets to its
    /// very end: after this its disks are not needed.
    Last(Box<Seed>),
    /// Remove backups, and the log that nothing needs any more.
    Expire {
        /// Which.
        backups: Vec<BackupId>,
        /// Log that ended before here, on any timeline, is needed by no backup that stays.
        before: Position,
    },
    /// Copy to each repository what others have and it lacks, since it could not be reached then.
    Even,
    /// Give up the log that no repository took yet, so that its disk has room again. A person said so.
    GiveUp,
}

impl What {
    /// Its name for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "backup",
            Self::Prove(_) => "proof",
            Self::Last(_) => "last proof",
            Self::Expire { .. } => "expiry",
            Self::Even => "evening out",
            Self::GiveUp => "giving up of log",
        }
    }
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// A backup is in a repository, with all the log that it needs.
    Backup(Backup),
    /// A restore went as it should, or says what did not.
    Proof(Proof),
    /// So many objects are gone.
    Expired {
        /// How many.
        objects: u64,
    },
    /// Every repository has what any has.
    Evened {
        /// How many objects were copied.
        objects: u64,
    },
    /// So much log is archived nowhere, and will not be.
    GaveUp {
        /// Bytes of log.
        bytes: u64,
    },
}

/// A backup, as its manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Which.
    pub id: BackupId,
    /// When it was begun.
    pub begun: Moment,
    /// When it was complete: what is restored from it is never from before.
    pub ended: Moment,
    /// Where its log begins.
    pub from: Position,
    /// Where it is consistent.
    pub to: Position,
    /// The timeline it was taken on.
    pub timeline: u32,
    /// Bytes of the data directory.
    pub bytes: u64,
    /// Bytes in the repository.
    pub stored: u64,
    /// In which repositories it is.
    pub repositories: Vec<String>,
}

/// What a restore showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Of which backup.
    pub backup: BackupId,
    /// When it was begun.
    pub begun: Moment,
    /// How long fetching and replaying took, until it took writes, in milliseconds.
    pub restore_ms: u64,
    /// The newest moment that Evenkeel's own row in it was written.
    pub canary: Option<Moment>,
    /// How many relations were checked.
    pub relations: u64,
    /// What is wrong with it; empty: nothing.
    pub wrong: Vec<String>,
}

/// A job, by its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which.
    pub id: u32,
    /// What came of it.
    pub outcome: Result<Done, String>,
}

/// A repository that does not have what others took.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missed {
    /// Its name.
    pub repository: String,
    /// Whether it takes everything again: for a while nothing failed there.
    pub over: bool,
}
