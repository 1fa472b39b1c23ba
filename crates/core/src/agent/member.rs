//! One member as its agent holds it: the goal on disk, what was seen, what came of each call.

use serde::{Deserialize, Serialize};

use super::reconcile::{self, Action, Next, Seen};
use crate::check::{self, Check, Reading};
use crate::digest::Digest;
use crate::driver::{self, Answer, Directory, Process};
use crate::goal::{Accept, Applied, Goal, Refusal, Want, accept};
use crate::id::{Revision, Term};
use crate::machine;
use crate::member::{Event, Machine, State};
use crate::report;
use crate::time::{Span, Time};

/// A server that answers nothing for this long is hung. Shorter is a busy disk.
const HUNG_AFTER: Span = Span::secs(5);
/// A server that was started and never came up in this time is hung.
const START_MAX: Span = Span::secs(60);
/// First wait after a call that failed, doubled for each further one in a row.
const RETRY_STEP: Span = Span::millis(500);
/// Longest such wait.
const RETRY_MAX: Span = Span::secs(30);
/// A call that takes longer is told of.
const CALL_LONG: Span = Span::secs(30);

/// What an agent keeps on disk about a member, synced before it acts on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The goal and the fences.
    pub applied: Applied,
    /// Ordered restarts done; raised before the restart's start, so that none is done twice.
    pub restarts: u32,
    /// Deaths without an order since the directory was made.
    pub deaths: u32,
}

/// What came of a driver call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// To [`Action::Look`].
    Looked(Directory, Process),
    /// It is so.
    Done,
    /// To [`Action::Start`]: the server's process.
    Started(u32),
    /// To [`Action::Probe`].
    Answered(Answer),
    /// To [`Action::Check`]: each check's name with its reading; those that could not be read are
    /// left out.
    Read(Vec<(String, Reading)>),
    /// It did not happen.
    Failed(driver::Error),
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What is on disk about it.
    pub stored: Stored,
    /// What was seen.
    pub seen: Seen,
    /// The call under way.
    pub call: Option<Call>,
    /// Digest of its last report.
    pub reported: Option<Digest>,
    /// Whether [`Member::stored`] is newer than the disk.
    pub unsaved: bool,
    /// Whether its report may differ from the last one sent.
    pub touched: bool,
    /// Deaths the budget still counts.
    recent: Vec<Time>,
    silent_since: Option<Time>,
    failures: u8,
    trouble: Option<String>,
    refused: Option<Refusal>,
    port_taken: bool,
    checks: Vec<check::Result>,
}

/// A call under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Names it in its outcome.
    pub number: u64,
    /// Which.
    pub action: Action,
    /// Toward which goal; a newer one may have come meanwhile.
    pub version: (Term, Revision),
    /// Since when.
    pub since: Time,
}

impl Member {
    /// A member of which only the goal is known yet.
    #[must_use]
    pub fn new(stored: Stored) -> Self {
        Self {
            seen: Seen {
                state: State::Absent,
                directory: None,
                process: None,
                looked: Time(0),
                answer: Answer::Unasked,
                probed: Time(0),
                wrote: Time(0),
                write_proven: false,
                started: Time(0),
                checked: Time(0),
                configured: None,
                prepared: None,
                restarts: stored.restarts,
                stop_failed: false,
                not_before: Time(0),
            },
            stored,
            call: None,
            reported: None,
            unsaved: false,
            touched: true,
            recent: Vec::new(),
            silent_since: None,
            failures: 0,
            trouble: None,
            refused: None,
            port_taken: false,
            checks: Vec::new(),
        }
    }

    /// The goal it has.
    #[must_use]
    pub fn goal(&self) -> &Goal {
        &self.stored.applied.goal
    }

