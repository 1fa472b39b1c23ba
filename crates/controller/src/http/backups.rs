//! Backups, what is made from them, and where they go.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_api::{
    ForkOrder, GiveUpOrder, NewRepository, RepositoryPage, RestoreTarget, RollbackOrder,
    Termination,
};
use evenkeel_core::backup::lineage::{Repository, Target};
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::view;

use super::App;
use super::body::Body;
use super::failure::Failure;
use super::services::{new_secret, stopping};
use crate::cell_thread::Whom;

type Ordered = Result<(StatusCode, Json<Accepted>), Failure>;

/// `GET /v1/services/{name}/backups`
pub(crate) async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Vec<view::BackupRow>>, Failure> {
    let whom = Whom::Service(name.clone());
    Ok(Json(app.cell.ask_of(whom, move |seen| seen.cell.backups(&name)).await??))
}

/// `GET /v1/backups/{id}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<view::BackupRow>, Failure> {
    let asked = id.clone();
    let found = app.cell.ask_each(move |seen| seen.cell.backup(&asked)).await?;
    let mut found: Vec<view::BackupRow> = found.into_iter().flatten().collect();
    // Numbers of backups are their cell's.
    let why = match found.len() {
        1 => return Ok(Json(found.remove(0))),
        0 => format!("no backup has the id {id:?}"),
        n => format!("{n} backups of several cells have the id {id:?}"),
    };
    let message = format!("{why}; `evenkeel backup list SERVICE` shows a service's");
    Err(Failure::new(StatusCode::NOT_FOUND, "no_such_backup", message))
}

/// `POST /v1/services/{name}/backups`
pub(crate) async fn take(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    let keys = app.key.archive_keys(app.engine);
    app.give(Order::Backup { name, keys }).await
}

/// `POST /v1/services/{name}/proofs`
pub(crate) async fn prove(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    app.give(Order::Prove { name }).await
}

/// `POST /v1/services/{name}/give-up-log`
pub(crate) async fn give_up(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(GiveUpOrder { confirm, reason }): Body<GiveUpOrder>,
) -> Ordered {
    app.give(Order::GiveUpLog { name, confirm, reason }).await
}

/// `POST /v1/services/{name}/fork`
pub(crate) async fn fork(
    State(app): State<App>,
    Path(source): Path<String>,
    Body(ForkOrder { name, target }): Body<ForkOrder>,
) -> Ordered {
    let target = target_of(target)?;
    let asked = source.clone();
    let whom = Whom::Service(source.clone());
    let kind = app.cell.ask_of(whom, move |seen| Some(seen.cell.service(&asked, seen.now)?.kind));
    let kind = kind.await?;
    let kind = kind.ok_or_else(|| order::Error::NoSuchService { name: source.clone() })?;
    let (secret, keys) = (new_secret(&app, &kind).await?, app.key.archive_keys(app.engine));
    app.give(Order::Fork { source, name, target, secret, keys }).await
}

/// `POST /v1/services/{name}/rollback`
pub(crate) async fn rollback(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(RollbackOrder { target }): Body<RollbackOrder>,
) -> Ordered {
    let target = target_of(target)?;
    let keys = app.key.archive_keys(app.engine);
    app.give(Order::Rollback { name, target, keys }).await
}

/// `POST /v1/repositories/{name}/remove`
pub(crate) async fn remove_repository(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(Termination { confirm }): Body<Termination>,
) -> Ordered {
    app.give(Order::RemoveRepository { name, confirm }).await
}

/// `GET /v1/repositories`
pub(crate) async fn repositories(
    State(app): State<App>,
) -> Result<Json<Vec<RepositoryPage>>, Failure> {
    let all = app.cell.ask(|seen| seen.cell.repositories().to_vec()).await?;
    let standing = |name: &str| app.standings.as_ref().map(|standings| standings.of(name));
    let page = |repository: Repository| RepositoryPage {
        place: repository.location.to_string(),
        store_saved_at: standing(&repository.name).and_then(|s| s.saved).map(|at| at.to_string()),
        store_trouble: standing(&repository.name)
            .and_then(|s| s.failing)
            .map(|(since, why)| format!("since {since}: {why}")),
        name: repository.name,
    };
    Ok(Json(all.into_iter().map(page).collect()))
}

/// `POST /v1/repositories`
pub(crate) async fn add_repository(
    State(app): State<App>,
    Body(new): Body<NewRepository>,
) -> Ordered {
    let bad = |message| Failure::new(StatusCode::BAD_REQUEST, "bad_repository", message);
    let location = new.location().map_err(bad)?;
    let repository = Repository { name: new.name, location };
    if let Some(vault) = app.vault.clone() {
        let place = repository.clone();
        let founded = tokio::task::spawn_blocking(move || vault.found(&place)).await;
        let unfit = |message| Failure::new(StatusCode::CONFLICT, "unfit_repository", message);
        founded.map_err(|_| stopping())?.map_err(unfit)?;
    }
    app.give(Order::AddRepository { repository }).await
}

fn target_of(asked: RestoreTarget) -> Result<Target, Failure> {
    let bad = |message: String| Failure::new(StatusCode::BAD_REQUEST, "bad_target", message);
    match (asked.at, asked.lsn, asked.point) {
        (None, None, None) => Ok(Target::Latest),
        (Some(at), None, None) => at
            .parse()
            .map(Target::Moment)
            .map_err(|error: evenkeel_core::moment::Error| bad(error.to_string())),
        (None, Some(lsn), None) => lsn
            .parse()
            .map(Target::Position)
            .map_err(|error: evenkeel_core::promise::BadPosition| bad(error.to_string())),
        (None, None, Some(point)) => Ok(Target::Point(point)),
        _ => Err(bad("name one target: a moment, a position or a restore point".to_owned())),
    }
}
