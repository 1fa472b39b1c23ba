//! Learning: what agents and gateways say becomes soft state. Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::format_smolstr;

use super::compact::Sorted;
use super::state::{Gateway, Rare, Seen, Service};
use super::turn::Work;
use super::{Beat, Cell, Entry, Link, Send, rows};
use crate::agent::Every;
use crate::alert::IncidentId;
use crate::check;
use crate::host;
use crate::id::{HostId, MemberId, ServiceId};
use crate::journal::Topic;
use crate::pooler;
use crate::report::{self, Answer, FromAgent, Hello, Mark, Member, ToAgent};
use crate::route::{FromGateway, ToGateway};
use crate::time::Span;

/// Beats in a row that must not fit before everything is asked for: a report and the beat that
/// covers it may come in one window in either order.
const MISFITS_MAX: u8 = 2;
/// Longest absence an agent may announce.
const ABSENCE_MAX: Span = Span::mins(10);

impl Cell {
    /// Takes one entry in.
    pub(super) fn learn(&mut self, entry: &Entry, work: &mut Work) {
        match entry {
            Entry::Order { ticket, by, order } => {
                let result = self.order(by, order, work);
                work.sends.push(Send::Reply { ticket: *ticket, result });
            }
            Entry::Agent { link, message } => self.agent_said(*link, message, work),
            Entry::AgentClosed { link } => self.agent_closed(*link, work),
            Entry::Beats(beats) => beats.iter().for_each(|beat| self.beat(beat, work)),
            Entry::Gateway { link, message } => self.gateway_said(*link, message, work),
            Entry::GatewayClosed { link } => {
                if self.state.gateways.remove(link).is_some() {
                    work.services.extend(self.state.busy.iter().copied());
                }
            }
            Entry::Chain(chain) => self.learn_chain(chain, work),
            Entry::Told(told) => self.learn_told(told, work),
            Entry::ClockJumped { by_ms } => {
                let text = format!(
                    "the machine's clock jumped by {by_ms} ms; decisions rest on the cell's own \
                     clock and are not moved by it"
                );
                work.note(Topic::Fleet, "fleet", text, Vec::new());
            }
        }
    }

    fn agent_said(&mut self, link: Link, message: &FromAgent, work: &mut Work) {
        if let FromAgent::Hello(hello) = message {
            return self.hello(link, hello, work);
        }
        match message {
            FromAgent::Kept(kept) => return self.shown(link, kept, work),
            FromAgent::Unconvinced { reason } => return self.unconvinced(link, reason, work),
            _ => {}
        }
        // A stream that was replaced, or never said hello, has no say.
        let Some(&id) = self.state.links.get(&link) else { return };
        self.heard(id, work);
        match message {
            FromAgent::Hello(_) | FromAgent::Kept(_) | FromAgent::Unconvinced { .. } => {}
            FromAgent::Beat { number, digest, answer } => {
                let beat = Beat { link, number: *number, digest: *digest, answer: *answer };
                self.beat(&beat, work);
            }
            FromAgent::Members { whole, members, marks } => {
                self.members(id, *whole, (members, marks), work)
            }
            FromAgent::Host { checks, image, version } => {
                self.learn_version(image.as_deref(), version.as_deref(), work);
                self.host_checks(id, checks, image.clone(), work);
            }
            FromAgent::Answers(answers) => self.answers(id, answers, work),
            FromAgent::Poolers(news) => self.poolers(id, news, work),
            FromAgent::Absence { until_back, reason } => {
                let until = work.now + (*until_back).min(ABSENCE_MAX);
                let text = format!("its agent will be away for at most {until_back}: {reason}");
                if let Some(host) = self.state.hosts.get_mut(&id) {
                    host.absent_until = Some(until);
                    work.note(Topic::Fleet, &host.row.name.clone(), text, Vec::new());
                }
            }
        }
    }

    fn hello(&mut self, link: Link, hello: &Hello, work: &mut Work) {
        if self.asks_to_show(link, hello, work) {
            return;
        }
        if let Some(reason) = self.unwelcome(hello, work) {
            let message = ToAgent::Refused { reason };
            work.sends.push(Send::Agent { link, message });
            work.sends.push(Send::Close { link });
            return;
        }
        let id = match self.state.host_named(&hello.host) {
            Some(host) => host.row.id,
            None => self.join(hello, work),
        };
        self.attach(id, link, hello, work);
        self.welcome(id, link, work);
    }

