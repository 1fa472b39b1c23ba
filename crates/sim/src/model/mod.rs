//! A modelled host: disks, a process table and PostgreSQL as far as it can be told from outside.
//!
//! The model is strict where a mistake would cost data: two servers on one directory, a start from a
//! sealed one, a removal under a running server are failures of the run, not only of a call. Apart
//! from that it answers as real drivers do: [`evenkeel_core::contract`] holds both to one script.

mod archive;
#[cfg(test)]
mod contract;
mod driver;
mod log;
mod replication;

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_core::backup::guard::Level;
use evenkeel_core::driver::{Directory, Error, Process};
use evenkeel_core::goal::{Goal, Role};
use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::promise::{Copy, Set};
use evenkeel_core::report::Sight;
use evenkeel_core::time::{Span, Time};

use crate::kinds::cache;
use crate::prng::Prng;
use crate::world::Weather;
use archive::Archiver;
pub use archive::{Condition, Progress, Repositories, Shared, Work, open};
pub use log::{Log, row_at};
pub use replication::Asking;

/// Rows that fill a segment: a page of 8 KiB each.
pub const SEGMENT_ROWS: usize = 512;
/// A clean start answers after this.
const START: Span = Span::millis(60);
/// A start over a log that must be replayed.
const REPLAY: Span = Span::millis(400);

/// One member's directory and server.
#[derive(Clone, Debug)]
pub struct Server {
    /// What is on disk.
    pub directory: Directory,
    /// What runs.
    pub process: Process,
    /// Where it listens.
    pub port: u16,
    /// When it takes clients.
    ready: Time,
    /// Whether the next start replays the log.
    dirty: bool,
    /// The settings that were written.
    settings: Option<Arc<BTreeMap<String, String>>>,
    /// Whether it dies after every start.
    doomed: bool,
    /// How often it was started.
    pub starts: u64,
    /// What is on its disk.
    pub log: Log,
    /// Whose directory it is, and which.
    copy: Option<Copy>,
    /// Of which service.
    pub service: Option<ServiceId>,
    /// Whether it is a cache's: see [`cache`].
    pub cache: bool,
    /// Its part, by the settings it runs with.
    role: Role,
    /// It is a standby until it is promoted.
    standby: bool,
    /// Whether clients are let in.
    open: bool,
    /// As a standby: it receives its upstream's log.
    streaming: bool,
    /// Sets under which a commit may be acknowledged now: the newest that was written, and before it
    /// the ones that some process may still go by, until the moment beside them.
    sets: Vec<(Set, Time)>,
    /// As a primary: who follows, and how much of the log each has.
    followers: BTreeMap<Copy, usize>,
    /// Where its log was when it began, or was promoted.
    began: usize,
    /// What gets its log to its archive.
    pub archiver: Archiver,
    /// The flush under way, and up to where it goes.
    flushing: Option<(u32, usize)>,
    /// What the disk guard has it do.
    guard: Level,
    /// When a client wrote last.
    wrote: Time,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            directory: Directory::Absent,
            process: Process::None,
            port: 0,
            ready: Time(0),
            dirty: false,
            settings: None,
            doomed: false,
            starts: 0,
            log: Log::default(),
            copy: None,
            service: None,
            cache: false,
            role: Role::alone(),
            standby: false,
            open: true,
            streaming: false,
            sets: Vec::new(),
            followers: BTreeMap::new(),
            began: 0,
            archiver: Archiver::default(),
            flushing: None,
            guard: Level::Fine,
            wrote: Time(0),
        }
    }
}

/// A host's disk and processes.
#[derive(Clone, Debug)]
pub struct Machine {
    /// By member.
    pub servers: BTreeMap<MemberId, Server>,
    /// The moment, as the world sets it.
    pub now: Time,
    /// Calls of a hundred that fail.
    pub failing: u64,
    /// Ports held by others.
    pub held: Vec<u16>,
    /// What can be copied from the upstream of the call under way, as the world sets it.
    pub upstream: Option<Log>,
    /// What must never happen and did.
    pub broken: Option<String>,
    /// Where logs and backups go.
    pub repositories: Shared,
    /// Whether no repository is reached from here.
    pub away: bool,
    /// The size of its disk.
    pub disk_bytes: u64,
    /// Rows that fill a segment of a log.
    pub segment_rows: usize,
    /// Names for ends of segments.
    segments: Prng,
    weather: Weather,
    chance: Prng,
    pid: u32,
}

