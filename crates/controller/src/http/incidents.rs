//! Incidents, and the chain of alert channels.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use evenkeel_api::AckOrder;
use evenkeel_core::alert::IncidentId;
use evenkeel_core::cell::many::of_id;
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::view;
use serde::Deserialize;

use super::body::Body;
use super::failure::Failure;
use super::services::stopping;
use super::{App, merge};
use crate::cell_thread::{Seen, Whom, recordings_of};
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
    let shown = move |seen: &Seen<'_>| seen.cell.incidents(which.all, seen.now);
    // The newest first, as each cell has them.
    let all = app.cell.list(shown, |incident| (incident.opened_ms, Reverse(incident.id)));
    Ok(Json(all.await?))
}

/// `GET /v1/incidents/{id}`, with the recordings around it.
pub(crate) async fn show(
    State(app): State<App>,
    Path(incident): Path<String>,
) -> Result<Json<view::Incident>, Failure> {
    let id = number(&incident)?;
    let show = move |seen: &Seen<'_>| (seen.cell.incident(id, seen.now), seen.now);
    let found = app.cell.ask_of(Whom::of_id(id.0), show).await?;
    let (Some(mut found), now) = found else {
        return Err(order::Error::NoSuchIncident { incident }.into());
    };
    let opened = now - found.opened_ms;
    let ended = if found.is_over() { now - found.since_ms } else { now };
    let dir = recordings_of(&app.recordings, of_id(id.0));
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
    let pages = app.cell.ask_each(|seen| seen.cell.alerts(seen.now)).await?;
    Ok(Json(merge::alerts(pages).ok_or_else(stopping)?))
}

/// `POST /v1/alerts/test`
pub(crate) async fn test(State(app): State<App>) -> Result<(StatusCode, Json<Accepted>), Failure> {
    app.give(Order::TestAlerts).await
}

fn number(incident: &str) -> Result<IncidentId, order::Error> {
    let none = || order::Error::NoSuchIncident { incident: incident.to_owned() };
    IncidentId::parse(incident).ok_or_else(none)
}