    /// Takes a goal that arrived, or remembers why not.
    pub fn take(&mut self, goal: &Goal) {
        self.touched = true;
        match accept(Some(&self.stored.applied), goal) {
            Ok(Accept::New) => {
                self.refused = None;
                let applied = &mut self.stored.applied;
                applied.pledged = applied.pledged.max(goal.term);
                if applied.goal.restarts != goal.restarts || applied.goal.port != goal.port {
                    // An order, or a way out of what failed: tried at once.
                    (self.seen.not_before, self.failures, self.port_taken) = (Time(0), 0, false);
                }
                applied.goal = goal.clone();
                self.unsaved = true;
            }
            Ok(Accept::Known) => self.refused = None,
            Err(refusal) => self.refused = Some(refusal),
        }
    }

    /// What to do next; a call is marked as under way by [`Member::begin`].
    #[must_use]
    pub fn next(&self, now: Time) -> Next {
        match &self.call {
            Some(_) if self.is_late(now) => Next::Wait(now + CALL_LONG),
            Some(call) => Next::Wait(call.since + CALL_LONG),
            None => reconcile::next(self.goal(), &self.seen, now),
        }
    }

    /// Whether a call takes so long that it should be told of.
    #[must_use]
    pub fn is_late(&self, now: Time) -> bool {
        self.call.as_ref().is_some_and(|call| now.since(call.since) >= CALL_LONG)
    }

    /// A call begins: its machine moves, and what must be on disk before it is marked unsaved.
    pub fn begin(&mut self, number: u64, action: Action, now: Time) {
        self.touched = true;
        match action {
            Action::Initialize => self.event(Event::Initialize),
            Action::Start => {
                if self.seen.restarts != self.goal().restarts {
                    // Ordered: earlier deaths no longer count against it.
                    self.recent.clear();
                    self.seen.restarts = self.goal().restarts;
                    self.stored.restarts = self.seen.restarts;
                    self.unsaved = true;
                }
                self.event(Event::Start);
                self.port_taken = false;
                self.fresh_process(now);
            }
            Action::Stop(_) | Action::Kill if running(self.seen.state) => self.event(Event::Stop),
            _ => {}
        }
        let version = reconcile::version(self.goal());
        self.call = Some(Call { number, action, version, since: now });
    }

    /// With nothing running and nothing to run, a failure is over: it is stopped.
    pub fn settle(&mut self) {
        let failed = matches!(self.seen.state, State::Failed | State::CrashLooping);
        let none = self.seen.process == Some(Process::None);
        if failed && none && self.goal().want != Want::Running {
            self.event(Event::Stop);
            self.touched = true;
        }
    }

    /// Its process is gone, says the operating system. What is left is looked at first.
    pub fn died(&mut self) {
        self.touched = true;
        (self.seen.process, self.seen.answer) = (None, Answer::Unasked);
    }

    /// What came of a call. Outcomes of calls that are not under way are none.
    pub fn outcome(&mut self, number: u64, outcome: &Outcome, checks: &[&dyn Check], now: Time) {
        let Some(call) = self.call.take_if(|call| call.number == number) else { return };
        self.touched = true;
        match outcome {
            Outcome::Failed(error) => return self.failed(&call.action, error, now),
            Outcome::Looked(directory, process) => {
                self.looked(directory.clone(), *process, now);
            }
            Outcome::Started(pid) => {
                self.seen.process = Some(Process::Running { pid: *pid });
                self.fresh_process(now);
            }
            Outcome::Answered(answer) => self.answered(*answer, &call.action, now),
            Outcome::Read(readings) => {
                self.seen.checked = now;
                let judge = |(name, reading): &(String, Reading)| {
                    checks.iter().find(|c| c.name() == name).and_then(|c| c.judge(reading))
                };
                self.checks = readings.iter().filter_map(judge).collect();
            }
            Outcome::Done => self.done(&call),
        }
        self.failures = 0;
    }

