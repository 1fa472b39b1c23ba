//! What is stored: rows of entities and entries of the journal, as versioned bytes.
//!
//! A store knows nothing of what is inside: it keeps bytes under a [`Key`]. Every body begins with
//! its version, so a newer release reads older rows and an older one refuses newer rows by name.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::journal::Entry;

/// Kinds of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// The cell's counters and clock: one row.
    Cell,
    /// Hosts.
    Host,
    /// Services, with their members and operation.
    Service,
    /// The toil ledger: one row.
    Toil,
    /// Runs of procedures, and what people did by hand.
    Act,
    /// Incidents; number 0 is the chain of alert channels.
    Incident,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 6] =
        [Self::Cell, Self::Host, Self::Service, Self::Incident, Self::Toil, Self::Act];

    /// Its name in stores and dumps.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cell => "cell",
            Self::Host => "host",
            Self::Service => "service",
            Self::Toil => "toil",
            Self::Act => "act",
            Self::Incident => "incident",
        }
    }
}

/// A row's place within its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Which table.
    pub table: Table,
    /// The entity's id.
    pub id: u64,
}

/// One change of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which row.
    pub key: Key,
    /// Its new body; `None` removes it.
    pub body: Option<Vec<u8>>,
}

/// Everything one turn records, in one synced transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writes {
    /// Rows.
    pub rows: Vec<Write>,
    /// Journal entries, in order.
    pub journal: Vec<Entry>,
}

impl Writes {
    /// Whether there is nothing to record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.journal.is_empty()
    }
}

/// Version of every row body this release writes.
pub const VERSION: u8 = 1;

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bytes at all.
    #[error("row is empty")]
    Empty,
    /// Written by a newer release.
    #[error("row has version {found}, this release reads up to {VERSION}; start a newer Evenkeel")]
    Newer {
        /// The version found.
        found: u8,
    },
    /// Damaged.
    #[error("row cannot be read")]
    Damaged(#[source] serde_json::Error),
}

/// A row's bytes: the version, then JSON.
///
/// # Panics
/// When the value cannot be written as JSON, which no row type allows.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_with(&mut Vec::new(), value)
}

/// The same, by way of a buffer that many rows are written in one after another.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn encode_with<T: Serialize>(buffer: &mut Vec<u8>, value: &T) -> Vec<u8> {
    buffer.clear();
    buffer.push(VERSION);
    serde_json::to_writer(&mut *buffer, value).expect("rows are all JSON");
    buffer.as_slice().to_vec()
}

/// The value of a row's bytes.
///
/// # Errors
/// [`Error`]: empty, newer, or damaged.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((&VERSION, body)) => serde_json::from_slice(body).map_err(Error::Damaged),
        Some((&found, _)) => Err(Error::Newer { found }),
    }
}
