//! The contract of drivers whose servers replicate: a pair of members, through two changes of the
//! primary.

use super::{Clock, until};
use crate::driver::{Answer, Directory, Driver, Process, Receiver, Replication};
use crate::goal::{Follower, Goal, Role, StopMode, Upstream};
use crate::id::{Incarnation, Term};
use crate::promise::{Copy, Position, Set};

/// Moments for which what must not happen did not.
const WHILE: u32 = 100;

/// One of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The first primary.
    First,
    /// Its standby.
    Second,
}

/// Room for two members of one service, a driver for each, and a hand that does what drivers do not.
pub trait Pair: Clock {
    /// What is wanted of one: running, of incarnation 1, in term 1, with both among the service's
    /// members.
    fn goal(&self, who: Who) -> Goal;
    /// How a copy of one follows the other: as the one that is followed knows it, and as it does itself.
    fn following(&self, copy: Copy, of: &Goal) -> (Follower, Upstream);
    /// One's driver.
    fn driver(&mut self, who: Who) -> &mut dyn Driver;
    /// Stops every process of one's server by a signal, or has them go on.
    fn freeze(&mut self, who: Who, frozen: bool);
    /// Kills one's server.
    fn crash(&mut self, who: Who);
    /// A client begins to write a row at one; whether it was let in.
    fn begin_row(&mut self, who: Who) -> bool;
    /// How many of all rows that were begun were acknowledged.
    fn acknowledged(&mut self) -> u64;
    /// Rows that clients find at one that takes writes.
    fn rows(&mut self, who: Who) -> u64;
}

/// One chapter: it begins where the one before ended.
pub type Chapter = fn(&mut Play<'_>);

/// The script, chapter by chapter.
pub const REPLICATION: &[(&str, Chapter)] = &[
    ("clients of a primary with siblings are let in when they are told to be", opened),
    ("a standby is made from an upstream that knows it, and from no other", copied),
    ("a standby follows, and both say so", follows),
    ("a commit waits for the set in force, and a set is in force when it is proven", waits),
    (
        "a set of nobody lets those who wait go on; another is not in force before it answers",
        relaxed,
    ),
    ("a primary that died lets nobody in before its set has what it has", reopened),
    ("a recruit follows nobody, and says how far it got", recruited),
    (
        "a promotion has its term, keeps all that was acknowledged, and can be asked for again",
        promoted,
    ),
    ("a former primary follows, and what it alone had is counted", rejoined),
    ("who has all of the log of one that was stopped in order is past its end", handed_over),
];

/// Plays the whole script.
pub fn play_replication(pair: &mut dyn Pair, mut chapter: impl FnMut(&str)) {
    Play::new(pair).to(REPLICATION.len(), &mut chapter);
}

/// Chapters after which a commit waits for the second of the pair, which streams.
pub const SYNCHRONOUS: usize = 4;

/// The pair, and what is wanted of each now.
pub struct Play<'a> {
    pair: &'a mut dyn Pair,
    first: Goal,
    second: Goal,
}

impl Clock for Play<'_> {
    fn moment(&mut self) {
        self.pair.moment();
    }
}

impl<'a> Play<'a> {
    /// Before the first chapter.
    pub fn new(pair: &'a mut dyn Pair) -> Self {
        let (first, second) = (pair.goal(Who::First), pair.goal(Who::Second));
        Self { pair, first, second }
    }

    /// Plays so many chapters.
    pub fn to(&mut self, chapters: usize, mut chapter: impl FnMut(&str)) {
        for (name, act) in &REPLICATION[..chapters] {
            chapter(name);
            act(self);
        }
    }

    /// The pair.
    pub fn pair(&mut self) -> &mut dyn Pair {
        self.pair
    }

    /// What is wanted of one now.
    #[must_use]
    pub fn goal(&self, who: Who) -> Goal {
        match who {
            Who::First => self.first.clone(),
            Who::Second => self.second.clone(),
        }
    }

    /// Calls one's driver with what is wanted of it.
    pub fn call<T>(&mut self, who: Who, call: impl FnOnce(&mut dyn Driver, &Goal) -> T) -> T {
        let goal = self.goal(who);
        call(self.pair.driver(who), &goal)
    }

