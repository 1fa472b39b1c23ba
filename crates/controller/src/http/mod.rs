//! The HTTP API: one file for each noun, one router, one port for people, agents and gateways.

mod automation;
mod backups;
mod body;
mod checks;
pub(crate) mod doctor;
mod drills;
mod events;
mod failure;
mod fleet;
mod gate;
mod hosts;
mod imports;
mod incidents;
mod journal;
mod kinds;
mod maintenance;
mod merge;
mod metrics;
mod procedures;
mod serve;
mod services;
mod streams;
mod toil;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post};
use evenkeel_api::Method;
use evenkeel_core::backup::engine::Engine;
use evenkeel_core::kind::Kind;
use evenkeel_core::wire::{AGENT_PATH, GATEWAY_PATH};
use tokio::sync::watch;

use crate::alert::Watch;
use crate::cell_thread::Handle;
use crate::clock::Wall;
use crate::credential::{FleetKey, Token};
use crate::drills::Driller;
use crate::stats::Stats;
use crate::vault::{Standings, Vault};
use failure::Failure;

pub(crate) use serve::serve;

/// Largest body taken: the largest order is a service's name, kind and plan.
const BODY_MAX_BYTES: usize = 64 << 10;

/// What every handler may use.
pub(crate) struct Inner {
    pub cell: Handle,
    pub token: Token,
    pub key: Arc<FleetKey>,
    /// Where the fleet's key lies, for `doctor`.
    pub key_path: PathBuf,
    /// Of archives that begin.
    pub engine: Engine,
    /// Who watches from outside, where somebody does.
    pub watcher: Option<Arc<Watch>>,
    /// How repositories stand to the store's snapshots, where any are taken.
    pub standings: Option<Arc<Standings>>,
    /// What makes places repositories; without one they must be that.
    pub vault: Option<Arc<dyn Vault>>,
    pub wall: Wall,
    pub kinds: &'static [&'static dyn Kind],
    /// Host names answered to beside addresses and `localhost`, in lower case.
    pub allowed_hosts: Vec<String>,
    pub stats: Arc<Stats>,
    /// Turns true when the controller stops.
    pub stopping: watch::Receiver<bool>,
    /// Who exercises emergencies, where somebody does.
    pub driller: Option<Arc<dyn Driller>>,
    /// Where the flight recorder writes.
    pub recordings: PathBuf,
    /// How far the journal was found sound.
    pub checked: doctor::Checked,
}

/// What every handler is given.
pub(crate) type App = Arc<Inner>;

