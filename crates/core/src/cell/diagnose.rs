//! Diagnosis: every check of a service with what it comes to, those that pass and those that nobody could
//! read among them.

use std::collections::BTreeSet;

use super::findings::is_unread;
use super::state::Service;
use super::{Cell, goals, rows};
use crate::agent::Every;
use crate::check::{Asked, Check, Family, Pace, Severity};
use crate::lifecycle_checks::{LIFECYCLE, Of};
use crate::service::shown;
use crate::time::{Span, Time};
use crate::view::{Diagnosed, Diagnosis, Finding, Light};

impl Cell {
    /// Every check of a service, of its kind, of its life and of its hosts.
    #[must_use]
    pub fn diagnose(&self, name: &str, host_checks: &[&dyn Check], now: Time) -> Option<Diagnosis> {
        let service = self.state.named(name)?;
        let row = &service.row;
        let (kind, _) = goals::plan(&self.setup, row);
        let mut findings = self.findings(service, now);
        let mut checks = Vec::new();
        for check in kind.checks() {
            let found = taken(&mut findings, check.name());
            let (light, text) = judged(&found).unwrap_or_else(|| self.read(service, *check));
            checks.push(diagnosed(check.name(), check.family(), (light, text), found));
        }
        let own = LIFECYCLE.iter().filter(|own| own.of != Of::Host);
        for own in own.filter(|own| !kind.checks().iter().any(|check| check.name() == own.name)) {
            let found = taken(&mut findings, own.name);
            let stands = judged(&found).unwrap_or_else(|| lacks(row, own.of));
            checks.push(diagnosed(own.name, own.family, stands, found));
        }
        self.hosts_of(service, host_checks, now, &mut checks);
        // What is known here by no registry is shown all the same.
        for finding in findings {
            let (check, family) = (finding.check.clone(), finding.family);
            let stands = judged(std::slice::from_ref(&finding));
            let stands = stands.unwrap_or((Light::Yellow, String::new()));
            checks.push(diagnosed(&check, family, stands, vec![finding]));
        }
        checks.sort_by_key(|check| (check.family, check.light));
        let state = shown(row.phase, row.health);
        Some(Diagnosis { service: name.to_owned(), state, checks })
    }

    /// Checks of the hosts that its members are on.
    fn hosts_of(
        &self,
        service: &Service,
        host_checks: &[&dyn Check],
        now: Time,
        checks: &mut Vec<Diagnosed>,
    ) {
        let members = service.row.members.iter().filter(|_| !service.row.is_bare());
        let hosts: Vec<_> = members.filter_map(|m| self.state.hosts.get(&m.host)).collect();
        let silent = hosts.iter().find(|host| host.link.is_none()).map(|host| &host.row.name);
        let found: Vec<Finding> =
            hosts.iter().flat_map(|host| self.host_findings(host, now)).collect();
        let own = LIFECYCLE.iter().filter(|own| own.of == Of::Host).map(|own| own.name);
        let others = found.iter().map(|finding| finding.check.as_str());
        let names: BTreeSet<&str> =
            host_checks.iter().map(|check| check.name()).chain(own).chain(others).collect();
        for name in names {
            let of: Vec<Finding> = found.iter().filter(|f| f.check == name).cloned().collect();
            let stands = judged(&of).unwrap_or_else(|| match (silent, hosts.is_empty()) {
                (_, true) => (Light::NotApplicable, "it is on no host".to_owned()),
                (Some(host), _) => (Light::Unread, format!("the agent of {host} is not heard")),
                (None, _) => (Light::Green, "looked at each 10 s".to_owned()),
            });
            checks.push(diagnosed(name, Family::Host, stands, of));
        }
    }

    /// Whether a check that found nothing was read of every member that is asked.
    fn read(&self, service: &Service, check: &dyn Check) -> (Light, String) {
        if Every::of(&self.setup.policy.checks).at(check.pace()) == Span(0) {
            return (Light::Unread, "no check of its pace is asked, by policy".to_owned());
        }
        let mut asked = 0;
        let mut unread = Vec::new();
        let members = service.row.members.iter().zip(&service.seen).enumerate();
        let members = members.filter(|(_, (member, _))| !service.row.is_bare() && member.stays());
        for (at, (member, seen)) in members {
            let is_asked = match check.asked() {
                Asked::Primary => at == 0,
                Asked::Standbys => at > 0,
                Asked::Everyone => true,
            };
            if !is_asked {
                continue;
            }
            asked += 1;
            let known = seen.as_ref().is_some_and(|seen| {
                let unread = seen.rare.as_ref().map(|rare| &rare.unread);
                let checks = [check];
                seen.state.serves() && !unread.is_some_and(|u| is_unread(u, &checks, check.name()))
            });
            if !known {
                unread.push(member.id.to_string());
            }
        }
        match (asked, unread.is_empty(), check.pace()) {
            (0, ..) => (Light::NotApplicable, "it has no member that this is asked of".to_owned()),
            (_, true, Pace::Often) => (Light::Green, "read each half minute".to_owned()),
            (_, true, Pace::Rarely) => (Light::Green, "read each ten minutes".to_owned()),
            (_, false, _) => (Light::Unread, format!("not read of {}", unread.join(", "))),
        }
    }
}

/// The findings of a check, taken out of all.
fn taken(findings: &mut Vec<Finding>, check: &str) -> Vec<Finding> {
    findings.extract_if(.., |finding| finding.check == check).collect()
}

/// What findings come to, worst first.
fn judged(found: &[Finding]) -> Option<(Light, String)> {
    let worst = found.first()?;
    let light = match worst.severity {
        Severity::Page | Severity::Critical => Light::Red,
        Severity::Warning | Severity::Note => Light::Yellow,
    };
    Some((light, worst.evidence.clone()))
}

fn diagnosed(
    check: &str,
    family: Family,
    (light, text): (Light, String),
    findings: Vec<Finding>,
) -> Diagnosed {
    Diagnosed { check: check.to_owned(), family, light, text, findings }
}

/// How a check of a service's life stands that found nothing.
fn lacks(row: &rows::Service, of: Of) -> (Light, String) {
    let none = match of {
        Of::Copies if row.promise.is_none() => Some("it has no standbys"),
        Of::Archive if row.archive.is_none() => Some("it has no archive"),
        Of::Pooled if row.pooled_port == 0 => Some("it has no pooled endpoint"),
        Of::Member if row.is_bare() => Some("it has no members"),
        _ => None,
    };
    match none {
        Some(why) => (Light::NotApplicable, why.to_owned()),
        None => (Light::Green, "known at all times".to_owned()),
    }
}
