//! From rows to goals and routes: what is wanted, in the form it is sent.
//!
//! Invariant: equal (term, revision) means equal content. [`settle`] is the only place where a
//! revision grows, and it does so exactly when the goal's content changed.

use std::collections::BTreeSet;

use super::automation::agent_restarts;
use super::compact::Stretch;
use super::{Setup, rows, state};
use crate::automation::Rule;
use crate::backup::lineage::{Archive, Lineage, Repository};
use crate::fingerprint;
use crate::goal::{Follower, Goal, Identity, Login, RestartBudget, Role, StoreId, Upstream, Want};
use crate::id::{Revision, ServiceId};
use crate::kind::{Kind, Plan};
use crate::operation::{self, Effect};
use crate::pooler::Pooler;
use crate::promise::{Phase, Promise};
use crate::route::{Route, Target};
use crate::time::Span;

/// Wait before an agent's second restart in a row, doubled for each further one.
const BACKOFF: Span = Span::secs(1);
/// With no remedy declared for a death, the agent restarts nothing.
const NO_RESTARTS: RestartBudget =
    RestartBudget { tries_max: 0, window: Span::mins(10), backoff: BACKOFF };
/// Name of the key that secrets are derived with.
const KEY: &str = "fleet";

/// The agent's permission, as the remedy for a death gives it.
fn restarts(setup: &Setup, around: Around<'_>, row: &rows::Service) -> RestartBudget {
    let remedy = setup.remedies.restart();
    let remedy = remedy.filter(|_| agent_restarts(around.rules, &setup.remedies, row));
    remedy.map_or(NO_RESTARTS, |remedy| RestartBudget {
        tries_max: remedy.budget.tries_max,
        window: remedy.budget.window,
        backoff: BACKOFF,
    })
}

/// A kind by name.
pub fn kind(setup: &Setup, name: &str) -> Option<&'static dyn Kind> {
    setup.kinds.iter().copied().find(|kind| kind.name() == name)
}

/// A service's kind and plan.
///
/// # Panics
/// When a row names a kind or plan this release does not know: loading refuses such rows.
pub fn plan(setup: &Setup, row: &rows::Service) -> (&'static dyn Kind, &'static Plan) {
    let kind =
        kind(setup, row.offer.kind.as_str()).expect("loading refuses kinds it does not know");
    (kind, kind.plan(row.offer.plan.as_str()).expect("loading refuses plans it does not know"))
}

/// What goals name beside their service: taken apart from the services, so that a service can be
/// changed by what it rests on.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The cell's hosts.
    pub hosts: &'a Stretch<state::Host>,
    /// The cell's images.
    pub images: &'a [String],
    /// The cell's repositories.
    pub repositories: &'a [Repository],
    /// The stores before this one.
    pub succeeds: &'a [StoreId],
    /// Levels of remedies that people set.
    pub rules: &'a [Rule],
}

impl<'a> Around<'a> {
    /// What a cell's hosts and its own row have.
    pub fn new(hosts: &'a Stretch<state::Host>, row: &'a rows::Cell) -> Self {
        let succeeds = row.recovery.as_ref().map_or(&[][..], |recovery| &recovery.succeeds);
        let (images, repositories) = (&row.images, &row.repositories);
        Self { hosts, images, repositories, succeeds, rules: &row.rules }
    }

    /// What a cell has.
    pub fn of(state: &'a state::State) -> Self {
        Self::new(&state.hosts, &state.row)
    }
}

/// Where a service's log and backups go; `None`: nowhere.
pub fn archive(setup: &Setup, around: Around<'_>, row: &rows::Service) -> Option<Archive> {
    let own = row.archive.as_ref().filter(|_| !around.repositories.is_empty())?;
    Some(Archive {
        lineage: Lineage::of(own.home.as_ref().unwrap_or(&setup.store), row.id, own.generation),
        engine: own.engine,
        key: own.key.clone(),
        wrapped: own.wrapped.clone(),
        repositories: around.repositories.to_vec(),
    })
}

