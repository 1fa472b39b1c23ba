//! Orders: accepted or refused in the turn they come in.

use std::sync::Arc;

use smallvec::SmallVec;

use super::backups::restore::Wanted;
use super::backups::rows::Archive;
use super::compact::Few;
use super::turn::Work;
use super::{Cell, drills, goals, maintenance, rows, state};
use crate::alert::IncidentId;
use crate::host;
use crate::id::{HostId, MemberId, ServiceId, Term};
use crate::journal::Topic;
use crate::kind::Plan;
use crate::label::Label;
use crate::machine::Machine;
use crate::name::ServiceName;
use crate::operation::{self, Cause, Kind};
use crate::order::{Accepted, Error, Keys, Order};
use crate::placement::{self, Candidate, Closed};
use crate::promise::Promise;
use crate::service::{Health, Phase, phase, shown};

/// Longest subject a journal entry of an order names.
const SUBJECT_MAX_CHARS: usize = 64;
/// Most bytes a packed secret may have.
const SECRET_MAX_BYTES: usize = 256;

impl Cell {
    /// Takes an order; the journal tells of it either way.
    pub(super) fn order(
        &mut self,
        by: &str,
        order: &Order,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let (subject, what) = words(order);
        let result = match order {
            Order::Recovered { hosts } => self.order_end(*hosts, work),
            _ if let Some(error) = self.orders_nothing() => Err(error),
            Order::Create { name, kind, plan, secret, keys } => {
                let offer = (kind.as_str(), plan.as_deref());
                self.install(by, name, offer, secret, keys.as_ref(), work)
            }
            Order::Backup { name, keys } => self.order_job(name, Some(keys), false, work),
            Order::Prove { name } => self.order_job(name, None, true, work),
            Order::GiveUpLog { name, confirm, reason } if name == confirm => {
                self.order_give_up(by, name, reason, work)
            }
            Order::GiveUpLog { name, .. } => Err(match self.state.named(name) {
                Some(_) => Error::Unsure { name: name.clone() },
                None => Error::NoSuchService { name: name.clone() },
            }),
            Order::Fork { source, name, target, secret, keys } => {
                let name = Some(name.as_str());
                self.fork(by, &Wanted { source, name, target, keys, secret }, work)
            }
            Order::Rollback { name, target, keys } => {
                let wanted = Wanted { source: name, name: None, target, keys, secret: &[] };
                self.fork(by, &wanted, work)
            }
            Order::Import { name, kind, plan, import, secret, keys } => {
                let offer = (kind.as_str(), plan.as_deref());
                self.import(by, name, offer, import, (secret, keys), work)
            }
            Order::AddRepository { repository } => self.add_repository(repository, work),
            Order::RemoveRepository { name, confirm } => {
                self.remove_repository(name, confirm, work)
            }
            Order::Restart { name } => self.operate(by, name, Kind::Restart, work),
            Order::Retire { name } => self.operate(by, name, Kind::Retire, work),
            Order::Revive { name, keys } => self.revive(by, name, keys.as_ref(), work),
            Order::Archive { name } => self.order_away(name, work),
            Order::Terminate { name, confirm } => self.terminate(by, name, confirm, work),
            Order::Failover { name, reason } => self.fail_over(by, name, reason, work),
            Order::Switchover { name, to } => self.switch_over(by, name, to.as_deref(), work),
            Order::Level { .. }
            | Order::Pin { .. }
            | Order::Approve { .. }
            | Order::Brake { .. } => self.order_automation(by, order, work),
            Order::Drilled { name, drill, gap_ms, lost, acked, failed } => {
                self.drilled(name, drill, (*gap_ms, *lost, *acked), failed.as_deref(), work)
            }
            Order::Drill { order } => self.order_drill(order, work),
            Order::Maintenance { order } => self.order_maintenance(by, order, work),
            Order::Procedure { .. }
            | Order::BreakGlass { .. }
            | Order::ApproveAct { .. }
            | Order::EndAct { .. }
            | Order::RecordAct { .. } => self.order_act(by, order, work),
            Order::Drain { host } => self.drain(by, host, work),
            Order::Acknowledge { incident, note } => {
                self.acknowledge(by, *incident, note.as_deref(), work)
            }
            Order::TestAlerts => self.test_alerts(work),
            Order::Return { host } => self.take_back(host, work),
            Order::RemoveHost { host } => self.remove_host(host, work),
        };
        self.count_act(by, (subject, what), result.is_ok(), work);
        // What is typed comes word by word: the journal tells of it when the act has ended.
        if !matches!(order, Order::RecordAct { .. }) {
            tell(by, (subject, what), &result, work);
        }
        result
    }

