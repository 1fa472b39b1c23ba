//! Backups: when a job is due for a service, who does it, and what came of it.
//!
//! The story: a service has at most one job at a time beside its operation. A job is part of one member's
//! goal until its outcome is told; then it is recorded, and the next one may be due: log and backups that
//! nothing needs go, the newest backup is proven, another is taken when its time comes. While storage is
//! down none of this is begun, and nothing is let go.

mod away;
mod behind;
mod even;
mod holes;
mod places;
pub mod restore;
pub mod rows;
mod show;

use super::operate::LOOK_STEP_MAX;
use super::state::{Seen, Service};
use super::turn::Work;
use super::{Cell, goals};
use crate::backup::job::{Done, Job, What};
use crate::backup::lineage::{BackupId, Seed, Target};
use crate::backup::retention::{Held, Standing, expirable};
use crate::backup::schedule;
use crate::id::{HostId, MemberId, ServiceId};
use crate::journal::Topic;
use crate::member;
use crate::operation;
use crate::order::{Accepted, Error, Keys};
use crate::promise::Position;
use crate::service::{Health, Phase, shown};
use crate::time::{Span, Time};
use rows::{Archive, Failed, Running};

/// A job that takes longer is given up.
const JOB_MAX: Span = Span::mins(12 * 60);
/// After a job that failed the next is begun no sooner, doubled for each further one in a row.
const RETRY_STEP: Span = Span::secs(15);
/// Longest such wait.
const RETRY_MAX: Span = Span::mins(60);
/// Who waits for others' jobs is woken when one of those ends, and looks again after this besides.
const WAIT_STEP: Span = Span::secs(30);
/// The same for each so many who wait before it: a long queue is no shorter for being looked at.
const WAIT_MANY: usize = 32;
/// Longest reason that is kept.
const WHY_MAX_CHARS: usize = 400;

/// What is to be done next about a service's archive.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// A job.
    Do(What),
    /// Nothing before this.
    Wait(Time),
    /// Nothing now, for a reason that ends at no known time.
    Again,
    /// Nothing until something else changes: the end of storage's being down has everybody looked at.
    Rest,
}

impl Cell {
    /// Looks after a service's archive.
    pub(super) fn tend(&mut self, id: ServiceId, work: &mut Work) {
        self.hear_job(id, work);
        self.note_nothing_left(id, work);
        if self.state.services.get_mut(&id).is_some_and(Self::forget_givers) {
            work.record(id);
        }
        let Some(service) = self.state.services.get(&id) else { return };
        match self.next_job(service, work.now) {
            Next::Do(what) => {
                if !self.begin_job(id, what, work) {
                    let before = self.state.idle_jobs.len() / WAIT_MANY;
                    let step = WAIT_STEP.times(1 + before as u64).min(LOOK_STEP_MAX);
                    self.look_each(id, step, work.now);
                }
            }
            Next::Again => self.look_each(id, WAIT_STEP, work.now),
            Next::Wait(at) => self.look_at(id, at),
            Next::Rest => {}
        }
    }

    /// Whether a service's log and backups have anywhere to go.
    pub(in crate::cell) fn archives(&self, service: &Service) -> bool {
        service.row.archive.is_some() && !self.state.row.repositories.is_empty()
    }

    fn next_job(&self, service: &Service, now: Time) -> Next {
        let Some(archive) = service.row.archive.as_deref() else { return Next::Rest };
        if let Some(running) = &archive.job {
            return Next::Wait(running.since + JOB_MAX);
        }
        if !self.archives(service) {
            return Next::Rest;
        }
        let row = &service.row;
        // A disk that is about to be full waits for nothing, least of all for its server's health.
        let gives = row.phase == Phase::Serving && self.giver(service).is_some();
        if let Some(next) = archive.giving_up(now).filter(|_| gives) {
            return next;
        }
        if row.phase == Phase::Retired && row.operation.is_none() {
            return self.last_due(service, archive, now);
        }
        if row.phase != Phase::Serving || row.health != Health::Healthy || row.operation.is_some() {
            return Next::Rest;
        }
        if let Some(again) = archive.again().filter(|again| now < *again) {
            return Next::Wait(again);
        }
        if archive.is_open() {
            return Next::Do(What::Backup { rate_max: self.setup.policy.backup_rate_max });
        }
        if self.has_no_storage(now) {
            return Next::Rest;
        }
        self.due(service, archive, now)
    }

