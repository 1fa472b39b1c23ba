//! From retired to archived: when the grace period is over, or a person says so, the archive is proven to
//! hold everything, and only then the disks go. The archive itself stays until its service is terminated.
//!
//! Invariants: members are removed only after a last proof that began after they were sealed, whose end was
//! told as it happened and a moment ago, and while nothing is known that it would not hold against. The
//! primary's goes last: what is left of a removal that was given up has everything, and is proven again.

use super::super::state::{Seen, Service};
use super::super::turn::Work;
use super::super::{Cell, rows};
use super::Next;
use super::rows::{Archive, Running};
use crate::backup::job::What;
use crate::backup::lineage::Repository;
use crate::claim::Lane;
use crate::goal::Want;
use crate::id::{HostId, MemberId, ServiceId};
use crate::journal::Topic;
use crate::member;
use crate::operation::{Cause, Kind, Operation};
use crate::order::{Accepted, Error};
use crate::service::{Phase, shown};
use crate::time::{Span, Time};

/// A removal is ordered so long after its last proof at most. A standby's directory of a hundred GiB is
/// removed in less; one that takes longer costs another proof.
const WHOLE_FOR: Span = Span::secs(60);
/// What a host did while it was not heard is told in so long.
const FIRST_WORDS: Span = Span::secs(10);

impl Cell {
    /// What is to be done about a retired service's archive.
    pub(super) fn last_due(&self, service: &Service, archive: &Archive, now: Time) -> Next {
        let due = service.row.since + self.setup.policy.retired_keep;
        if !archive.put_away && now < due {
            return Next::Wait(due);
        }
        if let Some(again) = archive.again().filter(|again| now < *again) {
            return Next::Wait(again);
        }
        if self.has_no_storage(now) {
            return Next::Rest;
        }
        // A proof that nothing could follow would be for nothing. News of a host has it looked at again.
        if self.away(service).is_some() {
            return Next::Rest;
        }
        if self.gate(&service.row, Lane::Planned, (false, None), now).is_err() {
            return Next::Again;
        }
        // Without a backup the disks are all there is.
        let seed = self.own_seed(service).filter(|seed| seed.backup.is_some());
        seed.map_or(Next::Rest, |seed| Next::Do(What::Last(Box::new(seed))))
    }

    /// The member that has everything, where it can be asked.
    pub(super) fn sealed_primary(&self, service: &Service) -> Option<(MemberId, HostId)> {
        let (primary, seen) = (service.row.primary(), service.seen.first()?.as_ref()?);
        let speaks = self.state.hosts.get(&primary.host).is_some_and(|host| host.speaks());
        (speaks && seen.state == member::State::Sealed).then_some((primary.id, primary.host))
    }

    /// Takes the order to put a retired service away now.
    pub(in crate::cell) fn order_away(
        &mut self,
        name: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let service = self.state.named(name);
        let service = service.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        let (id, row) = (service.row.id, &service.row);
        if row.phase != Phase::Retired || row.operation.is_some() {
            let state = shown(row.phase, row.health);
            let (order, name) = ("archive; retire it first".to_owned(), name.to_owned());
            return Err(Error::NotNow { order, name, state });
        }
        if !self.archives(service) {
            return Err(Error::NoArchive { name: name.to_owned() });
        }
        if row.archive.as_ref().is_none_or(|archive| archive.backups.is_empty()) {
            return Err(Error::NoBackup { name: name.to_owned() });
        }
        let service = self.state.services.get_mut(&id);
        if let Some(archive) = service.and_then(|service| service.row.archive.as_mut()) {
            (archive.put_away, archive.failed) = (true, None);
        }
        work.record(id);
        work.services.insert(id);
        let away = self.state.services.get(&id).and_then(|service| self.away(service));
        let waits = away.map_or_else(String::new, |host| format!(", once {host} is heard"));
        let text = format!("{name}: its archive is proven to its end{waits}, then its disks go");
        Ok(Accepted { service: Some(id), operation: None, job: None, text })
    }

    /// Members that are not known to be gone, with what was seen of them.
    fn left(service: &Service) -> impl Iterator<Item = (&rows::Member, Option<&Seen>)> {
        let members = service.row.members.iter().zip(&service.seen);
        let members = members.map(|(member, seen)| (member, seen.as_ref()));
        members.filter(|(_, seen)| seen.is_none_or(|seen| seen.state != member::State::Gone))
    }

    /// A host that is away with a member of a service on it; by name.
    fn away(&self, service: &Service) -> Option<&str> {
        let speaks = |host: &HostId| self.state.hosts.get(host).is_some_and(|host| host.speaks());
        let away = Self::left(service).find(|(member, _)| !speaks(&member.host));
        away.map(|(member, _)| self.state.host_name(member.host))
    }

