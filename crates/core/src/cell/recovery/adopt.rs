//! Taking over what a host keeps: its members' goals, as far as they are newer than this store.
//!
//! Whatever order hosts come in, the outcome is the same: of two words about a member the one of the higher
//! (term, revision) counts, and about a service that of the primary of the higher term.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::super::backups::rows::{Archive, Origin, Running};
use super::super::compact::Few;
use super::super::state::Service;
use super::super::turn::Work;
use super::super::{Cell, goals, rows};
use super::promise::put_first;
use crate::agent::Stored;
use crate::alert::IncidentId;
use crate::backup::job::Job;
use crate::backup::lineage::Seed;
use crate::goal::{Goal, Identity, Role, StopMode, Want};
use crate::id::{HostId, Incarnation, MemberId, Revision, ServiceId, Term};
use crate::journal::Topic;
use crate::label::Label;
use crate::name::ServiceName;
use crate::order::Keys;
use crate::promise::{Copy, Phase as Standing, Promise};
use crate::report::{Hello, Kept};
use crate::service::{Health, Phase};

impl Cell {
    /// The row of a host that shows what it keeps. It has the id that its goals name it by.
    pub(super) fn host_of(&mut self, hello: &Hello, kept: &Kept, work: &mut Work) -> HostId {
        let named = |stored: &Stored| {
            let goal = &stored.applied.goal;
            goal.identity.members.iter().find(|(id, _)| *id == goal.member).map(|(_, host)| *host)
        };
        let known = kept.host.or_else(|| kept.members.iter().find_map(named));
        let by_name = self.state.host_named(&hello.host).map(|host| host.row.id);
        let id = known.or(by_name).unwrap_or_else(|| {
            self.state.row.hosts = self.state.row.hosts.next();
            self.state.row.hosts
        });
        if let Some(other) = by_name.filter(|other| *other != id) {
            self.rename_host(other, &format!("{}-before", hello.host), work);
        }
        self.know_host(id, work);
        self.rename_host(id, &hello.host, work);
        id
    }

    fn rename_host(&mut self, id: HostId, name: &str, work: &mut Work) {
        if let Some(host) = self.state.hosts.get_mut(&id) {
            host.row.name = name.to_owned();
            work.record_host(id);
        }
    }

    /// A host that goals name has a row, though it was not heard yet.
    fn know_host(&mut self, id: HostId, work: &mut Work) {
        self.state.row.hosts = self.state.row.hosts.max(id);
        if self.state.hosts.contains(&id) {
            return;
        }
        let row = rows::Host {
            id,
            name: format!("unheard-{id}"),
            zone: String::new(),
            rack: None,
            address: String::new(),
            draining: false,
            operation: None,
            incident: IncidentId(0),
            findings: rows::Findings::new(),
        };
        self.state.add_host(row);
        work.record_host(id);
    }

    /// Takes over what a host keeps; the services concerned.
    pub(super) fn adopt(
        &mut self,
        host: HostId,
        kept: &Kept,
        work: &mut Work,
    ) -> BTreeSet<ServiceId> {
        let mut services = BTreeSet::new();
        // What is being removed is removed without anybody; it is no member any more.
        let wanted = |stored: &&Stored| stored.applied.goal.want != Want::Removed;
        let members: Vec<&Stored> = kept.members.iter().filter(wanted).collect();
        for stored in &members {
            self.know_repositories(&stored.applied.goal);
            services.extend(self.adopt_member(stored, work));
        }
        for pooler in &kept.poolers {
            self.state.recovery.pooled.insert(pooler.service, pooler.port);
        }
        let pooled = self.state.recovery.pooled.clone();
        for (id, port) in pooled {
            services.extend(self.adopt_pooler(id, port, work));
        }
        let held: BTreeSet<MemberId> =
            members.iter().map(|stored| stored.applied.goal.member).collect();
        let missing = |member: &MemberId| !held.contains(member);
        let listed = self.state.hosts.get(&host).map(|host| host.members.clone());
        for member in listed.unwrap_or_default().into_iter().filter(missing) {
            services.extend(self.adopt_absence(member, work));
        }
        services.retain(|id| self.state.services.contains(id));
        services
    }

    fn know_repositories(&mut self, goal: &Goal) {
        let theirs = goal.archive.iter().flat_map(|archive| &archive.repositories);
        for repository in theirs {
            let known = &mut self.state.row.repositories;
            if !known.iter().any(|known| known.name == repository.name) {
                known.push(repository.clone());
            }
        }
    }

