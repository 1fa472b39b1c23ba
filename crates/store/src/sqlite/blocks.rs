//! Rows at rest: blocks of 64 neighbours, packed, under (cell, table, number).
//!
//! A row's block follows from its id, so nothing is ever split or moved. Neighbours look alike: a
//! packed block is a fraction of its rows, which is what makes a whole sweep over them affordable.

use std::collections::BTreeMap;
use std::ops::Range;

use rusqlite::params;

use super::db::{Db, signed, unsigned};
use super::frame::{Packed, Place};
use super::pack::{self, Packer, Reader, Sum, length, put};
use super::state::{State, Tally};
use crate::Error;

/// Ids that share a block, as bits. Fewer pack worse; more make a changed row dearer.
const BITS: u32 = 6;

/// A block's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    pub cell: u32,
    pub kind: u8,
    pub number: u64,
}

impl Block {
    pub fn of(place: Place) -> Self {
        Self { cell: place.cell, kind: place.kind, number: place.id >> BITS }
    }

    pub fn place(self, low: u8) -> Place {
        let id = (self.number << BITS) | u64::from(low);
        Place { cell: self.cell, kind: self.kind, id }
    }

    /// The first place after it.
    pub fn end(self) -> Place {
        Place { cell: self.cell, kind: self.kind, id: (self.number + 1) << BITS }
    }

    fn low(place: Place) -> u8 {
        u8::try_from(place.id & ((1 << BITS) - 1)).unwrap_or(0)
    }

    /// The digest of a block as it is stored.
    fn sum(self, raw: u64, packed: &[u8]) -> Sum {
        let (cell, number) = (self.cell.to_le_bytes(), self.number.to_le_bytes());
        pack::sum(&[&cell, &[self.kind], &number, &raw.to_le_bytes(), packed])
    }

    fn name(self) -> String {
        let (first, last) = (self.place(0), self.place((1 << BITS) - 1));
        let table = first.key().map_or("unknown", |(_, key)| key.table.as_str());
        format!("the block of rows {table} {} to {} of cell {}", first.id, last.id, self.cell)
    }
}

/// What is to change in one block: newest bodies, in order.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub block: Block,
    rows: Vec<(u8, Option<Range<usize>>)>,
    bytes: Vec<u8>,
}

impl Changes {
    pub fn clear(&mut self, block: Block) {
        self.block = block;
        self.rows.clear();
        self.bytes.clear();
    }

    pub fn push(&mut self, place: Place, body: Option<&[u8]>) {
        let body = body.map(|body| {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(body);
            from..self.bytes.len()
        });
        self.rows.push((Block::low(place), body));
    }
}

/// Calls `each` with every row of a block with changes over it; `None`: the block cannot be read.
pub(super) fn merged(old: &[u8], changes: &Changes, mut each: impl FnMut(u8, &[u8])) -> Option<()> {
    let mut changed = changes.rows.iter().peekable();
    let mut from = Reader(old);
    while !from.0.is_empty() {
        let (low, body) = (from.byte()?, from.slice()?);
        while let Some((at, new)) = changed.next_if(|(at, _)| *at < low) {
            new.clone().into_iter().for_each(|new| each(*at, &changes.bytes[new]));
        }
        match changed.next_if(|(at, _)| *at == low) {
            Some((_, Some(new))) => each(low, &changes.bytes[new.clone()]),
            Some((_, None)) => {}
            None => each(low, body),
        }
    }
    for (at, new) in changed {
        new.clone().into_iter().for_each(|new| each(*at, &changes.bytes[new]));
    }
    Some(())
}

/// A stored block, unpacked: its digest.
pub(super) fn unpacked(
    db: Db<'_>,
    block: Block,
    row: &rusqlite::Row<'_>,
    columns: usize,
    into: &mut Vec<u8>,
) -> Result<(u64, Sum), Error> {
    let failed = db.failed("cannot read the rows");
    let bad = || db.corrupt(format!("{} does not fit its checksum", block.name()));
    let sum = row.get_ref(columns).map_err(failed)?.as_blob().ok();
    let sum: Sum = sum.and_then(|sum| sum.try_into().ok()).ok_or_else(bad)?;
    let raw = row.get_ref(columns + 1).map_err(failed)?.as_i64().map_err(|_| bad())?;
    let body = row.get_ref(columns + 2).map_err(failed)?.as_blob().map_err(|_| bad())?;
    let raw = unsigned(raw);
    if block.sum(raw, body) != sum {
        return Err(bad());
    }
    if !pack::unpack(body, usize::try_from(raw).unwrap_or(0), into) {
        return Err(bad());
    }
    Ok((raw, sum))
}

