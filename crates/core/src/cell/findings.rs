//! Findings: what is not as it should be, since when, and of which family; and the journal's word on what
//! came and went.
//!
//! When a finding of a check began is kept in the row of its service or host, so that it stays what it is
//! when a controller, an agent or a server begins anew: what is not read is neither there nor gone.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::compact::Name;
use super::rows::{Began, Findings};
use super::state::{self, Seen, Service};
use super::turn::Work;
use super::{Cell, goals};
use crate::check::{self, Check, Family, Holds, Severity, Unread};
use crate::host;
use crate::id::{HostId, MemberId, ServiceId};
use crate::journal::Topic;
use crate::lifecycle_checks;
use crate::machine::Machine as _;
use crate::pooler;
use crate::report::Member;
use crate::service::shown;
use crate::time::{Span, Time};
use crate::view;

/// A finding of a service, as remedies and others take it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The check's name.
    pub check: &'a str,
    /// How bad.
    pub severity: Severity,
    /// Since when.
    pub since: Time,
    /// The member that it is about; none: the service.
    pub member: Option<MemberId>,
    /// What was seen.
    pub evidence: Cow<'a, str>,
    /// What it is about, one by one.
    pub items: Cow<'a, [String]>,
}

impl<'a> Known<'a> {
    fn own(check: &'a str, severity: Severity, evidence: String, since: Time) -> Self {
        let (evidence, items) = (Cow::Owned(evidence), Cow::Borrowed(&[][..]));
        Self { check, severity, since, member: None, evidence, items }
    }
}