    fn adopt_pooler(&mut self, id: ServiceId, port: u16, work: &mut Work) -> Option<ServiceId> {
        let service = self.state.services.get_mut(&id)?;
        self.state.recovery.pooled.remove(&id);
        if service.row.pooled_port != 0 {
            return None;
        }
        service.row.pooled_port = port;
        self.state.ports.insert(port);
        work.record(id);
        work.services.insert(id);
        Some(id)
    }

    /// Takes over one member's goal.
    fn adopt_member(&mut self, stored: &Stored, work: &mut Work) -> Option<ServiceId> {
        let goal = &stored.applied.goal;
        let identity = &goal.identity;
        let id = identity.service;
        self.state.row.services = self.state.row.services.max(id);
        self.state.row.jobs = self.state.row.jobs.max(goal.job.as_ref().map_or(0, |job| job.id));
        for (member, host) in &identity.members {
            self.state.row.members = self.state.row.members.max(*member);
            self.know_host(*host, work);
        }
        let mut service = match self.state.remove(id) {
            Some(service) => service,
            None => match self.new_row(goal, work) {
                Ok(row) => Service::of(row),
                Err(why) => {
                    let text = format!(
                        "{} of {} is left alone: {why}",
                        goal.member,
                        identity.name.as_str()
                    );
                    work.note(Topic::Fleet, identity.name.as_str(), text, Vec::new());
                    return None;
                }
            },
        };
        let image = self.image_named(&goal.image);
        let seen: Vec<_> = service.row.members.iter().map(|m| m.id).zip(service.seen).collect();
        let newer = merge(&mut service.row, stored, image);
        let before =
            |id: MemberId| seen.iter().find(|(of, _)| *of == id).and_then(|(_, s)| s.clone());
        service.seen = service.row.members.iter().map(|member| before(member.id)).collect();
        self.state.recovery.absent.remove(&goal.member);
        self.name_alone(&service, work);
        self.state.insert(service);
        if newer {
            self.drop_operation(id, "what its hosts keep", work);
            self.set_phase(id, goal);
        }
        work.record(id);
        Some(id)
    }

    /// Whoever has a service's name has another from now on: of two, the later one keeps it.
    fn name_alone(&mut self, service: &Service, work: &mut Work) {
        let name = service.row.name.as_str();
        let Some(other) = self.state.named(name).map(|other| other.row.id) else { return };
        let Some(mut other) = self.state.remove(other) else { return };
        let away = format!("-{}", other.row.id);
        let room = crate::name::LENGTH_MAX.saturating_sub(away.len());
        let away = format!("{}{away}", &name[..name.len().min(room)]);
        let text = format!("{} has this name now; what was named so is {away}", service.row.id);
        work.note(Topic::Fleet, name, text, Vec::new());
        if let Some(archive) = other.row.archive.as_mut() {
            archive.owner.get_or_insert_with(|| service.row.name.clone());
        }
        if let Ok(away) = ServiceName::new(&away) {
            other.row.name = away;
        }
        work.record(other.row.id);
        work.services.insert(other.row.id);
        self.state.insert(other);
    }

    fn image_named(&mut self, image: &str) -> u16 {
        let images = &mut self.state.row.images;
        let at = images.iter().position(|known| known == image).unwrap_or_else(|| {
            images.push(image.to_owned());
            images.len() - 1
        });
        u16::try_from(at).expect("a cell does not see 65,536 images")
    }

    /// A service that this store does not know, by one of its members' goals.
    fn new_row(&self, goal: &Goal, work: &Work) -> Result<rows::Service, String> {
        let identity = &goal.identity;
        let kind = goals::kind(&self.setup, &identity.kind);
        let plan = kind.and_then(|kind| kind.plan(&identity.plan));
        let Some((kind, plan)) = kind.zip(plan) else {
            let (kind, plan) = (&identity.kind, &identity.plan);
            return Err(format!("its kind {kind}, plan {plan} are not known to this release"));
        };
        let secret = match goal.logins.first() {
            Some(login) => kind
                .secret_in(&login.verifier)
                .ok_or("what its server keeps of its owner's password cannot be read")?,
            None => Vec::new(),
        };
        let label = |text: &str| Label::new(text).expect("names of kinds and plans are labels");
        let members: SmallVec<[rows::Member; 1]> =
            identity.members.iter().map(|&(id, host)| unshown(id, host)).collect();
        let first = members.first().ok_or("its goal names no members")?.copy();
        let promise = (plan.members > 1).then(|| {
            let mut promise = Promise::alone(first);
            members.iter().for_each(|member| promise.admit(member.copy()));
            Box::new(promise)
        });
        Ok(rows::Service {
            id: identity.service,
            name: identity.name.clone(),
            offer: Arc::new(rows::Offer { kind: label(kind.name()), plan: label(plan.name) }),
            phase: Phase::Serving,
            health: Health::Uncertain,
            open: true,
            endpoint_port: identity.endpoint_port,
            pooled_port: 0,
            since: work.now,
            term: Term(0),
            promise,
            failed_over: false,
            incident: IncidentId(0),
            members,
            secret: secret.into(),
            operation: None,
            few: Few::default(),
            findings: rows::Findings::new(),
            paged: false,
            archive: None,
        })
    }