    fn done(&mut self, call: &Call) {
        let version = Some(call.version);
        match &call.action {
            Action::Initialize => {
                self.event(Event::Initialized);
                (self.stored.deaths, self.unsaved) = (0, true);
                self.look_again();
            }
            Action::Configure => self.seen.configured = version,
            Action::Prepare => self.seen.prepared = version,
            Action::Stop(_) | Action::Kill => {
                if self.seen.state == State::Stopping {
                    self.event(Event::Exited);
                }
                self.seen.stop_failed = false;
                self.look_again();
            }
            Action::Seal(sealed) => {
                self.event(if *sealed { Event::Seal } else { Event::Unseal });
                self.look_again();
            }
            Action::Remove => {
                self.event(Event::Remove);
                self.seen.directory = Some(Directory::Absent);
            }
            Action::Discard => self.look_again(),
            Action::Look | Action::Start | Action::Probe { .. } | Action::Check => {}
        }
        if !matches!(call.action, Action::Configure | Action::Prepare) {
            self.trouble = None;
        }
    }

    fn failed(&mut self, action: &Action, error: &driver::Error, now: Time) {
        self.trouble = Some(error.to_string());
        self.failures = self.failures.saturating_add(1);
        let wait = RETRY_STEP.times(1 << self.failures.min(10)).min(RETRY_MAX);
        self.seen.not_before = now + wait;
        match action {
            Action::Initialize => self.event(Event::Died),
            Action::Start => {
                self.port_taken = matches!(error, driver::Error::PortTaken { .. });
                self.event(Event::Died);
                // Nothing ran: that is no death the budget counts, but it is no restart done either.
            }
            Action::Stop(_) => (self.seen.stop_failed, self.seen.not_before) = (true, now),
            Action::Check => self.seen.checked = now,
            Action::Probe { .. } => self.seen.probed = now,
            _ => {}
        }
        self.look_again();
    }

    fn look_again(&mut self) {
        (self.seen.directory, self.seen.process) = (None, None);
    }

    fn fresh_process(&mut self, now: Time) {
        self.seen.started = now;
        (self.seen.answer, self.seen.write_proven) = (Answer::Unasked, false);
        (self.seen.prepared, self.silent_since) = (None, None);
        (self.seen.probed, self.seen.checked) = (Time(0), Time(0));
    }

    fn looked(&mut self, directory: Directory, process: Process, now: Time) {
        self.seen.looked = now;
        let first = self.seen.state == State::Absent && directory != Directory::Absent;
        if first {
            self.find(&directory, process, now);
        } else {
            self.compare(process, now);
        }
        if let Directory::Foreign { why } = &directory {
            self.trouble = Some(format!("its directory is somebody else's: {why}"));
        }
        (self.seen.directory, self.seen.process) = (Some(directory), Some(process));
    }

    /// First look after an agent's start: what is there is adopted, through the machine's own steps.
    fn find(&mut self, directory: &Directory, process: Process, now: Time) {
        let steps: &[Event] = match (directory, process) {
            (Directory::Absent | Directory::Partial | Directory::Foreign { .. }, _) => return,
            (Directory::Sealed { .. }, _) => &[Event::Initialize, Event::Initialized, Event::Seal],
            (Directory::Complete { .. }, Process::None | Process::Leftovers { .. }) => {
                // It ran when the agent was away, or was never to run.
                &[Event::Initialize, Event::Initialized]
            }
            (Directory::Complete { .. }, Process::Running { .. } | Process::Frozen { .. }) => {
                &[Event::Initialize, Event::Initialized, Event::Start]
            }
        };
        steps.iter().for_each(|&event| self.event(event));
        if self.seen.state == State::Starting {
            self.fresh_process(now);
        }
    }

    /// A later look: is what ran still there?
    fn compare(&mut self, process: Process, now: Time) {
        let gone = matches!(process, Process::None | Process::Leftovers { .. });
        match self.seen.state {
            State::Starting | State::Recovering | State::Ready | State::Hung if gone => {
                self.count_death(now);
            }
            State::Stopping if process == Process::None => self.event(Event::Exited),
            // Somebody else started it: it is adopted.
            State::Stopped | State::Failed | State::CrashLooping if !gone => {
                self.event(Event::Start);
                self.fresh_process(now);
            }
            _ => {}
        }
    }

