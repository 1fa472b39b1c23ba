//! The contract of drivers whose servers have an archive: one server, two repositories that are reached
//! or not, and members that are made from what is there.
//!
//! What is held here beside the calls themselves: one repository is enough to store; "it is not there"
//! and "it could not be asked for" are never the same answer; a restore ends exactly where it was told
//! to, or is an error.

use super::{Clock, until};
use crate::backup::job::{Backup, Done, Job, Missed, Proof, What};
use crate::backup::lineage::{Archive, BackupId, Seed, Target};
use crate::driver::{Answer, Archived, Directory, Driver, Error};
use crate::goal::{Goal, StopMode};
use crate::id::{Incarnation, MemberId, Term};
use crate::moment::Moment;
use crate::promise::Position;

/// Moments for which what must not happen did not.
const WHILE: u32 = 100;
/// An archiver that failed may rest until more log is there for it: that is made so often at most.
const ROUNDS_MAX: u32 = 20;
/// Moments that it is given to store it.
const ROUND: u32 = 1_000;
/// Words of whoever could not ask.
const UNASKED: &str = "cannot be asked";
/// Words of a restore whose log ends before its target.
const UNREACHED: &str = "before configured recovery target";

/// A row that a client wrote, and that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where its commit ends in the log.
    pub end: Position,
    /// A moment after its commit and before that of the next row.
    pub at: Moment,
}

/// Room for members of one host that archive, a driver for each, and a hand that does what drivers do
/// not.
pub trait Archives: Clock {
    /// What is wanted of a member: running, of incarnation 1, in term 1, on a port that nobody else has.
    /// It has no archive.
    fn goal(&self, member: u32) -> Goal;
    /// An archive in two repositories; of a lineage of its own for every number.
    fn archive(&self, number: u32) -> Archive;
    /// A member's driver.
    fn driver(&mut self, member: MemberId) -> &mut dyn Driver;
    /// A repository is reached, or is not; what is in it stays.
    fn reach(&mut self, repository: &str, reached: bool);
    /// A client writes a row.
    fn write_row(&mut self, goal: &Goal) -> Row;
    /// Rows that clients find.
    fn rows(&mut self, goal: &Goal) -> u64;
}

/// One chapter: it begins where the one before ended.
pub type Chapter = fn(&mut Ledger<'_>);

/// The script, chapter by chapter.
pub const ARCHIVES: &[(&str, Chapter)] = &[
    ("nothing is stored without an archive, and nothing is restored from an empty one", nothing),
    ("the log is archived as it is switched", switched),
    ("a backup is taken once, and says what it is of", backed_up),
    ("a restore ends exactly where it was told to, or is an error", restored),
    ("one repository is enough to store; what another missed is told, and copied later", missed),
    ("while none is reached the server goes on and keeps its log, and nothing is an end", away),
    ("when one is reached again all that waited is archived, without a gap", caught_up),
    ("who writes in a lower term than one that has begun is refused", outdated),
    ("a proof restores, and what expires is never the newest", expired),
    ("log that is given up leaves a hole, which no restore goes past", given_up),
    ("what was restored begins a lineage of its own", begun_anew),
    ("what a stopped server left is archived to its very end", last),
];

/// Plays the whole script.
pub fn play_archives(bench: &mut dyn Archives, mut chapter: impl FnMut(&str)) {
    let goal = bench.goal(1);
    let (rows, backups) = (Vec::new(), Vec::new());
    let mut ledger = Ledger { bench, goal, rows, backups, members: 1, jobs: 0 };
    for (name, act) in ARCHIVES {
        chapter(name);
        act(&mut ledger);
    }
}

/// A member that archives, and everything that clients wrote to it.
pub struct Ledger<'a> {
    bench: &'a mut dyn Archives,
    goal: Goal,
    rows: Vec<Row>,
    /// Backups that were taken, oldest first.
    backups: Vec<BackupId>,
    /// How many members there ever were.
    members: u32,
    /// How many jobs.
    jobs: u32,
}

impl Clock for Ledger<'_> {
    fn moment(&mut self) {
        self.bench.moment();
    }
}

