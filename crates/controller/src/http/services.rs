//! Services: what there is, orders about them, how to connect.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use evenkeel_api::{FailoverOrder, NewService, SwitchoverOrder, Termination, UrlAnswer};
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::view;
use serde::Deserialize;

use super::App;
use super::body::{Body, Params};
use super::failure::Failure;
use crate::cell_thread::Whom;

/// Who gives orders: whoever holds the fleet's one token.
pub(crate) const OPERATOR: &str = "operator";

type Ordered = Result<(StatusCode, Json<Accepted>), Failure>;

/// `GET /v1/services`
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<view::Service>>, Failure> {
    let all = app.cell.list(|seen| seen.cell.services(seen.now), |service| service.name.clone());
    Ok(Json(all.await?))
}

/// `POST /v1/services`
pub(crate) async fn create(State(app): State<App>, Body(new): Body<NewService>) -> Ordered {
    let NewService { name, kind, plan, backup_engine } = new;
    // An unknown kind is refused by the cell, which names those there are.
    let secret = new_secret(&app, &kind).await?;
    let keys = Some(app.key.archive_keys(backup_engine.unwrap_or(app.engine)));
    app.give(Order::Create { name, kind, plan, secret, keys }).await
}

/// A packed secret for a new owner; empty for a kind that is not known.
pub(crate) async fn new_secret(app: &App, kind: &str) -> Result<Vec<u8>, Failure> {
    let Some(kind) = app.kinds.iter().find(|known| known.name() == kind) else {
        return Ok(Vec::new());
    };
    let (app, kind) = (Arc::clone(app), *kind);
    // A verifier is made slowly on purpose.
    let pack = move || {
        let salt: [u8; 16] = rand::random();
        kind.secret(&app.key.password(&salt), &salt)
    };
    tokio::task::spawn_blocking(pack).await.map_err(|_| stopping())
}

/// `GET /v1/services/{name}`
pub(crate) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<view::Service>, Failure> {
    let asked = name.clone();
    let whom = Whom::Service(name.clone());
    let service = app.cell.ask_of(whom, move |seen| seen.cell.service(&asked, seen.now)).await?;
    service.map(Json).ok_or_else(|| order::Error::NoSuchService { name }.into())
}

/// `GET /v1/services/{name}/explain`
pub(crate) async fn explain(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<view::Explain>, Failure> {
    let asked = name.clone();
    let whom = Whom::Service(name.clone());
    let explain = app.cell.ask_of(whom, move |seen| seen.cell.explain(&asked, seen.now)).await?;
    let mut explain = explain.ok_or(order::Error::NoSuchService { name })?;
    if let Some(posture) = app.cannot_record() {
        explain.posture = posture;
    }
    Ok(Json(explain))
}

/// Parameters of [`url`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UrlParams {
    #[serde(default)]
    direct: bool,
    #[serde(default)]
    pooled: bool,
}

/// `GET /v1/services/{name}/url`
pub(crate) async fn url(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(UrlParams { direct, pooled }): Params<UrlParams>,
) -> Result<Json<UrlAnswer>, Failure> {
    let asked = name.clone();
    let found = app.cell.ask_of(Whom::Service(name.clone()), move |seen| {
        let service = seen.cell.service(&asked, seen.now)?;
        let (kind, secret) = seen.cell.secret(&asked)?;
        let salt = kind.salt(secret).map(<[u8]>::to_vec);
        Some((service, kind.scheme(), salt))
    });
    let found = found.await?;
    let (service, scheme, salt) =
        found.ok_or_else(|| order::Error::NoSuchService { name: name.clone() })?;
    if pooled && service.pooled_port.is_none() {
        return Err(not_pooled(&service));
    }
    let port = service.pooled_port.filter(|_| pooled).unwrap_or(service.endpoint_port);
    let place = if direct && !pooled {
        let primary = service.members.iter().find(|member| member.role == "primary");
        primary.filter(|member| !member.address.is_empty()).map(|m| (m.address.clone(), m.port))
    } else {
        endpoint_address(&service).map(|address| (address, port))
    };
    let Some((host, port)) = place else { return Err(no_endpoint(&service)) };
    let hosts = if direct && !pooled { hosts(&service) } else { shown(&host, port) };
    let password = salt.map_or_else(String::new, |salt| app.key.password(&salt));
    let database = service.owner;
    let user = if password.is_empty() { String::new() } else { database.clone() };
    let url = url_of(scheme, &hosts, &user, &password, &database);
    Ok(Json(UrlAnswer { url, host, port, user, password, database }))
}

