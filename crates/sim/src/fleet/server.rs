//! A server as far as a fleet of a million needs it: a directory, a process, its part in replication. What
//! clients wrote is a position that grows by a rate.
//!
//! The same port as the detailed model's ([`crate::model`]); what takes time there takes it here.

use std::collections::BTreeMap;

use evenkeel_core::backup::guard::Level;
use evenkeel_core::check::{Place, Reading};
use evenkeel_core::driver::{
    Answer, Archived, Directory, Driver, Error, Process, Receiver, Replication, Sender,
};
use evenkeel_core::goal::{Goal, Role, StopMode};
use evenkeel_core::id::Term;
use evenkeel_core::promise::{Copy, Position, Set};
use evenkeel_core::time::{Span, Time};

use crate::kinds::cache::Cache;

/// A clean start answers after this.
const START: Span = Span::millis(400);
/// A start over a log that must be replayed.
const REPLAY: Span = Span::secs(4);
/// A cache that starts reads its whole file, however it ended.
const LOAD: Span = Span::secs(3);
/// A cache's standby that cannot go on has a whole copy after this.
const COPY: Span = Span::secs(2);
/// A set that is no longer written is still gone by for so long, by some process of the server.
const LINGERS: Span = Span::millis(150);

/// One member's directory and server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// What is on disk.
    pub directory: Directory,
    /// What runs.
    pub process: Process,
    /// When it takes clients.
    pub ready: Time,
    /// Whether the next start replays the log.
    dirty: bool,
    /// What the disk guard has it do.
    pub guard: Level,
    /// The newest flush of its log that is done.
    pub flushed: u32,
    /// Its part, where it has siblings.
    pub part: Option<Box<Part>>,
}

/// A server's part in replication.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// By the settings it runs with.
    pub role: Role,
    /// Whose directory it is, and which.
    pub copy: Copy,
    /// It is a standby until it is promoted.
    pub standby: bool,
    /// Whether clients are let in.
    pub open: bool,
    /// As a standby: it receives its upstream's log.
    pub streaming: bool,
    /// The term of the newest promotion in its log.
    pub history: Term,
    /// Where its log ends, in bytes.
    pub end: u64,
    /// As a cache's standby: it has a whole copy from then on.
    pub whole: Time,
    /// Where it was when it began, or was promoted.
    began: u64,
    /// As a primary: who follows, and how much of the log each said that it has.
    pub followers: BTreeMap<Copy, u64>,
    /// Where its log ended when the newest set was found to be in force alone.
    sampled: Option<u64>,
    /// Sets under which a commit may be acknowledged now, until the moment beside them.
    sets: Vec<(Set, Time)>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            directory: Directory::Absent,
            process: Process::None,
            ready: Time(0),
            dirty: false,
            guard: Level::Fine,
            flushed: 0,
            part: None,
        }
    }
}

impl Part {
    fn new(goal: &Goal, standby: bool, end: u64, history: Term) -> Self {
        Self {
            role: Role::Recruit,
            copy: goal.copy(),
            standby,
            open: false,
            streaming: false,
            history,
            end,
            whole: Time(0),
            began: end,
            followers: BTreeMap::new(),
            sampled: None,
            sets: Vec::new(),
        }
    }

    /// It runs with the settings of another part from now on.
    fn take(&mut self, role: &Role, now: Time) {
        self.sets.retain(|(_, until)| *until > now);
        if let Role::Primary { set, .. } = role
            && self.sets.last().map(|(set, _)| set) != Some(set)
        {
            for (_, until) in &mut self.sets {
                *until = (*until).min(now + LINGERS);
            }
            self.sets.push((set.clone(), Time(u64::MAX)));
            self.sampled = None;
        }
        let same = matches!((&self.role, role), (Role::Standby { upstream: a }, Role::Standby { upstream: b })
            if a.copy == b.copy);
        self.streaming &= same;
        self.role = role.clone();
    }

    /// As a cache's standby whose contents are not the beginning of its primary's: it throws them away and copies
    /// all.
    pub fn copy_all(&mut self, now: Time) {
        (self.end, self.history, self.whole) = (0, Term(0), now + COPY);
    }

    /// Whether what it has is the beginning of what another has.
    pub fn begins(&self, other: &Self) -> bool {
        self.end <= other.end && self.history <= other.history
    }

