//! Showing: views of services, hosts and decisions, made from the state when asked for.

use super::automation::{show_approval, show_pin};
use super::redundancy::bound;
use super::state::{self, Service};
use super::{Cell, goals, rows, steps};
use crate::check::Severity;
use crate::host;
use crate::id::ServiceId;
use crate::incident::Subject;
use crate::kind::Kind;
use crate::knowing;
use crate::machine::Machine;
use crate::pooler;
use crate::service::{State, shown};
use crate::time::{Span, Time};
use crate::view;

/// A member's part in a word.
const fn role(member: &rows::Member, at: usize) -> &'static str {
    match (at, member.part) {
        (0, _) => "primary",
        (_, rows::Part::Leaves) => "leaving",
        (_, rows::Part::Waits) => "waiting",
        (_, rows::Part::Follows) => "standby",
    }
}

impl Cell {
    /// The newest time it was told, or loaded.
    #[must_use]
    pub fn clock(&self) -> Time {
        self.state.now
    }

    /// Every service, in order of name.
    #[must_use]
    pub fn services(&self, now: Time) -> Vec<view::Service> {
        let services = self.state.by_name.iter().filter_map(|id| self.state.services.get(id));
        services.map(|service| self.show(service, now)).collect()
    }

    /// A service by name.
    #[must_use]
    pub fn service(&self, name: &str, now: Time) -> Option<view::Service> {
        self.state.named(name).map(|service| self.show(service, now))
    }

