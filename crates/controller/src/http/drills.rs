//! Drills: schedules, results, that one begins or ends.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_api::{DrillBegin, DrillResult, DrillSchedule};
use evenkeel_core::drill::{Begun, Kind, Order as Act, Page};
use evenkeel_core::maintenance::span;
use evenkeel_core::order::{self, Accepted, Order};

use super::App;
use super::body::Body;
use super::failure::Failure;
use crate::cell_thread::Whom;

type Ordered = Result<(StatusCode, Json<Accepted>), Failure>;

fn bad(error: impl std::fmt::Display) -> Failure {
    Failure::bad_input(error.to_string())
}

/// `GET /v1/drills`
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<Page>>, Failure> {
    let all = app.cell.list(|seen| seen.cell.all_drills(), |page| page.service.clone());
    Ok(Json(all.await?))
}

/// `GET /v1/services/{name}/drills`
pub(crate) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Page>, Failure> {
    let asked = name.clone();
    let whom = Whom::Service(name.clone());
    let page = app.cell.ask_of(whom, move |seen| seen.cell.drills(&asked)).await?;
    page.map(Json).ok_or_else(|| order::Error::NoSuchService { name }.into())
}

/// `POST /v1/services/{name}/drills`
pub(crate) async fn drilled(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(result): Body<DrillResult>,
) -> Ordered {
    let DrillResult { drill, gap_ms, lost, acked, failed } = result;
    app.give(Order::Drilled { name, drill, gap_ms, lost, acked, failed }).await
}

/// `POST /v1/services/{name}/drills/schedule`
pub(crate) async fn schedule(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(DrillSchedule { kind, every }): Body<DrillSchedule>,
) -> Ordered {
    let kind = kind.parse().map_err(bad)?;
    let every = every.as_deref().map(span).transpose().map_err(bad)?;
    app.give(Order::Drill { order: Act::Schedule { name, kind, every } }).await
}

/// `POST /v1/services/{name}/drills/begin`
pub(crate) async fn begin(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(DrillBegin { kind }): Body<DrillBegin>,
) -> Ordered {
    let kind: Kind = kind.parse().map_err(bad)?;
    // In its own cell the cell sees to that.
    if app.cell.cells.borrow().len() > 1 {
        let running = app.cell.ask_each(|seen| seen.cell.drills_running(seen.now)).await?;
        let beside = |other: &Kind| kind == Kind::Controller || *other == Kind::Controller;
        if let Some(other) = running.into_iter().flatten().find(beside) {
            let why =
                format!("a drill of {other} runs, and one of the two would cut the other short");
            return Err(order::Error::NoDrill { name, drill: kind.to_string(), why }.into());
        }
    }
    app.give(Order::Drill { order: Act::Begin { name, kind, by: Begun::Person } }).await
}

/// `POST /v1/services/{name}/drills/lose`
pub(crate) async fn lose(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    let asked = name.clone();
    let whom = Whom::Service(name.clone());
    let page = app.cell.ask_of(whom, move |seen| seen.cell.drills(&asked)).await?;
    let refused = |why: &str| order::Error::NoDrill {
        name: name.clone(),
        drill: Kind::Controller.to_string(),
        why: why.to_owned(),
    };
    if page.is_none_or(|page| page.running.as_deref() != Some(Kind::Controller.as_str())) {
        return Err(refused("none runs; `evenkeel drill controller` begins one").into());
    }
    let Some(driller) = &app.driller else {
        return Err(refused("this controller cannot begin anew by itself").into());
    };
    // Only comes back if it could not be done.
    let why = driller.lose();
    Err(refused(&format!("the controller could not begin anew: {why}")).into())
}

/// `POST /v1/services/{name}/drills/abort`
pub(crate) async fn abort(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    app.give(Order::Drill { order: Act::Abort { name } }).await
}