    fn terminate(
        &mut self,
        by: &str,
        name: &str,
        confirm: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        if self.state.named(name).is_none() {
            return Err(Error::NoSuchService { name: name.to_owned() });
        }
        if name != confirm {
            return Err(Error::Unconfirmed { name: name.to_owned() });
        }
        self.operate(by, name, Kind::Terminate, work)
    }

    fn install(
        &mut self,
        by: &str,
        name: &str,
        offer: (&str, Option<&str>),
        secret: &[u8],
        keys: Option<&Keys>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.create(name, offer, secret, keys, work)?;
        self.start(id, Kind::Install, Cause::Order { by: by.into() }, work);
        let members = self.state.services.get(&id).map(|service| service.row.members.clone());
        let hosts = members.iter().flatten().map(|member| self.state.host_name(member.host));
        let on = list(hosts);
        Ok(self.accepted(id, format!("{name} is being installed on {on}")))
    }

    /// Places a new service; its operation is the caller's to start.
    pub(super) fn create(
        &mut self,
        name: &str,
        (kind, plan): (&str, Option<&str>),
        secret: &[u8],
        keys: Option<&Keys>,
        work: &mut Work,
    ) -> Result<ServiceId, Error> {
        let name = ServiceName::new(name)?;
        if self.state.named(name.as_str()).is_some() {
            return Err(Error::NameTaken { name: name.as_str().to_owned() });
        }
        let (kind, plan) = self.kind_and_plan(kind, plan)?;
        if secret.len() > SECRET_MAX_BYTES {
            let why = format!("a secret of {} bytes is too long", secret.len());
            return Err(Error::BadName { why });
        }
        let chosen =
            goals::kind(&self.setup, kind.as_str()).and_then(|found| found.plan(plan.as_str()));
        let archives = chosen.is_some_and(Plan::archives);
        let count = chosen.map_or(1, |plan| plan.members);
        let mut hosts = Vec::new();
        for _ in 0..count {
            let zone = |host| self.state.hosts.get(host).map(|h: &state::Host| h.row.zone.clone());
            let zones: Vec<String> = hosts.iter().filter_map(zone).collect();
            hosts.push(self.place(&hosts, &zones).map_err(|why| Error::Nowhere { why })?);
        }
        let endpoint_port = self.draw_port()?;
        let pooled_port = match chosen.and_then(|plan| plan.pool) {
            Some(_) => self.draw_port()?,
            None => 0,
        };
        self.state.row.services = self.state.row.services.next();
        let mut members = SmallVec::new();
        for host in &hosts {
            let port = self.draw_port()?;
            members.push(self.new_member(*host, port));
        }
        let id = self.state.row.services;
        let promise = (members.len() > 1).then(|| promise(&members));
        let row = rows::Service {
            id,
            name: name.clone(),
            offer: Arc::new(rows::Offer { kind, plan }),
            phase: Phase::Installing,
            health: Health::Uncertain,
            open: false,
            endpoint_port,
            pooled_port,
            since: work.now,
            term: Term(1),
            promise,
            failed_over: false,
            incident: IncidentId(0),
            members,
            secret: secret.into(),
            operation: None,
            few: Few::default(),
            findings: rows::Findings::new(),
            paged: false,
            archive: keys.filter(|_| archives).map(|keys| Box::new(Archive::new(keys))),
        };
        self.state.insert(state::Service::of(row));
        work.cell = true;
        Ok(id)
    }

