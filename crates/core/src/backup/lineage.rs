//! Where a service's log and backups go, and what a new member's data is made from.
//!
//! Invariants: a lineage belongs to one state of one service. What is restored, forked or rolled back
//! begins a lineage of its own, so that two systems never write into one; repositories keep lineages
//! apart and know nothing else of services.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::goal::{Password, StoreId};
use crate::id::ServiceId;
use crate::moment::Moment;
use crate::promise::Position;

/// The archive of one state of one service: a path in every repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(pub String);

impl Lineage {
    /// A service's lineage; `generation` grows with each of its members' restored states.
    #[must_use]
    pub fn of(store: &StoreId, service: ServiceId, generation: u32) -> Self {
        Self(format!("{}/{}-{generation}", store.0, service.0))
    }

    /// The store and the generation that it was named by.
    #[must_use]
    pub fn parts(&self) -> Option<(StoreId, u32)> {
        let (store, rest) = self.0.split_once('/')?;
        let (_, generation) = rest.split_once('-')?;
        Some((StoreId(store.to_owned()), generation.parse().ok()?))
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One backup of a lineage; ids are drawn by the cell and never used twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BackupId(pub u32);

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// A directory that every host sees under this path.
    Directory {
        /// Its absolute path.
        path: String,
    },
    /// A bucket of object storage that speaks S3.
    S3(Box<Bucket>),
}

/// A bucket, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The server: `https://host[:port]`.
    pub endpoint: String,
    /// The bucket's name.
    pub bucket: String,
    /// Everything is below this path in it; empty: it is all there is.
    #[serde(default)]
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is part of the server's name, and not of the path.
    #[serde(default)]
    pub virtual_host: bool,
    /// The access key's id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Password,
    /// Certificates that are believed instead of the public ones, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl Location {
    /// Whether both name the same place, whatever the credentials.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory { path }, Self::Directory { path: other }) => path == other,
            (Self::S3(one), Self::S3(other)) => {
                let place = |b: &Bucket| [b.endpoint.clone(), b.bucket.clone(), b.prefix.clone()];
                place(one) == place(other)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path } => write!(f, "directory {path}"),
            Self::S3(bucket) => {
                write!(f, "bucket {}", bucket.bucket)?;
                if !bucket.prefix.is_empty() {
                    write!(f, "/{}", bucket.prefix)?;
                }
                write!(f, " at {}", bucket.endpoint)
            }
        }
    }
}

/// A place for lineages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: Location,
}

/// Where a member's log and backups go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Under which name.
    pub lineage: Lineage,
    /// Who packs what goes there, for as long as there is anything.
    #[serde(default, skip_serializing_if = "Engine::is_default")]
    pub engine: Engine,
    /// What everything is sealed with before it leaves the host: 32 bytes in hexadecimal.
    pub key: Password,
    /// The same key as only the holder of the fleet's recovery key can read it: kept with the lineage.
    pub wrapped: String,
    /// Any of these is enough.
    pub repositories: Vec<Repository>,
}

/// What a fresh directory is made from, instead of from nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Whose backups and log; read and never written.
    pub archive: Archive,
    /// From which backup on; `None`: the newest that ended before the target.
    pub backup: Option<BackupId>,
    /// How far the log is replayed.
    pub target: Target,
    /// The owner's role and database in it, which become the new service's.
    pub owner: String,
    /// Whether the log is known to go on until the target: then a target that it does not reach is one
    /// after its last commit, and otherwise it is an error.
    pub covered: bool,
}

/// How far a log is replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// As far as it was archived.
    #[default]
    Latest,
    /// Every transaction that committed until then, by the server's clock.
    Moment(Moment),
    /// Every record that ends until there.
    Position(Position),
    /// To a restore point.
    Point(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the end of its log"),
            Self::Moment(moment) => moment.fmt(f),
            Self::Position(position) => write!(f, "position {position}"),
            Self::Point(name) => write!(f, "restore point {name:?}"),
        }
    }
}
