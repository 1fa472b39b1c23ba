//! Clients: they write all the time, and remember what they were told is safe.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::backup::guard::Level;
use evenkeel_core::id::{MemberId, ServiceId, Term};
use evenkeel_core::kind::Loss;
use evenkeel_core::service::State;
use evenkeel_core::time::{Span, Time};
use evenkeel_core::view;

use super::{Event, World};
use crate::kinds::loss_of;
use crate::model::{Asking, Log, Server};
use crate::report::Invariant;

/// Between two looks of those who stream logs and of those who wait for acknowledgements; what is
/// written is streamed at once.
const STREAM: Span = Span::millis(100);
/// A client that was not acknowledged in this time gives up, and counts on nothing.
const PATIENCE: Span = Span::secs(20);

/// A primary's word of who is near it is at most so old when it is heard.
const WORD: Span = Span::secs(5);

/// An agent that did nothing in the last so long may have missed a moment to fence.
const UNFENCED: Span = Span::secs(60);

/// How the clients of one service fare.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    pub(super) name: String,
    /// When a write was acknowledged last; `None` before the first.
    last: Option<Time>,
    failing: bool,
    /// The longest time without an acknowledged write between two of them.
    longest: Span,
    /// Rows that are safe, by what clients were told: when they were, and in which history.
    pub(super) acknowledged: BTreeMap<u64, (Time, Term)>,
    /// Rows written and not acknowledged yet.
    waiting: Vec<Waiting>,
    /// The newest history that anything was acknowledged in, and by whom.
    newest: Option<(Term, MemberId)>,
}

/// A row on its way.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    row: u64,
    /// Whose log it is in, and up to where that must be had by others.
    member: MemberId,
    length: usize,
    /// Which life of that server: its end ends the client's session.
    life: u64,
    since: Time,
    /// Written by a client beside a host that is cut off.
    beside: bool,
}

impl Waiting {
    /// A row that was just written to a server through the gateway.
    fn of(row: u64, member: MemberId, server: &Server, now: Time) -> Self {
        let (length, life) = (server.log.len(), server.starts);
        Self { row, member, length, life, since: now, beside: false }
    }
}

/// Why these rows, which were acknowledged and are gone, are more than may be lost where no agent was away for
/// longer than this.
pub(super) fn beyond<'a>(
    lost: impl Iterator<Item = (&'a u64, &'a (Time, Term))>,
    loss: Option<Loss>,
    away: Span,
) -> Option<String> {
    let mut spans: BTreeMap<Term, (Time, Time)> = BTreeMap::new();
    for (row, (at, history)) in lost {
        if loss.is_none() {
            return Some(format!("no row {row}, which was acknowledged"));
        }
        let (first, last) = spans.entry(*history).or_insert((*at, *at));
        (*first, *last) = ((*first).min(*at), (*last).max(*at));
    }
    let limit = loss.map_or(Span(0), |loss| Span(loss.fence.0 + WORD.0 + away.0));
    let mut long = spans.iter().filter(|(_, (first, last))| last.since(*first) > limit);
    long.next().map(|(history, (first, last))| {
        let span = last.since(*first);
        format!("{span} of {history} are gone, where {limit} may be")
    })
}

impl World {
    /// Every client writes once; what is acknowledged must be there for ever.
    pub(super) fn write(&mut self) {
        for (id, route) in &self.routes.1 {
            self.clients
                .entry(*id)
                .or_insert_with(|| Clients { name: route.name.clone(), ..Clients::default() });
        }
        let ids: Vec<ServiceId> = self.clients.keys().copied().collect();
        for id in ids {
            let target = self.routes.1.get(&id).and_then(|route| route.target.as_ref());
            let port = target.map(|target| target.port).filter(|_| self.gateway_up);
            let (now, row) = (self.now, self.row());
            let wrote = port.and_then(|port| {
                let mut hosts = self.hosts.iter_mut().filter(|host| host.on);
                hosts.find_map(|host| {
                    let member = host.machine.write(port, row, now)?;
                    let server = host.machine.servers.get(&member)?;
                    Some(Waiting::of(row, member, server, now))
                })
            });
            if let Some(clients) = self.clients.get_mut(&id) {
                clients.waiting.extend(wrote);
            }
            self.write_beside(id);
        }
        self.stream_now();
        let ids: Vec<ServiceId> = self.clients.keys().copied().collect();
        for id in ids {
            let now = self.now;
            let told = |clients: &Clients| clients.last == Some(now);
            if !self.clients.get(&id).is_some_and(told) && !self.waits_its_turn(id) {
                self.fare(id, false);
            }
        }
    }