    fn due(&self, service: &Service, archive: &Archive, now: Time) -> Next {
        let policy = &self.setup.policy;
        let what = What::Backup { rate_max: policy.backup_rate_max };
        let Some(last) = archive.backups.last() else {
            let spread = schedule::spread(service.row.id, policy.backup_first_within);
            let due = service.row.since + Span(spread);
            return if now >= due { Next::Do(what) } else { Next::Wait(due) };
        };
        // What is new goes before what tidies up: expiry fails for as long as a repository is away.
        let due = policy.backup.due(service.row.id, Some(Time(last.ended.millis())));
        if now >= due {
            return Next::Do(what);
        }
        let proof = match &archive.proof {
            // The first is soon; afterwards every one has its own moment.
            None => {
                Time(last.ended.millis())
                    + Span(schedule::spread(service.row.id, policy.prove_first_within))
            }
            Some(proof) => Time(proof.begun.millis()) + policy.prove_every,
        };
        if now >= proof
            && let Some(seed) = self.own_seed(service)
        {
            return Next::Do(What::Prove(Box::new(seed)));
        }
        if let Some(expiry) = self.expiry(service, archive, now) {
            return Next::Do(expiry);
        }
        match self.evener(service) {
            Some(_) if now < proof => Next::Do(What::Even),
            _ if now < proof => Next::Wait(due.min(proof)),
            _ => Next::Wait(due),
        }
    }

    /// What is past its time, if anything is.
    fn expiry(&self, service: &Service, archive: &Archive, now: Time) -> Option<What> {
        let keep = goals::plan(&self.setup, &service.row).1.keep;
        let keep = self.setup.policy.backup_keep.or(keep)?;
        let gone = expirable(&held(archive), keep, now);
        let stays = archive.backups.iter().filter(|backup| !gone.contains(&backup.id.0));
        let before = stays.map(|backup| backup.from).min().unwrap_or(Position(0));
        let backups: Vec<_> = gone.iter().copied().map(BackupId).collect();
        (!gone.is_empty()).then_some(What::Expire { backups, before })
    }

    /// A service's newest backup, and all of its log.
    fn own_seed(&self, service: &Service) -> Option<Seed> {
        let around = goals::Around::of(&self.state);
        Some(Seed {
            archive: goals::archive(&self.setup, around, &service.row)?,
            backup: service.row.archive.as_ref()?.backups.last().map(|backup| backup.id),
            target: Target::Latest,
            owner: service.row.owner().to_owned(),
            covered: false,
        })
    }

    /// Who does a job, so that the primary has as little of it as can be: a standby where one follows, if
    /// the engine can take a backup there.
    fn doer(&self, service: &Service, what: &What) -> Option<(MemberId, HostId)> {
        if service.row.phase == Phase::Retired {
            return self.sealed_primary(service);
        }
        let engine = service.row.archive.as_ref().map(|archive| archive.engine).unwrap_or_default();
        let on_standby = engine.works_on_standby(what);
        let members = service.row.members.iter().zip(&service.seen);
        let fit = |seen: &&Seen, first: bool| match seen.state {
            member::State::Ready => first,
            member::State::Following => seen.replication.as_ref().is_some_and(|r| r.streams),
            _ => false,
        };
        let speaks = |host: &HostId| self.state.hosts.get(host).is_some_and(|host| host.speaks());
        let able = members.enumerate().filter(|(at, (member, seen))| {
            (*at == 0 || on_standby)
                && member.stays()
                && speaks(&member.host)
                && seen.as_ref().is_some_and(|s| fit(&s, *at == 0))
        });
        able.map(|(_, (member, _))| (member.id, member.host)).next_back()
    }

