//! From retired to archived: when the grace period is over, or a person says so, the archive is proven to
//! hold everything, and only then the disks go. The archive itself stays until its service is terminated.
//!
//! Invariant: members are removed only after a last proof that began after they were sealed.

use super::super::state::Service;
use super::super::turn::Work;
use super::super::{Cell, Posture};
use super::Next;
use super::rows::Archive;
use crate::backup::job::What;
use crate::id::{HostId, MemberId, ServiceId};
use crate::journal::Topic;
use crate::member;
use crate::operation::{Cause, Kind};
use crate::order::{Accepted, Error};
use crate::service::{Phase, shown};
use crate::time::Time;

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
        if let Posture::StorageDown { .. } = self.posture(now) {
            return Next::Wait(now + super::WAIT_STEP);
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
        let text = format!("{name}: its archive is proven to its end, then its disks go");
        Ok(Accepted { service: Some(id), operation: None, job: None, text })
    }

    /// The last proof is there: its members go.
    pub(super) fn put_away(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        if service.row.operation.is_none() {
            let by = Cause::Order { by: "its last proof".into() };
            self.start(id, Kind::Archive, by, work);
        }
    }

    /// Its members are gone: only the archive is left, and what its service is known by.
    pub(in crate::cell) fn note_bare(&mut self, id: ServiceId, work: &mut Work) {
        let Some(mut service) = self.state.remove(id) else { return };
        if let Some(archive) = service.row.archive.as_mut() {
            (archive.bare, archive.put_away, archive.job) = (true, false, None);
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