/// The goal of one member.
pub fn goal(setup: &Setup, around: Around<'_>, row: &rows::Service, at: usize) -> Goal {
    let (kind, plan) = plan(setup, row);
    let member = &row.members[at];
    let own = row.archive.as_deref();
    Goal {
        store: setup.store.clone(),
        succeeds: around.succeeds.to_vec(),
        identity: Identity {
            service: row.id,
            name: row.name.clone(),
            kind: row.offer.kind.as_str().to_owned(),
            plan: row.offer.plan.as_str().to_owned(),
            endpoint_port: row.endpoint_port,
            members: row.members.iter().map(|m| (m.id, m.host)).collect(),
            key: KEY.to_owned(),
        }
        .into(),
        member: member.id,
        incarnation: member.incarnation,
        term: member.term,
        revision: member.revision,
        want: member.want,
        role: part(kind, around, row, at),
        image: around.images.get(usize::from(member.image)).cloned().unwrap_or_default(),
        address: around.hosts.get(&member.host).map_or_else(String::new, |h| h.row.address.clone()),
        port: member.port,
        settings: kind.settings(plan),
        logins: logins(kind, row),
        restarts: member.restarts,
        stop: member.stop,
        ends_soon: ends_soon(row, at),
        fence: plan.loss.filter(|_| row.promise.is_some()).map(|loss| loss.fence),
        budget: restarts(setup, around, row),
        archive: archive(setup, around, row).map(Box::new),
        flush: own.map_or(0, |own| own.flush),
        seed: own
            .and_then(|own| own.origin.as_ref())
            .filter(|_| at == 0)
            .map(|origin| Box::new(origin.seed.clone())),
        import: own
            .and_then(|own| own.import.as_ref())
            .filter(|imported| at == 0 && !imported.over && member.want == Want::Running)
            .map(|imported| Box::new(imported.import.clone())),
        job: own
            .and_then(|own| own.job.as_ref())
            .filter(|running| running.member == member.id)
            .map(|running| Box::new(running.job.clone())),
        script: row
            .operation
            .as_ref()
            .filter(|operation| operation.claimed && operation.member == Some(member.id))
            .and_then(|operation| operation.script.clone()),
    }
}

/// A member's part in replication, as the service's promise has it.
fn part(kind: &dyn Kind, around: Around<'_>, row: &rows::Service, at: usize) -> Role {
    let Some(promise) = &row.promise else { return Role::alone() };
    let member = &row.members[at];
    let lead = || lead(kind, row, promise);
    match promise.phase {
        Phase::Recruiting if member.term == promise.term => Role::Recruit,
        _ if member.copy() == promise.primary => lead(),
        _ if member.part != rows::Part::Follows => Role::Recruit,
        _ => follow(kind, around, row, member).unwrap_or(Role::Recruit),
    }
}

fn lead(kind: &dyn Kind, row: &rows::Service, promise: &Promise) -> Role {
    let follows = |m: &&rows::Member| {
        m.copy() != promise.primary && m.part == rows::Part::Follows && m.want != Want::Removed
    };
    let follower = |m: &rows::Member| {
        let (login, _) = kind.replication(&row.secret, m.copy())?;
        Some(Follower { copy: m.copy(), login })
    };
    Role::Primary {
        set: promise.set.clone(),
        change: promise.change,
        followers: row.members.iter().filter(follows).filter_map(follower).collect(),
    }
}

fn follow(
    kind: &dyn Kind,
    around: Around<'_>,
    row: &rows::Service,
    member: &rows::Member,
) -> Option<Role> {
    let primary = row.primary();
    let (login, password) = kind.replication(&row.secret, member.copy())?;
    let upstream = Upstream {
        copy: primary.copy(),
        address: around.hosts.get(&primary.host)?.row.address.clone(),
        port: primary.port,
        role: login.role,
        password,
    };
    Some(Role::Standby { upstream })
}

/// A goal's content as a number; its revision is no part of it.
fn content(mut goal: Goal) -> u64 {
    goal.revision = Revision(0);
    u64::from_le_bytes(fingerprint::of(&goal))
}

/// Gives every member whose goal's content changed its next revision. True if any did.
pub fn settle(setup: &Setup, around: Around<'_>, row: &mut rows::Service) -> Vec<usize> {
    let mut changed = Vec::new();
    for at in 0..row.members.len() {
        let now = content(goal(setup, around, row, at));
        let member = &mut row.members[at];
        if member.goal != now {
            member.goal = now;
            member.revision = member.revision.next();
            changed.push(at);
        }
    }
    changed
}

