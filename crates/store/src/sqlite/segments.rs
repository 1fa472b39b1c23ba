//! The journal's past: sealed segments, each a row that lists its packed pieces.
//!
//! A segment says from which link to which it leads, so the kept ones form one chain from where
//! retention last cut. Segments are dropped whole, oldest first, and counted in the store's record.

use std::collections::VecDeque;
use std::sync::Arc;

use evenkeel_core::digest::Digest;
use evenkeel_core::journal::Entry;
use rusqlite::params;

use super::db::{Db, signed, unsigned};
use super::frame::{EntriesPart, Frame, read_entry};
use super::framer::{PART_RAW, entries_part};
use super::options::{Limits, Retention};
use super::pack::{self, Packer, Reader, Sum, length, put};
use super::state::State;
use crate::Error;

/// Segments that one commit drops at most.
const DROPPED_MAX: usize = 8;

/// A sealed segment, without its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub first: u64,
    pub last: u64,
    /// The latest time of an entry in it.
    pub newest: u64,
    /// The links before its first entry and of its last.
    pub before: Digest,
    pub after: Digest,
}

impl Segment {
    fn sum(&self, directory: &[u8]) -> Sum {
        let numbers = [self.first, self.last, self.newest].map(u64::to_le_bytes).concat();
        pack::sum(&[&numbers, &self.before.0, &self.after.0, directory])
    }
}

/// Every segment, oldest first; they form one chain between what the record says.
pub(super) fn all(db: Db<'_>, state: &State) -> Result<VecDeque<Segment>, Error> {
    let failed = db.failed("cannot read the journal's segments");
    let sql = "SELECT first, last, newest, before, after FROM segments ORDER BY first";
    let mut statement = db.connection.prepare(sql).map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    let mut segments = VecDeque::new();
    let (mut end, mut link) = (state.dropped, state.dropped_link);
    while let Some(row) = found.next().map_err(failed)? {
        let number = |n| row.get::<_, i64>(n).map(unsigned);
        let digest = |n| row.get::<_, [u8; 32]>(n).map(Digest);
        let read = || -> rusqlite::Result<Segment> {
            let (first, last, newest) = (number(0)?, number(1)?, number(2)?);
            Ok(Segment { first, last, newest, before: digest(3)?, after: digest(4)? })
        };
        let segment = read().map_err(|_| db.corrupt("a segment of the journal is not whole"))?;
        if segment.first != end + 1 || segment.before != link || segment.last < segment.first {
            let what = format!("the journal's chain breaks at entry {}", end + 1);
            return Err(db.corrupt(what));
        }
        (end, link) = (segment.last, segment.after);
        segments.push_back(segment);
    }
    if (end, link) != (state.sealed, state.sealed_link) {
        return Err(db.corrupt(format!("the journal's segments end at entry {end}")));
    }
    Ok(segments)
}

/// A segment's pieces.
pub(super) fn directory(db: Db<'_>, segment: &Segment) -> Result<Vec<EntriesPart>, Error> {
    let name = format!("entries {} to {} of the journal", segment.first, segment.last);
    let failed = db.failed("cannot read the journal's segments");
    let sql = "SELECT sum, directory FROM segments WHERE first = ?";
    let mut statement = db.connection.prepare_cached(sql).map_err(failed)?;
    let mut found = statement.query(params![signed(segment.first)]).map_err(failed)?;
    let bad = || db.corrupt(format!("the list of {name} does not fit its checksum"));
    let Some(row) = found.next().map_err(failed)? else { return Err(bad()) };
    let sum = row.get_ref(0).map_err(failed)?.as_blob().map_err(|_| bad())?;
    let bytes = row.get_ref(1).map_err(failed)?.as_blob().map_err(|_| bad())?;
    if segment.sum(bytes) != *sum {
        return Err(bad());
    }
    let mut from = Reader(bytes);
    let count = from.number().ok_or_else(bad)?;
    (0..count).map(|_| EntriesPart::read(&mut from).ok_or_else(bad)).collect()
}

