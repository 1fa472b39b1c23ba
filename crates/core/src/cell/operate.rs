//! Operating: one service looked at from end to end. Its operation goes on, or it is decided about.

use std::cell::OnceCell;

use super::automation::Standing;
use super::state::{Service, State};
use super::steps::{all_failed, applies, cause, hangs_while_made};
use super::turn::Work;
use super::{Cell, rows};
use crate::act;
use crate::decide::{self, Decision, Hearing, Input, Plan, Primary, Run, Underway};
use crate::host::State as Known;
use crate::id::{HostId, MemberId, ServiceId};
use crate::journal::Topic;
use crate::knowing;
use crate::operation::{Cause, Effect, Kind, Operation, Past};
use crate::report::Question;
use crate::service::{Health, phase};
use crate::time::{Span, Time};

/// What has findings is looked at again so often, though nothing is heard of it.
const LOOK_STEP: Span = Span::secs(30);
/// After so many parts of the time that it has had them, up to [`LOOK_STEP_MAX`].
const LOOK_PART: u64 = 32;
/// The longest such step.
pub(super) const LOOK_STEP_MAX: Span = Span::mins(8);
/// What a posture holds while storage is down is woken by the end of that, and looked at so often besides.
const STORED_STEP: Span = Span::mins(60);
/// Looks of this much time come in one turn.
const GRAIN: Span = Span::millis(100);

impl Cell {
    /// Looks at one service: assess, go on, decide. Leaves it with a timer unless it rests.
    pub(super) fn look(&mut self, id: ServiceId, work: &mut Work) {
        let State { services, timers, .. } = &mut self.state;
        let Some(service) = services.get_mut(&id) else { return };
        timers.void(id, &mut service.again);
        self.doubt(id, work.now);
        self.judge(id, work);
        self.keep_promise(id, work);
        self.note_lacks(id, work.now);
        self.hold(id, work);
        self.keep_people(id, work);
        self.hear_import(id, work);
        self.free_port(id, work);
        self.advance(id, work);
        self.drive_act(id, work);
        self.tend(id, work);
        self.maintain(id, work);
        let Some((decision, newest)) = self.weigh_up(id, work.now) else { return };
        self.tell_decision(id, &decision, work);
        self.ask_people(id, &decision, work);
        self.note_guard(id, &decision);
        match &decision {
            Decision::Act(plan) => {
                self.drop_operation(id, &plan.course.to_string(), work);
                self.remedy(id, plan, work);
                self.advance(id, work);
            }
            Decision::Hold(
                decide::Reason::ClaimRefused(_)
                | decide::Reason::Unclaimed { .. }
                | decide::Reason::FleetShare { .. },
            ) => {
                self.look_each(id, self.setup.policy.ask_every, work.now);
            }
            // Storage is down for hours, and its end has everybody looked at; other postures end soon.
            Decision::Hold(decide::Reason::PostureForbids { .. }) => {
                let step = match self.has_no_storage(work.now) {
                    true => STORED_STEP,
                    false => self.setup.policy.ask_every,
                };
                self.look_each(id, step, work.now);
            }
            Decision::Hold(reason) if reason.needs_a_person() => {
                if !reason.may_pass() || self.has_lasted(id, work.now) {
                    self.page(id, reason, work);
                }
            }
            Decision::Hold(_) | Decision::Ask { .. } => {}
        }
        self.follow_runs(id, work.now);
        self.follow_findings(id, &decision, newest, work);
        self.keep_watch(id, work);
        self.page_if_late(id, work);
    }

