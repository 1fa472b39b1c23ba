//! Steps: what an operation's step asks of members and gateways, and what proves it done.

use std::cmp::Ordering;

use super::acts::{scripted, unscripted};
use super::state::{self, Seen, Service};
use super::turn::Work;
use super::{Cell, redundancy, rows};
use crate::goal::{StopMode, Want};
use crate::id::{HostId, ServiceId};
use crate::journal::Topic;
use crate::member;
use crate::operation::{Cause, Effect, Kind, Operation, Proof, Step};
use crate::pooler;
use crate::promise::{Copy, Phase};
use crate::service;
use crate::time::Time;
use crate::view;

/// A primary that hangs again and again while its service is made is started again so often.
const HUNG_MAX: u32 = 3;

impl Cell {
    /// A primary that hangs while its service is made is ended hard and started again; its step goes on.
    pub(super) fn start_hung(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(operation) = &service.row.operation else { return };
        let verdict = self.verdict(service, work.now);
        let evidence = self.words(service, verdict.as_ref(), work.now);
        let what = format!("{} {}", operation.spec().name, operation.id);
        let name = service.row.name.as_str().to_owned();
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let primary = &mut service.row.members[0];
        (primary.restarts, primary.stop) = (primary.restarts + 1, StopMode::Immediate);
        let text = format!("{what}: {} hangs; it is ended hard and started again", primary.id);
        work.note(Topic::Operation, &name, text, evidence);
        work.record(id);
        self.settle(id, work);
    }

    /// Orders the step at hand. Every effect is an ensure.
    pub(super) fn order_step(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(operation) = &service.row.operation else { return };
        let (effect, again) = (operation.at().order, operation.tries > 0);
        if operation.kind == Kind::Revive && effect == Effect::Run {
            self.count_without_gone(id, work);
        }
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let want = |row: &mut rows::Service, want: Want| {
            // Who leaves goes for good only when its service does.
            let concerned = |m: &&mut rows::Member| m.stays() || want == Want::Removed;
            for member in row.members.iter_mut().filter(concerned) {
                (member.want, member.stop) = (want, StopMode::Fast);
            }
        };
        match effect {
            Effect::Run | Effect::RunPrimary => run(service, effect == Effect::Run, again),
            Effect::Restart(mode) => {
                for member in service.row.members.iter_mut().filter(|m| m.stays()) {
                    (member.want, member.stop) = (Want::Running, mode);
                    member.restarts += 1;
                }
            }
            Effect::OpenEndpoint => self.open(id, true, work),
            Effect::CloseEndpoint => self.open(id, false, work),
            Effect::TakePlace => self.restored(id, work),
            Effect::Stop => want(&mut service.row, Want::Stopped),
            Effect::Seal => want(&mut service.row, Want::Sealed),
            Effect::Remove => want(&mut service.row, Want::Removed),
            Effect::RemoveStandbys => {
                let standbys = service.row.members.iter_mut().skip(1);
                standbys.for_each(|member| member.want = Want::Removed);
            }
            Effect::Follow | Effect::Count => {
                if again {
                    start_again(service);
                }
                match effect {
                    Effect::Follow => self.follow(id, work),
                    _ => self.count(id, work),
                }
            }
            // Both are told by the step itself: who ends soon, and whose pooled endpoint waits.
            Effect::Checkpoint => {}
            Effect::Pause => {
                work.routes.insert(id);
                self.await_routes(id, work);
            }
            Effect::Recruit => self.recruit(id, work),
            Effect::HandOver => self.hand_over(id, work),
            Effect::RecruitOthers if again => self.recruit(id, work),
            Effect::RecruitOthers => self.recruit_others(id),
            Effect::Promote => self.promote(id, work),
            Effect::Replace => self.replace(id, work),
            Effect::Flush => self.flush_source(id, work),
            // Told by the member's goal.
            Effect::Script => {}
            Effect::CloseHost | Effect::EmptyHost => {}
        }
        work.record(id);
        self.settle(id, work);
    }

    /// Opens or closes a service's endpoint.
    fn open(&mut self, id: ServiceId, open: bool, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        if std::mem::replace(&mut service.row.open, open) != open {
            work.routes.insert(id);
        }
        self.await_routes(id, work);
    }

    /// The step under way waits for the routes as they are at the end of this turn, when they get their next
    /// sequence.
    pub(super) fn await_routes(&mut self, id: ServiceId, work: &Work) {
        let routes = self.state.row.routes + u64::from(!work.routes.is_empty());
        let service = self.state.services.get_mut(&id);
        if let Some(operation) = service.and_then(|service| service.row.operation.as_mut()) {
            operation.routes = routes;
        }
    }