/// Unpacks a piece of a segment.
pub(super) fn piece(db: Db<'_>, part: &EntriesPart, into: &mut Vec<u8>) -> Result<(), Error> {
    let name = || format!("entries {} to {} of the journal", part.first, part.last());
    let failed = db.failed("cannot read the journal");
    let sql = "SELECT body FROM pieces WHERE id = ?";
    let mut statement = db.connection.prepare_cached(sql).map_err(failed)?;
    let mut found = statement.query(params![signed(part.first)]).map_err(failed)?;
    let missing = || db.corrupt(format!("{} are missing", name()));
    let Some(row) = found.next().map_err(failed)? else { return Err(missing()) };
    let body = row.get_ref(0).map_err(failed)?.as_blob().map_err(|_| missing())?;
    db.unpack(name, body, part.bytes, into)
}

/// Seals entries into segments, with buffers that are kept.
pub(super) struct Sealer<'a> {
    db: Db<'a>,
    packer: &'a mut Packer,
    segment_entries: u64,
    parts: Vec<EntriesPart>,
    /// Entries of small commits that become one piece: bytes, subjects, the first's position and
    /// the link before it, and the latest time.
    raw: Vec<u8>,
    subjects: Vec<String>,
    open: (u64, Digest, u64),
    sealed: Vec<Segment>,
}

impl<'a> Sealer<'a> {
    pub fn new(db: Db<'a>, packer: &'a mut Packer, limits: &Limits) -> Self {
        let open = (0, evenkeel_core::journal::GENESIS, 0);
        Self {
            db,
            packer,
            segment_entries: limits.segment_entries,
            parts: Vec::new(),
            raw: Vec::new(),
            subjects: Vec::new(),
            open,
            sealed: Vec::new(),
        }
    }

    /// Takes one entry, whose position and the link before it are known.
    pub fn entry(
        &mut self,
        position: u64,
        before: Digest,
        cell: u32,
        json: &[u8],
    ) -> Result<(), Error> {
        let bad = |_| self.db.corrupt(format!("journal entry {position} cannot be read"));
        let entry: Entry = serde_json::from_slice(json).map_err(bad)?;
        if self.raw.len() + json.len() > PART_RAW {
            self.close_piece()?;
        }
        if self.subjects.is_empty() {
            self.close_segment(before, false)?;
            self.open = (position, before, 0);
        }
        super::frame::write_entry(&mut self.raw, cell, json);
        self.open.2 = self.open.2.max(entry.at.0);
        self.subjects.push(entry.subject);
        Ok(())
    }

    /// Takes a part of a frame: a long one as it is, short ones together.
    fn part(&mut self, frame: &Frame, index: usize) -> Result<(), Error> {
        let (db, part) = (self.db, &frame.entries[index]);
        let number = frame.rows.len() + index;
        if usize::try_from(part.bytes.raw).is_ok_and(|raw| raw >= PART_RAW / 2) {
            self.close_piece()?;
            self.close_segment(part.before, false)?;
            db.with_part(frame, number, |bytes, of| {
                if pack::sum(&[bytes]) != of.sum {
                    let what = format!("entries {} and on do not fit their checksum", part.first);
                    return Err(db.corrupt(what));
                }
                store_piece(db, part.first, bytes)
            })?;
            self.parts.push(part.clone());
            return Ok(());
        }
        let mut raw = Vec::new();
        db.part(frame, number, &mut raw)?;
        let (mut from, mut link) = (Reader(&raw), part.before);
        for position in part.first..=part.last() {
            let Some((cell, json)) = read_entry(&mut from) else {
                return Err(db.corrupt(format!("journal entry {position} cannot be read")));
            };
            self.entry(position, link, cell, json)?;
            link = evenkeel_core::journal::chain_json(link, json);
        }
        Ok(())
    }