    /// Why what is left of a service must not go by its last proof; `None`: it may. Asked at every turn
    /// before anything is sent.
    pub(in crate::cell) fn must_stay(
        &self,
        service: &Service,
        operation: &Operation,
        now: Time,
    ) -> Option<String> {
        if operation.kind != Kind::Archive || Self::left(service).next().is_none() {
            return None;
        }
        if let Some(host) = self.away(service) {
            return Some(format!("the agent of {host} is not heard"));
        }
        let Some(whole) = service.row.archive.as_ref().and_then(|archive| archive.whole_at) else {
            return Some("its last proof holds no more".to_owned());
        };
        // What was ordered in time may take its time; whoever has it on its disk was told just then.
        let ordered = if operation.claimed { operation.ordered } else { now };
        let age = ordered.since(whole);
        (age > WHOLE_FOR).then(|| format!("its last proof was {age} old"))
    }

    /// A removal is given up: what is left is sealed as it was, and its service is retired as before. The
    /// next last proof comes in its time.
    pub(in crate::cell) fn keep_rest(&mut self, id: ServiceId, why: &str, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let members = service.row.members.iter_mut().zip(&service.seen);
        let gone = |seen: &Option<Seen>| {
            seen.as_ref().is_some_and(|seen| seen.state == member::State::Gone)
        };
        for (member, _) in members.filter(|(member, seen)| member.stays() && !gone(seen)) {
            member.want = Want::Sealed;
        }
        if let Some(archive) = service.row.archive.as_mut() {
            let job = self.state.row.jobs;
            archive.whole_at = None;
            archive.note_failed(job, format!("its disks stay: {why}"), work.now);
        }
        let text = format!("what is left of its disks stays: {why}");
        work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
        if let Some(host) = self.state.hosts.get_mut(&service.row.primary().host) {
            host.waiting.remove(&id);
        }
        self.settle(id, work);
        self.end(id, None, "given up", work);
    }

    /// A removal that was given up was carried out all the same, by hosts that heard of it before: nothing
    /// is left to stay.
    pub(super) fn note_nothing_left(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let (row, archive) = (&service.row, service.row.archive.as_ref());
        let rests = row.phase == Phase::Retired && row.operation.is_none();
        let has = archive.is_some_and(|archive| !archive.backups.is_empty());
        if rests && has && Self::left(service).next().is_none() {
            let by = Cause::Order { by: "its last proof, before it was given up".into() };
            self.start(id, Kind::Archive, by, work);
        }
    }

    /// The last proof is there: its members go, if it holds.
    pub(super) fn put_away(&mut self, id: ServiceId, proof: &Running, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        if service.row.operation.is_some() {
            return;
        }
        match self.doubted(service, proof, work.now) {
            None => {
                let by = Cause::Order { by: "its last proof".into() };
                self.start(id, Kind::Archive, by, work);
            }
            Some(why) => self.keep_rest(id, &why, work),
        }
    }

    /// Why a last proof that succeeded does not hold, by what is known of its time.
    fn doubted(&self, service: &Service, proof: &Running, now: Time) -> Option<String> {
        let What::Last(seed) = &proof.job.what else { return None };
        let known = &self.state.row.repositories;
        let mut of = seed.archive.repositories.iter();
        let gone = of.find(|of| {
            let same = |known: &&Repository| known.name == of.name;
            !known.iter().find(same).is_some_and(|k| k.location.is_same_place(&of.location))
        });
        if let Some(gone) = gone {
            return Some(format!("repository {} was removed during its last proof", gone.name));
        }
        let by = service.row.members.iter().find(|member| member.id == proof.member)?;
        let host = self.state.hosts.get(&by.host)?;
        // An end that comes with the first words after a silence may be of any time in it.
        let silence = host.heard_since > proof.since;
        let first = now.since(host.heard_since) < FIRST_WORDS;
        (silence && first)
            .then(|| format!("the end of its last proof was told late by {}", host.row.name))
    }

    /// Its members are gone: only the archive is left, and what its service is known by.
    pub(in crate::cell) fn note_bare(&mut self, id: ServiceId, work: &mut Work) {
        let Some(mut service) = self.state.remove(id) else { return };
        if let Some(archive) = service.row.archive.as_mut() {
            (archive.bare, archive.put_away, archive.job) = (true, false, None);
            (archive.whole_at, archive.failed) = (None, None);
        }
        service.seen.iter_mut().for_each(|seen| *seen = None);
        let name = service.row.name.clone();
        let text = "only its archive remains; revive makes new members from it".to_owned();
        work.note(Topic::Transition, name.as_str(), text, Vec::new());
        // Its hosts forget the goals with the next whole list.
        let hosts: Vec<HostId> = service.row.members.iter().map(|member| member.host).collect();
        self.state.insert(service);
        self.wake_forks(id, work);
        work.whole.extend(&hosts);
        work.hosts.extend(hosts);
    }
}
