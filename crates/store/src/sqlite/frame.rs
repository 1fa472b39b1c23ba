//! A frame: everything one commit changed, in order of key, as one head and packed parts.
//!
//! The head lists its parts with their digests and ends with its own, so it vouches for all of them.
//! A few KiB lie behind the head in the same row of `tail`; more lie in a row a part, so that a sweep
//! reads parts one by one. A *run* is a frame made of many small ones, of their rows alone.

use evenkeel_core::digest::Digest;
use evenkeel_core::id::CellId;
use evenkeel_core::row::{Key, Table};

use super::pack::{self, Filter, Reader, Sum, length, put};

/// Bits of a `tail` row's number that say which part of its frame it is.
const PART_BITS: u32 = 20;
/// First byte of a head.
const VERSION: u8 = 1;

/// A row's place in the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub cell: u32,
    pub kind: u8,
    pub id: u64,
}

impl Place {
    pub fn of(cell: CellId, key: Key) -> Self {
        Self { cell: cell.0, kind: number(key.table), id: key.id }
    }

    /// In the core's words; `None`: no table has that number.
    pub fn key(self) -> Option<(CellId, Key)> {
        let table = Table::ALL.into_iter().find(|table| number(*table) == self.kind)?;
        Some((CellId(self.cell), Key { table, id: self.id }))
    }

    pub fn write(self, out: &mut Vec<u8>) {
        put(out, self.cell.into());
        out.push(self.kind);
        put(out, self.id);
    }

    pub fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { cell: from.small()?, kind: from.byte()?, id: from.number()? })
    }
}

/// A table's number in the file; never changed.
pub(super) const fn number(table: Table) -> u8 {
    match table {
        Table::Cell => 0,
        Table::Host => 1,
        Table::Service => 2,
        Table::Toil => 8,
        Table::Act => 7,
        Table::Incident => 3,
    }
}

/// A packed part: how long it is, packed and not, and its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub raw: u32,
    pub packed: u32,
    pub sum: Sum,
}

impl Packed {
    fn write(self, out: &mut Vec<u8>) {
        put(out, self.raw.into());
        put(out, self.packed.into());
        out.extend_from_slice(&self.sum);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { raw: from.small()?, packed: from.small()?, sum: from.array()? })
    }
}

/// Rows of a frame, in order of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowsPart {
    pub first: Place,
    pub bytes: Packed,
}

/// Entries of the journal, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntriesPart {
    /// Position of its first entry.
    pub first: u64,
    pub count: u32,
    pub bytes: Packed,
    /// The link before its first entry.
    pub before: Digest,
    /// The latest time of an entry in it.
    pub newest: u64,
    pub filter: Filter,
}

impl EntriesPart {
    /// Position of its last entry.
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        put(out, self.first);
        put(out, self.count.into());
        self.bytes.write(out);
        out.extend_from_slice(&self.before.0);
        put(out, self.newest);
        put(out, length(self.filter.0.len()));
        out.extend_from_slice(&self.filter.0);
    }

    pub fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (first, count, bytes) = (from.number()?, from.small()?, Packed::read(from)?);
        let (before, newest) = (from.digest()?, from.number()?);
        let filter = Filter(from.slice()?.to_vec());
        (count > 0).then_some(Self { first, count, bytes, before, newest, filter })
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// One commit.
    Commit,
    /// The rows of small commits, newest bodies.
    Run,
}

/// A frame as it is known while it is in the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub sort: Sort,
    /// The commit's number, from 1 without gaps; of a run, that of its newest.
    pub seq: u64,
    /// The chain of commits before this one; of a run, the chain with its newest.
    pub chain: Digest,
    /// Swept by write-back as it is; a smaller one is first made part of a run.
    pub large: bool,
    pub rows: Vec<RowsPart>,
    pub entries: Vec<EntriesPart>,
    /// Its parts lie behind its head.
    pub inline: bool,
    /// Bytes of its head.
    pub head: usize,
    /// The digest of its head.
    pub digest: Digest,
    /// Where write-back was when it came: how often it had gone round, and the next place.
    pub phase: (u64, Place),
}

impl Frame {
    /// The number of one of its rows in `tail`; 0 is the head, then rows, then entries.
    pub fn row(&self, part: usize) -> u64 {
        (self.seq << PART_BITS) + length(part)
    }

