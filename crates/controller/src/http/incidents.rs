//! Incidents, and the chain of alert channels.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use evenkeel_api::AckOrder;
use evenkeel_core::alert::IncidentId;
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::view;
use serde::Deserialize;

use super::App;
use super::body::Body;
use super::failure::Failure;
use crate::recorder;

/// The query of the list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    all: bool,
}

/// `GET /v1/incidents`
pub(crate) async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<view::Incident>>, Failure> {
    Ok(Json(app.cell.ask(move |seen| seen.cell.incidents(which.all, seen.now)).await?))
}

/// `GET /v1/incidents/{id}`, with the recordings around it.
pub(crate) async fn show(
    State(app): State<App>,
    Path(incident): Path<String>,
) -> Result<Json<view::Incident>, Failure> {
    let id = number(&incident)?;
    let found = app.cell.ask(move |seen| (seen.cell.incident(id, seen.now), seen.now)).await?;
    let (Some(mut found), now) = found else {
        return Err(order::Error::NoSuchIncident { incident }.into());
    };
    let opened = now - found.opened_ms;
    let ended = if found.is_over() { now - found.since_ms } else { now };
    let dir = app.recordings.clone();
    let files = tokio::task::spawn_blocking(move || recorder::around(&dir, opened, ended)).await;
    // Nothing else of it rests on them.
    let files = files.unwrap_or_default();
    found.recordings = files.iter().map(|path| path.display().to_string()).collect();
    Ok(Json(found))
}

/// `POST /v1/incidents/{id}/ack`
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Path(incident): Path<String>,
    Body(AckOrder { note }): Body<AckOrder>,
) -> Result<(StatusCode, Json<Accepted>), Failure> {
    app.give(Order::Acknowledge { incident: number(&incident)?, note }).await
}

/// `GET /v1/alerts`
pub(crate) async fn alerts(State(app): State<App>) -> Result<Json<view::Alerts>, Failure> {
    Ok(Json(app.cell.ask(|seen| seen.cell.alerts(seen.now)).await?))
}

/// `POST /v1/alerts/test`
pub(crate) async fn test(State(app): State<App>) -> Result<(StatusCode, Json<Accepted>), Failure> {
    app.give(Order::TestAlerts).await
}

fn number(incident: &str) -> Result<IncidentId, order::Error> {
    let none = || order::Error::NoSuchIncident { incident: incident.to_owned() };
    IncidentId::parse(incident).ok_or_else(none)
}
