//! Names of the log's files, and whether a set of them has no holes.
//!
//! A segment's name is its timeline and its number, in three times eight hexadecimal digits; the number's
//! halves depend on how large segments are (PostgreSQL's `XLogFileName`).

use std::collections::BTreeSet;
use std::fmt;

use evenkeel_core::promise::Position;

/// How large segments are, in bytes: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// PostgreSQL allows powers of two from 1 MiB to 1 GiB.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        let allowed = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        allowed.then_some(Self(bytes))
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// How many have the same middle eight digits.
    const fn per_half(self) -> u64 {
        (1 << 32) / self.0
    }
}

/// One segment of one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// Its timeline.
    pub timeline: u32,
    /// Its number, from the log's first byte on.
    pub number: u64,
}

impl Segment {
    /// The one that has a position.
    #[must_use]
    pub const fn of(timeline: u32, position: Position, size: SegmentSize) -> Self {
        Self { timeline, number: position.0 / size.0 }
    }

    /// Where it begins.
    #[must_use]
    pub const fn begin(self, size: SegmentSize) -> Position {
        Position(self.number * size.0)
    }

    /// The one after it on its timeline.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { timeline: self.timeline, number: self.number + 1 }
    }

    /// Its file's name.
    #[must_use]
    pub fn name(self, size: SegmentSize) -> String {
        let (high, low) = (self.number / size.per_half(), self.number % size.per_half());
        format!("{:08X}{high:08X}{low:08X}", self.timeline)
    }
}

/// What a server archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A segment, whole.
    Segment(Segment),
    /// The last segment of a timeline, as far as another went on from it.
    Partial(Segment),
    /// Where a timeline comes from.
    History(u32),
    /// Where a base backup began, for who reads along.
    Label(Segment, u32),
}

/// A name that no archived file has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name of PostgreSQL's log: 24 hexadecimal digits, perhaps with .partial or a \
     label's ending, or a timeline's with .history"
)]
pub struct Unknown {
    /// What it was.
    pub name: String,
}

impl Name {
    /// Reads a name as a server writes it.
    ///
    /// # Errors
    /// [`Unknown`], for whatever a server would not have named so.
    pub fn parse(name: &str, size: SegmentSize) -> Result<Self, Unknown> {
        read(name, size).ok_or_else(|| Unknown { name: name.to_owned() })
    }

    /// Its timeline.
    #[must_use]
    pub const fn timeline(self) -> u32 {
        match self {
            Self::Segment(segment) | Self::Partial(segment) | Self::Label(segment, _) => {
                segment.timeline
            }
            Self::History(timeline) => timeline,
        }
    }

    /// As it is written, for segments of this size.
    #[must_use]
    pub fn text(self, size: SegmentSize) -> String {
        match self {
            Self::Segment(segment) => segment.name(size),
            Self::Partial(segment) => format!("{}.partial", segment.name(size)),
            Self::History(timeline) => format!("{timeline:08X}.history"),
            Self::Label(segment, at) => format!("{}.{at:08X}.backup", segment.name(size)),
        }
    }
}

/// Eight digits, as a server writes them: no lower case, no signs.
fn digits(text: &str) -> Option<u32> {
    let plain = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    plain.then(|| u32::from_str_radix(text, 16).ok())?
}

fn read(name: &str, size: SegmentSize) -> Option<Name> {
    if let Some(timeline) = name.strip_suffix(".history") {
        return digits(timeline).filter(|timeline| *timeline > 1).map(Name::History);
    }
    let (segment, rest) = name.split_at_checked(24)?;
    let part = |at: usize| digits(segment.get(at..at + 8)?);
    let (timeline, high, low) = (part(0)?, u64::from(part(8)?), u64::from(part(16)?));
    if timeline == 0 || low >= size.per_half() {
        return None;
    }
    let segment = Segment { timeline, number: high * size.per_half() + low };
    match rest {
        "" => Some(Name::Segment(segment)),
        ".partial" => Some(Name::Partial(segment)),
        label => {
            let at = digits(label.strip_prefix('.')?.strip_suffix(".backup")?)?;
            Some(Name::Label(segment, at))
        }
    }
}

