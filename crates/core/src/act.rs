//! Acts: each run of a procedure, and each time that a person went in by hand, as it is kept.
//!
//! Invariants: an act is recorded before anything of it is ordered; it ends by itself at its time; what was
//! ordered and what came of it stays readable afterwards, and is in the journal, which is a chain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{MemberId, OperationId, ServiceId};
use crate::operation::{Cause, Kind};
use crate::procedure::{Code, Ran, Value};
use crate::time::{Span, Time};

/// Shortest and longest time that somebody may break the glass for.
pub const LASTS: (Span, Span) = (Span::secs(1), Span::mins(12 * 60));
/// Acts that are kept beside those that are open; the journal keeps all of them.
pub const KEPT_MAX: usize = 100;
/// Bytes of a shell's recording that are kept, of what was typed and of what was answered each.
pub const RECORDING_MAX_BYTES: usize = 256 << 10;
/// Longest name of a person, and longest reason, in characters.
pub const WORDS_MAX_CHARS: usize = 400;

/// Why an act is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// It was planned, or a remedy wants it.
    Planned,
    /// A person broke the glass for a procedure.
    Glass,
    /// A person broke the glass for a shell.
    Shell,
}

/// Where an act stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a second person's yes.
    Waiting,
    /// What it is for may be done.
    Open,
    /// All of it was done.
    Done,
    /// A step of it failed, or somebody ended it, or its time was over.
    Ended,
}

/// One step of an act, pinned when it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// An operation of Evenkeel.
    Operation(Kind),
    /// A script.
    Script {
        /// Its name.
        name: String,
        /// What pins it.
        digest: Digest,
        /// What runs.
        code: Box<Code>,
    },
}

/// What was ordered, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was ordered.
    pub at: Time,
    /// What.
    pub what: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Whether it did what it is for; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// What came of it, as a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What a script said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Box<Ran>>,
}

impl Entry {
    /// What is ordered, and nothing came of it yet.
    #[must_use]
    pub const fn ordered(at: Time, what: String) -> Self {
        Self { at, what, ended: None, ok: None, text: String::new(), ran: None }
    }
}

/// What was typed into a shell, and what was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// Lines that were typed.
    pub typed: String,
    /// What was shown.
    pub shown: String,
    /// Whether the beginning of either is cut off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A second person's yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Whose.
    pub by: String,
    /// When.
    pub at: Time,
}

/// An act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Its number.
    pub id: u32,
    /// Why it is.
    pub sort: Sort,
    /// Where it stands.
    pub state: State,
    /// Who, or what, wants it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The procedure; for a shell, which.
    pub procedure: String,
    /// What pins the procedure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The service's name then.
    pub service: String,
    /// The service.
    pub service_id: ServiceId,
    /// The member that scripts run beside; the primary if none was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// The parameters' values.
    pub parameters: BTreeMap<String, Value>,
    /// Whether scripts only say what they would do.
    pub dry_run: bool,
    /// When it was recorded.
    pub begun: Time,
    /// When it ends by itself.
    pub until: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How it ended, as a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub how: String,
    /// Who is to agree, where one person is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<String>,
    /// Who did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approval>,
    /// Why its operations run.
    pub cause: Cause,
    /// What is still to be ordered, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The operation that runs for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// What was ordered.
    pub entries: Vec<Entry>,
    /// A shell's recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Box<Recording>>,
}

impl Act {
    /// Whether it may still lead to something.
    #[must_use]
    pub const fn lives(&self) -> bool {
        matches!(self.state, State::Waiting | State::Open)
    }

    /// What it is called in sentences.
    #[must_use]
    pub fn called(&self) -> String {
        match self.sort {
            Sort::Planned => format!("run {}", self.id),
            Sort::Glass | Sort::Shell => format!("break-glass {}", self.id),
        }
    }
}

impl Recording {
    /// Takes what came since; the oldest goes where there is too much.
    pub fn add(&mut self, typed: &str, shown: &str) {
        for (kept, new) in [(&mut self.typed, typed), (&mut self.shown, shown)] {
            kept.push_str(new);
            if kept.len() > RECORDING_MAX_BYTES {
                let mut at = kept.len() - RECORDING_MAX_BYTES;
                while !kept.is_char_boundary(at) {
                    at += 1;
                }
                kept.drain(..at);
                self.cut = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_keeps_its_end() {
        let mut recording = Recording::default();
        recording.add("a", &"ä".repeat(RECORDING_MAX_BYTES / 2));
        assert!(!recording.cut);
        recording.add("b", "x");
        assert!(recording.cut && recording.shown.ends_with('x'));
        assert!(recording.shown.len() <= RECORDING_MAX_BYTES);
        assert_eq!(recording.typed, "ab");
    }
}