    fn count_death(&mut self, now: Time) {
        self.event(Event::Died);
        (self.seen.answer, self.seen.write_proven) = (Answer::Unasked, false);
        if self.goal().want != Want::Running || self.seen.restarts != self.goal().restarts {
            return;
        }
        self.stored.deaths += 1;
        self.unsaved = true;
        let budget = self.goal().budget;
        self.recent.retain(|&at| now.since(at) < budget.window);
        self.recent.push(now);
        let recent = self.recent.len();
        self.trouble = Some(format!("its process died without an order, {recent} times lately"));
        if recent > usize::from(budget.tries_max) {
            self.event(Event::BudgetSpent);
        } else if let Some(doubled) = recent.checked_sub(2) {
            // The first restart is at once.
            let wait = budget.backoff.times(1 << doubled.min(16));
            self.seen.not_before = now + wait;
        }
    }

    fn answered(&mut self, answer: Answer, action: &Action, now: Time) {
        let before = self.seen.answer;
        (self.seen.answer, self.seen.probed) = (answer, now);
        match answer {
            Answer::Silent | Answer::NotYet | Answer::Unasked => {
                let since = *self.silent_since.get_or_insert(now);
                let limit = match self.seen.state {
                    State::Starting => START_MAX,
                    _ => HUNG_AFTER,
                };
                let up =
                    matches!(self.seen.state, State::Starting | State::Recovering | State::Ready);
                if up && now.since(since) >= limit {
                    self.event(Event::NoAnswer);
                }
                // Refused by a server that answered a moment ago: is it still there?
                if answer == Answer::NotYet && before != Answer::NotYet {
                    self.seen.process = None;
                }
                return;
            }
            Answer::Recovering => {
                if matches!(self.seen.state, State::Starting | State::Hung) {
                    self.event(Event::Replaying);
                }
            }
            Answer::Accepting => {
                // Asked to write and only let in: full of clients. It lives, nothing is proven.
                if *action == (Action::Probe { write: true }) && self.seen.write_proven {
                    self.seen.wrote = now;
                }
            }
            Answer::Writing => {
                self.event(Event::WriteProven);
                (self.seen.write_proven, self.seen.wrote) = (true, now);
                self.trouble = None;
            }
        }
        self.silent_since = None;
    }

    /// Moves its machine.
    ///
    /// # Panics
    /// When the step is not legal, which is a mistake in this file.
    fn event(&mut self, event: Event) {
        self.seen.state = machine::step::<Machine>(self.seen.state, event)
            .expect("a member's machine moves by legal steps");
    }

    /// Its report.
    #[must_use]
    pub fn report(&self, data_dir: String, now: Time) -> report::Member {
        let goal = self.goal();
        let long = self.call.as_ref().filter(|_| self.is_late(now));
        let trouble = long.map(|call| format!("{:?} takes longer than {CALL_LONG}", call.action));
        report::Member {
            member: goal.member,
            incarnation: self.stored.applied.incarnation,
            pledged: self.stored.applied.pledged,
            applied: reconcile::version(goal),
            state: self.seen.state,
            pid: match self.seen.process {
                Some(Process::Running { pid } | Process::Frozen { pid }) => Some(pid),
                _ => None,
            },
            restarts: self.seen.restarts,
            deaths: self.stored.deaths,
            write_proven: self.seen.write_proven,
            trouble: trouble.or_else(|| self.trouble.clone()),
            refused: self.refused.clone(),
            port_taken: self.port_taken,
            data_dir,
            checks: if self.seen.state == State::Ready { self.checks.clone() } else { Vec::new() },
            identity: goal.identity.clone(),
        }
    }
}

/// States in which a process of it is meant to be there.
const fn running(state: State) -> bool {
    matches!(state, State::Starting | State::Recovering | State::Ready | State::Hung)
}