    /// A host for one member more of a service that has members on some already, zones spread.
    pub(super) fn place(&self, siblings: &[HostId], zones: &[String]) -> Result<HostId, String> {
        let mut candidates = self.candidates();
        for candidate in &mut candidates {
            if candidate.open.is_ok() && siblings.contains(&candidate.host) {
                candidate.open = Err(Closed::Sibling);
            }
        }
        placement::place(&candidates, zones).map_err(|nowhere| self.named_hosts(&nowhere))
    }

    fn kind_and_plan(&self, kind: &str, plan: Option<&str>) -> Result<(Label, Label), Error> {
        let found = goals::kind(&self.setup, kind).ok_or_else(|| Error::NoSuchKind {
            name: kind.to_owned(),
            known: list(self.setup.kinds.iter().map(|k| k.name())),
        })?;
        let plans = found.plans();
        let name = plan.or_else(|| plans.first().map(|p| p.name)).unwrap_or_default();
        let chosen = found.plan(name).ok_or_else(|| Error::NoSuchPlan {
            kind: kind.to_owned(),
            name: name.to_owned(),
            known: list(plans.iter().map(|p| p.name)),
        })?;
        let label = |text: &str| Label::new(text).expect("names of kinds and plans are labels");
        Ok((label(found.name()), label(chosen.name)))
    }