/// How what was seen is put in words.
pub(super) type Say<'a> = &'a dyn Fn(std::fmt::Arguments<'_>) -> String;

/// Nobody reads them: whoever decides goes by a finding's check, severity and age.
pub(super) const UNSAID: Say<'static> = &|_| String::new();

impl Cell {
    /// What is not as it should be about a service now: its members' checks, and its own life. Worst first.
    /// A service without findings costs nothing but the looking.
    pub(super) fn known_findings<'a>(
        &'a self,
        service: &'a Service,
        now: Time,
        say: Say<'_>,
    ) -> Vec<Known<'a>> {
        let mut found = self.lifecycle_findings(service, now, say);
        self.member_findings(service, now, say, &mut found);
        found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        found
    }

    /// The same, for people.
    pub(super) fn findings(&self, service: &Service, now: Time) -> Vec<view::Finding> {
        let name = service.row.name.as_str();
        let kind = goals::kind(&self.setup, service.row.offer.kind.as_str());
        let checks = kind.map_or(&[][..], |kind| kind.checks());
        let show = |known: Known<'_>| view::Finding {
            check: known.check.to_owned(),
            family: family(known.check, checks),
            severity: known.severity,
            service: Some(name.to_owned()),
            subject: match known.member {
                Some(member) => format!("member {member}"),
                None => format!("service {name}"),
            },
            evidence: known.evidence.into_owned(),
            items: known.items.into_owned(),
            since_ms: now.since(known.since),
        };
        let said = self.known_findings(service, now, &|text| text.to_string());
        said.into_iter().map(show).collect()
    }

    /// Every finding of the fleet, of services and hosts, worst first.
    #[must_use]
    pub fn all_findings(&self, now: Time) -> Vec<view::Finding> {
        let services = self.state.by_name.iter().filter_map(|id| self.state.services.get(id));
        let mut found: Vec<_> = services.flat_map(|service| self.findings(service, now)).collect();
        found.extend(self.state.hosts.values().flat_map(|host| self.host_findings(host, now)));
        found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        found
    }

    /// What the cell itself finds wanting.
    fn lifecycle_findings<'a>(
        &'a self,
        service: &'a Service,
        now: Time,
        say: Say<'_>,
    ) -> Vec<Known<'a>> {
        let row = &service.row;
        let mut found = Vec::new();
        let mut add = |check, severity, text: String, since: Time| {
            found.push(Known::own(check, severity, text, since));
        };
        if row.paged {
            let (state, since) = (shown(row.phase, row.health), now.since(row.since));
            let text = say(format_args!("{state} for {since}; a person was told"));
            add("state-lasts", Severity::Page, text, row.since);
        }
        if let Some(operation) = row.operation.as_ref().filter(|o| o.paged) {
            let text = format!("{} is late at \"{}\"", operation.spec().name, operation.at().name);
            add("operation-late", Severity::Page, text, operation.begun);
        }
        for (check, severity, text) in self.endpoint_findings(row) {
            add(check, severity, text, row.since);
        }
        if let Some((check, severity, text)) = Self::import_finding(row) {
            add(check, severity, text, row.since);
        }
        for (check, severity, text, lasts) in self.archive_findings(service, now, say) {
            add(check, severity, text, now - lasts);
        }
        for (check, severity, text, lasts) in self.upkeep_findings(service, now) {
            add(check, severity, text, now - lasts);
        }
        let lacks = service.lacks.as_deref().copied().unwrap_or_default();
        if let Some(promise) = &row.promise {
            if let Err(missing) = self.safe(service, promise) {
                let since = lacks.member.or(lacks.counted).unwrap_or(row.since);
                add("failover-safe", Severity::Critical, say(format_args!("{missing}")), since);
            }
            if let Some(at) = lacks.acks {
                let text =
                    format!("commits wait for {}, and too few of them are there", promise.set);
                add("commits-wait", Severity::Critical, text, at);
            }
            if let Some(at) = lacks.member {
                let text = "a member does not follow its primary".to_owned();
                add("redundant", Severity::Warning, text, at);
            }
        }
        found
    }

    /// What its members' agents find, and whether they are heard.
    fn member_findings<'a>(
        &'a self,
        service: &'a Service,
        now: Time,
        say: Say<'_>,
        found: &mut Vec<Known<'a>>,
    ) {
        let row = &service.row;
        let kind = goals::kind(&self.setup, row.offer.kind.as_str());
        let checks = kind.map_or(&[][..], |kind| kind.checks());
        for (at, (member, seen)) in row.members.iter().zip(&service.seen).enumerate() {
            let of = Some(member.id);
            let host = self.state.hosts.get(&member.host);
            if let Some(host) = host.filter(|h| h.state != host::State::Up) {
                let heard = host.heard.unwrap_or(self.state.began);
                let (name, state) = (&host.row.name, host.state);
                let text = say(format_args!("the agent of {name} is silent; it is {state}"));
                let own = Known::own("agent-heard", Severity::Warning, text, heard.min(now));
                found.push(Known { member: of, ..own });
            }
            let Some(seen) = seen else { continue };
            if let Some(refusal) = seen.rare.as_ref().and_then(|r| r.refused.as_ref()) {
                let text = refusal.to_string();
                let own = Known::own("goal-accepted", Severity::Critical, text, seen.since);
                found.push(Known { member: of, ..own });
            }
            for result in seen.checks.iter().flat_map(|checks| checks.iter()) {
                let began = |of| row.began(&result.check, of).map_or(seen.since, |b| b.since);
                let known = Known {
                    check: &result.check,
                    severity: result.severity,
                    since: began(Some(member.id)),
                    member: of,
                    evidence: Cow::Borrowed(&result.evidence),
                    items: Cow::Borrowed(&result.items),
                };
                match holds(checks, &result.check) {
                    Holds::Anywhere => found.push(known),
                    // It is told once, by what the first member has in common with all others.
                    Holds::Everywhere if at == 0 => {
                        found.extend(everywhere(checks, service, result, known));
                    }
                    Holds::Everywhere => {}
                }
            }
        }
    }

    /// What is not as it should be about a service's endpoints.
    fn endpoint_findings(
        &self,
        row: &super::rows::Service,
    ) -> Vec<(&'static str, Severity, String)> {
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

    /// What is not as it should be about a host.
    pub(super) fn host_findings(&self, host: &state::Host, now: Time) -> Vec<view::Finding> {
        let subject = format!("host {}", host.row.name);
        let finding = |check: &str, severity, evidence: String, since_ms| view::Finding {
            check: check.to_owned(),
            family: Family::Host,
            severity,
            service: None,
            subject: subject.clone(),
            evidence,
            items: Vec::new(),
            since_ms,
        };
        let mut found = Vec::new();
        for result in host.hello.as_ref().map_or(&[][..], |hello| &hello.checks) {
            let began = host.row.findings.iter().find(|began| *began.check == *result.check);
            let since = began.map_or(Span(0), |began| now.since(began.since));
            found.push(finding(&result.check, result.severity, result.evidence.clone(), since));
        }
        let silent = now.since(host.heard.unwrap_or(self.state.began));
        if let Some(limit) = host::Machine::deadline(host.state).filter(|limit| silent > *limit) {
            let text = format!("{} for longer than {limit}", host.state);
            found.push(finding("host-heard", Severity::Page, text, silent));
        }
        if !host.strays.is_empty() {
            let strays: Vec<String> = host.strays.iter().map(ToString::to_string).collect();
            let text = format!("{} belong to no service; they are left alone", strays.join(", "));
            found.push(finding("stray-members", Severity::Warning, text, Span(0)));
        }
        found
    }

    /// Keeps when a member's findings began, and tells the journal what came and went.
    pub(super) fn keep_findings(
        &mut self,
        id: ServiceId,
        report: &Member,
        before: Option<&Seen>,
        work: &mut Work,
    ) {
        let state::State { services, names, .. } = &mut self.state;
        let Some(service) = services.get_mut(&id) else { return };
        let row = &mut service.row;
        if report.checks.is_empty() && row.findings.is_empty() {
            return;
        }
        let kind = goals::kind(&self.setup, row.offer.kind.as_str());
        let checks = kind.map_or(&[][..], |kind| kind.checks());
        let (began, members) = (&mut row.findings, &row.members);
        let known = began.len();
        began.retain(|began| members.iter().any(|member| began.member() == Some(member.id)));
        let gone = began.len() != known;
        let unread =
            |check: &str| !report.state.serves() || is_unread(&report.unread, checks, check);
        let none = Vec::new();
        let had = before.and_then(|seen| seen.checks.as_deref()).unwrap_or(&none);
        let of = Some(report.member);
        let (changed, notes) = keep(began, names, (of, had, &report.checks), unread, work.now);
        let alone = |check: &str| holds(checks, check) == Holds::Anywhere;
        for (_, text) in notes.into_iter().filter(|(check, _)| alone(check)) {
            work.note(Topic::Finding, row.name.as_str(), text, Vec::new());
        }
        if changed || gone {
            work.record(id);
        }
    }

    /// The same of a host's.
    pub(super) fn keep_host_findings(
        &mut self,
        id: HostId,
        has: &[check::Result],
        work: &mut Work,
    ) {
        let state::State { hosts, names, .. } = &mut self.state;
        let Some(host) = hosts.get_mut(&id) else { return };
        let none = Vec::new();
        let had = host.hello.as_ref().map_or(&none, |hello| &hello.checks);
        let (changed, notes) =
            keep(&mut host.row.findings, names, (None, had, has), |_| false, work.now);
        for (_, text) in notes {
            work.note(Topic::Finding, &host.row.name, text, Vec::new());
        }
        if changed {
            work.record_host(host.row.id);
        }
    }
}

