//! Archives of the model: repositories, what gets a log there, and the driver's half of it all.

mod archiver;
mod jobs;
mod lineage;
mod repositories;
mod restore;

use evenkeel_core::backup::guard::{Level, Room};
use evenkeel_core::backup::lineage::{Archive, Seed, Target};
use evenkeel_core::driver::{Archived, Error};
use evenkeel_core::goal::Goal;
use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::moment::Moment;
use evenkeel_core::time::{Span, Time};

use super::{Log, Machine};
use crate::mutation::Mutation;
pub use archiver::Archiver;
pub use jobs::{Progress, Work};
pub use repositories::{Condition, Repositories, Shared, open};
use restore::Restored;

/// What a member has on its disk beside the log that waits.
const DATA_BYTES: u64 = 8 << 20;
/// Log that waits longer than this is behind.
const BEHIND_AFTER: Span = Span::secs(10);
/// While commits are slowed, one takes so long.
const THROTTLED: Span = Span::millis(100);

fn failed<T>(why: &str) -> Result<T, Error> {
    Err(Error::Failed(why.to_owned()))
}

impl Machine {
    pub(super) fn mutated(&self, mutation: Mutation) -> bool {
        open(&self.repositories).mutation == Some(mutation)
    }

    /// The disk of a host: all its members are on it.
    pub fn room(&self) -> Room {
        let there = self.servers.values().filter(|server| server.copy.is_some());
        let used: u64 = there.map(|server| DATA_BYTES + server.archiver.bytes()).sum();
        Room { total: self.disk_bytes, free: self.disk_bytes.saturating_sub(used) }
    }

    /// A segment is ended where a server takes writes and anything is in it; whether it takes writes.
    pub fn end_segment(&mut self, member: MemberId) -> bool {
        let (now, number) = (self.now, self.segments.next());
        let Some(server) = self.servers.get_mut(&member) else { return false };
        let leads = server.runs(now) && !server.standby;
        if leads && server.archiver.archive.is_some() && server.log.len() > server.log.segment() {
            server.log.end_segment(number);
            server.archiver.see(&server.log, now);
        }
        leads
    }

    /// Archivers go on: segments end in their time, and what waits is stored.
    pub fn archive(&mut self, now: Time) {
        self.now = now;
        let members: Vec<MemberId> = self.servers.keys().copied().collect();
        let rows = self.segment_rows;
        for member in members {
            let Some(server) = self.servers.get_mut(&member) else { continue };
            if !server.runs(now) || server.archiver.archive.is_none() {
                continue;
            }
            server.archiver.see(&server.log, now);
            if server.archiver.ends(&server.log, rows, now) {
                self.end_segment(member);
            }
            let (shared, away) = (self.repositories.clone(), self.away);
            if let Some(server) = self.servers.get_mut(&member) {
                server.archiver.push(&server.log, &shared, away, now);
            }
        }
    }

    /// A server that ends in order has its archiver store what waits, as far as that goes.
    pub(super) fn last_round(&mut self, member: MemberId) {
        self.end_segment(member);
        self.archive(self.now);
    }

    /// Servers that could write no more because their disk is full: they are dead.
    pub fn die_of_full_disk(&mut self) -> Vec<MemberId> {
        if self.room().free > 0 {
            return Vec::new();
        }
        let runs = |member: &MemberId| {
            let server = self.servers.get(member);
            server.is_some_and(|server| server.runs(self.now))
        };
        let all: Vec<MemberId> = self.servers.keys().copied().filter(runs).collect();
        all.into_iter().filter(|member| self.kill(*member)).collect()
    }

    /// What the guard has the server at a port do.
    pub fn guarded(&self, port: u16) -> Level {
        let server =
            self.servers.values().find(|server| server.port == port && server.runs(self.now));
        server.map_or(Level::Fine, |server| server.guard)
    }

    /// Whether a server takes a client's commit now.
    pub(super) fn is_let_through(level: Level, last: Time, now: Time) -> bool {
        match level {
            Level::Fine | Level::Warn => true,
            Level::Throttle => now.since(last) >= THROTTLED,
            Level::ReadOnly => false,
        }
    }

