//! Incidents: what needs a person is gathered, grouped by its cause, told once, and followed to its end.
//!
//! The story: every look at a service or host says whether it needs a person ([`trouble`]). What does and
//! belongs to no incident joins one whose domain it is in, or waits a few seconds for company; then all
//! troubles are grouped ([`crate::incident::group`]) and each group is one incident. One that turns out to be
//! part of something wider gives its members to it under the number that was told first. An incident whose
//! members have all been fine for a while is resolved; for a while longer it may come back. Who is told of
//! it is in [`alerts`].
//!
//! Invariants:
//! - a service or host is a member of one incident at most, by its own row;
//! - what was told is never told again under another number;
//! - nothing is looked at here unless a trouble came or went, or a timer is due.

pub(super) mod alerts;
mod orders;
mod repositories;
pub mod rows;
mod show;
mod standing;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::repositories::Failing;
use self::rows::{Alerts, Incident};
use self::trouble::Need;
use super::Cell;
use super::turn::Work;
use crate::alert::IncidentId;
use crate::check::Severity;
use crate::edge::Edge;
use crate::id::ServiceId;
use crate::incident::{Event, Group, Machine, Shares, Sort, State, Subject, group};
use crate::journal::Topic;
use crate::machine::Machine as _;
use crate::time::Time;

/// Sentences of evidence that an incident keeps.
const EVIDENCE_MAX: usize = 8;

/// What is known of incidents.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Soft {
    /// Incidents, those that are over too.
    pub rows: BTreeMap<IncidentId, Incident>,
    /// The chain.
    pub alerts: Alerts,
    /// Who needs a person, and why.
    pub needs: BTreeMap<Subject, Need>,
    /// Of these, those of whom it is another thing than when all were gone through last.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub news: BTreeSet<Subject>,
    /// Of these, those that are part of no incident that goes on: they wait for company.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub loose: BTreeSet<Subject>,
    /// Members by incident.
    pub members: BTreeMap<IncidentId, BTreeSet<Subject>>,
    /// Since when somebody waits to be grouped.
    pub loose_since: Option<Time>,
    /// Services that some repository takes nothing of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing: BTreeMap<ServiceId, Failing>,
}

impl Soft {
    /// Incidents that are not over.
    fn active(&self) -> impl Iterator<Item = &Incident> {
        self.rows.values().filter(|incident| incident.state.is_active())
    }

    /// Who needs a person and may belong elsewhere than it does.
    fn take_unsettled(&mut self) -> BTreeSet<Subject> {
        let mut unsettled = std::mem::take(&mut self.news);
        unsettled.append(&mut self.loose);
        unsettled.retain(|subject| self.needs.contains_key(subject));
        unsettled
    }

    /// Whether somebody of an incident needs a person now.
    fn is_troubled(&self, id: IncidentId) -> bool {
        let members = self.members.get(&id);
        members.into_iter().flatten().any(|member| self.needs.contains_key(member))
    }
}

impl Cell {
    /// Everything about incidents in one turn.
    pub(super) fn tend_incidents(&mut self, work: &mut Work) {
        self.fold_known(work);
        self.gather(work);
        let ids: Vec<IncidentId> = self.state.incidents.rows.keys().copied().collect();
        for id in ids {
            self.follow_incident(id, work);
        }
        self.tend_alerts(work);
    }

    /// What belongs to an incident there is joins it; one that was resolved is open again.
    fn fold_known(&mut self, work: &mut Work) {
        // Whoever is part of one that goes on stays there while the same is wrong with it.
        let unsettled = self.state.incidents.take_unsettled();
        for &subject in &unsettled {
            let of = self.incident_of(subject);
            if let Some(incident) = self.state.incidents.rows.get(&of)
                && incident.state != State::Closed
                && self.explains(incident, subject)
            {
                if incident.state == State::Resolved {
                    self.comes_back(of, work);
                }
                continue;
            }
            self.leave(subject, work);
            let rests_on = self.suffers_from(subject);
            let rows = self.state.incidents.rows.values();
            let mut wide = rows.filter(|incident| {
                incident.state != State::Closed
                    && incident.domain.sort != Sort::Service
                    && (rests_on.contains(&incident.domain) || incident.domain.sort == Sort::Fleet)
            });
            let order = |incident: &&Incident| (incident.domain.sort, incident.id);
            let Some(found) = wide.by_ref().min_by_key(order).map(|incident| incident.id) else {
                continue;
            };
            self.fold(found, &[subject], work);
            self.comes_back(found, work);
        }
        let loose = unsettled.into_iter().filter(|subject| !self.is_followed(*subject)).collect();
        self.state.incidents.loose = loose;
    }

