//! The port to a kind's server on one host: small, synchronous, every call an "ensure".
//!
//! Drivers do the I/O; the reconciler in this crate decides which call comes next. The simulator
//! has modelled drivers behind the same trait. Every call is safe to repeat.

use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::backup::guard::{Level, Room};
use crate::backup::job::{Done, Job, Missed};
use crate::check::{Place, Reading};
use crate::goal::{Goal, StopMode};
use crate::id::{Incarnation, Term};
use crate::import;
use crate::moment::Moment;
use crate::procedure::{Ran, Script};
use crate::promise::{Copy, Position};

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
    /// It takes connections as a standby does: to read.
    Following,
    /// It takes connections; no write was tried.
    Accepting,
    /// A write was acknowledged.
    Writing,
    /// No answer within the time allowed.
    Silent,
}

/// What a server says of its part in replication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// It replays another's log, or did until nobody sent any.
    pub recovering: bool,
    /// The term of the newest promotion in its log, as far as it is replayed.
    pub history: Term,
    /// As a standby: what receives its upstream's log.
    pub receiver: Receiver,
    /// As a standby: everything that it has is replayed.
    pub replayed: bool,
    /// What it has flushed.
    pub flushed: Position,
    /// As a primary: whom it sends its log.
    pub senders: Vec<Sender>,
}

/// What receives an upstream's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// There is none.
    None,
    /// It tries to.
    Connecting,
    /// It does.
    Streaming,
}

/// A follower, by its primary's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Who follows.
    pub copy: Copy,
    /// It has caught up once and gets what is new as it is written.
    pub streaming: bool,
    /// Bytes that it has not flushed.
    pub lag_bytes: u64,
    /// A mark of its newest reply, which differs from that of every other reply.
    #[serde(default)]
    pub replied: u64,
}

/// How a server's log gets to its archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Bytes of log that are complete and in no repository.
    pub pending_bytes: u64,
    /// Since when the oldest of it waits, where that is long: what is on its way is not behind.
    pub behind_since: Option<Moment>,
    /// Why the last file was not stored.
    pub trouble: Option<String>,
    /// The repositories that did not take it then.
    #[serde(default)]
    pub refused: Vec<String>,
    /// Repositories that did not take what others took.
    #[serde(default)]
    pub missed: Vec<Missed>,
    /// The disk that the log is kept on.
    #[serde(default)]
    pub room: Option<Room>,
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

/// A kind's servers know of no others.
fn alone(goal: &Goal) -> Error {
    Error::Failed(format!("members of kind {} do not replicate", goal.identity.kind))
}

/// A kind's servers have no archive.
fn unarchived(goal: &Goal) -> Error {
    Error::Failed(format!("members of kind {} have no archive", goal.identity.kind))
}