    /// A host's agent speaks on this stream from now on.
    pub(super) fn attach(&mut self, id: HostId, link: Link, hello: &Hello, work: &mut Work) {
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        let first = host.heard.is_none();
        if let Some(old) = host.link.replace(link) {
            self.state.links.remove(&old);
            work.sends.push(Send::Close { link: old });
        }
        self.state.links.insert(link, id);
        host.hello = Some(Box::new(hello.clone()));
        (host.marks, host.digest, host.misfits, host.whole) = (Sorted::default(), None, 0, false);
        (host.absent_until, host.left, host.heard_since) = (None, None, work.now);
        // What it says of itself may be other than before.
        work.hosts.insert(id);
        // What may go only while its host is heard without a break is looked at again.
        let busy: Vec<ServiceId> =
            self.services_on(id).filter(|service| self.state.busy.contains(service)).collect();
        work.services.extend(busy);
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        match hello.poolers {
            true => drop(self.state.poolers.insert(id, BTreeMap::new())),
            false => drop(self.state.poolers.remove(&id)),
        }
        let moved = host.row.address != hello.address || host.row.zone != hello.zone;
        if moved || host.row.rack != hello.rack {
            host.row.address.clone_from(&hello.address);
            host.row.zone.clone_from(&hello.zone);
            host.row.rack.clone_from(&hello.rack);
            work.record_host(id);
        }
        self.learn_version(hello.image.as_deref(), hello.version.as_deref(), work);
        if (moved || first) && !self.recovers() {
            let services: BTreeSet<_> = self.services_on(id).collect();
            // A newer release may want more of members than the one that wrote the rows.
            let ordered = |id: &ServiceId| {
                self.state.services.get(id).is_some_and(|s| s.row.primary().revision.0 > 0)
            };
            let settled: Vec<_> =
                services.iter().copied().filter(|id| moved || ordered(id)).collect();
            settled.into_iter().for_each(|service| self.settle(service, work));
            if moved {
                work.routes.extend(services);
            }
        }
        self.heard(id, work);
    }

    /// Keeps which release is in an image: what runs from it is of that version.
    fn learn_version(&mut self, image: Option<&str>, version: Option<&str>, work: &mut Work) {
        let Some((image, version)) = image.zip(version) else { return };
        let versions = &mut self.state.row.versions;
        if versions.get(image).is_none_or(|known| known != version) {
            versions.insert(image.to_owned(), version.to_owned());
            work.cell = true;
        }
    }

    /// Welcomes a host: from now on it obeys, and gets its goals.
    pub(super) fn welcome(&mut self, id: HostId, link: Link, work: &mut Work) {
        let Some(host) = self.state.hosts.get(&id) else { return };
        let succession = host.hello.as_deref().and_then(|hello| self.succession(hello));
        let message = ToAgent::Welcome {
            host: id,
            store: (self.setup.store.clone(), self.state.row.sequence),
            beat: self.setup.policy.beat,
            checks: Box::new(self.setup.policy.checks.clone()),
            starts_max: self.setup.policy.host_starts_max,
            seal: self.seal(&host.row.name),
            succession,
        };
        work.sends.push(Send::Agent { link, message });
        work.whole.insert(id);
        // Gateways wait for the first: a store that its hosts left must not lead clients anywhere.
        work.gateways.extend(self.state.gateways.keys().copied());
    }

    /// Why an agent's stream is not taken.
    fn unwelcome(&mut self, hello: &Hello, work: &mut Work) -> Option<String> {
        if let Some(waits) = self.awaits() {
            return Some(format!(
                "this control plane is being recovered ({waits}); what joins anew does so afterwards"
            ));
        }
        let (store, sequence) = hello.store.as_ref()?;
        if *store != self.setup.store {
            if self.state.host_named(&hello.host).is_some() {
                self.left_for(&hello.host, store, work);
            }
            return Some(format!(
                "host {} belongs to another control plane (store {}); start its agent with a \
                 directory of its own, or point it at the controller it belongs to",
                hello.host, store.0
            ));
        }
        if *sequence <= self.state.row.sequence {
            return None;
        }
        if !std::mem::replace(&mut self.state.restored, true) {
            let text = format!(
                "host {} has seen record {sequence} of this store, which holds only {}: the store \
                 was put back to an older state; nothing is ordered until a person has looked",
                hello.host, self.state.row.sequence
            );
            work.note(Topic::Fleet, "fleet", text, Vec::new());
        }
        Some("this controller's store is older than what this agent has seen of it".to_owned())
    }

