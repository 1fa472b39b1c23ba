//! Driver calls of minds, made of modelled servers, and what must hold of them.

use evenkeel_core::agent::{self, Action, Call, Input};
use evenkeel_core::goal::{Goal, Role, Want};
use evenkeel_core::id::{MemberId, Term};
use evenkeel_core::time::Span;

use super::REPOSITORY;
use super::events::Event;
use super::host::Slot;
use super::seat::{Seat, place};
use super::server::Io;
use crate::mutation::Mutation;
use crate::report::Invariant;

/// How long a driver call takes.
fn takes(action: &Action) -> Span {
    match action {
        Action::Initialize => Span::secs(3),
        Action::Rejoin => Span::secs(8),
        Action::Start => Span::millis(150),
        Action::Stop(_) => Span::millis(300),
        Action::Promote => Span::millis(80),
        _ => Span::millis(10),
    }
}

/// Whether a call changes nothing that anybody but its mind would notice.
pub(super) const fn only_looks(action: &Action) -> bool {
    matches!(
        action,
        Action::Look
            | Action::Probe { .. }
            | Action::Replication
            | Action::Archived
            | Action::Confirm
            | Action::Check(_)
            | Action::EndOfLog
            | Action::Configure
            | Action::Prepare
            | Action::Guard(_)
            | Action::Open
            | Action::Flush
    )
}

impl Seat {
    pub fn begin_call(&mut self, n: usize, slot: Slot, call: Call) {
        let Some(awake) = self.hosts[n].minds[slot].as_mut() else { return };
        awake.calls += 1;
        let life = awake.life;
        self.at(takes(&call.action), Event::Called(n, slot, life, Box::new(call)));
    }

    /// A driver call is over.
    pub fn called(&mut self, n: usize, slot: Slot, life: u64, call: &Call) {
        let alive = self.hosts[n].minds.get_mut(slot).and_then(Option::as_mut);
        let Some(awake) = alive.filter(|awake| awake.life == life) else { return };
        awake.calls = awake.calls.saturating_sub(1);
        let outcome = self.perform(n, call);
        let (member, number) = (call.member, call.number);
        self.hand(n, slot, life, Input::Outcome { member, number, outcome });
    }

    pub fn perform(&mut self, n: usize, call: &Call) -> agent::Outcome {
        let (id, service) = (call.member, call.goal.identity.service);
        let changes = !matches!(
            call.action,
            Action::Look | Action::Probe { .. } | Action::Archived | Action::Check(_)
        );
        if changes {
            self.count(service);
        }
        let copied = matches!(call.action, Action::Initialize | Action::Rejoin)
            .then(|| self.upstream_of_goal(&call.goal))
            .flatten();
        self.hold_to_last_copy(call);
        let now = self.now;
        let archived = self.hosts[n].disk.archived(id, REPOSITORY, now);
        let flushes = self.storage.up && archived.pending_bytes == 0;
        if call.action == Action::Start && self.mutation == Some(Mutation::NeverBack) {
            let why = "it is not started".to_owned();
            return agent::Outcome::Failed(evenkeel_core::driver::Error::Failed(why));
        }
        self.pid += 1;
        let pid = self.pid;
        let Some(member) = self.member_mut(id) else {
            let why = "it is not there".to_owned();
            return agent::Outcome::Failed(evenkeel_core::driver::Error::Failed(why));
        };
        let server = &mut member.server;
        let mut io = Io { server, now, pid, upstream: copied, archived, flushes, broken: None };
        let outcome = agent::perform(&mut io, &call.goal, &call.action, &[]);
        let broken = io.broken;
        let ready = member.server.ready;
        self.tally.check(Invariant::CallsAreSound);
        if let Some(what) = broken {
            self.tally.broke(Invariant::CallsAreSound, format!("{id}: {what}"));
        }
        if call.action == Action::Promote && matches!(outcome, agent::Outcome::Done) {
            self.tally.promotions += 1;
            self.hold_to_promise(id);
        }
        if changes {
            self.stir(service);
        }
        let copies = matches!(call.action, Action::Initialize | Action::Rejoin);
        let done = !matches!(outcome, agent::Outcome::Failed(_));
        if copies && done && matches!(call.goal.role, Role::Standby { .. }) {
            self.tally.copies += 1;
        }
        if call.action == Action::Start {
            self.started(id);
            self.tally.starts += 1;
            self.at(ready.since(now) + Span(1), Event::Felt(service));
        }
        outcome
    }

    /// Where the log ends of the member that a goal's directory is made from.
    fn upstream_of_goal(&self, goal: &Goal) -> Option<(u64, Term)> {
        let Role::Standby { upstream } = &goal.role else { return None };
        let up = self.member(upstream.copy.member)?;
        let part = up.server.part.as_deref()?;
        let serves = !part.standby && part.copy == upstream.copy && up.server.runs(self.now);
        let own = self.member(goal.member).map(|member| member.host);
        let reached = own.is_none_or(|own| self.reaches(own, up.host));
        (serves && reached && self.hosts[up.host].on).then_some((part.end, part.history))
    }

    /// What a call destroys is not the last copy.
    fn hold_to_last_copy(&mut self, call: &Call) {
        if !matches!(call.action, Action::Remove | Action::Rejoin) {
            return;
        }
        let id = call.goal.identity.service;
        self.tally.check(Invariant::LastCopyKept);
        let Some(service) = self.services.get(place(id.0)).and_then(Option::as_ref) else {
            return;
        };
        let Some(ledger) = service.ledger.as_deref() else { return };
        let has = |member: &&MemberId| {
            self.member(**member)
                .and_then(|member| member.server.part.as_deref())
                .is_some_and(|part| part.end >= ledger.acked)
        };
        let mut others = service.members.iter().filter(|member| **member != call.member);
        if !others.any(|member| has(&member)) && call.goal.want != Want::Removed {
            let text = format!("{id}: what {} has is nowhere else, and is destroyed", call.member);
            self.tally.broke(Invariant::LastCopyKept, text);
        }
    }
}