    /// From now on something else is wanted of one, which its server is told.
    fn want(&mut self, who: Who, change: impl FnOnce(&mut Goal)) {
        let goal = match who {
            Who::First => &mut self.first,
            Who::Second => &mut self.second,
        };
        change(goal);
        goal.revision.0 += 1;
        self.call(who, |driver, goal| driver.configure(goal)).expect("configured");
    }

    /// A primary's part: whether commits wait for the other, who may follow in any case.
    pub fn leads(&mut self, who: Who, waits: bool, term: u32) {
        let other = self.goal(other(who)).copy();
        let (follower, _) = self.pair.following(other, &self.goal(who));
        let set = if waits { Set::any(1, &[other]).expect("a set of one") } else { Set::nobody() };
        self.want(who, |goal| {
            let before = match &goal.role {
                Role::Primary { change, .. } if goal.term == Term(term) => *change,
                _ => 0,
            };
            goal.term = Term(term);
            goal.role = Role::Primary { set, change: before + 1, followers: vec![follower] };
        });
    }

    fn upstream_for(&self, who: Who) -> Role {
        let (_, upstream) = self.pair.following(self.goal(who).copy(), &self.goal(other(who)));
        Role::Standby { upstream }
    }

    fn said(&mut self, who: Who) -> Replication {
        self.call(who, |driver, goal| driver.replication(goal)).expect("it says so")
    }

    fn start(&mut self, who: Who, answer: Answer) {
        self.call(who, |driver, goal| driver.start(goal)).expect("started");
        until(self, "it answers as it should", |play| {
            play.call(who, |driver, goal| driver.probe(goal, false)) == answer
        });
    }

    fn until_streaming(&mut self, from: Who) {
        let follower = self.goal(other(from)).copy();
        until(self, "it streams", |play| play.said(other(from)).receiver == Receiver::Streaming);
        until(self, "its upstream says so too", |play| {
            play.said(from).senders.iter().any(|s| s.copy == follower && s.streaming)
        });
    }

    /// Waits until one's set is proven in force.
    pub fn until_in_force(&mut self, who: Who) {
        until(self, "its set is in force", |play| play.in_force(who));
    }

    /// Whether one's set is proven in force.
    pub fn in_force(&mut self, who: Who) -> bool {
        self.call(who, |driver, goal| driver.confirm(goal)).expect("it can be asked")
    }

    /// A row is written and acknowledged.
    pub fn row(&mut self, who: Who) {
        let before = self.pair.acknowledged();
        assert!(self.pair.begin_row(who), "clients are let in");
        until(self, "it is acknowledged", |play| play.pair.acknowledged() == before + 1);
    }

    /// For a while it is not so.
    pub fn never(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..WHILE {
            assert!(!so(self), "{what}");
            self.moment();
        }
    }

    /// A row is begun and not acknowledged.
    pub fn waiting_row(&mut self, who: Who) {
        let before = self.pair.acknowledged();
        assert!(self.pair.begin_row(who), "clients are let in");
        self.never("acknowledged by nobody it waits for", |play| play.pair.acknowledged() > before);
    }
}

const fn other(who: Who) -> Who {
    match who {
        Who::First => Who::Second,
        Who::Second => Who::First,
    }
}

fn opened(play: &mut Play<'_>) {
    play.call(Who::First, |driver, goal| driver.initialize(goal)).expect("initialised");
    play.want(Who::First, |_| ());
    play.start(Who::First, Answer::Accepting);
    play.call(Who::First, |driver, goal| driver.prepare(goal)).expect("prepared");
    assert!(!play.pair.begin_row(Who::First), "nobody said that clients are let in");
    for _again in 0..2 {
        let open = play.call(Who::First, |driver, goal| driver.open(goal));
        assert_eq!(open, Ok(true), "it waits for nobody");
    }
    until(play, "clients are let in", |play| play.pair.begin_row(Who::First));
    until(play, "it is acknowledged", |play| play.pair.acknowledged() == 1);
    let said = play.said(Who::First);
    assert_eq!((said.recovering, said.history, said.receiver), (false, Term(0), Receiver::None));
    assert!(said.senders.is_empty());
}