/// Whether a goal that goes out is what its revision was given for.
pub fn is_settled(goal: &Goal, member: &rows::Member) -> bool {
    content(goal.clone()) == member.goal
}

/// Every pooler of the cell, in order of service.
pub fn poolers(setup: &Setup, state: &state::State) -> Vec<Pooler> {
    state.services.values().filter_map(|service| pooler(setup, service)).collect()
}

/// The poolers of these services, and which of them have none.
pub fn changed_poolers(
    setup: &Setup,
    state: &state::State,
    services: &BTreeSet<ServiceId>,
) -> (Vec<Pooler>, Vec<ServiceId>) {
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    for id in services {
        match state.services.get(id).and_then(|service| pooler(setup, service)) {
            Some(pooler) => changed.push(pooler),
            None => gone.push(*id),
        }
    }
    (changed, gone)
}

fn pooler(setup: &Setup, service: &state::Service) -> Option<Pooler> {
    let row = &service.row;
    let (kind, plan) = plan(setup, row);
    let pool = plan.pool.filter(|_| row.open && row.pooled_port != 0)?;
    Some(Pooler {
        service: row.id,
        name: row.name.as_str().to_owned(),
        kind: kind.name().to_owned(),
        port: row.pooled_port,
        endpoint_port: row.endpoint_port,
        logins: logins(kind, row),
        sessions_max: pool.sessions_max,
        clients_max: pool.clients_max,
        paused: pauses(row),
    })
}

/// The step that a service's operation is at, once it has begun.
fn step_of(row: &rows::Service) -> Option<(operation::Kind, Effect)> {
    let operation = row.operation.as_ref().filter(|operation| operation.claimed)?;
    Some((operation.kind, operation.at().order))
}

/// Whether a planned switchover has the pooled endpoint wait: from before the primary stops until
/// another is proven to take writes.
fn pauses(row: &rows::Service) -> bool {
    let waits = [Effect::Pause, Effect::HandOver, Effect::RecruitOthers, Effect::Promote];
    step_of(row)
        .is_some_and(|(kind, order)| kind == operation::Kind::Switchover && waits.contains(&order))
}

/// The owner's logins.
fn logins(kind: &dyn Kind, row: &rows::Service) -> Vec<Login> {
    let login = |verifier| Login { role: row.owner().to_owned(), verifier };
    kind.verifier(&row.secret).map(login).into_iter().collect()
}

/// Whether a member is about to be stopped in order.
fn ends_soon(row: &rows::Service, member: usize) -> bool {
    member == 0 && step_of(row).is_some_and(|(_, order)| order == Effect::Checkpoint)
}

/// Every route of the cell, in order of service.
pub fn routes(state: &state::State) -> Vec<Route> {
    state.services.values().filter(|s| s.row.open).map(|s| route(state, s)).collect()
}

/// The routes of these services, and which of them have none.
pub fn changed_routes(
    state: &state::State,
    services: &BTreeSet<ServiceId>,
) -> (Vec<Route>, Vec<ServiceId>) {
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    for id in services {
        match state.services.get(id).filter(|service| service.row.open) {
            Some(service) => changed.push(route(state, service)),
            None => gone.push(*id),
        }
    }
    (changed, gone)
}

fn route(state: &state::State, service: &state::Service) -> Route {
    let row = &service.row;
    let primary = row.primary();
    // While nobody is primary, a gateway that is left alone must not lead clients to the last one.
    let none = row.promise.as_ref().is_some_and(|p| p.phase == Phase::Recruiting);
    let host = state.hosts.get(&primary.host).filter(|_| !none);
    let target = host.map(|host| Target {
        member: primary.id,
        address: host.row.address.clone(),
        port: primary.port,
    });
    Route {
        service: row.id,
        name: row.name.as_str().to_owned(),
        port: row.endpoint_port,
        term: row.term,
        target,
        // Whoever is being promoted follows until it is proven that it does not.
        holds: service.holds || step_of(row).is_some_and(|(_, order)| order == Effect::Promote),
    }
}