    /// Whether one job more is not too many for a host, or for the repositories.
    fn bears(&self, host: HostId) -> bool {
        let policy = &self.setup.policy;
        let hosts = self.state.working.values().filter(|at| **at == host).count();
        let max = |limit: u16| usize::from(limit);
        hosts < max(policy.backup_host_max)
            && self.state.working.len() < max(policy.backup_repository_max)
    }

    /// Begins a job; false: it must wait for others.
    fn begin_job(&mut self, id: ServiceId, what: What, work: &mut Work) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let doer = match what {
            What::GiveUp => self.giver(service),
            What::Even => self.evener(service).filter(|(_, host)| self.bears(*host)),
            _ => self.doer(service, &what).filter(|(_, host)| self.bears(*host)),
        };
        let Some((member, host)) = doer else {
            self.state.idle_jobs.insert(id);
            return false;
        };
        self.state.idle_jobs.remove(&id);
        self.give_job(id, what, member, host, work);
        true
    }

    fn give_job(
        &mut self,
        id: ServiceId,
        what: What,
        member: MemberId,
        host: HostId,
        work: &mut Work,
    ) -> u32 {
        self.state.row.jobs += 1;
        let (number, since) = (self.state.row.jobs, work.now);
        let on = self.state.host_name(host).to_owned();
        work.cell = true;
        self.state.working.insert(id, host);
        let Some(service) = self.state.services.get_mut(&id) else { return number };
        let Some(archive) = service.row.archive.as_mut() else { return number };
        let text = format!("{} {} begins on {on}", what.name(), BackupId(number));
        let job = Job { id: number, what };
        archive.job = Some(Box::new(Running { job, member, since }));
        work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
        work.record(id);
        self.settle(id, work);
        self.look_at(id, since + JOB_MAX);
        number
    }

    /// Takes what its agent says of a service's job.
    fn hear_job(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let row = &mut service.row;
        let Some(archive) = row.archive.as_mut() else { return };
        let Some(running) = &archive.job else { return };
        let at = row.members.iter().position(|member| member.id == running.member);
        let told = at.and_then(|at| service.seen[at].as_ref()?.archive.as_ref()?.job.clone());
        let late = work.now.since(running.since) >= JOB_MAX;
        let outcome = match told.filter(|told| told.id == running.job.id) {
            Some(told) => told.outcome,
            None if at.is_none() => Err("its member is gone".to_owned()),
            None if late => Err(format!("it took longer than {JOB_MAX}")),
            None => return,
        };
        let Some(running) = archive.job.take() else { return };
        let took = work.now.since(running.since);
        let what = format!("{} {}", running.job.what.name(), BackupId(running.job.id));
        let last = matches!(running.job.what, What::Last(_)) && running.since >= row.since;
        let recorded = record(archive, &running, outcome, work.now);
        let put_away = last && recorded.is_ok() && row.phase == Phase::Retired;
        if put_away {
            archive.whole_at = Some(work.now);
        }
        let text = match recorded {
            Ok(done) => format!("{what} done in {took}: {done}"),
            Err(why) => format!("{what} failed: {why}"),
        };
        work.note(Topic::Operation, row.name.as_str(), text, Vec::new());
        work.record(id);
        self.settle(id, work);
        self.state.working.remove(&id);
        if put_away {
            self.put_away(id, &running, work);
        }
        // Who waited for it may begin.
        let waiting: Vec<ServiceId> = self.state.idle_jobs.iter().take(4).copied().collect();
        work.services.extend(waiting);
    }

    /// Takes an order for a job; its number.
    pub(super) fn order_job(
        &mut self,
        name: &str,
        keys: Option<&Keys>,
        prove: bool,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let service = self.state.named(name);
        let service = service.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        let (id, row) = (service.row.id, &service.row);
        let word = if prove { "a proof" } else { "a backup" };
        if row.archive.is_none() && keys.is_none() || !goals::plan(&self.setup, row).1.archives() {
            return Err(Error::NoArchive { name: name.to_owned() });
        }
        if self.state.row.repositories.is_empty() {
            return Err(Error::NoRepository);
        }
        if row.phase != Phase::Serving {
            let state = shown(row.phase, row.health);
            return Err(Error::NotNow { order: word.to_owned(), name: name.to_owned(), state });
        }
        if let Some(running) = row.archive.as_ref().and_then(|archive| archive.job.as_ref()) {
            let job = &running.job;
            let same =
                matches!((&job.what, prove), (What::Backup { .. }, false) | (What::Prove(_), true));
            if same {
                // Whoever wants one has one: it begins no sooner by being refused.
                let text = format!("{word} of {name} is under way already");
                return Ok(Accepted {
                    service: Some(id),
                    operation: None,
                    job: Some(job.id),
                    text,
                });
            }
            let running = format!("{} {}", running.job.what.name(), BackupId(running.job.id));
            return Err(Error::JobRunning { name: name.to_owned(), running });
        }
        let nobody = || Error::NoMember { name: name.to_owned() };
        let what = match prove {
            false => What::Backup { rate_max: 0 },
            true => {
                let none = || Error::NoBackup { name: name.to_owned() };
                let seed = self.own_seed(service).filter(|seed| seed.backup.is_some());
                What::Prove(Box::new(seed.ok_or_else(none)?))
            }
        };
        let (member, host) = self.doer(service, &what).ok_or_else(nobody)?;
        if let (Some(service), Some(keys)) = (self.state.services.get_mut(&id), keys) {
            service.row.archive.get_or_insert_with(|| Box::new(Archive::new(keys)));
        }
        let number = self.give_job(id, what, member, host, work);
        let text = format!("{word} of {name} begins on {}", self.state.host_name(host));
        Ok(Accepted { service: Some(id), operation: None, job: Some(number), text })
    }

    /// Storage is back: jobs that waited for that have no timer.
    pub(super) fn wake_stored(&mut self) {
        let (ids, now) = (self.state.services.keys().collect::<Vec<_>>(), self.state.now);
        ids.into_iter().for_each(|id| self.look_each(id, WAIT_STEP, now));
    }

    /// Whether an operation keeps its service from being looked after until it is over for long.
    pub(super) fn is_restored(service: &Service) -> bool {
        use operation::Kind;
        let of = |running: &operation::Operation| matches!(running.kind, Kind::Fork | Kind::Import);
        service.row.operation.as_deref().is_some_and(of)
    }
}