    /// Hosts as placement sees them.
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let max = usize::try_from(self.setup.policy.host_members_max).unwrap_or(usize::MAX);
        let open = |host: &state::Host| {
            let image = host.hello.as_ref().is_some_and(|hello| hello.image.is_some());
            match host.state {
                _ if host.row.draining => Err(Closed::Draining),
                host::State::Up if !image => Err(Closed::NoImage),
                host::State::Up if host.members.len() >= max => Err(Closed::Full),
                host::State::Up => Ok(()),
                _ => Err(Closed::NotUp),
            }
        };
        let all = self.state.hosts.values().map(|host| Candidate {
            host: host.row.id,
            zone: &host.row.zone,
            members: u32::try_from(host.members.len()).unwrap_or(u32::MAX),
            open: open(host),
        });
        all.collect()
    }

    /// A refusal of placement, with hosts by name.
    fn named_hosts(&self, nowhere: &placement::Nowhere) -> String {
        let mut text = nowhere.to_string();
        // Longest ids first, so that h1 is not found inside h11.
        for (id, _) in nowhere.0.iter().rev() {
            text = text.replace(&format!("{id}:"), &format!("{}:", self.state.host_name(*id)));
        }
        text
    }

    /// The place of a host's image among the cell's, added if it is new.
    pub(super) fn image_on(&mut self, host: HostId) -> u16 {
        let hello = self.state.hosts.get(&host).and_then(|h| h.hello.as_ref());
        let image = hello.and_then(|h| h.image.clone()).unwrap_or_default();
        let images = &mut self.state.row.images;
        let at = images.iter().position(|known| *known == image).unwrap_or_else(|| {
            images.push(image);
            images.len() - 1
        });
        u16::try_from(at).expect("a cell does not see 65,536 images")
    }

    /// A port nobody has.
    pub(super) fn draw_port(&mut self) -> Result<u16, Error> {
        let (first, last) = (self.setup.policy.port_first, self.setup.policy.port_last);
        let start = self.state.row.port.clamp(first, last);
        // On from the last one drawn, so that a port just given back is not used at once.
        let free = (start..=last).chain(first..start).find(|p| !self.state.ports.contains(*p));
        let port = free.ok_or(Error::PortsUsedUp { first, last })?;
        self.state.ports.insert(port);
        self.state.row.port = if port == last { first } else { port + 1 };
        Ok(port)
    }

    pub(super) fn operate(
        &mut self,
        by: &str,
        name: &str,
        kind: Kind,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        self.operate_about(by, name, kind, None, work)
    }

    /// Has another member take the primary's place as if it were lost.
    fn fail_over(
        &mut self,
        by: &str,
        name: &str,
        reason: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let service = self.with_standbys(name)?;
        let id = service.row.id;
        if reason.trim().is_empty() {
            return Err(Error::NoReason);
        }
        if let Some(redundancy) = self.redundancy(service, work.now)
            && let Err(missing) = redundancy.safe
        {
            return Err(Error::Unsafe { name: name.to_owned(), why: missing.to_string() });
        }
        let by = format!("{by}: {reason}");
        let accepted = self.operate_about(&by, name, Kind::Failover, None, work)?;
        Ok(self.accepted(id, accepted.text))
    }

    /// Has another member take the primary's place, in order.
    pub(super) fn switch_over(
        &mut self,
        by: &str,
        name: &str,
        to: Option<&str>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let service = self.with_standbys(name)?;
        let member = match to {
            None => None,
            Some(to) => match self.may_take_over(service, to) {
                Some(member) => Some(member),
                None => {
                    return Err(Error::NoSuchStandby {
                        name: name.to_owned(),
                        member: to.to_owned(),
                    });
                }
            },
        };
        let whole = self.redundancy(service, work.now).map(|r| r.safe);
        if let Some(Err(missing)) = whole {
            return Err(Error::Unsafe { name: name.to_owned(), why: missing.to_string() });
        }
        self.operate_about(by, name, Kind::Switchover, member, work)
    }

    pub(super) fn with_standbys(&self, name: &str) -> Result<&state::Service, Error> {
        let service = self.state.named(name);
        let service = service.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        match service.row.promise {
            Some(_) => Ok(service),
            None => Err(Error::NoStandbys { name: name.to_owned() }),
        }
    }

    fn operate_about(
        &mut self,
        by: &str,
        name: &str,
        kind: Kind,
        member: Option<MemberId>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let spec = operation::spec(kind);
        let Some(service) = self.state.named(name) else {
            return Err(Error::NoSuchService { name: name.to_owned() });
        };
        let row = &service.row;
        let id = row.id;
        if let Some(running) = &row.operation
            && !operation::preempts(kind, running.kind)
        {
            return Err(Error::Busy {
                name: name.to_owned(),
                running: running.spec().name.to_owned(),
                operation: running.id,
            });
        }
        let legal = match spec.begins {
            Some(event) => phase::Machine::next(row.phase, event).is_some(),
            None => row.phase == Phase::Serving,
        };
        if !legal {
            return Err(Error::NotNow {
                order: spec.name.to_owned(),
                name: name.to_owned(),
                state: shown(row.phase, row.health),
            });
        }
        self.drop_operation(id, spec.name, work);
        self.start_about(id, kind, Cause::Order { by: by.into() }, member, work);
        Ok(self.accepted(id, spec.story.to_owned()))
    }

    /// An order pushes aside what runs.
    pub(super) fn drop_operation(&mut self, id: ServiceId, for_what: &str, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(dropped) = service.row.operation.take() else { return };
        let host = service.row.primary().host;
        let text = format!("{} {} gives way to {for_what}", dropped.spec().name, dropped.id);
        work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
        if let Some(host) = self.state.hosts.get_mut(&host) {
            host.waiting.remove(&id);
        }
        self.act_heard(id, &dropped, Err(format!("it gave way to {for_what}")), work);
        if dropped.kind == Kind::Import {
            self.end_import(id, work);
        }
        if matches!(dropped.kind, Kind::Switchover | Kind::Failover) {
            // Whoever waited for it waits no more.
            work.routes.insert(id);
        }
        self.release(&dropped, work);
        self.planned_ended(id, dropped.id, false, work);
    }

    pub(super) fn accepted(&self, id: ServiceId, text: String) -> Accepted {
        let service = self.state.services.get(&id);
        let operation = service.and_then(|s| s.row.operation.as_ref()).map(|o| o.id);
        Accepted { service: Some(id), operation, job: None, text }
    }

    fn remove_host(&mut self, name: &str, work: &mut Work) -> Result<Accepted, Error> {
        let Some(host) = self.state.host_named(name) else {
            return Err(Error::NoSuchHost { name: name.to_owned() });
        };
        let (id, members, link) = (host.row.id, host.members.len(), host.link);
        if members > 0 {
            return Err(Error::HostNotEmpty { name: name.to_owned(), members });
        }
        if let Some(link) = link {
            self.state.links.remove(&link);
            work.sends.push(super::Send::Close { link });
        }
        self.host_event(id, host::Event::Remove, Vec::new(), work);
        self.state.remove_host(id);
        self.state.poolers.remove(&id);
        work.record_host(id);
        let text = format!("{name} is forgotten; an agent of that name joins as a new host");
        Ok(Accepted { service: None, operation: None, job: None, text })
    }
}

