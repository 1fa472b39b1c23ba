//! The journal.

use axum::Json;
use axum::extract::State;
use evenkeel_api::{JournalEntry, JournalQuery};
use evenkeel_store::Store;

use super::App;
use super::body::Params;
use super::failure::Failure;

/// Entries in an answer that does not say how many.
const LIMIT_DEFAULT: usize = 100;
/// Entries in any answer.
pub(crate) const LIMIT_MAX: usize = 1_000;

/// `GET /v1/journal`
pub(crate) async fn list(
    State(app): State<App>,
    Params(query): Params<JournalQuery>,
) -> Result<Json<Vec<JournalEntry>>, Failure> {
    let JournalQuery { subject, after, limit } = query;
    let limit = limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let found = app.cell.ask(move |seen| read(seen.store, subject.as_deref(), after, limit));
    Ok(Json(found.await??))
}

/// Entries as the store gives them, oldest first.
pub(crate) fn read(
    store: &dyn Store,
    subject: Option<&str>,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<JournalEntry>, Failure> {
    let entries = store.journal(subject, after, limit).map_err(|error| {
        let message = format!("the journal cannot be read: {}", crate::chain(&error));
        let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
        Failure::new(status, "cannot_read", message)
    })?;
    Ok(entries
        .into_iter()
        .map(|recorded| JournalEntry {
            position: recorded.position,
            at: recorded.entry.at,
            topic: recorded.entry.topic,
            subject: recorded.entry.subject,
            text: recorded.entry.text,
            evidence: recorded.entry.evidence,
            link: recorded.link,
        })
        .collect())
}
