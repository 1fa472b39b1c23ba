//! One turn: learn, assess, advance, decide, record, send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::goals::Around;
use super::state::State;
use super::timers::{Again, Due};
use super::{Cell, Entry, Link, Send, Turn, goals};
use crate::alert::IncidentId;
use crate::edge::Edge;
use crate::id::{HostId, MemberId, ServiceId};
use crate::incident::Subject;
use crate::journal::{Entry as JournalEntry, Topic};
use crate::report::{Question, ToAgent};
use crate::route::ToGateway;
use crate::row::{Key, Table, Write, encode, encode_with};
use crate::time::Time;

/// What a turn still has to do, and what it gives out.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The moment.
    pub now: Time,
    /// Hosts to look at.
    pub hosts: BTreeSet<HostId>,
    /// Services to look at.
    pub services: BTreeSet<ServiceId>,
    /// Services whose primary died and may be coming up again already.
    pub died: BTreeSet<ServiceId>,
    /// Rows to record.
    pub rows: BTreeSet<Key>,
    /// Journal entries.
    pub journal: Vec<JournalEntry>,
    /// Sends that do not depend on rows of this turn's end.
    pub sends: Vec<Send>,
    /// Members whose goals go out.
    pub goals: BTreeSet<MemberId>,
    /// Agents that get every goal.
    pub whole: BTreeSet<HostId>,
    /// Questions by witness.
    pub questions: BTreeMap<HostId, Vec<Question>>,
    /// Services whose route changed.
    pub routes: BTreeSet<ServiceId>,
    /// Routes get a new sequence though none changed.
    pub new_routes: bool,
    /// Gateways that get every route.
    pub gateways: BTreeSet<Link>,
    /// Whether the cell's own row changed.
    pub cell: bool,
    /// Whether incidents are to be looked at.
    pub incidents: bool,
    /// Edges that machines took.
    pub edges: Vec<Edge>,
}

impl Work {
    /// Notes an entry of the journal.
    pub fn note(&mut self, topic: Topic, subject: &str, text: String, evidence: Vec<String>) {
        self.journal.push(JournalEntry {
            at: self.now,
            topic,
            subject: subject.to_owned(),
            text,
            evidence,
        });
    }

    /// Marks a service's row for recording.
    pub fn record(&mut self, service: ServiceId) {
        self.rows.insert(Key { table: Table::Service, id: u64::from(service.0) });
    }

    /// Marks an act's row for recording.
    pub fn record_act(&mut self, act: u32) {
        self.rows.insert(Key { table: Table::Act, id: u64::from(act) });
    }

    /// Marks an incident's row for recording.
    pub fn record_incident(&mut self, incident: IncidentId) {
        self.rows.insert(Key { table: Table::Incident, id: u64::from(incident.0) });
    }

    /// Marks a host's row for recording.
    pub fn record_host(&mut self, host: HostId) {
        self.rows.insert(Key { table: Table::Host, id: u64::from(host.0) });
    }
}

impl Cell {
    /// Takes everything in, gives everything out. See the module's story and invariants.
    pub fn turn(&mut self, now: Time, inbox: &[Entry]) -> Turn {
        self.state.now = self.state.now.max(now);
        let mut work = Work { now: self.state.now, ..Work::default() };
        if std::mem::take(&mut self.fresh) {
            self.begin(&mut work);
        }
        let was_down = self.state.storage_is_down();
        for entry in inbox {
            self.learn(entry, &mut work);
        }
        let was_down = was_down || self.state.storage_is_down();
        for host in self.state.timers.pop_late(work.now) {
            match self.heard_until(host) {
                Some(late) => self.state.timers.late(host, late),
                None => drop(work.hosts.insert(host)),
            }
        }
        while let Some(due) = self.state.timers.pop(work.now) {
            match due {
                Due::Host(host) => drop(work.hosts.insert(host)),
                Due::Service(id) => {
                    if let Some(service) = self.state.services.get_mut(&id) {
                        service.again = Again::default();
                    }
                    work.services.insert(id);
                }
                Due::Incidents => work.incidents = true,
            }
        }
        loop {
            // Hosts first: what they are is evidence about their services.
            if let Some(host) = work.hosts.pop_first() {
                self.assess_host(host, &mut work);
                self.note_need(Subject::Host(host), &mut work);
            } else if let Some(service) = work.services.pop_first() {
                if self.acts() {
                    self.look(service, &mut work);
                    self.note_need(Subject::Service(service), &mut work);
                }
            } else {
                break;
            }
        }
        for key in work.rows.iter().filter(|key| key.table == Table::Service) {
            let id = u32::try_from(key.id).expect("ids of rows are drawn as 32 bits");
            self.state.note_archiving(ServiceId(id));
        }
        if was_down && !self.state.storage_is_down() {
            self.wake_stored();
        }
        if work.incidents && self.acts() {
            self.tend_incidents(&mut work);
        }
        self.finish(work)
    }