    pub(super) fn said_of_archive(&mut self, goal: &Goal) -> Archived {
        let (now, room) = (self.now, self.room());
        let server = self.server(goal);
        server.archiver.see(&server.log, now);
        let archiver = &server.archiver;
        let oldest = archiver.pending.front().map(|pending| pending.since);
        let long = oldest.filter(|since| now.since(*since) > BEHIND_AFTER);
        let bytes = archiver.pending_bytes();
        Archived {
            pending_bytes: bytes,
            behind_since: long.map(|since| Moment::of_millis(since.0 / 1000 * 1000)),
            trouble: archiver.trouble.clone().filter(|_| bytes > 0),
            room: Some(room),
        }
    }

    pub(super) fn flush_log(&mut self, goal: &Goal) -> Result<bool, Error> {
        let now = self.now;
        let server = self.server(goal);
        let upto = match server.flushing {
            Some((number, upto)) if number == goal.flush => upto,
            _ => {
                if !server.runs(now) {
                    return failed("the server takes no connections");
                }
                if !self.end_segment(goal.member) {
                    return failed("recovery is in progress");
                }
                self.server(goal).log.segment()
            }
        };
        let server = self.server(goal);
        server.flushing = Some((goal.flush, upto));
        Ok(server.archiver.pending.iter().all(|pending| pending.to > upto))
    }

    pub(super) fn take_guard(&mut self, goal: &Goal, level: Level) -> Result<(), Error> {
        self.unlucky("writing the guard's settings")?;
        if !self.mutated(Mutation::NoGuard) {
            self.server(goal).guard = level;
        }
        Ok(())
    }

    /// A directory from a backup and its log.
    pub(super) fn restored(&mut self, goal: &Goal, seed: &Seed) -> Result<Log, Error> {
        let away = self.away;
        let mut all = open(&self.repositories);
        let lineage = lineage::Lineage::open(&mut all, &seed.archive, away);
        let Restored { mut log, .. } = restore::restore(&lineage, seed, goal.term.0)?;
        all.hold_to_end(seed, log.len(), goal.identity.name.as_str());
        log.restored(goal.term);
        Ok(log)
    }

    /// Where the server's log goes from now on.
    pub(super) fn take_archive(&mut self, goal: &Goal) {
        if let Some(archive) = goal.archive.as_deref() {
            let mut all = open(&self.repositories);
            all.archives.insert(goal.identity.service, archive.clone());
        }
        let archive = goal.archive.as_deref().map(|archive| (archive.clone(), goal.term));
        self.server(goal).archiver.archive = archive;
    }
}

impl Repositories {
    /// Everything that could be had back of a service if every repository but one were reached.
    pub fn restorable(&mut self, service: ServiceId, without: Option<&str>) -> Result<Log, String> {
        let none = || "it has no archive".to_owned();
        let archive = self.archives.get(&service).cloned().ok_or_else(none)?;
        let restored = self.everywhere(without, |all| all.newest(&archive));
        restored.map_err(|error| error.to_string())
    }

    /// What somebody finds who sees everything but one repository, and keeps every rule.
    fn everywhere<T>(&mut self, without: Option<&str>, find: impl FnOnce(&mut Self) -> T) -> T {
        self.looks_everywhere = true;
        self.hidden = without.map(str::to_owned);
        let mutation = self.mutation.take();
        let found = find(self);
        (self.looks_everywhere, self.hidden, self.mutation) = (false, None, mutation);
        found
    }

    /// A restore ends where it would for somebody who sees all that there is.
    pub(super) fn hold_to_end(&mut self, seed: &Seed, length: usize, name: &str) {
        let whole = self.everywhere(None, |all| {
            let lineage = lineage::Lineage::open(all, &seed.archive, false);
            restore::restore(&lineage, seed, u32::MAX).map(|restored| restored.log.len())
        });
        if whole.is_ok_and(|whole| whole > length) {
            self.broken.get_or_insert(format!("{name}: a restore ended before its log did"));
        }
    }

    fn newest(&mut self, archive: &Archive) -> Result<Log, Error> {
        let seed = Seed {
            archive: archive.clone(),
            backup: None,
            target: Target::Latest,
            owner: String::new(),
            covered: false,
        };
        let lineage = lineage::Lineage::open(self, archive, false);
        restore::restore(&lineage, &seed, u32::MAX).map(|restored| restored.log)
    }
}
