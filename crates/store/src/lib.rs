//! Where cells keep their rows and their journal.
//!
//! Purpose: record, then act. A turn's writes are one synced transaction; what [`Store::commit`]
//! answered is on disk, what it refused left nothing behind.
//!
//! Invariants:
//! - knows nothing of what is inside a row: bytes under a [`Key`];
//! - the journal is append-only and hash-chained ([`evenkeel_core::journal::chain`]); its oldest part
//!   may be dropped, counted, and the rest is a chain from the link before it;
//! - damage is refused by name, never worked around: a store that cannot be trusted is not opened.
//!
//! ```
//! use evenkeel_core::{id::CellId, row::Writes};
//! use evenkeel_store::{Store, memory::Memory};
//! let mut store = Memory::new();
//! assert_eq!(store.commit(CellId(1), &Writes::default()).unwrap(), 0);
//! ```

pub mod conformance;
pub mod memory;
pub mod sqlite;

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use evenkeel_core::digest::Digest;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::journal;
use evenkeel_core::row::{Key, Writes};

/// Where an entry is in the journal: from 1, without gaps, over all cells of a store.
pub type Position = u64;

/// An entry of the journal as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place.
    pub position: Position,
    /// The cell that wrote it.
    pub cell: CellId,
    /// What it says.
    pub entry: journal::Entry,
    /// The hash over it and all before it.
    pub link: Digest,
}

/// What a verification went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows whose checksum is right.
    pub rows: u64,
    /// Entries of the journal that form one chain, up to its end.
    pub entries: u64,
    /// Entries before those, which retention dropped.
    pub dropped: u64,
}

/// Why a store does not do what it is asked. Messages name the file and what would help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full.
    #[error("{file}: no space left; nothing of this commit was kept. Free space on that disk")]
    DiskFull {
        /// The store's file.
        file: PathBuf,
    },
    /// It cannot be written to.
    #[error("{file} cannot be written to; check its owner and the mount")]
    ReadOnly {
        /// The store's file.
        file: PathBuf,
    },
    /// Another process has it open.
    #[error("{file} is in use by another process; stop that controller first")]
    InUse {
        /// The store's file.
        file: PathBuf,
    },
    /// There is a store where one was to be made.
    #[error("{file} exists; move that controller's directory aside first")]
    Exists {
        /// The store's file.
        file: PathBuf,
    },
    /// There is no store.
    #[error("there is no store at {file}; name the data directory with --data")]
    Missing {
        /// The store's file.
        file: PathBuf,
    },
    /// Some other program's file.
    #[error("{file} is not a store of Evenkeel ({why}); nothing in it was changed")]
    NotAStore {
        /// The file.
        file: PathBuf,
        /// What was found.
        why: String,
    },
    /// Written by a newer release.
    #[error("{file} has layout {found}, this release knows up to {known}; start a newer Evenkeel")]
    Newer {
        /// The file.
        file: PathBuf,
        /// As found.
        found: i64,
        /// The newest this release knows.
        known: i64,
    },
    /// Damaged.
    #[error(
        "{file} is damaged: {what}. It was not changed. Put back a backup of it, or the copy of the \
         last clean start ({file}.good); agents refuse to obey a store older than they have seen \
         until a person has looked"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Anything else.
    #[error("{file}: {what}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Takes whole copies of a store, beside whoever commits to it.
pub trait Copies: Send + Sync {
    /// Writes a copy as of one commit to a new file, which another file of that name makes room for. No
    /// commit waits for it.
    ///
    /// # Errors
    /// [`Error`].
    fn copy(&self, to: &std::path::Path) -> Result<(), Error>;
}

/// Reads a store's rows beside whoever commits to it, each call on the thread that makes it.
pub trait Reads: Send + Sync {
    /// Hands out every row of some cells as of one commit, in order of cell and key.
    ///
    /// # Errors
    /// [`Error`]; then what was handed out is not to be believed.
    fn read(
        &self,
        cells: RangeInclusive<CellId>,
        take: &mut dyn FnMut(CellId, Key, &[u8]),
    ) -> Result<(), Error>;
}

/// A place for rows and the journal.
pub trait Store: Send {
    /// Its identity, drawn when it was made: a store put in another's place is seen.
    fn id(&self) -> StoreId;

    /// What takes copies of it; `None`: it has no file.
    fn copies(&self) -> Option<Box<dyn Copies>> {
        None
    }

    /// The cells that have any row, in order. One whose last row was removed may be told as well: then
    /// [`Store::load_cell`] has nothing of it.
    ///
    /// # Errors
    /// [`Error`].
    fn cells(&self) -> Result<Vec<CellId>, Error>;

    /// What reads its rows on other threads; `None`: only itself can be asked.
    fn reads(&self) -> Option<Box<dyn Reads>> {
        None
    }

    /// Hands out every row of every cell, in order of cell and key: one pass, where a
    /// [`Store::load_cell`] for each would go over the tail as often.
    ///
    /// # Errors
    /// [`Error`]; then what was handed out is not to be believed.
    fn load_each(&self, take: &mut dyn FnMut(CellId, Key, &[u8])) -> Result<(), Error>;

    /// Every row of a cell, in order of key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a row whose checksum does not fit, and others.
    fn load_cell(&self, cell: CellId) -> Result<Vec<(Key, Vec<u8>)>, Error>;

    /// One synced transaction for the turns of many cells; the journal's last position.
    ///
    /// # Errors
    /// [`Error`]; nothing of the batch was kept.
    fn commit_batch(&mut self, batch: &[(CellId, &Writes)]) -> Result<Position, Error>;

    /// [`Store::commit_batch`] of one.
    ///
    /// # Errors
    /// [`Error`]; nothing was kept.
    fn commit(&mut self, cell: CellId, writes: &Writes) -> Result<Position, Error> {
        self.commit_batch(&[(cell, writes)])
    }

    /// Entries of the journal, oldest first: those past `after`, or else the newest; at most `limit`.
    ///
    /// # Errors
    /// [`Error`].
    fn journal(
        &self,
        subject: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error>;

    /// The last entry that retention dropped, and its link: the kept ones are a chain from there.
    fn dropped(&self) -> (Position, Digest) {
        (0, journal::GENESIS)
    }

    /// Goes through every row and the whole chain of the journal.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the first thing that does not fit.
    fn verify(&self) -> Result<Verified, Error>;

    /// Everything, for people: one JSON object a line, rows first.
    ///
    /// # Errors
    /// [`Error`].
    fn dump(&self, to: &mut dyn Write) -> Result<(), Error>;
}

/// A row for people: its version, and its body as JSON where it is that.
fn row_line(cell: CellId, key: Key, body: &[u8]) -> serde_json::Value {
    let (version, rest) = body.split_first().map_or((None, body), |(v, rest)| (Some(*v), rest));
    let value: serde_json::Value = serde_json::from_slice(rest)
        .unwrap_or_else(|_| serde_json::Value::from(String::from_utf8_lossy(rest)));
    serde_json::json!({
        "cell": cell.0, "table": key.table.as_str(), "id": key.id, "version": version, "body": value,
    })
}

/// An entry of the journal for people.
fn entry_line(recorded: &Recorded) -> serde_json::Value {
    serde_json::json!({
        "journal": recorded.position,
        "cell": recorded.cell.0,
        "entry": recorded.entry,
        "link": recorded.link,
    })
}

fn write_line(to: &mut dyn Write, line: &serde_json::Value) -> io::Result<()> {
    writeln!(to, "{line}")
}
