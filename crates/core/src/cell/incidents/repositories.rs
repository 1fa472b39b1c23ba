//! Repositories that take nothing: which, of whom, since when, and when a person must know.
//!
//! Two things need a person. A service's log that waits for long is lost with its disk. And a repository
//! that is away for longer, while others take everything, is not there on the day when those are lost.
//!
//! A repository that takes nothing of half of the services or more is what is broken; of fewer, it may be
//! the way to it from where they are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::backup::guard::Level;
use crate::cell::Cell;
use crate::cell::state::{Service, State};
use crate::id::ServiceId;
use crate::incident::{Domain, Sort, Subject};
use crate::moment::Moment;
use crate::report;
use crate::time::{Span, Time};

/// The repositories that take nothing of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Their names, in order.
    pub repositories: Vec<String>,
    /// Since when there is one.
    pub since: Time,
}

impl Cell {
    /// Notes which repositories take nothing of a service, by what was reported of it.
    pub(in crate::cell) fn note_failing(&mut self, id: ServiceId, now: Time) {
        let Some(service) = self.state.services.get(&id) else { return };
        let said = said(service).filter(|_| self.archives(service));
        let State { row, incidents, .. } = &self.state;
        // One that was removed is nobody's cause any more.
        let exists = |name: &&str| row.repositories.iter().any(|known| known.name == **name);
        let missed = said.iter().flat_map(|said| &said.missed).filter(|missed| !missed.over);
        let missed = missed.map(|missed| missed.repository.as_str());
        let refused = said.iter().flat_map(|said| &said.refused).map(String::as_str);
        let mut names: SmallVec<[&str; 2]> = refused.chain(missed).filter(exists).collect();
        names.sort_unstable();
        names.dedup();
        let known = incidents.failing.get(&id).map_or(&[][..], |known| &known.repositories);
        if names.is_empty() && said.is_some_and(|said| said.behind_since.is_some()) {
            // While log waits that they did not take, they are still why: a fleet that brings them hours of log
            // has one trouble, and not one for each service.
            names.extend(known.iter().map(String::as_str).filter(exists));
        }
        if names.iter().eq(known) {
            return;
        }
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let incidents = &mut self.state.incidents;
        // What it is blamed on has changed.
        if incidents.needs.contains_key(&Subject::Service(id)) {
            incidents.news.insert(Subject::Service(id));
        }
        if names.is_empty() {
            incidents.failing.remove(&id);
            return;
        }
        let new = || Failing { repositories: Vec::new(), since: now };
        incidents.failing.entry(id).or_insert_with(new).repositories = names;
    }

    /// Whether a person must know how a service's log gets to its archive: a check's name, and words. Where
    /// that is later, there is a timer.
    pub(super) fn archive_need(
        &mut self,
        id: ServiceId,
        now: Time,
    ) -> Option<(&'static str, String)> {
        let service = self.state.services.get(&id)?;
        let said = said(service).filter(|_| self.archives(service))?;
        let rules = &self.setup.policy.incidents;
        let failing = self.state.incidents.failing.get(&id);
        let waiting = said.behind_since.map(|since| {
            let waited = self.waited(id, since, now);
            (rules.archive_after.0.saturating_sub(waited.0), "archive-current")
        });
        let uneven = failing.map(|failing| {
            let left = match self.is_known_of(id, failing) {
                true => 0,
                false => rules.repository_after.0.saturating_sub(now.since(failing.since).0),
            };
            (left, "archive-even")
        });
        let (left, check) = waiting.into_iter().chain(uneven).min_by_key(|need| need.0)?;
        if left == 0 {
            let why = said.trouble.as_deref().map_or_else(String::new, |why| format!(": {why}"));
            let text = match (check, failing) {
                ("archive-even", Some(failing)) => {
                    format!("{} takes nothing of its log", failing.repositories.join(", "))
                }
                _ => format!("its log waits for its archive{why}"),
            };
            return Some((check, text));
        }
        let due = Time(now.0.saturating_add(left));
        self.look_at(id, due);
        None
    }

    /// For how long log waits that its agent says waits since a moment. That is on the agent's wall clock, which may
    /// jump, or be ahead of what this cell goes by: where the cell heard itself that a repository takes nothing, that
    /// bounds it. What was so when the controller began is believed.
    pub(in crate::cell) fn waited(&self, id: ServiceId, since: Moment, now: Time) -> Span {
        let told = Moment::of_millis(now.0).since(since);
        let failing = self.state.incidents.failing.get(&id).map(|failing| failing.since);
        let heard = failing.filter(|at| *at > self.state.began + self.setup.policy.start_grace);
        match heard.map(|at| now.since(at)) {
            Some(heard) if since.millis() > now.0 => heard,
            Some(heard) => told.min(heard),
            None => told,
        }
    }

    /// Whether it is told already: a controller that began anew does not wait once more.
    fn is_known_of(&self, id: ServiceId, failing: &Failing) -> bool {
        let incident = self.current_incident(Subject::Service(id));
        let domain = incident.and_then(|id| Some(&self.state.incidents.rows.get(&id)?.domain));
        domain.is_some_and(|domain| {
            domain.sort == Sort::Repository && failing.repositories.contains(&domain.name)
        })
    }

    /// The repositories that may be the cause of what is wrong with a service: it is about its archive, or
    /// its disk is filling with log.
    pub(super) fn blamed_repositories(&self, service: &Service) -> &[String] {
        let incidents = &self.state.incidents;
        let Some(failing) = incidents.failing.get(&service.row.id) else { return &[] };
        let need = incidents.needs.get(&Subject::Service(service.row.id));
        let is_archives = need.is_some_and(|need| need.check.starts_with("archive-"));
        let disk = said(service).and_then(|said| said.disk);
        let fills = disk.is_some_and(|disk| disk.level >= Level::Throttle);
        if is_archives || fills { &failing.repositories } else { &[] }
    }

    /// Repositories that take nothing of half of the services or more, of those that archive.
    pub(super) fn broken_repositories(&self) -> BTreeSet<Domain> {
        let failing = &self.state.incidents.failing;
        if failing.is_empty() {
            return BTreeSet::new();
        }
        let archive = |service: &&Service| said(service).is_some() && self.archives(service);
        let all = self.state.services.values().filter(archive).count();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in failing.values().flat_map(|failing| &failing.repositories) {
            *counts.entry(name).or_default() += 1;
        }
        let most = counts.into_iter().filter(|(_, count)| count * 2 >= all);
        most.map(|(name, _)| Domain::new(Sort::Repository, name)).collect()
    }
}

/// What its primary said last.
fn said(service: &Service) -> Option<&report::Archive> {
    service.seen.first()?.as_ref()?.archive.as_deref()
}
