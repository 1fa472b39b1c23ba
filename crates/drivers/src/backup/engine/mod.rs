//! Engines: what becomes of a lineage's log and backups in its repositories.
//!
//! One conformance suite (`tests/all/engine.rs`) holds all of them. An engine brings a data directory and
//! files of the log, and nothing more: replaying, proving and whose data it is are the same for all.
//!
//! Invariants: a file of the log is admitted by the lineage's terms before an engine stores it; a backup
//! is one when its manifest is in the lineage's catalogue, whatever the engine says of it; "not there" is
//! said only by a repository that was reached.

mod even;
mod native;
mod pgbackrest;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use evenkeel_core::backup::archive::{Archived, Error};
use evenkeel_core::backup::engine::{Capabilities, Engine as Name};
use evenkeel_core::backup::lineage::{Archive, BackupId};
use evenkeel_core::driver;
use evenkeel_core::id::Term;
use evenkeel_core::promise::Position;

use super::lineage::{Lineage, Manifest};
use super::pace::Paced;
use crate::image::Image;

/// What an engine works with on its host.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Where it may leave files of its own. It need not be there yet.
    pub dir: PathBuf,
    /// pgBackRest, where there is some.
    pub backrest: Option<Image>,
}

/// A file of the log on its server's host.
#[derive(Clone, Copy, Debug)]
pub struct LogFile<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is.
    pub path: &'a Path,
    /// The directory of its server's data.
    pub data: &'a Path,
}

/// The log that a backup needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Where it begins.
    pub from: Position,
    /// Where the backup is consistent.
    pub to: Position,
    /// The timelines it was begun and ended on.
    pub timelines: (u32, u32),
}

/// What was read of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How much.
    pub bytes: u64,
    /// The log it needs.
    pub bounds: Bounds,
}

/// How a server is reached on its own host.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Its data.
    pub data: PathBuf,
    /// Of its socket.
    pub sockets: PathBuf,
    /// Its port.
    pub port: u16,
    /// A role that may back it up.
    pub user: &'static str,
    /// A database that is always there.
    pub database: &'static str,
}

/// A server that a backup is taken of.
pub trait Source {
    /// For an engine that reads it by itself.
    fn reach(&self) -> Reach;
    /// Writes all of its data as one archive, at most so many bytes a second; 0: no limit.
    ///
    /// # Errors
    /// Of the server, of the writer.
    fn copy(&self, id: BackupId, rate: u64, to: &mut dyn Write) -> Result<Copied, driver::Error>;
}

/// A backup's data, in repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The log it needs.
    pub bounds: Bounds,
    /// Bytes of the data directory.
    pub bytes: u64,
    /// Bytes in a repository.
    pub stored: u64,
    /// Where it is.
    pub repositories: Vec<String>,
    /// What the engine calls it in each of them, if it gave it a name.
    pub sets: BTreeMap<String, String>,
}

/// An engine, over one lineage.
pub trait Engine: Send + Sync {
    /// What it can.
    fn capabilities(&self) -> Capabilities;
    /// What it has in common with others.
    fn lineage(&self) -> &Lineage;
    /// Stores a file of the log wherever it is not yet, at its host's pace.
    ///
    /// # Errors
    /// [`Error`]; no repository has it then, or one has another of that name.
    fn push(&self, file: &LogFile<'_>, term: Term, pace: &Paced) -> Result<Archived, Error>;
    /// Fetches a file of the log to a path, for the server of a data directory.
    ///
    /// # Errors
    /// [`Error::NotThere`] only if every repository was reached and none has it. What is at the path is
    /// to be believed only where there is no error.
    fn fetch(&self, name: &str, data: &Path, to: &Path) -> Result<(), Error>;
    /// Whether a file of the log is in a repository, without reading all of it.
    ///
    /// # Errors
    /// Where none that can be asked has it, and one cannot be asked.
    fn has(&self, name: &str) -> Result<bool, Error>;
    /// The newest timeline that the log goes on on, and `from` at least.
    ///
    /// # Errors
    /// Unless every repository says what it has.
    fn newest_timeline(&self, from: u32) -> Result<u32, Error>;
    /// Takes a backup's data, which is no backup until it is in the catalogue.
    ///
    /// # Errors
    /// Where it is in no repository.
    fn backup(&self, source: &dyn Source, id: BackupId, rate: u64) -> Result<Taken, driver::Error>;
    /// Fills an empty data directory from a backup; the repository that it came from.
    ///
    /// # Errors
    /// Where no repository has the whole of it as it was stored.
    fn restore(&self, backup: &Manifest, data: &Path) -> Result<String, driver::Error>;
    /// Reads a backup's data in every repository that has it, but for one that was read just now; what is
    /// wrong.
    fn verify(&self, backup: &Manifest, besides: Option<&str>) -> Vec<Error>;
    /// Copies to each repository the log and the backups that others have and it lacks; how many objects.
    ///
    /// # Errors
    /// Of the repositories, and of an engine that cannot. What was copied stays.
    fn even(&self) -> Result<u64, driver::Error> {
        let what =
            "its engine's repositories cannot be copied; the next backup goes to all of them";
        Err(driver::Error::Failed(what.to_owned()))
    }
    /// Removes backups everywhere: first what makes them such. How many objects or sets.
    ///
    /// # Errors
    /// [`Error`]; what is left of one is no backup, or the whole of it.
    fn remove(&self, backups: &[BackupId]) -> Result<u64, Error>;
    /// Removes files of the log by name, as `gone` judges them; how many. Histories of timelines stay.
    ///
    /// # Errors
    /// [`Error`].
    fn forget(&self, gone: &dyn Fn(&str) -> bool) -> Result<u64, Error>;
}

/// Opens a lineage with its engine; nothing is asked of any repository yet.
///
/// # Errors
/// Without a key, a repository, or the engine's program.
pub fn open(archive: &Archive, tools: &Tools) -> Result<Box<dyn Engine>, Error> {
    let lineage = Lineage::open(archive)?;
    Ok(match archive.engine {
        Name::Native => Box::new(native::Native::new(lineage)),
        Name::PgBackRest => Box::new(pgbackrest::PgBackRest::new(lineage, archive, tools)?),
    })
}

/// The content of a file of the log.
fn read(file: &LogFile<'_>) -> Result<Vec<u8>, Error> {
    std::fs::read(file.path).map_err(|error| local(file.path, &error))
}

/// An error of this host's own files, whatever the repositories would say.
fn local(path: &Path, error: &std::io::Error) -> Error {
    super::lineage::nowhere(&format!("{}: {error}", path.display()))
}
