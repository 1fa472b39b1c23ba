//! Archives of the model: repositories, what gets a log there, and the driver's half of it all.

mod archiver;
mod jobs;
mod lineage;
mod repositories;
mod restore;

use evenkeel_core::backup::guard::{Level, Room};
use evenkeel_core::backup::lineage::{Archive, Seed, Target};
use evenkeel_core::driver::{Archived, Directory, Error};
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

    pub(super) fn said_of_archive(&mut self, goal: &Goal) -> Result<Archived, Error> {
        let (now, room) = (self.now, self.room());
        let server = self.server(goal);
        if server.directory == Directory::Absent {
            return failed("cannot list its log: it is not there");
        }
        server.archiver.see(&server.log, now);
        let archiver = &server.archiver;
        let oldest = archiver.pending.front().map(|pending| pending.since);
        let long = oldest.filter(|since| now.since(*since) > BEHIND_AFTER);
        let bytes = archiver.pending_bytes();
        Ok(Archived {
            pending_bytes: bytes,
            behind_since: long.map(|since| Moment::of_millis(since.0 / 1000 * 1000)),
            trouble: archiver.trouble.clone().filter(|_| bytes > 0),
            refused: archiver.refused.clone(),
            missed: archiver.missed(now),
            room: Some(room),
        })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use evenkeel_core::backup::job::{Done, Job, What};
    use evenkeel_core::backup::lineage::{Lineage, Location, Repository};
    use evenkeel_core::driver::Driver;
    use evenkeel_core::goal::{Password, StopMode};
    use evenkeel_core::id::Term;

    use super::*;
    use crate::model::contract::goal;
    use crate::world::Weather;

    /// A server with an archive in two repositories, and its goal.
    fn archived() -> (Machine, Goal) {
        let mut machine = Machine::new(7, "h1", Weather::Steady);
        machine.now = Time(1_000_000);
        let repository = |name: &str| {
            open(&machine.repositories).add(name);
            let location = Location::Directory { path: format!("/{name}") };
            Repository { name: name.to_owned(), location }
        };
        let archive = Archive {
            lineage: Lineage("store/1-1".to_owned()),
            key: Password(String::new()),
            wrapped: String::new(),
            engine: evenkeel_core::backup::engine::Engine::Native,
            repositories: vec![repository("north"), repository("south")],
        };
        let goal = Goal { archive: Some(Box::new(archive)), settings: Arc::default(), ..goal() };
        machine.initialize(&goal).expect("it is made");
        machine.configure(&goal).expect("it is set");
        machine.start(&goal).expect("it starts");
        pass(&mut machine, 1);
        (machine, goal)
    }

    fn pass(machine: &mut Machine, seconds: u64) {
        for _ in 0..seconds {
            let now = machine.now + Span::secs(1);
            machine.archive(now);
        }
    }

    fn write(machine: &mut Machine, goal: &Goal, rows: u64) {
        for _ in 0..rows {
            machine.now = machine.now + Span::secs(1);
            let row = crate::model::row_at(machine.now);
            assert!(machine.write(goal.port, row, machine.now).is_some());
        }
    }

    fn seed(goal: &Goal, target: Target) -> Seed {
        let archive = goal.archive.as_deref().cloned().expect("it has one");
        Seed { archive, backup: None, target, owner: String::new(), covered: false }
    }

    fn back_up(machine: &mut Machine, goal: &Goal, id: u32) {
        let job = Job { id, what: What::Backup { rate_max: 0 } };
        assert!(matches!(machine.job(goal, &job), Ok(Done::Backup(_))));
    }

    #[test]
    fn what_was_archived_comes_back_to_any_moment_and_no_further() {
        let (mut machine, goal) = archived();
        back_up(&mut machine, &goal, 1);
        write(&mut machine, &goal, 10);
        let (middle, wanted) = (machine.now, Term(99));
        write(&mut machine, &goal, 10);
        pass(&mut machine, 65);
        let later = Goal { term: wanted, ..goal.clone() };
        let rows = |machine: &mut Machine, target| {
            let restored = machine.restored(&later, &seed(&goal, target));
            restored.map(|log| log.rows().count()).map_err(|error| error.to_string())
        };
        assert_eq!(rows(&mut machine, Target::Latest), Ok(20));
        let moment = |time: Time| Target::Moment(Moment::of_millis(time.0));
        assert_eq!(rows(&mut machine, moment(middle)), Ok(10));
        let now = machine.now;
        let beyond = rows(&mut machine, moment(now)).expect_err("nothing is known of then");
        assert!(beyond.contains("before configured recovery target"), "{beyond}");
        let before = rows(&mut machine, moment(BEFORE)).expect_err("nothing is from then");
        assert!(before.contains("before its first backup"), "{before}");
        let stale = machine.restored(&goal, &seed(&goal, Target::Latest));
        assert!(stale.is_err_and(|error| error.to_string().contains("its term is 1")));
    }

    const BEFORE: Time = Time(1_000);

    #[test]
    fn log_waits_on_disk_while_no_repository_takes_it_and_goes_in_order_then() {
        let (mut machine, goal) = archived();
        back_up(&mut machine, &goal, 1);
        for name in ["north", "south"] {
            open(&machine.repositories).become_so(name, Condition::Unreachable);
        }
        let before = machine.room().free;
        write(&mut machine, &goal, 10);
        pass(&mut machine, 70);
        let said = machine.archived(&goal).expect("it says");
        assert!(said.pending_bytes > 0 && said.behind_since.is_none(), "{said:?}");
        write(&mut machine, &goal, 10);
        pass(&mut machine, 70);
        let said = machine.archived(&goal).expect("it says");
        assert!(said.behind_since.is_some() && said.trouble.is_some(), "{said:?}");
        assert_eq!(before - machine.room().free, said.pending_bytes, "it is on its disk");
        assert!(!machine.flush(&goal).expect("it ends its segment"));
        // One of them is enough.
        open(&machine.repositories).become_so("south", Condition::Up);
        pass(&mut machine, 3);
        assert!(machine.flush(&goal).expect("it ended it"));
        assert_eq!(
            (machine.archived(&goal).map(|s| s.pending_bytes), machine.room().free),
            (Ok(0), before)
        );
        assert_eq!(open(&machine.repositories).broken, None);
    }

    #[test]
    fn a_last_proof_takes_what_the_sealed_server_has_and_refuses_one_that_crashed() {
        let (mut machine, goal) = archived();
        back_up(&mut machine, &goal, 1);
        for name in ["north", "south"] {
            open(&machine.repositories).become_so(name, Condition::Unreachable);
        }
        write(&mut machine, &goal, 10);
        machine.stop(&goal, StopMode::Fast).expect("it stops");
        let last = Job { id: 2, what: What::Last(Box::new(seed(&goal, Target::Latest))) };
        assert!(machine.job(&goal, &last).is_err(), "nobody takes it");
        for name in ["north", "south"] {
            open(&machine.repositories).become_so(name, Condition::Up);
        }
        let Ok(Done::Proof(proof)) = machine.job(&goal, &last) else { panic!("it is proven") };
        assert_eq!(proof.wrong, Vec::<String>::new());
        let service = goal.identity.service;
        let log = open(&machine.repositories).restorable(service, None).expect("it is there");
        assert_eq!(log.rows().count(), 10);
        machine.start(&goal).expect("it starts");
        assert!(machine.kill(goal.member));
        let refused = machine.job(&goal, &last).expect_err("its end is not known");
        assert!(refused.to_string().contains("not stopped cleanly"), "{refused}");
    }
}
