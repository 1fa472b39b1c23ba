//! What an agent keeps on disk about a member.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::scripting::Begun;
use crate::goal::{Applied, Goal};
use crate::id::Term;

/// What an agent keeps on disk about a member, synced before it acts on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The goal and the fences.
    pub applied: Applied,
    /// Ordered restarts done; raised before the restart's start, so that none is done twice.
    pub restarts: u32,
    /// Deaths without an order since the directory was made.
    pub deaths: u32,
    /// Whether its directory was ever complete.
    pub made: bool,
    /// Whether its budget of restarts is spent: an agent that restarts does not begin it anew.
    pub crash_looping: bool,
    /// Whether its directory is a primary's: it took writes, or was promoted to.
    #[serde(default)]
    pub primary: bool,
    /// The term of the promotion that made it one.
    #[serde(default)]
    pub history: Term,
    /// The script that was begun for its goal, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<Begun>>,
}

impl Stored {
    /// What is kept of a goal that nothing was done for yet.
    #[must_use]
    pub fn first(goal: Arc<Goal>) -> Self {
        let applied = Applied { incarnation: goal.incarnation, pledged: goal.term, goal };
        Self {
            applied,
            restarts: 0,
            deaths: 0,
            made: false,
            crash_looping: false,
            primary: false,
            history: Term(0),
            script: None,
        }
    }
}
