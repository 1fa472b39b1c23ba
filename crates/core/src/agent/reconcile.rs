//! Reaching a goal: what was observed and what is wanted give the next driver call.
//!
//! One call at a time; what it brought is observed, and the question is asked again. No plan is
//! kept: an agent that was away goes on from what it finds.

use serde::{Deserialize, Serialize};

use super::archiving::{self, Archiving};
use super::importing::Importing;
use super::part::{self, Part};
pub use super::rounds::{Every, Rounds};
use crate::backup::guard::Level;
use crate::check::Pace;
use crate::digest::Digest;
use crate::driver::{Answer, Directory, Process};
use crate::goal::{Goal, Role, StopMode, Want};
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
    /// Make a stopped directory of an older incarnation follow.
    Rejoin,
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
    /// Ask what the server says of its replication.
    Replication,
    /// Find where a stopped server's log ends.
    EndOfLog,
    /// Have it take writes.
    Promote,
    /// Write what its stop would have to write.
    Checkpoint,
    /// Let clients in, if that is safe.
    Open,
    /// Prove its set in force.
    Confirm,
    /// Ask how its log gets to its archive.
    Archived,
    /// Have all of it archived, or find that it is.
    Flush,
    /// Have its server go by how much room its disk has.
    Guard(Level),
    /// Run the questions of every check of a pace.
    Check(Pace),
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
    /// Whether its directory was ever complete: what was made and is gone is never made anew.
    pub made: bool,
    /// When its process was started or found.
    pub started: Time,
    /// When its checks of each pace are due.
    pub due: Rounds,
    /// The goal its settings were written for.
    pub configured: Option<(Term, Revision)>,
    /// The goal its roles and databases were made for, since the process started, and which those are.
    pub prepared: Option<((Term, Revision), Digest)>,
    /// Its part in replication.
    pub part: Part,
    /// Whether its goal was given on the stream that is open now.
    #[serde(default)]
    pub given: bool,
    /// Its archive.
    pub archiving: Archiving,
    /// What it is made from.
    pub importing: Importing,
    /// Ordered restarts done.
    pub restarts: u32,
    /// A stop was asked for and not obeyed.
    pub stop_failed: bool,
    /// Nothing that failed is tried again before this, but looks are taken.
    pub not_before: Time,
    /// A look that failed is not taken again before this.
    pub look_after: Time,
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
const READY_STEP: Span = Span::secs(2);
/// An idle member is written to this often and no more (DESIGN 4): idle databases must not ship
/// a log segment a minute for ever.
const WRITE_STEP: Span = Span::secs(60);
/// Between looks at what should not change by itself; a death is told at once by other means.
const LOOK_STEP: Span = Span::secs(30);

/// The next driver call for a member.
#[must_use]
pub fn next(goal: &Goal, seen: &Seen, now: Time) -> Next {
    match part::fence(goal, seen) {
        Some(at) if now >= at => fence(seen, now),
        at => first(toward(goal, seen, now), at),
    }
}

/// Nobody is heard for too long: whatever else is to be done, it takes no writes any more.
fn fence(seen: &Seen, now: Time) -> Next {
    match (seen.stop_failed, seen.process) {
        (true, _) if now < seen.not_before => Next::Wait(seen.not_before),
        (true, _) | (_, Some(Process::Frozen { .. })) => Next::Do(Action::Kill),
        _ => Next::Do(Action::Stop(StopMode::Immediate)),
    }
}

/// The next driver call toward a goal.
fn toward(goal: &Goal, seen: &Seen, now: Time) -> Next {
    let (Some(directory), Some(process)) = (&seen.directory, seen.process) else {
        return due(seen.look_after, Span(0), Action::Look, now);
    };
    if seen.state == State::Gone {
        return Next::Settled;
    }
    if now < seen.not_before {
        return Next::Wait(seen.not_before);
    }
    if obstacle(goal, seen).is_some() {
        return due(seen.looked, LOOK_STEP, Action::Look, now);
    }
    match (goal.want, process) {
        (_, Process::Leftovers { .. }) => Next::Do(Action::Kill),
        (Want::Running, Process::None) => start(goal, seen, directory, now),
        (_, Process::None) => put_away(goal.want, directory, seen, now),
        (Want::Running, _) if matches!(directory, Directory::Complete { .. }) => {
            keep(goal, seen, process, now)
        }
        // A frozen server hears no request to stop; what it acknowledged is in its log. What runs
        // on a half-made directory never served.
        (_, Process::Frozen { .. }) => Next::Do(Action::Kill),
        (_, Process::Running { .. }) if *directory == Directory::Partial => Next::Do(Action::Kill),
        (_, Process::Running { .. }) => Next::Do(stop(goal, seen)),
    }
}

