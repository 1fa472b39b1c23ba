//! Alerts: what a person is told, through which channel, and what became of it.
//!
//! The cell decides who is told what and when; the shell that delivers knows channels by name only and
//! answers each delivery once. Nothing here knows how a channel works.

use serde::{Deserialize, Serialize};

use crate::check::Severity;
use crate::label::Label;

/// What a notice is about: an incident's number. The same number is the same trouble, for every channel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct IncidentId(pub u32);

impl IncidentId {
    /// Whether it is no incident's: numbers begin with 1.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0 == 0
    }

    /// The number of `i7`, or of `7`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix('i').unwrap_or(text);
        number.parse().ok().map(Self).filter(|id| !id.is_none())
    }
}

impl std::fmt::Display for IncidentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "i{}", self.0)
    }
}

/// Why somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Something needs a person.
    Raise,
    /// It is over.
    Resolve,
    /// Nothing is wrong: the channel is exercised.
    Exercise,
}

/// One message to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub incident: IncidentId,
    /// The incident under whose number its channel was told of the same, if it is another cell's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<IncidentId>,
    /// Why it is sent.
    pub purpose: Purpose,
    /// How bad.
    pub severity: Severity,
    /// One sentence.
    pub title: String,
    /// The failure domain that explains it: `host ha1`, `service orders`, `fleet`.
    pub domain: String,
    /// What was seen, one sentence each, bounded.
    pub evidence: Vec<String>,
    /// Since when, RFC 3339, UTC.
    pub since: String,
}

impl Notice {
    /// The number that a channel knows it by: what was raised by it is resolved by it.
    #[must_use]
    pub fn key(&self) -> IncidentId {
        self.under.unwrap_or(self.incident)
    }
}

/// One delivery that the cell wants made; answered once by [`Told`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Names the answer; no other delivery of this store ever had this number.
    pub number: u64,
    /// Through which channel.
    pub channel: Label,
    /// What.
    pub notice: Notice,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which delivery.
    pub number: u64,
    /// Whether the channel confirmed it. Confirmed is not acknowledged: that only a person does.
    pub outcome: Result<Receipt, String>,
    /// The incident under whose number the channel knows of it, if it is another cell's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<IncidentId>,
}

impl Told {
    /// A channel's own word about what was delivered.
    #[must_use]
    pub const fn new(number: u64, outcome: Result<Receipt, String>) -> Self {
        Self { number, outcome, under: None }
    }
}

/// A channel's word that it took a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What the channel said, for people: a key, a message number.
    pub text: String,
}