    /// The packed secret of a service's owner, and the kind that packed it.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<(&'static dyn Kind, &[u8])> {
        let row = &self.state.named(name)?.row;
        Some((goals::kind(&self.setup, row.offer.kind.as_str())?, &row.secret))
    }

    /// Every host, in order of name.
    #[must_use]
    pub fn hosts(&self, now: Time) -> Vec<view::Host> {
        let mut hosts: Vec<view::Host> =
            self.state.hosts.values().map(|host| self.show_host(host, now)).collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts
    }

    /// A host by name.
    #[must_use]
    pub fn host(&self, name: &str, now: Time) -> Option<view::Host> {
        self.state.host_named(name).map(|host| self.show_host(host, now))
    }

    /// The fleet at a glance.
    #[must_use]
    pub fn fleet(&self, now: Time) -> view::Fleet {
        let count = |state: State| {
            let services = self.state.services.values();
            (state, services.filter(|s| shown(s.row.phase, s.row.health) == state).count())
        };
        let gateway = |g: &state::Gateway| view::Gateway {
            name: g.name.clone(),
            address: g.address.clone(),
            pid: g.pid,
            current: g.took >= self.state.row.routes,
            open: g.open,
            heard_ms: now.since(g.heard),
        };
        view::Fleet {
            now,
            posture: self.posture(now).to_string(),
            brake: self.state.row.brake.as_ref().map(|b| format!("{}: {}", b.by, b.reason)),
            services: State::ALL.into_iter().map(count).filter(|(_, n)| *n > 0).collect(),
            hosts: self.hosts(now),
            gateways: self.state.gateways.values().map(gateway).collect(),
            findings: self.alert_findings(now),
        }
    }

    /// Why a service is as it is: the decision is taken anew, by the same function.
    #[must_use]
    pub fn explain(&self, name: &str, now: Time) -> Option<view::Explain> {
        let service = self.state.named(name)?;
        let decision = self.decision(service.row.id, now)?;
        Some(view::Explain {
            service: self.show(service, now),
            observations: self.observations(service, now),
            posture: self.posture(now).to_string(),
            decision_text: self.with_names(&decision.to_string()),
            decision,
        })
    }

    /// Host ids in a sentence replaced by names, longest ids first.
    fn with_names(&self, text: &str) -> String {
        text.split(' ')
            .map(|word| {
                let bare = word.trim_end_matches(|c: char| !c.is_ascii_digit());
                let host = self.state.hosts.values().rev().find(|h| h.row.id.to_string() == bare);
                match host {
                    Some(host) => format!("{}{}", host.row.name, &word[bare.len()..]),
                    None => word.to_owned(),
                }
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn observations(&self, service: &Service, now: Time) -> Vec<view::Observation> {
        let mut seen = Vec::new();
        for (member, report) in service.row.members.iter().zip(&service.seen) {
            let Some(host) = self.state.hosts.get(&member.host) else { continue };
            let by = |ago: Time, text: String| view::Observation {
                by: "controller".to_owned(),
                subject: format!("host {}", host.row.name),
                text,
                ago_ms: now.since(ago),
            };
            seen.push(match host.heard {
                Some(heard) => {
                    by(heard, format!("its agent was heard; the host is {}", host.state))
                }
                None => by(self.state.began, "its agent was never heard by this controller".into()),
            });
            let Some(report) = report else { continue };
            let proven = if report.write_proven { ", a write was proven" } else { "" };
            let trouble = report.rare.as_ref().and_then(|r| r.trouble.as_deref());
            let trouble = trouble.map_or(String::new(), |words| format!(", last trouble: {words}"));
            seen.push(view::Observation {
                by: format!("agent of {}", host.row.name),
                subject: format!("member {}", member.id),
                text: format!(
                    "{}{proven}, goal {}/{} applied, {} deaths{trouble}",
                    report.state, report.applied.0, report.applied.1, report.deaths
                ),
                ago_ms: now.since(report.since),
            });
        }
        let sightings = service.doubt.as_ref().map_or(&[][..], |doubt| &doubt.sightings);
        seen.extend(sightings.iter().map(|sighting| view::Observation {
            by: format!("witness {}", self.state.host_name(sighting.vantage)),
            subject: format!("member {}", service.row.primary().id),
            text: self.with_names(&knowing::describe(sighting, now)),
            ago_ms: now.since(sighting.last),
        }));
        seen
    }

    fn show(&self, service: &Service, now: Time) -> view::Service {
        let row = &service.row;
        let (kind, _) = goals::plan(&self.setup, row);
        let address = self.state.row.endpoints.as_ref().filter(|_| row.open);
        let url = address.map(|address| {
            let (scheme, name) = (kind.scheme(), row.owner());
            format!("{scheme}://{name}@{address}:{}/{name}", row.endpoint_port)
        });
        view::Service {
            id: row.id,
            name: row.name.as_str().to_owned(),
            kind: row.offer.kind.to_string(),
            plan: row.offer.plan.to_string(),
            state: shown(row.phase, row.health),
            phase: row.phase,
            health: row.health,
            since_ms: now.since(row.since),
            term: row.term,
            url,
            endpoint_port: row.endpoint_port,
            pooled_port: Some(row.pooled_port).filter(|port| *port != 0),
            members: (0..row.members.len()).map(|at| self.show_member(service, at)).collect(),
            operation: row
                .operation
                .as_ref()
                .map(|o| steps::show(o, self.missing(service, o, now), now)),
            failover: self.show_failover(service),
            backup: self.show_backup(service, now),
            import: self.show_import(service),
            owner: row.owner().to_owned(),
            incident: self.current_incident(Subject::Service(row.id)),
            findings: self.findings(row.id, now),
            pin: show_pin(row, now),
            approval: show_approval(row, now),
        }
    }

    fn show_member(&self, service: &Service, at: usize) -> view::Member {
        let member = &service.row.members[at];
        let seen = service.seen[at].as_ref();
        let host = self.state.hosts.get(&member.host);
        let own = seen.and_then(|s| s.rare.as_ref()).and_then(|r| r.data_dir.clone());
        let usual = host.and_then(|h| h.data_dirs.as_ref());
        let number = member.id.0.to_string();
        view::Member {
            id: member.id,
            host: self.state.host_name(member.host).to_owned(),
            role: role(member, at).to_owned(),
            state: seen.map(|s| s.state),
            pid: seen.map(|s| s.pid).filter(|pid| *pid > 0),
            address: host.map_or_else(String::new, |h| h.row.address.clone()),
            port: member.port,
            data_dir: seen.and(own.or_else(|| usual.map(|u| u.replacen("{}", &number, 1)))),
            image: self
                .state
                .row
                .images
                .get(usize::from(member.image))
                .cloned()
                .unwrap_or_default(),
            incarnation: member.incarnation,
            goal: member.version(),
            applied: seen.map(|s| s.applied),
            deaths: seen.map_or(0, |s| s.deaths),
            trouble: seen.and_then(|s| s.rare.as_ref()).and_then(|r| r.trouble.clone()),
            lag_bytes: service.lag(member.copy()),
            sync: at > 0
                && service.row.promise.as_ref().is_some_and(|p| p.set.names(member.copy())),
            disk: seen.and_then(|s| s.archive.as_ref()?.disk).map(|disk| view::Disk {
                level: disk.level,
                total_bytes: disk.total,
                free_bytes: disk.free,
                full_in_seconds: disk.full_in.map(|span| span.0 / 1000),
            }),
        }
    }

    /// What is not as it should be about a service: its members' checks, and its own life.
    pub(super) fn findings(&self, id: ServiceId, now: Time) -> Vec<view::Finding> {
        let Some(service) = self.state.services.get(&id) else { return Vec::new() };
        let row = &service.row;
        let name = format!("service {}", row.name);
        let mut found = Vec::new();
        let mut add = |check: &str, severity, subject: &str, evidence: String, since: Span| {
            found.push(view::Finding {
                check: check.to_owned(),
                severity,
                subject: subject.to_owned(),
                evidence,
                since_ms: since,
            });
        };
        let since = now.since(row.since);
        if row.paged {
            let text = format!("{} for {since}; a person was told", shown(row.phase, row.health));
            add("state-lasts", Severity::Page, &name, text, since);
        }
        if let Some(operation) = row.operation.as_ref().filter(|o| o.paged) {
            let text = format!("{} is late at \"{}\"", operation.spec().name, operation.at().name);
            add("operation-late", Severity::Page, &name, text, now.since(operation.begun));
        }
        for (check, severity, text) in self.endpoint_findings(row) {
            add(check, severity, &name, text, since);
        }
        if let Some((check, severity, text)) = Self::import_finding(row) {
            add(check, severity, &name, text, since);
        }
        for (check, severity, text, since) in self.archive_findings(service, now) {
            add(check, severity, &name, text, since);
        }
        for (check, severity, text, since) in self.upkeep_findings(service, now) {
            add(check, severity, &name, text, since);
        }
        let lacks = service.lacks.as_deref().copied().unwrap_or_default();
        if let Some(promise) = &row.promise {
            if let Err(missing) = self.safe(service, promise) {
                let since = lacks.member.or(lacks.counted).map_or(since, |at| now.since(at));
                add("failover-safe", Severity::Critical, &name, missing.to_string(), since);
            }
            if let Some(at) = lacks.acks {
                let text =
                    format!("commits wait for {}, and too few of them are there", promise.set);
                add("commits-wait", Severity::Critical, &name, text, now.since(at));
            }
            if let Some(at) = lacks.member {
                let text = "a member does not follow its primary".to_owned();
                add("redundant", Severity::Warning, &name, text, now.since(at));
            }
        }
        for (member, seen) in row.members.iter().zip(&service.seen) {
            let subject = format!("member {}", member.id);
            let host = self.state.hosts.get(&member.host);
            if let Some(host) = host.filter(|h| h.state != host::State::Up) {
                let silent = now.since(host.heard.unwrap_or(self.state.began));
                let text =
                    format!("the agent of {} is silent; it is {}", host.row.name, host.state);
                add("agent-heard", Severity::Warning, &subject, text, silent);
            }
            let Some(seen) = seen else { continue };
            let since = now.since(seen.since);
            if let Some(refusal) = seen.rare.as_ref().and_then(|r| r.refused.as_ref()) {
                add("goal-accepted", Severity::Critical, &subject, refusal.to_string(), since);
            }
            for check in seen.checks.iter().flat_map(|checks| checks.iter()) {
                add(&check.check, check.severity, &subject, check.evidence.clone(), since);
            }
        }
        found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        found
    }

    /// What is not as it should be about a service's endpoints.
    fn endpoint_findings(&self, row: &rows::Service) -> Vec<(&'static str, Severity, String)> {
        let mut found = Vec::new();
        if row.open && self.state.gateways.is_empty() {
            let text = "no gateway is heard: the endpoint may not be open".to_owned();
            found.push(("gateway-heard", Severity::Warning, text));
        }
        for gateway in self.state.gateways.values() {
            let failed = gateway.failed.iter().find(|(port, _)| *port == row.endpoint_port);
            if let Some((port, why)) = failed {
                let text = format!("gateway {} cannot listen on {port}: {why}", gateway.name);
                found.push(("endpoint-listens", Severity::Critical, text));
            }
        }
        for (host, known) in &self.state.poolers {
            let Some(news) = known.get(&row.id) else { continue };
            if let pooler::State::Failed(why) = &news.state {
                let host = self.state.host_name(*host);
                let text = format!("its pooler on {host} does not run: {why}");
                found.push(("pooled-endpoint", Severity::Warning, text));
            }
        }
        found
    }

    /// What a failover would come to, with the numbers it rests on.
    fn show_failover(&self, service: &Service) -> Option<view::Failover> {
        let promise = service.row.promise.as_ref()?;
        let there = self.answering(service);
        let safe = self.safe(service, promise);
        let loss = goals::plan(&self.setup, &service.row).1.loss;
        let because = match &safe {
            Err(missing) => missing.to_string(),
            Ok(()) if loss.is_some() => {
                let near = self.forgivable(service).unwrap_or_default();
                let near: Vec<String> = near.iter().map(ToString::to_string).collect();
                format!("{} was near enough when the primary was heard last", near.join(", "))
            }
            Ok(()) => {
                let (n, k) = (promise.set.standbys().len(), usize::from(promise.set.acks()));
                let reached = there.iter().filter(|copy| promise.set.names(**copy)).count();
                format!("n={n}, k={k}, reached {reached}, need {}", n + 1 - k)
            }
        };
        Some(view::Failover { safe_now: safe.is_ok(), because, cost: loss.map(bound) })
    }

    fn show_host(&self, host: &state::Host, now: Time) -> view::Host {
        let hello = host.hello.as_ref();
        let subject = format!("host {}", host.row.name);
        let mut findings: Vec<view::Finding> = hello
            .map_or(&[][..], |h| &h.checks)
            .iter()
            .map(|check| view::Finding {
                check: check.check.clone(),
                severity: check.severity,
                subject: subject.clone(),
                evidence: check.evidence.clone(),
                since_ms: now.since(host.checks_since),
            })
            .collect();
        let silent = now.since(host.heard.unwrap_or(self.state.began));
        if let Some(limit) = host::Machine::deadline(host.state).filter(|limit| silent > *limit) {
            findings.push(view::Finding {
                check: "host-heard".to_owned(),
                severity: Severity::Page,
                subject: subject.clone(),
                evidence: format!("{} for longer than {limit}", host.state),
                since_ms: silent,
            });
        }
        if !host.strays.is_empty() {
            let strays: Vec<String> = host.strays.iter().map(ToString::to_string).collect();
            findings.push(view::Finding {
                check: "stray-members".to_owned(),
                severity: Severity::Warning,
                subject,
                evidence: format!(
                    "{} belong to no service; they are left alone",
                    strays.join(", ")
                ),
                since_ms: Span(0),
            });
        }
        view::Host {
            id: host.row.id,
            name: host.row.name.clone(),
            zone: host.row.zone.clone(),
            address: host.row.address.clone(),
            state: host.state,
            pid: hello.map(|h| h.pid).filter(|_| host.link.is_some()),
            release: hello.map_or_else(String::new, |h| h.release.clone()),
            image: hello.and_then(|h| h.image.clone()),
            members: host.members.len(),
            heard_ms: host.heard.map(|heard| now.since(heard)),
            draining: host.row.draining,
            operation: self.show_host_operation(host),
            findings,
        }
    }
}
