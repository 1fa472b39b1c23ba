//! Maintenance: windows and planned work.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_api::{PlanOrder, WindowOrder};
use evenkeel_core::maintenance::{Item, Order as Act, Page, Windows, day};
use evenkeel_core::order::{self, Accepted, Order};

use super::App;
use super::body::Body;
use super::failure::Failure;
use crate::cell_thread::Whom;

type Ordered = Result<(StatusCode, Json<Accepted>), Failure>;

fn bad(error: impl std::fmt::Display) -> Failure {
    Failure::bad_input(error.to_string())
}

fn number(id: &str) -> Result<u32, Failure> {
    id.parse().map_err(|_| Failure::bad_input(format!("{id:?} is no number of planned work")))
}

/// `GET /v1/maintenance`
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<Item>>, Failure> {
    let all = app.cell.list(|seen| seen.cell.planned_work(seen.now), |item| item.id);
    Ok(Json(all.await?))
}

/// `POST /v1/maintenance/{id}/run-now`
pub(crate) async fn run_now(State(app): State<App>, Path(id): Path<String>) -> Ordered {
    app.give(Order::Maintenance { order: Act::RunNow { id: number(&id)? } }).await
}

/// `POST /v1/maintenance/{id}/cancel`
pub(crate) async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Ordered {
    app.give(Order::Maintenance { order: Act::Cancel { id: number(&id)? } }).await
}

/// `GET /v1/services/{name}/maintenance`
pub(crate) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Page>, Failure> {
    let asked = name.clone();
    let whom = Whom::Service(name.clone());
    let page = app.cell.ask_of(whom, move |seen| seen.cell.maintenance(&asked, seen.now)).await?;
    page.map(Json).ok_or_else(|| order::Error::NoSuchService { name }.into())
}

/// `POST /v1/services/{name}/maintenance`
pub(crate) async fn plan(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(PlanOrder { task, reason, required_by }): Body<PlanOrder>,
) -> Ordered {
    let task = task.parse().map_err(bad)?;
    let required_by = required_by.as_deref().map(day).transpose().map_err(bad)?;
    let order = Act::Plan { name, task, reason, required_by };
    app.give(Order::Maintenance { order }).await
}

/// `POST /v1/services/{name}/maintenance/window`
pub(crate) async fn window(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(WindowOrder { window }): Body<WindowOrder>,
) -> Ordered {
    let windows = window.map(|text| text.parse::<Windows>()).transpose().map_err(bad)?;
    app.give(Order::Maintenance { order: Act::Window { name, windows } }).await
}
