//! A member's archive, as its agent keeps an eye on it, and the job beside its server.
//!
//! Invariants: a job is begun once for a goal that names it, and its outcome is told for as long as the
//! goal does; how far the log is behind is asked of no server, so that one that hangs is told of too.

use serde::{Deserialize, Serialize};

use super::guarding::Guarding;
use super::reconcile::{Action, Next, Seen, due};
use crate::backup::job::{self, Done};
use crate::driver;
use crate::goal::{Goal, Role};
use crate::member::State;
use crate::moment::Moment;
use crate::report;
use crate::time::{Span, Time};

/// Between looks at how the log gets to its archive.
const ASK_STEP: Span = Span::secs(5);
/// Between looks whether all of it is there, when that is waited for.
const FLUSH_STEP: Span = Span::millis(100);

/// While log is on its way, what it is behind since moves with every file: less than this is not told.
const BEHIND_STEP: Span = Span::mins(5);

/// Since when a log is told to be behind at a moment, where it was told to be so since `told`: again when it is
/// worse, or when half of what was told is left. Reports hold nothing that moves by itself, and a fleet that
/// brings hours of log would send nothing else.
#[must_use]
pub fn behind(told: Option<Moment>, since: Option<Moment>, now: Moment) -> Option<Moment> {
    match (told, since) {
        (Some(told), Some(since)) if since >= told => {
            let step = Span(now.since(told).0 / 2).max(BEHIND_STEP);
            Some(if since.since(told) < step { told } else { since })
        }
        _ => since,
    }
}

/// What is known of a member's archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archiving {
    asked: Time,
    tried: Time,
    said: driver::Archived,
    /// Since when it is behind, as it is told.
    #[serde(default)]
    behind: Option<Moment>,
    /// The disk that the log is kept on.
    pub guard: Guarding,
    /// The newest flush that was wanted and is done.
    flushed: u32,
    job: Option<Work>,
}

/// A job that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Work {
    UnderWay { id: u32, number: u64 },
    Ended(job::Told),
}

/// What is to be done about a member's archive next.
pub fn next(goal: &Goal, seen: &Seen, now: Time) -> Option<Next> {
    goal.archive.as_ref()?;
    let own = &seen.archiving;
    let leads = seen.state == State::Ready && matches!(goal.role, Role::Primary { .. });
    if let Some(Next::Do(guard)) = own.guard.next(now) {
        return Some(Next::Do(guard));
    }
    if leads && own.flushed != goal.flush {
        return Some(due(own.tried, FLUSH_STEP, Action::Flush, now));
    }
    let step = ASK_STEP.min(own.guard.look_within());
    Some(due(own.asked, step, Action::Archived, now))
}

impl Archiving {
    /// How it is.
    pub fn said(&mut self, said: &driver::Archived, now: Time) {
        (self.said, self.asked) = (said.clone(), now);
        self.behind = behind(self.behind, said.behind_since, Moment::of_millis(now.0));
        if let Some(room) = said.room {
            self.guard.said(room, now);
        }
    }

    /// It was asked for, and there is no answer.
    pub fn unsaid(&mut self, now: Time) {
        self.asked = now;
    }

    /// Whether everything is archived that was written before a flush was wanted.
    pub fn flushed(&mut self, wanted: u32, so: bool, now: Time) {
        self.tried = now;
        if so {
            self.flushed = wanted;
        }
    }

    /// Whether the goal's job is to be begun.
    pub fn wants(&mut self, goal: &Goal, state: State) -> bool {
        let Some(job) = &goal.job else {
            // One that runs is not waited for any more, and nobody asks what came of it.
            self.job = None;
            return false;
        };
        let known = match &self.job {
            Some(Work::UnderWay { id, .. } | Work::Ended(job::Told { id, .. })) => *id == job.id,
            None => false,
        };
        let there = matches!(state, State::Ready | State::Following);
        !known && (there || !matches!(job.what, job::What::Backup { .. }))
    }

    /// The job begins, under a number that is nobody else's.
    pub fn begin(&mut self, id: u32, number: u64) {
        self.job = Some(Work::UnderWay { id, number });
    }

    /// What came of it; whether anybody waits for that.
    pub fn ended(&mut self, number: u64, outcome: &Result<Done, String>) -> bool {
        match &self.job {
            Some(Work::UnderWay { id, number: own }) if *own == number => {
                self.job = Some(Work::Ended(job::Told { id: *id, outcome: outcome.clone() }));
                true
            }
            _ => false,
        }
    }

    /// For the controller, where there is an archive or a job.
    pub fn report(&self, goal: &Goal) -> Option<Box<report::Archive>> {
        (goal.archive.is_some() || goal.job.is_some()).then(|| {
            Box::new(report::Archive {
                pending_bytes: report::band(self.said.pending_bytes),
                behind_since: self.behind,
                trouble: self.said.trouble.clone(),
                refused: self.said.refused.clone(),
                missed: self.said.missed.clone(),
                disk: self.guard.report(),
                flushed: self.flushed,
                job: match &self.job {
                    Some(Work::Ended(told)) => Some(told.clone()),
                    _ => None,
                },
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_with_every_file_is_told_in_steps() {
        let at = |s: u64| Some(Moment::of_millis(s * 1000));
        let now = |s: u64| Moment::of_millis(s * 1000);
        assert_eq!(behind(None, at(100), now(300)), at(100));
        assert_eq!(behind(at(100), at(399), now(500)), at(100), "it moved, and not far");
        assert_eq!(behind(at(100), at(400), now(500)), at(400));
        assert_eq!(behind(at(100), None, now(500)), None, "it is not behind any more");
        assert_eq!(behind(at(100), at(50), now(500)), at(50), "it is worse");
        assert_eq!(behind(at(0), at(3000), now(7200)), at(0), "more than half is left");
        assert_eq!(behind(at(0), at(3600), now(7200)), at(3600));
    }
}