    /// What is still missing to call a step done, in words; empty: it is proven.
    pub(super) fn missing(
        &self,
        service: &Service,
        operation: &Operation,
        now: Time,
    ) -> Vec<String> {
        let proof = operation.at().proof;
        match proof {
            Proof::Routed => return self.unrouted(operation),
            Proof::Covered => return self.uncovered(service, operation, now),
            Proof::HandedOver => return self.unhanded(service),
            Proof::Counted => return self.uncounted(service),
            Proof::Paused => return self.unpaused(service, operation),
            Proof::Gone if service.row.is_bare() => return Vec::new(),
            Proof::Flushed => return self.unflushed(service).into_iter().collect(),
            Proof::Chosen => return self.unchosen(service),
            Proof::Scripted => return unscripted(service, operation),
            _ => {}
        }
        let members = service.row.members.iter().zip(&service.seen);
        let concerned = |at: usize, member: &rows::Member| match proof {
            Proof::Writing | Proof::Checkpointed => at == 0,
            Proof::Following => {
                at > 0 && member.want == Want::Running && member.part == rows::Part::Follows
            }
            Proof::Gone => true,
            Proof::StandbysGone => at > 0,
            _ => member.stays(),
        };
        members
            .enumerate()
            .filter(|(at, (member, _))| concerned(*at, member))
            .filter_map(|(at, (member, seen))| {
                let host = self.state.hosts.get(&member.host);
                if !host.is_some_and(state::Host::speaks) {
                    let host = self.state.host_name(member.host);
                    return Some(format!("{}: the agent of {host} is not heard", member.id));
                }
                let Some(seen) = seen else {
                    return Some(format!("{}: not reported yet", member.id));
                };
                unproven(member, seen, proof, at == 0).map(|what| format!("{}: {what}", member.id))
            })
            .collect()
    }

    fn uncounted(&self, service: &Service) -> Vec<String> {
        let Some(promise) = &service.row.promise else { return Vec::new() };
        match promise.phase {
            Phase::Steady => {
                let (named, streaming) = (promise.set.standbys(), self.streaming(service));
                let is = |copy: &Copy, what: &str| format!("{copy} {what}");
                let wanted = self.set_of(service, &streaming);
                let more = wanted.standbys().iter().filter(|copy| !named.contains(copy));
                let more = more.filter(|copy| redundancy::may_count(service, **copy));
                let unwatched: Vec<Copy> = self.unwatched(service).collect();
                let there = |copy: &&Copy| streaming.contains(copy) || unwatched.contains(copy);
                let less = named.iter().filter(|copy| !there(copy));
                more.map(|copy| is(copy, "follows and is not counted on yet"))
                    .chain(less.map(|copy| is(copy, "is counted on and does not follow")))
                    .collect()
            }
            Phase::Changing => {
                vec![format!(
                    "{} has not proven that commits wait for {}",
                    promise.primary, promise.set
                )]
            }
            Phase::Recruiting => vec!["nobody is primary".to_owned()],
        }
    }

    /// Which poolers of a service are not paused yet; one that does not run has nobody to keep waiting.
    fn unpaused(&self, service: &Service, operation: &Operation) -> Vec<String> {
        let id = service.row.id;
        let paused = |news: &pooler::News| {
            news.routes >= operation.routes && news.state != pooler::State::Serving
        };
        let heard = |host: &HostId| self.state.hosts.get(host).is_some_and(state::Host::speaks);
        let all = self
            .state
            .poolers
            .iter()
            .filter(|(host, _)| service.row.pooled_port != 0 && heard(host));
        all.filter(|(_, known)| !known.get(&id).is_some_and(paused))
            .map(|(host, _)| {
                format!("the pooler on {} has transactions open", self.state.host_name(*host))
            })
            .collect()
    }

    fn unrouted(&self, operation: &Operation) -> Vec<String> {
        if self.state.gateways.is_empty() {
            return vec!["no gateway is heard".to_owned()];
        }
        let behind = self.state.gateways.values().filter(|g| g.took < operation.routes);
        behind.map(|g| format!("gateway {} has not taken the route yet", g.name)).collect()
    }
}

/// Whether a step is one for this service: without standbys nothing is to be done about them, and not every
/// service that is made from another takes its place.
pub(super) fn applies(service: &Service, step: &Step) -> bool {
    let origin = || service.row.archive.as_ref().and_then(|archive| archive.origin.as_ref());
    match step.order {
        Effect::Follow | Effect::Count => service.row.promise.is_some(),
        Effect::TakePlace => origin().is_some_and(|origin| origin.replaces),
        _ => true,
    }
}

