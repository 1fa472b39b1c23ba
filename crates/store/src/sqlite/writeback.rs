//! What follows commits: small ones become runs, entries become segments, rows come to rest.
//!
//! Write-back goes round over all rows in order of place for ever, a few blocks a commit: it merges
//! what the whole tail says of a block into it and goes on. A frame leaves the tail when write-back
//! has gone once round since it came. So a block is rewritten once a round, however often its rows
//! changed, and one round is as long as the tail may be.
//!
//! Each step is one transaction, so a crash between any two leaves a whole store. Steps are not
//! synced by themselves: the log is in order, so the next commit's sync covers them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rusqlite::params;

use super::Sqlite;
use super::blocks::{self, Changes};
use super::db::{Db, signed};
use super::frame::{Frame, Place};
use super::merge::{Overlay, gathered};
use super::pack::length;
use super::segments::{self, Sealer, Segment};
use super::state::State;
use crate::Error;

/// Blocks of a step at least: fewer are not worth a transaction.
const STEP_MIN: u64 = 16;
/// Blocks of a step while a commit has to wait for write-back.
const STEP_WAITING: u64 = 256;
/// Bytes of a block before packing, to tell how many new ones the tail may hold.
const BLOCK_RAW: u64 = 54_000;
/// Commits that pass until what failed (a full disk) is tried again.
const RETRY_AFTER: u32 = 64;

/// The frames that are not at rest yet.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub frames: VecDeque<Arc<Frame>>,
    /// Bytes of rows before packing.
    pub raw: u64,
    /// How many of the youngest frames are small, and their bytes of rows.
    pub small: usize,
    pub small_raw: u64,
}

impl Tail {
    pub fn of(frames: VecDeque<Arc<Frame>>) -> Self {
        let mut tail = Self::default();
        frames.into_iter().for_each(|frame| tail.push(frame));
        tail
    }

    pub fn push(&mut self, frame: Arc<Frame>) {
        let raw = frame.raw();
        self.raw += raw;
        if !frame.large {
            self.small += 1;
            // An entry alone takes room too.
            self.small_raw += raw;
        }
        self.frames.push_back(frame);
    }

    fn small(&self) -> impl Iterator<Item = &Arc<Frame>> {
        self.frames.iter().skip(self.frames.len() - self.small)
    }

    fn pop_small(&mut self) {
        self.frames.truncate(self.frames.len() - self.small);
        self.raw -= self.small_raw;
        (self.small, self.small_raw) = (0, 0);
    }

    fn pop_front(&mut self) -> Option<Arc<Frame>> {
        let frame = self.frames.pop_front()?;
        self.raw -= frame.raw();
        Some(frame)
    }
}

/// Where write-back is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// How often it went round since the store was opened.
    pub turns: u64,
    /// The next place.
    pub at: Place,
    overlay: Option<Overlay>,
    changes: Changes,
    /// Bytes of rows that came since the last step.
    owed: u64,
    /// Commits until it is tried again.
    wait: u32,
}

impl Sweep {
    pub fn phase(&self) -> (u64, Place) {
        (self.turns, self.at)
    }

    /// Whether it has gone once round since then.
    fn passed(since: (u64, Place), now: (u64, Place)) -> bool {
        (since.0 + 1, since.1) <= now
    }
}

/// Stores a frame as the framer has it.
pub(super) fn store(db: Db<'_>, frame: &Frame, head: &[u8], bodies: &[u8]) -> Result<(), Error> {
    let sql = "INSERT INTO tail (id, body) VALUES (?, ?)";
    db.run("cannot commit", sql, params![signed(frame.row(0)), head])?;
    if frame.inline {
        return Ok(());
    }
    let mut rest = bodies;
    for (n, part) in frame.parts().enumerate() {
        let (body, after) = rest.split_at(usize::try_from(part.packed).unwrap_or(0));
        db.run("cannot commit", sql, params![signed(frame.row(n + 1)), body])?;
        rest = after;
    }
    Ok(())
}

fn forget(db: Db<'_>, frame: &Frame, state: &mut State) -> Result<(), Error> {
    let (from, to) = frame.range();
    let sql = "DELETE FROM tail WHERE id >= ? AND id < ?";
    db.run("cannot trim the tail", sql, params![signed(from), signed(to)])?;
    state.frames -= 1;
    state.frames_sum = state.frames_sum.wrapping_sub(frame.summand());
    Ok(())
}

