//! Bytes as the file has them: numbers of variable length, digests, packed pieces.
//!
//! Knows nothing of what is packed. A piece is one LZ4 block; its length before packing and its
//! digest are kept elsewhere, so that nothing is unpacked that was not found sound first.

use evenkeel_core::digest::Digest;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into};

/// A digest's first 16 bytes: enough against damage, and half as long.
pub(super) type Sum = [u8; 16];

/// The digest of some bytes one after another.
pub(super) fn sum(parts: &[&[u8]]) -> Sum {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes().first_chunk().expect("a digest is longer than 16 bytes")
}

/// A digest as a summand: the sum over a set tells when one is missing, twice, or another.
pub(super) fn summand(sum: Sum) -> u128 {
    u128::from_le_bytes(sum)
}

/// Appends a number, seven bits a byte, lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// A length as a number in the file.
pub(super) fn length(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// Reads what [`put`] and its like wrote; `None` past the end or where it cannot be that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// As many bytes as a number before them says.
    pub fn slice(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest)
    }
}

/// Packs pieces, with buffers that are kept.
pub(super) struct Packer {
    table: CompressTable,
    out: Vec<u8>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    pub fn new() -> Self {
        Self { table: CompressTable::large(), out: Vec::new() }
    }

    /// The piece, packed.
    pub fn pack(&mut self, raw: &[u8]) -> &[u8] {
        let room = lz4_flex::block::get_maximum_output_size(raw.len());
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let written = compress_into_with_table(raw, &mut self.out, &mut self.table)
            .expect("there is room for the longest output");
        &self.out[..written]
    }
}

/// Unpacks a piece of a known length; whether it was one.
#[must_use]
pub(super) fn unpack(packed: &[u8], raw: usize, into: &mut Vec<u8>) -> bool {
    into.resize(raw, 0);
    decompress_into(packed, into).is_ok_and(|written| written == raw)
}

/// Bits that an entry's subject takes in a filter.
const FILTER_BITS: usize = 12;
/// Places that a subject sets in a filter: of absent subjects one in three hundred looks present.
const FILTER_PLACES: u64 = 7;

/// Which subjects a piece of the journal may hold (a Bloom filter).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter(pub Vec<u8>);

impl Filter {
    /// An empty filter for so many entries.
    pub fn of(entries: usize) -> Self {
        Self(vec![0; (entries * FILTER_BITS).div_ceil(8).max(8)])
    }

    /// The bits of a subject, as bytes and masks.
    fn places(bytes: usize, subject: &str) -> impl Iterator<Item = (usize, u8)> + use<> {
        // FNV-1a, then mixed: on disk it must be the same for ever.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in subject.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let (start, step) = (hash, hash.rotate_left(32) | 1);
        let bits = length(bytes) * 8;
        (0..FILTER_PLACES).map(move |n| {
            let bit = start.wrapping_add(n.wrapping_mul(step)) % bits.max(1);
            (usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8))
        })
    }

    pub fn add(&mut self, subject: &str) {
        for (byte, bit) in Self::places(self.0.len(), subject) {
            self.0[byte] |= bit;
        }
    }

    pub fn may_hold(&self, subject: &str) -> bool {
        let mut places = Self::places(self.0.len(), subject);
        places.all(|(byte, bit)| self.0.get(byte).is_some_and(|b| b & bit != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_pieces_come_back_and_a_cut_is_none() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| put(&mut bytes, *number));
        let mut reader = Reader(&bytes);
        assert!(numbers.iter().all(|number| reader.number() == Some(*number)));
        assert_eq!(reader.number(), None);
        assert_eq!(Reader(&[0x80; 11]).number(), None);
        let (mut packer, raw) = (Packer::new(), b"a row like the row before ".repeat(500));
        let packed = packer.pack(&raw).to_vec();
        let mut back = Vec::new();
        assert!(packed.len() < raw.len() / 10 && unpack(&packed, raw.len(), &mut back));
        assert_eq!(back, raw);
        assert!(!unpack(&packed, raw.len() + 1, &mut back));
        assert!(!unpack(&packed[..9], raw.len(), &mut back));
    }

    #[test]
    fn a_filter_misses_nothing_and_takes_few_for_what_they_are_not() {
        let mut filter = Filter::of(1_000);
        (0..1_000).for_each(|n| filter.add(&format!("s{n}")));
        assert!((0..1_000).all(|n| filter.may_hold(&format!("s{n}"))));
        let wrong = (1_000..21_000).filter(|n| filter.may_hold(&format!("s{n}"))).count();
        assert!(wrong < 200, "{wrong} of 20,000");
        assert!(!Filter::of(0).may_hold("s1"));
    }
}
