//! A member's part in replication: what it asks of the next driver call, and what calls taught.
//!
//! Three parts: a primary is promoted where it followed, confirms its set and lets clients in when
//! that is safe; a standby follows; a recruit follows nobody and says how far it got. A directory that
//! was a primary's never follows before it is made anew: what it alone has must not be mixed in.

use serde::{Deserialize, Serialize};

use super::member::Call;
use super::reconcile::{Action, Next, Seen, due, version};
use crate::driver::{self, Answer, Directory, Process, Receiver};
use crate::goal::{Goal, Role};
use crate::id::{Revision, Term};
use crate::kind::FENCE_MARGIN;
use crate::promise::{Position, Recruit};
use crate::report;
use crate::time::{Span, Time};

/// A recruit is looked at this often until it has said how far it got, a gate until it is open.
const SOON: Span = Span::millis(10);
/// For so long since its goal came or its process began; then less often.
const SOON_FOR: Span = Span::secs(3);
/// A set that was ordered is looked at this often until it is proven in force.
const CONFIRM_STEP: Span = Span::millis(50);
/// A standby without its upstream's log is looked at this often, a primary with followers too.
const LOOSE_STEP: Span = Span::millis(500);
/// A server's word of its followers is believed so long, where a failover's loss rests on it.
const WORD_MAX: Span = Span::secs(3);
/// A server that was found running has this long until somebody must have been heard.
const FOUND: Span = Span::secs(4);
/// A write that was not acknowledged in this time waits for something.
const FIRST_WRITE: Span = Span::secs(1);
/// One that receives it, this often.
const STREAM_STEP: Span = Span::secs(1);

/// What is known of a member's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its directory is a primary's: it took writes, or was promoted to.
    pub primary: bool,
    /// The term of the promotion that made it one.
    pub history: Term,
    /// When its goal was last heard from a controller.
    pub heard: Time,
    /// Whether clients are let in, since its process started.
    pub opened: bool,
    /// What its server said last.
    pub server: Option<driver::Replication>,
    /// When that was.
    pub asked: Time,
    /// The goal its server was asked under.
    pub under: Option<(Term, Revision)>,
    /// What it answered to a recruiting.
    pub recruited: Option<(Term, Recruit)>,
    /// The newest set proven in force.
    pub confirmed: Option<(Term, u32)>,
    /// When it was tried to prove.
    pub tried: Time,
    /// The newest term it was promoted in.
    pub promoted: Option<Term>,
    /// When that was.
    pub promoted_at: Time,
    /// When it was surely in contact with its controller, or with a standby.
    pub contact: Time,
    /// When the server was asked that said [`Self::server`].
    pub said_at: Time,
    /// Nobody was let in since its agent started its process.
    pub shut: bool,
    /// It stopped taking writes for want of contact, and let nobody in since.
    pub fenced: bool,
    /// Bytes of log that were set aside when it was made anew.
    pub discarded: Option<u64>,
    /// The goal that a checkpoint was written for.
    pub checkpointed: Option<(Term, Revision)>,
}

/// Whether nothing may run of it, whatever else is wanted: it was a primary and is none now, or waits
/// to be made anew.
#[must_use]
pub fn rests(goal: &Goal, seen: &Seen) -> bool {
    let older = matches!(seen.directory, Some(
        Directory::Complete { incarnation } | Directory::Sealed { incarnation })
        if incarnation < goal.incarnation);
    !matches!(goal.role, Role::Primary { .. }) && (seen.part.primary || older)
}

/// The next call about a directory at rest whose server does not run and must not, if it is one.
#[must_use]
pub fn at_rest(goal: &Goal, seen: &Seen, directory: &Directory) -> Option<Action> {
    if !rests(goal, seen) {
        return None;
    }
    match (&goal.role, directory) {
        (Role::Standby { .. }, Directory::Complete { incarnation })
            if *incarnation < goal.incarnation =>
        {
            Some(Action::Rejoin)
        }
        (Role::Standby { .. }, Directory::Sealed { incarnation })
            if *incarnation < goal.incarnation =>
        {
            Some(Action::Seal(false))
        }
        (Role::Recruit, Directory::Complete { .. } | Directory::Sealed { .. })
            if seen.part.recruited.is_none_or(|(term, _)| term != goal.term) =>
        {
            Some(Action::EndOfLog)
        }
        _ => None,
    }
}

