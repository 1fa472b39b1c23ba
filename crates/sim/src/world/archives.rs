//! Repositories and archives in the world: archivers and jobs go on, storage breaks, and what must be so
//! of every service's archive.

use std::collections::BTreeSet;

use evenkeel_core::agent::{Input, JobCall};
use evenkeel_core::backup::engine::Engine;
use evenkeel_core::driver::Directory;
use evenkeel_core::goal::{Goal, Password, Role, Want};
use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::order::Keys;
use evenkeel_core::service::State;
use evenkeel_core::time::{Span, Time};
use evenkeel_core::view;

use super::clients::beyond;
use super::{Event, Process, World};
use crate::model::{Condition, Log, Progress, Repositories, Work, open};
use crate::prng::Prng;
use crate::report::Invariant;

/// Between two rounds of the archivers.
const ROUND: Span = Span::secs(1);
/// A disk may run full while its agent was away in the last so long: then nobody guards it.
const UNGUARDED: Span = Span::secs(60);
/// Names of repositories, in turn.
pub const REPOSITORIES: [&str; 3] = ["north", "south", "west"];

impl World {
    /// The repositories, for one look or change.
    pub(super) fn repositories<T>(&self, with: impl FnOnce(&mut Repositories) -> T) -> T {
        with(&mut open(&self.repositories))
    }

    /// What a new service's archive is sealed with, where there are archives.
    pub fn keys(&self) -> Option<Keys> {
        let key = Password("00".repeat(32));
        (self.options.repositories > 0).then(|| Keys {
            key,
            wrapped: "wrapped".to_owned(),
            engine: Engine::Native,
        })
    }