    fn join(&mut self, hello: &Hello, work: &mut Work) -> HostId {
        self.state.row.hosts = self.state.row.hosts.next();
        let id = self.state.row.hosts;
        let row = rows::Host {
            id,
            name: hello.host.clone(),
            zone: hello.zone.clone(),
            rack: hello.rack.clone(),
            address: hello.address.clone(),
            draining: false,
            operation: None,
            incident: IncidentId(0),
            findings: rows::Findings::new(),
        };
        let rack = row.rack.as_ref().map_or_else(String::new, |rack| format!(", rack {rack},"));
        let text = format!("joined in zone {}{rack} at {}", row.zone, row.address);
        work.note(Topic::Fleet, &row.name, text, Vec::new());
        work.record_host(id);
        self.state.add_host(row);
        id
    }

    /// A host was heard just now.
    fn heard(&mut self, id: HostId, work: &mut Work) {
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        if host.heard.replace(work.now).is_none() {
            self.state.dialled = work.now;
        }
        if host.state != host::State::Up {
            self.host_event(id, host::Event::Heard, Vec::new(), work);
            let due = work.now + self.setup.policy.late_after();
            self.state.timers.late(id, due);
        }
    }

    fn agent_closed(&mut self, link: Link, work: &mut Work) {
        self.state.recovery.asked.remove(&link);
        let Some(id) = self.state.links.remove(&link) else { return };
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        host.link = None;
        let late = self.setup.policy.late_after();
        let heard = host.heard.is_some_and(|heard| work.now < heard + late);
        host.left = (heard && host.state == host::State::Up).then_some(work.now);
        work.hosts.insert(id);
    }

    fn beat(&mut self, beat: &Beat, work: &mut Work) {
        let Some(&id) = self.state.links.get(&beat.link) else { return };
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        let digest =
            *host.digest.get_or_insert_with(|| report::digest_of(host.marks.values().copied()));
        let fits = digest == beat.digest;
        if fits && !beat.answer && host.state == host::State::Up && host.heard.is_some() {
            // Nearly every beat is this one.
            (host.heard, host.misfits) = (Some(work.now), 0);
            return;
        }
        self.heard(id, work);
        if beat.answer {
            let message = ToAgent::Heard { number: beat.number };
            work.sends.push(Send::Agent { link: beat.link, message });
        }
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        if fits {
            host.misfits = 0;
            return;
        }
        host.misfits += 1;
        if host.misfits >= MISFITS_MAX {
            host.misfits = 0;
            work.sends.push(Send::Agent { link: beat.link, message: ToAgent::SendAll });
        }
    }

    fn members(
        &mut self,
        id: HostId,
        whole: bool,
        (members, marks): (&[Member], &[Mark]),
        work: &mut Work,
    ) {
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        host.digest = None;
        let first = whole && !host.whole;
        if whole {
            host.marks.clear();
            host.strays.clear();
            host.whole = true;
        }
        for (at, member) in members.iter().enumerate() {
            let mark = marks.get(at).copied().unwrap_or_else(|| report::mark(member));
            host.marks.insert(member.member, mark);
        }
        if whole {
            let named: BTreeSet<MemberId> = members.iter().map(|m| m.member).collect();
            let missing: Vec<MemberId> =
                host.members.iter().filter(|id| !named.contains(id)).copied().collect();
            missing.into_iter().for_each(|member| self.unseen(member, work));
        }
        if first {
            // From now on its word counts, though it may be what it was before.
            let busy = |id: &ServiceId| self.state.services.get(id).is_some_and(|s| !s.is_quiet());
            work.services.extend(self.services_on(id).filter(busy));
        }
        members.iter().for_each(|member| self.member(id, member, work));
    }

    /// Its agent has nothing of a member.
    fn unseen(&mut self, member: MemberId, work: &mut Work) {
        let Some(&id) = self.state.of_member.get(&member) else { return };
        let Some(service) = self.state.services.get_mut(&id) else { return };
        if let Some(at) = service.row.members.iter().position(|m| m.id == member) {
            service.seen[at] = None;
        }
        work.services.insert(id);
    }

