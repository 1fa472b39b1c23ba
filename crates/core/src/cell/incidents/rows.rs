//! What is stored of incidents: one row each, and one for the chain. Who is a member is in the rows of
//! services and hosts, so that a fleet in trouble does not rewrite one row a million times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::{IncidentId, Purpose};
use crate::check::Severity;
use crate::incident::chain::{Progress, Step};
use crate::incident::{Domain, Shares, State};
use crate::label::Label;
use crate::time::Time;

/// One incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// What its members have in common.
    pub domain: Domain,
    /// How far it is.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// When it was opened.
    pub opened: Time,
    /// How bad it was at its worst.
    pub severity: Severity,
    /// How its domain stands out; none for what stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
    /// What was seen of the first members, one sentence each.
    pub evidence: Vec<String>,
    /// How many were ever folded into it.
    pub folded: u32,
    /// Since when all members are fine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_since: Option<Time>,
    /// How often it came back.
    #[serde(default)]
    pub flaps: u8,
    /// Who knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    /// How far its chain is.
    pub chain: Progress,
    /// Channels that know of it under the number of another cell's incident on the same, and which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub under: BTreeMap<Label, IncidentId>,
    /// The incident that has its members now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<IncidentId>,
}

impl Incident {
    /// Whether nobody more is told for now: somebody was, and all members are fine at the moment.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.fine_since.is_some() && !self.chain.told.is_empty()
    }
}

/// A person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// What they noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When.
    pub at: Time,
}

/// The chain, and what its channels did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// Whom to tell, in order.
    pub chain: Vec<Step>,
    /// What became of each channel's deliveries, in the chain's order.
    pub channels: Vec<Channel>,
    /// The last incident.
    pub incidents: IncidentId,
    /// The last delivery.
    pub deliveries: u64,
    /// Deliveries whose outcome is awaited.
    pub flights: Vec<Flight>,
    /// When every channel is exercised next.
    #[serde(default)]
    pub exercise_due: Option<Time>,
    /// Since when every channel fails.
    #[serde(default)]
    pub down_since: Option<Time>,
}

/// What is known of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name.
    pub name: Label,
    /// The newest outcome.
    #[serde(default)]
    pub last: Option<Outcome>,
    /// When it confirmed last.
    #[serde(default)]
    pub told: Option<Time>,
    /// Since when it fails.
    #[serde(default)]
    pub failing_since: Option<Time>,
    /// What its newest exercise came to.
    #[serde(default)]
    pub exercised: Option<Outcome>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When it was known.
    pub at: Time,
    /// What it was for.
    pub purpose: Purpose,
    /// Whether the channel confirmed it.
    pub confirmed: bool,
    /// Its words.
    pub text: String,
}

/// A delivery whose outcome is awaited, or that is to be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    /// Its number.
    pub number: u64,
    /// Through which channel.
    pub channel: Label,
    /// About what; 0 for an exercise.
    pub incident: IncidentId,
    /// What for.
    pub purpose: Purpose,
    /// When it has failed, if nothing is heard.
    pub until: Time,
    /// How often it was made.
    pub tries: u8,
    /// Where it is.
    #[serde(default)]
    pub is: Is,
}

/// Where a delivery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Is {
    /// On its way.
    #[default]
    Sent,
    /// Nothing was heard in time; its word may still come.
    Late,
    /// It failed and is made again then.
    Again,
}