/// The address inside the endpoint's URL, which outlives the gateway's stream.
fn endpoint_address(service: &view::Service) -> Option<String> {
    let (_, place) = service.url.as_ref()?.split_once('@')?;
    place.rsplit_once(':').map(|(address, _)| address.to_owned())
}

/// Where a server is, as a URL has it.
fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Every member that may take writes, the one that does first: clients try them in that order.
fn hosts(service: &view::Service) -> String {
    let may = |member: &&view::Member| {
        matches!(member.role.as_str(), "primary" | "standby") && !member.address.is_empty()
    };
    let mut members: Vec<&view::Member> = service.members.iter().filter(may).collect();
    members.sort_by_key(|member| member.role != "primary");
    members.iter().map(|m| shown(&m.address, m.port)).collect::<Vec<_>>().join(",")
}

fn url_of(scheme: &str, hosts: &str, user: &str, password: &str, database: &str) -> String {
    // Names and passwords are made of characters that a URL takes as they are.
    let login = if user.is_empty() { String::new() } else { format!("{user}:{password}@") };
    let writable = if hosts.contains(',') { "?target_session_attrs=read-write" } else { "" };
    format!("{scheme}://{login}{hosts}/{database}{writable}")
}

fn not_pooled(service: &view::Service) -> Failure {
    let message = format!(
        "{} has no pooled endpoint: plan {} has none; `evenkeel kind show {}` names those that do",
        service.name, service.plan, service.kind
    );
    Failure::new(StatusCode::CONFLICT, "not_pooled", message)
}

fn no_endpoint(service: &view::Service) -> Failure {
    let message = format!(
        "{} has no endpoint now: it is {}; `evenkeel explain {}` says why",
        service.name, service.state, service.name
    );
    Failure::new(StatusCode::CONFLICT, "no_endpoint", message)
}

/// `POST /v1/services/{name}/restart`
pub(crate) async fn restart(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    app.give(Order::Restart { name }).await
}

/// `POST /v1/services/{name}/failover`
pub(crate) async fn failover(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(FailoverOrder { reason }): Body<FailoverOrder>,
) -> Ordered {
    app.give(Order::Failover { name, reason }).await
}

/// `POST /v1/services/{name}/switchover`
pub(crate) async fn switchover(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(SwitchoverOrder { to }): Body<SwitchoverOrder>,
) -> Ordered {
    app.give(Order::Switchover { name, to }).await
}

/// `POST /v1/services/{name}/retire`
pub(crate) async fn retire(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    app.give(Order::Retire { name }).await
}

/// `POST /v1/services/{name}/revive`
pub(crate) async fn revive(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    let keys = Some(app.key.archive_keys(app.engine));
    app.give(Order::Revive { name, keys }).await
}

/// `POST /v1/services/{name}/archive`
pub(crate) async fn archive(State(app): State<App>, Path(name): Path<String>) -> Ordered {
    app.give(Order::Archive { name }).await
}

/// `POST /v1/services/{name}/terminate`
pub(crate) async fn terminate(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(Termination { confirm }): Body<Termination>,
) -> Ordered {
    app.give(Order::Terminate { name, confirm }).await
}

pub(super) fn stopping() -> Failure {
    crate::cell_thread::Unanswered::Stopping.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_login_only_where_there_is_one() {
        let of = |hosts: &str, user| url_of("postgres", hosts, user, "pw", "orders");
        assert_eq!(of("127.0.0.1:21000", "orders"), "postgres://orders:pw@127.0.0.1:21000/orders");
        assert_eq!(of(&shown("::1", 21_000), ""), "postgres://[::1]:21000/orders");
        assert_eq!(of("a:1,b:2", ""), "postgres://a:1,b:2/orders?target_session_attrs=read-write");
    }
}
