//! Operating: one service looked at from end to end. Its operation goes on, or it is decided about.

use std::cmp::Ordering;

use super::state::{Due, Seen, Service};
use super::turn::Work;
use super::{Cell, rows, state};
use crate::claim::{self, Lane};
use crate::decide::{self, Decision, Hearing, Input, Plan, Primary, Run, Underway};
use crate::goal::{StopMode, Want};
use crate::host::State as Known;
use crate::id::{HostId, ServiceId};
use crate::journal::Topic;
use crate::knowing;
use crate::label::Label;
use crate::member;
use crate::operation::{Cause, Effect, Kind, Operation, Past, Proof, Step};
use crate::report::Question;
use crate::service::phase;
use crate::time::Time;
use crate::view;

/// Runs of remedies a row remembers; budgets count fewer.
const RUNS_MAX: usize = 16;

impl Cell {
    /// Looks at one service: assess, go on, decide. Leaves it with a timer unless it rests.
    pub(super) fn look(&mut self, id: ServiceId, work: &mut Work) {
        if !self.state.services.contains(&id) {
            return;
        }
        self.doubt(id, work.now);
        self.judge(id, work);
        self.hold(id, work);
        self.free_port(id, work);
        self.advance(id, work);
        let Some(decision) = self.decision(id, work.now) else { return };
        self.tell_decision(id, &decision, work);
        match &decision {
            Decision::Act(plan) => {
                self.remedy(id, plan, work);
                self.advance(id, work);
            }
            Decision::Hold(decide::Reason::Cooldown { for_another, .. }) => {
                self.state.timers.insert((work.now + *for_another, Due::Service(id)));
            }
            Decision::Hold(decide::Reason::ClaimRefused(_)) => {
                let again = work.now + self.setup.policy.ask_every;
                self.state.timers.insert((again, Due::Service(id)));
            }
            Decision::Hold(reason) if reason.needs_a_person() => self.page(id, reason, work),
            Decision::Hold(_) | Decision::Ask { .. } => {}
        }
        self.keep_watch(id, work);
        self.page_if_late(id, work);
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
        let again = work.now + self.setup.policy.ask_every;
        self.state.timers.insert((again, Due::Service(id)));
    }

    /// Whom to ask about a service's primary; nobody while there is no doubt.
    fn witnesses(&self, service: &Service) -> Vec<HostId> {
        if service.doubt.is_none() {
            return Vec::new();
        }
        let host = service.row.primary().host;
        let zone = self.state.hosts.get(&host).map_or("", |h| h.row.zone.as_str());
        let up: Vec<(HostId, &str)> = self.up().collect();
        knowing::witnesses(host, zone, &up)
    }