    /// Whether an incident may be the cause of what is wrong with a member of it now. A repository's is not of
    /// everything that goes wrong while it lasts, and must not hide it.
    fn explains(&self, incident: &Incident, member: Subject) -> bool {
        if incident.domain.sort != Sort::Repository {
            return true;
        }
        let Subject::Service(id) = member else { return false };
        let service = self.state.services.get(&id).filter(|service| service.row.archive.is_some());
        service.is_some_and(|service| {
            self.blamed_repositories(service).contains(&incident.domain.name)
        })
    }

    /// A member of an incident that goes on is one no more: something else is wrong with it now.
    fn leave(&mut self, subject: Subject, work: &mut Work) {
        let of = self.incident_of(subject);
        let incidents = &mut self.state.incidents;
        if incidents.rows.get(&of).is_none_or(|incident| incident.state == State::Closed) {
            return;
        }
        if let Some(members) = incidents.members.get_mut(&of) {
            members.remove(&subject);
        }
        self.enlist(subject, IncidentId(0), work);
        let text = format!("not part of incident {of} any more: something else is wrong with it");
        work.note(Topic::Incident, &self.name_of(subject), text, Vec::new());
    }

    /// Groups what waits for company once it has waited for long enough.
    fn gather(&mut self, work: &mut Work) {
        debug_assert_eq!(self.state.incidents.loose, self.all_loose());
        if self.state.incidents.loose.is_empty() {
            self.state.incidents.loose_since = None;
            return;
        }
        let since = *self.state.incidents.loose_since.get_or_insert(work.now);
        let due = since + self.setup.policy.incidents.gather;
        if work.now < due {
            self.state.timers.incidents(due);
            return;
        }
        self.state.incidents.loose_since = None;
        for found in group(&self.troubles(), &self.population(), &self.known_broken()) {
            self.settle_group(&found, work);
        }
        let mut loose = std::mem::take(&mut self.state.incidents.loose);
        loose.retain(|subject| !self.is_followed(*subject));
        self.state.incidents.loose = loose;
    }

    /// Whoever needs a person and is part of no incident that goes on, found by going through all.
    fn all_loose(&self) -> BTreeSet<Subject> {
        let needs = self.state.incidents.needs.keys().copied();
        needs.filter(|subject| !self.is_followed(*subject)).collect()
    }

    /// Whether a subject is a member of an incident that is not over.
    fn is_followed(&self, subject: Subject) -> bool {
        let incident = self.state.incidents.rows.get(&self.incident_of(subject));
        incident.is_some_and(|incident| incident.state.is_active())
    }

    /// One group becomes an incident, joins one, or widens one.
    fn settle_group(&mut self, found: &Group, work: &mut Work) {
        let loose: Vec<Subject> =
            found.members.iter().copied().filter(|s| !self.is_followed(*s)).collect();
        let within: BTreeSet<IncidentId> = found
            .members
            .iter()
            .filter(|subject| self.is_followed(**subject))
            .map(|subject| self.incident_of(*subject))
            .collect();
        let same = self.state.incidents.active().find(|i| i.domain == found.domain).map(|i| i.id);
        if let Some(same) = same {
            self.fold(same, &loose, work);
            return;
        }
        let narrower = self.absorbable(found, &within);
        let Some((&lead, others)) = narrower.split_first() else {
            if !loose.is_empty() {
                self.open_incident(found, &loose, work);
            }
            return;
        };
        self.widen(lead, others, found, work);
        self.fold(lead, &loose, work);
    }

