//! What people say of incidents: that they know, and that the chain is to be tried.

use super::rows::Ack;
use crate::alert::IncidentId;
use crate::cell::Cell;
use crate::cell::turn::Work;
use crate::id::ServiceId;
use crate::incident::{Event, State, Subject};
use crate::journal::Topic;
use crate::order::{Accepted, Error};

/// Longest note that is kept.
const NOTE_MAX_CHARS: usize = 500;

impl Cell {
    /// A person knows of an incident: nobody else is told, and what waited for a person's word goes on.
    pub(in crate::cell) fn acknowledge(
        &mut self,
        by: &str,
        id: IncidentId,
        note: Option<&str>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let Some(incident) = self.state.incidents.rows.get_mut(&id) else {
            return Err(Error::NoSuchIncident { incident: id.to_string() });
        };
        if incident.state == State::Closed {
            return Err(Error::IncidentOver { incident: id.to_string() });
        }
        let note = note.map(|note| note.chars().take(NOTE_MAX_CHARS).collect::<String>());
        let said = note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        let text = format!("acknowledged by {by}{said}");
        incident.ack = Some(Ack { by: by.to_owned(), note, at: work.now });
        let domain = incident.domain.to_string();
        self.incident_event(id, Event::Acknowledge, &text, work);
        work.incidents = true;
        self.release_members(id, work);
        let text = format!("{id} ({domain}) is acknowledged; nobody else is told");
        Ok(Accepted { service: None, operation: None, job: None, text })
    }

    /// A person looks: services that were failed over may be failed over again by themselves.
    fn release_members(&mut self, id: IncidentId, work: &mut Work) {
        let members = self.state.incidents.members.get(&id);
        let service = |subject: &Subject| match subject {
            Subject::Service(service) => Some(*service),
            Subject::Host(_) => None,
        };
        let services: Vec<ServiceId> = members.into_iter().flatten().filter_map(service).collect();
        for service in services {
            let Some(known) = self.state.services.get_mut(&service) else { continue };
            if !std::mem::take(&mut known.row.failed_over) {
                continue;
            }
            let name = known.row.name.as_str().to_owned();
            let text = format!("{id} is acknowledged: it may be failed over again by itself");
            work.note(Topic::Decision, &name, text, Vec::new());
            work.record(service);
            work.services.insert(service);
        }
    }

    /// Every channel is told that nothing is wrong, now.
    pub(in crate::cell) fn test_alerts(&mut self, work: &mut Work) -> Result<Accepted, Error> {
        let channels = self.exercise(work);
        if channels.is_empty() {
            return Err(Error::NoChannels);
        }
        let names: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let text = format!("an exercise goes out through {}", names.join(", "));
        Ok(Accepted { service: None, operation: None, job: None, text })
    }
}