    /// What a service does, by what was last wanted of the member that takes writes.
    fn set_phase(&mut self, id: ServiceId, goal: &Goal) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let row = &mut service.row;
        let first = row.primary().id == goal.member;
        match goal.want {
            Want::Running => (row.phase, row.open) = (Phase::Serving, true),
            _ if first => (row.phase, row.open) = (Phase::Retired, false),
            _ => {}
        }
    }

    /// The agent of its host has nothing of a member: it was removed since, or its disk was lost. It is not
    /// made anew as if nothing had been there.
    fn adopt_absence(&mut self, member: MemberId, work: &mut Work) -> Option<ServiceId> {
        let id = self.state.of_member.get(&member).copied()?;
        self.state.recovery.absent.insert(member);
        let absent = self.state.recovery.absent.clone();
        let service = self.state.services.get_mut(&id)?;
        let row = &mut service.row;
        let name = row.name.as_str().to_owned();
        work.record(id);
        if !row.members.iter().all(|member| absent.contains(&member.id)) {
            let text = format!("{member} is not on its host any more");
            work.note(Topic::Fleet, &name, text, Vec::new());
            let at = row.members.iter().position(|known| known.id == member)?;
            let first = row.promise.as_ref().is_some_and(|p| p.primary.member == member);
            if first {
                let promise = row.promise.as_mut();
                let promise = promise.filter(|promise| promise.phase != Standing::Recruiting);
                promise.into_iter().for_each(|promise| promise.recruit());
            } else if row.members[at].part == rows::Part::Follows {
                row.members[at].part = rows::Part::Waits;
            }
            return Some(id);
        }
        let archived = row.archive.as_ref().is_some_and(|archive| !archive.backups.is_empty());
        self.drop_operation(id, "what its hosts keep", work);
        if archived {
            let text =
                "no host has anything of it any more: its archive is what there is".to_owned();
            work.note(Topic::Fleet, &name, text, Vec::new());
            self.reshape(id, work, |row| (row.phase, row.open) = (Phase::Archived, false));
            self.note_bare(id, work);
            return Some(id);
        }
        let text = "no host has anything of it, and there is no backup: it is gone".to_owned();
        work.note(Topic::Fleet, &name, text, Vec::new());
        self.state.remove(id);
        None
    }
}

/// A member that is named, and was not shown yet.
fn unshown(id: MemberId, host: HostId) -> rows::Member {
    rows::Member {
        id,
        host,
        incarnation: Incarnation(1),
        term: Term(0),
        revision: Revision(0),
        restarts: 0,
        port: 0,
        want: Want::Running,
        part: rows::Part::Follows,
        stop: StopMode::Fast,
        image: 0,
        goal: 0,
    }
}

/// Takes a member's goal into its service's row; whether it is newer than what was there.
fn merge(row: &mut rows::Service, stored: &Stored, image: u16) -> bool {
    let goal = &stored.applied.goal;
    // Every change of what a service is goes to its primary: a standby's host may have been away.
    let leads = matches!(goal.role, Role::Primary { .. }) && goal.term >= row.primary().term;
    if leads {
        (row.name, row.endpoint_port) = (goal.identity.name.clone(), goal.identity.endpoint_port);
        take_members(row, &goal.identity);
    }
    let newer = take_member(row, stored, image);
    if row.promise.is_none() {
        row.term = row.primary().term;
    } else {
        take_promise(row, stored, leads);
    }
    take_archive(row, goal, newer);
    newer
}

/// The primary that a goal tells of, where that is news.
fn told(row: &rows::Service, goal: &Goal, leads: bool) -> Option<Copy> {
    match &goal.role {
        Role::Primary { .. } => leads.then(|| goal.copy()),
        Role::Standby { upstream } => (goal.term > row.primary().term).then_some(upstream.copy),
        Role::Recruit => None,
    }
}