    /// What is decided on a service now. Also what `explain` prints.
    pub(super) fn decision(&self, id: ServiceId, now: Time) -> Option<Decision> {
        let service = self.state.services.get(&id)?;
        let row = &service.row;
        let primary = row.primary();
        let host = self.state.hosts.get(&primary.host);
        let underway = row.operation.as_ref().map(|operation| Underway {
            kind: operation.kind,
            claim: if operation.claimed { Ok(()) } else { self.gate(row, operation.spec().lane) },
            step: operation.at().name,
            due: operation.due(),
            paged: operation.paged,
        });
        Some(decide::decide(&Input {
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
            },
            verdict: self.verdict(service, now),
            witnesses: self.witnesses(service),
            remedies: self.setup.remedies,
            runs: row.runs.as_deref().unwrap_or_default(),
            claim: self.gate(row, Lane::Emergency),
        }))
    }

    /// Whether a claim of this lane would be granted to a service now.
    fn gate(&self, row: &rows::Service, lane: Lane) -> Result<(), claim::Refusal> {
        let host = row.primary().host;
        let claims = self.state.hosts.get(&host).map(|h| h.claims).unwrap_or_default();
        claim::gate(
            &self.setup.policy,
            &claim::Request {
                lane,
                held_by: row.operation.as_ref().filter(|o| o.claimed).map(|o| o.id),
                host,
                host_planned: claims.planned,
                host_emergencies: claims.emergencies,
            },
        )
    }

    /// Starts an operation; it waits for its claim in [`Cell::advance`].
    pub(super) fn start(&mut self, id: ServiceId, kind: Kind, cause: Cause, work: &mut Work) {
        let number = self.state.draw_operation();
        let Some(service) = self.state.services.get_mut(&id) else { return };
        service.row.operation = Some(Box::new(Operation {
            id: number,
            kind,
            cause,
            begun: work.now,
            claimed: false,
            step: 0,
            ordered: work.now,
            tries: 0,
            paged: false,
        }));
        self.state.busy.insert(id);
        work.record(id);
        work.services.insert(id);
    }

    fn remedy(&mut self, id: ServiceId, plan: &Plan, work: &mut Work) {
        let remedy = Label::new(&plan.remedy).expect("names of remedies are labels");
        if let Some(service) = self.state.services.get_mut(&id) {
            let mut runs = service.row.runs.take().map_or_else(Vec::new, Vec::from);
            runs.push(Run { remedy, at: work.now });
            let excess = runs.len().saturating_sub(RUNS_MAX);
            runs.drain(..excess);
            service.row.runs = Some(runs.into());
        }
        self.start(id, plan.operation, Cause::Remedy { name: remedy }, work);
    }

    /// Carries a service's operation as far as its proofs go.
    pub(super) fn advance(&mut self, id: ServiceId, work: &mut Work) {
        while let Some(service) = self.state.services.get(&id)
            && let Some(operation) = &service.row.operation
        {
            if !operation.claimed {
                if !self.claim(id, work) {
                    return;
                }
            } else if self.missing(service, operation).is_empty() {
                self.next_step(id, work);
            } else if work.now >= operation.due() || all_failed(service, operation) {
                if !self.past_deadline(id, work) {
                    return;
                }
            } else {
                self.state.timers.insert((operation.due(), Due::Service(id)));
                return;
            }
        }
    }

    /// Asks the gate; with the claim granted, the operation begins.
    fn claim(&mut self, id: ServiceId, work: &mut Work) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let Some(operation) = &service.row.operation else { return false };
        let (spec, host) = (operation.spec(), service.row.primary().host);
        let granted = self.gate(&service.row, spec.lane).is_ok();
        if let Some(host) = self.state.hosts.get_mut(&host) {
            if !granted {
                host.waiting.insert(id);
                return false;
            }
            host.waiting.remove(&id);
            match spec.lane {
                Lane::Free => {}
                Lane::Planned => host.claims.planned += 1,
                Lane::Emergency => host.claims.emergencies += 1,
            }
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

    /// Gives back what an operation's claim took, and wakes who waits for it.
    pub(super) fn release(&mut self, host: HostId, operation: &Operation, work: &mut Work) {
        let Some(host) = self.state.hosts.get_mut(&host) else { return };
        match (operation.claimed, operation.spec().lane) {
            (true, Lane::Planned) => host.claims.planned = host.claims.planned.saturating_sub(1),
            (true, Lane::Emergency) => {
                host.claims.emergencies = host.claims.emergencies.saturating_sub(1);
            }
            _ => {}
        }
        work.services.extend(host.waiting.first());
    }

    /// The step at hand is proven: the next one is ordered, or the operation ends.
    fn next_step(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(operation) = service.row.operation.as_mut() else { return };
        let (done, steps) = (operation.at(), operation.spec().steps.len());
        let took = work.now.since(operation.ordered);
        let text =
            format!("{} {}: \"{}\" done in {took}", operation.spec().name, operation.id, done.name);
        work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
        if usize::from(operation.step) + 1 < steps {
            operation.step += 1;
            (operation.ordered, operation.tries) = (work.now, 0);
            self.order_step(id, work);
        } else {
            let event = operation.spec().ends;
            self.end(id, event, "done", work);
        }
    }

    /// Ends the operation under way and moves the phase.
    fn end(&mut self, id: ServiceId, event: Option<phase::Event>, how: &str, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(operation) = service.row.operation.take() else { return };
        let host = service.row.primary().host;
        let name = service.row.name.as_str().to_owned();
        let took = work.now.since(operation.begun);
        let text = format!("{} {} {how} in {took}", operation.spec().name, operation.id);
        work.note(Topic::Operation, &name, text, Vec::new());
        self.state.busy.remove(&id);
        if let Some(event) = event {
            self.phase_event(id, event, work);
        }
        self.release(host, &operation, work);
        work.record(id);
        work.services.insert(id);
        if event == Some(phase::Event::Removed) {
            let text = "nothing remains but this journal".to_owned();
            work.note(Topic::Transition, &name, text, Vec::new());
            self.state.remove(id);
            // Its host forgets the goal with the next whole list.
            work.whole.insert(host);
            work.hosts.insert(host);
        }
    }

    /// A deadline passed, or every member failed. False: there is nothing more to do now.
    fn past_deadline(&mut self, id: ServiceId, work: &mut Work) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let Some(operation) = &service.row.operation else { return false };
        let name = service.row.name.as_str().to_owned();
        let step = operation.at();
        let missing = self.missing(service, operation);
        let what = format!("{} {}: \"{}\"", operation.spec().name, operation.id, step.name);
        match step.past {
            Past::GoOn => {
                let text = format!("{what} unproven after {}; going on", step.deadline);
                work.note(Topic::Operation, &name, text, missing);
                self.next_step(id, work);
                true
            }
            Past::GiveUp => {
                let text = format!("{what} failed");
                work.note(Topic::Operation, &name, text, missing);
                let event = operation.spec().ends.map(|_| phase::Event::GivenUp);
                self.end(id, event, "given up", work);
                true
            }
            Past::Insist { tries } => {
                let (again, tell) = (operation.tries < tries, !operation.paged);
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

    /// Orders the step at hand. Every effect is an ensure.
    fn order_step(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(operation) = &service.row.operation else { return };
        let (effect, again) = (operation.at().order, operation.tries > 0);
        let want = |row: &mut rows::Service, want: Want| {
            row.members.iter_mut().for_each(|m| (m.want, m.stop) = (want, StopMode::Fast));
        };
        match effect {
            Effect::Run => {
                let seen = &service.seen;
                for (member, seen) in service.row.members.iter_mut().zip(seen) {
                    let ready = seen.as_ref().is_some_and(|s| s.state == member::State::Ready);
                    member.want = Want::Running;
                    if again && !ready {
                        member.restarts += 1;
                        member.stop = StopMode::Immediate;
                    }
                }
            }
            Effect::Restart(mode) => {
                for member in &mut service.row.members {
                    (member.want, member.stop) = (Want::Running, mode);
                    member.restarts += 1;
                }
            }
            Effect::OpenEndpoint | Effect::CloseEndpoint => {
                let open = effect == Effect::OpenEndpoint;
                if std::mem::replace(&mut service.row.open, open) != open {
                    work.routes.insert(id);
                }
                // Routes get their next sequence at the end of this turn.
                service.routed = self.state.row.routes + u64::from(!work.routes.is_empty());
            }
            Effect::Stop => want(&mut service.row, Want::Stopped),
            Effect::Seal => want(&mut service.row, Want::Sealed),
            Effect::Remove => want(&mut service.row, Want::Removed),
            Effect::CloseHost | Effect::EmptyHost => {}
        }
        work.record(id);
        self.settle(id, work);
    }

    /// What is still missing to call a step done, in words; empty: it is proven.
    pub(super) fn missing(&self, service: &Service, operation: &Operation) -> Vec<String> {
        let proof = operation.at().proof;
        if proof == Proof::Routed {
            return self.unrouted(service);
        }
        let members = service.row.members.iter().zip(&service.seen);
        members
            .filter_map(|(member, seen)| {
                let host = self.state.hosts.get(&member.host);
                if !host.is_some_and(state::Host::speaks) {
                    let host = self.state.host_name(member.host);
                    return Some(format!("{}: the agent of {host} is not heard", member.id));
                }
                let Some(seen) = seen else {
                    return Some(format!("{}: not reported yet", member.id));
                };
                unproven(service, member, seen, proof).map(|what| format!("{}: {what}", member.id))
            })
            .collect()
    }

    fn unrouted(&self, service: &Service) -> Vec<String> {
        if self.state.gateways.is_empty() {
            return vec!["no gateway is heard".to_owned()];
        }
        let behind = self.state.gateways.values().filter(|g| g.took < service.routed);
        behind.map(|g| format!("gateway {} has not taken the route yet", g.name)).collect()
    }

    fn ask(&mut self, id: ServiceId, of: &[HostId], work: &mut Work) {
        let every = self.setup.policy.ask_every;
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(doubt) = service.doubt.as_mut() else { return };
        if doubt.asked.is_some_and(|asked| work.now.since(asked) < every) {
            return;
        }
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

    /// A port held by somebody else is left to them: the member gets another.
    fn free_port(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let row = &service.row;
        let current = |(member, seen): (&rows::Member, &Option<Seen>)| {
            seen.as_ref().is_some_and(|s| {
                s.port_taken && s.applied == (row.term, member.revision) && s.pid == 0
            })
        };
        let Some(at) = row.members.iter().zip(&service.seen).position(current) else { return };
        let (name, old) = (row.name.as_str().to_owned(), row.members[at].port);
        let Ok(port) = self.draw_port() else { return };
        let text = format!("port {old} is held by another process; the member moves to {port}");
        work.note(Topic::Operation, &name, text, Vec::new());
        let Some(service) = self.state.services.get_mut(&id) else { return };
        service.row.members[at].port = port;
        if service.row.open {
            work.routes.insert(id);
        }
        work.cell = true;
        self.settle(id, work);
    }

    /// Endpoints a gateway cannot listen on: new ones move, known ones are told of by findings.
    pub(super) fn unlistened(&mut self, failed: &[(u16, String)], work: &mut Work) {
        for (port, _) in failed {
            let new = self.state.services.values().find(|s| {
                s.row.endpoint_port == *port && s.row.phase == crate::service::Phase::Installing
            });
            let Some(id) = new.map(|s| s.row.id) else { continue };
            let Ok(other) = self.draw_port() else { continue };
            let Some(service) = self.state.services.get_mut(&id) else { continue };
            let text =
                format!("endpoint port {port} is held by another process; it moves to {other}");
            work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
            service.row.endpoint_port = other;
            work.routes.insert(id);
            work.cell = true;
            service.routed = self.state.row.routes + 1;
            self.settle(id, work);
        }
    }
}

/// Whether every member a step waits for has given up: nothing is gained by waiting longer.
fn all_failed(service: &Service, operation: &Operation) -> bool {
    operation.at().proof == Proof::Writing
        && service.row.members.iter().zip(&service.seen).all(|(member, seen)| {
            seen.as_ref().is_some_and(|seen| {
                seen.state == member::State::CrashLooping
                    && seen.applied == (service.row.term, member.revision)
            })
        })
}

/// Why a member's report does not prove a step.
fn unproven(service: &Service, member: &rows::Member, seen: &Seen, proof: Proof) -> Option<String> {
    let trouble = || {
        let words = seen.rare.as_ref().and_then(|r| r.trouble.as_deref());
        words.map_or(String::new(), |words| format!(" ({words})"))
    };
    if seen.incarnation != member.incarnation {
        return Some(format!("its directory is {}, not {}", seen.incarnation, member.incarnation));
    }
    if seen.applied != (service.row.term, member.revision) {
        return Some(format!("has not applied its goal yet{}", trouble()));
    }
    use member::State as S;
    let done = match proof {
        Proof::Writing => {
            seen.state == S::Ready && seen.write_proven && seen.restarts == member.restarts
        }
        Proof::Stopped => matches!(seen.state, S::Stopped | S::Sealed),
        Proof::Sealed => seen.state == S::Sealed,
        Proof::Gone => seen.state == S::Gone,
        Proof::Routed | Proof::HostClosed | Proof::HostEmpty => true,
    };
    (!done).then(|| format!("is {}{}", seen.state, trouble()))
}

/// An operation as people see it; `missing` is of the step under way.
pub(super) fn show(operation: &Operation, missing: Vec<String>, now: Time) -> view::Operation {
    let (spec, at) = (operation.spec(), usize::from(operation.step));
    let mut missing = Some(missing);
    let step = |(n, step): (usize, &Step)| {
        let progress = match n.cmp(&at) {
            Ordering::Less => view::Progress::Done,
            Ordering::Equal if operation.claimed => view::Progress::UnderWay,
            _ => view::Progress::Ahead,
        };
        let under_way = progress == view::Progress::UnderWay;
        let missing = missing.take_if(|_| under_way).unwrap_or_default();
        view::Step { name: step.name.to_owned(), progress, missing }
    };
    view::Operation {
        id: operation.id,
        name: spec.name.to_owned(),
        cause: cause(&operation.cause),
        story: spec.story.to_owned(),
        since_ms: now.since(operation.begun),
        claimed: operation.claimed,
        steps: spec.steps.iter().enumerate().map(step).collect(),
    }
}

/// A cause in words.
pub(super) fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Order { by } => format!("ordered by {by}"),
        Cause::Remedy { name } => format!("remedy {name}"),
    }
}