/// Segments of a timeline that are missing between two, both of them included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first that is missing.
    pub from: Segment,
    /// How many are.
    pub count: u64,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Segment { timeline, number } = self.from;
        write!(f, "{} segments of timeline {timeline}, from the {number}th on", self.count)
    }
}

/// What is missing of one timeline's segments from one number to another, both included.
#[must_use]
pub fn holes(there: &BTreeSet<Segment>, from: Segment, to: Segment) -> Vec<Hole> {
    let mut found = Vec::new();
    let mut expected = from.number;
    let mut miss = |until: u64, expected: u64| {
        if until > expected {
            let from = Segment { timeline: from.timeline, number: expected };
            found.push(Hole { from, count: until - expected });
        }
    };
    let inside = from.number <= to.number;
    let to = Segment { timeline: from.timeline, number: to.number };
    for segment in inside.then(|| there.range(from..=to)).into_iter().flatten() {
        miss(segment.number, expected);
        expected = segment.number + 1;
    }
    miss(to.number + 1, expected);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(mib: u64) -> SegmentSize {
        SegmentSize::new(mib << 20).expect("a size that is allowed")
    }

    #[test]
    fn names_are_those_that_a_server_writes() {
        // Of a server with 16 MiB segments: SELECT pg_walfile_name('2A/FF000028').
        let segment = Segment::of(3, Position(0x2A_FF00_0028), size(16));
        assert_eq!(segment.name(size(16)), "000000030000002A000000FF");
        assert_eq!(segment.next().name(size(16)), "000000030000002B00000000");
        // And of one with 4 MiB.
        let segment = Segment::of(1, Position(0x2A_FF00_0028), size(4));
        assert_eq!(segment.name(size(4)), "000000010000002A000003FC");
        assert_eq!(segment.begin(size(4)), Position(0x2A_FF00_0000));
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let segment = Segment { timeline: 0xAB, number: 5000 };
        for mib in [1, 4, 16, 64, 1024] {
            let all = [
                Name::Segment(segment),
                Name::Partial(segment),
                Name::History(0xAB),
                Name::Label(segment, 0x28),
            ];
            for name in all {
                assert_eq!(Name::parse(&name.text(size(mib)), size(mib)), Ok(name));
                assert_eq!(name.timeline(), 0xAB);
            }
        }
        let bad = [
            "",
            "000000030000002A000000F",
            "000000030000002A000000FFF",
            "000000030000002A000000ff",
            "000000030000002A+00000FF",
            "000000030000002A00000100",
            "000000000000002A000000FF",
            "000000030000002A000000FF.part",
            "000000030000002A000000FF.00000028",
            "000000030000002A000000FF.28.backup",
            "00000001.history",
            "3.history",
            "../../etc/passwd",
            "ä00000030000002A000000F",
        ];
        for name in bad {
            assert!(Name::parse(name, size(16)).is_err(), "{name}");
        }
    }

    #[test]
    fn sizes_are_those_that_initdb_takes() {
        for bytes in [0, 1, 1 << 19, 3 << 20, (16 << 20) + 1, 1 << 31] {
            assert_eq!(SegmentSize::new(bytes), None, "{bytes}");
        }
    }

    #[test]
    fn every_hole_is_found() {
        let at = |number| Segment { timeline: 2, number };
        // Every subset of six segments, against the plain definition.
        for subset in 0_u32..64 {
            let mut there: BTreeSet<Segment> =
                (0..6).filter(|n| subset & (1 << n) != 0).map(|n| at(n + 10)).collect();
            // Other timelines and segments outside do not matter.
            there.extend([at(3), at(99), Segment { timeline: 1, number: 12 }]);
            let missing: Vec<u64> = holes(&there, at(10), at(15))
                .iter()
                .flat_map(|hole| hole.from.number..hole.from.number + hole.count)
                .collect();
            let expected: Vec<u64> = (10..=15).filter(|n| !there.contains(&at(*n))).collect();
            assert_eq!(missing, expected, "{there:?}");
        }
        assert_eq!(holes(&BTreeSet::new(), at(5), at(4)), [], "an empty stretch has no holes");
    }
}