    /// Whether a service's commits are slowed because its disk fills: its clients wait, and fail not.
    fn waits_its_turn(&self, id: ServiceId) -> bool {
        let target = self.routes.1.get(&id).and_then(|route| route.target.as_ref());
        let guarded =
            |port: u16| self.hosts.iter().filter(|h| h.on).map(move |h| h.machine.guarded(port));
        target.is_some_and(|target| guarded(target.port).any(|level| level == Level::Throttle))
    }

    /// Clients beside hosts that are cut off write there, whoever is primary elsewhere.
    fn write_beside(&mut self, id: ServiceId) {
        let now = self.now;
        for n in 0..self.hosts.len() {
            let host = &mut self.hosts[n];
            if !host.on || !host.cut {
                continue;
            }
            let mut goals = host.saved.values().map(|stored| &stored.applied.goal);
            let Some(port) = goals.find(|g| g.identity.service == id).map(|g| g.port) else {
                continue;
            };
            let row = self.row();
            let host = &mut self.hosts[n];
            let Some(member) = host.machine.write(port, row, now) else { continue };
            let Some(server) = host.machine.servers.get(&member) else { continue };
            let waiting = Waiting { beside: true, ..Waiting::of(row, member, server, now) };
            if let Some(clients) = self.clients.get_mut(&id) {
                clients.waiting.push(waiting);
            }
        }
    }

    /// Standbys ask their primaries for more, again and again.
    pub(super) fn stream(&mut self) {
        let anybody = self.stream_now();
        self.at(if anybody { STREAM } else { STREAM.times(10) }, Event::Stream);
    }

    /// Standbys ask their primaries for more, and commits that waited for them are acknowledged.
    /// Whether any does.
    pub(super) fn stream_now(&mut self) -> bool {
        let now = self.now;
        let mut anybody = false;
        for n in 0..self.hosts.len() {
            if !self.hosts[n].on {
                continue;
            }
            for asking in self.hosts[n].machine.asking(now) {
                anybody = true;
                self.ask_upstream(n, &asking);
            }
        }
        self.forget_followers();
        let ids: Vec<ServiceId> = self.clients.keys().copied().collect();
        for id in ids {
            self.acknowledge(id);
        }
        anybody
    }

    fn ask_upstream(&mut self, n: usize, asking: &Asking) {
        let now = self.now;
        let own = self.hosts[n].machine.servers.get(&asking.member);
        let whole = own.filter(|own| own.cache).and_then(|own| {
            self.upstream_of(n, asking).filter(|log| log.after(&own.log).is_none()).cloned()
        });
        if let Some(log) = whole {
            self.hosts[n].machine.copy_all(asking.member, log);
        }
        let own = self.hosts[n].machine.servers.get(&asking.member);
        let more =
            own.and_then(|own| self.upstream_of(n, asking)?.after(&own.log).map(<[u64]>::to_vec));
        let flushed = self.hosts[n].machine.stream(asking.member, more.as_deref());
        for host in self.hosts.iter_mut().filter(|host| host.on) {
            if host.machine.serves(asking, now).is_some() {
                host.machine.heard(asking.of.member, asking.copy, flushed);
            }
        }
    }

    /// The log that a member of a host may copy, if its upstream is reached.
    pub(super) fn upstream_of(&self, n: usize, asking: &Asking) -> Option<&Log> {
        let reached = |m: &usize| {
            self.hosts[*m].on && !self.hosts[*m].alone && !self.hosts[n].alone || *m == n
        };
        let hosts = (0..self.hosts.len()).filter(reached);
        hosts.filter_map(|m| self.hosts[m].machine.serves(asking, self.now)).next()
    }

