//! What holds the house together, as functions that this crate's tests call over the repository:
//! which crate may know which, how long files may be, that the glossary's words are the code's.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below a folder whose name ends so, in order.
#[must_use]
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The crates of this workspace that a manifest's `[dependencies]` name.
#[must_use]
pub fn edges(manifest: &str) -> Vec<String> {
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let name = |line: &str| line.strip_prefix("evenkeel-").map(str::to_owned);
    let names = dependencies.lines().filter_map(name);
    names.filter_map(|name| name.split('.').next().map(str::to_owned)).collect()
}
