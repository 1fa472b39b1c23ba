//! The fleet at a glance, health, and the API's own description.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use evenkeel_api::RecoveryEnd;
use evenkeel_core::order::{Accepted, Order};
use evenkeel_core::view;

use super::body::Body;
use super::failure::Failure;
use super::services::stopping;
use super::{App, merge};

/// Whether this process answers. Says nothing of the fleet: whoever restarts controllers by this
/// must not restart one because a database is down.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /v1/openapi.json`
pub(crate) async fn openapi() -> Response {
    Json(evenkeel_api::openapi()).into_response()
}

/// `GET /v1/fleet`
pub(crate) async fn show(State(app): State<App>) -> Result<Json<view::Fleet>, Failure> {
    let mut fleet = app.fleet().await?;
    if let Some(posture) = app.cannot_record() {
        fleet.posture = posture;
    }
    Ok(Json(fleet))
}

/// `POST /v1/recovery`
pub(crate) async fn end_recovery(
    State(app): State<App>,
    Body(end): Body<RecoveryEnd>,
) -> Result<(StatusCode, Json<Accepted>), Failure> {
    app.give(Order::Recovered { hosts: end.hosts }).await
}

impl super::Inner {
    /// All cells' fleets, as one.
    pub(crate) async fn fleet(&self) -> Result<view::Fleet, Failure> {
        let pages = self.cell.ask_each(|seen| seen.cell.fleet(seen.now)).await?;
        merge::fleet(pages).ok_or_else(stopping)
    }

    /// The posture while nothing can be recorded; it bounds more than any other.
    pub(crate) fn cannot_record(&self) -> Option<String> {
        let cause = self.cell.recording.borrow();
        cause.as_ref().map(|cause| format!("store cannot record: {cause}; nothing is decided"))
    }
}
