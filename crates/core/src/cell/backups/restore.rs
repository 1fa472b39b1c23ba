//! Services made from others' archives: forks, and rollbacks, which are forks that take their source's
//! place. Nothing of the source is changed before what was made from it serves.

use super::super::state::{Service, State};
use super::super::turn::Work;
use super::super::{Cell, goals};
use super::rows::{Archive, Origin};
use crate::backup::lineage::{Seed, Target};
use crate::id::{ServiceId, Term};
use crate::journal::Topic;
use crate::member;
use crate::moment::Moment;
use crate::name::ServiceName;
use crate::operation::{Cause, Effect, Kind};
use crate::order::{Accepted, Error, Keys};
use crate::service::{Health, Phase};
use crate::time::Time;

/// A fork's term is so much above its source's: its timeline must be none that its source may still take
/// while it is restored.
const TERMS_AHEAD: u32 = 16;
/// A target so far ahead of the clock is a mistake: hosts' clocks differ by less.
const AHEAD_MAX_MS: u64 = 5_000;

/// What is to be made from whom.
pub struct Wanted<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The new service's name; `None`: it takes its source's place.
    pub name: Option<&'a str>,
    /// How far.
    pub target: &'a Target,
    /// Of the new service's archive.
    pub keys: &'a Keys,
    /// The new owner's packed secret; a service that takes another's place keeps that one's.
    pub secret: &'a [u8],
}

impl Cell {
    /// Begins a service from another's archive.
    pub(in crate::cell) fn fork(
        &mut self,
        by: &str,
        wanted: &Wanted<'_>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let unknown = || Error::NoSuchService { name: wanted.source.to_owned() };
        let source = self.state.named(wanted.source).ok_or_else(unknown)?;
        let (source_id, source_row) = (source.row.id, source.row.clone());
        let seed = self.seed(source, wanted.target, work.now)?;
        let number = self.state.row.operations.next().0;
        let name = match wanted.name {
            Some(name) => name.to_owned(),
            None => aside(wanted.source, "rollback", number),
        };
        let replaces = wanted.name.is_none();
        let replaceable = matches!(source_row.phase, Phase::Serving | Phase::Archived);
        if replaces && (!replaceable || source_row.operation.is_some()) {
            let state = crate::service::shown(source_row.phase, source_row.health);
            let (order, name) = ("a rollback".to_owned(), wanted.source.to_owned());
            return Err(Error::NotNow { order, name, state });
        }
        let secret = if replaces { &source_row.secret[..] } else { wanted.secret };
        let offer = (source_row.offer.kind.as_str(), Some(source_row.offer.plan.as_str()));
        let id = self.create(&name, offer, secret, Some(wanted.keys), work)?;
        let Some(service) = self.state.services.get_mut(&id) else { return Err(unknown()) };
        service.row.term = Term(source_row.term.0 + TERMS_AHEAD);
        if let Some(promise) = service.row.promise.as_mut() {
            promise.term = service.row.term;
        }
        for member in &mut service.row.members {
            member.term = service.row.term;
        }
        let archive =
            service.row.archive.get_or_insert_with(|| Box::new(Archive::new(wanted.keys)));
        if replaces {
            let owner = ServiceName::new(source_row.owner());
            archive.owner = owner.ok();
        }
        archive.origin = Some(Box::new(Origin { seed, source: source_id, replaces }));
        self.state.forks.insert(id);
        self.start(id, Kind::Fork, Cause::Order { by: by.into() }, work);
        let text = format!("{name} is being restored from {} to {}", wanted.source, wanted.target);
        Ok(self.accepted(id, text))
    }