impl Ledger<'_> {
    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Driver, &Goal) -> T) -> T {
        call(self.bench.driver(self.goal.member), &self.goal)
    }

    /// From now on something else is wanted, which the server is told.
    fn want(&mut self, change: impl FnOnce(&mut Goal)) {
        change(&mut self.goal);
        self.goal.revision.0 += 1;
        self.call(|driver, goal| driver.configure(goal)).expect("configured");
    }

    fn start(&mut self) {
        self.call(|driver, goal| driver.start(goal)).expect("started");
        until(self, "it takes connections", |ledger| {
            ledger.call(|driver, goal| driver.probe(goal, false)) == Answer::Accepting
        });
        self.call(|driver, goal| driver.prepare(goal)).expect("prepared");
        assert_eq!(self.call(|driver, goal| driver.probe(goal, true)), Answer::Writing);
    }

    fn archive(&self) -> Archive {
        self.goal.archive.as_deref().expect("it archives").clone()
    }

    fn repositories(&self) -> Vec<String> {
        self.archive().repositories.into_iter().map(|repository| repository.name).collect()
    }

    fn reach(&mut self, reached: bool) {
        for name in self.repositories() {
            self.bench.reach(&name, reached);
        }
    }

    fn write(&mut self) {
        self.bench.moment();
        let row = self.bench.write_row(&self.goal);
        self.rows.push(row);
    }

    fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    fn newest(&self) -> Row {
        *self.rows.last().expect("a row was written")
    }

    fn archived(&mut self) -> Archived {
        self.call(|driver, goal| driver.archived(goal)).expect("it is told")
    }

    /// Has everything archived that was written so far; whether it is already.
    fn flush(&mut self) -> bool {
        self.goal.flush += 1;
        self.flushed()
    }

    fn flushed(&mut self) -> bool {
        self.call(|driver, goal| driver.flush(goal)).expect("its segment is ended")
    }

    /// For a while not everything is archived.
    fn never_flushed(&mut self) {
        for _ in 0..WHILE {
            assert!(!self.flushed(), "nobody took it");
            self.moment();
        }
    }

    fn until_archived(&mut self) {
        for _ in 0..ROUNDS_MAX {
            // More log is there, though no row of a client's.
            assert_eq!(self.call(|driver, goal| driver.probe(goal, true)), Answer::Writing);
            let mut done = self.flush();
            for _ in 0..ROUND {
                if done {
                    return;
                }
                self.moment();
                done = self.flushed();
            }
        }
        panic!("what was written is never archived");
    }

    fn job(&mut self, what: What) -> Result<Done, Error> {
        self.jobs += 1;
        let job = Job { id: self.jobs, what };
        self.call(|driver, goal| driver.job(goal, &job))
    }

    fn backup(&mut self) -> Backup {
        match self.job(What::Backup { rate_max: 0 }) {
            Ok(Done::Backup(backup)) => {
                self.backups.push(backup.id);
                backup
            }
            other => panic!("a backup came to {other:?}"),
        }
    }

    fn prove(&mut self, seed: Seed) -> Proof {
        match self.job(What::Prove(Box::new(seed))) {
            Ok(Done::Proof(proof)) => proof,
            other => panic!("a proof came to {other:?}"),
        }
    }

    fn expire(&mut self, backup: BackupId) -> Result<Done, Error> {
        // Whoever asks for too much of the log gets no more than nobody needs.
        self.job(What::Expire { backups: vec![backup], before: Position(u64::MAX) })
    }

    fn seed(&self, target: Target) -> Seed {
        let owner = self.goal.owner().to_owned();
        Seed { archive: self.archive(), backup: None, target, owner, covered: false }
    }

    /// A member that was never there, to be made from a seed.
    fn made_from(&mut self, seed: Seed) -> Goal {
        self.members += 1;
        let term = Term(self.goal.term.0 + 16);
        Goal { seed: Some(Box::new(seed)), term, ..self.bench.goal(self.members) }
    }

    /// A member is made from a seed, serves, and has so many rows.
    fn gives(&mut self, seed: Seed, rows: u64) {
        let told = seed.target.to_string();
        let goal = self.made_from(seed);
        let driver = self.bench.driver(goal.member);
        for _again in 0..2 {
            driver.initialize(&goal).unwrap_or_else(|error| panic!("{told}: {error}"));
            let whole = Directory::Complete { incarnation: Incarnation(1) };
            assert_eq!(driver.directory(&goal), Ok(whole));
        }
        driver.configure(&goal).expect("configured");
        let (bench, members, jobs) = (&mut *self.bench, self.members, self.jobs);
        let (none, backups) = (Vec::new(), Vec::new());
        let mut made = Ledger { bench, goal, rows: none, backups, members, jobs };
        made.start();
        assert_eq!(made.bench.rows(&made.goal), rows, "up to {told}");
        let said = made.call(|driver, goal| driver.replication(goal)).expect("it says so");
        assert_eq!(said.history, Term(0), "nobody was promoted in the service that it is now");
        made.call(|driver, goal| driver.stop(goal, StopMode::Fast)).expect("stopped");
        made.call(|driver, goal| driver.remove(goal)).expect("removed");
    }

    /// No member is made from a seed, and the error has these words.
    fn refuses(&mut self, seed: Seed, words: &str) {
        let told = seed.target.to_string();
        let goal = self.made_from(seed);
        self.refused(&goal, &told, words);
    }

    fn refused(&mut self, goal: &Goal, told: &str, words: &str) {
        let driver = self.bench.driver(goal.member);
        let error = driver.initialize(goal).expect_err(told).to_string();
        assert!(error.contains(words), "{told}: {words:?} is expected, and it is: {error}");
        assert_eq!(driver.directory(goal), Ok(Directory::Partial));
        driver.discard(goal).expect("discarded");
    }
}