    /// Incidents that are part of a wider one, by number. A person who acknowledged one is not asked
    /// again unless most of the wider one is news.
    fn absorbable(&self, found: &Group, within: &BTreeSet<IncidentId>) -> Vec<IncidentId> {
        let incidents = &self.state.incidents;
        let members = |id: &IncidentId| {
            let members = incidents.members.get(id).into_iter().flatten();
            members.filter(|member| incidents.needs.contains_key(member))
        };
        let is_part = |id: &&IncidentId| {
            let Some(incident) = incidents.rows.get(id) else { return false };
            incident.domain.sort < found.domain.sort
                && members(id).all(|member| found.members.binary_search(member).is_ok())
        };
        let part: Vec<IncidentId> = within.iter().filter(is_part).copied().collect();
        let state = |id: &IncidentId| incidents.rows.get(id).map(|incident| incident.state);
        let is_known = |id: &&IncidentId| state(id) == Some(State::Acknowledged);
        let known: usize = part.iter().filter(is_known).map(|id| members(id).count()).sum();
        if known * 2 >= found.members.len() {
            return part;
        }
        part.into_iter().filter(|id| !is_known(&id)).collect()
    }

    /// A new incident.
    fn open_incident(&mut self, found: &Group, members: &[Subject], work: &mut Work) {
        let alerts = &mut self.state.incidents.alerts;
        alerts.incidents.0 += 1;
        let id = alerts.incidents;
        work.rows.insert(alerts::CHAIN);
        let incident = Incident {
            id,
            domain: found.domain.clone(),
            state: State::Open,
            since: work.now,
            opened: work.now,
            severity: Severity::Page,
            shares: found.shares,
            evidence: Vec::new(),
            folded: 0,
            fine_since: None,
            flaps: 0,
            ack: None,
            chain: crate::incident::chain::Progress::default(),
            under: BTreeMap::new(),
            merged: None,
        };
        self.state.incidents.rows.insert(id, incident);
        self.fold(id, members, work);
        let evidence = self.state.incidents.rows.get(&id).map(|i| i.evidence.clone());
        let text = format!("opened: {}{}", found.domain, stands_out(found.shares));
        work.note(Topic::Incident, &id.to_string(), text, evidence.unwrap_or_default());
    }

    /// Makes these members of an incident.
    fn fold(&mut self, id: IncidentId, members: &[Subject], work: &mut Work) {
        let Some(incident) = self.state.incidents.rows.get(&id) else { return };
        let text = format!("part of incident {id}: {}", incident.domain);
        let mut evidence = Vec::new();
        for &subject in members {
            let was = self.incident_of(subject);
            if let Some(members) = self.state.incidents.members.get_mut(&was) {
                members.remove(&subject);
            }
            self.enlist(subject, id, work);
            self.state.incidents.members.entry(id).or_default().insert(subject);
            let name = self.name_of(subject);
            if evidence.len() < EVIDENCE_MAX
                && let Some(need) = self.state.incidents.needs.get(&subject)
            {
                evidence.push(format!(
                    "{subject_sort} {name}: {}",
                    need.text,
                    subject_sort = sort(subject)
                ));
            }
            work.note(Topic::Incident, &name, text.clone(), Vec::new());
        }
        let Some(incident) = self.state.incidents.rows.get_mut(&id) else { return };
        let folded = u32::try_from(members.len()).unwrap_or(u32::MAX);
        incident.folded = incident.folded.saturating_add(folded);
        incident.evidence.extend(evidence);
        incident.evidence.truncate(EVIDENCE_MAX);
        if !members.is_empty() {
            work.record_incident(id);
        }
    }

    /// An incident turns out to be part of something wider: it keeps its number, the others end in it.
    fn widen(&mut self, lead: IncidentId, others: &[IncidentId], found: &Group, work: &mut Work) {
        for &id in others {
            let members = self.state.incidents.members.remove(&id).unwrap_or_default();
            let members: Vec<Subject> = members.into_iter().collect();
            self.fold(lead, &members, work);
            if let Some(incident) = self.state.incidents.rows.get_mut(&id) {
                incident.merged = Some(lead);
            }
            self.incident_event(
                id,
                Event::Merge,
                &format!("part of {lead}: {}", found.domain),
                work,
            );
            self.tell_end(id, work);
        }
        let Some(incident) = self.state.incidents.rows.get_mut(&lead) else { return };
        let text =
            format!("{} is part of {}{}", incident.domain, found.domain, stands_out(found.shares));
        (incident.domain, incident.shares) = (found.domain.clone(), found.shares);
        work.record_incident(lead);
        work.note(Topic::Incident, &lead.to_string(), text, Vec::new());
        self.tell_change(lead, work);
    }