/// What a step changed of the journal, once it is committed.
struct Sealed {
    made: Vec<Segment>,
    dropped: usize,
}

impl Sqlite {
    /// Does what is due after a commit of so many bytes of rows. What fails is tried again later: the
    /// commit itself is on disk. Damage is kept, and refuses the next.
    pub(super) fn follow(&mut self, raw: u64) {
        self.sweep.owed += raw;
        if self.sweep.wait > 0 {
            self.sweep.wait -= 1;
            return;
        }
        if let Err(error) = self.upkeep() {
            self.sweep.overlay = None;
            self.sweep.wait = RETRY_AFTER;
            if let Error::Corrupt { what, .. } = error {
                self.damage.get_or_init(|| what);
            }
        }
    }

    fn upkeep(&mut self) -> Result<(), Error> {
        let limits = self.options.limits;
        let full = self.tail.small_raw >= limits.small_raw_max;
        if full || self.tail.small >= limits.small_frames_max {
            self.gather()?;
        }
        if self.state.position - self.state.sealed >= limits.segment_entries {
            self.seal()?;
        }
        let due = self.due();
        if due >= STEP_MIN.min(self.state.blocks.blocks.max(1)) {
            self.step(due.min(limits.step_blocks_max))?;
        }
        Ok(())
    }

