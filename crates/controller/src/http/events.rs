//! Server-sent events: the journal as it grows.
//!
//! Every event is read from the store after its commit, so a stream that breaks goes on where it
//! was by its last position, and none sees what was not recorded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use evenkeel_api::JournalEntry;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::watch;

use super::body::Params;
use super::failure::Failure;
use super::{App, journal};
use crate::stats::Held;

/// Streams at once: each reads the store for itself.
const STREAMS_MAX: i64 = 64;
/// Something is said at least this often, so that a broken connection is found out by both sides.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Parameters of [`follow`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowParams {
    after: Option<u64>,
}

/// `GET /v1/events`
pub(crate) async fn follow(
    State(app): State<App>,
    Params(params): Params<FollowParams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let last =
        match headers.get("last-event-id") {
            Some(id) => Some(id.to_str().ok().and_then(|id| id.parse().ok()).ok_or_else(|| {
                Failure::bad_input("Last-Event-ID is not a position of the journal")
            })?),
            None => None,
        };
    if app.stats.events.value() >= STREAMS_MAX {
        let message = format!("{STREAMS_MAX} streams of events are open already; close one");
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message));
    }
    let after = last.or(params.after).unwrap_or(*app.cell.head.borrow());
    let follower = Follower {
        head: app.cell.head.clone(),
        stopping: app.stopping.clone(),
        after,
        read: VecDeque::new(),
        _held: Held::of(&app.stats, |stats| &stats.events),
        app,
    };
    let events = unfold(follower, |mut follower| async move {
        let entry = follower.next().await?;
        let event = Event::default().id(entry.position.to_string()).json_data(&entry).ok()?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Follower {
    app: App,
    head: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    after: u64,
    read: VecDeque<JournalEntry>,
    _held: Held,
}

impl Follower {
    /// The next entry; `None` ends the stream, and whoever listens asks again.
    async fn next(&mut self) -> Option<JournalEntry> {
        while self.read.is_empty() {
            let after = self.after;
            tokio::select! {
                () = super::stopped(&mut self.stopping) => return None,
                head = self.head.wait_for(|head| *head > after) => {
                    head.ok()?;
                }
            }
            let read = self
                .app
                .cell
                .ask(move |seen| journal::read(seen.store, None, Some(after), journal::LIMIT_MAX));
            self.read = read.await.ok()?.ok()?.into();
            self.after = self.read.back().map_or(after, |entry| entry.position);
        }
        self.read.pop_front()
    }
}