fn nothing(ledger: &mut Ledger<'_>) {
    let error = ledger.job(What::Backup { rate_max: 0 }).expect_err("it has no archive");
    assert!(error.to_string().contains("no archive"), "{error}");
    ledger.goal.archive = Some(Box::new(ledger.bench.archive(1)));
    ledger.call(|driver, goal| driver.archived(goal)).expect_err("there is no log");
    ledger.call(|driver, goal| driver.flush(goal)).expect_err("there is no server");
    let latest = || Target::Latest;
    ledger.refuses(ledger.seed(latest()), "has no backup");
    // What is not in one may be in the other.
    let names = ledger.repositories();
    ledger.bench.reach(&names[1], false);
    ledger.refuses(ledger.seed(latest()), UNASKED);
    ledger.bench.reach(&names[0], false);
    ledger.refuses(ledger.seed(latest()), UNASKED);
    ledger.reach(true);
}

fn switched(ledger: &mut Ledger<'_>) {
    ledger.call(|driver, goal| driver.initialize(goal)).expect("initialised");
    ledger.want(|_| ());
    ledger.start();
    ledger.write();
    ledger.until_archived();
    for _again in 0..2 {
        assert!(ledger.flushed(), "it was");
    }
    let said = ledger.archived();
    assert_eq!((said.pending_bytes, said.behind_since, said.trouble), (0, None, None));
    assert_eq!(said.missed, []);
    assert!(said.room.is_some_and(|room| 0 < room.free && room.free <= room.total));
}

fn backed_up(ledger: &mut Ledger<'_>) {
    ledger.write();
    let before = ledger.newest().end;
    let backup = ledger.backup();
    assert_eq!((backup.id, backup.timeline), (BackupId(ledger.jobs), 1));
    assert!(backup.begun <= backup.ended && backup.from <= backup.to, "{backup:?}");
    assert!(backup.to >= before, "what was acknowledged before is in it: {backup:?}");
    assert!(backup.bytes > 0 && backup.stored > 0, "{backup:?}");
    assert_eq!(backup.repositories, ledger.repositories());
    ledger.write();
    assert!(ledger.newest().end > backup.to, "what comes later is not");
    // Begun again, as after a crash of its agent: what is complete is not taken again.
    ledger.jobs -= 1;
    assert_eq!(ledger.backup(), backup);
    assert_eq!(ledger.goal.term, Term(1));
    let stale = Goal { term: Term(1), ..ledger.made_from(ledger.seed(Target::Latest)) };
    ledger.refused(&stale, "on a timeline that is another's", "its term is 1");
}

fn restored(ledger: &mut Ledger<'_>) {
    for _ in 0..3 {
        ledger.write();
        ledger.flush();
        ledger.write();
    }
    ledger.until_archived();
    let all = ledger.count();
    let [first, second] = [all - 3, all - 2];
    let row =
        |ledger: &Ledger<'_>, count: u64| ledger.rows[usize::try_from(count - 1).expect("small")];
    let position = Target::Position(row(ledger, first).end);
    ledger.gives(ledger.seed(position), first);
    let moment = Target::Moment(row(ledger, second).at);
    ledger.gives(ledger.seed(moment), second);
    // A moment after the last commit is reached if it is known that nothing was committed until then.
    let far = || Target::Moment("2100-01-01T00:00:00Z".parse().expect("a moment"));
    ledger.refuses(ledger.seed(far()), UNREACHED);
    ledger.gives(Seed { covered: true, ..ledger.seed(far()) }, all);
    for (target, words) in [
        (Target::Point("nowhere".to_owned()), UNREACHED),
        (Target::Position(Position(1)), "before its first backup"),
        (Target::Moment(Moment(1)), "before its first backup"),
    ] {
        // Whoever knows that the log goes on knows of moments only.
        ledger.refuses(Seed { covered: true, ..ledger.seed(target) }, words);
    }
    let other = Some(BackupId(1000));
    let latest = ledger.seed(Target::Latest);
    ledger.refuses(Seed { backup: other, ..latest.clone() }, "is not in repository");
    let names = ledger.repositories();
    ledger.bench.reach(&names[1], false);
    ledger.refuses(Seed { backup: other, ..latest.clone() }, UNASKED);
    let early = ledger.seed(Target::Position(Position(1)));
    ledger.refuses(early, UNASKED);
    // The log may go on in the one that is not reached.
    ledger.refuses(latest, UNASKED);
    ledger.bench.reach(&names[1], true);
}

