//! Handing over: a new term, who is promoted in it, who follows; members made anew and replaced.

use super::state::Service;
use super::turn::Work;
use super::{Cell, goals, redundancy, rows};
use crate::goal::{StopMode, Want};
use crate::id::{Incarnation, MemberId, Revision, ServiceId, Term};
use crate::journal::Topic;
use crate::member;
use crate::operation::{Cause, Kind, Operation};
use crate::promise::{Copy, Phase, Position, Promise, Recruit, Refused};
use crate::service::health::Evidence;
use crate::time::Time;

impl Cell {
    /// Begins a term: from when this is recorded, nothing older is obeyed by those who hear of it.
    pub(super) fn recruit(&mut self, id: ServiceId, work: &mut Work) {
        self.begin_term(id, StopMode::Immediate, usize::MAX, work);
    }

    /// Begins a term of which only the primary hears yet: it stops, and those who follow get the rest.
    pub(super) fn hand_over(&mut self, id: ServiceId, work: &mut Work) {
        self.begin_term(id, StopMode::Fast, 1, work);
    }

    /// Begins a term for the first so many members, who stop by this mode where they took writes.
    fn begin_term(&mut self, id: ServiceId, stop: StopMode, members: usize, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let forgiven = self.forgivable(service);
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let row = &mut service.row;
        let Some(promise) = row.promise.as_mut() else { return };
        // What was known when the primary was given up stays known, whatever is forgotten since.
        let again = promise.phase == Phase::Recruiting;
        promise.recruit();
        if let Some(forgiven) = forgiven.filter(|_| !again) {
            promise.forgive(forgiven);
        }
        take_term(row, work);
        let heard = row.members.len().min(members);
        row.members[..heard].iter_mut().for_each(|member| member.stop = stop);
        take_part(&mut row.members[..heard], row.term);
        service.doubt = None;
        work.routes.insert(id);
        // While nobody is primary no write is acknowledged, and that is shown.
        let words = vec!["nobody is its primary until one is promoted".to_owned()];
        self.weigh(id, Evidence::ConfirmedDown, words, work);
    }