/// Has the journal tell of an order, whatever became of it.
fn tell(
    by: &str,
    (subject, what): (&str, &str),
    result: &Result<Accepted, Error>,
    work: &mut Work,
) {
    let text = match result {
        Ok(accepted) => format!("{by} ordered {what}: {}", accepted.text),
        Err(error) => format!("{by} ordered {what}, refused: {error}"),
    };
    // A refused name may be anything; a journal is no place for a megabyte of it.
    let subject: String = subject.chars().take(SUBJECT_MAX_CHARS).collect();
    work.note(Topic::Order, &subject, text, Vec::new());
}

/// Whom an order is about, and what it is, in words.
fn words(order: &Order) -> (&str, &'static str) {
    match order {
        Order::Recovered { .. } => ("fleet", "the end of the recovery"),
        Order::Create { name, .. } => (name, "create"),
        Order::Backup { name, .. } => (name, "a backup"),
        Order::Prove { name } => (name, "a proof"),
        Order::GiveUpLog { name, .. } => (name, "that log is given up"),
        Order::Fork { source, .. } => (source, "a fork"),
        Order::Rollback { name, .. } => (name, "a rollback"),
        Order::Import { name, .. } => (name, "an import"),
        Order::AddRepository { repository } => (&repository.name, "a repository"),
        Order::RemoveRepository { name, .. } => (name, "that a repository is removed"),
        Order::Restart { name } => (name, "restart"),
        Order::Retire { name } => (name, "retire"),
        Order::Revive { name, .. } => (name, "revive"),
        Order::Archive { name } => (name, "archive"),
        Order::Terminate { name, .. } => (name, "terminate"),
        Order::Failover { name, .. } => (name, "failover"),
        Order::Switchover { name, .. } => (name, "switchover"),
        Order::Drilled { name, .. } => (name, "a drill"),
        Order::Level { remedy, service, .. } => (service.as_deref().unwrap_or(remedy), "a level"),
        Order::Pin { name, .. } => (name, "a pin"),
        Order::Approve { .. } => ("fleet", "an approval"),
        Order::Brake { .. } => ("fleet", "the brake"),
        Order::Drill { order } => drills::words(order),
        Order::Maintenance { order } => maintenance::words(order),
        Order::Procedure { name, .. } => (name, "a procedure"),
        Order::BreakGlass { glass } => (&glass.service, "break-glass"),
        Order::ApproveAct { .. } => ("fleet", "the approval of break-glass"),
        Order::EndAct { .. } => ("fleet", "the end of an act"),
        Order::RecordAct { .. } => ("fleet", "a recording"),
        Order::Drain { host } => (host, "drain"),
        Order::Acknowledge { .. } => ("incident", "an acknowledgement"),
        Order::TestAlerts => ("fleet", "an exercise of the alert chain"),
        Order::Return { host } => (host, "return"),
        Order::RemoveHost { host } => (host, "removal"),
    }
}

/// What is promised of a new service: its primary alone, until standbys are counted on.
fn promise(members: &[rows::Member]) -> Box<Promise> {
    let mut promise = Promise::alone(members[0].copy());
    members.iter().skip(1).for_each(|member| promise.admit(member.copy()));
    Box::new(promise)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
