//! Showing: views of services, hosts and decisions, made from the state when asked for.

use super::automation::{show_approval, show_pin};
use super::redundancy::bound;
use super::state::{self, Service};
use super::{Cell, goals, rows, steps};
use crate::incident::Subject;
use crate::kind::Kind;
use crate::knowing;
use crate::service::{State, shown};
use crate::thresholds::Thresholds;
use crate::time::Time;
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

    /// What checks go by.
    #[must_use]
    pub const fn thresholds(&self) -> &Thresholds {
        &self.setup.policy.checks
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
        self.state.named(name).map(|service| self.show_whole(service, now))
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
            began: self.state.began,
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
            service: self.show_whole(service, now),
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

    /// A service, with what keeps remedies from running for it.
    fn show_whole(&self, service: &Service, now: Time) -> view::Service {
        let held = self.held_back(service.row.id, now);
        let held = held.iter().map(|reason| self.with_names(&reason.to_string())).collect();
        view::Service { held, ..self.show(service, now) }
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
            findings: self.findings(service, now),
            pin: show_pin(row, now),
            approval: show_approval(row, now),
            held: Vec::new(),
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
        view::Host {
            id: host.row.id,
            name: host.row.name.clone(),
            zone: host.row.zone.clone(),
            rack: host.row.rack.clone(),
            address: host.row.address.clone(),
            state: host.state,
            pid: hello.map(|h| h.pid).filter(|_| host.link.is_some()),
            release: hello.map_or_else(String::new, |h| h.release.clone()),
            image: hello.and_then(|h| h.image.clone()),
            version: hello.and_then(|h| h.version.clone()),
            members: host.members.len(),
            heard_ms: host.heard.map(|heard| now.since(heard)),
            draining: host.row.draining,
            operation: self.show_host_operation(host),
            findings: self.host_findings(host, now),
        }
    }
}