/// Why nothing of this member may be touched, if so: it is looked at again and again, and only a
/// person knows what became of it. A lost mount must not end in an empty database in its place.
#[must_use]
pub fn obstacle(goal: &Goal, seen: &Seen) -> Option<String> {
    let (directory, process) = (seen.directory.as_ref()?, seen.process?);
    match directory {
        Directory::Foreign { why } => Some(format!("its directory is somebody else's: {why}")),
        Directory::Complete { incarnation } | Directory::Sealed { incarnation } => {
            let remade =
                matches!(goal.role, Role::Standby { .. }) && *incarnation < goal.incarnation;
            let other = *incarnation != goal.incarnation && !remade;
            other.then(|| {
                let wanted = goal.incarnation;
                format!("its directory is of incarnation {incarnation}, not of {wanted} as wanted")
            })
        }
        Directory::Absent
            if matches!(process, Process::Running { .. } | Process::Frozen { .. }) =>
        {
            Some("its server runs and its directory is gone".to_owned())
        }
        Directory::Absent | Directory::Partial => {
            let lost = seen.made && goal.want != Want::Removed && seen.state != State::Gone;
            lost.then(|| {
                "its directory was complete and is gone; bring it back (is its disk mounted?) or \
                 terminate the service"
                    .to_owned()
            })
        }
    }
}

/// Nothing runs and something should.
fn start(goal: &Goal, seen: &Seen, directory: &Directory, now: Time) -> Next {
    if let Some(action) = part::at_rest(goal, seen, directory) {
        return Next::Do(action);
    }
    let nothing = goal.role == Role::Recruit && *directory == Directory::Absent;
    if nothing || part::rests(goal, seen) && *directory != Directory::Partial {
        return due(seen.looked, LOOK_STEP, Action::Look, now);
    }
    Next::Do(match directory {
        Directory::Absent => Action::Initialize,
        Directory::Partial => Action::Discard,
        Directory::Sealed { .. } => Action::Seal(false),
        Directory::Complete { .. } => {
            if seen.state == State::CrashLooping && seen.restarts == goal.restarts {
                return Next::Settled;
            }
            if seen.configured != Some(version(goal)) { Action::Configure } else { Action::Start }
        }
        // An obstacle, see there.
        Directory::Foreign { .. } => return Next::Settled,
    })
}

/// A stop that was not obeyed is not asked for again: the next start replays the log.
fn stop(goal: &Goal, seen: &Seen) -> Action {
    if seen.stop_failed { Action::Kill } else { Action::Stop(goal.stop) }
}