    /// How many of a set have so much of the log.
    fn have(&self, set: &Set, end: u64) -> usize {
        let has = |copy: &&Copy| self.followers.get(copy).is_some_and(|has| *has >= end);
        set.standbys().iter().filter(has).count()
    }

    /// Whether commits are acknowledged now, however long each takes: any set that may be in force will do.
    pub fn acknowledges(&self, now: Time) -> bool {
        let mut sets = self.sets.iter().filter(|(_, until)| *until > now);
        sets.any(|(set, _)| self.have(set, 0) >= usize::from(set.acks()))
    }

    /// Up to where commits are acknowledged now.
    pub fn acknowledged(&self, now: Time) -> u64 {
        let upto = |set: &Set| {
            let Some(at) = usize::from(set.acks()).checked_sub(1) else { return self.end };
            let has = set.standbys().iter().filter_map(|copy| self.followers.get(copy));
            let mut has: Vec<u64> = has.copied().collect();
            has.sort_unstable_by(|one, other| other.cmp(one));
            has.get(at).copied().unwrap_or(0)
        };
        let sets = self.sets.iter().filter(|(_, until)| *until > now);
        sets.map(|(set, _)| upto(set)).max().unwrap_or(0)
    }

    /// How much of its log others have, of which so much is on its way: what was there when it began has arrived.
    pub fn arrived(&self, on_its_way: u64) -> u64 {
        self.end.saturating_sub(on_its_way).max(self.began.min(self.end))
    }

    /// Whether the newest set alone is in force, and has what was written before it was.
    fn in_force(&mut self, set: &Set, now: Time) -> bool {
        let mut sets = self.sets.iter().filter(|(_, until)| *until > now);
        if sets.next().is_none_or(|(s, _)| s != set) || sets.next().is_some() {
            return false;
        }
        let upto = *self.sampled.get_or_insert(self.end);
        self.have(set, upto) >= usize::from(set.acks())
    }
}

impl Server {
    /// A server that was made and runs, as a quiet service's does.
    pub fn serving(goal: &Goal, pid: u32) -> Self {
        Self {
            directory: Directory::Complete { incarnation: goal.incarnation },
            process: Process::Running { pid },
            flushed: goal.flush,
            ..Self::default()
        }
    }

    /// Whether it answers.
    pub fn runs(&self, now: Time) -> bool {
        matches!(self.process, Process::Running { .. }) && now >= self.ready
    }

    /// Whether clients can write to it, as far as it is concerned itself.
    pub fn takes_writes(&self, now: Time) -> bool {
        let part = |part: &Part| !part.standby && part.open && part.acknowledges(now);
        self.runs(now) && self.guard < Level::ReadOnly && self.part.as_deref().is_none_or(part)
    }

    /// Its process dies; whether there was one.
    pub fn die(&mut self) -> bool {
        let ran = self.process != Process::None;
        self.process = Process::None;
        self.dirty |= ran;
        self.end();
        ran
    }

    /// Its process dies with its host's power: what is not on disk yet is lost.
    pub fn lose_power(&mut self, unsynced: u64) {
        if self.die()
            && let Some(part) = &mut self.part
        {
            part.end = part.end.saturating_sub(unsynced);
        }
    }

    fn end(&mut self) {
        if let Some(part) = &mut self.part {
            part.streaming = false;
            part.followers.clear();
        }
    }
}

/// A call is made of one server.
pub(super) struct Io<'a> {
    /// Of which.
    pub server: &'a mut Server,
    /// When.
    pub now: Time,
    /// The number of the next process.
    pub pid: u32,
    /// What can be copied from the upstream of the call: where its log ends, and the term of its history.
    pub upstream: Option<(u64, Term)>,
    /// How its log gets to its archive.
    pub archived: Archived,
    /// Whether everything written so far is archived.
    pub flushes: bool,
    /// What must never happen and did.
    pub broken: Option<&'static str>,
}

fn failed<T>(why: &str) -> Result<T, Error> {
    Err(Error::Failed(why.to_owned()))
}

