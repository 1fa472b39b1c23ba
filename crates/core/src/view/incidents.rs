//! Incidents and the alert chain, for people.

use serde::{Deserialize, Serialize};

use crate::alert::IncidentId;
use crate::check::Severity;
use crate::incident;
use crate::time::Span;

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// What its members have in common: `host h1`, `service orders`, `fleet`.
    pub domain: String,
    /// How far it is: `open`, `paged`, `acknowledged`, `resolved`, `closed`.
    pub state: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub title: String,
    /// When it was opened, RFC 3339, UTC.
    pub opened_at: String,
    /// How long ago that was, in milliseconds.
    pub opened_ms: Span,
    /// For how long its state is what it is, in milliseconds.
    pub since_ms: Span,
    /// How its domain stands out; none for what stands alone.
    pub stands_out: Option<String>,
    /// What that explains, in bits: the logarithm of a likelihood ratio to base two.
    pub bits: Option<u32>,
    /// How many members it ever had.
    pub folded: u32,
    /// Its members now.
    pub members: Vec<IncidentMember>,
    /// What was seen of the first of them.
    pub evidence: Vec<String>,
    /// Who knows of it.
    pub acknowledged: Option<Ack>,
    /// Channels that confirmed it, in order.
    pub told: Vec<String>,
    /// What the chain does next; none if nobody is to be told any more.
    pub next: Option<String>,
    /// The incident that has its members now.
    pub merged_into: Option<IncidentId>,
    /// Flight recordings from some time before it to some time after, oldest first: `evenkeel replay`
    /// decides again what was decided then.
    #[serde(default)]
    pub recordings: Vec<String>,
}

impl Incident {
    /// Whether nothing is wrong any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let over = [incident::State::Resolved, incident::State::Closed];
        over.iter().any(|state| state.as_str() == self.state)
    }
}

/// A member of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentMember {
    /// A service or host.
    pub subject: String,
    /// The check that says so; none if it is fine now.
    pub check: Option<String>,
    /// What is wrong.
    pub text: String,
    /// For how long, in milliseconds.
    pub since_ms: Option<Span>,
}

/// A person's word that they know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// What they noted.
    pub note: Option<String>,
    /// How long ago, in milliseconds.
    pub ago_ms: Span,
}

/// The chain of alert channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// Channels, in the order in which they are told.
    pub channels: Vec<AlertChannel>,
    /// Why nobody can be told, while that is so.
    pub down: Option<String>,
    /// When every channel is exercised next, in milliseconds.
    pub exercise_in_ms: Option<Span>,
    /// Who acknowledged last, newest first.
    pub acknowledged: Vec<AcknowledgedIncident>,
}

/// A channel of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertChannel {
    /// Its name.
    pub name: String,
    /// A person has so long to acknowledge before the next channel is told, in milliseconds.
    pub ack_within_ms: Span,
    /// How long ago it confirmed last, in milliseconds.
    pub told_ms: Option<Span>,
    /// What came of the newest delivery.
    pub last: Option<AlertOutcome>,
    /// What came of the newest exercise.
    pub exercised: Option<AlertOutcome>,
    /// For how long it fails, in milliseconds.
    pub failing_ms: Option<Span>,
    /// Deliveries whose outcome is awaited.
    pub awaited: usize,
}

/// What came of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertOutcome {
    /// What it was for: `raise`, `resolve`, `exercise`.
    pub purpose: String,
    /// Whether the channel confirmed it.
    pub confirmed: bool,
    /// The channel's words.
    pub text: String,
    /// How long ago, in milliseconds.
    pub ago_ms: Span,
}

/// An incident that a person knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedIncident {
    /// Which.
    pub incident: IncidentId,
    /// Who, and when.
    #[serde(flatten)]
    pub ack: Ack,
}
