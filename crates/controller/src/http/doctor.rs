//! Whether the control plane itself is well, and what to do where it is not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use evenkeel_api::DoctorItem;
use evenkeel_core::digest::Digest;
use evenkeel_core::id::CellId;
use evenkeel_core::journal::{GENESIS, chain};
use evenkeel_core::moment::Moment;
use evenkeel_core::row::Key;
use evenkeel_core::time::Span;
use evenkeel_core::{host, view};
use evenkeel_store::{Error as StoreError, Store, Verified};
use serde::Deserialize;

use super::App;
use super::body::Params;
use super::failure::Failure;
use crate::cell_thread::Unanswered;

/// Entries of the journal that are gone through between two turns: some milliseconds.
const CHAIN_PIECE: usize = 500;
/// A look that is not deep follows the chain no longer than this.
const CHAIN_MAX: Duration = Duration::from_secs(2);

/// `GET /v1/doctor`
pub(crate) async fn examine(
    State(app): State<App>,
    Params(DoctorParams { deep }): Params<DoctorParams>,
) -> Result<Json<Vec<DoctorItem>>, Failure> {
    let fleet = app.fleet().await?;
    let repositories = app.cell.ask(|seen| {
        let repositories = seen.cell.repositories().iter().map(|place| place.name.clone());
        repositories.collect::<Vec<String>>()
    });
    let repositories = repositories.await?;
    let (store, chain) = (store(&app, deep).await?, journal(&app, deep).await?);
    let mut items = vec![store, chain, posture(&app, &fleet), agents(&fleet), images(&fleet)];
    items.extend([gateways(&fleet), recorder(&app), key(&app)]);
    items.extend(saved(&app, &repositories));
    items.extend(watcher(&app));
    Ok(Json(items))
}

/// Parameters of [`examine`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoctorParams {
    #[serde(default)]
    deep: bool,
}

/// How far the journal's chain was found sound by this controller: to which entry, and its link.
#[derive(Debug, Default)]
pub(crate) struct Checked(Mutex<Option<(u64, Digest)>>);

impl Checked {
    fn get(&self) -> (u64, Digest) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.unwrap_or((0, GENESIS))
    }

    fn set(&self, known: (u64, Digest)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

const COPY_BACK: &str = "stop the controller and put back a sound copy";

/// Every row has its checksum; deep: and the whole file and chain once more.
async fn store(app: &App, deep: bool) -> Result<DoctorItem, Failure> {
    let told = if deep {
        app.cell.ask(|seen| seen.store.verify().map(verified)).await?
    } else {
        match app.cell.ask(|seen| seen.store.reads()).await? {
            // Beside the commits: a large store takes seconds.
            Some(reads) => {
                let all = CellId(0)..=CellId(u32::MAX);
                let read = move || count(|take| reads.read(all, take));
                tokio::task::spawn_blocking(read).await.map_err(|_| Unanswered::Stopping)?
            }
            None => app.cell.ask(|seen| count(|take| seen.store.load_each(take))).await?,
        }
    };
    Ok(match told {
        Ok(text) => well("store", text),
        Err(error) => ill("store", crate::chain(&error), COPY_BACK),
    })
}

/// Whoever takes rows that are read.
type Take<'a> = dyn FnMut(CellId, Key, &[u8]) + 'a;

/// Reads every row and says how many there are.
fn count(read: impl FnOnce(&mut Take<'_>) -> Result<(), StoreError>) -> Result<String, StoreError> {
    let mut rows = 0_u64;
    read(&mut |_, _, _| rows += 1)?;
    Ok(format!("{rows} rows are sound"))
}

fn verified(verified: Verified) -> String {
    let Verified { rows, entries, dropped } = verified;
    let before = match dropped {
        0 => String::new(),
        dropped => format!("; {dropped} older ones were dropped by retention"),
    };
    format!("{rows} rows and a chain of {entries} journal entries are sound{before}")
}

/// The journal's chain, on from where it was found sound, in pieces that let the cell turn between them.
async fn journal(app: &App, deep: bool) -> Result<DoctorItem, Failure> {
    let name = "journal";
    let began = Instant::now();
    let (mut at, mut link) = if deep { (0, GENESIS) } else { app.checked.get() };
    let from = at;
    loop {
        let piece = app.cell.ask(move |seen| follow(seen.store, at, link)).await?;
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                let fix = "somebody changed what is past: keep this file as evidence, and put back a sound copy";
                return Ok(ill(name, error, fix));
            }
        };
        (at, link) = (piece.at, piece.link);
        app.checked.set((at, link));
        let kept = stretch(&piece, from);
        if piece.whole {
            let text = format!("{kept}; its head is {}", link.short());
            return Ok(well(name, text));
        }
        if !deep && began.elapsed() >= CHAIN_MAX {
            let text = format!(
                "{kept}; the next look goes on from there, `evenkeel doctor --deep` goes through all"
            );
            return Ok(well(name, text));
        }
    }
}

