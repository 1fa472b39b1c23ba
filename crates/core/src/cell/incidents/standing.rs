//! What whoever delivers for several cells goes by: how this cell's incidents stand.

use super::rows::Is;
use crate::cell::Cell;
use crate::incident::State;
use crate::incident::fold::{Standing, Standings, Word};

impl Cell {
    /// How its incidents stand by what is recorded: to be asked after every turn that wrote rows of them.
    #[must_use]
    pub fn standings(&self) -> Standings {
        let incidents = &self.state.incidents;
        let rows = incidents.rows.values().filter(|incident| incident.state != State::Closed);
        let standing = |incident: &super::rows::Incident| Standing {
            incident: incident.id,
            domain: incident.domain.to_string(),
            is_active: incident.state.is_active(),
            told: incident.chain.told.clone(),
            under: incident.under.clone(),
            known: incident
                .ack
                .as_ref()
                .map(|ack| Word { by: ack.by.clone(), note: ack.note.clone() }),
        };
        let awaited = incidents.alerts.flights.iter().filter(|flight| flight.is == Is::Sent);
        Standings {
            incidents: rows.map(standing).collect(),
            awaited: awaited.map(|flight| flight.number).collect(),
        }
    }
}
