//! The world around a promise: a controller whose messages stay deliverable for ever (so that loss,
//! delay, repetition, reordering and a controller that dies between record and send are all in it),
//! members with logs that are told apart by content, sets that take effect late, crashes, lost disks.
//!
//! Not in it: the gate before a restarted primary opens, and what clients may read; cascades; reused
//! timeline numbers; `async` plans. Recruiting is the only way to stop a primary.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use evenkeel_core::id::{Incarnation, MemberId, Term};
use evenkeel_core::promise::{Copy, Phase, Position, Promise, Recruit, Set};

/// How much may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Members of the service, two or three.
    pub members: u32,
    /// Writes begun.
    pub writes: u8,
    /// Changes of the set by order.
    pub changes: u8,
    /// Recruitings.
    pub terms: u8,
    /// Restarts of members.
    pub crashes: u8,
    /// Disks lost.
    pub losses: u8,
}

/// A rule broken on purpose, by the hole it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// A change records the new set alone.
    OldSetForgotten,
    /// A set is confirmed without waiting for its standbys' flush.
    ConfirmedUnflushed,
    /// A set is confirmed while the old one still releases commits.
    ConfirmedEarly,
    /// Within a term any goal is taken, however old.
    LateGoalTaken,
    /// A confirmation of an earlier change is taken for the present one.
    AnyConfirmation,
    /// A promotion replaces what was owed.
    PromotionForgets,
    /// Recruits are ranked by position alone.
    LongestLogWins,
    /// A lost disk is made anew under its old name, its pledge forgotten.
    SameIncarnation,
    /// A recruited standby says its position and goes on following for a moment.
    PositionTooEarly,
    /// A member that restarts forgets what it pledged.
    PledgeForgotten,
    /// The controller's store is put back and believed.
    StorePutBack,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Want {
    /// With a promotion, or as a primary that goes on.
    Primary(Set, bool),
    Follow(Copy),
    Recruit,
}

