//! Turns whose outcome is known: the same number, the same writes.

use evenkeel_core::id::CellId;
use evenkeel_core::journal::{Entry, Topic};
use evenkeel_core::row::{Key, Table, Write, Writes};
use evenkeel_core::time::Time;
use evenkeel_store::memory::Memory;
use evenkeel_store::{Recorded, Store, sqlite};

/// Parts so small that within a few commits everything happens that otherwise takes millions.
pub fn tiny(entries_max: Option<u64>) -> sqlite::Options {
    let mut options = sqlite::Options::default();
    options.limits = sqlite::Limits {
        tail_raw_max: 60_000,
        large_raw: 2_000,
        small_raw_max: 6_000,
        small_frames_max: 8,
        segment_entries: 20,
        ..options.limits
    };
    options.retention.entries_max = entries_max.unwrap_or(u64::MAX);
    options
}

/// The turns of commit `number`: mostly small ones, large ones in between; rows are made, changed
/// and removed in four cells; the last entry says the number.
pub fn turns(number: u64) -> Vec<(CellId, Writes)> {
    let some = |n: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) % n;
    let rows = if number.is_multiple_of(6) { 12 } else { 1 + some(3) };
    let row = |n: u64| Write {
        key: Key { table: Table::Service, id: (some(211) + n * 29) % 260 },
        body: (some(11) + n != 9).then(|| format!("{number}:{n} ").repeat(30).into_bytes()),
    };
    let entry = |subject: u64, text: String| Entry {
        at: Time(number * 1_000),
        topic: Topic::Transition,
        subject: format!("s{subject}"),
        text,
        evidence: Vec::new(),
    };
    let mut turns: Vec<(CellId, Writes)> = Vec::new();
    for n in 0..rows {
        let cell = CellId(u32::try_from((some(4) + n / 4) % 4).expect("few"));
        let journal = vec![entry((some(211) + n) % 50, format!("row {n}"))];
        turns.push((cell, Writes { rows: vec![row(n)], journal }));
    }
    turns.push((
        CellId(9),
        Writes { rows: Vec::new(), journal: vec![entry(51, format!("turn {number}"))] },
    ));
    turns
}

/// Commits the turns of `number`; the journal's end.
pub fn commit(store: &mut dyn Store, number: u64) -> Result<u64, evenkeel_store::Error> {
    let turns = turns(number);
    let batch: Vec<(CellId, &Writes)> = turns.iter().map(|(cell, w)| (*cell, w)).collect();
    store.commit_batch(&batch)
}

/// The last commit that a store holds; 0: none.
pub fn last(store: &dyn Store) -> u64 {
    let newest = store.journal(None, None, 1).expect("readable");
    let number = |recorded: &Recorded| recorded.entry.text.strip_prefix("turn ")?.parse().ok();
    newest.last().map_or(0, |recorded| number(recorded).expect("a commit ends with its number"))
}

/// Every row of a store.
pub fn rows(store: &dyn Store) -> Result<Vec<(CellId, Key, Vec<u8>)>, evenkeel_store::Error> {
    let mut rows = Vec::new();
    store.load_each(&mut |cell, key, body| rows.push((cell, key, body.to_vec())))?;
    Ok(rows)
}

/// What stores come to, commit by commit.
pub struct Expected {
    store: Memory,
    number: u64,
}

impl Expected {
    pub fn new() -> Self {
        Self { store: Memory::new(), number: 0 }
    }

    /// The store is exactly what its commits come to, to the last link.
    pub fn holds(&mut self, store: &dyn Store) {
        let number = last(store);
        if number < self.number {
            *self = Self::new();
        }
        while self.number < number {
            self.number += 1;
            commit(&mut self.store, self.number).expect("memory commits");
        }
        let found = rows(store).expect("readable");
        assert!(found == rows(&self.store).expect("memory"), "the rows after commit {number}");
        let verified = store.verify().expect("sound");
        let kept = store.journal(None, Some(0), usize::MAX).expect("readable");
        let all = self.store.journal(None, Some(verified.dropped), usize::MAX).expect("memory");
        assert!(kept == all, "the journal after commit {number}");
    }
}
