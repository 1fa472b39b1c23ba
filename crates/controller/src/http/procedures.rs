//! Procedures, their runs, and what people do by hand.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_api::{GlassOrder, PersonOrder, ProcedureOrder, ProcedurePage, RecordingOrder};
use evenkeel_core::act::Act;
use evenkeel_core::order::{Accepted, Error, Glass, Order};
use evenkeel_core::time::Span;

use super::App;
use super::body::Body;
use super::failure::Failure;
use super::services::OPERATOR;
use crate::cell_thread::Whom;

type Ordered = Result<(StatusCode, Json<Accepted>), Failure>;

/// `GET /v1/procedures`
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<ProcedurePage>>, Failure> {
    let all = app.cell.ask(|seen| seen.cell.procedures()).await?;
    Ok(Json(all.into_iter().map(ProcedurePage::of).collect()))
}

/// `GET /v1/procedures/{name}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<ProcedurePage>, Failure> {
    let all = app.cell.ask(|seen| seen.cell.procedures()).await?;
    let known: Vec<String> = all.iter().map(|p| p.manifest.name.clone()).collect();
    let found = all.into_iter().find(|procedure| procedure.manifest.name == name);
    let none = || Error::NoSuchProcedure { name, known: known.join(", ") };
    Ok(Json(ProcedurePage::of(found.ok_or_else(none)?)))
}

/// `POST /v1/services/{name}/procedures`
pub(crate) async fn run(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(order): Body<ProcedureOrder>,
) -> Ordered {
    let ProcedureOrder { procedure, member, parameters, dry_run } = order;
    app.give(Order::Procedure { name, procedure, member, parameters, dry_run }).await
}

/// `GET /v1/breakglass`
pub(crate) async fn acts(State(app): State<App>) -> Result<Json<Vec<Act>>, Failure> {
    // The newest first, as each cell has them.
    let newest = |act: &Act| (Reverse(act.begun), Reverse(act.id));
    Ok(Json(app.cell.list(|seen| seen.cell.kept_acts(), newest).await?))
}

/// `POST /v1/breakglass`
pub(crate) async fn open(State(app): State<App>, Body(order): Body<GlassOrder>) -> Ordered {
    let glass = Glass {
        service: order.service,
        person: order.person.unwrap_or_else(|| OPERATOR.to_owned()),
        reason: order.reason,
        lasts: Span::secs(u64::from(order.lasts_seconds)),
        shell: order.shell,
        procedure: order.procedure,
        member: order.member,
        parameters: order.parameters,
        dry_run: order.dry_run,
        second: order.second,
    };
    app.give(Order::BreakGlass { glass: Box::new(glass) }).await
}

/// `GET /v1/breakglass/{id}`
pub(crate) async fn transcript(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Act>, Failure> {
    let id = number(&id)?;
    let found = app.cell.ask_of(Whom::of_id(id), move |seen| seen.cell.act(id)).await?;
    Ok(Json(found.ok_or(Error::NoSuchAct { id })?))
}

/// `POST /v1/breakglass/{id}/approve`
pub(crate) async fn approve(
    State(app): State<App>,
    Path(act): Path<String>,
    Body(PersonOrder { person }): Body<PersonOrder>,
) -> Ordered {
    app.give(Order::ApproveAct { act: number(&act)?, person }).await
}

/// `POST /v1/breakglass/{id}/end`
pub(crate) async fn end(
    State(app): State<App>,
    Path(act): Path<String>,
    Body(PersonOrder { person }): Body<PersonOrder>,
) -> Ordered {
    app.give(Order::EndAct { act: number(&act)?, person }).await
}

/// `POST /v1/breakglass/{id}/recording`
pub(crate) async fn record(
    State(app): State<App>,
    Path(act): Path<String>,
    Body(RecordingOrder { typed, shown }): Body<RecordingOrder>,
) -> Ordered {
    app.give(Order::RecordAct { act: number(&act)?, typed, shown }).await
}

fn number(id: &str) -> Result<u32, Failure> {
    let bad =
        |_| Failure::bad_input(format!("{id:?} is no act's number; /v1/breakglass lists them"));
    id.parse().map_err(bad)
}
