//! Reading a store whole: what the tail says laid over the rows at rest.
//!
//! Every byte that is read is checked: heads and parts by their digests, blocks by theirs, and that
//! none is missing by the sums of each cell and of the store's own record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_core::id::CellId;
use evenkeel_core::row::Key;
use rusqlite::{Connection, OpenFlags, params};

use super::blocks::{self, Block, Changes, merged, unpacked};
use super::db::{Db, signed, unsigned};
use super::frame::{Change, Frame, Place, Sort};
use super::merge::{Overlay, gathered};
use super::pack::Reader;
use super::state::{State, Tally};
use crate::{Error, Reads};

/// Whoever takes rows: the cell, the key, the body.
pub(crate) type Take<'a> = dyn FnMut(CellId, Key, &[u8]) + 'a;

/// The frames of the tail, oldest first; they are as many and the same as the record says.
pub(super) fn frames(db: Db<'_>, state: &State) -> Result<VecDeque<Arc<Frame>>, Error> {
    let failed = db.failed("cannot read the tail");
    let sql = "SELECT id, body FROM tail WHERE id >= ? ORDER BY id LIMIT 1";
    let mut statement = db.connection.prepare_cached(sql).map_err(failed)?;
    let (mut from, mut sum) = (0, 0_u128);
    let mut frames: VecDeque<Arc<Frame>> = VecDeque::new();
    loop {
        let mut found = statement.query(params![signed(from)]).map_err(failed)?;
        let Some(row) = found.next().map_err(failed)? else { break };
        let id = unsigned(row.get(0).map_err(failed)?);
        let (seq, part) = Frame::seq_of(id);
        let body = row.get_ref(1).map_err(failed)?.as_blob().unwrap_or_default();
        let frame = Frame::read(body).filter(|frame| frame.seq == seq && part == 0);
        let Some(frame) = frame else {
            return Err(db.corrupt(format!("commit {seq} does not fit its checksum")));
        };
        let follows = |last: &Arc<Frame>| {
            let chain = match last.sort {
                Sort::Commit => last.chained(),
                Sort::Run => last.chain,
            };
            frame.sort == Sort::Run || last.seq + 1 != seq || chain == frame.chain
        };
        if !frames.back().is_none_or(follows) {
            return Err(db.corrupt(format!("the chain of commits breaks at commit {seq}")));
        }
        sum = sum.wrapping_add(frame.summand());
        from = frame.range().1;
        frames.push_back(Arc::new(frame));
    }
    let count = super::pack::length(frames.len());
    if (count, sum) != (state.frames, state.frames_sum) {
        let what = format!("the tail has {count} commits, not the {} recorded", state.frames);
        return Err(db.corrupt(what));
    }
    Ok(frames)
}

/// What each cell has at rest; all cells together have what the record says.
pub(super) fn cells(db: Db<'_>, state: &State) -> Result<BTreeMap<u32, Tally>, Error> {
    let cells = blocks::cells(db)?;
    let mut whole = Tally::default();
    cells.values().for_each(|tally| whole.join(*tally));
    if whole != state.blocks {
        return Err(db.corrupt("the sums of the cells' rows are not those recorded"));
    }
    Ok(cells)
}

/// The cells that have rows, at rest or in the tail. Parts are read only where they may hold a cell
/// that is not known yet: of each frame the last, and few others.
pub(super) fn named_cells(
    db: Db<'_>,
    frames: &VecDeque<Arc<Frame>>,
    tallies: &BTreeMap<u32, Tally>,
) -> Result<Vec<CellId>, Error> {
    let resting = tallies.iter().filter(|(_, tally)| tally.blocks > 0);
    let mut cells: BTreeSet<u32> = resting.map(|(cell, _)| *cell).collect();
    let mut raw = Vec::new();
    for frame in frames {
        cells.extend(frame.rows.iter().map(|part| part.first.cell));
        for (n, part) in frame.rows.iter().enumerate() {
            let next = frame.rows.get(n + 1).map(|next| next.first.cell);
            let mut between = part.first.cell..next.unwrap_or(u32::MAX);
            if next.is_some() && between.all(|cell| cells.contains(&cell)) {
                continue;
            }
            db.part(frame, n, &mut raw)?;
            let mut from = Reader(&raw);
            while !from.0.is_empty() {
                let change = Change::read(&mut from);
                let bad = || db.corrupt(format!("a row of commit {} cannot be read", frame.seq));
                cells.insert(change.ok_or_else(bad)?.place.cell);
            }
        }
    }
    Ok(cells.into_iter().map(CellId).collect())
}