/// Writes blocks, with buffers that are kept.
#[derive(Debug)]
pub(super) struct Writer {
    old: Vec<u8>,
    new: Vec<u8>,
    packer: Packer,
}

impl Writer {
    pub fn new() -> Self {
        Self { old: Vec::new(), new: Vec::new(), packer: Packer::new() }
    }

    /// Writes one block's changes; sums follow.
    pub fn apply(
        &mut self,
        db: Db<'_>,
        changes: &Changes,
        state: &mut State,
        cells: &mut BTreeMap<u32, Tally>,
    ) -> Result<(), Error> {
        let block = changes.block;
        let failed = db.failed("cannot write rows back");
        let (kind, number) = (i64::from(block.kind), signed(block.number));
        let name = params![block.cell, kind, number];
        let tally = cells.entry(block.cell).or_default();
        self.old.clear();
        let mut was = false;
        {
            let sql =
                "SELECT sum, raw, body FROM blocks WHERE cell = ? AND kind = ? AND number = ?";
            let mut statement = db.connection.prepare_cached(sql).map_err(failed)?;
            let mut found = statement.query(name).map_err(failed)?;
            if let Some(row) = found.next().map_err(failed)? {
                let (raw, sum) = unpacked(db, block, row, 0, &mut self.old)?;
                state.blocks.remove(raw, sum);
                tally.remove(raw, sum);
                was = true;
            }
        }
        self.new.clear();
        let new = &mut self.new;
        merged(&self.old, changes, |low, body| {
            new.push(low);
            put(new, length(body.len()));
            new.extend_from_slice(body);
        })
        .ok_or_else(|| db.corrupt(format!("{} cannot be read", block.name())))?;
        if self.new.is_empty() {
            let sql = "DELETE FROM blocks WHERE cell = ? AND kind = ? AND number = ?";
            if was {
                db.run("cannot write rows back", sql, name)?;
            }
            return Ok(());
        }
        let raw = length(self.new.len());
        let packed = self.packer.pack(&self.new);
        let sum = block.sum(raw, packed);
        state.blocks.add(raw, sum);
        tally.add(raw, sum);
        let sql = "INSERT OR REPLACE INTO blocks (cell, kind, number, sum, raw, body)
                   VALUES (?, ?, ?, ?, ?, ?)";
        let with = params![block.cell, kind, number, sum, signed(raw), packed];
        db.run("cannot write rows back", sql, with).map(|_| ())
    }
}

/// What each cell has at rest, as it is stored.
pub(super) fn cells(db: Db<'_>) -> Result<BTreeMap<u32, Tally>, Error> {
    let failed = db.failed("cannot read the cells");
    let mut statement = db.connection.prepare("SELECT cell, tally FROM cells").map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    let mut cells = BTreeMap::new();
    while let Some(row) = found.next().map_err(failed)? {
        let cell: u32 = row.get(0).map_err(failed)?;
        let body = row.get_ref(1).map_err(failed)?.as_blob().unwrap_or_default();
        let tally = Tally::read(&mut Reader(body));
        let tally = tally.ok_or_else(|| db.corrupt(format!("cell {cell}'s sums are not whole")))?;
        cells.insert(cell, tally);
    }
    Ok(cells)
}

/// Stores what a cell has at rest.
pub(super) fn keep_cell(db: Db<'_>, cell: u32, tally: Tally) -> Result<(), Error> {
    let mut body = Vec::new();
    tally.write(&mut body);
    let sql = "INSERT OR REPLACE INTO cells (cell, tally) VALUES (?, ?)";
    db.run("cannot write rows back", sql, params![cell, body]).map(|_| ())
}

/// A packed part of some bytes.
pub(super) fn packed(packer: &mut Packer, raw: &[u8], into: &mut Vec<u8>) -> Packed {
    let bytes = packer.pack(raw);
    into.extend_from_slice(bytes);
    let short = |length: usize| u32::try_from(length).expect("parts stay below 4 GiB");
    Packed { raw: short(raw.len()), packed: short(bytes.len()), sum: pack::sum(&[bytes]) }
}
