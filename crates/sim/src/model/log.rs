//! A modelled log: rows and promotions, each with a name of its own, so that two logs with the same
//! entry at one place are the same up to there.

use evenkeel_core::id::Term;
use evenkeel_core::promise::Position;

/// Names of promotions are above this.
const PROMOTION: u64 = 1 << 63;

/// What a server has written, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log(Vec<u64>);

impl Log {
    /// How much there is.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a row, named by a number nobody else has.
    pub fn write(&mut self, row: u64) {
        self.0.push(row);
    }

    /// Takes the promotion of a term.
    pub fn promote(&mut self, term: Term) {
        self.0.push(PROMOTION | u64::from(term.0));
    }

    /// The term of the newest promotion in it.
    pub fn history(&self) -> Term {
        let newest = self.0.iter().rev().find(|entry| **entry >= PROMOTION);
        Term(newest.map_or(0, |entry| u32::try_from(entry & !PROMOTION).unwrap_or(u32::MAX)))
    }

    /// Whether another log begins with all of this one.
    pub fn begins(&self, other: &Self) -> bool {
        match self.0.last() {
            None => true,
            Some(last) => other.0.get(self.len() - 1) == Some(last),
        }
    }

    /// What this log has and another has not, where they part.
    pub fn beyond(&self, other: &Self) -> usize {
        let same = self.0.iter().zip(&other.0).take_while(|(one, two)| one == two).count();
        self.len() - same
    }

    /// What this log has more than one that it begins with; `None` where they parted.
    pub fn after(&self, other: &Self) -> Option<Self> {
        other.begins(self).then(|| Self(self.0[other.len()..].to_vec()))
    }

    /// Takes what another has more.
    pub fn follow(&mut self, more: &Self) {
        self.0.extend_from_slice(&more.0);
    }

    /// Rows in it.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied().filter(|entry| *entry < PROMOTION)
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
        two.promote(Term(4));
        two.write(3);
        assert!(!one.begins(&two) && !two.begins(&one));
        assert_eq!((one.beyond(&two), two.beyond(&one)), (1, 2));
        assert_eq!((one.history(), two.history()), (Term(0), Term(4)));
        assert_eq!(two.rows().collect::<Vec<_>>(), [1, 3]);
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