    /// An incident that was resolved has a member in trouble again.
    fn comes_back(&mut self, id: IncidentId, work: &mut Work) {
        let Some(incident) = self.state.incidents.rows.get_mut(&id) else { return };
        if incident.state != State::Resolved {
            return;
        }
        incident.flaps = incident.flaps.saturating_add(1);
        incident.fine_since = None;
        let (event, text) = match &incident.ack {
            Some(ack) => (Event::BackKnown, format!("it is back; {} knows of it", ack.by)),
            None => (Event::Back, "it is back".to_owned()),
        };
        incident.chain = crate::incident::chain::Progress {
            told: std::mem::take(&mut incident.chain.told),
            ..Default::default()
        };
        self.incident_event(id, event, &text, work);
    }

    /// Where an incident is on its way to its end.
    fn follow_incident(&mut self, id: IncidentId, work: &mut Work) {
        let rules = self.setup.policy.incidents;
        let troubled = self.state.incidents.is_troubled(id);
        let Some(incident) = self.state.incidents.rows.get_mut(&id) else { return };
        if incident.state.is_active() && troubled {
            if incident.fine_since.take().is_some() {
                work.record_incident(id);
            }
        } else if incident.state.is_active() {
            let recorded = incident.fine_since.is_some();
            let since = *incident.fine_since.get_or_insert(work.now);
            let due = since + rules.fine_after(incident.flaps);
            if !recorded {
                work.record_incident(id);
            }
            if work.now < due {
                self.state.timers.incidents(due);
                return;
            }
            let lasted = work.now.since(incident.opened);
            self.incident_event(id, Event::Fine, &format!("resolved after {lasted}"), work);
            self.tell_end(id, work);
        }
        let Some(incident) = self.state.incidents.rows.get(&id) else { return };
        let due = match incident.state {
            State::Resolved => incident.since + rules.reopen_within,
            State::Closed => incident.since + rules.keep,
            State::Open | State::Paged | State::Acknowledged => return,
        };
        if work.now < due {
            self.state.timers.incidents(due);
        } else if incident.state == State::Resolved {
            self.incident_event(id, Event::Lapse, "closed", work);
            self.discharge(id, work);
        } else {
            self.state.incidents.rows.remove(&id);
            work.record_incident(id);
        }
    }

    /// Its members are nobody's.
    fn discharge(&mut self, id: IncidentId, work: &mut Work) {
        let members = self.state.incidents.members.remove(&id).unwrap_or_default();
        members.into_iter().for_each(|subject| self.enlist(subject, IncidentId(0), work));
    }

    /// Moves an incident's machine, and tells the journal.
    fn incident_event(&mut self, id: IncidentId, event: Event, text: &str, work: &mut Work) {
        let Some(incident) = self.state.incidents.rows.get_mut(&id) else { return };
        let Some(next) = Machine::next(incident.state, event) else { return };
        if next != incident.state {
            work.edges.push(Edge::of::<Machine>(incident.state, event));
            (incident.state, incident.since) = (next, work.now);
            if !next.is_active() {
                // Whoever still needs a person belongs to another, or to this one when it is back.
                let members = self.state.incidents.members.get(&id).into_iter().flatten();
                self.state.incidents.news.extend(members);
            }
        }
        work.record_incident(id);
        work.note(Topic::Incident, &id.to_string(), text.to_owned(), Vec::new());
    }

    /// Members by incident, from their own rows.
    pub(super) fn enlist_members(&mut self) {
        let services = self.state.services.values();
        let services = services.map(|s| (s.row.incident, Subject::Service(s.row.id)));
        let hosts = self.state.hosts.values();
        let hosts = hosts.map(|h| (h.row.incident, Subject::Host(h.row.id)));
        let incidents = &mut self.state.incidents;
        for (id, subject) in services.chain(hosts).filter(|(id, _)| incidents.rows.contains_key(id))
        {
            incidents.members.entry(id).or_default().insert(subject);
        }
    }
}

const fn sort(subject: Subject) -> &'static str {
    match subject {
        Subject::Service(_) => "service",
        Subject::Host(_) => "host",
    }
}

fn stands_out(shares: Option<Shares>) -> String {
    shares.map_or_else(String::new, |shares| format!(": {shares}"))
}
