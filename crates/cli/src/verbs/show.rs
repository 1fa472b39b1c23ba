//! `show`: one service.

use clap::Args;
use evenkeel_core::backup::guard::Level;
use evenkeel_core::time::Span;
use evenkeel_core::view;

use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Show a service: state, members, operation, findings.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel show orders
  evenkeel show orders --json | jq .state")]
pub struct Show {
    /// Its name.
    name: String,
}

impl Show {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let service = context.client()?.service(&self.name)?;
        if context.json {
            return print::json(&service);
        }
        service_page(&service);
        Ok(())
    }
}

/// A service for people.
pub fn service_page(service: &view::Service) {
    let doubt = format!("{:?}", service.health).to_lowercase();
    print::heading(&service.name);
    let since = print::span(service.since_ms);
    print::table(&[
        vec!["state".into(), format!("{} for {since} ({doubt})", print::state(service.state))],
        vec!["kind".into(), format!("{}, plan {}", service.kind, service.plan)],
        vec!["endpoint".into(), service.url.clone().unwrap_or_else(|| "closed".to_owned())],
        pooled(service),
        vec!["term".into(), service.term.to_string()],
        failover(service),
        imported(service),
        disk(service),
    ]);
    backup(service);
    let heading = ["MEMBER", "HOST", "ROLE", "STATE", "LAG", "PID", "PORT", "DATA"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for member in &service.members {
        rows.push(vec![
            member.id.to_string(),
            member.host.clone(),
            member.role.clone(),
            member.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string()),
            lag(member),
            member.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            member.port.to_string(),
            member.data_dir.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    print::table(&rows);
    operation(service.operation.as_ref());
    if let Some(pin) = &service.pin {
        let (level, by, why) = (pin.level, &pin.by, &pin.reason);
        let left = print::span(pin.ends_in_ms);
        print::line(&format!("pinned to {level} by {by} for another {left}: {why}"));
    }
    if let Some(approval) = service.approval.as_ref().filter(|a| a.given_by.is_none()) {
        let (remedy, id) = (&approval.remedy, approval.id);
        print::line(&format!("remedy {remedy} waits for a yes: `evenkeel approve {id}`"));
    }
    for why in &service.held {
        print::line(&format!("nothing is done about it now: {why}"));
    }
    if let Some(incident) = service.incident {
        print::line(&format!("part of incident {incident}; `evenkeel incident show {incident}`"));
    }
    findings(&service.findings);
}

/// Where the pooled endpoint is, for a service that has one.
fn pooled(service: &view::Service) -> Vec<String> {
    let (Some(url), Some(port)) = (&service.url, service.pooled_port) else { return Vec::new() };
    let place = url.rsplit_once(':').map_or("", |(place, _)| place);
    vec!["pooled endpoint".into(), format!("{place}:{port}")]
}

/// Where it comes from, for a service that was imported.
fn imported(service: &view::Service) -> Vec<String> {
    let says = |import: &view::Import| {
        let view::Import { method, source, .. } = import;
        let how = match (&import.failed, &import.progress) {
            (Some(why), _) => format!("not, from {source}: {why}"),
            (None, Some(progress)) => format!("by {method} from {source}; {progress}"),
            (None, None) => format!("by {method} from {source}"),
        };
        vec!["imported".to_owned(), how]
    };
    service.import.as_ref().map_or_else(Vec::new, says)
}

/// How much room the primary has.
fn disk(service: &view::Service) -> Vec<String> {
    let disk = service.members.first().and_then(|member| member.disk.as_ref());
    let says = |disk: &view::Disk| {
        let [free, total] = [disk.free_bytes, disk.total_bytes].map(print::bytes);
        let does = match disk.level {
            Level::Fine | Level::Warn => String::new(),
            Level::Throttle => "; commits are slowed until there is room".to_owned(),
            Level::ReadOnly => "; no writes are taken until there is room".to_owned(),
        };
        let full = match disk.full_in_seconds {
            None => "not full soon".to_owned(),
            Some(seconds) => format!("full in {} at this rate", print::span(Span(seconds * 1000))),
        };
        vec!["disk".to_owned(), format!("{free} of {total} free, {full}{does}")]
    };
    disk.map_or_else(Vec::new, says)
}

/// Whether a failover would lose nothing, and why.
fn failover(service: &view::Service) -> Vec<String> {
    let says = |failover: &view::Failover| {
        let safe = if failover.safe_now { "yes" } else { "no" };
        let text = format!("{safe}, because {}", failover.because);
        match &failover.cost {
            None => vec!["can fail over without loss right now".to_owned(), text],
            Some(cost) => {
                vec![
                    "can fail over within its loss bound right now".to_owned(),
                    format!("{text}; {cost}"),
                ]
            }
        }
    };
    service.failover.as_ref().map_or_else(Vec::new, says)
}

/// The archive: what can be restored, by what proof, and how far the log is behind.
fn backup(service: &view::Service) {
    let Some(backup) = &service.backup else { return };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let none = || "none yet".to_owned();
    let proven = backup.proven_at.as_ref().map_or_else(none, |at| {
        let took = backup.restore_seconds.unwrap_or_default();
        let window = backup.loss_window_seconds.unwrap_or_default();
        format!("at {at}; measured restore time {took:.1} s, loss window {window} s")
    });
    let lag = match (backup.archive_lag_bytes, backup.archive_lag_seconds) {
        (0, 0) => "none".to_owned(),
        (bytes, seconds) => format!("< {} KiB, {seconds} s", bytes >> 10),
    };
    let mut rows = vec![
        row("restorable as of", backup.restorable_to.clone().unwrap_or_else(none)),
        row("proven", proven),
        row("last backup", backup.last_at.clone().unwrap_or_else(none)),
        row("archive lag", lag),
        row("repositories", backup.repositories.join(", ")),
        row("engine", backup.engine.to_string()),
    ];
    if let Some(job) = &backup.job {
        let since = print::span(job.since_ms);
        rows.push(row("job", format!("{} {} for {since}", job.what, job.id)));
    }
    print::table(&rows);
}

/// How far a member is behind, and whether commits wait for it.
fn lag(member: &view::Member) -> String {
    let lag = match member.lag_bytes {
        None => "-".to_owned(),
        Some(0) => "0".to_owned(),
        Some(bytes) => format!("< {} KiB", bytes >> 10),
    };
    if member.sync { format!("{lag}, sync") } else { lag }
}

/// The operation under way, step by step.
pub fn operation(operation: Option<&view::Operation>) {
    let Some(operation) = operation else { return };
    let claim = if operation.claimed { "" } else { ", waits its turn" };
    let since = print::span(operation.since_ms);
    print::heading(&format!(
        "operation {} {}: {} for {since}{claim}",
        operation.name, operation.id, operation.cause
    ));
    for step in &operation.steps {
        let mark = match step.progress {
            view::Progress::Done => "done ",
            view::Progress::UnderWay => "now  ",
            view::Progress::Ahead => "next ",
        };
        print::line(&format!("  {mark}{}", step.name));
        step.missing.iter().for_each(|missing| print::line(&format!("         {missing}")));
    }
}

/// Findings, worst first.
pub fn findings(findings: &[view::Finding]) {
    for finding in findings {
        print::line(&format!(
            "{}  {}  {}: {} (for {})",
            print::severity(finding.severity),
            finding.check,
            finding.subject,
            finding.evidence,
            print::span(finding.since_ms)
        ));
    }
}

/// What a finding is about, one by one, where its evidence does not say it all.
pub fn items(finding: &view::Finding) {
    if finding.items.len() > 1 {
        finding.items.iter().for_each(|item| print::line(&format!("          {item}")));
    }
}
