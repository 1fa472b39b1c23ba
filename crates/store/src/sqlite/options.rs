//! How much a store keeps, and how far each of its parts may grow.

use evenkeel_core::time::Span;

/// What of the journal is kept. Older segments are dropped whole, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many newest entries are kept; segments wholly before them are dropped.
    pub entries_max: u64,
    /// Segments that are older than the newest entry by more than this are dropped too; `None`: none.
    /// By the times in the entries themselves, never by a clock.
    pub age_max: Option<Span>,
}

impl Default for Retention {
    /// Twenty million entries, of any age: about a gigabyte on disk, and at a million services
    /// twenty transitions of each.
    fn default() -> Self {
        Self { entries_max: 20_000_000, age_max: None }
    }
}

/// How far parts of the file grow before they are folded into others. Tests make them small, so
/// that everything happens within few commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of rows before packing that the tail holds at most; a commit past that waits for
    /// write-back. It bounds a start, which replays the tail.
    pub tail_raw_max: u64,
    /// Bytes of rows before packing from which on a commit is swept as it is.
    pub large_raw: u64,
    /// Bytes of rows before packing that small commits may have together until they become a run.
    pub small_raw_max: u64,
    /// As many small commits become a run in any case.
    pub small_frames_max: usize,
    /// Blocks of rows that write-back brings to rest with one commit at most, so that none waits
    /// long: some tens of milliseconds.
    pub step_blocks_max: u64,
    /// Entries of a segment of the journal.
    pub segment_entries: u64,
    /// A file up to so many bytes is checked and copied at every start before anything else; a
    /// longer one beside the commits.
    pub checked_at_once_max: u64,
}

/// The longest permitted tail: the rows of 1.4 million transitions (of 850 bytes), so that at a
/// million services a row comes to rest once for more than one change, and a start that reads a
/// million rows and replays all of it takes about two seconds of one core: a second on two
/// (`evenkeel bench engine`). Twice as long would make a transition a third cheaper and a
/// start half as long again.
pub const TAIL_RAW_MAX: u64 = 1_200_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            tail_raw_max: TAIL_RAW_MAX,
            large_raw: 1 << 20,
            small_raw_max: 8 << 20,
            small_frames_max: 4_096,
            step_blocks_max: 256,
            segment_entries: 65_536,
            checked_at_once_max: 32 << 20,
        }
    }
}

/// How a store is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What of the journal is kept.
    pub retention: Retention,
    /// How far parts of the file grow.
    pub limits: Limits,
}
