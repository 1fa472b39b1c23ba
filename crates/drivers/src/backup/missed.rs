//! What a server could not store where, though others took it: kept beside its settings, until somebody has
//! made the repositories even.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_core::backup::job::Missed;
use evenkeel_core::moment::Moment;
use evenkeel_core::time::Span;

use super::command::now;
use crate::files::write_synced;

/// A repository that refused nothing for so long takes everything: log is sent once a minute at least.
const OVER_AFTER: Span = Span::secs(150);

fn place(settings: &Path) -> PathBuf {
    settings.with_extension("missed.json")
}

/// When each repository last did not take what another took.
fn read(settings: &Path) -> BTreeMap<String, Moment> {
    let text = fs::read(place(settings)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write(settings: &Path, all: &BTreeMap<String, Moment>) -> std::io::Result<()> {
    let text = serde_json::to_vec(all).expect("moments are JSON");
    write_synced(&place(settings), &text)
}

/// Notes repositories that did not take something just now. What cannot be written down is found at the
/// next failure, when all is compared.
pub fn note(settings: &Path, failed: &[(String, String)]) {
    if failed.is_empty() {
        return;
    }
    let mut all = read(settings);
    all.extend(failed.iter().map(|(repository, _)| (repository.clone(), now())));
    if let Err(error) = write(settings, &all) {
        eprintln!("archive: {}: {error}", place(settings).display());
    }
}

/// Repositories that did not take what others took.
#[must_use]
pub fn all(settings: &Path) -> Vec<Missed> {
    let over = |at: Moment| now().since(at) > OVER_AFTER;
    let all = read(settings).into_iter();
    all.map(|(repository, at)| Missed { repository, over: over(at) }).collect()
}

/// They have everything that was stored until a moment.
///
/// # Errors
/// Of the disk.
pub fn forget(settings: &Path, until: Moment) -> std::io::Result<()> {
    let mut all = read(settings);
    all.retain(|_, at| *at > until);
    write(settings, &all)
}
