//! The port to a kind's server on one host: small, synchronous, every call an "ensure".
//!
//! Drivers do the I/O; the reconciler in this crate decides which call comes next. The simulator
//! has modelled drivers behind the same trait. Every call is safe to repeat.

use serde::{Deserialize, Serialize};

use crate::check::Reading;
use crate::goal::{Goal, StopMode};
use crate::id::Incarnation;

/// What is on disk for a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directory {
    /// Nothing.
    Absent,
    /// Begun and never completed; it never served.
    Partial,
    /// Complete, of this incarnation.
    Complete {
        /// As marked inside the data directory.
        incarnation: Incarnation,
    },
    /// Complete and sealed.
    Sealed {
        /// As marked inside the data directory.
        incarnation: Incarnation,
    },
    /// Not Evenkeel's, or not this member's: never touched.
    Foreign {
        /// What was found.
        why: String,
    },
}

/// The member's process, as the operating system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// No process of this directory is left. A zombie is dead.
    None,
    /// The server runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// The server is there and stopped by a signal or a debugger.
    Frozen {
        /// Its process id.
        pid: u32,
    },
    /// The server is gone, children of it are not: nothing may start beside them.
    Leftovers {
        /// How many.
        count: u32,
    },
}

/// What the server itself answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Not asked, or no process to ask.
    Unasked,
    /// Refused or not there yet.
    NotYet,
    /// It replays its log.
    Recovering,
    /// It takes connections; no write was tried.
    Accepting,
    /// A write was acknowledged.
    Writing,
    /// No answer within the time allowed.
    Silent,
}

/// A driver's failure, in words for people; what is tried again is the reconciler's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Error {
    /// The port is held by another process.
    #[error("port {port} is taken by another process; free it or let Evenkeel choose another")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The disk is full.
    #[error("no space left: {what}")]
    DiskFull {
        /// Where.
        what: String,
    },
    /// The directory belongs to somebody else.
    #[error("{path} is not this member's: {why}; nothing in it was touched")]
    Foreign {
        /// Which directory.
        path: String,
        /// What was found.
        why: String,
    },
    /// The image lacks a program.
    #[error("{program} is missing from image {image}; install it or fetch an image")]
    ProgramMissing {
        /// Which.
        program: String,
        /// Where it was looked for.
        image: String,
    },
    /// It did not happen within its deadline.
    #[error("{what} took longer than {limit_ms} ms")]
    Deadline {
        /// What.
        what: String,
        /// The limit.
        limit_ms: u64,
    },
    /// Anything else, in the words of whoever failed.
    #[error("{0}")]
    Failed(String),
}

/// One member's server on one host. Calls may block; the caller runs them off its own thread.
pub trait Driver: Send {
    /// What is on disk.
    ///
    /// # Errors
    /// When the disk cannot be read: that is not the same as absent.
    fn directory(&mut self, goal: &Goal) -> Result<Directory, Error>;
    /// What the operating system knows of the process; adopts a running one.
    ///
    /// # Errors
    /// When the process table cannot be read.
    fn process(&mut self, goal: &Goal) -> Result<Process, Error>;
    /// Makes a fresh directory of the goal's incarnation, from the pool where one is ready.
    ///
    /// # Errors
    /// [`Error`]; what was begun is left as [`Directory::Partial`].
    fn initialize(&mut self, goal: &Goal) -> Result<(), Error>;
    /// Removes a [`Directory::Partial`].
    ///
    /// # Errors
    /// [`Error::Foreign`] for anything else.
    fn discard(&mut self, goal: &Goal) -> Result<(), Error>;
    /// Writes and syncs the settings; true if a running server must restart to take them all.
    ///
    /// # Errors
    /// [`Error`].
    fn configure(&mut self, goal: &Goal) -> Result<bool, Error>;
    /// Starts the server, nobody's child. Returns when the process exists, not when it is ready.
    ///
    /// # Errors
    /// [`Error::PortTaken`] and others; no process is left behind.
    fn start(&mut self, goal: &Goal) -> Result<u32, Error>;
    /// Makes roles, databases and logins as the goal wants them.
    ///
    /// # Errors
    /// [`Error`].
    fn prepare(&mut self, goal: &Goal) -> Result<(), Error>;
    /// Asks the server; with `write`, commits a row over a kept connection.
    fn probe(&mut self, goal: &Goal, write: bool) -> Answer;
    /// Runs one check's question.
    ///
    /// # Errors
    /// [`Error`].
    fn read(&mut self, goal: &Goal, question: &str) -> Result<Reading, Error>;
    /// Asks the server to stop; returns when all its processes are gone.
    ///
    /// # Errors
    /// [`Error::Deadline`] when some are left.
    fn stop(&mut self, goal: &Goal, mode: StopMode) -> Result<(), Error>;
    /// Kills every process of this directory; returns when all are gone.
    ///
    /// # Errors
    /// [`Error::Deadline`] when some are left.
    fn kill(&mut self, goal: &Goal) -> Result<(), Error>;
    /// Seals a stopped directory against starting, or lifts the seal.
    ///
    /// # Errors
    /// [`Error`].
    fn seal(&mut self, goal: &Goal, sealed: bool) -> Result<(), Error>;
    /// Removes the directory, leaving a tombstone.
    ///
    /// # Errors
    /// [`Error::Foreign`] if it is not this member's.
    fn remove(&mut self, goal: &Goal) -> Result<(), Error>;
}
