//! Showing incidents and the chain.

use super::rows::{self, Is};
use crate::alert::{IncidentId, Purpose};
use crate::cell::Cell;
use crate::check::{Family, Severity};
use crate::incident::chain::At;
use crate::incident::{State, Subject};
use crate::moment::Moment;
use crate::time::Time;
use crate::view;

impl Cell {
    /// Incidents, newest first: those that are not over, or all that are kept.
    #[must_use]
    pub fn incidents(&self, all: bool, now: Time) -> Vec<view::Incident> {
        let rows = self.state.incidents.rows.values().rev();
        rows.filter(|i| all || i.state.is_active()).map(|i| self.show_incident(i, now)).collect()
    }

    /// One incident.
    #[must_use]
    pub fn incident(&self, id: IncidentId, now: Time) -> Option<view::Incident> {
        self.state.incidents.rows.get(&id).map(|incident| self.show_incident(incident, now))
    }

    /// Whether an incident began, came back or ended in the newest turn.
    #[must_use]
    pub fn has_incident_news(&self) -> bool {
        let now = self.state.now;
        self.state.incidents.rows.values().any(|incident| {
            let is_turn = matches!(incident.state, State::Open | State::Resolved);
            incident.opened == now || incident.since == now && is_turn
        })
    }

    /// The chain of channels, and what they did.
    #[must_use]
    pub fn alerts(&self, now: Time) -> view::Alerts {
        let alerts = &self.state.incidents.alerts;
        let outcome = |outcome: &rows::Outcome| view::AlertOutcome {
            purpose: word(outcome.purpose).to_owned(),
            confirmed: outcome.confirmed,
            text: outcome.text.clone(),
            ago_ms: now.since(outcome.at),
        };
        let channel = |(step, known): (&crate::incident::chain::Step, &rows::Channel)| {
            let awaited = |f: &&rows::Flight| f.channel == step.channel && f.is == Is::Sent;
            view::AlertChannel {
                name: step.channel.to_string(),
                ack_within_ms: step.ack_within,
                told_ms: known.told.map(|at| now.since(at)),
                last: known.last.as_ref().map(outcome),
                exercised: known.exercised.as_ref().map(outcome),
                failing_ms: known.failing_since.map(|since| now.since(since)),
                awaited: alerts.flights.iter().filter(awaited).count(),
            }
        };
        let acks = self.state.incidents.rows.values().rev().filter(|i| i.ack.is_some());
        view::Alerts {
            channels: alerts.chain.iter().zip(&alerts.channels).map(channel).collect(),
            down: self.pager_down(),
            exercise_in_ms: alerts.exercise_due.map(|due| due.since(now)),
            acknowledged: acks
                .take(5)
                .filter_map(|i| Some((i.id, show_ack(i.ack.as_ref()?, now))))
                .map(|(incident, ack)| view::AcknowledgedIncident { incident, ack })
                .collect(),
        }
    }

    fn show_incident(&self, incident: &rows::Incident, now: Time) -> view::Incident {
        let incidents = &self.state.incidents;
        let member = |&subject: &Subject| {
            let need = incidents.needs.get(&subject);
            view::IncidentMember {
                subject: format!("{} {}", super::sort(subject), self.name_of(subject)),
                check: need.map(|need| need.check.to_string()),
                text: need.map_or_else(|| "fine".to_owned(), |need| need.text.clone()),
                since_ms: need.map(|need| now.since(need.since)),
            }
        };
        let members = incidents.members.get(&incident.id).into_iter().flatten();
        view::Incident {
            id: incident.id,
            domain: incident.domain.to_string(),
            state: incident.state.as_str().to_owned(),
            severity: incident.severity,
            title: self.title(incident),
            opened_at: Moment::of_millis(incident.opened.0).to_string(),
            opened_ms: now.since(incident.opened),
            since_ms: now.since(incident.since),
            stands_out: incident.shares.map(|shares| shares.to_string()),
            bits: incident.shares.map(|shares| shares.bits),
            folded: incident.folded,
            members: members.map(member).collect(),
            evidence: incident.evidence.clone(),
            acknowledged: incident.ack.as_ref().map(|ack| show_ack(ack, now)),
            told: incident.chain.told.iter().map(ToString::to_string).collect(),
            next: self.next_of(incident, now),
            merged_into: incident.merged,
            // Files are the shell's.
            recordings: Vec::new(),
        }
    }

    /// What the chain does next for an incident, in words.
    fn next_of(&self, incident: &rows::Incident, now: Time) -> Option<String> {
        let chain = &self.state.incidents.alerts.chain;
        if !incident.state.needs_a_person() {
            return None;
        }
        let name = |at: usize| chain.get(at).map_or_else(String::new, |s| s.channel.to_string());
        let step = usize::from(incident.chain.step);
        let last = step + 1 >= chain.len();
        Some(match incident.chain.at {
            _ if incident.is_calm() => "nobody more is told while all members are fine".to_owned(),
            _ if chain.is_empty() => "no alert channel is configured: nobody is told".to_owned(),
            At::Due => format!("{} is told", name(step)),
            At::InFlight { until, .. } => {
                format!("{} is awaited for {} more", name(step), until.since(now))
            }
            At::Confirmed { until } if last => {
                format!("a person has {} to acknowledge it; then it begins again", until.since(now))
            }
            At::Confirmed { until } => {
                format!(
                    "{} is told in {} unless a person acknowledges it",
                    name(step + 1),
                    until.since(now)
                )
            }
            At::Pause { until } => format!("{} is told again in {}", name(0), until.since(now)),
        })
    }

    /// The incident that a service is a member of and that is not over.
    pub(in crate::cell) fn current_incident(&self, subject: Subject) -> Option<IncidentId> {
        let id = self.incident_of(subject);
        let incident = self.state.incidents.rows.get(&id)?;
        matches!(incident.state, State::Open | State::Paged | State::Acknowledged).then_some(id)
    }

    /// What is not as it should be about telling people.
    pub(in crate::cell) fn alert_findings(&self, now: Time) -> Vec<view::Finding> {
        let alerts = &self.state.incidents.alerts;
        let finding = |severity, evidence: String, since| view::Finding {
            check: "alert-chain".to_owned(),
            family: Family::Host,
            severity,
            service: None,
            subject: "fleet".to_owned(),
            evidence,
            items: Vec::new(),
            since_ms: since,
        };
        if alerts.chain.is_empty() {
            let text = "no alert channel is configured: nobody is told of incidents".to_owned();
            return vec![finding(Severity::Warning, text, now.since(self.state.began))];
        }
        let mut found = Vec::new();
        if let (Some(why), Some(since)) = (self.pager_down(), alerts.down_since) {
            found.push(finding(Severity::Critical, why, now.since(since)));
        }
        for channel in &alerts.channels {
            let Some(since) = channel.failing_since else { continue };
            let text = channel.last.as_ref().map_or("", |outcome| outcome.text.as_str());
            let text = format!("alert channel {} fails: {text}", channel.name);
            found.push(finding(Severity::Critical, text, now.since(since)));
        }
        found
    }
}

const fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Raise => "raise",
        Purpose::Resolve => "resolve",
        Purpose::Exercise => "exercise",
    }
}

fn show_ack(ack: &rows::Ack, now: Time) -> view::Ack {
    view::Ack { by: ack.by.clone(), note: ack.note.clone(), ago_ms: now.since(ack.at) }
}