type Route = (Method, &'static str, MethodRouter<App>);

/// Every route of the API, as [`evenkeel_api::ENDPOINTS`] lists them.
fn routes() -> Vec<Route> {
    [of_the_fleet(), of_automation()].concat()
}

fn of_the_fleet() -> Vec<Route> {
    use Method::{Delete, Get, Post};
    vec![
        (Get, "/healthz", get(fleet::healthz)),
        (Get, "/metrics", get(metrics::show)),
        (Get, "/v1/openapi.json", get(fleet::openapi)),
        (Get, "/v1/fleet", get(fleet::show)),
        (Get, "/v1/services", get(services::list)),
        (Post, "/v1/services", post(services::create)),
        (Get, "/v1/services/{name}", get(services::show)),
        (Get, "/v1/services/{name}/explain", get(services::explain)),
        (Get, "/v1/services/{name}/url", get(services::url)),
        (Post, "/v1/services/{name}/restart", post(services::restart)),
        (Post, "/v1/services/{name}/failover", post(services::failover)),
        (Post, "/v1/services/{name}/switchover", post(services::switchover)),
        (Get, "/v1/services/{name}/backups", get(backups::list)),
        (Post, "/v1/services/{name}/backups", post(backups::take)),
        (Post, "/v1/services/{name}/proofs", post(backups::prove)),
        (Post, "/v1/services/{name}/give-up-log", post(backups::give_up)),
        (Post, "/v1/services/{name}/fork", post(backups::fork)),
        (Post, "/v1/services/{name}/rollback", post(backups::rollback)),
        (Post, "/v1/imports", post(imports::begin)),
        (Get, "/v1/backups/{id}", get(backups::show)),
        (Get, "/v1/repositories", get(backups::repositories)),
        (Post, "/v1/repositories", post(backups::add_repository)),
        (Post, "/v1/repositories/{name}/remove", post(backups::remove_repository)),
        (Post, "/v1/services/{name}/retire", post(services::retire)),
        (Post, "/v1/services/{name}/revive", post(services::revive)),
        (Post, "/v1/services/{name}/archive", post(services::archive)),
        (Post, "/v1/services/{name}/terminate", post(services::terminate)),
        (Get, "/v1/hosts", get(hosts::list)),
        (Get, "/v1/hosts/{name}", get(hosts::show)),
        (Delete, "/v1/hosts/{name}", delete(hosts::remove)),
        (Post, "/v1/hosts/{name}/drain", post(hosts::drain)),
        (Post, "/v1/hosts/{name}/return", post(hosts::take_back)),
        (Get, "/v1/kinds", get(kinds::list)),
        (Get, "/v1/kinds/{name}", get(kinds::show)),
        (Get, "/v1/journal", get(journal::list)),
        (Get, "/v1/events", get(events::follow)),
        (Post, "/v1/recovery", post(fleet::end_recovery)),
        (Get, "/v1/doctor", get(doctor::examine)),
    ]
}

/// What is found wrong, what is done about it, and by whom.
fn of_automation() -> Vec<Route> {
    use Method::{Get, Post};
    vec![
        (Get, "/v1/remedies", get(automation::remedies)),
        (Post, "/v1/remedies/{name}/level", post(automation::level)),
        (Get, "/v1/approvals", get(automation::approvals)),
        (Post, "/v1/approvals/{id}/approve", post(automation::approve)),
        (Post, "/v1/services/{name}/pin", post(automation::pin)),
        (Post, "/v1/brake", post(automation::brake)),
        (Get, "/v1/procedures", get(procedures::list)),
        (Get, "/v1/procedures/{name}", get(procedures::show)),
        (Post, "/v1/services/{name}/procedures", post(procedures::run)),
        (Get, "/v1/breakglass", get(procedures::acts)),
        (Post, "/v1/breakglass", post(procedures::open)),
        (Get, "/v1/breakglass/{id}", get(procedures::transcript)),
        (Post, "/v1/breakglass/{id}/approve", post(procedures::approve)),
        (Post, "/v1/breakglass/{id}/end", post(procedures::end)),
        (Post, "/v1/breakglass/{id}/recording", post(procedures::record)),
        (Get, "/v1/checks", get(checks::list)),
        (Get, "/v1/checks/{name}", get(checks::show)),
        (Get, "/v1/findings", get(checks::findings)),
        (Get, "/v1/services/{name}/diagnosis", get(checks::diagnosis)),
        (Get, "/v1/incidents", get(incidents::list)),
        (Get, "/v1/incidents/{id}", get(incidents::show)),
        (Post, "/v1/incidents/{id}/ack", post(incidents::acknowledge)),
        (Get, "/v1/alerts", get(incidents::alerts)),
        (Post, "/v1/alerts/test", post(incidents::test)),
        (Get, "/v1/maintenance", get(maintenance::list)),
        (Post, "/v1/maintenance/{id}/run-now", post(maintenance::run_now)),
        (Post, "/v1/maintenance/{id}/cancel", post(maintenance::cancel)),
        (Get, "/v1/services/{name}/maintenance", get(maintenance::show)),
        (Post, "/v1/services/{name}/maintenance", post(maintenance::plan)),
        (Post, "/v1/services/{name}/maintenance/window", post(maintenance::window)),
        (Get, "/v1/drills", get(drills::list)),
        (Get, "/v1/services/{name}/drills", get(drills::show)),
        (Post, "/v1/services/{name}/drills", post(drills::drilled)),
        (Post, "/v1/services/{name}/drills/schedule", post(drills::schedule)),
        (Post, "/v1/services/{name}/drills/begin", post(drills::begin)),
        (Post, "/v1/services/{name}/drills/lose", post(drills::lose)),
        (Post, "/v1/services/{name}/drills/abort", post(drills::abort)),
        (Get, "/v1/toil", get(toil::show)),
    ]
}

/// The router, with everything that stands before every handler.
pub(crate) fn router(app: App) -> Router {
    let streams = [
        (Method::Get, AGENT_PATH, get(streams::agent)),
        (Method::Get, GATEWAY_PATH, get(streams::gateway)),
    ];
    let router = routes().into_iter().chain(streams);
    router
        .fold(Router::new(), |router, (_, path, handler)| router.route(path, handler))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), gate::pass))
        .with_state(app)
}

/// Waits until the controller stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A controller that is gone has stopped.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn no_such_path() -> Failure {
    let message = "there is nothing at this path; /v1/openapi.json lists what there is";
    Failure::new(StatusCode::NOT_FOUND, "no_such_path", message)
}

async fn no_such_method() -> Failure {
    let message = "this path takes other methods; /v1/openapi.json lists them";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_serves_what_the_document_describes() {
        let mut served: Vec<_> =
            routes().iter().map(|(method, path, _)| (*path, *method)).collect();
        let mut described: Vec<_> =
            evenkeel_api::ENDPOINTS.iter().map(|e| (e.path, e.method)).collect();
        served.sort_unstable();
        described.sort_unstable();
        assert_eq!(served, described);
    }
}
