//! A modelled log: rows, promotions and ends of segments, each with a name of its own, so that two logs with the same
//! entry at one place are the same up to there.

use evenkeel_core::id::Term;
use evenkeel_core::promise::Position;
use evenkeel_core::time::Time;

/// The two highest bits of an entry say what it is; none of them: a row.
const KIND: u64 = 3 << 62;
/// The end of a segment.
const SEGMENT: u64 = 1 << 62;
/// A promotion.
const PROMOTION: u64 = 2 << 62;
/// The end of a restore: what comes next is another service's.
const RESTORED: u64 = 3 << 62;
/// In a promotion: it began no timeline, as its server took writes before.
const SAME: u64 = 1 << 40;
/// A row's name has the moment of its writing above so many bits.
const ROW_BITS: u32 = 10;

/// What a server has written, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    entries: Vec<u64>,
    /// Of the newest promotion.
    history: Term,
    /// The newest that was begun; 0 for the first one.
    timeline: u32,
    /// Where the segment under way begins.
    segment: usize,
}

/// The first name that a row written at a moment may have.
pub const fn row_at(now: Time) -> u64 {
    now.0 << ROW_BITS
}

/// Which term or timeline an entry is of.
fn number(entry: u64) -> u32 {
    u32::try_from(entry & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

impl Log {
    /// How much there is.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn push(&mut self, entry: u64) {
        self.entries.push(entry);
        let payload = number(entry);
        match entry & KIND {
            SEGMENT => self.segment = self.entries.len(),
            PROMOTION => {
                self.history = Term(payload);
                if entry & SAME == 0 {
                    self.timeline = payload;
                }
            }
            RESTORED => (self.history, self.timeline) = (Term(0), payload),
            _ => {}
        }
    }

    /// Takes a row, named by a number nobody else has.
    pub fn write(&mut self, row: u64) {
        self.push(row);
    }

    /// Takes the promotion of a term, which begins a timeline if its server followed until then.
    pub fn promote(&mut self, term: Term, begins: bool) {
        self.push(PROMOTION | u64::from(term.0) | if begins { 0 } else { SAME });
    }

    /// From here on it is another service's, on a timeline of its own.
    pub fn restored(&mut self, term: Term) {
        self.push(RESTORED | u64::from(term.0));
    }

    /// Loses the rows at its end that were written after a moment, and gives them.
    pub fn lose_since(&mut self, moment: Time) -> Vec<u64> {
        let later = |entry: &&u64| **entry & KIND == 0 && **entry >> ROW_BITS > moment.0;
        let rows = self.entries.iter().rev().take_while(later).count();
        self.entries.split_off(self.len() - rows)
    }

    /// Ends the segment under way; the number is nobody else's.
    pub fn end_segment(&mut self, number: u64) {
        self.push(SEGMENT | number & !KIND);
    }

    /// The term of the newest promotion in it.
    pub const fn history(&self) -> Term {
        self.history
    }

    /// The timeline that it is on.
    pub fn timeline(&self) -> u32 {
        self.timeline.max(1)
    }

    /// Where the segment under way begins.
    pub const fn segment(&self) -> usize {
        self.segment
    }

    /// Its timelines, oldest first, each with where it begins.
    pub fn timelines(&self) -> Vec<(u32, usize)> {
        std::iter::once((1, 0)).chain(self.timelines_from(0)).collect()
    }

    /// Those that begin from a place on.
    pub fn timelines_from(&self, from: usize) -> impl Iterator<Item = (u32, usize)> {
        let begins = |entry: u64| match entry & KIND {
            PROMOTION => entry & SAME == 0,
            RESTORED => true,
            _ => false,
        };
        let entries = self.entries.iter().enumerate().skip(from);
        entries.filter(move |(_, entry)| begins(**entry)).map(|(at, entry)| (number(*entry), at))
    }

    /// Its beginning.
    pub fn upto(&self, length: usize) -> Self {
        let mut log = Self::default();
        self.entries[..length.min(self.len())].iter().for_each(|entry| log.push(*entry));
        log
    }

    /// What it has from one place to another.
    pub fn part(&self, from: usize, to: usize) -> &[u64] {
        &self.entries[from..to]
    }

    /// Takes entries of another.
    pub fn extend(&mut self, entries: &[u64]) {
        entries.iter().for_each(|entry| self.push(*entry));
    }

    /// Whether a segment ends with the entry at a place.
    pub fn ends_segment(&self, at: usize) -> bool {
        self.entries[at] & KIND == SEGMENT
    }

    /// How much of it was written until a moment.
    pub fn until(&self, moment: Time) -> Option<usize> {
        let later = |entry: &u64| entry & KIND == 0 && entry >> ROW_BITS > moment.0;
        self.entries.iter().position(later)
    }

    /// When its newest row was written.
    pub fn newest(&self) -> Option<Time> {
        let row = self.entries.iter().rev().find(|entry| *entry & KIND == 0);
        row.map(|row| Time(row >> ROW_BITS))
    }

    /// Whether another log begins with all of this one.
    pub fn begins(&self, other: &Self) -> bool {
        match self.entries.last() {
            None => true,
            Some(last) => other.entries.get(self.len() - 1) == Some(last),
        }
    }

    /// What this log has and another has not, where they part.
    pub fn beyond(&self, other: &Self) -> usize {
        let both = self.entries.iter().zip(&other.entries);
        self.len() - both.take_while(|(one, two)| one == two).count()
    }

    /// What this log has more than one that it begins with; `None` where they parted.
    pub fn after(&self, other: &Self) -> Option<&[u64]> {
        other.begins(self).then(|| &self.entries[other.len()..])
    }

    /// Rows in it.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().copied().filter(|entry| entry & KIND == 0)
    }

    /// Its end, as a standby tells it: it has flushed all it has.
    pub fn end(&self) -> Position {
        Position(2 * self.len() as u64)
    }

    /// Its end, as a primary that was stopped in order tells it: within its last record, so that only
    /// who has that record is past it.
    pub fn end_within(&self) -> Position {
        Position((2 * self.len() as u64).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_part_where_they_differ() {
        let (mut one, mut two) = (Log::default(), Log::default());
        [1, 2].into_iter().for_each(|row| one.write(row));
        two.write(1);
        assert!(two.begins(&one) && !one.begins(&two));
        two.promote(Term(4), true);
        two.write(3);
        assert!(!one.begins(&two) && !two.begins(&one));
        assert_eq!((one.beyond(&two), two.beyond(&one)), (1, 2));
        assert_eq!((one.history(), two.history()), (Term(0), Term(4)));
        assert_eq!(two.rows().collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn what_is_lost_of_an_end_is_its_newest_rows() {
        let row = |ms| row_at(Time(ms));
        let mut log = Log::default();
        [10, 20].into_iter().for_each(|ms| log.write(row(ms)));
        log.promote(Term(4), true);
        [30, 40, 50].into_iter().for_each(|ms| log.write(row(ms)));
        assert!(log.lose_since(Time(50)).is_empty());
        assert_eq!(log.lose_since(Time(30)), [row(40), row(50)]);
        // A promotion is on disk at once.
        assert_eq!(log.lose_since(Time(0)), [row(30)]);
        assert_eq!((log.history(), log.rows().count()), (Term(4), 2));
    }

    #[test]
    fn only_who_has_the_last_record_is_past_a_stopped_primary() {
        let mut log = Log::default();
        log.write(1);
        let behind = log.clone();
        log.write(2);
        assert!(log.end() > log.end_within() && behind.end() < log.end_within());
    }
}