    /// First turn of a controller: every host, and every service that is not quiet, is looked at.
    ///
    /// Nothing is missed by leaving out quiet ones ([`Service::is_quiet`]). Every host is awaited now: it is
    /// heard, or silent once the grace is over, and either has all services on it looked at
    /// ([`Cell::host_event`]); until then there is nothing to do for one that served when its row was written,
    /// as whatever is due by the clock is done by its members' agents. Goals, which a newer release may want
    /// otherwise than the one that wrote the rows, are settled when their host's stream opens
    /// ([`Cell::attach`]), which is before they can go anywhere.
    fn begin(&mut self, work: &mut Work) {
        self.state.began = work.now;
        let services = self.state.services.values().filter(|service| !service.is_quiet());
        work.services.extend(services.map(|service| service.row.id));
        work.hosts.extend(self.state.hosts.keys());
        self.end_cut_drills(work);
        self.note_drill_rules(work);
        if self.recovers() {
            return;
        }
        work.incidents = true;
        self.send_again(work);
    }

    /// Gives goals whose content changed a new revision, to be recorded and sent.
    pub(super) fn settle(&mut self, id: ServiceId, work: &mut Work) {
        let State { services, hosts, row, .. } = &mut self.state;
        let Some(service) = services.get_mut(&id) else { return };
        let around = Around::new(hosts, row);
        let changed = goals::settle(&self.setup, around, &mut service.row);
        if !changed.is_empty() {
            work.record(id);
            work.goals.extend(changed.iter().map(|&at| service.row.members[at].id));
        }
    }

    /// Encodes what changed and puts what goes out in order.
    fn finish(&mut self, mut work: Work) -> Turn {
        work.new_routes |= !work.routes.is_empty();
        if work.new_routes {
            // Whoever waits for routes named the sequence they get, when it changed them.
            self.state.row.routes += 1;
        }
        self.count_by_hand(&mut work);
        let mut turn = Turn::default();
        let records =
            work.cell || work.new_routes || !work.rows.is_empty() || !work.journal.is_empty();
        if records {
            self.state.row.sequence += 1;
            self.state.row.clock = work.now;
            turn.writes.rows = self.encode(&work);
            turn.writes.journal = std::mem::take(&mut work.journal);
        }
        turn.sends = std::mem::take(&mut work.sends);
        turn.edges = std::mem::take(&mut work.edges);
        self.send_goals(&work, &mut turn);
        self.send_routes(&work, &mut turn);
        self.send_poolers(&work, &mut turn);
        for (host, questions) in work.questions {
            if let Some(link) = self.state.hosts.get(&host).and_then(|h| h.link) {
                turn.sends.push(Send::Agent { link, message: ToAgent::Ask(questions) });
            }
        }
        // Answers last: who reads one may look at once, and finds what was sent under way.
        turn.sends.sort_by_key(|send| matches!(send, Send::Reply { .. } | Send::Close { .. }));
        turn.wake_at = self.state.timers.first();
        debug_assert!(self.state.knows_the_unsure() && self.state.knows_who_archives());
        turn
    }

