//! Redundancy: which standbys are there, what is lacking, since when, and what that asks for.

use super::state::{self, Lacks, Seen, Service};
use super::turn::Work;
use super::{Cell, goals, rows};
use crate::decide::{RESTART_MAX, Redundancy};
use crate::goal::Want;
use crate::id::{MemberId, ServiceId};
use crate::journal::Topic;
use crate::kind::Loss;
use crate::member::State as S;
use crate::operation::Kind;
use crate::promise::{Copy, Missing, Phase, Promise, Recruit, Set};
use crate::time::{Span, Time};

/// A standby further behind than this is not counted on yet: commits would wait for it.
const NEAR_BYTES: u64 = 1 << 20;
/// A standby that runs and receives nothing for this long went astray: it is made anew.
const ASTRAY_AFTER: Span = Span::secs(30);
/// A standby that was let go twice has to follow this long before it is counted on again, and this long more each time
/// more: each time costs its service a wait for one that dies soon.
const SETTLED_AFTER: Span = Span::secs(10);
/// None has to for longer: a failover wants it.
const SETTLED_MAX: Span = Span::secs(30);
/// What was let go this long ago is forgotten.
const LET_GO_FORGOTTEN: Span = Span::mins(60);

impl Cell {
    /// A member's newest word, if its agent is heard and means the directory that is meant.
    fn word<'a>(&self, member: &rows::Member, seen: Option<&'a Seen>) -> Option<&'a Seen> {
        let host = self.state.hosts.get(&member.host)?;
        seen.filter(|seen| host.speaks() && seen.incarnation == member.incarnation)
    }

    /// Every member but the primary that is meant to stay, with its agent's word.
    fn standbys<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = (&'a rows::Member, Option<&'a Seen>)> {
        let members = service.row.members.iter().zip(&service.seen).skip(1);
        members
            .filter(|(member, _)| member.want == Want::Running)
            .map(|(member, seen)| (member, self.word(member, seen.as_ref())))
    }

    /// Standbys that could be recruited now.
    pub(super) fn answering(&self, service: &Service) -> Vec<Copy> {
        let standbys = self.standbys(service);
        let there = standbys.filter(|(member, seen)| {
            member.part == rows::Part::Follows && seen.is_some_and(|s| s.state == S::Following)
        });
        there.map(|(member, _)| member.copy()).collect()
    }

    /// Standbys that receive the primary's log, by their own word.
    pub(super) fn streaming(&self, service: &Service) -> Vec<Copy> {
        let streams = |seen: &Seen| {
            seen.state == S::Following && seen.replication.as_ref().is_some_and(|r| r.streams)
        };
        let standbys = self.standbys(service).filter(|(member, seen)| {
            member.part == rows::Part::Follows && seen.is_some_and(streams)
        });
        standbys.map(|(member, _)| member.copy()).collect()
    }

    /// Standbys that receive the primary's log and are near its end, by their word and the primary's.
    fn near(&self, service: &Service) -> Option<Vec<Copy>> {
        self.within(service, NEAR_BYTES)
    }

    /// Standbys that receive the primary's log, however far behind they are, by their word and the primary's.
    /// Who is far behind and follows is not helped by being made anew: it would be further behind then.
    fn fed(&self, service: &Service) -> Option<Vec<Copy>> {
        self.within(service, u64::MAX)
    }

    fn within(&self, service: &Service, lag_max_bytes: u64) -> Option<Vec<Copy>> {
        let row = &service.row;
        let primary = self.word(row.primary(), service.seen[0].as_ref())?;
        let sent = primary.replication.as_ref().map_or(&[][..], |r| &r.senders);
        let near = |copy: Copy| {
            sent.iter().any(|s| s.copy == copy && s.streaming && s.lag_bytes <= lag_max_bytes)
        };
        let mut there = self.streaming(service);
        there.extend(self.unwatched(service));
        Some(there.into_iter().filter(|copy| near(*copy)).collect())
    }

    /// Standbys that received the primary's log when their agent ended its stream, a moment ago: as when it begins
    /// anew. Their servers run on without it, and their primary sees it if one does not.
    pub(super) fn unwatched(&self, service: &Service) -> impl Iterator<Item = Copy> {
        let members = service.row.members.iter().zip(&service.seen).skip(1);
        let streamed = |member: &rows::Member, seen: &Seen| {
            seen.incarnation == member.incarnation
                && seen.state == S::Following
                && seen.replication.as_ref().is_some_and(|r| r.streams)
        };
        let follows = move |(member, seen): &(&rows::Member, &Option<Seen>)| {
            member.want == Want::Running
                && member.part == rows::Part::Follows
                && seen.as_ref().is_some_and(|seen| streamed(member, seen))
        };
        let left = |member: &rows::Member| {
            self.unwatched_until(member).is_some_and(|until| self.state.now < until)
        };
        members.filter(follows).map(|(member, _)| member).filter(move |m| left(m)).map(|m| m.copy())
    }

    /// Until when what its agent said last of a member is taken, though it ended its stream.
    fn unwatched_until(&self, member: &rows::Member) -> Option<Time> {
        let host = self.state.hosts.get(&member.host).filter(|host| !host.speaks())?;
        Some(host.left? + ASTRAY_AFTER)
    }

    /// The set for these standbys, as the plan promises it.
    pub(super) fn set_of(&self, service: &Service, standbys: &[Copy]) -> Set {
        let acks = goals::plan(&self.setup, &service.row).1.acks;
        let acks = acks.min(u8::try_from(standbys.len()).unwrap_or(u8::MAX));
        match acks {
            0 => Set::nobody(),
            _ => Set::any(acks, standbys).expect("no more acknowledge than there are"),
        }
    }

    /// The set that commits should wait for now; `None` while the primary's word is missing.
    pub(super) fn wanted_set(&self, service: &Service) -> Option<Set> {
        let mut near = self.near(service)?;
        // Whoever is counted on anew has to say itself that it follows.
        let heard = self.streaming(service);
        let counted = |copy: &Copy| {
            service.row.promise.as_ref().is_some_and(|promise| promise.set.names(*copy))
        };
        near.retain(|copy| may_count(service, *copy) && (heard.contains(copy) || counted(copy)));
        Some(self.set_of(service, &near))
    }

    /// What was recruited in the present term.
    pub(super) fn recruits(&self, service: &Service) -> Vec<Recruit> {
        let Some(promise) = &service.row.promise else { return Vec::new() };
        let members = service.row.members.iter().zip(&service.seen);
        let recruit = |(member, seen): (&rows::Member, &Option<Seen>)| {
            let (term, recruit) = seen.as_ref()?.replication.as_ref()?.recruited?;
            (term == promise.term && recruit.copy == member.copy()).then_some(recruit)
        };
        members.filter_map(recruit).collect()
    }

    /// Whether the primary could be lost right now at no more than the plan's cost.
    pub(super) fn safe(&self, service: &Service, promise: &Promise) -> Result<(), Missing> {
        if promise.unknown {
            return self.all_there(service, promise);
        }
        let forgiven = self.forgivable(service);
        promise.safe_without_primary(&self.answering(service), forgiven.as_deref())
    }

    /// Of an asynchronous plan: the standbys that were within its bound by the primary's last word.
    pub(super) fn forgivable(&self, service: &Service) -> Option<Vec<Copy>> {
        let row = &service.row;
        let loss = goals::plan(&self.setup, row).1.loss?;
        // What was said to an earlier controller is not known: this one has to have heard it.
        let said = self.state.hosts.get(&row.primary().host).and_then(|host| host.heard);
        let seen = service.seen[0].as_ref().filter(|_| said.is_some());
        let seen = seen.filter(|seen| seen.incarnation == row.primary().incarnation);
        let senders = seen.and_then(|s| s.replication.as_deref()).map_or(&[][..], |r| &r.senders);
        let near = senders.iter().filter(|s| s.streaming && s.lag_bytes <= loss.bytes);
        Some(near.map(|s| s.copy).collect())
    }

    /// When a primary that is not recruited has surely stopped taking writes by itself. `None`: it need
    /// not, as nothing it would acknowledge then could be lost; or it is not known yet.
    fn fenced_at(&self, service: &Service) -> Option<Time> {
        let promise = service.row.promise.as_ref()?;
        let loss = goals::plan(&self.setup, &service.row).1.loss?;
        let stopped = self.recruits(service).iter().any(|r| r.copy == promise.primary);
        let host = self.state.hosts.get(&service.row.primary().host);
        let heard = host.and_then(|host| host.heard).unwrap_or(self.state.began);
        let since = service.lacks.as_ref().and_then(|lacks| lacks.contact)?;
        (!stopped).then(|| heard.max(since) + loss.fence)
    }

    /// Why the primary may take writes still, if it may.
    pub(super) fn unfenced(&self, service: &Service, now: Time) -> Option<String> {
        let at = self.fenced_at(service).filter(|at| now < *at)?;
        let primary = service.row.promise.as_ref().map(|promise| promise.primary)?;
        Some(format!("{primary} may take writes for another {}", at.since(now)))
    }

    /// Takes in what agents proved about a service's promise.
    pub(super) fn keep_promise(&mut self, id: ServiceId, work: &mut Work) {
        let Some(there) = self.state.services.get(&id).map(|s| self.counted_on(s)) else { return };
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(promise) = service.row.promise.as_mut() else { return };
        let name = service.row.name.as_str();
        let seen = service.seen[0].as_ref();
        let said = seen.filter(|seen| seen.incarnation == promise.primary.incarnation);
        let said = said.and_then(|seen| seen.replication.as_deref());
        let mut news = false;
        if said.is_some_and(|r| r.promoted == Some(promise.term))
            && promise.tainted.contains(&promise.primary)
        {
            promise.told(promise.primary);
            news = true;
        }
        if let Some((term, change)) = said.and_then(|r| r.confirmed)
            && promise.confirmed(term, change)
        {
            let text = format!("in force: commits wait for {}", promise.set);
            work.note(Topic::Operation, name, text, Vec::new());
            news = true;
        }
        promise.assert_sound();
        let members = service.row.members.iter().filter(|m| m.want == Want::Running).count();
        let whole = promise.phase == Phase::Steady && there + 1 >= members;
        if whole && std::mem::take(&mut service.row.failed_over) {
            news = true;
        }
        if news {
            work.record(id);
        }
        self.know_again(id, work);
        self.let_go(id, work);
    }

    /// How many standbys a service counts on: those that commits wait for, or, where they wait for none,
    /// those that are near.
    fn counted_on(&self, service: &Service) -> usize {
        let Some(promise) = &service.row.promise else { return 0 };
        match goals::plan(&self.setup, &service.row).1.acks {
            0 => self.near(service).map_or(0, |near| near.len()),
            _ => promise.set.standbys().len(),
        }
    }

    /// A member whose place was taken is removed once nothing rests on it, and forgotten when it is.
    fn let_go(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(promise) = &service.row.promise else { return };
        let plan = goals::plan(&self.setup, &service.row).1;
        let members = usize::from(plan.members);
        if service.row.members.len() <= members {
            return;
        }
        let whole = promise.phase == Phase::Steady && self.counted_on(service) + 1 >= members;
        let surplus = |m: &rows::Member| !m.stays() && promise.may_be_remade(m.copy());
        let Some(at) = service.row.members.iter().rposition(surplus).filter(|_| whole) else {
            return;
        };
        let (member, host) = (service.row.members[at].id, service.row.members[at].host);
        if service.row.members[at].want != Want::Removed {
            let Some(service) = self.state.services.get_mut(&id) else { return };
            service.row.members[at].want = Want::Removed;
            self.settle(id, work);
        }
        let Some(service) = self.state.services.get(&id) else { return };
        if service.seen[at].as_ref().is_some_and(|seen| seen.state == S::Gone) {
            self.state.remove_member(id, at);
            work.record(id);
            // Goals name all members of their service.
            self.settle(id, work);
            work.whole.insert(host);
            let text = format!("member {member} is gone, another has its place");
            if let Some(service) = self.state.services.get(&id) {
                work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
            }
        }
    }

    /// Notes since when what is lacking, and sets the clock for when that is too long.
    pub(super) fn note_lacks(&mut self, id: ServiceId, now: Time) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(promise) = &service.row.promise else { return };
        let near = self.near(service);
        let has = |copy: &Copy| near.as_ref().is_none_or(|near| near.contains(copy));
        let there = promise.set.standbys().iter().filter(|copy| has(copy)).count();
        let serves = promise.phase != Phase::Recruiting;
        let acks = serves && there < usize::from(promise.set.acks());
        let counted = serves && there < promise.set.standbys().len();
        let fed = self.fed(service);
        let fed = |copy: &Copy| fed.as_ref().is_none_or(|fed| fed.contains(copy));
        let away = |member: &rows::Member| member.part == rows::Part::Waits || !fed(&member.copy());
        let member = serves && self.standbys(service).any(|(member, _)| away(member));
        let recruits = self.recruits(service);
        let others = |copy: &&Copy| copy.member != promise.primary.member;
        let contact = !serves
            && promise.forgiven.is_some()
            && promise.copies.iter().filter(others).all(|c| recruits.iter().any(|r| r.copy == *c));
        let before = service.lacks.as_deref().copied().unwrap_or_default();
        let since = |lacks: bool, before: Option<Time>| lacks.then(|| before.unwrap_or(now));
        let lacks = Lacks {
            acks: since(acks, before.acks),
            counted: since(counted, before.counted),
            member: since(member, before.member),
            contact: since(contact, before.contact),
            let_go: before.let_go.filter(|(at, _)| now.since(*at) < LET_GO_FORGOTTEN),
        };
        let policy = &self.setup.policy;
        let waits = [
            (lacks.acks.or(lacks.counted), self.patience(service, promise)),
            (lacks.member, ASTRAY_AFTER),
            (lacks.member, policy.rebuild_after),
        ];
        let failed = service.seen[0].as_ref().filter(|seen| seen.state == S::Failed);
        let settles = self.settled_at(service, &lacks).map(|at| (Some(at), Span(0)));
        let waits = waits.into_iter().chain([(failed.map(|seen| seen.since), RESTART_MAX)]);
        let waits = waits.chain(settles);
        let waits = waits.into_iter().filter_map(|(since, limit)| Some(since? + limit));
        let unwatched = self.standbys(service).filter_map(|(m, _)| self.unwatched_until(m));
        let next = waits.chain(unwatched);
        if let Some(next) = next.filter(|at| *at > now).min() {
            self.look_at(id, next);
        }
        let Some(service) = self.state.services.get_mut(&id) else { return };
        service.lacks = (lacks != Lacks::default()).then(|| Box::new(lacks));
        let fenced = self.state.services.get(&id).and_then(|service| self.fenced_at(service));
        if let Some(at) = fenced.filter(|at| *at > now) {
            self.look_at(id, at);
        }
    }

    /// What a service with standbys asks for.
    pub(super) fn redundancy(&self, service: &Service, now: Time) -> Option<Redundancy> {
        let promise = service.row.promise.as_ref()?;
        let policy = &self.setup.policy;
        let lacks = service.lacks.as_deref().copied().unwrap_or_default();
        let long =
            |since: Option<Time>, limit: Span| since.is_some_and(|at| now.since(at) >= limit);
        let wanted = self.wanted_set(service);
        let adds = |wanted: &Set| promise.set.standbys().iter().all(|copy| wanted.names(*copy));
        // What is not known is not changed.
        let other = wanted.filter(|wanted| *wanted != promise.set && !promise.unknown);
        let room = service.row.members.iter().filter(|m| m.want == Want::Running).count();
        let plan = goals::plan(&self.setup, &service.row).1;
        Some(Redundancy {
            safe: self.safe(service, promise),
            failed_over: service.row.failed_over,
            recruiting: promise.phase == Phase::Recruiting,
            relax: long(lacks.acks.or(lacks.counted), self.patience(service, promise))
                && other.as_ref().is_some_and(|wanted| !adds(wanted)),
            restore: other.as_ref().is_some_and(adds)
                && self.settled_at(service, &lacks).is_none_or(|at| now >= at),
            rejoin: self.to_remake(service, now).is_some(),
            rebuild: room <= usize::from(plan.members)
                && long(lacks.member, policy.rebuild_after)
                && self.to_replace(service).is_some(),
        })
    }

    /// When all who follow have done so for long enough that those who were let go may be counted on again.
    fn settled_at(&self, service: &Service, lacks: &Lacks) -> Option<Time> {
        let (at, times) = lacks.let_go?;
        let more = u64::from(times.saturating_sub(1));
        let follows = self.standbys(service).filter_map(|(_, seen)| seen);
        let since = follows.filter(|seen| seen.state == S::Following).map(|seen| seen.since).max();
        Some(since.map_or(at, |since| since.max(at)) + SETTLED_AFTER.times(more).min(SETTLED_MAX))
    }

    /// How long commits wait for a standby that is not there. A primary that starts finds again whom it counts
    /// on, if they answer; counted on no more, they could not take its place were it lost on its way.
    fn patience(&self, service: &Service, promise: &Promise) -> Span {
        let starts = |seen: &Seen| matches!(seen.state, S::Starting | S::Recovering);
        let answering = self.answering(service);
        let there = promise.set.standbys().iter().filter(|copy| answering.contains(copy)).count();
        let waits = service.seen[0].as_ref().is_some_and(starts)
            && there >= usize::from(promise.set.acks());
        if waits { ASTRAY_AFTER } else { self.setup.policy.relax_after }
    }

    /// The member that should be made anew where it is.
    pub(super) fn to_remake(&self, service: &Service, now: Time) -> Option<MemberId> {
        let promise = service.row.promise.as_ref()?;
        let astray = service.lacks.as_ref().and_then(|l| l.member);
        let astray = astray.is_some_and(|at| now.since(at) >= ASTRAY_AFTER);
        let fed = self.fed(service)?;
        let here = |member: &rows::Member| {
            self.state.hosts.get(&member.host).is_some_and(state::Host::speaks)
        };
        let waits = |member: &rows::Member| {
            let lost = astray && !fed.contains(&member.copy());
            (member.part == rows::Part::Waits || lost)
                && here(member)
                && promise.may_be_remade(member.copy())
        };
        self.standbys(service).map(|(member, _)| member).find(|m| waits(m)).map(|m| m.id)
    }

    /// The member that is away and whose place another should take.
    pub(super) fn to_replace(&self, service: &Service) -> Option<MemberId> {
        let promise = service.row.promise.as_ref()?;
        let away = |member: &rows::Member| {
            !self.state.hosts.get(&member.host).is_some_and(state::Host::speaks)
                && promise.may_be_remade(member.copy())
        };
        self.standbys(service).map(|(member, _)| member).find(|m| away(m)).map(|m| m.id)
    }
}

/// Whether a standby may be counted on by what is under way. To relax only lets go: whether one that is back is
/// counted on again is a question of its own, with a remedy and a level of its own.
pub(super) fn may_count(service: &Service, copy: Copy) -> bool {
    let relaxes = service.row.operation.as_ref().is_some_and(|o| o.kind == Kind::Relax);
    !relaxes || service.row.promise.as_ref().is_some_and(|promise| promise.set.names(copy))
}

/// A standby was let go at this time.
pub(super) fn let_go(service: &mut Service, now: Time) {
    let lacks = service.lacks.get_or_insert_default();
    let times = lacks.let_go.map_or(0, |(_, times)| times);
    lacks.let_go = Some((now, times.saturating_add(1)));
}

/// What an asynchronous plan's failover may lose, in words.
pub(super) fn bound(loss: Loss) -> String {
    let mib = loss.bytes >> 20;
    format!(
        "the last {mib} MiB may be lost, and what was written in {} after it was heard last",
        loss.fence
    )
}