/// Hands out every row of some cells, in order of cell and key.
pub(super) fn rows(
    db: Db<'_>,
    frames: &VecDeque<Arc<Frame>>,
    tallies: &BTreeMap<u32, Tally>,
    range: &RangeInclusive<u32>,
    take: &mut Take<'_>,
) -> Result<(), Error> {
    let mut overlay = overlaid(db, frames, *range.start())?;
    let failed = db.failed("cannot read the rows");
    let sql = "SELECT cell, kind, number, sum, raw, body FROM blocks WHERE cell BETWEEN ? AND ?
               ORDER BY cell, kind, number";
    let mut statement = db.connection.prepare_cached(sql).map_err(failed)?;
    let mut found = statement.query(params![range.start(), range.end()]).map_err(failed)?;
    let (mut changes, mut raw) = (Changes::default(), Vec::new());
    let mut seen: BTreeMap<u32, Tally> = BTreeMap::new();
    let mut stored: Option<Block> = None;
    let mut done = false;
    loop {
        if stored.is_none() && !done {
            match found.next().map_err(failed)? {
                None => done = true,
                Some(row) => {
                    let block = named(db, row)?;
                    let (bytes, sum) = unpacked(db, block, row, 3, &mut raw)?;
                    seen.entry(block.cell).or_default().add(bytes, sum);
                    stored = Some(block);
                }
            }
        }
        let over = overlay.peek().filter(|block| block.cell <= *range.end());
        let block = match (stored, over) {
            (None, None) => break,
            (Some(block), None) | (None, Some(block)) => block,
            (Some(stored), Some(over)) => stored.min(over),
        };
        changes.clear(block);
        if over == Some(block) {
            overlay.next(db, &mut changes)?;
        }
        let old: &[u8] =
            if stored.take_if(|stored| *stored == block).is_some() { &raw } else { &[] };
        hand_out(db, block, old, &changes, take)?;
    }
    for (cell, tally) in tallies.range(range.clone()) {
        if seen.remove(cell).unwrap_or_default() != *tally {
            return Err(db.corrupt(format!("the rows of cell {cell} are not those recorded")));
        }
    }
    match seen.first_key_value() {
        Some((cell, _)) => Err(db.corrupt(format!("the rows of cell {cell} are in no record"))),
        None => Ok(()),
    }
}

fn hand_out(
    db: Db<'_>,
    block: Block,
    old: &[u8],
    changes: &Changes,
    take: &mut Take<'_>,
) -> Result<(), Error> {
    let Some((cell, Key { table, .. })) = block.place(0).key() else {
        let what = format!("block {} of cell {} is of unknown table", block.number, block.cell);
        return Err(db.corrupt(format!("{what} {}", block.kind)));
    };
    merged(old, changes, |low, body| take(cell, Key { table, id: block.place(low).id }, body))
        .ok_or_else(|| {
            db.corrupt(format!("block {} of cell {} cannot be read", block.number, cell))
        })
}

fn named(db: Db<'_>, row: &rusqlite::Row<'_>) -> Result<Block, Error> {
    let bad = |_| db.corrupt("a block of rows has no name");
    let number: i64 = row.get(2).map_err(bad)?;
    Ok(Block {
        cell: row.get(0).map_err(bad)?,
        kind: row.get(1).map_err(bad)?,
        number: unsigned(number),
    })
}

/// Everything the tail says, from a cell on.
fn overlaid(db: Db<'_>, frames: &VecDeque<Arc<Frame>>, cell: u32) -> Result<Overlay, Error> {
    let from = Place { cell, ..Place::default() };
    let mut overlay = Overlay::default();
    for frame in frames.iter().filter(|frame| frame.large) {
        overlay.add(db, frame, from)?;
    }
    // Small commits are younger than all others: one of another sort first makes a run of them.
    let mut raw = Vec::new();
    for (place, body) in gathered(db, frames.iter().filter(|frame| !frame.large))? {
        Change { place, body: body.as_deref() }.write(&mut raw);
    }
    overlay.add_raw(db, u64::MAX, raw, from)?;
    Ok(overlay)
}

/// A connection that only reads, with one sight of the whole file.
pub(super) fn reading(file: &Path) -> Result<Connection, Error> {
    let failed = |error| super::fault(file, "cannot be opened to be read", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    connection.busy_timeout(super::copy::LOCK_MAX).map_err(failed)?;
    connection.execute_batch("BEGIN").map_err(failed)?;
    Ok(connection)
}

/// Reads a store's file beside whoever commits to it.
#[derive(Debug)]
pub(super) struct Reading(pub PathBuf);

impl Reads for Reading {
    fn read(
        &self,
        cells: RangeInclusive<CellId>,
        take: &mut dyn FnMut(CellId, Key, &[u8]),
    ) -> Result<(), Error> {
        let connection = reading(&self.0)?;
        let db = Db { connection: &connection, file: &self.0 };
        let state = db.state()?;
        let (frames, tallies) = (frames(db, &state)?, self::cells(db, &state)?);
        rows(db, &frames, &tallies, &(cells.start().0..=cells.end().0), take)
    }
}
