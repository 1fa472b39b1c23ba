//! Remedies and their levels, pins, approvals, the brake.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_api::{BrakeOrder, LevelOrder, PinOrder};
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::view;

use super::body::Body;
use super::failure::Failure;
use super::{App, merge};

type Ordered = Result<(StatusCode, Json<Accepted>), Failure>;

/// `GET /v1/remedies`
pub(crate) async fn remedies(State(app): State<App>) -> Result<Json<Vec<view::Remedy>>, Failure> {
    Ok(Json(merge::remedies(app.cell.ask_each(|seen| seen.cell.remedies()).await?)))
}

/// `POST /v1/remedies/{name}/level`
pub(crate) async fn level(
    State(app): State<App>,
    Path(remedy): Path<String>,
    Body(LevelOrder { level, service, kind }): Body<LevelOrder>,
) -> Ordered {
    app.give(Order::Level { remedy, service, kind, level }).await
}

/// `GET /v1/approvals`
pub(crate) async fn approvals(
    State(app): State<App>,
) -> Result<Json<Vec<view::Approval>>, Failure> {
    let all = app.cell.list(|seen| seen.cell.approvals(seen.now), |approval| approval.id);
    Ok(Json(all.await?))
}

/// `POST /v1/approvals/{id}/approve`
pub(crate) async fn approve(State(app): State<App>, Path(id): Path<String>) -> Ordered {
    let id: u32 = id.parse().map_err(|_| order::Error::NoSuchApproval { id: 0 })?;
    app.give(Order::Approve { id }).await
}

/// `POST /v1/services/{name}/pin`
pub(crate) async fn pin(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(PinOrder { level, for_ms, reason }): Body<PinOrder>,
) -> Ordered {
    app.give(Order::Pin { name, level, for_ms, reason }).await
}

/// `POST /v1/brake`
pub(crate) async fn brake(
    State(app): State<App>,
    Body(BrakeOrder { on, reason }): Body<BrakeOrder>,
) -> Ordered {
    app.give(Order::Brake { on, reason }).await
}
