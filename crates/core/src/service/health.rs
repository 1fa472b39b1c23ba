//! How a service looks, from evidence only.
//!
//! The story: silence makes a healthy service uncertain and never more than that; only independent
//! evidence makes it unavailable; and only a proven write makes it healthy again.

use serde::{Deserialize, Serialize};

use crate::machine::{self, Cause};
use crate::time::Span;

/// How a service looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nobody knows: heartbeats are missing, witnesses disagree, or nothing was seen yet.
    Uncertain,
    /// Writes succeed.
    Healthy,
    /// Confirmed down by independent evidence.
    Unavailable,
}

/// What was learnt about a service since it was last judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A write was acknowledged.
    WriteProven,
    /// A witness reached it: it lives, though nobody saw a write.
    Reached,
    /// No news past the rule, and no positive evidence from anyone.
    Silent,
    /// Witnesses disagree.
    Disputed,
    /// Down by the rule: two vantage points, or the local agent's word.
    ConfirmedDown,
}

/// The machine of health.
pub struct Machine;

impl machine::Machine for Machine {
    const NAME: &'static str = "service health";
    type State = Health;
    type Event = Evidence;
    const STATES: &'static [Health] = &[Health::Uncertain, Health::Healthy, Health::Unavailable];
    const EVENTS: &'static [Evidence] = &[
        Evidence::WriteProven,
        Evidence::Reached,
        Evidence::Silent,
        Evidence::Disputed,
        Evidence::ConfirmedDown,
    ];
    const START: Health = Health::Uncertain;

    fn next(health: Health, evidence: Evidence) -> Option<Health> {
        use {Evidence as E, Health as H};
        Some(match (health, evidence) {
            (_, E::WriteProven) => H::Healthy,
            (_, E::ConfirmedDown) => H::Unavailable,
            // Silence says nothing new about what is already known to be down.
            (H::Unavailable, E::Silent) => H::Unavailable,
            (H::Uncertain | H::Healthy, E::Silent) => H::Uncertain,
            (_, E::Disputed) => H::Uncertain,
            // Being reached keeps a good opinion and unsettles a bad one; it proves no write.
            (H::Healthy, E::Reached) => H::Healthy,
            (H::Uncertain | H::Unavailable, E::Reached) => H::Uncertain,
        })
    }

    fn cause(_: Evidence) -> Cause {
        Cause::World
    }

    fn deadline(health: Health) -> Option<Span> {
        match health {
            Health::Healthy => None,
            Health::Uncertain => Some(Span::mins(2)),
            Health::Unavailable => Some(Span::mins(1)),
        }
    }
}