fn copied(play: &mut Play<'_>) {
    play.second.role = play.upstream_for(Who::Second);
    let made = play.call(Who::Second, |driver, goal| driver.initialize(goal));
    made.expect_err("its upstream does not know it");
    play.call(Who::Second, |driver, goal| driver.discard(goal)).expect("only half made");
    play.leads(Who::First, false, 1);
    play.call(Who::First, |driver, goal| driver.prepare(goal)).expect("prepared");
    for _again in 0..2 {
        play.call(Who::Second, |driver, goal| driver.initialize(goal)).expect("made");
        let there = play.call(Who::Second, |driver, goal| driver.directory(goal));
        assert_eq!(there, Ok(Directory::Complete { incarnation: Incarnation(1) }));
    }
}

fn follows(play: &mut Play<'_>) {
    play.want(Who::Second, |_| ());
    play.start(Who::Second, Answer::Following);
    play.until_streaming(Who::First);
    play.row(Who::First);
    let end = play.said(Who::First).flushed;
    until(play, "it has all there is", |play| play.said(Who::Second).flushed >= end);
    let said = play.said(Who::Second);
    assert_eq!((said.recovering, said.history), (true, Term(0)));
    assert!(said.senders.is_empty());
    assert!(!play.pair.begin_row(Who::Second), "it takes no writes");
}

fn waits(play: &mut Play<'_>) {
    play.until_in_force(Who::First);
    play.leads(Who::First, true, 1);
    play.until_in_force(Who::First);
    play.row(Who::First);
    play.pair.freeze(Who::Second, true);
    play.waiting_row(Who::First);
    let before = play.pair.acknowledged();
    play.pair.freeze(Who::Second, false);
    until(play, "its standby has it", |play| play.pair.acknowledged() == before + 1);
}

fn relaxed(play: &mut Play<'_>) {
    play.pair.freeze(Who::Second, true);
    play.waiting_row(Who::First);
    let before = play.pair.acknowledged();
    play.leads(Who::First, false, 1);
    until(play, "nobody is waited for", |play| play.pair.acknowledged() == before + 1);
    play.until_in_force(Who::First);
    play.row(Who::First);
    play.leads(Who::First, true, 1);
    play.never("in force without an answer", |play| play.in_force(Who::First));
    play.pair.freeze(Who::Second, false);
    play.until_in_force(Who::First);
    play.row(Who::First);
}

fn reopened(play: &mut Play<'_>) {
    play.pair.freeze(Who::Second, true);
    play.pair.crash(Who::First);
    play.call(Who::First, |driver, goal| driver.kill(goal)).expect("nothing is left");
    let end = play.call(Who::First, |driver, goal| driver.end_of_log(goal));
    assert_eq!(end, Ok(None), "nobody knows where its log ends");
    play.call(Who::First, |driver, goal| driver.configure(goal)).expect("configured");
    play.start(Who::First, Answer::Accepting);
    play.never("clients are let in", |play| {
        play.call(Who::First, |driver, goal| driver.open(goal)) != Ok(false)
            || play.pair.begin_row(Who::First)
    });
    play.pair.freeze(Who::Second, false);
    until(play, "its standby has what it began with", |play| {
        play.call(Who::First, |driver, goal| driver.open(goal)) == Ok(true)
    });
    play.until_in_force(Who::First);
    play.row(Who::First);
}

fn recruited(play: &mut Play<'_>) {
    play.want(Who::Second, |goal| (goal.term, goal.role) = (Term(2), Role::Recruit));
    until(play, "it follows nobody", |play| {
        let said = play.said(Who::Second);
        said.receiver == Receiver::None && said.replayed
    });
    let reached = play.said(Who::Second).flushed;
    play.waiting_row(Who::First);
    let said = play.said(Who::Second);
    assert_eq!((said.recovering, said.receiver), (true, Receiver::None));
    assert_eq!(said.flushed, reached, "it gets nothing more");
    assert!(play.said(Who::First).senders.is_empty(), "its upstream says so too");
}