/// Has every member run, or the first; again: what does not serve is started anew.
fn run(service: &mut Service, all: bool, again: bool) {
    use member::State as S;
    let first = if all { service.row.members.len() } else { 1 };
    for (member, seen) in service.row.members.iter_mut().zip(&service.seen).take(first) {
        let runs = |s: &Seen| matches!(s.state, S::Ready | S::Following);
        let ready = seen.as_ref().is_some_and(runs);
        if !member.stays() {
            continue;
        }
        member.want = Want::Running;
        if again && !ready {
            member.restarts += 1;
            member.stop = StopMode::Immediate;
        }
    }
}

/// Starts again what keeps standbys from following.
fn start_again(service: &mut Service) {
    // A primary that nobody can follow is the first thing to look to.
    let primary = &mut service.row.members[0];
    let ready = |s: &Seen| s.state == member::State::Ready;
    if !service.seen[0].as_ref().is_some_and(ready) {
        (primary.restarts, primary.stop) = (primary.restarts + 1, StopMode::Immediate);
    }
    let failed = |s: &Seen| s.state == member::State::CrashLooping;
    for (standby, seen) in service.row.members.iter_mut().zip(&service.seen).skip(1) {
        standby.restarts += u32::from(seen.as_ref().is_some_and(failed));
    }
}

/// Whether a member that a step waits for has given up: nothing is gained by waiting longer.
pub(super) fn all_failed(service: &Service, operation: &Operation) -> bool {
    let members = service.row.members.iter().zip(&service.seen);
    let given_up = |(member, seen): (&rows::Member, &Option<Seen>)| {
        seen.as_ref().is_some_and(|seen| {
            seen.state == member::State::CrashLooping && seen.applied == member.version()
        })
    };
    match operation.at().proof {
        Proof::Writing => members.take(1).all(given_up),
        Proof::Following => members.skip(1).any(given_up),
        Proof::Scripted => scripted(service, operation).is_some_and(|ran| !ran.ok),
        _ => false,
    }
}

/// Whether the primary of a service that is being made is there and answers nobody, by its agent and by a witness:
/// no client has it yet, and a step that may take hours, as a restore may, would wait for it.
pub(super) fn hangs_while_made(service: &Service, operation: &Operation) -> bool {
    let (row, member) = (&service.row, service.row.primary());
    let hangs = |seen: &Seen| {
        seen.state == member::State::Hung
            && seen.incarnation == member.incarnation
            && seen.applied == member.version()
    };
    row.phase == service::Phase::Installing
        && row.health == service::Health::Unavailable
        && matches!(operation.at().proof, Proof::Writing | Proof::Following)
        && member.restarts < HUNG_MAX
        && service.seen[0].as_ref().is_some_and(hangs)
}

/// Why a member's report does not prove a step.
fn unproven(member: &rows::Member, seen: &Seen, proof: Proof, first: bool) -> Option<String> {
    let trouble = || {
        let rare = seen.rare.as_ref();
        let import = rare.and_then(|r| r.import.as_ref()).map(|told| told.progress());
        let words = import.or_else(|| rare.and_then(|r| r.trouble.clone()));
        words.map_or(String::new(), |words| format!(" ({words})"))
    };
    if seen.incarnation != member.incarnation {
        return Some(format!("its directory is {}, not {}", seen.incarnation, member.incarnation));
    }
    if seen.applied != member.version() {
        return Some(format!("has not applied its goal yet{}", trouble()));
    }
    use member::State as S;
    let unmade = !first && seen.state == S::Absent;
    let done = match proof {
        Proof::Writing => {
            seen.state == S::Ready && seen.write_proven && seen.restarts == member.restarts
        }
        Proof::Following => {
            seen.state == S::Following && seen.replication.as_ref().is_some_and(|r| r.streams)
        }
        // A standby that was never made, or waits to be made anew, has nothing to stop.
        Proof::Stopped => matches!(seen.state, S::Stopped | S::Sealed) || unmade,
        Proof::Sealed => seen.state == S::Sealed || unmade,
        Proof::Gone | Proof::StandbysGone => seen.state == S::Gone,
        Proof::Checkpointed => {
            let done = seen.replication.as_ref().and_then(|r| r.checkpointed);
            done == Some(member.version())
        }
        Proof::Routed
        | Proof::Counted
        | Proof::Covered
        | Proof::HandedOver
        | Proof::Paused
        | Proof::Flushed
        | Proof::Chosen
        | Proof::Scripted
        | Proof::HostClosed
        | Proof::HostEmpty => true,
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
        name: operation
            .script
            .as_ref()
            .map_or_else(|| spec.name.to_owned(), |s| format!("{} {}", spec.name, s.procedure)),
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
