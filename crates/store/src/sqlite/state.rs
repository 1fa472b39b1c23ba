//! The store's own record: where everything ends, and sums over what there is.
//!
//! One row, written with every commit. A part of the file that is lost without a trace (a page whose
//! count of rows flipped) does not fit it.

use evenkeel_core::digest::Digest;
use evenkeel_core::journal::GENESIS;

use super::pack::{self, Reader, Sum, put};

const VERSION: u8 = 1;

/// Where everything ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The newest commit's number.
    pub seq: u64,
    /// The chain over all commits.
    pub chain: Digest,
    /// The journal's newest entry, and its link.
    pub position: u64,
    pub head: Digest,
    /// The latest time that an entry has.
    pub newest: u64,
    /// The journal's entries up to here were dropped by retention, and the link there.
    pub dropped: u64,
    pub dropped_link: Digest,
    /// Entries up to here are in segments, and the link there.
    pub sealed: u64,
    pub sealed_link: Digest,
    /// Frames in the tail.
    pub frames: u64,
    pub frames_sum: u128,
    /// Blocks of rows, over all cells.
    pub blocks: Tally,
}

/// Blocks of rows of one cell, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub blocks: u64,
    /// Bytes before packing.
    pub raw: u64,
    pub sum: u128,
}

impl Tally {
    pub fn add(&mut self, raw: u64, sum: Sum) {
        self.blocks += 1;
        self.raw += raw;
        self.sum = self.sum.wrapping_add(pack::summand(sum));
    }

    pub fn remove(&mut self, raw: u64, sum: Sum) {
        self.blocks = self.blocks.saturating_sub(1);
        self.raw = self.raw.saturating_sub(raw);
        self.sum = self.sum.wrapping_sub(pack::summand(sum));
    }

    pub fn join(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.raw += other.raw;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        put(out, self.blocks);
        put(out, self.raw);
        out.extend_from_slice(&self.sum.to_le_bytes());
    }

    pub fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (blocks, raw) = (from.number()?, from.number()?);
        Some(Self { blocks, raw, sum: u128::from_le_bytes(from.array()?) })
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            seq: 0,
            chain: GENESIS,
            position: 0,
            head: GENESIS,
            newest: 0,
            dropped: 0,
            dropped_link: GENESIS,
            sealed: 0,
            sealed_link: GENESIS,
            frames: 0,
            frames_sum: 0,
            blocks: Tally::default(),
        }
    }
}

impl State {
    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.seq);
        out.extend_from_slice(&self.chain.0);
        put(&mut out, self.position);
        out.extend_from_slice(&self.head.0);
        put(&mut out, self.newest);
        put(&mut out, self.dropped);
        out.extend_from_slice(&self.dropped_link.0);
        put(&mut out, self.sealed);
        out.extend_from_slice(&self.sealed_link.0);
        put(&mut out, self.frames);
        out.extend_from_slice(&self.frames_sum.to_le_bytes());
        self.blocks.write(&mut out);
        let sum = pack::sum(&[&out]);
        out.extend_from_slice(&sum);
        out
    }

    /// `None`: that is no sound record.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (vouched, sum) = bytes.split_last_chunk::<16>()?;
        if pack::sum(&[vouched]) != *sum {
            return None;
        }
        let mut from = Reader(vouched);
        if from.byte()? != VERSION {
            return None;
        }
        Some(Self {
            seq: from.number()?,
            chain: from.digest()?,
            position: from.number()?,
            head: from.digest()?,
            newest: from.number()?,
            dropped: from.number()?,
            dropped_link: from.digest()?,
            sealed: from.number()?,
            sealed_link: from.digest()?,
            frames: from.number()?,
            frames_sum: u128::from_le_bytes(from.array()?),
            blocks: Tally::read(&mut from)?,
        })
    }
}