    /// The others hear of the term too.
    pub(super) fn recruit_others(&mut self, id: ServiceId) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let term = service.row.term;
        take_part(&mut service.row.members, term);
    }

    /// Why a primary has not handed over yet, in words; empty: it has, or is not heard.
    pub(super) fn unhanded(&self, service: &Service) -> Vec<String> {
        let Some(promise) = &service.row.promise else { return Vec::new() };
        let recruits = self.recruits(service);
        let stopped = recruits.iter().any(|r| r.copy == promise.primary);
        if stopped || !self.is_heard(service) {
            return Vec::new();
        }
        vec![format!("{} has not stopped yet", promise.primary)]
    }

    /// Whether the agent of a service's primary is heard.
    fn is_heard(&self, service: &Service) -> bool {
        let host = self.state.hosts.get(&service.row.primary().host);
        host.is_some_and(super::state::Host::speaks)
    }

    /// Why nobody can be promoted yet, in words; empty: somebody can.
    pub(super) fn uncovered(
        &self,
        service: &Service,
        operation: &Operation,
        now: Time,
    ) -> Vec<String> {
        let Some(promise) = &service.row.promise else { return Vec::new() };
        if promise.phase != Phase::Recruiting {
            return Vec::new();
        }
        match self.choose(service, promise, operation, operation.tries > 0) {
            Ok(_) => self.unfenced(service, now).into_iter().collect(),
            Err(why) => vec![why],
        }
    }

    /// Who is promoted, of those recruited. When it is late, whoever covers will do.
    fn choose(
        &self,
        service: &Service,
        promise: &Promise,
        operation: &Operation,
        late: bool,
    ) -> Result<(Copy, Vec<Recruit>), String> {
        let all = self.recruits(service);
        let others: Vec<Recruit> =
            all.iter().filter(|r| r.copy.member != promise.primary.member).copied().collect();
        let wanted = operation.member.filter(|_| !late);
        let words = |refused: Refused| refused.to_string();
        if operation.kind == Kind::Switchover && !late {
            // In order: the last record of the old primary is on the one that takes its place.
            let winner = promise.winner(&all, wanted).map_err(words)?;
            if winner.member == promise.primary.member {
                return Err("no standby has all of the primary's log yet".to_owned());
            }
            if wanted.is_some_and(|member| member != winner.member) {
                return Err(format!("{winner} is ahead of the one that was named"));
            }
            return Ok((winner, all));
        }
        // Others take the place of one that is lost, if they cover without it. It has everything too,
        // and goes on where they do not come to.
        let found = promise.winner(&others, wanted).map(|winner| (winner, others));
        if !late {
            return found.map_err(words);
        }
        found.or_else(|_| promise.winner(&all, None).map(|winner| (winner, all))).map_err(words)
    }

    /// Records who is promoted and orders it. The order of members changes: the first takes writes.
    pub(super) fn promote(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(operation) = &service.row.operation else { return };
        let Some(promise) = &service.row.promise else { return };
        if promise.phase != Phase::Recruiting {
            return;
        }
        let found = self.choose(service, promise, operation, false);
        let found = found.or_else(|_| self.choose(service, promise, operation, true));
        let Ok((winner, recruits)) = found else { return };
        let Some(first) = recruits.iter().find(|r| r.copy == winner).copied() else { return };
        let old = promise.primary;
        let clean = |r: &&Recruit| {
            r.copy != winner
                && r.copy.member != old.member
                && r.history == first.history
                && r.flushed <= first.flushed
        };
        let followers: Vec<Copy> = recruits.iter().filter(clean).map(|r| r.copy).collect();
        let set = self.set_of(service, &followers);
        let loss = goals::plan(&self.setup, &service.row).1.loss;
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let name = service.row.name.as_str().to_owned();
        let Some(promise) = service.row.promise.as_mut() else { return };
        if let Err(refused) = promise.promote(&recruits, Some(winner.member), set) {
            work.note(Topic::Operation, &name, format!("not promoted: {refused}"), Vec::new());
            return;
        }
        promise.assert_sound();
        let evidence = recruits.iter().map(|r| match r.flushed {
            Position(u64::MAX) => format!("{}: history {}, all it acknowledged", r.copy, r.history),
            flushed => format!("{}: history {}, flushed {flushed}", r.copy, r.history),
        });
        let mut text =
            format!("{winner} is promoted in {}; commits wait for {}", promise.term, promise.set);
        if let Some(loss) = loss.filter(|_| recruits.iter().all(|r| r.copy != old)) {
            text.push_str(&format!("; {old} is not there: {}", redundancy::bound(loss)));
        }
        work.note(Topic::Operation, &name, text, evidence.collect());
        let row = &mut service.row;
        let term = row.term;
        take_part(&mut row.members, term);
        for member in &mut row.members {
            let follows = member.copy() == winner || followers.contains(&member.copy());
            member.part = match member.part {
                rows::Part::Leaves => rows::Part::Leaves,
                _ if follows => rows::Part::Follows,
                _ => rows::Part::Waits,
            };
            // What a lost primary did not acknowledge is not shown to anybody by an orderly end.
            member.stop = if follows { StopMode::Fast } else { StopMode::Immediate };
        }
        if let Some(at) = row.members.iter().position(|m| m.copy() == winner) {
            row.members.swap(0, at);
            service.seen.swap(0, at);
        }
        let by_remedy =
            matches!(row.operation.as_ref().map(|o| &o.cause), Some(Cause::Remedy { .. }));
        row.failed_over |= by_remedy;
        service.doubt = None;
        work.routes.insert(id);
        work.record(id);
    }

    /// A false alarm: the primary serves, and was never stopped for this term. It goes on in a newer
    /// one. Whether that was so.
    pub(super) fn reappoint(&mut self, id: ServiceId, work: &mut Work) -> bool {
        use crate::member::State as S;
        let Some(service) = self.state.services.get_mut(&id) else { return false };
        let row = &mut service.row;
        let Some(promise) = row.promise.as_mut() else { return false };
        let host = self.state.hosts.get(&row.members[0].host);
        let serves = host.is_some_and(super::state::Host::speaks)
            && service.seen[0].as_ref().is_some_and(|seen| {
                seen.state == S::Ready
                    && seen.applied.0 < promise.term
                    && seen.incarnation == promise.primary.incarnation
            });
        if !serves || promise.reappoint().is_err() {
            return false;
        }
        let text = format!("{} serves: it goes on in {}", promise.primary, promise.term);
        work.note(Topic::Operation, row.name.as_str(), text, Vec::new());
        take_term(row, work);
        take_part(&mut row.members, row.term);
        work.routes.insert(id);
        work.record(id);
        self.settle(id, work);
        true
    }

    /// Has every standby run and follow; one that cannot as it is gets a new directory.
    pub(super) fn follow(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let remade = self.to_remake(service, work.now);
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let row = &mut service.row;
        let Some(promise) = row.promise.as_mut() else { return };
        let name = row.name.as_str().to_owned();
        for member in row.members.iter_mut().skip(1).filter(|m| m.stays()) {
            member.want = Want::Running;
            if Some(member.id) == remade {
                member.incarnation = member.incarnation.next();
                member.part = rows::Part::Follows;
                promise.admit(member.copy());
                let text = format!("{} is made anew as {}", member.id, member.copy());
                work.note(Topic::Operation, &name, text, Vec::new());
            }
        }
        work.record(id);
    }

    /// Orders commits to wait for those who are there, if others are waited for now.
    pub(super) fn count(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(wanted) = self.wanted_set(service) else { return };
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let name = service.row.name.as_str().to_owned();
        let Some(promise) = service.row.promise.as_mut() else { return };
        if promise.set == wanted || promise.unknown {
            return;
        }
        let before = promise.set.clone();
        let text = match promise.change(wanted) {
            Ok(()) => format!("wanted: commits wait for {}", promise.set),
            Err(refused) => format!("the set stays as it is: {refused}"),
        };
        promise.assert_sound();
        if before.standbys().iter().any(|copy| !promise.set.names(*copy)) {
            redundancy::let_go(service, work.now);
        }
        work.note(Topic::Operation, &name, text, Vec::new());
        work.record(id);
    }

    /// Standbys that are gone by a removal are counted on no more: commits would wait for them for ever. The
    /// primary has everything; they are made anew as any that is lost.
    pub(super) fn count_without_gone(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(promise) = &service.row.promise else { return };
        let members = service.row.members.iter().zip(&service.seen);
        let gone = members.filter(|(member, seen)| {
            seen.as_ref().is_some_and(|seen| {
                seen.state == member::State::Gone && seen.incarnation == member.incarnation
            })
        });
        let gone: Vec<_> = gone.map(|(member, _)| member.copy()).collect();
        let named = promise.set.standbys();
        let left: Vec<_> = named.iter().filter(|copy| !gone.contains(copy)).copied().collect();
        if left.len() == named.len() {
            return;
        }
        let wanted = self.set_of(service, &left);
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let name = service.row.name.as_str().to_owned();
        let Some(promise) = service.row.promise.as_mut() else { return };
        if promise.unknown || promise.change(wanted).is_err() {
            return;
        }
        let text = format!("wanted: commits wait for {}; the others are gone", promise.set);
        promise.assert_sound();
        work.note(Topic::Operation, &name, text, Vec::new());
        work.record(id);
    }

    /// Gives the place of a lost member to a new one on another host.
    pub(super) fn replace(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(lost) = self.to_replace(service) else { return };
        let hosts: Vec<_> = service.row.members.iter().map(|m| m.host).collect();
        let name = service.row.name.as_str().to_owned();
        let taken = hosts.iter().filter_map(|h| self.state.hosts.get(h));
        let stays = service.row.members.iter().filter(|m| m.id != lost);
        let stays: Vec<_> = stays.map(|m| m.host).collect();
        let zones: Vec<String> =
            taken.filter(|h| stays.contains(&h.row.id)).map(|h| h.row.zone.clone()).collect();
        let host = match self.place(&hosts, &zones) {
            Ok(host) => host,
            Err(why) => return work.note(Topic::Operation, &name, why, Vec::new()),
        };
        let Ok(port) = self.draw_port() else { return };
        let member = self.new_member(host, port);
        let text =
            format!("{} takes the place of {lost}, on {}", member.id, self.state.host_name(host));
        work.note(Topic::Operation, &name, text, Vec::new());
        let term = self.state.services.get(&id).map_or(Term(1), |service| service.row.term);
        self.state.add_member(id, rows::Member { want: Want::Running, term, ..member });
        if let Some(service) = self.state.services.get_mut(&id) {
            let lost = service.row.members.iter_mut().find(|m| m.id == lost);
            if let Some(lost) = lost {
                (lost.part, lost.want) = (rows::Part::Leaves, Want::Stopped);
            }
        }
        work.cell = true;
        work.record(id);
    }

    /// A member that nothing was ordered of yet.
    pub(super) fn new_member(&mut self, host: crate::id::HostId, port: u16) -> rows::Member {
        self.state.row.members = self.state.row.members.next();
        let image = self.image_on(host);
        rows::Member {
            id: self.state.row.members,
            host,
            incarnation: Incarnation(1),
            term: Term(1),
            revision: Revision(0),
            restarts: 0,
            port,
            want: Want::Stopped,
            part: rows::Part::Follows,
            stop: StopMode::Fast,
            image,
            goal: 0,
        }
    }

    /// The member that a switchover may name.
    pub(super) fn may_take_over(&self, service: &Service, name: &str) -> Option<MemberId> {
        let members = service.row.members.iter().skip(1).filter(|m| m.want == Want::Running);
        let named =
            |m: &&rows::Member| m.id.to_string() == name || self.state.host_name(m.host) == name;
        members.into_iter().find(named).map(|m| m.id)
    }
}

/// The row takes its promise's term.
fn take_term(row: &mut rows::Service, work: &mut Work) {
    let Some(promise) = &row.promise else { return };
    row.term = promise.term;
    let text = format!("term {} begins", row.term);
    work.note(Topic::Operation, row.name.as_str(), text, Vec::new());
}

/// These members' goals are of this term from now on, and count anew in it.
fn take_part(members: &mut [rows::Member], term: Term) {
    for member in members.iter_mut().filter(|member| member.term != term) {
        (member.term, member.revision, member.goal) = (term, Revision(0), 0);
    }
}