/// Something runs and should.
#[allow(clippy::too_many_lines, reason = "one order of what goes before what, read top-down")]
fn keep(goal: &Goal, seen: &Seen, process: Process, now: Time) -> Next {
    let frozen = matches!(process, Process::Frozen { .. });
    // A server that was asked to stop is on its way down, whatever is wanted now: down it goes first.
    let restart = seen.restarts != goal.restarts || seen.state == State::Stopping;
    if restart || part::rests(goal, seen) {
        return Next::Do(if frozen { Action::Kill } else { stop(goal, seen) });
    }
    // A standby that hangs serves nobody: it needs no verdict to be ended and started.
    if seen.state == State::Hung && !matches!(goal.role, Role::Primary { .. }) {
        return Next::Do(Action::Kill);
    }
    if seen.configured != Some(version(goal)) {
        return Next::Do(Action::Configure);
    }
    // Who hangs answers nothing, and must not be found out later for being asked for more.
    let answered = matches!(seen.answer, Answer::Accepting | Answer::Writing | Answer::Following);
    // A promotion is an answer too.
    if answered && now.since(seen.probed.max(seen.part.promoted_at)) >= READY_STEP {
        return Next::Do(Action::Probe { write: false });
    }
    let is_prepared = seen
        .prepared
        .is_some_and(|(of, accounts)| of == version(goal) || accounts == goal.accounts());
    let soon = now.since(seen.started.max(seen.part.promoted_at)) < STARTING_SOON;
    let replication = part::next(goal, seen, now);
    let lead = part::lead(goal, seen, now);
    if let Some(Next::Do(action)) = replication {
        return Next::Do(action);
    }
    // The archive comes after clients, and after what they wait for.
    let served = seen.answer == Answer::Following || seen.write_proven && is_prepared;
    let archiving =
        archiving::next(goal, seen, now).filter(|_| served && !matches!(lead, Some(Next::Do(_))));
    if let Some(Next::Do(action)) = archiving {
        return Next::Do(action);
    }
    let every = match (seen.state, seen.answer) {
        (State::Hung, Answer::Following) | (_, Answer::Silent) => DOUBT_STEP,
        (_, Answer::Following) => {
            if let Some(pace) = seen.due.due(now) {
                return Next::Do(Action::Check(pace));
            }
            READY_STEP
        }
        (state, Answer::Accepting | Answer::Writing) => {
            if !is_prepared && !part::is_fresh(goal, seen, now) {
                return Next::Do(Action::Prepare);
            }
            if let Some(Next::Do(action)) = lead {
                return Next::Do(action);
            }
            // What hung is believed only after a write. Clients come first: until they are let in
            // it may wait for others' acknowledgement.
            let shut = goal.has_siblings() && !seen.part.opened;
            let hung = state == State::Hung;
            if !shut && (hung || !seen.write_proven || now.since(seen.wrote) >= WRITE_STEP) {
                let write = Action::Probe { write: true };
                let next = due(seen.probed, until_proven(hung, soon), write, now);
                return first(next, waits(lead.as_ref()));
            }
            if let Some(pace) = seen.due.due(now) {
                return Next::Do(Action::Check(pace));
            }
            READY_STEP
        }
        (State::Hung, _) => DOUBT_STEP,
        _ if soon => STARTING_STEP,
        _ => SLOW_STEP,
    };
    let next = match due(seen.looked, LOOK_STEP, Action::Look, now) {
        Next::Wait(look) => {
            first(due(seen.probed, every, Action::Probe { write: false }, now), Some(look))
        }
        look => look,
    };
    let next = first(next, waits(archiving.as_ref()));
    match waits(replication.as_ref()) {
        Some(at) => first(next, Some(at)),
        None => first(next, waits(lead.as_ref()).filter(|_| is_prepared)),
    }
}

/// Between writes until one is acknowledged.
const fn until_proven(hung: bool, soon: bool) -> Span {
    match (hung, soon) {
        (true, _) => DOUBT_STEP,
        (false, true) => STARTING_STEP,
        (false, false) => SLOW_STEP,
    }
}

/// Until when there is nothing to do.
const fn waits(next: Option<&Next>) -> Option<Time> {
    match next {
        Some(Next::Wait(at)) => Some(*at),
        Some(Next::Do(_) | Next::Settled) | None => None,
    }
}

/// The same, and no wait past a moment at which something else is due.
fn first(next: Next, at: Option<Time>) -> Next {
    match (next, at) {
        (Next::Wait(wait), Some(at)) => Next::Wait(wait.min(at)),
        (next, _) => next,
    }
}

/// Nothing runs and nothing should.
fn put_away(want: Want, directory: &Directory, seen: &Seen, now: Time) -> Next {
    match (want, directory) {
        // It never served, or is half removed: nothing is lost with it.
        (_, Directory::Partial) => Next::Do(Action::Discard),
        // What a removal rested on may be gone since: it is not done by a goal that was only kept.
        (Want::Removed, Directory::Complete { .. } | Directory::Sealed { .. }) if !seen.given => {
            due(seen.looked, LOOK_STEP, Action::Look, now)
        }
        // Of an absent one too: it leaves the tombstone.
        (Want::Removed, _) => Next::Do(Action::Remove),
        (Want::Sealed, Directory::Complete { .. }) => Next::Do(Action::Seal(true)),
        _ => due(seen.looked, LOOK_STEP, Action::Look, now),
    }
}

pub(super) fn due(last: Time, every: Span, action: Action, now: Time) -> Next {
    let at = last + every;
    if now >= at { Next::Do(action) } else { Next::Wait(at) }
}

/// The version of a goal.
#[must_use]
pub const fn version(goal: &Goal) -> (Term, Revision) {
    (goal.term, goal.revision)
}

/// States in which a process of it is meant to be there.
pub const fn running(state: State) -> bool {
    use State as S;
    matches!(state, S::Starting | S::Recovering | S::Following | S::Ready | S::Hung)
}