fn missed(ledger: &mut Ledger<'_>) {
    let names = ledger.repositories();
    ledger.bench.reach(&names[1], false);
    ledger.write();
    ledger.until_archived();
    let missed = Missed { repository: names[1].clone(), over: false };
    let said = ledger.archived();
    assert_eq!((said.missed, said.pending_bytes, said.trouble), (vec![missed], 0, None));
    assert_eq!(ledger.backup().repositories, names[..1]);
    let error = ledger.job(What::Even).expect_err("it is not reached").to_string();
    assert!(error.contains(UNASKED), "{error}");
    ledger.bench.reach(&names[1], true);
    let evened = ledger.job(What::Even);
    assert!(matches!(evened, Ok(Done::Evened { objects }) if objects > 0), "{evened:?}");
    assert_eq!(ledger.archived().missed, []);
    assert_eq!(ledger.job(What::Even), Ok(Done::Evened { objects: 0 }));
    // Of the one that took everything nothing is left: the other is as good.
    ledger.bench.reach(&names[0], false);
    let mut seed = ledger.seed(Target::Latest);
    ledger.refuses(seed.clone(), UNASKED);
    seed.archive.repositories.remove(0);
    ledger.gives(seed, ledger.count());
    ledger.bench.reach(&names[0], true);
}

fn away(ledger: &mut Ledger<'_>) {
    ledger.until_archived();
    ledger.reach(false);
    for _ in 0..2 {
        ledger.write();
        assert!(!ledger.flush(), "nobody takes it");
        ledger.never_flushed();
    }
    let late = "what waits is told, with the reason, and when it does for long since when";
    until(ledger, late, |ledger| {
        let said = ledger.archived();
        said.pending_bytes > 0 && said.trouble.is_some() && said.behind_since.is_some()
    });
    assert_eq!(ledger.call(|driver, goal| driver.probe(goal, true)), Answer::Writing);
    ledger.write();
    let seed = Box::new(ledger.seed(Target::Latest));
    let position = Box::new(ledger.seed(Target::Position(ledger.rows[2].end)));
    for what in [What::Backup { rate_max: 0 }, What::Prove(seed.clone()), What::Even] {
        let name = what.name();
        let error = ledger.job(what).expect_err(name).to_string();
        assert!(error.contains(UNASKED), "{name}: {error}");
    }
    ledger.expire(BackupId(1)).expect_err("nothing is removed");
    ledger.refuses(*seed, UNASKED);
    ledger.refuses(*position, UNASKED);
}

fn caught_up(ledger: &mut Ledger<'_>) {
    let names = ledger.repositories();
    // One is enough.
    ledger.bench.reach(&names[0], true);
    ledger.until_archived();
    let said = ledger.archived();
    assert_eq!((said.pending_bytes, said.behind_since, said.trouble), (0, None, None));
    ledger.bench.reach(&names[1], true);
    ledger.gives(ledger.seed(Target::Latest), ledger.count());
    let evened = ledger.job(What::Even);
    assert!(matches!(evened, Ok(Done::Evened { objects }) if objects > 0), "{evened:?}");
}

fn outdated(ledger: &mut Ledger<'_>) {
    ledger.want(|goal| goal.term = Term(2));
    ledger.write();
    ledger.until_archived();
    ledger.want(|goal| goal.term = Term(1));
    ledger.write();
    assert!(!ledger.flush(), "a newer term has begun");
    until(ledger, "it is told why", |ledger| {
        ledger.archived().trouble.is_some_and(|why| why.contains("has begun"))
    });
    ledger.never_flushed();
    assert_eq!(ledger.call(|driver, goal| driver.probe(goal, true)), Answer::Writing);
    ledger.want(|goal| goal.term = Term(2));
    ledger.until_archived();
}