    /// Blocks that are due: a round takes as long as the tail is long.
    fn due(&self) -> u64 {
        let limits = self.options.limits;
        let longest = (limits.tail_raw_max / 3 * 2).max(1);
        let shortest = limits.small_raw_max.min(longest);
        let limit = (2 * self.state.blocks.raw).clamp(shortest, longest);
        // Where frames were before a start is not known: the first round takes half as long.
        let round = if self.sweep.turns == 0 { limit / 2 } else { limit / 10 * 9 }.max(1);
        let blocks = self.state.blocks.blocks + self.tail.raw / BLOCK_RAW + 1;
        let haste = if self.tail.raw > limit { 2 } else { 1 };
        let due = u128::from(self.sweep.owed) * u128::from(blocks) * haste / u128::from(round);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// Sees that a commit does not make the tail longer than it may be.
    pub(super) fn make_room(&mut self) -> Result<(), Error> {
        let limits = self.options.limits;
        if self.tail.raw < limits.tail_raw_max {
            return Ok(());
        }
        self.sweep.wait = 0;
        if self.tail.small > 0 {
            self.gather()?;
        }
        while self.tail.raw > limits.tail_raw_max / 10 * 9 {
            let stepped = self.step(STEP_WAITING);
            if stepped.is_err() {
                self.sweep.overlay = None;
            }
            stepped?;
        }
        Ok(())
    }

    /// Steps are synced by the commit after them.
    fn unsynced(&mut self) -> Result<(), Error> {
        self.synchronous(false)
    }

    /// Makes the small commits one run, and seals all entries.
    pub(super) fn gather(&mut self) -> Result<(), Error> {
        self.unsynced()?;
        let phase = self.sweep.phase();
        let mut state = self.state.clone();
        let transaction = super::begin(&self.connection, &self.file)?;
        let db = Db { connection: &transaction, file: &self.file };
        let rows = gathered(db, self.tail.small())?;
        let sealer = Sealer::new(db, &mut self.packer, &self.options.limits);
        let sealed = sealed(sealer, db, &mut state, &self.tail, (&self.segments, &self.options))?;
        for frame in self.tail.small() {
            forget(db, frame, &mut state)?;
        }
        let mut run = None;
        if !rows.is_empty() {
            let frame = self.framer.run(&rows, &mut state, phase);
            store(db, &frame, &self.framer.head, &self.framer.bodies)?;
            run = Some(Arc::new(frame));
        }
        db.keep_state(&state)?;
        super::finish(transaction, &self.file)?;
        self.state = state;
        self.note(sealed);
        self.tail.pop_small();
        if let Some(run) = run {
            self.take_large(run)?;
        }
        Ok(())
    }

    /// Seals all entries.
    pub(super) fn seal(&mut self) -> Result<(), Error> {
        self.unsynced()?;
        let mut state = self.state.clone();
        let transaction = super::begin(&self.connection, &self.file)?;
        let db = Db { connection: &transaction, file: &self.file };
        let sealer = Sealer::new(db, &mut self.packer, &self.options.limits);
        let sealed = sealed(sealer, db, &mut state, &self.tail, (&self.segments, &self.options))?;
        db.keep_state(&state)?;
        super::finish(transaction, &self.file)?;
        self.state = state;
        self.note(sealed);
        Ok(())
    }

    fn note(&mut self, sealed: Sealed) {
        self.segments.extend(sealed.made);
        self.segments.drain(..sealed.dropped);
    }

    /// A large frame joins the tail, and the round that is under way.
    pub(super) fn take_large(&mut self, frame: Arc<Frame>) -> Result<(), Error> {
        self.tail.push(Arc::clone(&frame));
        let db = Db { connection: &self.connection, file: &self.file };
        if let Some(overlay) = &mut self.sweep.overlay {
            let added = overlay.add(db, &frame, self.sweep.at);
            if added.is_err() {
                self.sweep.overlay = None;
            }
            added?;
        }
        Ok(())
    }

    /// Writes so many blocks back, and trims the tail by what has come to rest.
    fn step(&mut self, blocks: u64) -> Result<(), Error> {
        self.sweep.owed = 0;
        if !self.tail.frames.front().is_some_and(|frame| frame.large) {
            return Ok(());
        }
        self.unsynced()?;
        let Self { sweep, tail, file, .. } = self;
        let mut state = self.state.clone();
        let transaction = super::begin(&self.connection, file)?;
        let db = Db { connection: &transaction, file };
        let (mut turns, mut at) = sweep.phase();
        let mut overlay = match sweep.overlay.take() {
            Some(overlay) => overlay,
            None => overlaid(db, tail, at)?,
        };
        let mut touched = BTreeMap::new();
        for _ in 0..blocks {
            if !overlay.next(db, &mut sweep.changes)? {
                break;
            }
            let cell = sweep.changes.block.cell;
            let known = self.cells.get(&cell).copied().unwrap_or_default();
            touched.entry(cell).or_insert(known);
            self.blocks.apply(db, &sweep.changes, &mut state, &mut touched)?;
            at = sweep.changes.block.end();
        }
        let round = overlay.peek().is_none();
        if round {
            (turns, at) = (turns + 1, Place::default());
        }
        for (cell, tally) in &touched {
            blocks::keep_cell(db, *cell, *tally)?;
        }
        let rests = |frame: &&Arc<Frame>| frame.large && Sweep::passed(frame.phase, (turns, at));
        let gone = tail.frames.iter().take_while(rests).count();
        let mut entries = tail.frames.iter().take(gone).flat_map(|frame| &frame.entries);
        let mut journal = None;
        if entries.any(|part| part.last() > state.sealed) {
            let sealer = Sealer::new(db, &mut self.packer, &self.options.limits);
            let with = (&self.segments, &self.options);
            journal = Some(sealed(sealer, db, &mut state, tail, with)?);
        }
        for frame in tail.frames.iter().take(gone) {
            forget(db, frame, &mut state)?;
            overlay.remove(frame.seq);
        }
        db.keep_state(&state)?;
        super::finish(transaction, file)?;
        self.state = state;
        self.cells.extend(touched);
        (0..gone).for_each(|_| drop(tail.pop_front()));
        (sweep.turns, sweep.at) = (turns, at);
        sweep.overlay = (!round).then_some(overlay);
        journal.into_iter().for_each(|sealed| self.note(sealed));
        Ok(())
    }
}

fn overlaid(db: Db<'_>, tail: &Tail, at: Place) -> Result<Overlay, Error> {
    let mut overlay = Overlay::default();
    for frame in tail.frames.iter().filter(|frame| frame.large) {
        overlay.add(db, frame, at)?;
    }
    Ok(overlay)
}

fn sealed(
    sealer: Sealer<'_>,
    db: Db<'_>,
    state: &mut State,
    tail: &Tail,
    (segments, options): (&VecDeque<Segment>, &super::Options),
) -> Result<Sealed, Error> {
    let made = segments::seal(sealer, state, tail.frames.iter())?;
    // What was made just now is never dropped at once.
    let dropped = segments::retire(db, state, segments, &options.retention)?;
    Ok(Sealed { made, dropped })
}

/// How far the tail is from its end, for tests and benchmarks: frames, and bytes of rows.
impl Sqlite {
    /// Commits and runs in the tail, and their rows' bytes before packing.
    #[must_use]
    pub fn tail(&self) -> (u64, u64) {
        (length(self.tail.frames.len()), self.tail.raw)
    }
}