    fn member(&mut self, host: HostId, report: &Member, work: &mut Work) {
        let id = self.state.of_member.get(&report.member).copied();
        let at = id.and_then(|id| self.state.services.get(&id)).and_then(|service| {
            let place = |m: &rows::Member| m.id == report.member && m.host == host;
            service.row.members.iter().position(place)
        });
        let (Some(id), Some(at)) = (id, at) else {
            if let Some(host) = self.state.hosts.get_mut(&host)
                && !host.strays.contains(&report.member)
            {
                host.strays.push(report.member);
            }
            return;
        };
        let checks = self.state.shared(report.checks.clone());
        let archive = self.state.alike(report.archive.as_deref());
        let data_dir = self.data_dir(host, report);
        // Of a pace that nobody asks at, nobody keeps that nothing was read.
        let every = Every::of(&self.setup.policy.checks);
        let mut unread = report.unread.clone();
        unread.paces.retain(|pace| every.at(*pace) > Span(0));
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let rare = Rare {
            trouble: report.trouble.clone(),
            refused: report.refused.clone(),
            data_dir,
            import: report.import.clone(),
            script: report.script.clone(),
            unread,
        };
        let before = service.seen[at].take();
        if at == 0 && before.as_ref().is_some_and(|seen| seen.deaths < report.deaths) {
            work.died.insert(id);
        }
        if report.replication.as_ref().is_some_and(|r| r.asks) {
            work.goals.insert(report.member);
        }
        tell_changes(service, before.as_ref(), report, work);
        let same_state = before.as_ref().filter(|seen| seen.state == report.state);
        service.seen[at] = Some(Seen {
            state: report.state,
            write_proven: report.write_proven,
            port_taken: report.port_taken,
            incarnation: report.incarnation,
            pid: report.pid.unwrap_or(0),
            restarts: report.restarts,
            deaths: report.deaths,
            applied: report.applied,
            since: same_state.map_or(work.now, |seen| seen.since),
            checks,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            replication: report.replication.clone(),
            archive,
        });
        let moves = before.as_ref().zip(service.seen[at].as_ref()).is_none_or(|(b, n)| moves(b, n));
        self.keep_findings(id, report, before.as_ref(), work);
        self.note_behind(id);
        self.note_failing(id, work.now);
        self.wake_forks(id, work);
        if moves {
            work.services.insert(id);
        }
    }

    /// A member's directory, where it is not where its host's others are.
    fn data_dir(&mut self, host: HostId, report: &Member) -> Option<String> {
        let number = format_smolstr!("{}", report.member.0);
        let pattern = || match report.data_dir.rsplit_once(number.as_str()) {
            Some((before, after)) => format!("{before}{{}}{after}"),
            None => report.data_dir.clone(),
        };
        let host = self.state.hosts.get_mut(&host)?;
        let usual = host.data_dirs.get_or_insert_with(pattern);
        let same = match usual.split_once("{}") {
            Some((before, after)) => {
                let rest = report.data_dir.strip_prefix(before);
                rest.and_then(|rest| rest.strip_suffix(after)) == Some(number.as_str())
            }
            None => *usual == report.data_dir,
        };
        (!same).then(|| report.data_dir.clone())
    }

    fn host_checks(
        &mut self,
        id: HostId,
        checks: &[check::Result],
        image: Option<String>,
        work: &mut Work,
    ) {
        self.keep_host_findings(id, checks, work);
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        let Some(hello) = host.hello.as_mut() else { return };
        hello.image = image;
        if hello.checks != checks {
            hello.checks = checks.to_vec();
            work.hosts.insert(id);
        }
    }

    fn answers(&mut self, vantage: HostId, answers: &[Answer], work: &mut Work) {
        for answer in answers {
            let Some(&id) = self.state.of_member.get(&answer.member) else { continue };
            let Some(service) = self.state.services.get_mut(&id) else { continue };
            let Some(doubt) = service.doubt.as_mut() else { continue };
            // An answer to a question of an earlier doubt says nothing about this one.
            if answer.id < doubt.first || service.row.primary().id != answer.member {
                continue;
            }
            doubt.saw(vantage, answer.sight, work.now);
            let weighed = doubt.weighed;
            let Some(service) = self.state.services.get(&id) else { continue };
            // One more that says the same is kept, and nothing is decided anew.
            if self.verdict(service, work.now).map(|verdict| verdict.word()) != weighed {
                work.services.insert(id);
            }
        }
    }