    /// The numbers of all its rows in `tail`: from, and up to but without.
    pub fn range(&self) -> (u64, u64) {
        (self.seq << PART_BITS, (self.seq + 1) << PART_BITS)
    }

    /// The frame's own number, of a row's number in `tail`.
    pub fn seq_of(row: u64) -> (u64, u64) {
        (row >> PART_BITS, row & ((1 << PART_BITS) - 1))
    }

    /// Bytes of its rows before packing.
    pub fn raw(&self) -> u64 {
        self.rows.iter().map(|part| u64::from(part.bytes.raw)).sum()
    }

    /// All its parts in order.
    pub fn parts(&self) -> impl Iterator<Item = Packed> + '_ {
        let entries = self.entries.iter().map(|part| part.bytes);
        self.rows.iter().map(|part| part.bytes).chain(entries)
    }

    /// The chain with it.
    pub fn chained(&self) -> Digest {
        let mut bytes = self.chain.0.to_vec();
        bytes.extend_from_slice(&self.digest.0);
        Digest::of(&bytes)
    }

    /// It as a member of the set of frames.
    pub fn summand(&self) -> u128 {
        pack::summand(pack::sum(&[&self.digest.0]))
    }

    /// Writes the head, and notes its length and digest.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        let from = out.len();
        let sort = match self.sort {
            Sort::Commit => 0,
            Sort::Run => 1,
        };
        out.extend_from_slice(&[VERSION, sort, u8::from(self.large), u8::from(self.inline)]);
        put(out, self.seq);
        out.extend_from_slice(&self.chain.0);
        put(out, length(self.rows.len()));
        for part in &self.rows {
            part.first.write(out);
            part.bytes.write(out);
        }
        put(out, length(self.entries.len()));
        for part in &self.entries {
            part.write(out);
        }
        self.digest = Digest::of(&out[from..]);
        out.extend_from_slice(&self.digest.0);
        self.head = out.len() - from;
    }

    /// A frame from its head's row; `None`: that is no sound head.
    pub fn read(row: &[u8]) -> Option<Self> {
        let mut from = Reader(row);
        let sort = match (from.byte()?, from.byte()?) {
            (VERSION, 0) => Sort::Commit,
            (VERSION, 1) => Sort::Run,
            _ => return None,
        };
        let (large, inline) = (from.byte()? == 1, from.byte()? == 1);
        let (seq, chain) = (from.number()?, from.digest()?);
        let (mut rows, mut entries) = (Vec::new(), Vec::new());
        for _ in 0..from.number()? {
            rows.push(RowsPart { first: Place::read(&mut from)?, bytes: Packed::read(&mut from)? });
        }
        for _ in 0..from.number()? {
            entries.push(EntriesPart::read(&mut from)?);
        }
        let vouched = row.len() - from.0.len();
        let digest = from.digest()?;
        let head = row.len() - from.0.len();
        let phase = (0, Place::default());
        let frame = Self { sort, seq, chain, large, rows, entries, inline, head, digest, phase };
        (Digest::of(&row[..vouched]) == digest).then_some(frame)
    }
}

/// A row in a rows part; `None` removes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub place: Place,
    pub body: Option<&'a [u8]>,
}

impl<'a> Change<'a> {
    pub fn write(&self, out: &mut Vec<u8>) {
        self.place.write(out);
        match self.body {
            None => put(out, 0),
            Some(body) => {
                put(out, length(body.len()) + 1);
                out.extend_from_slice(body);
            }
        }
    }

    pub fn read(from: &mut Reader<'a>) -> Option<Self> {
        let place = Place::read(from)?;
        let body = match from.number()? {
            0 => None,
            length => Some(from.take(usize::try_from(length - 1).ok()?)?),
        };
        Some(Self { place, body })
    }
}

/// An entry in an entries part: the cell and the JSON.
pub(super) fn write_entry(out: &mut Vec<u8>, cell: u32, json: &[u8]) {
    put(out, cell.into());
    put(out, length(json.len()));
    out.extend_from_slice(json);
}

/// The next entry of an entries part.
pub(super) fn read_entry<'a>(from: &mut Reader<'a>) -> Option<(u32, &'a [u8])> {
    Some((from.small()?, from.slice()?))
}