    /// Has a service serve again: from its disks, or in new members where only its archive is left.
    pub(in crate::cell) fn revive(
        &mut self,
        by: &str,
        name: &str,
        keys: Option<&Keys>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let archived = self.state.named(name).filter(|s| s.row.phase == Phase::Archived);
        match keys.filter(|_| archived.is_some()) {
            Some(keys) => {
                let target = &Target::Latest;
                self.fork(by, &Wanted { source: name, name: None, target, keys, secret: &[] }, work)
            }
            None => {
                let accepted = self.operate(by, name, Kind::Revive, work)?;
                let revived = accepted.service.and_then(|id| self.state.services.get_mut(&id));
                if let Some(archive) = revived.and_then(|service| service.row.archive.as_mut()) {
                    (archive.put_away, archive.whole_at, archive.failed) = (false, None, None);
                }
                Ok(accepted)
            }
        }
    }

    /// What a restore starts from, or why there is nothing.
    fn seed(&self, source: &Service, target: &Target, now: Time) -> Result<Seed, Error> {
        let name = || source.row.name.as_str().to_owned();
        let around = goals::Around::of(&self.state);
        let archive = goals::archive(&self.setup, around, &source.row);
        let archive = archive.ok_or_else(|| Error::NoArchive { name: name() })?;
        let backups = source.row.archive.as_ref().map_or(&[][..], |archive| &archive.backups);
        let Some(first) = backups.first() else { return Err(Error::NoBackup { name: name() }) };
        let from = first.ended;
        let refuse =
            |why: String| Err(Error::Unreachable { name: name(), target: target.to_string(), why });
        if let Some(why) = source.row.archive.as_ref().and_then(|archive| archive.hole(target)) {
            return refuse(why);
        }
        match target {
            Target::Moment(moment) if *moment < from => {
                return refuse(format!("its archive begins at {from}"));
            }
            Target::Moment(moment) if *moment > Moment::of_millis(now.0 + AHEAD_MAX_MS) => {
                return refuse("that is in the future".to_owned());
            }
            Target::Position(position) if *position < first.to => {
                return refuse(format!("its archive begins at {}", first.to));
            }
            Target::Point(point) if point.is_empty() || point.len() > 63 => {
                return refuse("a restore point's name has 1 to 63 bytes".to_owned());
            }
            _ => {}
        }
        let owner = source.row.owner().to_owned();
        Ok(Seed { archive, backup: None, target: target.clone(), owner, covered: false })
    }

    /// Has a restored service's source archive what it wrote so far.
    pub(in crate::cell) fn flush_source(&mut self, id: ServiceId, work: &mut Work) {
        let Some(source) = self.source(id).map(|source| source.row.id) else { return };
        if let Some(service) = self.state.services.get_mut(&source)
            && let Some(archive) = service.row.archive.as_mut()
        {
            archive.flush += 1;
            work.record(source);
            self.settle(source, work);
        }
    }

    /// What is made from a service waits for news of it: a restore that is not known to reach its target
    /// may be now.
    pub(in crate::cell) fn wake_forks(&mut self, source: ServiceId, work: &mut Work) {
        let State { forks, busy, .. } = &self.state;
        let of = |id: &&ServiceId| {
            busy.contains(*id) && self.source(**id).is_some_and(|found| found.row.id == source)
        };
        let forks: Vec<ServiceId> = forks.iter().filter(of).copied().collect();
        for id in forks {
            work.services.insert(id);
            if self.is_replaying(id) {
                self.note_covered(id, work);
            }
        }
    }

    /// Whether a service's first member is being restored.
    fn is_replaying(&self, id: ServiceId) -> bool {
        let service = self.state.services.get(&id);
        let operation = service.and_then(|service| service.row.operation.as_deref());
        operation.is_some_and(|o| {
            o.claimed && o.kind == Kind::Fork && o.at().order == Effect::RunPrimary
        })
    }

    fn source(&self, id: ServiceId) -> Option<&Service> {
        let origin = self.state.services.get(&id)?.row.archive.as_ref()?.origin.as_ref()?;
        self.state.services.get(&origin.source)
    }

    /// Why a source's log is not known to be archived; `None`: it is, or nobody can do it.
    pub(in crate::cell) fn unflushed(&self, service: &Service) -> Option<String> {
        let source = self.source(service.row.id)?;
        let able = source.row.phase == Phase::Serving && source.row.health == Health::Healthy;
        let pending = able && !Self::is_flushed(source);
        pending.then(|| format!("{}: its log is not archived up to now yet", source.row.name))
    }