impl Io<'_> {
    fn must(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.broken.get_or_insert(what);
        }
    }

    fn part(&mut self) -> Result<&mut Part, Error> {
        match self.server.part.as_deref_mut() {
            Some(part) => Ok(part),
            None => failed("it has no siblings"),
        }
    }
}

impl Driver for Io<'_> {
    fn directory(&mut self, _goal: &Goal) -> Result<Directory, Error> {
        Ok(self.server.directory.clone())
    }

    fn process(&mut self, _goal: &Goal) -> Result<Process, Error> {
        Ok(self.server.process)
    }

    fn initialize(&mut self, goal: &Goal) -> Result<(), Error> {
        if self.server.directory != Directory::Absent {
            return failed("there is something already");
        }
        let standby = matches!(goal.role, Role::Standby { .. });
        let (end, history) = match (standby, self.upstream) {
            (true, None) => return failed("its primary gives no answer"),
            (true, Some(copied)) => copied,
            (false, _) => (0, Term(0)),
        };
        let incarnation = goal.incarnation;
        self.server.directory = Directory::Complete { incarnation };
        let siblings = goal.has_siblings() || standby;
        self.server.part = siblings.then(|| Box::new(Part::new(goal, standby, end, history)));
        Ok(())
    }

    fn rejoin(&mut self, goal: &Goal) -> Result<u64, Error> {
        let Some((end, history)) = self.upstream else {
            return failed("its primary gives no answer");
        };
        if self.server.process != Process::None {
            return failed("only what is stopped rejoins");
        }
        let had = self.part()?.end;
        self.server.directory = Directory::Complete { incarnation: goal.incarnation };
        self.server.part = Some(Box::new(Part::new(goal, true, end, history)));
        self.server.dirty = true;
        Ok(had.saturating_sub(end))
    }

    fn discard(&mut self, _goal: &Goal) -> Result<(), Error> {
        let partial = matches!(self.server.directory, Directory::Absent | Directory::Partial);
        self.must(partial, "a complete directory was to be discarded");
        if partial {
            self.server.directory = Directory::Absent;
        }
        Ok(())
    }

    fn configure(&mut self, goal: &Goal) -> Result<bool, Error> {
        let now = self.now;
        if self.server.part.is_none() && goal.has_siblings() {
            // It was alone until now.
            let mut part = Part::new(goal, false, 0, goal.term);
            part.open = true;
            self.server.part = Some(Box::new(part));
        }
        if let Ok(part) = self.part() {
            part.take(&goal.role, now);
        }
        Ok(false)
    }

    fn start(&mut self, goal: &Goal) -> Result<u32, Error> {
        let complete = Directory::Complete { incarnation: goal.incarnation };
        let (whole, free) =
            (self.server.directory == complete, self.server.process == Process::None);
        self.must(whole, "a directory that is not complete, or sealed, was to be started");
        self.must(free, "a second server was to be started on one directory");
        let (now, pid) = (self.now, self.pid);
        let server = &mut *self.server;
        server.ready = now
            + match server.dirty {
                _ if goal.identity.kind == Cache::NAME => LOAD,
                true => REPLAY,
                false => START,
            };
        (server.process, server.dirty) = (Process::Running { pid }, true);
        server.guard = Level::Fine;
        if let Some(part) = &mut server.part {
            part.sets.clear();
            part.take(&goal.role, now);
            (part.began, part.open) = (part.end, part.standby || !goal.has_siblings());
        }
        Ok(pid)
    }

    fn prepare(&mut self, _goal: &Goal) -> Result<(), Error> {
        if self.server.runs(self.now) { Ok(()) } else { failed("the server takes no connections") }
    }

    fn probe(&mut self, _goal: &Goal, write: bool) -> Answer {
        let now = self.now;
        let server = &*self.server;
        let part = server.part.as_deref();
        match server.process {
            Process::Running { .. } if now < server.ready => Answer::Recovering,
            Process::Running { .. } if part.is_some_and(|part| part.standby) => Answer::Following,
            Process::Running { .. } if write && part.is_none_or(|part| part.acknowledges(now)) => {
                Answer::Writing
            }
            Process::Running { .. } => Answer::Accepting,
            Process::Frozen { .. } => Answer::Silent,
            Process::None | Process::Leftovers { .. } => Answer::NotYet,
        }
    }

    fn replication(&mut self, _goal: &Goal) -> Result<Replication, Error> {
        let now = self.now;
        if !self.server.runs(now) {
            return failed("the server takes no connections");
        }
        let part = self.part()?;
        let sender = |(copy, has): (&Copy, &u64)| Sender {
            copy: *copy,
            streaming: true,
            lag_bytes: part.end.saturating_sub(*has),
            replied: now.0,
        };
        Ok(Replication {
            recovering: part.standby,
            history: part.history,
            receiver: match &part.role {
                _ if part.streaming => Receiver::Streaming,
                Role::Standby { .. } => Receiver::Connecting,
                Role::Primary { .. } | Role::Recruit => Receiver::None,
            },
            replayed: true,
            flushed: Position(part.end),
            senders: part.followers.iter().map(sender).collect(),
        })
    }

    fn end_of_log(&mut self, _goal: &Goal) -> Result<Option<Position>, Error> {
        let ended = self.server.process == Process::None && !self.server.dirty;
        let end = self.part()?.end;
        Ok(ended.then_some(Position(end.saturating_sub(1))))
    }

    fn promote(&mut self, goal: &Goal) -> Result<(), Error> {
        let Role::Primary { set, .. } = &goal.role else { return failed("it is no primary") };
        if !self.server.runs(self.now) {
            return failed("the server takes no connections");
        }
        let part = self.part()?;
        if part.standby {
            part.open = set.acks() == 0;
            (part.standby, part.streaming, part.began) = (false, false, part.end);
        }
        part.history = part.history.max(goal.term);
        Ok(())
    }

    fn open(&mut self, goal: &Goal) -> Result<bool, Error> {
        let Role::Primary { set, .. } = &goal.role else { return failed("it is no primary") };
        let part = self.part()?;
        part.open |= part.have(set, part.began) >= usize::from(set.acks());
        Ok(part.open)
    }

    fn checkpoint(&mut self, _goal: &Goal) -> Result<(), Error> {
        Ok(())
    }

    fn confirm(&mut self, goal: &Goal) -> Result<bool, Error> {
        let Role::Primary { set, .. } = &goal.role else { return failed("it is no primary") };
        let now = self.now;
        Ok(self.part()?.in_force(set, now))
    }

    fn archived(&mut self, _goal: &Goal) -> Result<Archived, Error> {
        Ok(self.archived.clone())
    }

    fn flush(&mut self, goal: &Goal) -> Result<bool, Error> {
        if self.flushes {
            self.server.flushed = goal.flush;
        }
        Ok(self.flushes)
    }

    fn guard(&mut self, _goal: &Goal, level: Level) -> Result<(), Error> {
        self.server.guard = level;
        Ok(())
    }

    fn read(&mut self, _goal: &Goal, _question: &str, _place: Place) -> Result<Reading, Error> {
        failed("the model answers no checks")
    }

    fn stop(&mut self, _goal: &Goal, mode: StopMode) -> Result<(), Error> {
        if matches!(self.server.process, Process::Frozen { .. }) {
            return failed("the server is stopped and hears nothing");
        }
        let clean = mode == StopMode::Fast && self.server.runs(self.now);
        let ran = self.server.process != Process::None;
        self.server.dirty = !clean && (self.server.dirty || ran);
        self.server.process = Process::None;
        self.server.end();
        Ok(())
    }

    fn kill(&mut self, _goal: &Goal) -> Result<(), Error> {
        self.server.die();
        Ok(())
    }

    fn seal(&mut self, _goal: &Goal, sealed: bool) -> Result<(), Error> {
        let stopped = self.server.process == Process::None;
        self.must(stopped, "a running server's directory was sealed");
        self.server.directory = match (&self.server.directory, sealed) {
            (Directory::Complete { incarnation }, true) => {
                Directory::Sealed { incarnation: *incarnation }
            }
            (Directory::Sealed { incarnation }, false) => {
                Directory::Complete { incarnation: *incarnation }
            }
            (other, _) => other.clone(),
        };
        Ok(())
    }

    fn remove(&mut self, _goal: &Goal) -> Result<(), Error> {
        let stopped = self.server.process == Process::None;
        self.must(stopped, "a running server's directory was to be removed");
        *self.server = Server::default();
        Ok(())
    }
}
