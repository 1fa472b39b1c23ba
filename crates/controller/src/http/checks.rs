//! Checks: what is looked at, what is found, and how a service stands.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_api::{CheckLine, CheckPage, FindingsQuery, Threshold};
use evenkeel_core::check::{Check, Family, Holds, Pace, Reading};
use evenkeel_core::lifecycle_checks::{LIFECYCLE, Lifecycle, Of};
use evenkeel_core::thresholds::Thresholds;
use evenkeel_core::{order, view};

use super::App;
use super::body::Params;
use super::failure::Failure;
use crate::cell_thread::{Seen, Whom};

/// `GET /v1/checks`
pub(crate) async fn list(State(app): State<App>) -> Json<Vec<CheckLine>> {
    let mut lines: Vec<CheckLine> = all(&app).map(|(of, check)| line(of, check)).collect();
    lines.extend(LIFECYCLE.iter().map(own_line));
    lines.sort_by(|a, b| (a.family, &a.name).cmp(&(b.family, &b.name)));
    Json(lines)
}

/// `GET /v1/checks/{name}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<CheckPage>, Failure> {
    let limits = app.cell.ask(|seen| seen.cell.thresholds().clone()).await?;
    if let Some((of, check)) = all(&app).find(|(_, check)| check.name() == name) {
        return Ok(Json(page(of, check, &limits)));
    }
    let own = LIFECYCLE.iter().find(|own| own.name == name).ok_or_else(|| {
        let message = format!("there is no check {name}; `evenkeel check list` names them all");
        Failure::new(StatusCode::NOT_FOUND, "no_such_check", message)
    })?;
    Ok(Json(CheckPage {
        check: own_line(own),
        doc: own.doc.to_owned(),
        question: String::new(),
        thresholds: Vec::new(),
        firing: String::new(),
        evidence: String::new(),
        quiet: String::new(),
    }))
}

/// `GET /v1/findings`
pub(crate) async fn findings(
    State(app): State<App>,
    Params(query): Params<FindingsQuery>,
) -> Result<Json<Vec<view::Finding>>, Failure> {
    let FindingsQuery { service, family, severity } = query;
    let of = service.clone();
    let found = match of {
        Some(name) => {
            let whom = Whom::Service(name.clone());
            let asked = app.cell.ask_of(whom, move |seen| seen.cell.service(&name, seen.now));
            asked.await?.map(|service| service.findings)
        }
        None => {
            let all = |seen: &Seen<'_>| seen.cell.all_findings(seen.now);
            Some(app.cell.list(all, |finding| Reverse(finding.severity)).await?)
        }
    };
    let mut found =
        found.ok_or_else(|| order::Error::NoSuchService { name: service.unwrap_or_default() })?;
    found.retain(|finding| {
        family.is_none_or(|family| finding.family == family)
            && severity.is_none_or(|severity| finding.severity >= severity)
    });
    Ok(Json(found))
}

/// `GET /v1/services/{name}/diagnosis`
pub(crate) async fn diagnosis(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<view::Diagnosis>, Failure> {
    let asked = name.clone();
    let checks = evenkeel_kinds::host::CHECKS;
    let whom = Whom::Service(name.clone());
    let found = app.cell.ask_of(whom, move |seen| seen.cell.diagnose(&asked, checks, seen.now));
    let found = found.await?;
    found.map(Json).ok_or_else(|| order::Error::NoSuchService { name }.into())
}

/// Every check that agents run, with whose it is.
fn all(app: &App) -> impl Iterator<Item = (&'static str, &'static dyn Check)> + use<> {
    let kinds = app.kinds.iter();
    let kinds = kinds.flat_map(|kind| kind.checks().iter().map(|check| (kind.name(), *check)));
    kinds.chain(evenkeel_kinds::host::CHECKS.iter().map(|check| (HOST, *check)))
}

/// Whose checks of hosts are.
const HOST: &str = "host";

fn line(of: &str, check: &dyn Check) -> CheckLine {
    let (scope, every) = match (check.family(), check.holds(), check.pace()) {
        (Family::Host, ..) => ("host", "10 s"),
        (_, Holds::Everywhere, Pace::Often) => ("service", "30 s"),
        (_, Holds::Everywhere, Pace::Rarely) => ("service", "10 min"),
        (_, Holds::Anywhere, Pace::Often) => ("member", "30 s"),
        (_, Holds::Anywhere, Pace::Rarely) => ("member", "10 min"),
    };
    CheckLine {
        name: check.name().to_owned(),
        of: of.to_owned(),
        family: check.family(),
        scope: scope.to_owned(),
        every: every.to_owned(),
        summary: summary(check.doc()),
    }
}

fn own_line(own: &Lifecycle) -> CheckLine {
    let scope = match own.of {
        Of::Service | Of::Copies | Of::Archive | Of::Pooled => "service",
        Of::Member => "member",
        Of::Host => "host",
    };
    CheckLine {
        name: own.name.to_owned(),
        of: "lifecycle".to_owned(),
        family: own.family,
        scope: scope.to_owned(),
        every: "always".to_owned(),
        summary: summary(own.doc),
    }
}

/// A doc page's first sentence.
fn summary(doc: &str) -> String {
    doc.split_once(". ").map_or(doc.to_owned(), |(first, _)| format!("{first}."))
}

fn page(of: &str, check: &dyn Check, limits: &Thresholds) -> CheckPage {
    let threshold =
        |name: &&str| limits.value(name).map(|value| Threshold { name: (*name).to_owned(), value });
    let fires = check.judge(&check.firing(), &Thresholds::default());
    CheckPage {
        check: line(of, check),
        doc: check.doc().to_owned(),
        question: check.question().to_owned(),
        thresholds: check.thresholds().iter().filter_map(threshold).collect(),
        firing: example(&check.firing()),
        evidence: fires.map_or_else(String::new, |result| result.evidence),
        quiet: example(&check.quiet()),
    }
}

fn example(reading: &Reading) -> String {
    let columns: Vec<String> = reading.0.iter().map(|(k, v)| format!("{k} = {v}")).collect();
    columns.join(", ")
}
