//! One member as its agent holds it: the goal on disk, what was seen, what came of each call.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::archiving::Archiving;
use super::checking::Checking;
use super::limits::{CALL_LONG, HUNG_AFTER, RETRY_MAX, RETRY_SOON, RETRY_STEP, START_MAX};
use super::part::{self, Part};
pub use super::perform::Call;
use super::perform::Outcome;
use super::reconcile::{self, Action, Every, Next, Rounds, Seen, running};
use super::scripting::Scripting;
use super::stored::Stored;
use crate::check::{Check, Pace, Thresholds};
use crate::driver::{self, Answer, Directory, Process};
use crate::edge::Edge;
use crate::goal::{Accept, Goal, Refusal, Role, Want, accept};
use crate::id::Term;
use crate::machine;
use crate::member::{Event, Machine, State};
use crate::report;
use crate::time::{Span, Time};

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
    pub reported: Option<report::Mark>,
    /// What that said of its archive.
    archive_said: Option<Box<report::Archive>>,
    /// Whether [`Member::stored`] is newer than the disk.
    pub unsaved: bool,
    /// Whether its report may differ from the last one sent.
    pub touched: bool,
    /// The script that runs beside it.
    pub scripting: Scripting,
    /// Deaths the budget still counts.
    recent: Vec<Time>,
    silent_since: Option<Time>,
    /// The action that fails, and how often in a row.
    failing: Option<(Action, u8)>,
    trouble: Option<String>,
    refused: Option<Refusal>,
    port_taken: bool,
    checks: Checking,
    /// Edges that its machine took since somebody looked.
    #[serde(skip)]
    pub edges: Vec<Edge>,
    /// Until when there is nothing to do for it, unless something is heard of it.
    #[serde(skip)]
    pub rests_until: Time,
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
                made: stored.made,
                started: Time(0),
                due: Rounds::default(),
                configured: None,
                prepared: None,
                given: false,
                archiving: Archiving::default(),
                importing: super::importing::Importing::default(),
                part: Part { primary: stored.primary, history: stored.history, ..Part::default() },
                restarts: stored.restarts,
                stop_failed: false,
                not_before: Time(0),
                look_after: Time(0),
            },
            stored,
            call: None,
            reported: None,
            archive_said: None,
            unsaved: false,
            touched: true,
            scripting: Scripting::default(),
            recent: Vec::new(),
            silent_since: None,
            failing: None,
            trouble: None,
            refused: None,
            port_taken: false,
            checks: Checking::default(),
            edges: Vec::new(),
            rests_until: Time(0),
        }
    }

    /// The goal it has.
    #[must_use]
    pub const fn goal(&self) -> &Arc<Goal> {
        &self.stored.applied.goal
    }

    /// Takes a goal that arrived, or remembers why not.
    pub fn take(&mut self, goal: &Arc<Goal>, now: Time) {
        self.touched = true;
        match accept(Some(&self.stored.applied), goal) {
            Ok(Accept::New) => {
                self.refused = None;
                let applied = &mut self.stored.applied;
                if applied.incarnation != goal.incarnation {
                    (self.stored.made, self.seen.made) = (false, false);
                    (self.stored.crash_looping, self.stored.deaths) = (false, 0);
                    self.seen.part.remade();
                    if self.seen.state == State::Gone {
                        // What was removed is over; another directory begins where it was.
                        self.seen.state = State::Absent;
                        (self.seen.directory, self.seen.process) = (None, None);
                    }
                }
                applied.incarnation = goal.incarnation;
                (self.seen.part.heard, self.seen.given) = (now, true);
                applied.pledged = applied.pledged.max(goal.term);
                if std::mem::discriminant(&applied.goal.role) != std::mem::discriminant(&goal.role)
                {
                    // Other checks are asked in another part.
                    self.seen.due.begin(goal.member, now);
                    self.checks.begin();
                }
                let key = |goal: &Goal| (goal.restarts, goal.port, goal.want, goal.term);
                if key(&applied.goal) != key(goal) {
                    // An order, or a way out of what failed: tried at once.
                    (self.seen.not_before, self.failing, self.port_taken) = (Time(0), None, false);
                }
                applied.goal = Arc::clone(goal);
                self.unsaved = true;
            }
            Ok(Accept::Known) => {
                (self.refused, self.seen.part.heard, self.seen.given) = (None, now, true);
            }
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
        let ends = matches!(action, Action::Stop(_) | Action::Kill);
        let fence = part::fence(self.goal(), &self.seen);
        self.seen.part.fenced |= ends && fence.is_some_and(|at| now >= at);
        match action {
            Action::Initialize | Action::Rejoin => self.event(Event::Initialize),
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
        let accounts = (action == Action::Prepare).then(|| self.goal().accounts());
        let flush = self.goal().flush;
        self.call = Some(Call { number, action, version, accounts, flush, since: now });
    }

    /// With nothing running and nothing to run, a failure is over: it is stopped.
    pub fn settle(&mut self) {
        let failed = matches!(self.seen.state, State::Failed | State::CrashLooping);
        let none = self.seen.process == Some(Process::None);
        self.keep_part();
        let rests = self.goal().want != Want::Running || part::rests(self.goal(), &self.seen);
        if failed && none && rests {
            self.event(Event::Stop);
            self.touched = true;
            self.recent.clear();
            self.unsaved |= std::mem::take(&mut self.stored.crash_looping);
        }
    }

    /// What must outlive the agent about its part is on disk before anything else is done.
    fn keep_part(&mut self) {
        let (stored, part) = (&mut self.stored, &self.seen.part);
        if (stored.primary, stored.history) != (part.primary, part.history) {
            (stored.primary, stored.history) = (part.primary, part.history);
            self.unsaved = true;
        }
    }

    /// Its process is gone, says the operating system. What is left is looked at first.
    pub fn died(&mut self) {
        self.touched = true;
        (self.seen.process, self.seen.answer) = (None, Answer::Unasked);
    }

    /// What came of a call. Outcomes of calls that are not under way are none.
    pub fn outcome(
        &mut self,
        number: u64,
        outcome: &Outcome,
        (checks, limits): (&[&dyn Check], &Thresholds),
        now: Time,
    ) {
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
                self.seen.archiving.guard.started();
                self.seen.part.started();
            }
            Outcome::Answered(answer) => self.answered(*answer, &call, now),
            Outcome::Archived(said) => self.seen.archiving.said(said, now),
            Outcome::Held(so) if call.action == Action::Flush => {
                self.seen.archiving.flushed(call.flush, *so, now);
            }
            Outcome::Replication(said) => {
                let goal = &self.stored.applied.goal;
                self.seen.part.said(goal, &call, said, now);
            }
            Outcome::Rejoined(discarded) => {
                self.done(&call, now);
                self.seen.part.discarded = Some(*discarded);
            }
            Outcome::Ended(end) => {
                let goal = &self.stored.applied.goal;
                if call.version == reconcile::version(goal) {
                    self.seen.part.ended(goal, *end);
                }
            }
            Outcome::Held(so) => {
                self.seen.part.tried = now;
                let current = call.version == reconcile::version(self.goal());
                match call.action {
                    Action::Open if *so => {
                        self.seen.part.opened();
                        // A promotion ends with a write; that is the proof where nobody is waited for.
                        if part::is_fresh(self.goal(), &self.seen, now) {
                            self.write_acknowledged(now);
                        }
                    }
                    Action::Confirm if *so && current => {
                        self.seen.part.confirmed(&self.stored.applied.goal);
                    }
                    _ => {}
                }
            }
            Outcome::Read(readings) => {
                if let Action::Check(pace) = call.action {
                    let goal = &self.stored.applied.goal;
                    self.seen.due.done(pace, goal.member, now);
                    self.checks.read(goal, pace, readings, (checks, limits));
                }
            }
            Outcome::Done => self.done(&call, now),
        }
        // A look between two tries does not make the second one the first.
        self.failing.take_if(|(failing, _)| *failing == call.action);
    }

    fn done(&mut self, call: &Call, now: Time) {
        let version = Some(call.version);
        match &call.action {
            Action::Initialize | Action::Rejoin => {
                self.event(Event::Initialized);
                self.stored.deaths = 0;
                let primary = matches!(self.goal().role, Role::Primary { .. });
                (self.seen.part.primary, self.seen.part.history) = (primary, Term(0));
                self.made();
                self.look_again();
            }
            Action::Promote => {
                self.seen.part.promoted(call.version.0, now);
                // It says that it takes writes, and that none was tried.
                (self.seen.answer, self.seen.write_proven) = (Answer::Accepting, false);
                self.seen.probed = Time(0);
            }
            Action::Configure => self.seen.configured = version,
            Action::Checkpoint => self.seen.part.checkpointed = version,
            Action::Prepare => {
                self.seen.prepared = call.accounts.map(|accounts| (call.version, accounts));
            }
            Action::Stop(_) | Action::Kill => {
                if self.seen.state == State::Stopping {
                    self.event(Event::Exited);
                }
                self.seen.stop_failed = false;
                self.look_again();
            }
            Action::Remove => {
                self.event(Event::Remove);
                self.seen.directory = Some(Directory::Absent);
            }
            Action::Seal(_) | Action::Discard => self.look_again(),
            Action::Look
            | Action::Start
            | Action::Probe { .. }
            | Action::Check(_)
            | Action::Replication
            | Action::EndOfLog
            | Action::Open
            | Action::Archived
            | Action::Flush
            | Action::Confirm => {}
            Action::Guard(level) => self.seen.archiving.guard.guarded(*level, now),
        }
        if !matches!(call.action, Action::Configure | Action::Prepare) {
            self.trouble = None;
        }
    }

    fn failed(&mut self, action: &Action, error: &driver::Error, now: Time) {
        match action {
            Action::Archived => return self.seen.archiving.unsaid(now),
            Action::Flush => return self.seen.archiving.flushed(0, false, now),
            Action::Guard(_) => return self.seen.archiving.guard.failed(now),
            _ => self.trouble = Some(error.to_string()),
        }
        // What was only asked is asked again at its own pace.
        match action {
            Action::Replication => return self.seen.part.asked = now,
            Action::Open | Action::Confirm => return self.seen.part.tried = now,
            _ => {}
        }
        let before = self.failing.take_if(|(failing, _)| failing == action).map_or(0, |(_, n)| n);
        self.failing = Some((action.clone(), before.saturating_add(1)));
        self.port_taken |= matches!(error, driver::Error::PortTaken { .. });
        let step = match action {
            // Who makes its primary ready for it is another agent, and soon done.
            Action::Rejoin => RETRY_SOON,
            Action::Initialize if matches!(self.goal().role, Role::Standby { .. }) => RETRY_SOON,
            _ => RETRY_STEP,
        };
        // These look first, and change nothing before it can work.
        let most = match action {
            Action::Prepare | Action::Rejoin => RETRY_STEP.times(2),
            _ => RETRY_MAX,
        };
        let wait = step.times(2 << before.min(10)).min(most);
        self.seen.not_before = now + wait;
        match action {
            // Nothing ran: that is no death the budget counts.
            Action::Initialize | Action::Rejoin | Action::Start => self.event(Event::Died),
            Action::Stop(_) => (self.seen.stop_failed, self.seen.not_before) = (true, now),
            Action::Look => self.seen.look_after = self.seen.not_before,
            Action::Check(pace) => self.seen.due.done(*pace, self.goal().member, now),
            Action::Probe { .. } => self.seen.probed = now,
            _ => {}
        }
        self.look_again();
    }

    /// How often its checks are run from now on. What is run no more is not read any more.
    pub fn pace_checks(&mut self, every: Every, now: Time) {
        if self.seen.due.every == every {
            return;
        }
        self.seen.due.pace(every, self.stored.applied.goal.member, now);
        let off = [Pace::Often, Pace::Rarely].into_iter().filter(|at| every.at(*at) == Span(0));
        off.for_each(|pace| self.checks.end(pace));
        self.touched = true;
    }

    fn look_again(&mut self) {
        (self.seen.directory, self.seen.process) = (None, None);
    }

    fn fresh_process(&mut self, now: Time) {
        self.seen.started = now;
        (self.seen.answer, self.seen.write_proven) = (Answer::Unasked, false);
        (self.seen.prepared, self.silent_since) = (None, None);
        self.seen.part.fresh_process();
        self.seen.probed = Time(0);
        self.seen.due.begin(self.stored.applied.goal.member, now);
        self.checks.begin();
        self.unsaved |= std::mem::take(&mut self.stored.crash_looping);
    }

    fn looked(&mut self, directory: Directory, process: Process, now: Time) {
        self.seen.looked = now;
        let wanted = self.goal().incarnation;
        let found = match directory {
            Directory::Complete { incarnation } => Some((incarnation, false)),
            Directory::Sealed { incarnation } => Some((incarnation, true)),
            Directory::Absent | Directory::Partial | Directory::Foreign { .. } => None,
        };
        let ours = found.is_some_and(|(incarnation, _)| incarnation == wanted);
        let sealed = found.is_some_and(|(_, sealed)| sealed);
        if ours {
            self.made();
        }
        match self.seen.state {
            State::Absent if ours => self.find(sealed, process, now),
            _ => self.compare(process, now),
        }
        // One that waits to be made anew rests, and is sealed, as well as any.
        let rests = found.filter(|(incarnation, _)| *incarnation <= wanted);
        match (self.seen.state, rests) {
            (State::Stopped, Some((_, true))) => self.event(Event::Seal),
            (State::Sealed, Some((_, false))) => self.event(Event::Unseal),
            _ => {}
        }
        (self.seen.directory, self.seen.process) = (Some(directory), Some(process));
    }

    fn made(&mut self) {
        (self.seen.made, self.unsaved) = (true, self.unsaved || !self.stored.made);
        self.stored.made = true;
    }

    /// First look after an agent's start: what is there is adopted, through the machine's own steps.
    fn find(&mut self, sealed: bool, process: Process, now: Time) {
        [Event::Initialize, Event::Initialized].into_iter().for_each(|event| self.event(event));
        match process {
            _ if sealed => {}
            Process::Running { .. } | Process::Frozen { .. } => {
                self.event(Event::Start);
                self.fresh_process(now);
            }
            // It ran when the agent was away, or was never to run.
            Process::None | Process::Leftovers { .. } if self.stored.crash_looping => {
                let spent = [Event::Start, Event::Died, Event::BudgetSpent];
                spent.into_iter().for_each(|event| self.event(event));
            }
            Process::None | Process::Leftovers { .. } => {}
        }
    }

    /// A later look: is what ran still there?
    fn compare(&mut self, process: Process, now: Time) {
        let gone = matches!(process, Process::None | Process::Leftovers { .. });
        match self.seen.state {
            State::Starting | State::Recovering | State::Following | State::Ready | State::Hung
                if gone =>
            {
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
            self.stored.crash_looping = true;
        } else if let Some(doubled) = recent.checked_sub(2) {
            // The first restart is at once.
            let wait = budget.backoff.times(1 << doubled.min(16));
            self.seen.not_before = now + wait;
        }
    }

    fn answered(&mut self, answer: Answer, call: &Call, now: Time) {
        let before = self.seen.answer;
        (self.seen.answer, self.seen.probed) = (answer, now);
        match answer {
            Answer::Silent | Answer::NotYet | Answer::Unasked => {
                let since = *self.silent_since.get_or_insert(call.since);
                let limit = match self.seen.state {
                    State::Starting => START_MAX,
                    _ => HUNG_AFTER,
                };
                let up = running(self.seen.state) && self.seen.state != State::Hung;
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
            Answer::Following => {
                if !matches!(self.seen.state, State::Ready | State::Following) {
                    self.event(Event::Follows);
                    // As with a write that is acknowledged: what it was is over.
                    self.trouble = None;
                }
            }
            Answer::Accepting => {
                // Asked to write and only let in: full of clients. It lives, nothing is proven.
                if call.action == (Action::Probe { write: true }) && self.seen.write_proven {
                    self.seen.wrote = now;
                }
            }
            Answer::Writing => {
                self.write_acknowledged(now);
            }
        }
        self.silent_since = None;
    }

    fn write_acknowledged(&mut self, now: Time) {
        self.event(Event::WriteProven);
        (self.seen.write_proven, self.seen.wrote) = (true, now);
        self.trouble = None;
    }

    /// Moves its machine. A step that is not legal is a mistake in this file, and panics.
    fn event(&mut self, event: Event) {
        let was = self.seen.state;
        self.seen.state =
            machine::step::<Machine>(was, event).expect("a member's machine moves by legal steps");
        if self.seen.state != was {
            self.edges.push(Edge::of::<Machine>(was, event));
        }
    }

    fn archive_report(&self) -> Option<Box<report::Archive>> {
        let archive = self.seen.archiving.report(self.goal())?;
        Some(Box::new(archive.after(self.archive_said.as_deref())))
    }

    /// This was told of it.
    pub fn told_of(&mut self, report: &report::Member) {
        self.archive_said.clone_from(&report.archive);
    }

    /// Its report.
    #[must_use]
    pub fn report(&self, data_dir: String, now: Time) -> report::Member {
        let goal = self.goal();
        let long = self.call.as_ref().filter(|_| self.is_late(now));
        let trouble = long.map(|call| format!("{:?} takes longer than {CALL_LONG}", call.action));
        let trouble = trouble.or_else(|| reconcile::obstacle(goal, &self.seen));
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
            checks: self.checks.results(self.seen.state),
            unread: self.checks.unread(self.seen.state),
            identity: goal.identity.clone(),
            replication: Part::report(goal, &self.seen, now),
            archive: self.archive_report(),
            import: self.seen.importing.report(goal),
            script: self.stored.script.clone(),
        }
    }
}