impl Machine {
    /// An empty host.
    pub fn new(seed: u64, name: &str, weather: Weather) -> Self {
        Self {
            servers: BTreeMap::new(),
            now: Time(0),
            failing: 0,
            held: Vec::new(),
            upstream: None,
            broken: None,
            repositories: Shared::default(),
            away: false,
            disk_bytes: u64::MAX,
            segment_rows: SEGMENT_ROWS,
            segments: Prng::new(seed, &format!("segments of {name}")),
            weather,
            chance: Prng::new(seed, name),
            pid: 100,
        }
    }

    fn server(&mut self, goal: &Goal) -> &mut Server {
        self.servers.entry(goal.member).or_default()
    }

    fn unlucky(&mut self, what: &str) -> Result<(), Error> {
        let failing = self.failing;
        if self.chance.percent(failing) {
            return Err(Error::Failed(format!("{what} did not work")));
        }
        Ok(())
    }

    fn must(&mut self, holds: bool, what: &str) {
        if !holds && self.broken.is_none() {
            self.broken = Some(what.to_owned());
        }
    }

    /// The process of a member dies; whether there was one.
    pub fn kill(&mut self, member: MemberId) -> bool {
        let leftovers = self.weather == Weather::Rough && self.chance.percent(30);
        let Some(server) = self.servers.get_mut(&member) else { return false };
        if !matches!(server.process, Process::Running { .. } | Process::Frozen { .. }) {
            return false;
        }
        server.process = if leftovers { Process::Leftovers { count: 3 } } else { Process::None };
        server.dirty = true;
        server.end();
        true
    }

    /// The process of a member stops without ending, or goes on.
    pub fn freeze(&mut self, member: MemberId, frozen: bool) {
        let Some(server) = self.servers.get_mut(&member) else { return };
        server.process = match (server.process, frozen) {
            (Process::Running { pid }, true) => Process::Frozen { pid },
            (Process::Frozen { pid }, false) => Process::Running { pid },
            (other, _) => other,
        };
    }

    /// A client writes a row: where to, if anybody lets it in.
    pub fn write(&mut self, port: u16, row: u64, now: Time) -> Option<MemberId> {
        let rows = self.segment_rows;
        let serving = |s: &Server| s.port == port && s.runs(now) && s.open && !s.standby;
        let (&member, server) = self.servers.iter_mut().find(|(_, server)| serving(server))?;
        if !Self::is_let_through(server.guard, server.wrote, now) {
            return None;
        }
        server.log.write(row);
        server.wrote = now;
        if server.archiver.ends(&server.log, rows, now) {
            self.now = now;
            self.end_segment(member);
        }
        Some(member)
    }

    /// Whether a member's server dies after every start from now on.
    pub fn doom(&mut self, member: MemberId, doomed: bool) {
        if let Some(server) = self.servers.get_mut(&member) {
            server.doomed = doomed;
        }
    }

    /// Whether a member's server dies after every start.
    pub fn is_doomed(&self, member: MemberId) -> bool {
        self.servers.get(&member).is_some_and(|server| server.doomed)
    }

    /// Whether a member's server is this process.
    pub fn runs(&self, member: MemberId, pid: u32) -> bool {
        self.servers.get(&member).is_some_and(|s| s.process == Process::Running { pid })
    }

    /// Every process ends at once. Gives what caches that took writes had not on disk yet, and have lost.
    pub fn lose_power(&mut self, now: Time) -> Vec<(ServiceId, Vec<u64>)> {
        let mut lost = Vec::new();
        for server in self.servers.values_mut() {
            let ran = server.process != Process::None;
            server.dirty |= ran;
            server.process = Process::None;
            server.end();
            if ran && server.cache {
                let rows = server.log.lose_since(Time(now.0.saturating_sub(cache::UNSYNCED.0)));
                lost.extend(server.service.filter(|_| !server.standby).map(|id| (id, rows)));
            }
        }
        lost
    }

    /// Nothing fails any more.
    pub fn heal(&mut self) {
        self.failing = 0;
        self.servers.values_mut().for_each(|server| server.doomed = false);
    }

    /// Whether a standby runs at a port.
    pub fn follows(&self, port: u16) -> bool {
        let runs = |s: &&Server| matches!(s.process, Process::Running { .. });
        self.servers.values().filter(runs).any(|s| s.port == port && s.standby)
    }

    /// What a witness sees on a port; `None` where no server of this host ever had it.
    pub fn sight(&self, port: u16) -> Option<Sight> {
        let server = self.servers.values().find(|s| s.port == port)?;
        Some(match server.process {
            Process::Running { .. } => Sight::Answered,
            Process::Frozen { .. } => Sight::Silent,
            Process::None | Process::Leftovers { .. } => Sight::Refused,
        })
    }
}