    /// Whether an outage has lasted for long enough to be told; there is a timer for when it has.
    fn has_lasted(&mut self, id: ServiceId, now: Time) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let due = service.row.since + self.setup.policy.incidents.alone_after;
        if service.row.health == Health::Unavailable && now >= due {
            return true;
        }
        if now < due {
            self.look_at(id, due);
        }
        false
    }

    /// What ran keeps its remedy from running for a while, whatever else is said of the service meanwhile.
    fn follow_runs(&mut self, id: ServiceId, now: Time) {
        let Some(service) = self.state.services.get(&id) else { return };
        let opens = |run: &Run| self.setup.remedies.named(&run.remedy)?.budget.opens(run.at, now);
        if let Some(at) = service.row.runs().iter().filter_map(opens).min() {
            self.look_at(id, at);
        }
    }

    /// Remedies ask for how long a finding has lasted, and budgets have windows: what time alone changes is
    /// looked at again, where a remedy asks for a finding that is there. And what a person was told of a
    /// service that serves ends with its reason.
    fn follow_findings(
        &mut self,
        id: ServiceId,
        decision: &Decision,
        newest: Option<Time>,
        work: &mut Work,
    ) {
        let Decision::Hold(reason) = decision else { return };
        let Some(service) = self.state.services.get(&id) else { return };
        let row = &service.row;
        if !row.needs_nobody() {
            return;
        }
        if row.paged && !reason.needs_a_person() {
            self.reshape(id, work, |row| row.paged = false);
        }
        if let Some(newest) = newest {
            // What has lasted for hours changes nothing from one half minute to the next.
            let step = Span(work.now.since(newest).0 / LOOK_PART).max(LOOK_STEP).min(LOOK_STEP_MAX);
            // Of a few steps, so that looks still come together.
            let step = LOOK_STEP.times(1 << (step.0 / LOOK_STEP.0).ilog2());
            self.look_each(id, step, work.now);
        }
    }

    /// A service is looked at again at a moment, or sooner.
    pub(super) fn look_at(&mut self, id: ServiceId, at: Time) {
        let State { services, timers, .. } = &mut self.state;
        if let Some(service) = services.get_mut(&id) {
            timers.service(id, &mut service.again, at);
        }
    }

    /// A service is looked at again within a step, and with each step for as long as each look says so. Looks
    /// within one step share one timer: one of its own for each of them would give ever more looks. And
    /// services do not look all at once.
    pub(super) fn look_each(&mut self, id: ServiceId, step: Span, now: Time) {
        let step = Span(step.0.max(1));
        let own = u64::from(id.0).wrapping_mul(7_919) % step.0;
        let own = Span(own / GRAIN.0 * GRAIN.0);
        let steps = now.since(Time(0) + own).0 / step.0 + 1;
        self.look_at(id, Time(0) + own + step.times(steps));
    }

    /// While in doubt witnesses are asked again and again, whatever is decided: a verdict rests on
    /// fresh answers, and their silence is news too.
    fn keep_watch(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        if service.doubt.is_none() {
            return;
        }
        let of = self.witnesses(service);
        self.ask(id, &of, work);
        let Some(service) = self.state.services.get(&id) else { return };
        let again = self.asks_again(service).unwrap_or(work.now);
        self.look_at(id, again.max(work.now + Span(1)));
    }

    /// Whom to ask about a service's primary; nobody while there is no doubt.
    fn witnesses(&self, service: &Service) -> Vec<HostId> {
        if service.doubt.is_none() {
            return Vec::new();
        }
        let host = service.row.primary().host;
        let zone = self.state.hosts.get(&host).map_or("", |h| h.row.zone.as_str());
        knowing::witnesses(host, zone, self.up())
    }

    /// What is decided on a service now. Also what `explain` prints.
    pub(super) fn decision(&self, id: ServiceId, now: Time) -> Option<Decision> {
        self.consider(id, now, |input, _| decide::decide(input))
    }

    /// The same, with since when there is the newest finding that a remedy asks for.
    fn weigh_up(&self, id: ServiceId, now: Time) -> Option<(Decision, Option<Time>)> {
        self.consider(id, now, |input, standing| {
            let decision = decide::decide(input);
            let asked =
                |check: &str| self.setup.remedies.iter().any(|remedy| remedy.guard.names(check));
            let known = match decision {
                Decision::Hold(_) => standing.known(),
                Decision::Act(_) | Decision::Ask { .. } => &[],
            };
            let asked = known.iter().filter(|finding| asked(finding.check));
            (decision, asked.map(|finding| finding.since).max())
        })
    }

    /// What is wrong with a service that nothing is done about for now, each with its reason.
    pub(super) fn held_back(&self, id: ServiceId, now: Time) -> Vec<decide::Reason> {
        self.consider(id, now, |input, _| decide::held(input)).unwrap_or_default()
    }

    /// Whether a service's findings ask for a remedy.
    pub(super) fn applies(&self, id: ServiceId, remedy: &str, now: Time) -> bool {
        self.consider(id, now, |input, _| decide::applies(input, remedy)).unwrap_or_default()
    }

    /// Puts everything that a decision rests on before somebody.
    fn consider<T>(
        &self,
        id: ServiceId,
        now: Time,
        judge: impl FnOnce(&Input<'_>, &Standing<'_>) -> T,
    ) -> Option<T> {
        let service = self.state.services.get(&id)?;
        let row = &service.row;
        let primary = row.primary();
        let host = self.state.hosts.get(&primary.host);
        let underway = row.operation.as_ref().map(|operation| Underway {
            kind: operation.kind,
            claim: match operation.claimed {
                true => Ok(()),
                false => {
                    let by_person = matches!(operation.cause, Cause::Order { .. });
                    self.gate(row, operation.lane(), (by_person, None), now)
                }
            },
            step: operation.at().name,
            due: operation.due(),
            paged: operation.paged,
        });
        let standing = Standing { cell: self, service, now, known: OnceCell::new() };
        let input = Input {
            now,
            phase: row.phase,
            health: row.health,
            operation: underway,
            primary: Primary {
                member: primary.id,
                host: primary.host,
                agent: match host {
                    Some(host) if host.speaks() => Hearing::Heard,
                    Some(host) if matches!(host.state, Known::Joining | Known::Up) => {
                        Hearing::Awaited
                    }
                    _ => Hearing::Silent,
                },
                state: service.seen[0].as_ref().map(|seen| seen.state),
                since: service.seen[0].as_ref().map_or(now, |seen| seen.since),
            },
            redundancy: self.redundancy(service, now),
            verdict: self.verdict(service, now),
            witnesses: self.witnesses(service),
            automation: &standing,
            runs: row.runs(),
        };
        Some(judge(&input, &standing))
    }

    /// Starts an operation; it waits for its claim in [`Cell::advance`].
    pub(super) fn start(&mut self, id: ServiceId, kind: Kind, cause: Cause, work: &mut Work) {
        self.start_about(id, kind, cause, None, work);
    }

    /// The same, about one of its members.
    pub(super) fn start_about(
        &mut self,
        id: ServiceId,
        kind: Kind,
        cause: Cause,
        member: Option<MemberId>,
        work: &mut Work,
    ) {
        let number = self.state.draw_operation();
        let Some(service) = self.state.services.get_mut(&id) else { return };
        service.row.operation = Some(Box::new(Operation {
            id: number,
            kind,
            cause,
            member,
            script: None,
            share: None,
            image: 0,
            begun: work.now,
            claimed: false,
            step: 0,
            ordered: work.now,
            routes: 0,
            tries: 0,
            paged: false,
        }));
        self.state.busy.insert(id);
        work.record(id);
        work.services.insert(id);
    }

    fn remedy(&mut self, id: ServiceId, plan: &Plan, work: &mut Work) {
        let remedy: Box<str> = plan.remedy.as_str().into();
        if let Some(service) = self.state.services.get_mut(&id) {
            // What a remedy's own budget counts no more is forgotten; budgets bound what is left.
            let known = |run: &Run| self.setup.remedies.named(&run.remedy);
            service.row.few.change(|few| {
                let mut runs = std::mem::take(&mut few.runs).into_vec();
                runs.retain(|run| {
                    known(run).is_some_and(|r| work.now.since(run.at) < r.budget.window)
                });
                runs.push(Run { remedy: remedy.clone(), at: work.now });
                few.runs = runs.into();
            });
        }
        self.use_approval(id);
        self.begin_course(id, &plan.course, Cause::Remedy { name: remedy }, work);
    }

    /// Carries a service's operation as far as its proofs go.
    pub(super) fn advance(&mut self, id: ServiceId, work: &mut Work) {
        let counts = |o: &Operation| o.claimed && o.at().order == Effect::Count;
        let operation = self.state.services.get(&id).and_then(|s| s.row.operation.as_deref());
        if operation.is_some_and(counts) {
            // Who is there changes while it is waited for.
            self.count(id, work);
            self.settle(id, work);
        }
        while let Some(service) = self.state.services.get(&id)
            && let Some(operation) = &service.row.operation
        {
            if let Some(why) = self.must_stay(service, operation, work.now) {
                self.keep_rest(id, &why, work);
                return;
            }
            if !operation.claimed {
                if !self.claim(id, work) {
                    return;
                }
            } else if self.missing(service, operation, work.now).is_empty() {
                self.next_step(id, work);
            } else if hangs_while_made(service, operation) {
                self.start_hung(id, work);
            } else if work.now >= operation.due() || all_failed(service, operation) {
                if !self.past_deadline(id, work) {
                    return;
                }
            } else {
                self.look_at(id, operation.due());
                return;
            }
        }
    }

    /// Asks the gate; with the claim granted, the operation begins.
    fn claim(&mut self, id: ServiceId, work: &mut Work) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let Some(operation) = &service.row.operation else { return false };
        let (spec, host) = (operation.spec(), service.row.primary().host);
        let granted = self.take_claim(id, work.now);
        if let Some(host) = self.state.hosts.get_mut(&host) {
            if granted {
                host.waiting.remove(&id);
            } else {
                host.waiting.insert(id);
            }
        }
        if !granted {
            return false;
        }
        let Some(service) = self.state.services.get_mut(&id) else { return false };
        let Some(operation) = service.row.operation.as_mut() else { return false };
        (operation.claimed, operation.ordered) = (true, work.now);
        let text = format!("{} {} begins: {}", spec.name, operation.id, cause(&operation.cause));
        work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
        if let Some(event) = spec.begins {
            self.phase_event(id, event, work);
        }
        self.order_step(id, work);
        true
    }

    /// The step at hand is proven: the next one is ordered, or the operation ends.
    fn next_step(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(operation) = service.row.operation.as_ref() else { return };
        let done = operation.at();
        let took = work.now.since(operation.ordered);
        let text =
            format!("{} {}: \"{}\" done in {took}", operation.spec().name, operation.id, done.name);
        work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
        let done = operation.clone();
        self.went(&done, took);
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(operation) = service.row.operation.as_ref() else { return };
        let later = operation.spec().steps.iter().enumerate().skip(usize::from(operation.step) + 1);
        let next = later.into_iter().find(|(_, step)| applies(service, step)).map(|(at, _)| at);
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(operation) = service.row.operation.as_mut() else { return };
        let flushed = operation.at().order == Effect::Flush;
        if let Some(next) = next.and_then(|at| u8::try_from(at).ok()) {
            (operation.step, operation.ordered, operation.tries) = (next, work.now, 0);
            if flushed {
                self.note_covered(id, work);
            }
            self.order_step(id, work);
        } else {
            let event = operation.spec().ends;
            self.end(id, event, "done", work);
        }
    }

    /// Ends the operation under way and moves the phase.
    pub(super) fn end(
        &mut self,
        id: ServiceId,
        event: Option<phase::Event>,
        how: &str,
        work: &mut Work,
    ) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(operation) = service.row.operation.take() else { return };
        ran(&mut service.row, &operation, work.now);
        let hosts: Vec<HostId> = service.row.members.iter().map(|m| m.host).collect();
        let name = service.row.name.as_str().to_owned();
        let took = work.now.since(operation.begun);
        let text = format!("{} {} {how} in {took}", operation.spec().name, operation.id);
        work.note(Topic::Operation, &name, text, Vec::new());
        self.state.busy.remove(&id);
        if let Some(event) = event {
            self.phase_event(id, event, work);
        }
        match operation.kind {
            Kind::Fork => self.restored(id, work),
            Kind::Import => self.end_import(id, work),
            _ => {}
        }
        self.release(&operation, work);
        self.planned_ended(id, operation.id, how == "done", work);
        self.count_saved(&operation, how == "done", work);
        let came = if how == "done" { Ok(()) } else { Err(how.to_owned()) };
        self.act_heard(id, &operation, came, work);
        if matches!(operation.kind, Kind::Switchover | Kind::Failover) {
            // Whoever waited for it waits no more.
            work.routes.insert(id);
        }
        work.record(id);
        work.services.insert(id);
        if event == Some(phase::Event::Archived) {
            self.note_bare(id, work);
        }
        if event == Some(phase::Event::Removed) {
            self.end_act(id, act::State::Ended, "its service is gone", work);
            self.forget_levels(id, work);
            let text = "nothing remains but this journal".to_owned();
            work.note(Topic::Transition, &name, text, Vec::new());
            self.state.remove(id);
            // Its hosts forget the goals with the next whole list.
            work.whole.extend(&hosts);
            work.hosts.extend(hosts);
        }
    }

    /// A deadline passed, or every member failed. False: there is nothing more to do now.
    fn past_deadline(&mut self, id: ServiceId, work: &mut Work) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let Some(operation) = &service.row.operation else { return false };
        let name = service.row.name.as_str().to_owned();
        let step = operation.at();
        let missing = self.missing(service, operation, work.now);
        let recruits = matches!(step.order, Effect::Recruit | Effect::RecruitOthers);
        let what = format!("{} {}: \"{}\"", operation.spec().name, operation.id, step.name);
        let (tried, told, event) = (operation.tries, operation.paged, operation.spec().ends);
        let (share, lane) = (operation.share, operation.lane());
        let removes = operation.kind == Kind::Archive;
        self.choked(share, lane);
        if recruits && self.reappoint(id, work) {
            self.end(id, None, "ended: its primary serves", work);
            return true;
        }
        match step.past {
            Past::GoOn => {
                let text = format!("{what} unproven after {}; going on", step.deadline);
                work.note(Topic::Operation, &name, text, missing);
                self.next_step(id, work);
                true
            }
            Past::GiveUp if removes => {
                let why = format!("\"{}\" took too long: {}", step.name, missing.join("; "));
                self.keep_rest(id, &why, work);
                true
            }
            Past::GiveUp => {
                let text = format!("{what} failed");
                work.note(Topic::Operation, &name, text, missing);
                let event = event.map(|_| phase::Event::GivenUp);
                self.end(id, event, "given up", work);
                true
            }
            Past::Insist { .. } if self.waits_for_its_host(id, work.now) => {
                // Nobody there can do it, and that a host is silent has its own word: its time begins anew.
                let service = self.state.services.get_mut(&id);
                if let Some(operation) = service.and_then(|s| s.row.operation.as_mut()) {
                    operation.ordered = work.now;
                    work.record(id);
                }
                true
            }
            Past::Insist { tries } => {
                let (again, tell) = (tried < tries, !told);
                if !again && !tell {
                    // A person knows; it is looked at again whenever anything is heard.
                    return false;
                }
                let Some(service) = self.state.services.get_mut(&id) else { return false };
                let Some(operation) = service.row.operation.as_mut() else { return false };
                operation.ordered = work.now;
                work.record(id);
                if again {
                    operation.tries += 1;
                    work.note(Topic::Operation, &name, format!("{what} again"), missing);
                    self.order_step(id, work);
                } else {
                    operation.paged = true;
                    work.note(Topic::Finding, &name, format!("page: {what} is late"), missing);
                }
                true
            }
        }
    }

    /// Whether a step's time is over while nobody hears the host of the primary, and that alone can take it: who is
    /// counted on is the primary's to prove. A failover's steps are others', and go on without it.
    fn waits_for_its_host(&self, id: ServiceId, now: Time) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let host = self.state.hosts.get(&service.row.primary().host);
        let operation = service.row.operation.as_deref();
        let counts = |o: &Operation| o.at().order == Effect::Count && now >= o.due();
        host.is_some_and(|host| !host.speaks()) && operation.is_some_and(counts)
    }

    fn ask(&mut self, id: ServiceId, of: &[HostId], work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        if self.asks_again(service).is_some_and(|again| work.now < again) {
            return;
        }
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(doubt) = service.doubt.as_mut() else { return };
        doubt.asked = Some(work.now);
        let primary = service.row.primary().clone();
        let kind = service.row.offer.kind.as_str().to_owned();
        let address = self.state.hosts.get(&primary.host).map(|h| h.row.address.clone());
        for witness in of {
            self.state.questions += 1;
            work.questions.entry(*witness).or_default().push(Question {
                id: self.state.questions,
                member: primary.id,
                kind: kind.clone(),
                address: address.clone().unwrap_or_default(),
                port: primary.port,
                patience: self.setup.policy.witness_patience,
            });
        }
    }

    /// Tells a person why nothing here can go on, once per state.
    fn page(&mut self, id: ServiceId, reason: &decide::Reason, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        if service.row.paged {
            return;
        }
        work.note(Topic::Finding, service.row.name.as_str(), format!("page: {reason}"), Vec::new());
        self.reshape(id, work, |row| row.paged = true);
    }

    fn tell_decision(&mut self, id: ServiceId, decision: &Decision, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let code = decision.code();
        if std::mem::replace(&mut service.decided, code) == code {
            return;
        }
        let evidence = match decision {
            Decision::Act(plan) => plan.evidence.clone(),
            Decision::Hold(_) | Decision::Ask { .. } => Vec::new(),
        };
        if decision.worth_noting() {
            let text = decision.to_string();
            work.note(Topic::Decision, service.row.name.as_str(), text, evidence);
        }
    }
}

/// What a remedy did is waited for from its end on: it may have taken longer than its cooldown.
fn ran(row: &mut rows::Service, operation: &Operation, now: Time) {
    let Some(remedy) = operation.cause.remedy() else { return };
    row.few.change(|few| {
        if let Some(run) = few.runs.iter_mut().rev().find(|run| *run.remedy == *remedy) {
            run.at = now;
        }
    });
}