    /// Whether a source's log is archived up to when that was last asked for. One that was archived itself
    /// wrote nothing more.
    fn is_flushed(source: &Service) -> bool {
        let Some(archive) = &source.row.archive else { return false };
        if archive.bare {
            return true;
        }
        let seen = source.seen.first().and_then(Option::as_ref);
        let ready = seen.filter(|seen| seen.state == member::State::Ready);
        ready
            .and_then(|seen| seen.archive.as_ref())
            .is_some_and(|said| said.flushed == archive.flush)
    }

    /// A restore begins, or goes on: whether its source's log is known to go on past its target. What was
    /// known once stays so.
    pub(in crate::cell) fn note_covered(&mut self, id: ServiceId, work: &mut Work) {
        if !self.source(id).is_some_and(Self::is_flushed) {
            return;
        }
        let service = self.state.services.get_mut(&id);
        let origin = service.and_then(|s| s.row.archive.as_mut()?.origin.as_mut());
        if origin.is_some_and(|origin| !std::mem::replace(&mut origin.seed.covered, true)) {
            work.record(id);
            self.settle(id, work);
        }
    }

    /// A restored service serves: it needs its origin no more, and takes its source's place if it should.
    pub(in crate::cell) fn restored(&mut self, id: ServiceId, work: &mut Work) {
        let service = self.state.services.get_mut(&id);
        let origin = service.and_then(|service| service.row.archive.as_mut()?.origin.take());
        self.state.forks.remove(&id);
        work.record(id);
        self.settle(id, work);
        let Some(origin) = origin.filter(|origin| origin.replaces) else { return };
        if self.state.services.contains(&origin.source) {
            self.take_place(id, origin.source, work);
        }
    }

    /// Exchanges names and endpoints; the service that had them is retired.
    fn take_place(&mut self, new: ServiceId, old: ServiceId, work: &mut Work) {
        let (Some(mut one), Some(mut other)) = (self.state.remove(new), self.state.remove(old))
        else {
            return;
        };
        let name = other.row.name.clone();
        let away = aside(name.as_str(), "before", self.state.row.operations.0);
        keep_owner(&mut other.row, &name);
        other.row.name = ServiceName::new(&away).unwrap_or_else(|_| one.row.name.clone());
        one.row.name = name.clone();
        std::mem::swap(&mut one.row.endpoint_port, &mut other.row.endpoint_port);
        std::mem::swap(&mut one.row.pooled_port, &mut other.row.pooled_port);
        let (away, retires) = (other.row.name.clone(), other.row.phase == Phase::Serving);
        let kept = if retires { "retired" } else { "archived" };
        let text =
            format!("{name} is what was restored; what it was until now is {away}, and is {kept}");
        work.note(Topic::Operation, name.as_str(), text, Vec::new());
        self.state.insert(one);
        self.state.insert(other);
        for id in [new, old] {
            work.record(id);
            work.routes.insert(id);
            work.services.insert(id);
            self.settle(id, work);
        }
        // Who waits for it may go by the endpoint at once: it is there when gateways have taken both routes.
        self.await_routes(new, work);
        if retires {
            self.drop_operation(old, "a rollback", work);
            self.start(old, Kind::Retire, Cause::Order { by: "a rollback".into() }, work);
        }
    }
}

/// A service's owner keeps its name when the service gets another.
fn keep_owner(row: &mut super::super::rows::Service, name: &ServiceName) {
    if let Some(archive) = row.archive.as_mut() {
        archive.owner.get_or_insert_with(|| name.clone());
    }
}

/// A name made of another's, no longer than names may be.
fn aside(name: &str, word: &str, number: u64) -> String {
    let end = format!("-{word}-{number}");
    let room = crate::name::LENGTH_MAX.saturating_sub(end.len());
    format!("{}{end}", &name[..name.len().min(room)])
}
