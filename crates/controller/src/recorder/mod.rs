//! The flight recorder: what every turn was given and the digest of what it gave, in a bounded ring
//! of files, so that what was decided can be decided again elsewhere.
//!
//! Invariants:
//! - it never stops the controller: where it cannot write, it drops the recording and says so once;
//! - it syncs nothing and writes at most once a second or per [`BUFFER_MAX_BYTES`];
//! - a file begins with the cell's whole state, so each can be replayed alone; turns go on while that
//!   is [put in words](snapshot), up to [`BEHIND_MAX_BYTES`] of them;
//! - a file that holds a verdict is kept beyond the ring, and so are those from some time before an
//!   incident begins or ends to some time after.

mod around;
mod frame;
mod replay;
mod segment;
mod snapshot;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel_core::cell::{Cell, Entry, Setup, Turn};
use evenkeel_core::digest::Digest;
use evenkeel_core::journal::{self, Topic};
use evenkeel_core::time::Time;
use serde::Serialize;

pub(crate) use around::around;
use around::{AFTER, BEFORE};
use frame::Record;
pub use frame::{Header, UnknownVersion};
pub use replay::{Difference, Error, Replay, replay};
use segment::{Kept, Recording, Ring};
use snapshot::Pending;
pub(crate) use snapshot::Turnstile;

/// A recording ends at this size, or at four times its snapshot's if that is more: a large cell
/// would do nothing but write snapshots.
const SEGMENT_MAX_BYTES: usize = 8 << 20;
/// A recording ends at this age.
const SEGMENT_MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// What is buffered at most before it is written.
const BUFFER_MAX_BYTES: usize = 1 << 20;
/// What is buffered at most behind a snapshot that is being made.
const BEHIND_MAX_BYTES: usize = 32 << 20;
/// A buffer that was written keeps this much room: turns gather in it behind a snapshot, and there may be many cells.
const BUFFER_KEPT_BYTES: usize = 16 << 10;
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
    /// When an incident last began or ended.
    incident: Option<Instant>,
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
    recording: Recording,
    file: File,
    began: Instant,
    flushed: Instant,
    /// What the file begins with, while that is being written.
    snapshot: Option<Pending>,
    buffer: Vec<u8>,
    written_bytes: usize,
    limit_bytes: usize,
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
        let ring = Ring::open(dir);
        Self { ring, header, state: State::Closed, told: false, incident: None }
    }

    /// Whether turns are being recorded.
    pub fn is_on(&self) -> bool {
        !matches!(self.state, State::Failed { .. })
    }

    /// Before a turn: what it is given. Where no recording is under way one begins, if it may: of many cells one
    /// after the other.
    pub fn given(
        &mut self,
        cell: &Cell,
        now: Time,
        inbox: &[Entry],
        (turnstile, many): (&Turnstile, bool),
    ) {
        if self.wants_segment() && (!many || turnstile.is_open()) {
            let begun = self.begin(cell, now, turnstile);
            self.state = match begun {
                Ok(segment) => State::Open(segment),
                Err(error) => failed(&mut self.told, &error),
            };
        }
        self.write(|segment| segment.push(&GivenRef::Given { now, inbox }));
    }

    /// After a turn: what it gave, and whether an incident began or ended in it.
    pub fn gave(&mut self, turn: &Turn, has_incident_news: bool) {
        let is_verdict = |entry: &journal::Entry| entry.topic == Topic::Verdict;
        let kept = match has_incident_news {
            true => Kept::Incident,
            false if turn.writes.journal.iter().any(is_verdict) => Kept::Verdict,
            false => Kept::Plain,
        };
        if kept == Kept::Incident {
            self.incident = Some(Instant::now());
        }
        let ring = &self.ring;
        let write = |segment: &mut Segment| {
            segment.push(&Record::Gave { turn: Digest::of_json(turn) })?;
            if kept == Kept::Incident && segment.recording.kept < kept {
                // What led to it is in this one and in those before.
                segment.recording.keep(kept)?;
                ring.keep_newest(BEFORE)?;
            }
            segment.recording.keep(kept)
        };
        Self::write_to(&mut self.state, &mut self.told, write);
        if let State::Open(segment) = &self.state
            && segment.snapshot.is_none()
            && (segment.written_bytes + segment.buffer.len() >= segment.limit_bytes
                || segment.began.elapsed() >= SEGMENT_MAX_AGE)
        {
            self.end();
        }
    }

    /// Ends the recording under way: the cell's state is about to change otherwise than by turns.
    pub fn end(&mut self) {
        self.write(Segment::finish);
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

    fn begin(&mut self, cell: &Cell, now: Time, turnstile: &Turnstile) -> io::Result<Segment> {
        let (mut recording, file) = self.ring.begin()?;
        if self.incident.is_some_and(|at| at.elapsed() < AFTER) {
            recording.keep(Kept::Incident)?;
        }
        let mut segment = Segment {
            recording,
            file,
            began: Instant::now(),
            flushed: Instant::now(),
            snapshot: None,
            buffer: Vec::new(),
            written_bytes: 0,
            limit_bytes: SEGMENT_MAX_BYTES,
        };
        segment.push(&Header { at: now, ..self.header.clone() })?;
        segment.flush()?;
        segment.snapshot = Some(Pending::of(cell, segment.file.try_clone()?, turnstile)?);
        Ok(segment)
    }

    fn write(&mut self, what: impl FnOnce(&mut Segment) -> io::Result<()>) {
        Self::write_to(&mut self.state, &mut self.told, what);
    }

    fn write_to(
        state: &mut State,
        told: &mut bool,
        what: impl FnOnce(&mut Segment) -> io::Result<()>,
    ) {
        let State::Open(segment) = state else { return };
        match what(segment) {
            Ok(()) => *told = false,
            Err(error) => *state = failed(told, &error),
        }
    }
}

fn failed(told: &mut bool, error: &io::Error) -> State {
    if !std::mem::replace(told, true) {
        tracing::warn!(%error, "turns are not recorded: the flight recorder cannot write");
    }
    State::Failed { until: Instant::now() + RETRY_AFTER }
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
        if let Some(pending) = &self.snapshot {
            let written = match self.buffer.len() >= BEHIND_MAX_BYTES {
                true => Some(pending.wait()?),
                false => pending.written()?,
            };
            let Some(length) = written else { return Ok(()) };
            self.begins_with(length);
        }
        self.file.write_all(&self.buffer)?;
        self.written_bytes += self.buffer.len();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        Ok(())
    }

    /// Writes everything, as no more comes.
    fn finish(&mut self) -> io::Result<()> {
        if let Some(pending) = &self.snapshot {
            let length = pending.wait()?;
            self.begins_with(length);
        }
        self.flush()
    }

    /// A snapshot of so many bytes is in the file.
    fn begins_with(&mut self, length: usize) {
        self.written_bytes += length;
        self.limit_bytes = SEGMENT_MAX_BYTES.max(length.saturating_mul(4));
        self.snapshot = None;
    }
}

impl Drop for Segment {
    /// Also when a turn panics: then the inbox that did it is the last thing recorded.
    fn drop(&mut self) {
        if self.snapshot.is_some() || !self.buffer.is_empty() {
            // Nothing can be done here about a disk that is full, and nothing rests on it.
            let _ = self.finish();
        }
    }
}