/// What a log holds. A promotion is in the log, so that whoever has it has all before it; going on
/// after a false alarm leaves no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Entry {
    Write(u8),
    Promoted(Term),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Goal {
    to: Copy,
    version: (Term, u32),
    want: Want,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Role {
    /// Sets that may release commits: the newest first.
    Primary(Vec<Set>),
    Follow(Copy),
    /// It follows nobody, and says how far it got.
    Deaf,
    /// A primary that was stopped.
    Stopped,
    /// Its disk is new and empty.
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Member {
    copy: Copy,
    up: bool,
    pledged: Term,
    applied: (Term, u32),
    role: Role,
    log: Vec<Entry>,
    /// Deafness is on its way: the mutation of a position told too early.
    deafening: bool,
}

/// One state of everything.
#[derive(Clone, Debug, Hash)]
pub struct World {
    left: Bounds,
    mutation: Option<Mutation>,
    promise: Promise,
    /// An older record, for a store that is put back.
    older: Option<Promise>,
    goals: BTreeSet<Goal>,
    recruits: BTreeSet<(Term, Recruit)>,
    confirmed: BTreeSet<(Term, u32)>,
    members: Vec<Member>,
    acked: BTreeSet<u8>,
    written: u8,
}

impl World {
    /// A primary with every other member following it, in a set of one acknowledgement.
    pub fn new(bounds: Bounds, mutation: Option<Mutation>) -> Self {
        let copy = |n: u32| Copy { member: MemberId(n), incarnation: Incarnation(1) };
        let mut promise = Promise::alone(copy(1));
        let standbys: Vec<Copy> = (2..=bounds.members).map(copy).collect();
        standbys.iter().for_each(|standby| promise.admit(*standby));
        let set = Set::any(1, &standbys).expect("one of some");
        promise.change(set.clone()).expect("steady");
        assert!(promise.confirmed(Term(1), 1));
        let member = |n: u32| Member {
            copy: copy(n),
            up: true,
            pledged: Term(1),
            applied: (Term(1), 1),
            role: if n == 1 { Role::Primary(vec![set.clone()]) } else { Role::Follow(copy(1)) },
            log: Vec::new(),
            deafening: false,
        };
        Self {
            left: bounds,
            mutation,
            promise,
            older: None,
            goals: BTreeSet::new(),
            recruits: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            members: (1..=bounds.members).map(member).collect(),
            acked: BTreeSet::new(),
            written: 0,
        }
    }

    /// Tells states apart.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// What must never be, and is.
    pub fn broken(&self) -> Option<String> {
        if self.mutation.is_none() {
            self.promise.assert_sound();
        }
        let phase = self.promise.phase;
        let appointed = |m: &&Member| {
            m.copy == self.promise.primary
                && m.applied.0 == self.promise.term
                && matches!(m.role, Role::Primary(_))
        };
        if phase != Phase::Recruiting
            && let Some(primary) = self.members.iter().find(appointed)
            && let Some(write) = self.acked.iter().find(|write| !primary.has(**write))
        {
            return Some(format!("{} takes writes without write {write}", primary.copy));
        }
        self.wrong_winner()
    }

    /// Were any group of members recruited this instant and a promotion allowed: would it lose?
    fn wrong_winner(&self) -> Option<String> {
        let mut next = self.promise.clone();
        next.recruit();
        for group in 1_u32..1 << self.members.len() {
            let group: Vec<(Recruit, &Member)> = (0..)
                .zip(&self.members)
                .filter(|(n, member)| group >> n & 1 == 1 && member.role != Role::Empty)
                .map(|(_, member): (u32, &Member)| (member.recruit(), member))
                .collect();
            let recruits: Vec<Recruit> = group.iter().map(|(recruit, _)| *recruit).collect();
            let Ok(winner) = self.winner(&next, &recruits) else { continue };
            let Some((_, member)) = group.iter().find(|(recruit, _)| recruit.copy == winner) else {
                continue;
            };
            if let Some(write) = self.acked.iter().find(|write| !member.has(**write)) {
                return Some(format!("{winner} would be promoted without write {write}"));
            }
        }
        None
    }

    fn winner(&self, promise: &Promise, recruits: &[Recruit]) -> Result<Copy, ()> {
        let ranked: Vec<Recruit> = match self.is(Mutation::LongestLogWins) {
            true => recruits.iter().map(|r| Recruit { history: Term(1), ..*r }).collect(),
            false => recruits.to_vec(),
        };
        promise.winner(&ranked, None).map_err(drop)
    }

    /// Every state that can come next.
    pub fn successors(&self) -> Vec<Self> {
        let mut next = Vec::new();
        self.controller_acts(&mut next);
        self.goals_arrive(&mut next);
        self.servers_run(&mut next);
        self.misfortunes(&mut next);
        next
    }

    fn with(&self, next: &mut Vec<Self>, change: impl FnOnce(&mut Self)) {
        let mut world = self.clone();
        change(&mut world);
        next.push(world);
    }

    fn send(&mut self) {
        let version = (self.promise.term, self.promise.change);
        for member in &self.members {
            let want = match self.promise.phase {
                Phase::Recruiting => Want::Recruit,
                _ if member.copy == self.promise.primary => {
                    Want::Primary(self.promise.set.clone(), self.promise.promoted)
                }
                _ => Want::Follow(self.promise.primary),
            };
            self.goals.insert(Goal { to: member.copy, version, want });
        }
    }

    fn controller_acts(&self, next: &mut Vec<Self>) {
        if self.left.changes > 0 && self.promise.phase != Phase::Recruiting {
            for set in self.sets() {
                self.with(next, |world| {
                    if world.promise.change(set).is_ok() {
                        world.left.changes -= 1;
                        if world.is(Mutation::OldSetForgotten) {
                            world.promise.obligations.drain(..world.promise.obligations.len() - 1);
                        }
                        world.send();
                    }
                });
            }
        }
        if self.left.terms > 0 {
            self.with(next, |world| {
                if world.is(Mutation::StorePutBack) && world.older.is_none() {
                    world.older = Some(world.promise.clone());
                }
                world.left.terms -= 1;
                world.promise.recruit();
                world.send();
            });
        }
        if self.is(Mutation::StorePutBack) && self.left.changes == 0 && self.left.terms > 0 {
            // The record from before the last change, under a term above all that was seen.
            self.with(next, |world| {
                let standbys = [Copy { member: MemberId(2), incarnation: Incarnation(1) }];
                let set = Set::any(1, &standbys).expect("one");
                world.promise.obligations.truncate(1);
                world.promise.obligations[0].set = set.clone();
                (world.promise.set, world.promise.phase) = (set, Phase::Steady);
            });
        }
        for (term, change) in &self.confirmed {
            self.with(next, |world| {
                let change = match world.is(Mutation::AnyConfirmation) {
                    true if *term == world.promise.term => world.promise.change,
                    _ => *change,
                };
                world.promise.confirmed(*term, change);
            });
        }
        self.promotions(next);
        let primary = self.members.iter().find(|member| member.copy == self.promise.primary);
        let runs = |m: &Member| matches!(m.role, Role::Primary(_)) && m.pledged < self.promise.term;
        if primary.is_some_and(|member| member.up && runs(member)) {
            self.with(next, |world| {
                if world.promise.reappoint().is_ok() {
                    world.send();
                }
            });
        }
    }

    /// Sets that may be wanted: nobody, one of any standbys.
    fn sets(&self) -> Vec<Set> {
        let primary = self.promise.primary;
        let standbys: Vec<Copy> =
            self.promise.copies.iter().copied().filter(|copy| *copy != primary).collect();
        let mut sets = vec![Set::nobody()];
        for group in 1_u32..1 << standbys.len() {
            let chosen = |(n, copy): (usize, &Copy)| (group >> n & 1 == 1).then_some(*copy);
            let group: Vec<Copy> = standbys.iter().enumerate().filter_map(chosen).collect();
            sets.extend(
                (1..=group.len())
                    .filter_map(|acks| Set::any(u8::try_from(acks).expect("few"), &group).ok()),
            );
        }
        sets
    }

    fn promotions(&self, next: &mut Vec<Self>) {
        if self.promise.phase != Phase::Recruiting {
            return;
        }
        let term = self.promise.term;
        let said: Vec<Recruit> =
            self.recruits.iter().filter(|(of, _)| *of == term).map(|(_, r)| *r).collect();
        for group in 1_u32..1 << said.len() {
            let chosen = |(n, r): (usize, &Recruit)| (group >> n & 1 == 1).then_some(*r);
            let group: Vec<Recruit> = said.iter().enumerate().filter_map(chosen).collect();
            let Ok(winner) = self.winner(&self.promise, &group) else { continue };
            let others: Vec<Copy> =
                group.iter().map(|r| r.copy).filter(|copy| *copy != winner).collect();
            let acks = u8::from(!others.is_empty());
            let set = Set::any(acks, &others).expect("one of some");
            self.with(next, |world| {
                let rank = |r: &Recruit| Recruit { history: Term(1), ..*r };
                let group: Vec<Recruit> = match world.is(Mutation::LongestLogWins) {
                    true => group.iter().map(rank).collect(),
                    false => group,
                };
                if world.promise.promote(&group, None, set).is_ok() {
                    if world.is(Mutation::PromotionForgets) {
                        world.promise.obligations.drain(..world.promise.obligations.len() - 1);
                    }
                    world.send();
                }
            });
        }
    }

    fn goals_arrive(&self, next: &mut Vec<Self>) {
        for goal in &self.goals {
            for (at, member) in self.members.iter().enumerate() {
                let newer = goal.version > member.applied
                    || self.is(Mutation::LateGoalTaken)
                        && goal.version.0 == member.applied.0
                        && goal.version != member.applied;
                let taken = goal.to == member.copy
                    && member.up
                    && goal.version.0 >= member.pledged
                    && newer
                    && !member.deafening;
                if taken {
                    self.with(next, |world| world.take(at, goal));
                }
            }
        }
    }

    fn take(&mut self, at: usize, goal: &Goal) {
        let early = self.is(Mutation::PositionTooEarly);
        let compatible = |world: &Self, upstream: Copy| {
            let upstream = world.members.iter().find(|m| m.copy == upstream);
            upstream.is_some_and(|up| up.log.starts_with(&world.members[at].log))
        };
        let follows = matches!(&goal.want, Want::Follow(up) if compatible(self, *up));
        let member = &mut self.members[at];
        (member.pledged, member.applied) = (goal.version.0, goal.version);
        match (&goal.want, &mut member.role) {
            (_, Role::Empty) => {}
            (Want::Primary(set, _), Role::Primary(sets)) => sets.insert(0, set.clone()),
            (Want::Primary(set, promoted), role) => {
                if *promoted {
                    member.log.push(Entry::Promoted(goal.version.0));
                }
                *role = Role::Primary(vec![set.clone()]);
                self.promise.told(goal.to);
            }
            (Want::Recruit, Role::Primary(_) | Role::Stopped) => {
                member.role = Role::Stopped;
                let said = member.recruit();
                self.recruits.insert((goal.version.0, said));
            }
            (Want::Recruit, role) => {
                member.deafening = early && matches!(role, Role::Follow(_));
                if !member.deafening {
                    *role = Role::Deaf;
                }
                let said = member.recruit();
                self.recruits.insert((goal.version.0, said));
            }
            // One that ran ahead waits to be rewound, which is not in this world.
            (Want::Follow(_), Role::Primary(_)) => member.role = Role::Stopped,
            (Want::Follow(up), role) if follows => *role = Role::Follow(*up),
            (Want::Follow(_), _) => {}
        }
    }

    fn servers_run(&self, next: &mut Vec<Self>) {
        for (at, member) in self.members.iter().enumerate().filter(|(_, m)| m.up) {
            if member.deafening {
                self.with(next, |world| {
                    (world.members[at].deafening, world.members[at].role) = (false, Role::Deaf);
                });
            }
            match &member.role {
                Role::Primary(sets) => self.primary_runs(at, sets, next),
                Role::Follow(upstream) => {
                    let from = self.members.iter().find(|m| m.copy == *upstream && m.up);
                    let sends = |m: &&Member| {
                        matches!(m.role, Role::Primary(_)) && m.log.starts_with(&member.log)
                    };
                    if let Some(entry) =
                        from.filter(sends).and_then(|m| m.log.get(member.log.len()))
                    {
                        self.with(next, |world| world.members[at].log.push(*entry));
                    }
                }
                Role::Deaf | Role::Stopped | Role::Empty => {}
            }
        }
    }

    fn primary_runs(&self, at: usize, sets: &[Set], next: &mut Vec<Self>) {
        let primary = &self.members[at];
        if self.left.writes > 0 {
            self.with(next, |world| {
                world.left.writes -= 1;
                world.written += 1;
                let write = world.written;
                world.members[at].log.push(Entry::Write(write));
            });
        }
        // A standby's flush of a commit is known while it follows.
        let has = |copy: &Copy, length: usize| {
            self.members.iter().any(|m| {
                m.copy == *copy
                    && m.role == Role::Follow(primary.copy)
                    && m.log.len() >= length
                    && primary.log.starts_with(&m.log[..length])
            })
        };
        let flushed = |set: &Set, length: usize| {
            let there = set.standbys().iter().filter(|copy| has(copy, length)).count();
            there >= usize::from(set.acks())
        };
        for (n, entry) in primary.log.iter().enumerate() {
            let Entry::Write(write) = entry else { continue };
            if !self.acked.contains(write) && sets.iter().any(|set| flushed(set, n + 1)) {
                self.with(next, |world| {
                    world.acked.insert(*write);
                });
            }
        }
        if sets.len() > 1 {
            self.with(next, |world| {
                if let Role::Primary(sets) = &mut world.members[at].role {
                    sets.truncate(1);
                }
            });
        }
        let in_force = sets.len() == 1 || self.is(Mutation::ConfirmedEarly);
        let all = self.is(Mutation::ConfirmedUnflushed) || flushed(&sets[0], primary.log.len());
        if in_force && all && !self.confirmed.contains(&primary.applied) {
            self.with(next, |world| {
                world.confirmed.insert(primary.applied);
            });
        }
    }

    fn misfortunes(&self, next: &mut Vec<Self>) {
        for at in 0..self.members.len() {
            if self.members[at].up && self.left.crashes > 0 {
                self.with(next, |world| {
                    world.left.crashes -= 1;
                    world.members[at].up = false;
                });
            }
            if !self.members[at].up {
                self.with(next, |world| world.restart(at));
            }
            if self.left.losses > 0 {
                self.with(next, |world| world.lose_disk(at));
            }
            self.remade(at, next);
        }
    }

    fn restart(&mut self, at: usize) {
        let forgets = self.is(Mutation::PledgeForgotten);
        let primary = self.promise.primary;
        let member = &mut self.members[at];
        member.up = true;
        if let Role::Primary(sets) = &mut member.role {
            // The settings file decides.
            sets.truncate(1);
        }
        if forgets && member.role == Role::Deaf {
            member.role = Role::Follow(primary);
            member.pledged = Term(1);
        }
    }

    fn lose_disk(&mut self, at: usize) {
        self.left.losses -= 1;
        let same = self.is(Mutation::SameIncarnation);
        let member = &mut self.members[at];
        member.role = Role::Empty;
        member.log.clear();
        if same {
            (member.pledged, member.applied) = (Term(1), (Term(1), 0));
        } else {
            member.copy.incarnation = member.copy.incarnation.next();
            (member.pledged, member.applied) = (Term(0), (Term(0), 0));
        }
    }

    /// An empty disk is filled from a primary that runs.
    fn remade(&self, at: usize, next: &mut Vec<Self>) {
        let member = &self.members[at];
        if member.role != Role::Empty {
            return;
        }
        for from in self.members.iter().filter(|m| m.up && matches!(m.role, Role::Primary(_))) {
            self.with(next, |world| {
                let copy = world.members[at].copy;
                world.members[at].log.clone_from(&from.log);
                world.members[at].role = Role::Follow(from.copy);
                if !world.promise.copies.contains(&copy) {
                    world.promise.admit(copy);
                }
            });
        }
    }
}

impl Member {
    fn has(&self, write: u8) -> bool {
        self.log.contains(&Entry::Write(write))
    }

    /// Term of the newest promotion in its log.
    fn history(&self) -> Term {
        let promoted = self.log.iter().rev().find_map(|entry| match entry {
            Entry::Promoted(term) => Some(*term),
            Entry::Write(_) => None,
        });
        promoted.unwrap_or(Term(1))
    }

    fn recruit(&self) -> Recruit {
        // A primary has all it ever acknowledged, and so does its log.
        let flushed = Position(self.log.len() as u64);
        Recruit { copy: self.copy, history: self.history(), flushed }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promise = &self.promise;
        write!(f, "{}/{} {:?}", promise.term, promise.change, promise.phase)?;
        for owed in &promise.obligations {
            write!(f, ", owed {} with {}", owed.primary, owed.set)?;
        }
        for member in &self.members {
            let role = match &member.role {
                Role::Primary(sets) => {
                    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
                    format!("primary with {}", sets.join(" or "))
                }
                Role::Follow(copy) => format!("follows {copy}"),
                other => format!("{other:?}").to_lowercase(),
            };
            let up = if member.up { "" } else { " (down)" };
            let (copy, (term, change)) = (member.copy, member.applied);
            write!(f, "; {copy}{up} {role}, at {term}/{change}, has {:?}", member.log)?;
        }
        write!(f, "; acknowledged {:?}", self.acked)
    }
}
