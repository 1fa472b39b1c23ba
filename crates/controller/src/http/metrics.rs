//! Metrics for Prometheus: aggregates only, never a series for each service.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use evenkeel_core::{maintenance, toil, view};

use super::App;
use super::failure::Failure;
use crate::cell_thread::Whom;

/// `GET /metrics`
pub(crate) async fn show(State(app): State<App>) -> Result<impl IntoResponse, Failure> {
    let (mut counts, mut ledgers, mut planned) = (Counts::default(), Vec::new(), Vec::new());
    let cells = Arc::clone(&app.cell.cells.borrow());
    // One after the other: only one cell's services are there at once.
    for &id in &*cells {
        let asked = app.cell.ask_of(Whom::Cell(id), |seen| {
            let (cell, now) = (seen.cell, seen.now);
            (cell.services(now), cell.fleet(now), cell.toil(now), cell.planned_work(now))
        });
        let (services, fleet, ledger, work) = asked.await?;
        counts.add(&services, &fleet);
        ledgers.push(ledger);
        planned.extend(work);
    }
    let mut out = String::new();
    counts.write(&mut out);
    toil_text(&mut out, &toil::Page::of_all(ledgers), &planned);
    app.stats.write(&mut out);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], out))
}

/// What is counted of all cells.
#[derive(Default)]
struct Counts {
    services: BTreeMap<[String; 4], u64>,
    findings: BTreeMap<(String, String), u64>,
    hosts: BTreeMap<(String, String), u64>,
    /// Gateways that have every route, and those that do not.
    gateways: [usize; 2],
    open: u64,
}

impl Counts {
    /// Adds a cell's.
    fn add(&mut self, services: &[view::Service], fleet: &view::Fleet) {
        let zones: BTreeMap<&str, &str> =
            fleet.hosts.iter().map(|host| (host.name.as_str(), host.zone.as_str())).collect();
        for service in services {
            // A service counts where its first member is: the one that takes writes.
            let host = service.members.first().map_or("", |member| member.host.as_str());
            let zone = zones.get(host).copied().unwrap_or_default();
            let state = service.state.as_str();
            let labels = [service.kind.as_str(), service.plan.as_str(), zone, state];
            *self.services.entry(labels.map(str::to_owned)).or_default() += 1;
        }
        for finding in services.iter().flat_map(|service| &service.findings) {
            let labels = (finding.check.clone(), finding.severity.to_string());
            *self.findings.entry(labels).or_default() += 1;
        }
        for host in &fleet.hosts {
            let labels = (host.zone.clone(), host.state.as_str().to_owned());
            *self.hosts.entry(labels).or_default() += 1;
        }
        let current = fleet.gateways.iter().filter(|gateway| gateway.current).count();
        self.gateways[0] += current;
        self.gateways[1] += fleet.gateways.len() - current;
        self.open += fleet.gateways.iter().map(|gateway| gateway.open).sum::<u64>();
    }

    fn write(&self, out: &mut String) {
        head(out, "evenkeel_services", "Services by kind, plan, zone and state.");
        for ([kind, plan, zone, state], count) in &self.services {
            let labels = [("kind", &**kind), ("plan", plan), ("zone", zone), ("state", state)];
            line(out, "evenkeel_services", &labels, count);
        }
        head(out, "evenkeel_findings", "Findings on services by check and severity.");
        for ((check, severity), count) in &self.findings {
            line(out, "evenkeel_findings", &[("check", check), ("severity", severity)], count);
        }
        head(out, "evenkeel_hosts", "Hosts by zone and state.");
        for ((zone, state), count) in &self.hosts {
            line(out, "evenkeel_hosts", &[("zone", zone), ("state", state)], count);
        }
        head(out, "evenkeel_gateways", "Gateways, and whether they have every route.");
        for (text, count) in ["true", "false"].iter().zip(self.gateways) {
            line(out, "evenkeel_gateways", &[("current", text)], count);
        }
        head(out, "evenkeel_connections", "Client connections open through gateways.");
        line(out, "evenkeel_connections", &[], self.open);
    }
}

/// What was done by itself and by hand, and what waits for a window.
fn toil_text(out: &mut String, ledger: &toil::Page, planned: &[maintenance::Item]) {
    head(out, "evenkeel_toil_saved_minutes", "Minutes people did not need, by operation.");
    let mut minutes = BTreeMap::<_, u64>::new();
    for saved in &ledger.saved {
        *minutes.entry((saved.operation.as_str(), saved.by.as_str())).or_default() += saved.minutes;
    }
    for ((operation, by), minutes) in minutes {
        line(out, "evenkeel_toil_saved_minutes", &[("operation", operation), ("by", by)], minutes);
    }
    head(out, "evenkeel_toil_acts", "Acts of people in the last 90 days.");
    let acts: u64 = ledger.just.iter().map(|act| u64::from(act.times)).sum();
    line(out, "evenkeel_toil_acts", &[], acts);
    head(out, "evenkeel_planned_work", "Planned work that is not done yet, by task and state.");
    let mut by = BTreeMap::<_, u64>::new();
    for item in planned {
        *by.entry((item.task.as_str(), item.state.as_str())).or_default() += 1;
    }
    for ((task, state), count) in by {
        line(out, "evenkeel_planned_work", &[("task", task), ("state", state)], count);
    }
}

fn head(out: &mut String, name: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    out.push_str(name);
    for (at, (label, text)) in labels.iter().enumerate() {
        let mark = if at == 0 { '{' } else { ',' };
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{mark}{label}=\"{text}\"");
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out_of_their_line() {
        let mut out = String::new();
        line(&mut out, "x", &[("a", "q\"\\\nz"), ("b", "c")], 7);
        line(&mut out, "y", &[], 1);
        assert_eq!(out, "x{a=\"q\\\"\\\\\\nz\",b=\"c\"} 7\ny 1\n");
    }
}