fn expired(ledger: &mut Ledger<'_>) {
    let older = ledger.backups[0];
    let newest = ledger.backup().id;
    ledger.until_archived();
    let proof = ledger.prove(ledger.seed(Target::Latest));
    assert_eq!((proof.backup, &proof.wrong[..]), (newest, &[][..]));
    assert!(proof.restore_ms > 0 && proof.relations > 0 && proof.canary.is_some(), "{proof:?}");
    let of = |ledger: &Ledger<'_>, id| Seed { backup: Some(id), ..ledger.seed(Target::Latest) };
    let error = ledger.expire(newest).expect_err("nothing would be left").to_string();
    assert!(error.contains("newest"), "{error}");
    let names = ledger.repositories();
    ledger.bench.reach(&names[1], false);
    let error = ledger.expire(older).expect_err("one is not reached").to_string();
    assert!(error.contains(UNASKED), "{error}");
    ledger.bench.reach(&names[1], true);
    for again in [false, true] {
        let done = ledger.expire(older);
        let Ok(Done::Expired { objects }) = done else { panic!("an expiry came to {done:?}") };
        assert!(again || objects > 0);
    }
    ledger.refuses(of(ledger, older), "is not in repository");
    ledger.gives(of(ledger, newest), ledger.count());
}

fn given_up(ledger: &mut Ledger<'_>) {
    let waits = |ledger: &mut Ledger<'_>| ledger.archived().pending_bytes;
    let more = |ledger: &mut Ledger<'_>| {
        let before = waits(ledger);
        ledger.write();
        ledger.flush();
        until(ledger, "more of it waits", |ledger| waits(ledger) > before);
    };
    ledger.reach(false);
    // The first file may be on its way just now, and is tried to the end.
    more(ledger);
    more(ledger);
    let gave_up = ledger.job(What::GiveUp);
    assert!(matches!(gave_up, Ok(Done::GaveUp { bytes }) if bytes > 0), "{gave_up:?}");
    assert_eq!(waits(ledger), 0);
    // Begun again, as after a crash of its agent: what came later is not given up.
    more(ledger);
    ledger.jobs -= 1;
    assert_eq!(ledger.job(What::GiveUp), Ok(Done::GaveUp { bytes: 0 }));
    assert!(waits(ledger) > 0);
    ledger.reach(true);
    ledger.until_archived();
    ledger.write();
    ledger.until_archived();
    let beyond = Target::Position(ledger.newest().end);
    ledger.refuses(ledger.seed(beyond), UNREACHED);
    ledger.backup();
    ledger.until_archived();
    ledger.gives(ledger.seed(Target::Latest), ledger.count());
}

fn begun_anew(ledger: &mut Ledger<'_>) {
    let source = ledger.count();
    let mut goal = ledger.made_from(ledger.seed(Target::Latest));
    let (bench, members, jobs) = (&mut *ledger.bench, ledger.members, ledger.jobs);
    goal.archive = Some(Box::new(bench.archive(2)));
    let (rows, backups) = (ledger.rows.clone(), Vec::new());
    let mut other = Ledger { bench, goal, rows, backups, members, jobs };
    other.call(|driver, goal| driver.initialize(goal)).expect("restored");
    other.want(|_| ());
    other.start();
    other.write();
    other.until_archived();
    let backup = other.backup();
    assert_eq!(backup.timeline, other.goal.term.0, "it is on a timeline of its own");
    other.write();
    other.until_archived();
    other.gives(other.seed(Target::Latest), source + 2);
    other.call(|driver, goal| driver.stop(goal, StopMode::Fast)).expect("stopped");
    other.call(|driver, goal| driver.remove(goal)).expect("removed");
    (ledger.members, ledger.jobs) = (other.members, other.jobs);
}

fn last(ledger: &mut Ledger<'_>) {
    let last = |ledger: &mut Ledger<'_>| {
        let seed = Box::new(ledger.seed(Target::Latest));
        ledger.job(What::Last(seed))
    };
    let error = last(ledger).expect_err("it runs").to_string();
    assert!(error.contains("not stopped cleanly"), "{error}");
    ledger.reach(false);
    ledger.write();
    ledger.call(|driver, goal| driver.stop(goal, StopMode::Fast)).expect("stopped");
    assert!(ledger.archived().pending_bytes > 0, "asked of no server");
    ledger.goal.flush += 1;
    ledger.call(|driver, goal| driver.flush(goal)).expect_err("no server ends its segment");
    let error = last(ledger).expect_err("there is nowhere").to_string();
    assert!(error.contains(UNASKED), "{error}");
    ledger.reach(true);
    let proven = last(ledger);
    assert!(matches!(&proven, Ok(Done::Proof(proof)) if proof.wrong.is_empty()), "{proven:?}");
    assert_eq!(ledger.archived().pending_bytes, 0);
    ledger.call(|driver, goal| driver.remove(goal)).expect("removed");
    ledger.gives(ledger.seed(Target::Latest), ledger.count());
}