    /// Poolers that simply serve are not remembered: there are many.
    fn poolers(&mut self, id: HostId, news: &[pooler::News], work: &mut Work) {
        let Some(known) = self.state.poolers.get_mut(&id) else { return };
        for news in news {
            match news.state {
                pooler::State::Serving => drop(known.remove(&news.service)),
                _ => drop(known.insert(news.service, news.clone())),
            }
            work.services.insert(news.service);
        }
    }

    fn gateway_said(&mut self, link: Link, message: &FromGateway, work: &mut Work) {
        match message {
            FromGateway::Hello { gateway, address, pid, routes } => {
                let old = self.state.gateways.iter().find(|(_, g)| g.name == *gateway);
                if let Some(&old) = old.map(|(old, _)| old) {
                    self.state.gateways.remove(&old);
                    work.sends.push(Send::Close { link: old });
                }
                // A gateway that holds later routes than this store gets still later ones.
                if *routes > self.state.row.routes {
                    self.state.row.routes = *routes;
                    work.new_routes = true;
                }
                if self.state.row.endpoints.as_ref() != Some(address) {
                    self.state.row.endpoints = Some(address.clone());
                    work.cell = true;
                }
                let known = Gateway {
                    name: gateway.clone(),
                    address: address.clone(),
                    pid: *pid,
                    took: 0,
                    sent: 0,
                    failed: Vec::new(),
                    open: 0,
                    heard: work.now,
                };
                self.state.gateways.insert(link, known);
                work.gateways.insert(link);
            }
            FromGateway::Took { routes, failed } => {
                if let Some(gateway) = self.state.gateways.get_mut(&link) {
                    gateway.took = *routes;
                    gateway.failed.clone_from(failed);
                    gateway.heard = work.now;
                }
                work.services.extend(self.state.busy.iter().copied());
                self.unlistened(failed, work);
            }
            FromGateway::Beat { open, .. } => match self.state.gateways.get_mut(&link) {
                Some(gateway) => (gateway.open, gateway.heard) = (*open, work.now),
                None => {
                    let reason = "say hello first".to_owned();
                    work.sends.push(Send::Gateway { link, message: ToGateway::Refused { reason } });
                }
            },
        }
    }
}

/// Whether anything may be decided anew, now that a member is seen so: not for how much of its log waits.
fn moves(before: &Seen, now: &Seen) -> bool {
    let waits = before.archive.as_deref().zip(now.archive.as_deref());
    let waits = waits.is_some_and(|(before, now)| now.waits_as(before));
    !waits || !now.is_but_for_archive(before)
}

/// Tells the journal what changed about a member.
fn tell_changes(service: &Service, before: Option<&Seen>, now: &Member, work: &mut Work) {
    let name = service.row.name.as_str();
    let was = before.map(|seen| seen.state);
    if was != Some(now.state) {
        let from = was.map_or("unknown", crate::member::State::as_str);
        let text = format!("member {}: {from} -> {}", now.member, now.state);
        work.note(Topic::Transition, name, text, now.trouble.iter().cloned().collect());
    }
    if let Some(refusal) = &now.refused
        && before.and_then(|b| b.rare.as_ref()).and_then(|r| r.refused.as_ref()) != Some(refusal)
    {
        let text = format!("member {} refuses its goal: {refusal}", now.member);
        work.note(Topic::Operation, name, text, Vec::new());
    }
    let fenced = |r: &report::Replication| r.fenced;
    let before_that = before.and_then(|seen| seen.replication.as_deref());
    if now.replication.as_deref().is_some_and(fenced) && !before_that.is_some_and(fenced) {
        let text = format!(
            "member {}: it heard neither its controller nor a standby, and stopped taking writes",
            now.member
        );
        work.note(Topic::Operation, name, text, Vec::new());
    }
    let discarded = |r: &report::Replication| r.discarded;
    let set_aside = now.replication.as_deref().and_then(discarded);
    let known = before.and_then(|b| b.replication.as_deref()).and_then(discarded);
    if let Some(bytes) = set_aside.filter(|_| known != set_aside) {
        let text = format!(
            "member {}: {bytes} bytes of log that its primary does not have were set aside",
            now.member
        );
        work.note(Topic::Operation, name, text, Vec::new());
    }
}
