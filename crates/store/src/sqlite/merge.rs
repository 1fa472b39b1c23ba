//! Frames merged: the newest change of every row, block by block, in order of place.
//!
//! Of each frame one part is unpacked at a time, so that the whole longest tail is merged in some
//! tens of MiB. Invariant: frames leave the tail oldest first, so what a younger one says of a row
//! is never followed by what an older one said.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use super::blocks::{Block, Changes};
use super::db::Db;
use super::frame::{Change, Frame, Place};
use super::pack::Reader;
use crate::Error;

/// Where one frame's rows are read.
#[derive(Debug)]
struct Cursor {
    seq: u64,
    /// `None`: all rows are in `raw` already.
    frame: Option<Arc<Frame>>,
    /// The part that is read next.
    part: usize,
    raw: Vec<u8>,
    at: usize,
    /// The row it stands at.
    place: Place,
    body: Option<std::ops::Range<usize>>,
}

impl Cursor {
    /// Moves on to the next row; whether there is one.
    fn next(&mut self, db: Db<'_>) -> Result<bool, Error> {
        while self.at == self.raw.len() {
            let Some(frame) = self.frame.as_ref().filter(|f| self.part < f.rows.len()) else {
                return Ok(false);
            };
            db.part(frame, self.part, &mut self.raw)?;
            (self.part, self.at) = (self.part + 1, 0);
        }
        let mut from = Reader(&self.raw[self.at..]);
        let Some(change) = Change::read(&mut from) else {
            return Err(db.corrupt(format!("a row of commit {} cannot be read", self.seq)));
        };
        self.place = change.place;
        let end = self.raw.len() - from.0.len();
        self.body = change.body.map(|body| end - body.len()..end);
        self.at = end;
        Ok(true)
    }

    /// Goes to the first row from a place on; whether there is one.
    fn seek(&mut self, db: Db<'_>, from: Place) -> Result<bool, Error> {
        if let Some(frame) = &self.frame {
            let after = frame.rows.partition_point(|part| part.first <= from);
            self.part = after.saturating_sub(1);
        }
        while self.next(db)? {
            if self.place >= from {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The newest changes over several frames.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    cursors: Vec<Option<Cursor>>,
    heap: BinaryHeap<Reverse<(Place, Reverse<u64>, usize)>>,
}

impl Overlay {
    /// Adds a frame's rows from a place on.
    pub fn add(&mut self, db: Db<'_>, frame: &Arc<Frame>, from: Place) -> Result<(), Error> {
        let frame = Some(Arc::clone(frame));
        let seq = frame.as_ref().map_or(0, |frame| frame.seq);
        self.take(db, Cursor { seq, frame, ..Cursor::empty() }, from)
    }

    /// Adds rows that are in memory.
    pub fn add_raw(
        &mut self,
        db: Db<'_>,
        seq: u64,
        raw: Vec<u8>,
        from: Place,
    ) -> Result<(), Error> {
        self.take(db, Cursor { seq, raw, ..Cursor::empty() }, from)
    }

    fn take(&mut self, db: Db<'_>, mut cursor: Cursor, from: Place) -> Result<(), Error> {
        if cursor.seek(db, from)? {
            self.heap.push(Reverse((cursor.place, Reverse(cursor.seq), self.cursors.len())));
            self.cursors.push(Some(cursor));
        }
        Ok(())
    }

    /// Forgets a frame that left the tail.
    pub fn remove(&mut self, seq: u64) {
        for cursor in &mut self.cursors {
            if cursor.as_ref().is_some_and(|cursor| cursor.seq == seq) {
                *cursor = None;
            }
        }
    }

    /// The block that comes next.
    pub fn peek(&mut self) -> Option<Block> {
        while let Some(Reverse((place, _, index))) = self.heap.peek() {
            if self.cursors[*index].is_some() {
                return Some(Block::of(*place));
            }
            self.heap.pop();
        }
        None
    }

    /// The changes of the block that comes next.
    pub fn next(&mut self, db: Db<'_>, changes: &mut Changes) -> Result<bool, Error> {
        let Some(block) = self.peek() else { return Ok(false) };
        changes.clear(block);
        let mut last = None;
        while let Some(mut top) = self.heap.peek_mut() {
            let Reverse((place, seq, index)) = *top;
            let Some(cursor) = self.cursors[index].as_mut() else {
                std::collections::binary_heap::PeekMut::pop(top);
                continue;
            };
            if Block::of(place) != block {
                break;
            }
            // The younger frame's row comes first; older ones of the same place are passed over.
            if last.replace(place) != Some(place) {
                changes.push(place, cursor.body.clone().map(|body| &cursor.raw[body]));
            }
            if cursor.next(db)? {
                *top = Reverse((cursor.place, seq, index));
            } else {
                self.cursors[index] = None;
                std::collections::binary_heap::PeekMut::pop(top);
            }
        }
        Ok(true)
    }
}

impl Cursor {
    fn empty() -> Self {
        Self {
            seq: 0,
            frame: None,
            part: 0,
            raw: Vec::new(),
            at: 0,
            place: Place::default(),
            body: None,
        }
    }
}

/// The rows of small frames, newest bodies, as one part's bytes.
pub(super) fn gathered<'f>(
    db: Db<'_>,
    frames: impl Iterator<Item = &'f Arc<Frame>>,
) -> Result<BTreeMap<Place, Option<Vec<u8>>>, Error> {
    let (mut rows, mut raw) = (BTreeMap::new(), Vec::new());
    for frame in frames {
        for part in 0..frame.rows.len() {
            db.part(frame, part, &mut raw)?;
            let mut from = Reader(&raw);
            while !from.0.is_empty() {
                let Some(change) = Change::read(&mut from) else {
                    return Err(db.corrupt(format!("a row of commit {} cannot be read", frame.seq)));
                };
                rows.insert(change.place, change.body.map(<[u8]>::to_vec));
            }
        }
    }
    Ok(rows)
}