/// The next call about a server that runs with its settings written, before its service is thought of.
#[must_use]
pub fn next(goal: &Goal, seen: &Seen, now: Time) -> Option<Next> {
    let part = &seen.part;
    let follows = seen.answer == Answer::Following;
    match &goal.role {
        Role::Primary { .. } if follows => Some(Next::Do(Action::Promote)),
        Role::Primary { .. } => None,
        // It takes writes though it should follow: what it is is asked, and then it is stopped.
        Role::Standby { .. } | Role::Recruit if takes_writes(seen.answer) => {
            Some(due(part.asked, SOON, Action::Replication, now))
        }
        Role::Recruit if follows => {
            let done = part.recruited.is_some_and(|(term, _)| term == goal.term);
            let step = if done { STREAM_STEP } else { pace(seen, SOON, now) };
            Some(due(part.asked, step, Action::Replication, now))
        }
        Role::Standby { .. } if follows => {
            let current = part.under == Some(version(goal));
            let step = if streams(part) && current { STREAM_STEP } else { LOOSE_STEP };
            Some(due(part.asked, step, Action::Replication, now))
        }
        Role::Standby { .. } | Role::Recruit => None,
    }
}

/// The next call about a primary that takes writes and is prepared, or when there is one.
#[must_use]
pub fn lead(goal: &Goal, seen: &Seen, now: Time) -> Option<Next> {
    let Role::Primary { change, followers, .. } = &goal.role else { return None };
    if !goal.has_siblings() {
        return None;
    }
    let part = &seen.part;
    if !part.opened {
        // What it asks for comes as a goal.
        let open = || due(part.tried, pace(seen, SOON, now), Action::Open, now);
        return (!asks(goal, seen)).then(open);
    }
    // Its first write comes first, unless that waits for those whom a newer set counts on no longer.
    let patient = seen.started.max(part.promoted_at) + FIRST_WRITE;
    if !seen.write_proven && now < patient {
        return Some(Next::Wait(patient));
    }
    if goal.ends_soon && part.checkpointed != Some(version(goal)) {
        return Some(Next::Do(Action::Checkpoint));
    }
    if *change > 0 && part.confirmed != Some((goal.term, *change)) {
        return Some(due(part.tried, pace(seen, CONFIRM_STEP, now), Action::Confirm, now));
    }
    (!followers.is_empty()).then(|| due(part.asked, LOOSE_STEP, Action::Replication, now))
}

/// Whether it was just promoted, and waits for nobody: its owner's logins came with its log, and clients
/// are let in before anything is made for those who will follow.
#[must_use]
pub fn is_fresh(goal: &Goal, seen: &Seen, now: Time) -> bool {
    let alone = matches!(&goal.role, Role::Primary { set, .. } if set.acks() == 0);
    let promoted = seen.part.promoted_at;
    alone && promoted > seen.started && !seen.write_proven && now.since(promoted) < SOON_FOR
}

/// Whether a primary that waits for nobody has yet to hear that it still is the primary: it may have
/// been replaced while it was away.
fn asks(goal: &Goal, seen: &Seen) -> bool {
    let alone = matches!(&goal.role, Role::Primary { set, .. } if set.acks() == 0);
    let shut = goal.has_siblings() && !seen.part.opened && seen.answer == Answer::Accepting;
    alone && shut && seen.part.heard < seen.started
}

/// When a primary that nobody's acknowledgement ties must stop taking writes, unless it hears somebody
/// before: from then on another may be promoted.
#[must_use]
pub fn fence(goal: &Goal, seen: &Seen) -> Option<Time> {
    let part = &seen.part;
    let runs = matches!(seen.process, Some(Process::Running { .. } | Process::Frozen { .. }));
    let leads = matches!(goal.role, Role::Primary { .. }) && part.primary && !part.shut;
    let limit = goal.fence.filter(|_| runs && leads)?;
    let limit = Span(limit.0.saturating_sub(FENCE_MARGIN.0));
    Some((part.contact.max(part.heard) + limit).max(seen.started + FOUND))
}

/// What is soon done is asked for often; what is not is not.
fn pace(seen: &Seen, soon: Span, now: Time) -> Span {
    let since = seen.started.max(seen.part.heard).max(seen.part.promoted_at);
    if now.since(since) < SOON_FOR { soon } else { LOOSE_STEP }
}