impl Archive {
    /// An archive that nothing is in yet.
    pub fn new(keys: &Keys) -> Self {
        Self {
            home: None,
            generation: 1,
            engine: keys.engine,
            key: keys.key.clone(),
            wrapped: keys.wrapped.clone(),
            backups: Vec::new(),
            proof: None,
            proven: None,
            whole_at: None,
            job: None,
            failed: None,
            flush: 0,
            put_away: false,
            bare: false,
            owner: None,
            origin: None,
            holes: Vec::new(),
            give_up: Vec::new(),
            import: None,
        }
    }

    /// Notes that nothing came of a job; why, as it is kept.
    fn note_failed(&mut self, job: u32, why: String, at: Time) -> String {
        let why: String = why.chars().take(WHY_MAX_CHARS).collect();
        let times = self.failed.as_ref().map_or(0, |failed| failed.times).saturating_add(1);
        self.failed = Some(Box::new(Failed { job, at, times, why: why.clone() }));
        why
    }

    /// When the next job may begin, after one that failed.
    fn again(&self) -> Option<Time> {
        let failed = self.failed.as_ref()?;
        let doubled = 1 << u32::from(failed.times.saturating_sub(1).min(16));
        Some(failed.at + RETRY_STEP.times(doubled).min(RETRY_MAX))
    }
}

fn held(archive: &Archive) -> Vec<Held> {
    // A later proof that went wrong leaves it the newest that is known to be right.
    let newest = archive.proof.as_ref().filter(|proof| proof.wrong.is_empty()).map(|p| p.backup);
    let proven = archive.proven.or(newest);
    let of = |backup: &crate::backup::job::Backup| Held {
        id: backup.id.0,
        ended: Time(backup.ended.millis()),
        standing: if proven == Some(backup.id) { Standing::Proven } else { Standing::Complete },
        upon: None,
    };
    archive.backups.iter().map(of).collect()
}

