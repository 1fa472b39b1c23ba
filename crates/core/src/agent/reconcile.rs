//! Reaching a goal: what was observed and what is wanted give the next driver call.
//!
//! One call at a time; what it brought is observed, and the question is asked again. No plan is
//! kept: an agent that was away goes on from what it finds.

use serde::{Deserialize, Serialize};

use crate::driver::{Answer, Directory, Process};
use crate::goal::{Goal, StopMode, Want};
use crate::id::{Revision, Term};
use crate::member::State;
use crate::time::{Span, Time};

/// A driver call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Directory and process, as they are.
    Look,
    /// Make a fresh directory.
    Initialize,
    /// Remove a half-made one.
    Discard,
    /// Write the settings.
    Configure,
    /// Start the server.
    Start,
    /// Make roles, databases and logins.
    Prepare,
    /// Ask the server.
    Probe {
        /// Whether to commit a row.
        write: bool,
    },
    /// Run every check's question.
    Check,
    /// Ask the server to stop.
    Stop(StopMode),
    /// Kill every process of the directory.
    Kill,
    /// Seal the directory, or lift the seal.
    Seal(bool),
    /// Remove the directory.
    Remove,
}

/// What to do next about one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call the driver.
    Do(Action),
    /// Nothing before this moment.
    Wait(Time),
    /// The goal is reached, or nothing here can reach it; the reason is reported.
    Settled,
}

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Where its machine is.
    pub state: State,
    /// What is on disk; `None`: look first.
    pub directory: Option<Directory>,
    /// What runs; `None`: look first.
    pub process: Option<Process>,
    /// When it was looked at.
    pub looked: Time,
    /// What the server answered last.
    pub answer: Answer,
    /// When it was asked last.
    pub probed: Time,
    /// When a write was last acknowledged.
    pub wrote: Time,
    /// Whether one was since the process started.
    pub write_proven: bool,
    /// When its process was started or found.
    pub started: Time,
    /// When its checks were last run.
    pub checked: Time,
    /// The goal its settings were written for.
    pub configured: Option<(Term, Revision)>,
    /// The goal its roles and databases were made for, since the process started.
    pub prepared: Option<(Term, Revision)>,
    /// Ordered restarts done.
    pub restarts: u32,
    /// A stop was asked for and not obeyed.
    pub stop_failed: bool,
    /// Nothing that failed is tried again before this.
    pub not_before: Time,
}

/// First answers are waited for in steps as short as this.
const STARTING_STEP: Span = Span::millis(20);
/// After this long, a start is asked about less often.
const STARTING_SOON: Span = Span::secs(3);
/// Between questions to a server that takes its time.
const SLOW_STEP: Span = Span::millis(250);
/// Between questions to a server in doubt.
const DOUBT_STEP: Span = Span::secs(1);
/// Between questions to a server that works.
const READY_STEP: Span = Span::secs(3);
/// An idle member is written to this often and no more (DESIGN 4): idle databases must not ship
/// a log segment a minute for ever.
const WRITE_STEP: Span = Span::secs(60);
/// Between runs of the checks.
const CHECK_STEP: Span = Span::secs(30);
/// Between looks at what should not change by itself; a death is told at once by other means.
const LOOK_STEP: Span = Span::secs(30);

/// The next driver call for a member.
#[must_use]
pub fn next(goal: &Goal, seen: &Seen, now: Time) -> Next {
    let (Some(directory), Some(process)) = (&seen.directory, seen.process) else {
        return Next::Do(Action::Look);
    };
    if now < seen.not_before {
        return Next::Wait(seen.not_before);
    }
    match goal.want {
        Want::Running => match process {
            Process::None => start(goal, seen, directory),
            Process::Leftovers { .. } => Next::Do(Action::Kill),
            Process::Running { .. } | Process::Frozen { .. } => keep(goal, seen, process, now),
        },
        Want::Stopped | Want::Sealed | Want::Removed => match process {
            // A frozen server hears no request to stop; what it acknowledged is in its log.
            Process::Leftovers { .. } | Process::Frozen { .. } => Next::Do(Action::Kill),
            Process::Running { .. } => Next::Do(stop(goal, seen)),
            Process::None => put_away(goal.want, seen, directory, now),
        },
    }
}