/// The members that the newest goal names are those there are.
fn take_members(row: &mut rows::Service, identity: &Identity) {
    let named = |id: MemberId| identity.members.iter().any(|(named, _)| *named == id);
    if identity.members.is_empty() {
        return;
    }
    row.members.retain(|member| named(member.id));
    for &(id, host) in &identity.members {
        if !row.members.iter().any(|member| member.id == id) {
            row.members.push(unshown(id, host));
        }
    }
    let Some(promise) = row.promise.as_mut() else { return };
    promise.copies.retain(|copy| named(copy.member));
    for member in &row.members {
        if !promise.copies.iter().any(|copy| copy.member == member.id) {
            promise.admit(member.copy());
        }
    }
}

fn take_member(row: &mut rows::Service, stored: &Stored, image: u16) -> bool {
    let goal = &stored.applied.goal;
    let Some(member) = row.members.iter_mut().find(|m| m.id == goal.member) else { return false };
    let theirs = (goal.term, goal.revision);
    let (before, unshown) = (member.version(), member.port == 0);
    member.incarnation = member.incarnation.max(stored.applied.incarnation);
    // What was recorded and not delivered goes on from there.
    if !unshown && theirs < before {
        return false;
    }
    let revision = if goal.term == member.term { member.revision } else { Revision(0) };
    (member.term, member.revision) = (goal.term.max(member.term), goal.revision.max(revision));
    (member.restarts, member.port, member.want) = (goal.restarts, goal.port, goal.want);
    (member.stop, member.image, member.goal) = (goal.stop, image, 0);
    let copy = member.copy();
    if let Some(promise) = row.promise.as_mut()
        && !promise.copies.contains(&copy)
    {
        promise.admit(copy);
    }
    unshown || theirs > before
}

/// What a goal tells of the service's promise. It is unknown from now on.
fn take_promise(row: &mut rows::Service, stored: &Stored, leads: bool) {
    let goal = &stored.applied.goal;
    let told = told(row, goal, leads);
    let members = &mut row.members;
    let Some(promise) = row.promise.as_mut() else { return };
    promise.unknown = true;
    let pledged = stored.applied.pledged.max(goal.term);
    if pledged > promise.term {
        (promise.term, promise.change, promise.promoted) = (pledged, 0, false);
        promise.phase = Standing::Recruiting;
    }
    let Some(primary) = told else { return };
    promise.primary = primary;
    if goal.term == promise.term && promise.phase == Standing::Recruiting {
        promise.phase = Standing::Changing;
    }
    if let Role::Primary { set, change, followers } = &goal.role {
        promise.set = set.clone();
        promise.change = promise.change.max(*change);
        for member in members.iter_mut().filter(|member| member.id != primary.member) {
            let follower = followers.iter().find(|f| f.copy.member == member.id);
            match follower {
                Some(follower) => {
                    member.part = rows::Part::Follows;
                    member.incarnation = member.incarnation.max(follower.copy.incarnation);
                    promise.admit(member.copy());
                }
                None if member.part == rows::Part::Follows => member.part = rows::Part::Waits,
                None => {}
            }
        }
    }
    if let Some(leader) = members.iter_mut().find(|member| member.id == primary.member) {
        // A standby's goal tells of a primary that was not shown itself yet.
        if leader.term < goal.term {
            (leader.term, leader.revision) = (goal.term, Revision(0));
        }
        leader.part = rows::Part::Follows;
    }
    put_first(row, primary);
}

fn take_archive(row: &mut rows::Service, goal: &Goal, newer: bool) {
    let Some(theirs) = &goal.archive else { return };
    let keys =
        Keys { key: theirs.key.clone(), wrapped: theirs.wrapped.clone(), engine: theirs.engine };
    let Some((home, generation)) = theirs.lineage.parts() else { return };
    let new = || {
        let mut archive = Archive::new(&keys);
        (archive.home, archive.generation) = (Some(home.clone()), generation);
        Box::new(archive)
    };
    let archive = row.archive.get_or_insert_with(new);
    archive.flush = archive.flush.max(goal.flush);
    if goal.owner() != row.name.as_str() {
        archive.owner = ServiceName::new(goal.owner()).ok();
    }
    if !newer {
        return;
    }
    let origin = |seed: &Seed| Origin { seed: seed.clone(), source: row.id, replaces: false };
    if matches!(goal.role, Role::Primary { .. }) {
        archive.origin = goal.seed.as_deref().map(|seed| Box::new(origin(seed)));
    }
    let others = archive.job.take().filter(|running| running.member != goal.member);
    let running = |job: &Job| Running { job: job.clone(), member: goal.member, since: row.since };
    archive.job = goal.job.as_deref().map(running).map(Box::new).or(others);
}