fn promoted(play: &mut Play<'_>) {
    play.pair.crash(Who::First);
    play.call(Who::First, |driver, goal| driver.kill(goal)).expect("nothing is left");
    play.leads(Who::Second, false, 2);
    until(play, "it is promoted", |play| {
        play.call(Who::Second, |driver, goal| driver.promote(goal)).is_ok()
    });
    for _again in 0..2 {
        play.call(Who::Second, |driver, goal| driver.promote(goal)).expect("it is already");
        let said = play.said(Who::Second);
        assert_eq!((said.recovering, said.history), (false, Term(2)));
    }
    let open = play.call(Who::Second, |driver, goal| driver.open(goal));
    assert_eq!(open, Ok(true), "it waits for nobody");
    assert_eq!(play.call(Who::Second, |driver, goal| driver.probe(goal, true)), Answer::Writing);
    let acknowledged = play.pair.acknowledged();
    assert_eq!(
        play.pair.rows(Who::Second),
        acknowledged,
        "all that was acknowledged, and only that"
    );
    play.row(Who::Second);
}

fn rejoined(play: &mut Play<'_>) {
    (play.first.incarnation, play.first.term) = (Incarnation(2), Term(2));
    play.first.role = play.upstream_for(Who::First);
    play.leads(Who::Second, false, 2);
    play.call(Who::Second, |driver, goal| driver.prepare(goal)).expect("prepared");
    play.call(Who::First, |driver, goal| driver.start(goal))
        .expect_err("it is of another incarnation");
    let mut aside = 0;
    until(play, "it is made to follow", |play| {
        let done = play.call(Who::First, |driver, goal| driver.rejoin(goal));
        if let Err(error) = &done {
            let left = play.call(Who::First, |driver, goal| driver.directory(goal));
            let before = Directory::Complete { incarnation: Incarnation(1) };
            assert_eq!(left, Ok(before), "it may be tried again: {error}");
        }
        done.map(|bytes| aside = bytes).is_ok()
    });
    assert!(aside > 0, "it had a row that nobody acknowledged");
    let there = play.call(Who::First, |driver, goal| driver.directory(goal));
    assert_eq!(there, Ok(Directory::Complete { incarnation: Incarnation(2) }));
    play.want(Who::First, |_| ());
    play.start(Who::First, Answer::Following);
    play.until_streaming(Who::Second);
    until(play, "it has the other's history", |play| play.said(Who::First).history == Term(2));
    play.leads(Who::Second, true, 2);
    play.until_in_force(Who::Second);
    play.row(Who::Second);
}

fn handed_over(play: &mut Play<'_>) {
    let end = play.call(Who::Second, |driver, goal| driver.end_of_log(goal));
    assert_eq!(end, Ok(None), "it writes");
    play.call(Who::Second, |driver, goal| driver.stop(goal, StopMode::Fast)).expect("stopped");
    assert_eq!(play.call(Who::Second, |driver, goal| driver.process(goal)), Ok(Process::None));
    let end = play.call(Who::Second, |driver, goal| driver.end_of_log(goal));
    let Ok(Some(end)) = end else { panic!("it is known where its log ends: {end:?}") };
    assert!(end > Position(0));
    until(play, "its standby is past it", |play| play.said(Who::First).flushed >= end);
    play.want(Who::First, |goal| (goal.term, goal.role) = (Term(3), Role::Recruit));
    until(play, "it follows nobody", |play| play.said(Who::First).receiver == Receiver::None);
    play.leads(Who::First, false, 3);
    until(play, "it is promoted", |play| {
        play.call(Who::First, |driver, goal| driver.promote(goal)).is_ok()
    });
    assert_eq!(play.said(Who::First).history, Term(3));
    assert_eq!(play.call(Who::First, |driver, goal| driver.open(goal)), Ok(true));
    let before = play.pair.acknowledged();
    until(play, "clients are let in", |play| play.pair.begin_row(Who::First));
    until(play, "it is acknowledged", |play| play.pair.acknowledged() == before + 1);
    assert_eq!(play.pair.rows(Who::First), before + 1, "nothing acknowledged was lost");
}