    /// Clients know that a cache may lose what it has not synced: it counts as never acknowledged.
    pub(super) fn forgive(&mut self, lost: Vec<(ServiceId, Vec<u64>)>) {
        for (id, rows) in lost {
            if let Some(clients) = self.clients.get_mut(&id) {
                clients.acknowledged.retain(|row, _| !rows.contains(row));
                clients.waiting.retain(|waiting| !rows.contains(&waiting.row));
            }
        }
    }

    /// A follower that does not ask any more is gone.
    fn forget_followers(&mut self) {
        let now = self.now;
        let mut asking = BTreeSet::new();
        for (n, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.on) {
            for follower in host.machine.asking(now) {
                if self.upstream_of(n, &follower).is_some() {
                    asking.insert((follower.of.member, follower.copy));
                }
            }
        }
        for host in &mut self.hosts {
            host.machine.keep_followers(&asking);
        }
    }

    /// Tells clients what is safe now; whether anything was.
    fn acknowledge(&mut self, id: ServiceId) -> bool {
        let now = self.now;
        let Some(clients) = self.clients.get(&id) else { return false };
        let mut safe = Vec::new();
        let mut waiting = clients.waiting.clone();
        waiting.retain(|w| {
            let mut hosts = self.hosts.iter().filter(|host| host.on);
            let told = hosts.find_map(|h| {
                let same = h.machine.servers.get(&w.member)?.starts == w.life;
                h.machine.acknowledged(w.member, w.length, now).filter(|_| same)
            });
            safe.extend(told.map(|history| (*w, history)));
            told.is_none() && now.since(w.since) < PATIENCE
        });
        let Some(clients) = self.clients.get_mut(&id) else { return false };
        clients.waiting = waiting;
        let mut wrong = None;
        for (w, history) in &safe {
            clients.acknowledged.insert(w.row, (now, *history));
            if clients.newest.is_some_and(|newest| newest.0 > *history) {
                wrong = Some((w.member, *history, clients.newest));
            }
            clients.newest = clients.newest.max(Some((*history, w.member)));
        }
        self.writes += safe.len() as u64;
        self.check(Invariant::OneWriter);
        if let Some((member, history, newest)) =
            wrong.filter(|wrong| !self.is_unfenced(id, wrong.0))
        {
            let text = format!("{member} of {history} acknowledged after {newest:?} did");
            self.fail(Invariant::OneWriter, text);
        }
        let through = safe.iter().any(|(w, _)| !w.beside);
        if through {
            self.fare(id, true);
        }
        through
    }

    /// Whether nobody could fence a member whose plan trusts in that: its agent did nothing. What it
    /// acknowledges then is weighed in [`World::check_ledger`].
    fn is_unfenced(&self, id: ServiceId, member: MemberId) -> bool {
        let on = |host: &&super::Host| host.machine.servers.contains_key(&member);
        let away = self.hosts.iter().find(on).is_some_and(|h| h.was_away(self.now, UNFENCED));
        away && self.losses.get(&id).copied().flatten().is_some()
    }

    /// Notes how a write went.
    fn fare(&mut self, id: ServiceId, wrote: bool) {
        let (now, every) = (self.now, self.options.write_every);
        let Some(clients) = self.clients.get_mut(&id) else { return };
        let was = std::mem::replace(&mut clients.failing, !wrote);
        let Some(last) = clients.last else {
            if wrote {
                clients.last = Some(now);
                let name = clients.name.clone();
                self.tell(|_| format!("clients of {name}: writes are acknowledged"));
            }
            return;
        };
        let name = clients.name.clone();
        if wrote {
            clients.last = Some(now);
            let gap = Span(now.since(last).0.saturating_sub(every.0));
            clients.longest = clients.longest.max(gap);
            if was {
                self.counts.outage(gap, now);
                let text = format!("clients of {name}: writes are acknowledged again after {gap}");
                self.tell(|_| text);
            }
        } else if !was {
            self.tell(|_| format!("clients of {name}: writes fail"));
        }
    }

