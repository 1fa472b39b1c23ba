//! The toil ledger.

use axum::Json;
use axum::extract::State;
use evenkeel_core::toil::Page;

use super::App;
use super::failure::Failure;

/// `GET /v1/toil`
pub(crate) async fn show(State(app): State<App>) -> Result<Json<Page>, Failure> {
    let pages = app.cell.ask_each(|seen| seen.cell.toil(seen.now)).await?;
    Ok(Json(Page::of_all(pages)))
}