    fn close_piece(&mut self) -> Result<(), Error> {
        if self.subjects.is_empty() {
            return Ok(());
        }
        let mut body = Vec::new();
        let subjects = self.subjects.iter().map(String::as_str);
        let part = entries_part(self.packer, &self.raw, subjects, self.open, &mut body);
        store_piece(self.db, part.first, &body)?;
        self.parts.push(part);
        self.raw.clear();
        self.subjects.clear();
        Ok(())
    }

    /// Closes the open segment where it is long enough, or anyway.
    fn close_segment(&mut self, after: Digest, anyway: bool) -> Result<(), Error> {
        let entries: u64 = self.parts.iter().map(|part| u64::from(part.count)).sum();
        if entries == 0 || (entries < self.segment_entries && !anyway) {
            return Ok(());
        }
        let (first, last) = (&self.parts[0], &self.parts[self.parts.len() - 1]);
        let newest = self.parts.iter().map(|part| part.newest).max().unwrap_or(0);
        let (from, before, last) = (first.first, first.before, last.last());
        let segment = Segment { first: from, last, newest, before, after };
        let mut directory = Vec::new();
        put(&mut directory, length(self.parts.len()));
        self.parts.iter().for_each(|part| part.write(&mut directory));
        let sum = segment.sum(&directory);
        let sql = "INSERT INTO segments (first, last, newest, before, after, sum, directory)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let with = params![
            signed(segment.first),
            signed(segment.last),
            signed(segment.newest),
            segment.before.0,
            segment.after.0,
            sum,
            directory
        ];
        self.db.run("cannot seal the journal", sql, with)?;
        self.sealed.push(segment);
        self.parts.clear();
        Ok(())
    }

    /// Closes what is open; the segments that were made. `after` is the last entry's link.
    pub fn finish(mut self, after: Digest) -> Result<Vec<Segment>, Error> {
        self.close_piece()?;
        self.close_segment(after, true)?;
        Ok(self.sealed)
    }
}

fn store_piece(db: Db<'_>, first: u64, body: &[u8]) -> Result<(), Error> {
    let sql = "INSERT INTO pieces (id, body) VALUES (?, ?)";
    db.run("cannot seal the journal", sql, params![signed(first), body]).map(|_| ())
}

/// Seals every entry of these frames that is not sealed; the record follows.
pub(super) fn seal<'f>(
    mut sealer: Sealer<'_>,
    state: &mut State,
    frames: impl Iterator<Item = &'f Arc<Frame>>,
) -> Result<Vec<Segment>, Error> {
    for frame in frames {
        for index in 0..frame.entries.len() {
            if frame.entries[index].first > state.sealed {
                sealer.part(frame, index)?;
            }
        }
    }
    let sealed = sealer.finish(state.head)?;
    (state.sealed, state.sealed_link) = (state.position, state.head);
    Ok(sealed)
}

/// Drops segments that are past what is kept, oldest first; how many.
pub(super) fn retire(
    db: Db<'_>,
    state: &mut State,
    segments: &VecDeque<Segment>,
    retention: &Retention,
) -> Result<usize, Error> {
    let mut dropped = 0;
    for segment in segments.iter().take(DROPPED_MAX) {
        let many = segment.last.saturating_add(retention.entries_max) <= state.position;
        let old = retention
            .age_max
            .is_some_and(|age| segment.newest.saturating_add(age.0) < state.newest);
        if !many && !old {
            break;
        }
        let range = params![signed(segment.first), signed(segment.last)];
        let what = "cannot drop what retention does not keep";
        db.run(what, "DELETE FROM pieces WHERE id BETWEEN ? AND ?", range)?;
        db.run(what, "DELETE FROM segments WHERE first = ?", params![signed(segment.first)])?;
        (state.dropped, state.dropped_link) = (segment.last, segment.after);
        dropped += 1;
    }
    Ok(dropped)
}
