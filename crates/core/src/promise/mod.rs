//! What may have been acknowledged to clients, and what it takes to lose none of it.
//!
//! The story: a commit is acknowledged when the primary has it and `acks` of a set of standbys do.
//! Under which primary and set that may have happened is an [`Obligation`], recorded before it can.
//! A failover first recruits members: each stops following and then says how far it got. Those
//! recruited *cover* an obligation when every acknowledged commit under it must be on one of them, and
//! a promotion is allowed when every obligation is covered. Nothing here is a timeout.
//!
//! Invariants:
//! - every set that may be in force in any database of the primary is an obligation;
//! - in [`Phase::Steady`] there is one obligation: the primary's own;
//! - a copy without its incarnation counts for nothing: a directory made anew covers nothing.
//!
//! It knows nothing of goals, agents or servers: the cell turns this record into goals, agents prove
//! what they did, and [`crate::goal::accept`] orders what arrives.

mod coverage;
mod set;

use serde::{Deserialize, Serialize};

pub use coverage::{Missing, Recruit, Unusable};
pub use set::{BadPosition, BadSet, Copy, Position, Set};

use crate::id::{MemberId, Term};

/// Where a service's promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// One set, proven in force.
    Steady,
    /// A set was recorded and is not proven in force: those before it may be.
    Changing,
    /// Members are being recruited for this term; nobody is its primary yet.
    Recruiting,
}

/// A primary and a set under which commits may have been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Obligation {
    /// The primary.
    pub primary: Copy,
    /// Its standbys, and how many of them must have had the commit.
    pub set: Set,
}

/// The record of one service's promise. Stored with the service, before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// Grows with each recruiting.
    pub term: Term,
    /// Counts what was wanted of the primary's set within the term. A confirmation names it: one of an
    /// earlier change proves nothing about this one.
    pub change: u32,
    /// Who takes writes; while recruiting, who did last.
    pub primary: Copy,
    /// What is wanted in force.
    pub set: Set,
    /// Where it stands.
    pub phase: Phase,
    /// Under which primaries and sets anything may have been acknowledged.
    pub obligations: Vec<Obligation>,
    /// The store was put back to an older state: there may be obligations it does not know.
    pub unknown: bool,
    /// Whether a promotion was recorded in this term: from then on there is no way back to the primary
    /// before it, only on.
    pub promoted: bool,
    /// Copies that were ordered to promote and have not said what they did. They may have written a
    /// timeline that nobody knows of.
    pub tainted: Vec<Copy>,
    /// The newest copy of every member there ever was and that was not taken out by order.
    pub copies: Vec<Copy>,
    /// Of an asynchronous plan, once its primary was given up: who may take its place though it may lack
    /// what was acknowledged last. They were within the plan's bound when the primary was heard last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgiven: Option<Vec<Copy>>,
}

/// Why a step of the protocol is not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The record is in another phase.
    #[error("not while it is {0:?}")]
    Phase(Phase),
    /// A set that names its own primary, a copy that is gone or replaced, or a tainted one.
    #[error("{0} cannot be in the set: it is not a standby whose log is known")]
    NotAStandby(Copy),
    /// Those recruited do not cover every obligation.
    #[error("{0}")]
    Uncovered(Missing),
    /// The member that must be promoted cannot be; another never takes its place.
    #[error("{0}")]
    Unusable(Unusable),
    /// A promotion was recorded in this term.
    #[error("a promotion was recorded in this term: it goes on, not back")]
    NoWayBack,
    /// The store was put back: what it does not know cannot be ruled out.
    #[error("the store was put back to an older state; what was promised since is not known")]
    Unknown,
}

impl Promise {
    /// A new service's: a primary alone.
    #[must_use]
    pub fn alone(primary: Copy) -> Self {
        let obligation = Obligation { primary, set: Set::nobody() };
        Self {
            term: Term(1),
            change: 0,
            primary,
            set: Set::nobody(),
            phase: Phase::Steady,
            obligations: vec![obligation],
            unknown: false,
            promoted: false,
            tainted: Vec::new(),
            copies: vec![primary],
            forgiven: None,
        }
    }

    /// Takes a new member's copy in, or a member's new copy in place of its old one. It covers nothing
    /// until a set names it and that set is confirmed.
    pub fn admit(&mut self, copy: Copy) {
        self.copies.retain(|known| known.member != copy.member);
        self.tainted.retain(|tainted| tainted.member != copy.member);
        self.copies.push(copy);
        self.copies.sort_unstable();
    }

    /// Takes a member out that was removed by order.
    pub fn dismiss(&mut self, member: MemberId) {
        self.copies.retain(|known| known.member != member);
        self.tainted.retain(|tainted| tainted.member != member);
    }