    fn encode(&self, work: &Work) -> Vec<Write> {
        let cell = Key { table: Table::Cell, id: 0 };
        let mut rows = Vec::with_capacity(1 + work.rows.len());
        rows.push(Write { key: cell, body: Some(encode(&self.state.row)) });
        let mut buffer = Vec::new();
        for &key in &work.rows {
            let id = u32::try_from(key.id).expect("ids of rows are drawn as 32 bits");
            let body = match key.table {
                Table::Cell => None,
                Table::Toil => Some(encode(&self.state.toil)),
                Table::Incident if id == 0 => Some(encode(&self.state.incidents.alerts)),
                Table::Incident => self.state.incidents.rows.get(&IncidentId(id)).map(encode),
                Table::Host => self.state.hosts.get(&HostId(id)).map(|h| encode(&h.row)),
                Table::Service => {
                    let service = self.state.services.get(&ServiceId(id));
                    service.map(|service| encode_with(&mut buffer, &service.row))
                }
                Table::Act => self.state.acts.get(&id).map(encode),
            };
            rows.push(Write { key, body });
        }
        rows
    }

    fn send_goals(&self, work: &Work, turn: &mut Turn) {
        if !self.acts() {
            return;
        }
        let around = Around::of(&self.state);
        let goal = |member: &MemberId| {
            let service = self.state.services.get(self.state.of_member.get(member)?)?;
            let at = service.row.members.iter().position(|m| m.id == *member)?;
            // A member nothing was ordered of yet has no goal.
            let ordered = service.row.members[at].revision.0 > 0;
            let goal = ordered.then(|| goals::goal(&self.setup, around, &service.row, at))?;
            debug_assert!(goals::is_settled(&goal, &service.row.members[at]), "{goal:?}");
            Some(Arc::new(goal))
        };
        for host in &work.whole {
            let Some(host) = self.state.hosts.get(host) else { continue };
            let Some(link) = host.link else { continue };
            let goals = host.members.iter().filter_map(goal).collect();
            let message = ToAgent::Goals { whole: true, goals };
            turn.sends.push(Send::Agent { link, message });
        }
        let mut changed: BTreeMap<HostId, Vec<_>> = BTreeMap::new();
        for member in &work.goals {
            let Some(goal) = goal(member) else { continue };
            let Some(&(_, host)) = goal.identity.members.iter().find(|(id, _)| id == member) else {
                continue;
            };
            if !work.whole.contains(&host) {
                changed.entry(host).or_default().push(goal);
            }
        }
        for (host, goals) in changed {
            if let Some(link) = self.state.hosts.get(&host).and_then(|h| h.link) {
                let message = ToAgent::Goals { whole: false, goals };
                turn.sends.push(Send::Agent { link, message });
            }
        }
    }

    /// Every pooler to agents that are new here and keep them, to the others what changed.
    fn send_poolers(&self, work: &Work, turn: &mut Turn) {
        if !self.acts() {
            return;
        }
        let routes = self.state.row.routes;
        for id in self.state.poolers.keys() {
            let Some(link) = self.state.hosts.get(id).and_then(|host| host.link) else { continue };
            let whole = work.whole.contains(id);
            let (changed, gone) = match whole {
                true => (goals::poolers(&self.setup, &self.state), Vec::new()),
                false => goals::changed_poolers(&self.setup, &self.state, &work.routes),
            };
            if whole || !(changed.is_empty() && gone.is_empty()) {
                let message = ToAgent::Poolers { routes, whole, changed, gone };
                turn.sends.push(Send::Agent { link, message });
            }
        }
    }

    /// Every route to gateways that are new here, to the others what changed.
    fn send_routes(&mut self, work: &Work, turn: &mut Turn) {
        if !self.commands() {
            return;
        }
        let routes = self.state.row.routes;
        let links: Vec<Link> = self.state.gateways.keys().copied().collect();
        let (mut all, mut some) = (None, None);
        for (at, link) in links.iter().copied().enumerate() {
            let last = at + 1 == links.len();
            let (whole, changed, gone) = if work.gateways.contains(&link) {
                let known = all.take().unwrap_or_else(|| goals::routes(&self.state));
                all = (!last).then(|| known.clone());
                (true, known, Vec::new())
            } else if work.new_routes {
                let of = || goals::changed_routes(&self.state, &work.routes);
                let (changed, gone) = some.take().unwrap_or_else(of);
                some = (!last).then(|| (changed.clone(), gone.clone()));
                (false, changed, gone)
            } else {
                continue;
            };
            let message = ToGateway::Routes { routes, whole, changed, gone };
            turn.sends.push(Send::Gateway { link, message });
            if let Some(gateway) = self.state.gateways.get_mut(&link) {
                gateway.sent = routes;
            }
        }
    }
}
