//! Decides again what a recording was given, and compares.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_core::cell::{Cell, Setup, Turn, load};
use evenkeel_core::digest::Digest;
use evenkeel_core::journal::{self, Topic};
use evenkeel_core::kind::Kind;
use evenkeel_core::policy::Policy;
use evenkeel_core::remedy::Remedies;
use evenkeel_core::time::Time;

use super::frame::{Frames, Header, Record, UnknownVersion};

/// Differing turns that are kept to be shown; all are counted.
const DIFFERING_MAX: usize = 100;

/// A recording that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or not ours to read.
    #[error(
        "cannot read recording {}; recordings lie in controller/recordings of the data directory",
        path.display()
    )]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No header and snapshot.
    #[error("{} is no recording, or ends before its first turn", path.display())]
    NoRecording {
        /// Which.
        path: PathBuf,
    },
    /// Another release's.
    #[error("frame {frame} of {} cannot be read; use the release that wrote it", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        frame: u64,
        /// Its version.
        #[source]
        source: UnknownVersion,
    },
    /// A frame that is no record.
    #[error("frame {frame} of {} is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        frame: u64,
        /// What the reader said.
        #[source]
        source: serde_json::Error,
    },
    /// Records in an order no recorder writes.
    #[error("frame {frame} of {} does not follow from the one before it", path.display())]
    OutOfOrder {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        frame: u64,
    },
    /// The state it begins with cannot be taken.
    #[error("the state that {} begins with cannot be restored", path.display())]
    Restore {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: load::Error,
    },
}

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Who recorded, and by which rules.
    pub header: Header,
    /// Turns replayed.
    pub turns: u64,
    /// Turns that came out otherwise than recorded.
    pub differing_turns: u64,
    /// The first of them.
    pub differing: Vec<Difference>,
    /// Verdicts of the replay, in order.
    pub verdicts: Vec<journal::Entry>,
    /// Decisions of the replay that were worth a word, in order.
    pub decisions: Vec<journal::Entry>,
    /// Whether the last turn began and never ended: the controller died in it, or by it.
    pub unfinished: bool,
    /// Whether the recording ends within a frame.
    pub torn: bool,
}

/// A turn that came out otherwise than recorded.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which, counted from 1.
    pub turn: u64,
    /// Its moment.
    pub now: Time,
    /// Digest of what was given out then.
    pub recorded: Digest,
    /// Digest of what is given out now.
    pub replayed: Digest,
    /// What is given out now.
    pub gives: Turn,
}

/// Replays a recording. Under a `policy` of one's own, what differs is what would have been decided
/// otherwise.
///
/// # Errors
/// [`Error`], when it is no recording, damaged, or of a release that this one cannot read.
pub fn replay(
    path: &Path,
    kinds: &'static [&'static dyn Kind],
    remedies: Arc<Remedies>,
    policy: Option<Policy>,
) -> Result<Replay, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(read)?;
    let mut reader = Reader { path, frames: Frames::new(&bytes), frame: 0 };
    let none = || Error::NoRecording { path: path.to_owned() };
    let header: Header = reader.json()?.ok_or_else(none)?;
    let snapshot = reader.body()?.ok_or_else(none)?;
    let setup = Setup {
        cell: header.cell,
        store: header.store.clone(),
        policy: policy.unwrap_or_else(|| header.policy.clone()),
        kinds,
        remedies,
    };
    let mut cell = Cell::restore(setup, snapshot)
        .map_err(|source| Error::Restore { path: path.to_owned(), source })?;
    let mut replay = Replay {
        header,
        turns: 0,
        differing_turns: 0,
        differing: Vec::new(),
        verdicts: Vec::new(),
        decisions: Vec::new(),
        unfinished: false,
        torn: false,
    };
    while let Some(record) = reader.json::<Record>()? {
        let Record::Given { now, inbox } = record else { return Err(reader.out_of_order()) };
        let recorded = match reader.json::<Record>()? {
            Some(Record::Gave { turn }) => Some(turn),
            Some(Record::Given { .. }) => return Err(reader.out_of_order()),
            None => None,
        };
        let gives = cell.turn(now, &inbox);
        replay.took(now, recorded, gives);
    }
    replay.torn = reader.frames.torn();
    Ok(replay)
}

impl Replay {
    fn took(&mut self, now: Time, recorded: Option<Digest>, gives: Turn) {
        self.turns += 1;
        let verdicts = gives.writes.journal.iter().filter(|e| e.topic == Topic::Verdict);
        self.verdicts.extend(verdicts.cloned());
        let decisions = gives.writes.journal.iter().filter(|e| e.topic == Topic::Decision);
        self.decisions.extend(decisions.cloned());
        let Some(recorded) = recorded else {
            self.unfinished = true;
            return;
        };
        let replayed = Digest::of_json(&gives);
        if replayed == recorded {
            return;
        }
        self.differing_turns += 1;
        if self.differing.len() < DIFFERING_MAX {
            let turn = self.turns;
            self.differing.push(Difference { turn, now, recorded, replayed, gives });
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    frames: Frames<'a>,
    frame: u64,
}

impl<'a> Reader<'a> {
    fn body(&mut self) -> Result<Option<&'a [u8]>, Error> {
        self.frame += 1;
        let (path, frame) = (self.path, self.frame);
        self.frames.next().map_err(|source| Error::Version { path: path.to_owned(), frame, source })
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some(body) = self.body()? else { return Ok(None) };
        let (path, frame) = (self.path, self.frame);
        serde_json::from_slice(body).map(Some).map_err(|source| Error::Damaged {
            path: path.to_owned(),
            frame,
            source,
        })
    }

    fn out_of_order(&self) -> Error {
        Error::OutOfOrder { path: self.path.to_owned(), frame: self.frame }
    }
}