/// How far the chain was followed.
struct Followed {
    at: u64,
    link: Digest,
    /// Entries that retention dropped before those that are kept.
    dropped: u64,
    /// Whether that is the end.
    whole: bool,
}

/// What is told of it in a look that began after the entry `from`.
fn stretch(followed: &Followed, from: u64) -> String {
    let Followed { at, dropped, .. } = *followed;
    let first = dropped + 1;
    let before = match dropped {
        0 => String::new(),
        dropped => format!(" ({dropped} before them were dropped by retention)"),
    };
    let again = match from {
        from if from >= first => format!(", from {} on in this look", from + 1),
        _ => String::new(),
    };
    format!("entries {first} to {at} form one chain{before}{again}")
}

/// Follows the chain on from a sound place.
fn follow(store: &dyn Store, from: u64, link: Digest) -> Result<Followed, String> {
    // What retention dropped cannot be gone through; what is kept is a chain from there.
    let kept = store.dropped();
    let (from, link) = if kept.0 > from { kept } else { (from, link) };
    let entries = store.journal(None, Some(from), CHAIN_PIECE).map_err(|e| crate::chain(&e))?;
    let (mut at, mut head) = (from, link);
    for recorded in &entries {
        head = chain(head, &recorded.entry);
        if recorded.position != at + 1 {
            return Err(format!("entry {} is missing from the journal", at + 1));
        }
        if head != recorded.link {
            let (subject, text) = (&recorded.entry.subject, &recorded.entry.text);
            let number = recorded.position;
            return Err(format!(
                "the journal's chain breaks at entry {number} ({subject}: {text:?}): it, or its link, was changed"
            ));
        }
        at = recorded.position;
    }
    Ok(Followed { at, link: head, dropped: kept.0, whole: entries.len() < CHAIN_PIECE })
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

/// Whether somebody outside hears that this control plane lives.
fn watcher(app: &App) -> Option<DoctorItem> {
    let name = "watcher";
    let status = app.watcher.as_ref()?.status();
    let (host, sent) = (&status.host, status.sent);
    let fix =
        "mend the watcher, or `[watcher]` in the file of alert channels; pings go on by themselves";
    Some(match (status.failed_in_a_row, status.failure) {
        (0, _) => well(name, format!("{sent} pings went to {host}, with the journal's head")),
        (n, why) => {
            let why = why.unwrap_or_else(|| "nothing was said".to_owned());
            ill(name, format!("{host} took none of the last {n} pings: {why}"), fix)
        }
    })
}

/// To the second: nobody needs more of an age.
fn rounded(age: Span) -> Span {
    Span::secs(age.0 / 1000)
}

#[cfg(test)]
mod tests {
    use evenkeel_core::journal::{Entry, Topic};
    use evenkeel_core::row::Writes;
    use evenkeel_core::time::Time;
    use evenkeel_store::memory::Memory;
    use evenkeel_store::sqlite::Retention;

    use super::*;

    #[test]
    fn what_retention_dropped_is_no_hole_in_the_chain() {
        let mut store = Memory::keeping(Retention { entries_max: 10, age_max: None });
        let entry = |n| Entry {
            at: Time(n),
            topic: Topic::Fleet,
            subject: "fleet".to_owned(),
            text: format!("entry {n}"),
            evidence: Vec::new(),
        };
        for n in 1..=50 {
            let writes = Writes { rows: Vec::new(), journal: vec![entry(n)] };
            store.commit(CellId(1), &writes).unwrap();
        }
        let found = follow(&store, 0, GENESIS).unwrap();
        assert!(found.whole && found.at == 50 && found.dropped >= 30, "{}", found.dropped);
        let text = stretch(&found, 0);
        let (dropped, first) = (found.dropped, found.dropped + 1);
        let expected = format!(
            "entries {first} to 50 form one chain ({dropped} before them were dropped by retention)"
        );
        assert_eq!(text, expected);
        // A look that goes on where another ended says so, unless that is dropped by now.
        let again = follow(&store, found.at, found.link).unwrap();
        assert_eq!(stretch(&again, 45), format!("{expected}, from 46 on in this look"));
        assert_eq!(stretch(&again, 3), expected);
    }
}
