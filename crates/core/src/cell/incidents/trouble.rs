//! Troubles: what of a service or host needs a person now, and what it rests on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::Soft;
use crate::alert::IncidentId;
use crate::cell::Cell;
use crate::cell::state::{Host, Service};
use crate::cell::turn::Work;
use crate::check::Severity;
use crate::decide::Decision;
use crate::host;
use crate::id::{HostId, ServiceId};
use crate::incident::{Domain, Population, Sort, Subject, Trouble};
use crate::machine::Machine;
use crate::service::shown;
use crate::time::Time;

/// Why somebody needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The check's name.
    pub check: SmolStr,
    /// What was seen.
    pub text: String,
    /// Since when.
    pub since: Time,
}

/// As many who need a person are many.
const MANY: usize = 200;

impl Cell {
    /// Looks whether a service or host needs a person, after it was looked at.
    pub(in crate::cell) fn note_need(&mut self, subject: Subject, work: &mut Work) {
        let found = match subject {
            Subject::Service(id) => {
                let own = self.service_need(id, work.now);
                own.or_else(|| {
                    let (check, text) = self.archive_need(id, work.now)?;
                    Some((check.into(), Some(text)))
                })
            }
            Subject::Host(id) => self.host_need(id, work.now),
        };
        let Soft { needs, news, .. } = &mut self.state.incidents;
        let changed = match (found, needs.get_mut(&subject)) {
            (Some((check, text)), Some(known)) if known.check == check => {
                // What was decided when the person was told says more than that it lasts.
                if let Some(text) = text {
                    known.text = text;
                }
                false
            }
            (Some((check, text)), known) => {
                let since = known.map_or(work.now, |known| known.since);
                let text = text.unwrap_or_else(|| "it has been so for too long".to_owned());
                needs.insert(subject, Need { check, text, since });
                news.insert(subject);
                true
            }
            (None, Some(_)) => needs.remove(&subject).is_some(),
            (None, None) => false,
        };
        self.look_at_incidents(changed, work);
    }

    /// Who needs a person has changed. Where many do, one more or less can wait for the others: a whole cell in
    /// trouble is gone through once for all that change within a while.
    fn look_at_incidents(&mut self, changed: bool, work: &mut Work) {
        if !changed {
            return;
        }
        if self.state.incidents.needs.len() < MANY {
            work.incidents = true;
            return;
        }
        let step = self.setup.policy.incidents.gather.0.max(1);
        let due = Time((work.now.0 / step + 1) * step);
        self.state.timers.incidents(due);
    }

    /// Check and words for what of a service needs a person; no words where the known ones say it.
    fn service_need(&self, id: ServiceId, now: Time) -> Option<(SmolStr, Option<String>)> {
        let service = self.state.services.get(&id)?;
        let row = &service.row;
        if row.paged {
            let known = self.state.incidents.needs.contains_key(&Subject::Service(id));
            let text = match self.decision(id, now) {
                Some(Decision::Hold(reason)) if reason.needs_a_person() => Some(reason.to_string()),
                _ if known => None,
                _ => {
                    let state = shown(row.phase, row.health);
                    Some(format!("it is {state}, and has been for too long"))
                }
            };
            return Some((SmolStr::new_static("state-lasts"), text));
        }
        if let Some(operation) = row.operation.as_ref().filter(|operation| operation.paged) {
            let text = format!("{} is late at \"{}\"", operation.spec().name, operation.at().name);
            return Some((SmolStr::new_static("operation-late"), Some(text)));
        }
        let seen = service.seen.iter().flatten().filter_map(|seen| seen.checks.as_ref());
        let worst = seen.flat_map(|checks| checks.iter()).find(|c| c.severity == Severity::Page)?;
        Some((worst.check.as_str().into(), Some(worst.evidence.clone())))
    }

    /// The same for a host. One that falls silent for too long has a timer.
    fn host_need(&mut self, id: HostId, now: Time) -> Option<(SmolStr, Option<String>)> {
        let began = self.state.began;
        let host = self.state.hosts.get(&id)?;
        if matches!(host.state, host::State::Uncertain | host::State::Down)
            && let Some(limit) = host::Machine::deadline(host.state)
        {
            let due = host.heard.unwrap_or(began) + limit;
            if now >= due {
                let text = format!("its agent is silent; it is {}", host.state);
                return Some((SmolStr::new_static("host-heard"), Some(text)));
            }
            self.state.timers.host(id, due);
        }
        if let Some(operation) = host.row.operation.as_ref().filter(|operation| operation.paged) {
            let text = format!("{} is late at \"{}\"", operation.spec().name, operation.at().name);
            return Some((SmolStr::new_static("operation-late"), Some(text)));
        }
        let checks = host.hello.as_ref().map_or(&[][..], |hello| &hello.checks);
        let worst = checks.iter().find(|check| check.severity == Severity::Page)?;
        Some((worst.check.as_str().into(), Some(worst.evidence.clone())))
    }

    /// The incident that a service or host is a member of; number 0: of none.
    pub(super) fn incident_of(&self, subject: Subject) -> IncidentId {
        match subject {
            Subject::Service(id) => self.state.services.get(&id).map(|s| s.row.incident),
            Subject::Host(id) => self.state.hosts.get(&id).map(|h| h.row.incident),
        }
        .unwrap_or_default()
    }

    /// Makes it a member of an incident, in its own row.
    pub(super) fn enlist(&mut self, subject: Subject, incident: IncidentId, work: &mut Work) {
        match subject {
            Subject::Service(id) => {
                let Some(service) = self.state.services.get_mut(&id) else { return };
                service.row.incident = incident;
                work.record(id);
            }
            Subject::Host(id) => {
                let Some(host) = self.state.hosts.get_mut(&id) else { return };
                host.row.incident = incident;
                work.record_host(id);
            }
        }
    }

