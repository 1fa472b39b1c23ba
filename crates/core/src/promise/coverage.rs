//! The one test of safety, and who is promoted: an inequality over what was recruited.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Copy, Obligation, Position, Promise, Refused};
use crate::id::{MemberId, Term};

/// A member recruited in the present term: it follows nobody any more, and then said how far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Recruit {
    /// Who.
    pub copy: Copy,
    /// The term of the newest promotion in its own log; a longer log of an older one is worth less. It
    /// must come from the log: a member that has not reached a promotion's place in it, or follows a
    /// primary that went on after a false alarm, has no part in a newer history.
    pub history: Term,
    /// What it has flushed. A primary that was stopped has everything it ever acknowledged.
    pub flushed: Position,
}

/// What is missing to rule out that an acknowledged write is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Of a set's `n` standbys `k` acknowledge; `reached` of them are there and `need` must be.
    Standbys {
        /// The primary they followed.
        primary: Copy,
        /// In the set.
        n: usize,
        /// Acknowledging.
        k: usize,
        /// There.
        reached: usize,
        /// Needed.
        need: usize,
    },
    /// It acknowledged alone: only it can say what.
    Primary {
        /// Which.
        primary: Copy,
    },
    /// Of an asynchronous plan: nobody was near enough to the primary when that was heard last.
    Bound {
        /// The primary.
        primary: Copy,
    },
    /// Of an asynchronous plan: a standby that is in contact with the primary keeps it taking writes.
    Contact {
        /// The first that is not there.
        copy: Copy,
    },
    /// After the store was put back, every member must be there.
    Member {
        /// The first that is not.
        copy: Copy,
    },
}

/// Why the member that must be promoted cannot be. The next best may lack what it alone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Unusable {
    /// Nobody was recruited.
    #[error("nobody was recruited")]
    Nobody,
    /// It was once ordered to promote and never said what it did.
    #[error("{0} was ordered to promote before and never said what it did: its log is not known")]
    Tainted(Copy),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standbys { primary, n, k, reached, need } => {
                write!(f, "n={n}, k={k} under {primary}, reached {reached}, need {need}")
            }
            Self::Primary { primary } => {
                write!(f, "{primary} acknowledged alone: only it has all that it acknowledged")
            }
            Self::Bound { primary } => write!(
                f,
                "no standby is known to have been within the plan's loss bound when {primary} was \
                 heard last"
            ),
            Self::Contact { copy } => write!(
                f,
                "{copy} is not there: it may be in contact with the primary, and keep it taking writes"
            ),
            Self::Member { copy } => {
                write!(f, "the store was put back, so every member is needed: {copy} is missing")
            }
        }
    }
}

impl Obligation {
    /// Whether every commit acknowledged under it must be on one of these copies.
    ///
    /// # Errors
    /// [`Missing`] says what would do.
    pub fn covered_by(&self, there: &[Copy]) -> Result<(), Missing> {
        if there.contains(&self.primary) {
            return Ok(());
        }
        let (n, k) = (self.set.standbys().len(), usize::from(self.set.acks()));
        if k == 0 {
            return Err(Missing::Primary { primary: self.primary });
        }
        let reached = there.iter().filter(|copy| self.set.names(**copy)).count();
        // Any k that acknowledged a commit share a member with any n - k + 1.
        let need = n - k + 1;
        if reached >= need {
            Ok(())
        } else {
            Err(Missing::Standbys { primary: self.primary, n, k, reached, need })
        }
    }
}

impl Promise {
    /// Whether these copies cover everything that is owed.
    ///
    /// # Errors
    /// [`Missing`] of the first obligation that is not.
    pub fn covered_by(&self, there: &[Copy]) -> Result<(), Missing> {
        self.covered(there, self.forgiven.as_deref())
    }

    fn covered(&self, there: &[Copy], forgiven: Option<&[Copy]>) -> Result<(), Missing> {
        if self.unknown
            && let Some(copy) = self.copies.iter().find(|copy| !there.contains(copy))
        {
            return Err(Missing::Member { copy: *copy });
        }
        let owed = |obligation: &Obligation| match (obligation.covered_by(there), forgiven) {
            (Err(Missing::Primary { .. }), Some(forgiven)) => self.forgivable(there, forgiven),
            (covered, _) => covered,
        };
        self.obligations.iter().try_for_each(owed)
    }

    /// Whether what a primary acknowledged alone may be given up for these: one of them was near enough to
    /// it, and none is left that could keep it from fencing itself.
    fn forgivable(&self, there: &[Copy], forgiven: &[Copy]) -> Result<(), Missing> {
        let others = self.copies.iter().filter(|copy| copy.member != self.primary.member);
        match others.into_iter().find(|copy| !there.contains(copy)) {
            _ if !there.iter().any(|copy| forgiven.contains(copy)) => {
                Err(Missing::Bound { primary: self.primary })
            }
            Some(copy) => Err(Missing::Contact { copy: *copy }),
            None => Ok(()),
        }
    }

    /// Whether a failover right now would lose nothing, were the primary gone and these left; or, of an
    /// asynchronous plan, no more than it forgives to those who are near enough.
    ///
    /// # Errors
    /// [`Missing`], with the numbers that people are shown.
    pub fn safe_without_primary(
        &self,
        healthy: &[Copy],
        forgiven: Option<&[Copy]>,
    ) -> Result<(), Missing> {
        let left: Vec<Copy> = healthy.iter().copied().filter(|c| *c != self.primary).collect();
        self.covered(&left, forgiven)
    }

    /// Who must be promoted of those recruited: the newest history, then the longest log. Of equals
    /// the one preferred, else the lowest id.
    ///
    /// # Errors
    /// [`Refused`] when they do not cover, or when that one cannot be used.
    pub fn winner(&self, recruits: &[Recruit], prefer: Option<MemberId>) -> Result<Copy, Refused> {
        let there: Vec<Copy> = recruits.iter().map(|recruit| recruit.copy).collect();
        self.covered_by(&there).map_err(Refused::Uncovered)?;
        let rank = |r: &&Recruit| {
            (r.history, r.flushed, Some(r.copy.member) == prefer, std::cmp::Reverse(r.copy))
        };
        let first = recruits.iter().max_by_key(rank).map(|recruit| recruit.copy);
        let winner = first.ok_or(Refused::Unusable(Unusable::Nobody))?;
        if self.tainted.contains(&winner) {
            return Err(Refused::Unusable(Unusable::Tainted(winner)));
        }
        Ok(winner)
    }
}
