//! Hosts.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::view;

use super::App;
use super::failure::Failure;
use super::services::OPERATOR;
use crate::cell_thread::Whom;

/// `GET /v1/hosts`
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<view::Host>>, Failure> {
    let all = app.cell.list(|seen| seen.cell.hosts(seen.now), |host| host.name.clone());
    Ok(Json(all.await?))
}

/// `GET /v1/hosts/{name}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<view::Host>, Failure> {
    let asked = name.clone();
    let whom = Whom::Host(name.clone());
    let host = app.cell.ask_of(whom, move |seen| seen.cell.host(&asked, seen.now)).await?;
    host.map(Json).ok_or_else(|| order::Error::NoSuchHost { name }.into())
}

/// `POST /v1/hosts/{name}/drain`
pub(crate) async fn drain(
    State(app): State<App>,
    Path(host): Path<String>,
) -> Result<(StatusCode, Json<Accepted>), Failure> {
    app.give(Order::Drain { host }).await
}

/// `POST /v1/hosts/{name}/return`
pub(crate) async fn take_back(
    State(app): State<App>,
    Path(host): Path<String>,
) -> Result<(StatusCode, Json<Accepted>), Failure> {
    app.give(Order::Return { host }).await
}

/// `DELETE /v1/hosts/{name}`
pub(crate) async fn remove(
    State(app): State<App>,
    Path(host): Path<String>,
) -> Result<(StatusCode, Json<Accepted>), Failure> {
    app.give(Order::RemoveHost { host }).await
}

impl super::Inner {
    /// Gives an order in the name of whoever holds the token.
    pub(crate) async fn give(&self, order: Order) -> Result<(StatusCode, Json<Accepted>), Failure> {
        let accepted = self.cell.order(OPERATOR.to_owned(), order).await?;
        Ok((StatusCode::ACCEPTED, Json(accepted)))
    }
}