/// One member's server on one host. Calls may block; the caller runs them off its own thread. A kind
/// whose servers do not replicate leaves those calls out.
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
    /// Makes a fresh directory of the goal's incarnation: a standby's from its upstream, another's
    /// from the pool where one is ready.
    ///
    /// # Errors
    /// [`Error`]; what was begun is left as [`Directory::Partial`].
    fn initialize(&mut self, goal: &Goal) -> Result<(), Error>;
    /// Where the import that a directory is made from is; asked of a driver beside the one that makes it.
    fn importing(&mut self, goal: &Goal) -> Option<import::Told> {
        let _ = goal;
        None
    }
    /// Has an import under way end soon, without success; asked of a driver beside the one that makes it.
    ///
    /// # Errors
    /// [`Error`].
    fn interrupt(&mut self, goal: &Goal) -> Result<(), Error> {
        let _ = goal;
        Ok(())
    }
    /// Makes a stopped directory of an older incarnation one of the goal's, which follows the goal's
    /// upstream: what it has and its upstream has not is set aside, the rest goes on being used. How
    /// many bytes of log were set aside.
    ///
    /// # Errors
    /// [`Error`]; from the first change on, what is there is [`Directory::Partial`].
    fn rejoin(&mut self, goal: &Goal) -> Result<u64, Error> {
        Err(alone(goal))
    }
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
    /// What the server says of its replication.
    ///
    /// # Errors
    /// [`Error`] when it does not say.
    fn replication(&mut self, goal: &Goal) -> Result<Replication, Error> {
        Err(alone(goal))
    }
    /// Where the log of a cleanly stopped server ends; `None` where its end cannot be known: it has
    /// at least all that it ever acknowledged.
    ///
    /// # Errors
    /// [`Error`].
    fn end_of_log(&mut self, goal: &Goal) -> Result<Option<Position>, Error> {
        Err(alone(goal))
    }
    /// Has a standby take writes, on a history marked with the goal's term by a write. Clients are let in by
    /// [`Driver::open`] where a commit waits for others.
    ///
    /// # Errors
    /// [`Error`]; it may have happened all the same, and is safe to ask for again.
    fn promote(&mut self, goal: &Goal) -> Result<(), Error> {
        Err(alone(goal))
    }
    /// Lets clients in if as many of the goal's set as acknowledge have what the server began with.
    /// Whether they are in.
    ///
    /// # Errors
    /// [`Error`].
    fn open(&mut self, goal: &Goal) -> Result<bool, Error> {
        Err(alone(goal))
    }
    /// Writes what an orderly stop would have to write, so that the stop that follows is short.
    ///
    /// # Errors
    /// [`Error`].
    fn checkpoint(&mut self, goal: &Goal) -> Result<(), Error> {
        Err(alone(goal))
    }
    /// Whether the goal's set is in force in every process of the server, and as many of it as
    /// acknowledge have flushed what was written before.
    ///
    /// # Errors
    /// [`Error`].
    fn confirm(&mut self, goal: &Goal) -> Result<bool, Error> {
        Err(alone(goal))
    }
    /// How its log gets to its archive. Asks no server: it may be stopped, or hang.
    ///
    /// # Errors
    /// [`Error`].
    fn archived(&mut self, goal: &Goal) -> Result<Archived, Error> {
        Err(unarchived(goal))
    }
    /// Has everything archived that was written before the goal's flush was first asked for; whether it is.
    ///
    /// # Errors
    /// [`Error`].
    fn flush(&mut self, goal: &Goal) -> Result<bool, Error> {
        Err(unarchived(goal))
    }
    /// Does a job beside the server; it takes as long as it does, and nothing else waits for it: it is
    /// called on a driver of its own.
    ///
    /// # Errors
    /// [`Error`]; it may be begun again.
    fn job(&mut self, goal: &Goal, job: &Job) -> Result<Done, Error> {
        let _ = job;
        Err(unarchived(goal))
    }
    /// Runs a script beside the server, until it ends, its time is over, or `stop` is set; nothing of it is
    /// left then. It is called on a driver of its own, and its digest was looked at.
    fn script(&mut self, goal: &Goal, script: &Script, stop: &AtomicBool) -> Ran {
        let (_, _) = (script, stop);
        Ran::failed(format!("members of kind {} have no scripts", goal.identity.kind))
    }
    /// Has the server go by how much room its disk has: commits are slowed, then nothing is written.
    /// Idempotent.
    ///
    /// # Errors
    /// [`Error`].
    fn guard(&mut self, goal: &Goal, level: Level) -> Result<(), Error> {
        let _ = level;
        Err(unarchived(goal))
    }
    /// Runs one check's question.
    ///
    /// # Errors
    /// [`Error::Deadline`] when the server gives no answer at all, another when it gives none to this.
    fn read(&mut self, goal: &Goal, question: &str, place: Place) -> Result<Reading, Error>;
    /// Runs several checks' questions of one place in as few messages as it can; a reading of each, in order.
    ///
    /// # Errors
    /// When any of them got none: which one, and whether the server answers at all, is found by asking one
    /// after another ([`Driver::read`]). So it is for a driver that knows no other way.
    fn read_all(
        &mut self,
        goal: &Goal,
        questions: &[&str],
        place: Place,
    ) -> Result<Vec<Reading>, Error> {
        let _ = (goal, questions, place);
        Err(Error::Failed("it is asked one question after another".to_owned()))
    }
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