    /// Its name.
    pub(super) fn name_of(&self, subject: Subject) -> String {
        match subject {
            Subject::Service(id) => {
                let service = self.state.services.get(&id);
                service.map_or_else(|| id.to_string(), |s| s.row.name.as_str().to_owned())
            }
            Subject::Host(id) => self.state.host_name(id).to_owned(),
        }
    }

    /// The failure domains that may be the cause of what is wrong with it: those it is in. A repository is
    /// one only of what has to do with archives, and only if it takes nothing of this service.
    pub(super) fn suffers_from(&self, subject: Subject) -> Vec<Domain> {
        match subject {
            Subject::Service(id) => self.state.services.get(&id).map(|service| {
                let mut domains = self.service_rests_on(service);
                let blamed = self.blamed_repositories(service);
                let is_other = |d: &Domain| d.sort == Sort::Repository && !blamed.contains(&d.name);
                domains.retain(|domain| !is_other(domain));
                domains
            }),
            Subject::Host(id) => self.state.hosts.get(&id).map(|host| places(host).to_vec()),
        }
        .unwrap_or_default()
    }

    fn service_rests_on(&self, service: &Service) -> Vec<Domain> {
        let row = &service.row;
        let mut domains = BTreeSet::new();
        let (mut zones, mut versions) = (BTreeSet::new(), BTreeSet::new());
        for member in row.members.iter().filter(|_| !row.is_bare()) {
            if let Some(host) = self.state.hosts.get(&member.host) {
                domains.extend(places(host));
                zones.insert(host.row.zone.as_str());
            }
            if let Some(image) = self.state.row.images.get(usize::from(member.image)) {
                domains.insert(Domain::new(Sort::Image, image.as_str()));
                // Members of one service may be of two versions, while it is upgraded.
                if let Some(version) = self.state.row.versions.get(image) {
                    versions.insert(format!("{} {version}", row.offer.kind));
                }
            }
        }
        for (at, a) in zones.iter().enumerate() {
            for b in zones.iter().skip(at + 1) {
                domains.insert(Domain::new(Sort::Path, format!("{a} - {b}")));
            }
        }
        if row.archive.is_some() {
            let repositories = self.state.row.repositories.iter();
            domains.extend(repositories.map(|r| Domain::new(Sort::Repository, r.name.as_str())));
        }
        if versions.is_empty() {
            versions.insert(row.offer.kind.to_string());
        }
        domains.extend(versions.into_iter().map(|version| Domain::new(Sort::Version, version)));
        domains.into_iter().collect()
    }

    /// Everybody who needs a person, as grouping takes it.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let trouble = |&subject: &Subject| Trouble {
            subject,
            alone: match subject {
                Subject::Service(_) => Domain::new(Sort::Service, self.name_of(subject)),
                Subject::Host(_) => Domain::new(Sort::Host, self.name_of(subject)),
            },
            rests_on: self.suffers_from(subject),
        };
        self.state.incidents.needs.keys().map(trouble).collect()
    }

    /// How many services there are, by what they rest on. Goes through all: only when somebody is grouped.
    pub(super) fn population(&self) -> Population {
        // What services rest on is put in words once for all that rest on the same.
        let mut alike: BTreeMap<_, (u32, &Service)> = BTreeMap::new();
        let mut population = Population::default();
        for service in self.state.services.values() {
            let row = &service.row;
            let subject = Subject::Service(row.id);
            if self.state.incidents.needs.contains_key(&subject) {
                // As it is told of, so that it is counted once.
                population.count(&self.suffers_from(subject), 1);
                continue;
            }
            let places: SmallVec<[_; 3]> = row.members.iter().map(|m| (m.host, m.image)).collect();
            let key = (places, *row.offer, row.archive.is_some(), row.is_bare());
            alike.entry(key).or_insert((0, service)).0 += 1;
        }
        for (count, service) in alike.into_values() {
            population.count(&self.service_rests_on(service), count);
        }
        population
    }

    /// Domains that are broken by the evidence about them themselves: hosts that are down, racks and zones of
    /// two hosts or more that all are, and repositories that take nothing of most services.
    pub(super) fn known_broken(&self) -> BTreeSet<Domain> {
        let mut known = self.broken_repositories();
        // How many hosts of each place there are, and how many of them are down.
        let mut all: BTreeMap<Domain, (u32, u32)> = BTreeMap::new();
        for host in self.state.hosts.values() {
            for place in places(host) {
                let (hosts, down) = all.entry(place).or_default();
                *hosts += 1;
                *down += u32::from(host.state == host::State::Down);
            }
        }
        let is_broken = |(place, (hosts, down)): &(Domain, (u32, u32))| {
            hosts == down && (*hosts > 1 || place.sort == Sort::Host)
        };
        known.extend(all.into_iter().filter(is_broken).map(|(place, _)| place));
        known
    }
}

/// The places that a host is, narrowest first: itself, its rack, its zone.
fn places(host: &Host) -> SmallVec<[Domain; 3]> {
    let row = &host.row;
    let mut places = SmallVec::new();
    places.push(Domain::new(Sort::Host, row.name.as_str()));
    // Two zones may have racks of one name.
    places.extend(
        row.rack.iter().map(|rack| Domain::new(Sort::Rack, format!("{}/{rack}", row.zone))),
    );
    places.push(Domain::new(Sort::Zone, row.zone.as_str()));
    places
}