    /// The longest time for which no write to a service was acknowledged, between two that were or
    /// since the last one. What one round of writes takes is not counted.
    pub fn longest_outage(&self, name: &str) -> Span {
        let of = self.clients.values().filter(|clients| clients.name == name);
        of.map(|clients| clients.longest.max(self.open_outage(clients))).max().unwrap_or_default()
    }

    /// From now on only what comes counts for [`World::longest_outage`].
    pub fn forget_outages(&mut self) {
        self.clients.values_mut().for_each(|clients| clients.longest = Span(0));
    }

    /// Rows that clients were told are safe and that are not with whoever has their service now: its first
    /// member, or its archive. Services whose plan may lose some are left out, as are those whose end was ordered.
    pub fn lost_rows(&self) -> u64 {
        let lost = |service: &view::Service| {
            let keeps = loss_of(&service.kind, &service.plan).is_none();
            let Some(clients) = self.clients.get(&service.id).filter(|_| keeps) else { return 0 };
            if self.is_ended(service.id) {
                return 0;
            }
            let rows: BTreeSet<u64> = if service.state == State::Archived {
                let log = self.repositories(|all| all.restorable(service.id, None));
                log.map(|log| log.rows().collect()).unwrap_or_default()
            } else {
                self.rows_of_primary(service)
            };
            clients.acknowledged.keys().filter(|row| !rows.contains(row)).count() as u64
        };
        self.services().iter().map(lost).sum()
    }

    /// What the member has that takes a service's writes.
    fn rows_of_primary(&self, service: &view::Service) -> BTreeSet<u64> {
        let servers = |member: &view::Member| {
            self.hosts.iter().find_map(|host| host.machine.servers.get(&member.id))
        };
        let server = service.members.first().and_then(servers);
        server.map(|server| server.log.rows().collect()).unwrap_or_default()
    }

    /// Outages that still last, and those that are over, all added up.
    pub fn unavailable(&self) -> Span {
        let open = self.clients.values().map(|clients| self.open_outage(clients));
        Span(self.counts.unavailable.0 + open.map(|one| one.0).sum::<u64>())
    }

    /// For how long clients of a service could not write by now.
    fn open_outage(&self, clients: &Clients) -> Span {
        let every = self.options.write_every;
        match clients.last {
            Some(last) if clients.failing => Span(self.now.since(last).0.saturating_sub(every.0)),
            _ => Span(0),
        }
    }

    /// Every acknowledged row is with whoever takes writes now, unless its end was ordered.
    pub fn check_ledger(&mut self) {
        let Some(cell) = &self.cell else { return };
        let away = self.hosts.iter().map(|host| host.away_max(self.now)).max().unwrap_or_default();
        for service in cell.services(self.now) {
            self.counts.check(Invariant::AcknowledgedWritesKept);
            let Some(clients) = self.clients.get(&service.id) else { continue };
            if self.is_ended(service.id) {
                continue;
            }
            let goes = service.operation.as_ref().is_some_and(|o| o.name == "archive");
            if goes {
                self.counts.check(Invariant::LastCopyKept);
                // Its members are on their way out: what it acknowledged is in one of them still, or in
                // its archive.
                if self.places(service.id, None).is_empty() {
                    let text = format!("{}: the last copy is gone", service.name);
                    return self.fail(Invariant::LastCopyKept, text);
                }
                continue;
            }
            if service.state == State::Archived {
                if let Some(text) = self.unarchived(service.id) {
                    let text = format!("{}: its archive has {text}", service.name);
                    return self.fail(Invariant::AcknowledgedWritesKept, text);
                }
                continue;
            }
            let Some(primary) = service.members.first().map(|member| member.id) else { continue };
            let rows = self.rows_of_primary(&service);
            let lost = clients.acknowledged.iter().filter(|(row, _)| !rows.contains(row));
            if let Some(text) = beyond(lost, loss_of(&service.kind, &service.plan), away) {
                let text = format!("{}: {primary} has {text}", service.name);
                return self.fail(Invariant::AcknowledgedWritesKept, text);
            }
        }
    }
}