/// Records an outcome; what it came to, or why it did not.
fn record(
    archive: &mut Archive,
    running: &Running,
    outcome: Result<Done, String>,
    now: Time,
) -> Result<String, String> {
    let fail =
        |archive: &mut Archive, why: String| Err(archive.note_failed(running.job.id, why, now));
    match outcome {
        Err(why) => fail(archive, why),
        Ok(Done::Backup(backup)) => {
            archive.failed = None;
            let (bytes, stored) = (backup.bytes >> 20, backup.stored >> 20);
            let places = backup.repositories.join(", ");
            archive.close(&backup);
            archive.backups.retain(|known| known.id != backup.id);
            archive.backups.push(backup);
            Ok(format!("{bytes} MiB, {stored} MiB stored in {places}"))
        }
        Ok(Done::Proof(proof)) => {
            let wrong = proof.wrong.clone();
            let text = format!(
                "{} restored in {} ms, {} relations checked",
                proof.backup, proof.restore_ms, proof.relations
            );
            let backup = proof.backup;
            archive.proof = Some(proof);
            if wrong.is_empty() {
                archive.proven = Some(backup);
                // How often its members could not go after a last proof counts until they are gone.
                if !matches!(running.job.what, What::Last(_)) {
                    archive.failed = None;
                }
                return Ok(text);
            }
            fail(archive, format!("{text}; wrong: {}", wrong.join("; ")))
        }
        Ok(Done::Expired { objects }) => {
            if let What::Expire { backups, .. } = &running.job.what {
                archive.backups.retain(|backup| !backups.contains(&backup.id));
                archive.forget_holes();
            }
            archive.failed = None;
            Ok(format!("{objects} objects removed"))
        }
        Ok(Done::Evened { objects }) => {
            archive.failed = None;
            Ok(format!("{objects} objects copied"))
        }
        Ok(Done::GaveUp { bytes }) => {
            archive.give_up.retain(|member| *member != running.member);
            archive.failed = None;
            Ok(format!("{} MiB of log are archived nowhere", bytes >> 20))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::job::{Backup, Proof};
    use crate::goal::Password;
    use crate::moment::Moment;

    fn job(id: u32) -> Running {
        let job = Job { id, what: What::Backup { rate_max: 0 } };
        Running { job, member: MemberId(1), since: Time(0) }
    }

    fn backup(id: u32) -> Done {
        let at = Moment::of_millis(u64::from(id) * 1000);
        Done::Backup(Backup {
            id: BackupId(id),
            begun: at,
            ended: at,
            from: Position(u64::from(id)),
            to: Position(u64::from(id)),
            timeline: 1,
            bytes: 0,
            stored: 0,
            repositories: Vec::new(),
        })
    }

    fn proof(id: u32, wrong: &[&str]) -> Done {
        Done::Proof(Proof {
            backup: BackupId(id),
            begun: Moment::of_millis(0),
            restore_ms: 0,
            canary: None,
            relations: 0,
            wrong: wrong.iter().map(|wrong| (*wrong).to_owned()).collect(),
        })
    }

    #[test]
    fn a_proof_that_went_wrong_leaves_the_newest_proven_backup_what_it_is() {
        let keys = Keys {
            key: Password(String::new()),
            wrapped: String::new(),
            engine: crate::backup::engine::Engine::Native,
        };
        let mut archive = Archive::new(&keys);
        let story = [backup(1), proof(1, &[]), backup(2), backup(3), proof(3, &["a torn page"])];
        for (id, done) in (1..).zip(story) {
            let _told = record(&mut archive, &job(id), Ok(done), Time(u64::from(id)));
        }
        let keep = crate::backup::retention::Keep { count: 1, window: Span(0) };
        // 2 is not proven and not the newest; what is known to be right stays beside the newest.
        assert_eq!(expirable(&held(&archive), keep, Time(1 << 30)), [2]);
        assert!(archive.proof.is_some_and(|proof| !proof.wrong.is_empty()), "people are told");
    }
}
