//! The journal: an append-only, hash-chained record of every transition, decision and human act.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::time::Time;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A person's order, accepted or refused.
    Order,
    /// A machine moved from one state to another.
    Transition,
    /// A verdict, with its evidence.
    Verdict,
    /// An operation or one of its steps began or ended.
    Operation,
    /// A decision to act or to hold, when it changed.
    Decision,
    /// A finding came or went.
    Finding,
    /// Something about the fleet itself.
    Fleet,
    /// What becomes of an incident.
    Incident,
}

/// One entry before it is chained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// On the cell's clock.
    pub at: Time,
    /// What kind of entry.
    pub topic: Topic,
    /// The service or host it is about.
    pub subject: String,
    /// One sentence.
    pub text: String,
    /// What it rests on.
    pub evidence: Vec<String>,
}

/// The hash that chains an entry to all before it.
#[must_use]
pub fn chain(previous: Digest, entry: &Entry) -> Digest {
    link(previous, Digest::of_json(entry))
}

/// [`chain`] over an entry's JSON, for whoever has it written already.
#[must_use]
pub fn chain_json(previous: Digest, json: &[u8]) -> Digest {
    link(previous, Digest::of(json))
}

fn link(previous: Digest, entry: Digest) -> Digest {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&previous.0);
    bytes[32..].copy_from_slice(&entry.0);
    Digest::of(&bytes)
}

/// The first link.
pub const GENESIS: Digest = Digest([0; 32]);
