//! The flight recorder: what every turn was given and the digest of what it gave, in a bounded ring
//! of files, so that what was decided can be decided again elsewhere.
//!
//! Invariants:
//! - it never stops the controller: where it cannot write, it drops the recording and says so once;
//! - it syncs nothing and writes at most once a second or per [`BUFFER_MAX_BYTES`];
//! - a file begins with the cell's whole state, so each can be replayed alone;
//! - a file that holds a verdict is kept beyond the ring.

mod frame;
mod replay;
mod segment;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evenkeel_core::cell::{Cell, Entry, Setup, Turn};
use evenkeel_core::digest::Digest;
use evenkeel_core::journal::Topic;
use evenkeel_core::time::Time;
use serde::Serialize;

use frame::Record;
pub use frame::{Header, UnknownVersion};
pub use replay::{Difference, Error, Replay, replay};
use segment::Ring;

/// A recording ends at this size, or at four times its snapshot's if that is more: a large cell
/// would do nothing but write snapshots.
const SEGMENT_MAX_BYTES: usize = 8 << 20;
/// A recording ends at this age.
const SEGMENT_MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// Recordings in the ring: some hours of a small cell, in at most 64 MiB.
const SEGMENTS_MAX: usize = 8;
/// Recordings with a verdict kept beyond the ring.
const PINNED_MAX: usize = 16;
/// What is buffered at most before it is written.
const BUFFER_MAX_BYTES: usize = 1 << 20;
/// How often what is buffered is written.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// After a failure, how long until a new recording is tried.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Writes recordings.
#[derive(Debug)]
pub(crate) struct Recorder {
    ring: Ring,
    header: Header,
    state: State,
    told: bool,
}

#[derive(Debug)]
enum State {
    /// The next turn begins a recording.
    Closed,
    Open(Segment),
    /// Nothing is recorded until then.
    Failed {
        until: Instant,
    },
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    began: Instant,
    flushed: Instant,
    buffer: Vec<u8>,
    written_bytes: usize,
    limit_bytes: usize,
    pinned: bool,
}

impl Recorder {
    pub fn new(dir: &Path, setup: &Setup) -> Self {
        let header = Header {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            at: Time(0),
            cell: setup.cell,
            store: setup.store.clone(),
            policy: setup.policy.clone(),
        };
        let ring = Ring::open(dir, SEGMENTS_MAX, PINNED_MAX);
        Self { ring, header, state: State::Closed, told: false }
    }

    /// Whether turns are being recorded.
    pub fn is_on(&self) -> bool {
        !matches!(self.state, State::Failed { .. })
    }

    /// Before a turn: what it is given.
    pub fn given(&mut self, cell: &Cell, now: Time, inbox: &[Entry]) {
        if self.wants_segment() {
            let begun = self.begin(cell, now);
            self.state = match begun {
                Ok(segment) => State::Open(segment),
                Err(error) => self.failed(&error),
            };
        }
        self.write(|segment| segment.push(&GivenRef::Given { now, inbox }));
    }

    /// After a turn: what it gave.
    pub fn gave(&mut self, turn: &Turn) {
        let pins = turn.writes.journal.iter().any(|entry| entry.topic == Topic::Verdict);
        self.write(|segment| {
            segment.push(&Record::Gave { turn: Digest::of_json(turn) })?;
            if pins && !segment.pinned {
                segment::pin(&segment.path)?;
                segment.pinned = true;
            }
            Ok(())
        });
        if let State::Open(segment) = &self.state
            && (segment.written_bytes + segment.buffer.len() >= segment.limit_bytes
                || segment.began.elapsed() >= SEGMENT_MAX_AGE)
        {
            self.end();
        }
    }

    /// Ends the recording under way: the cell's state is about to change otherwise than by turns.
    pub fn end(&mut self) {
        self.write(Segment::flush);
        if matches!(self.state, State::Open(_)) {
            self.state = State::Closed;
        }
    }

    /// Writes what is buffered, once a second.
    pub fn tick(&mut self) {
        if let State::Open(segment) = &self.state
            && segment.flushed.elapsed() >= FLUSH_EVERY
        {
            self.write(Segment::flush);
        }
    }

    fn wants_segment(&self) -> bool {
        match &self.state {
            State::Closed => true,
            State::Open(_) => false,
            State::Failed { until } => Instant::now() >= *until,
        }
    }

    fn begin(&mut self, cell: &Cell, now: Time) -> io::Result<Segment> {
        let snapshot = cell.snapshot();
        let (path, file) = self.ring.begin()?;
        let mut segment = Segment {
            path,
            file,
            began: Instant::now(),
            flushed: Instant::now(),
            buffer: Vec::new(),
            written_bytes: 0,
            limit_bytes: SEGMENT_MAX_BYTES.max(snapshot.len().saturating_mul(4)),
            pinned: false,
        };
        segment.push(&Header { at: now, ..self.header.clone() })?;
        frame::push(&mut segment.buffer, &snapshot);
        Ok(segment)
    }

    fn write(&mut self, what: impl FnOnce(&mut Segment) -> io::Result<()>) {
        let State::Open(segment) = &mut self.state else { return };
        if let Err(error) = what(segment) {
            self.state = self.failed(&error);
        } else {
            self.told = false;
        }
    }

    fn failed(&mut self, error: &io::Error) -> State {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "turns are not recorded: the flight recorder cannot write");
        }
        State::Failed { until: Instant::now() + RETRY_AFTER }
    }
}

/// [`Record::Given`] without owning the inbox.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum GivenRef<'a> {
    Given { now: Time, inbox: &'a [Entry] },
}

impl Segment {
    fn push<T: Serialize>(&mut self, record: &T) -> io::Result<()> {
        let body = serde_json::to_vec(record)?;
        frame::push(&mut self.buffer, &body);
        if self.buffer.len() >= BUFFER_MAX_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.file.write_all(&self.buffer)?;
        self.written_bytes += self.buffer.len();
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for Segment {
    /// Also when a turn panics: then the inbox that did it is the last thing recorded.
    fn drop(&mut self) {
        if !self.buffer.is_empty() {
            // Nothing can be done here about a disk that is full, and nothing rests on it.
            let _ = self.flush();
        }
    }
}
