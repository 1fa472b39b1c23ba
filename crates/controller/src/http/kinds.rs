//! Kinds of services, with the machines their services and members go by.

use axum::Json;
use axum::extract::{Path, State};
use evenkeel_api::{CheckSummary, KindPage, KindSummary, PlanSummary};
use evenkeel_core::kind::Kind;
use evenkeel_core::machine::{matrix, mermaid};
use evenkeel_core::{member, order, service};

use super::App;
use super::failure::Failure;

/// `GET /v1/kinds`
pub(crate) async fn list(State(app): State<App>) -> Json<Vec<KindSummary>> {
    Json(app.kinds.iter().map(|kind| summary(*kind)).collect())
}

/// `GET /v1/kinds/{name}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<KindPage>, Failure> {
    let Some(kind) = app.kinds.iter().find(|kind| kind.name() == name) else {
        let known: Vec<&str> = app.kinds.iter().map(|kind| kind.name()).collect();
        let known = known.join(", ");
        let error = order::Error::NoSuchKind { name, known };
        let status = axum::http::StatusCode::NOT_FOUND;
        return Err(Failure::new(status, error.code(), error.to_string()));
    };
    Ok(Json(KindPage {
        kind: summary(*kind),
        phase_table: matrix::<service::phase::Machine>(),
        phase_diagram: mermaid::<service::phase::Machine>(),
        health_table: matrix::<service::health::Machine>(),
        health_diagram: mermaid::<service::health::Machine>(),
        member_table: matrix::<member::Machine>(),
        member_diagram: mermaid::<member::Machine>(),
    }))
}

fn summary(kind: &dyn Kind) -> KindSummary {
    let plans = kind.plans().iter().map(|plan| PlanSummary {
        name: plan.name.to_owned(),
        summary: plan.summary.to_owned(),
        members: plan.members,
        memory_mib: plan.memory_mib,
        connections_max: plan.connections_max,
        archives: plan.archives(),
        backups_kept: plan.keep.map_or(0, |keep| keep.count),
        restorable_seconds: plan.keep.map_or(0, |keep| keep.window.0 / 1000),
    });
    let checks = kind.checks().iter().map(|check| CheckSummary {
        name: check.name().to_owned(),
        family: check.family(),
        doc: check.doc().to_owned(),
    });
    KindSummary {
        name: kind.name().to_owned(),
        summary: kind.summary().to_owned(),
        plans: plans.collect(),
        checks: checks.collect(),
    }
}