const fn takes_writes(answer: Answer) -> bool {
    matches!(answer, Answer::Accepting | Answer::Writing)
}

fn streams(part: &Part) -> bool {
    part.server.as_ref().is_some_and(|s| s.receiver == Receiver::Streaming)
}

impl Part {
    /// A newer goal makes its member anew: nothing of the old directory counts.
    pub fn remade(&mut self) {
        *self = Self { heard: self.heard, ..Self::default() };
    }

    /// Its process is another.
    pub fn fresh_process(&mut self) {
        (self.opened, self.server, self.under) = (false, None, None);
        self.shut = false;
        (self.asked, self.tried) = (Time(0), Time(0));
    }

    /// It was in contact with its controller or a standby at this time.
    pub fn in_contact(&mut self, at: Time) {
        self.contact = self.contact.max(at);
    }

    /// Its agent started its process: clients are let in when that is safe.
    pub fn started(&mut self) {
        self.shut = true;
    }

    /// It lets clients in.
    pub fn opened(&mut self) {
        (self.opened, self.shut, self.fenced) = (true, false, false);
    }

    /// What its server said, asked by this call.
    pub fn said(&mut self, goal: &Goal, call: &Call, said: &driver::Replication, now: Time) {
        let asked_under = call.version;
        // A reply that was not there when it was asked before came since then.
        let before = self.server.iter().flat_map(|server| &server.senders);
        let new = |b: &driver::Sender| {
            said.senders.iter().any(|s| s.copy == b.copy && s.replied != b.replied)
        };
        if before.into_iter().any(new) {
            self.contact = self.contact.max(self.said_at);
        }
        (self.asked, self.said_at, self.under) = (now, call.since, Some(asked_under));
        self.server = Some(said.clone());
        if asked_under != version(goal) {
            return;
        }
        if !said.recovering && !matches!(goal.role, Role::Primary { .. }) {
            (self.primary, self.history) = (true, self.history.max(said.history));
        }
        // Deaf, and everything heard is replayed: its log ends here.
        let ends = said.recovering && said.receiver == Receiver::None && said.replayed;
        if goal.role == Role::Recruit && ends {
            self.answer(goal, said.history, said.flushed);
        }
    }

    /// Where the log of a stopped primary ends; what cannot be known is at least all it acknowledged.
    pub fn ended(&mut self, goal: &Goal, end: Option<Position>) {
        if goal.role == Role::Recruit {
            self.answer(goal, self.history, end.unwrap_or(Position(u64::MAX)));
        }
    }

    fn answer(&mut self, goal: &Goal, history: Term, flushed: Position) {
        self.recruited = Some((goal.term, Recruit { copy: goal.copy(), history, flushed }));
    }

    /// It was promoted under this goal.
    pub fn promoted(&mut self, term: Term, now: Time) {
        self.promoted_at = now;
        (self.primary, self.history, self.promoted) = (true, term, Some(term));
        (self.opened, self.server) = (false, None);
    }

    /// Its goal's set is in force.
    pub fn confirmed(&mut self, goal: &Goal) {
        if let Role::Primary { change, .. } = goal.role {
            self.confirmed = Some((goal.term, change));
        }
    }

    /// What is reported of it; nothing where it has no part in any replication.
    #[must_use]
    pub fn report(goal: &Goal, seen: &Seen, now: Time) -> Option<Box<report::Replication>> {
        let this = &seen.part;
        // Who was near a while ago may be behind: what a failover may lose rests on this word.
        let stale = goal.fence.is_some() && now.since(this.said_at) > WORD_MAX;
        let senders = this.server.iter().flat_map(|s| &s.senders).map(|s| report::Sender {
            copy: s.copy,
            streaming: s.streaming && !stale,
            lag_bytes: report::band(s.lag_bytes),
        });
        let follows =
            matches!(goal.role, Role::Standby { .. }) && this.under == Some(version(goal));
        let report = report::Replication {
            recruited: this.recruited,
            confirmed: this.confirmed,
            promoted: this.promoted,
            discarded: this.discarded,
            checkpointed: this.checkpointed.filter(|of| goal.ends_soon && *of == version(goal)),
            asks: asks(goal, seen),
            fenced: this.fenced,
            streams: follows && streams(this),
            senders: senders.collect(),
        };
        (goal.has_siblings() && report != report::Replication::default()).then(|| Box::new(report))
    }
}