    /// How a repository is from now on.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn storage(&mut self, name: &str, condition: Condition) -> Result<(), String> {
        let names = self.repositories(|all| all.names());
        if !names.iter().any(|known| known == name) {
            return Err(format!("there is no repository {name}; there are: {}", names.join(", ")));
        }
        self.repositories(|all| all.become_so(name, condition));
        Ok(())
    }

    /// How full the fullest disk ever was, in percent.
    pub const fn fullest_percent(&self) -> u64 {
        self.fullest_percent
    }

    /// One of the repositories, or all, break for a while.
    pub(super) fn break_storage(&mut self, all: bool, lasts: Span, chance: &mut Prng) {
        let names = self.repositories(|all| all.names());
        if names.is_empty() {
            return;
        }
        let kinds = [Condition::Unreachable, Condition::Denied, Condition::Full, Condition::Slow];
        let drawn = chance.below(if all { 3 } else { 4 });
        let condition = kinds[usize::try_from(drawn).unwrap_or(0)];
        let which = chance.below(names.len() as u64);
        for (_, name) in (0..).zip(&names).filter(|(n, _)| all || *n == which) {
            let _known = self.storage(name, condition);
        }
        self.at(lasts, Event::Return(Process::Storage));
    }

    /// A repository is lost with everything in it, unless that is all there is of a service.
    pub(super) fn lose_repository(&mut self, chance: &mut Prng) {
        let names = self.repositories(|all| all.names());
        let which = chance.below(names.len() as u64);
        let Some(name) = usize::try_from(which).ok().and_then(|n| names.get(n)) else { return };
        let services: Vec<ServiceId> = self.clients.keys().copied().collect();
        let only = |id: &ServiceId| self.places(*id, Some(name)).is_empty();
        if services.iter().any(|id| !self.is_ended(*id) && only(id)) {
            return;
        }
        let _known = self.storage(name, Condition::Lost);
        self.lost_repository = true;
    }

    /// Every repository answers again; what was lost is there again, empty.
    pub(super) fn heal_storage(&mut self, lost_too: bool) {
        for name in self.repositories(|all| all.names()) {
            if lost_too || self.repositories(|all| all.condition(&name)) != Condition::Lost {
                let _known = self.storage(&name, Condition::Up);
            }
        }
    }

    /// Archivers go on.
    pub(super) fn archive(&mut self) {
        let now = self.now;
        for n in 0..self.hosts.len() {
            if self.hosts[n].on {
                self.hosts[n].machine.archive(now);
                self.watch_disk(n);
            }
        }
        self.hold_to_archives();
        self.at(ROUND, Event::Archive);
    }

    /// A disk that is full ends its servers: no guard may let it come to that.
    pub(super) fn watch_disk(&mut self, n: usize) {
        let now = self.now;
        self.hosts[n].machine.now = now;
        self.check(Invariant::DisksNeverFull);
        let room = self.hosts[n].machine.room();
        let parts = u128::from(room.free) * 100 / u128::from(room.total.max(1));
        let full = 100 - u64::try_from(parts).unwrap_or(100);
        self.fullest_percent = self.fullest_percent.max(full);
        for member in self.hosts[n].machine.die_of_full_disk() {
            let host = &self.hosts[n];
            if !host.was_away(now, UNGUARDED) {
                let text = format!("{}: {member} died of a full disk", host.name);
                self.fail(Invariant::DisksNeverFull, text);
            }
            self.mourn(n, member);
        }
    }

    /// What repositories saw that must never be.
    fn hold_to_archives(&mut self) {
        self.check(Invariant::ArchivesAreSound);
        if let Some(what) = self.repositories(|all| all.broken.take()) {
            self.fail(Invariant::ArchivesAreSound, what);
        }
    }

    /// A job begins.
    pub(super) fn begin_work(&mut self, n: usize, life: u64, call: JobCall) {
        let took = self.takes(Span(20), Span(30), 3, Span(2500));
        let work = Work::begin(self.now);
        self.at(took, Event::Work(n, life, Box::new((call, work))));
    }

    /// A job goes on, unless its agent died: that ends it wherever it is.
    pub(super) fn work(&mut self, n: usize, life: u64, mut of: Box<(JobCall, Work)>) {
        let host = &mut self.hosts[n];
        if !host.on || life != host.life || host.brain.is_none() {
            return;
        }
        host.machine.now = self.now;
        let (call, work) = &mut *of;
        let progress = host.machine.work(&call.goal, &call.job, work);
        self.watch_disk(n);
        self.hold_to_archives();
        let (member, number, name) = (call.member, call.number, call.goal.identity.name.clone());
        let what = call.job.what.name();
        match progress {
            Progress::GoesOn(span) => self.at(span, Event::Work(n, life, of)),
            Progress::EndSegment(span) => {
                self.end_segment_of(n, &call.goal);
                self.at(span, Event::Work(n, life, of));
            }
            Progress::Over(result) => {
                let how =
                    result.as_ref().map_or_else(|e| format!(" failed: {e}"), |_| String::new());
                self.tell(|world| format!("{}: {what} of {name}{how}", world.hosts[n].name));
                let outcome = result.map_err(|error| error.to_string());
                self.at(Span(0), Event::Told(n, life, Input::Job { member, number, outcome }));
                self.hold_to_last_copy(of.0.goal.identity.service);
            }
        }
    }

    /// Whoever a standby follows ends its segment, if it is reached.
    fn end_segment_of(&mut self, n: usize, goal: &Goal) {
        let Role::Standby { upstream } = &goal.role else { return };
        let (now, alone) = (self.now, self.hosts[n].alone);
        for (m, host) in self.hosts.iter_mut().enumerate() {
            if host.on && (m == n || !alone && !host.alone) {
                host.machine.now = now;
                host.machine.end_segment(upstream.copy.member);
            }
        }
    }

    /// Whether a service's end was ordered and confirmed.
    pub(super) fn is_ended(&self, id: ServiceId) -> bool {
        self.ended.contains(&id)
    }

    /// Everywhere that everything of a service is that clients were told is safe, by name: directories
    /// of members, wherever they are, and what could be had back from its archive. `without` is a
    /// repository that does not count; then members on their way out do not either.
    pub(super) fn places(&self, id: ServiceId, without: Option<&str>) -> Vec<String> {
        let mut places = Vec::new();
        for host in &self.hosts {
            for (member, server) in &host.machine.servers {
                use Directory as D;
                let whole = matches!(server.directory, D::Complete { .. } | D::Sealed { .. });
                let goal = host.saved.get(member).map(|stored| &stored.applied.goal);
                let goes = without.is_some() && goal.is_some_and(|goal| goal.want == Want::Removed);
                let counts = whole && !goes && server.service == Some(id);
                if counts && self.missing(id, &server.log).is_none() {
                    places.push(member.to_string());
                }
            }
        }
        let restored = self.repositories(|all| all.restorable(id, without));
        if restored.is_ok_and(|log| self.missing(id, &log).is_none()) {
            places.push("its archive".to_owned());
        }
        places
    }

    /// What a log lacks that clients of a service were told is safe, beyond what its plan may lose.
    fn missing(&self, id: ServiceId, log: &Log) -> Option<String> {
        let clients = self.clients.get(&id)?;
        let rows: BTreeSet<u64> = log.rows().collect();
        let away = self.hosts.iter().map(|host| host.away_max(self.now)).max().unwrap_or_default();
        let lost = clients.acknowledged.iter().filter(|(row, _)| !rows.contains(row));
        beyond(lost, self.losses.get(&id).copied().flatten(), away)
    }

    /// Somewhere there is everything that clients of a service were told is safe.
    pub(super) fn hold_to_last_copy(&mut self, id: ServiceId) {
        let known = self.clients.get(&id).map(|clients| clients.name.clone());
        let Some(name) = known.filter(|_| !self.is_ended(id)) else { return };
        self.check(Invariant::LastCopyKept);
        if self.places(id, None).is_empty() {
            self.fail(Invariant::LastCopyKept, format!("{name}: the last copy is gone"));
        }
    }

    /// Why a service's archive does not have everything that clients were told is safe.
    pub(super) fn unarchived(&self, id: ServiceId) -> Option<String> {
        match self.repositories(|all| all.restorable(id, None)) {
            Ok(log) => self.missing(id, &log),
            Err(why) => Some(why),
        }
    }

    /// Why a service's archive is not whole: everything that was acknowledged until a moment, and that its
    /// primary has, can be had back. `None`: it is.
    pub fn archive_gap(&self, service: &view::Service, until: Time) -> Option<String> {
        let clients = self.clients.get(&service.id)?;
        if service.state == State::Archived {
            return self.unarchived(service.id);
        }
        let restored = match self.repositories(|all| all.restorable(service.id, None)) {
            Ok(log) => log.rows().collect::<BTreeSet<u64>>(),
            Err(why) => return Some(format!("nothing can be restored: {why}")),
        };
        let primary = service.members.first()?.id;
        let server = self.hosts.iter().find_map(|host| host.machine.servers.get(&primary))?;
        let here: BTreeSet<u64> = server.log.rows().collect();
        let told = clients.acknowledged.iter().filter(|(_, (at, _))| *at <= until);
        let gone = told.filter(|(row, _)| here.contains(row) && !restored.contains(row)).count();
        (gone > 0).then(|| format!("{gone} acknowledged rows are not archived"))
    }

    /// All servers end their segments, as they would in a minute.
    pub fn end_segments(&mut self) {
        let now = self.now;
        for host in self.hosts.iter_mut().filter(|host| host.on) {
            host.machine.now = now;
            let members: Vec<MemberId> = host.machine.servers.keys().copied().collect();
            for member in members {
                host.machine.end_segment(member);
            }
        }
    }

    /// Whether a repository was lost with everything in it.
    pub const fn lost_a_repository(&self) -> bool {
        self.lost_repository
    }
}