/// Nothing runs and something should.
fn start(goal: &Goal, seen: &Seen, directory: &Directory) -> Next {
    Next::Do(match directory {
        Directory::Absent => Action::Initialize,
        Directory::Partial => Action::Discard,
        Directory::Sealed { incarnation } if *incarnation == goal.incarnation => {
            Action::Seal(false)
        }
        Directory::Complete { incarnation } if *incarnation == goal.incarnation => {
            if seen.state == State::CrashLooping && seen.restarts == goal.restarts {
                return Next::Settled;
            }
            if seen.configured != Some(version(goal)) { Action::Configure } else { Action::Start }
        }
        // Another life's directory, or somebody else's: never touched.
        Directory::Complete { .. } | Directory::Sealed { .. } | Directory::Foreign { .. } => {
            return Next::Settled;
        }
    })
}

/// A stop that was not obeyed is not asked for again: the next start replays the log.
fn stop(goal: &Goal, seen: &Seen) -> Action {
    if seen.stop_failed { Action::Kill } else { Action::Stop(goal.stop) }
}

/// Something runs and should.
fn keep(goal: &Goal, seen: &Seen, process: Process, now: Time) -> Next {
    let frozen = matches!(process, Process::Frozen { .. });
    // A server that was asked to stop is on its way down, whatever is wanted now: down it goes first.
    if seen.restarts != goal.restarts || seen.state == State::Stopping {
        return Next::Do(if frozen { Action::Kill } else { stop(goal, seen) });
    }
    if seen.configured != Some(version(goal)) {
        return Next::Do(Action::Configure);
    }
    let every = match (seen.state, seen.answer) {
        (State::Hung, _) | (_, Answer::Silent) => DOUBT_STEP,
        (_, Answer::Accepting | Answer::Writing) => {
            if seen.prepared != Some(version(goal)) {
                return Next::Do(Action::Prepare);
            }
            if !seen.write_proven || now.since(seen.wrote) >= WRITE_STEP {
                let soon = now.since(seen.started) < STARTING_SOON;
                let every = if soon { STARTING_STEP } else { SLOW_STEP };
                return due(seen.probed, every, Action::Probe { write: true }, now);
            }
            if now.since(seen.checked) >= CHECK_STEP {
                return Next::Do(Action::Check);
            }
            READY_STEP
        }
        _ if now.since(seen.started) < STARTING_SOON => STARTING_STEP,
        _ => SLOW_STEP,
    };
    match due(seen.looked, LOOK_STEP, Action::Look, now) {
        Next::Wait(look) => match due(seen.probed, every, Action::Probe { write: false }, now) {
            Next::Wait(probe) => Next::Wait(look.min(probe)),
            probe => probe,
        },
        look => look,
    }
}

/// Nothing runs and nothing should.
fn put_away(want: Want, seen: &Seen, directory: &Directory, now: Time) -> Next {
    let rest = || due(seen.looked, LOOK_STEP, Action::Look, now);
    match (want, directory) {
        (Want::Removed, Directory::Absent) => {
            if seen.state == State::Gone {
                Next::Settled
            } else {
                Next::Do(Action::Remove)
            }
        }
        // It never served: nothing is lost with it.
        (_, Directory::Partial) => Next::Do(Action::Discard),
        (Want::Removed, Directory::Complete { .. } | Directory::Sealed { .. }) => {
            Next::Do(Action::Remove)
        }
        (Want::Sealed, Directory::Complete { .. }) => Next::Do(Action::Seal(true)),
        (_, Directory::Foreign { .. }) => Next::Settled,
        _ => rest(),
    }
}

fn due(last: Time, every: Span, action: Action, now: Time) -> Next {
    let at = last + every;
    if now >= at { Next::Do(action) } else { Next::Wait(at) }
}

/// The version of a goal.
#[must_use]
pub const fn version(goal: &Goal) -> (Term, Revision) {
    (goal.term, goal.revision)
}