    /// Wants another set in force. The old one stays an obligation until the new one is confirmed.
    ///
    /// # Errors
    /// [`Refused`] while recruiting, or when the set names who cannot acknowledge.
    pub fn change(&mut self, set: Set) -> Result<(), Refused> {
        if self.phase == Phase::Recruiting {
            return Err(Refused::Phase(self.phase));
        }
        self.fit(self.primary, &set)?;
        self.oblige(set);
        Ok(())
    }

    /// The primary proved: the set of this term and change is in force everywhere in it, and `acks` of
    /// its standbys have everything flushed that was written before. True if that is news.
    pub fn confirmed(&mut self, term: Term, change: u32) -> bool {
        let current = (term, change) == (self.term, self.change);
        if !current || self.phase != Phase::Changing {
            return false;
        }
        self.obligations = vec![Obligation { primary: self.primary, set: self.set.clone() }];
        (self.phase, self.forgiven) = (Phase::Steady, None);
        true
    }

    /// Begins a new term: members are to be recruited for it. What was promised stays owed.
    pub fn recruit(&mut self) {
        self.term = self.term.next();
        (self.change, self.promoted, self.phase) = (0, false, Phase::Recruiting);
    }

    /// Notes who may take the primary's place at the cost that an asynchronous plan allows.
    pub fn forgive(&mut self, copies: Vec<Copy>) {
        self.forgiven = Some(copies);
    }

    /// Promotes the one that must be, of those recruited in this term; of equals the one preferred.
    ///
    /// # Errors
    /// [`Refused`]: not recruiting, not covered, or the winner cannot be used.
    pub fn promote(
        &mut self,
        recruits: &[Recruit],
        prefer: Option<MemberId>,
        set: Set,
    ) -> Result<Copy, Refused> {
        if self.phase != Phase::Recruiting {
            return Err(Refused::Phase(self.phase));
        }
        let winner = self.winner(recruits, prefer)?;
        self.fit(winner, &set)?;
        (self.primary, self.promoted) = (winner, true);
        self.tainted.push(winner);
        self.oblige(set);
        Ok(winner)
    }

    /// A promoted copy said what it did: its log is known again.
    pub fn told(&mut self, copy: Copy) {
        self.tainted.retain(|tainted| *tainted != copy);
    }

    /// A false alarm: the primary runs as one and was never stopped for this term. It goes on in a newer
    /// one, with the same set, without a promotion.
    ///
    /// # Errors
    /// [`Refused`] when it is not recruiting, a promotion was recorded, or the record may be too old.
    pub fn reappoint(&mut self) -> Result<(), Refused> {
        if self.phase != Phase::Recruiting {
            return Err(Refused::Phase(self.phase));
        }
        if self.promoted {
            return Err(Refused::NoWayBack);
        }
        if self.unknown {
            return Err(Refused::Unknown);
        }
        (self.term, self.forgiven) = (self.term.next(), None);
        self.oblige(self.set.clone());
        Ok(())
    }

    /// Whether a copy may be rewound or made anew: what it alone may hold is owed to nobody.
    #[must_use]
    pub fn may_be_remade(&self, copy: Copy) -> bool {
        let owed = |o: &Obligation| o.primary == copy || o.set.names(copy);
        self.phase == Phase::Steady && !self.unknown && !self.obligations.iter().any(owed)
    }

    /// Records what is wanted beside what may be in force.
    fn oblige(&mut self, set: Set) {
        let obligation = Obligation { primary: self.primary, set: set.clone() };
        if !self.obligations.contains(&obligation) {
            self.obligations.push(obligation);
        }
        (self.set, self.phase) = (set, Phase::Changing);
        self.change += 1;
    }

    /// Whether a set fits a primary.
    fn fit(&self, primary: Copy, set: &Set) -> Result<(), Refused> {
        let bad = |copy: &&Copy| {
            copy.member == primary.member
                || !self.copies.contains(copy)
                || self.tainted.contains(copy)
        };
        match set.standbys().iter().find(bad) {
            Some(copy) => Err(Refused::NotAStandby(*copy)),
            None => Ok(()),
        }
    }

    /// Panics when the record breaks what must hold of every record.
    ///
    /// # Panics
    /// A broken invariant is a mistake in this crate; going on would risk acknowledged writes.
    pub fn assert_sound(&self) {
        let own = Obligation { primary: self.primary, set: self.set.clone() };
        match self.phase {
            Phase::Steady => assert_eq!(self.obligations, [own], "steady owes what is in force"),
            Phase::Changing => assert!(self.obligations.contains(&own), "what is wanted is owed"),
            Phase::Recruiting => assert!(!self.promoted, "recruiting ends with a promotion"),
        }
        assert!(!self.obligations.is_empty(), "something is always owed");
    }
}