/// What every member that stays has found of a check, if all of them have.
fn everywhere<'a>(
    checks: &[&dyn Check],
    service: &'a Service,
    result: &check::Result,
    first: Known<'a>,
) -> Option<Known<'a>> {
    let mut items = result.items.clone();
    let mut since = first.since;
    let others = service.row.members.iter().zip(&service.seen).skip(1);
    for (member, seen) in others.filter(|(member, _)| member.stays()) {
        let seen = seen.as_ref()?;
        let its = seen.checks.as_deref()?.iter().find(|its| its.check == result.check)?;
        items.retain(|item| its.items.contains(item));
        since = since.max(service.row.began(&result.check, Some(member.id))?.since);
    }
    let check = checks.iter().find(|check| check.name() == result.check)?;
    let found = check.found_of(result.severity, check.name(), items)?;
    let evidence = match found.items.as_slice() {
        [one] => one.clone(),
        items => format!("{} of them, the first {}", items.len(), items[0]),
    };
    let (evidence, items) = (Cow::Owned(evidence), Cow::Owned(found.items));
    Some(Known { member: None, since, evidence, items, ..first })
}

/// Takes in what is found: what is new begins now, what is gone ends unless it was not read. Gives whether
/// anything changed, and what the journal is to tell, by check.
fn keep<'a>(
    began: &mut Findings,
    names: &mut BTreeSet<Name>,
    (member, had, has): (Option<MemberId>, &'a [check::Result], &'a [check::Result]),
    unread: impl Fn(&str) -> bool,
    now: Time,
) -> (bool, Vec<(String, String)>) {
    let mut changed = false;
    let mut notes = Vec::new();
    for result in has {
        let known = began
            .iter_mut()
            .find(|began| *began.check == *result.check && began.member() == member);
        let news = match known {
            None => {
                let (check, severity) = (named(names, &result.check), result.severity);
                began.push(Began::new(check, member, severity, now));
                changed = true;
                true
            }
            Some(known) if known.severity != result.severity => {
                known.severity = result.severity;
                changed = true;
                true
            }
            Some(_) => had
                .iter()
                .any(|before| before.check == result.check && before.evidence != result.evidence),
        };
        if news {
            let text = format!("{} ({}): {}", result.check, result.severity, result.evidence);
            notes.push((result.check.clone(), text));
        }
    }
    began.retain(|began| {
        let gone = began.member() == member
            && !has.iter().any(|result| *result.check == *began.check)
            && !unread(&began.check);
        if gone {
            changed = true;
            notes.push((began.check.to_string(), format!("{} is quiet", began.check)));
        }
        !gone
    });
    (changed, notes)
}

/// A check's name, kept once.
pub(super) fn named(names: &mut BTreeSet<Name>, name: &str) -> Name {
    if let Some(known) = names.get(name) {
        return known.clone();
    }
    let new = Name::new(name);
    names.insert(new.clone());
    new
}

/// Whether a check of a member was not read, by its agent's word.
pub(super) fn is_unread(unread: &Unread, checks: &[&dyn Check], name: &str) -> bool {
    let pace = checks.iter().find(|check| check.name() == name).map(|check| check.pace());
    pace.is_some_and(|pace| unread.has(name, pace))
}

fn holds(checks: &[&dyn Check], name: &str) -> Holds {
    let check = checks.iter().find(|check| check.name() == name);
    check.map_or(Holds::Anywhere, |check| check.holds())
}

/// A check's family.
fn family(name: &str, checks: &[&dyn Check]) -> Family {
    let check = checks.iter().find(|check| check.name() == name).map(|check| check.family());
    check
        .or_else(|| lifecycle_checks::named(name).map(|own| own.family))
        .unwrap_or(Family::Performance)
}
