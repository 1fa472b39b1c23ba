//! Whether the control plane itself is well, and what to do where it is not.

use axum::Json;
use axum::extract::State;
use evenkeel_api::DoctorItem;
use evenkeel_core::moment::Moment;
use evenkeel_core::time::Span;
use evenkeel_core::{host, view};

use super::App;
use super::failure::Failure;

/// `GET /v1/doctor`
pub(crate) async fn examine(State(app): State<App>) -> Result<Json<Vec<DoctorItem>>, Failure> {
    let (fleet, store, repositories) = app
        .cell
        .ask(|seen| {
            let verified = seen.store.verify().map_err(|error| crate::chain(&error));
            let repositories = seen.cell.repositories().iter().map(|place| place.name.clone());
            (seen.cell.fleet(seen.now), verified, repositories.collect::<Vec<String>>())
        })
        .await?;
    let store = match store {
        Ok(verified) => well(
            "store",
            format!(
                "{} rows and a chain of {} journal entries are sound",
                verified.rows, verified.entries
            ),
        ),
        Err(error) => ill("store", error, "stop the controller and put back a sound copy"),
    };
    let mut items = vec![store, posture(&app, &fleet), agents(&fleet), images(&fleet)];
    items.extend([gateways(&fleet), recorder(&app), key(&app)]);
    items.extend(saved(&app, &repositories));
    Ok(Json(items))
}

fn well(name: &str, detail: impl Into<String>) -> DoctorItem {
    DoctorItem { name: name.to_owned(), ok: true, detail: detail.into(), fix: String::new() }
}

fn ill(name: &str, detail: impl Into<String>, fix: &str) -> DoctorItem {
    DoctorItem { name: name.to_owned(), ok: false, detail: detail.into(), fix: fix.to_owned() }
}

fn posture(app: &App, fleet: &view::Fleet) -> DoctorItem {
    match app.cannot_record() {
        Some(posture) => ill(
            "posture",
            posture,
            "make room on the disk or repair it; recording is tried again by itself",
        ),
        None if fleet.posture.starts_with("recovering") => ill(
            "posture",
            fleet.posture.clone(),
            "start the agents that are missing; if no more will come: `evenkeel recover --go-on --hosts N`",
        ),
        None if fleet.posture.starts_with("succeeded") => ill(
            "posture",
            fleet.posture.clone(),
            "stop this controller: another one took its place",
        ),
        None => well("posture", fleet.posture.clone()),
    }
}

fn agents(fleet: &view::Fleet) -> DoctorItem {
    let silent: Vec<String> = fleet
        .hosts
        .iter()
        .filter(|host| host.state != host::State::Up)
        .map(|host| format!("{} is {}", host.name, host.state))
        .collect();
    if fleet.hosts.is_empty() {
        return ill("agents", "no host has joined", "start an agent: `evenkeel up` starts its own");
    }
    if silent.is_empty() {
        return well("agents", format!("{} hosts are heard", fleet.hosts.len()));
    }
    let fix = "look at the agents' logs on those hosts; services there go on serving meanwhile";
    ill("agents", silent.join(", "), fix)
}

fn images(fleet: &view::Fleet) -> DoctorItem {
    let without: Vec<&str> = fleet
        .hosts
        .iter()
        .filter(|host| host.state == host::State::Up && host.image.is_none())
        .map(|host| host.name.as_str())
        .collect();
    if without.is_empty() {
        return well("images", "every host that is up has an image for new members");
    }
    let fix = "install PostgreSQL's server packages there, or fetch an image: `evenkeel image`";
    ill("images", format!("no image on {}", without.join(", ")), fix)
}

fn gateways(fleet: &view::Fleet) -> DoctorItem {
    if fleet.gateways.is_empty() {
        let fix = "agents start their gateways; look at the agents' logs";
        return ill("gateways", "no gateway is heard: endpoints may be closed", fix);
    }
    let late: Vec<&str> =
        fleet.gateways.iter().filter(|g| !g.current).map(|g| g.name.as_str()).collect();
    if late.is_empty() {
        return well("gateways", format!("{} have every route", fleet.gateways.len()));
    }
    let fix = "if it stays so, look at those gateways' logs";
    ill("gateways", format!("routes are missing on {}", late.join(", ")), fix)
}

fn recorder(app: &App) -> DoctorItem {
    if app.stats.recorder_on.value() == 1 {
        return well("flight recorder", "turns are recorded");
    }
    let fix = "make room on the disk of controller/recordings; it is tried again by itself";
    ill("flight recorder", "turns are not recorded; decisions are taken all the same", fix)
}

/// The fleet's key is what no disk but this one has: it must be saved by a person.
fn key(app: &App) -> DoctorItem {
    let saved = app.key_path.with_extension("key.saved");
    if saved.exists() {
        return well("fleet key", "a person said that it is saved elsewhere");
    }
    let fix = "`evenkeel key export --to FILE`, put that file where no disk of this fleet is, then \
               `evenkeel key confirm --file FILE` with the copy";
    ill("fleet key", "nobody has said that it is saved elsewhere", fix)
}

/// Whether the store itself is in the repositories.
fn saved(app: &App, repositories: &[String]) -> Option<DoctorItem> {
    let name = "store backups";
    let standings = app.standings.as_ref()?;
    if repositories.is_empty() {
        let fix = "`evenkeel repository add`: without one a burnt store can only be rebuilt from its hosts";
        return Some(ill(name, "there is no repository that it could go to", fix));
    }
    let now = Moment::of_millis(u64::try_from((app.wall)()).unwrap_or(0));
    let (mut wrong, mut told) = (false, Vec::new());
    for repository in repositories {
        let standing = standings.of(repository);
        let last = match standing.saved {
            Some(at) => format!("{repository}: {} ago", rounded(now.since(at))),
            None => format!("{repository}: not yet"),
        };
        told.push(match standing.failing {
            None => last,
            Some((since, why)) => {
                wrong = true;
                format!("{last}, and it takes none since {since}: {why}")
            }
        });
    }
    let text = told.join("; ");
    let fix = "mend that repository, or add another one; it is tried again by itself";
    Some(if wrong { ill(name, text, fix) } else { well(name, text) })
}

/// To the second: nobody needs more of an age.
fn rounded(age: Span) -> Span {
    Span::secs(age.0 / 1000)
}
