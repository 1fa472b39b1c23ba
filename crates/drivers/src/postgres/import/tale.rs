//! What is to be told of an import: kept beside the directory that is being made, so that it outlives
//! both the agent and whatever is thrown away between two tries. It holds no secret.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use evenkeel_core::id::ServiceId;
use evenkeel_core::import::{Chosen, Stage, Told};
use serde::{Deserialize, Serialize};

use super::Layout;
use crate::files::{fault, write_synced};

/// Progress is written down no more often.
const STEP: Duration = Duration::from_millis(500);

/// The file of a member's import.
pub fn file_of(layout: &Layout) -> PathBuf {
    beside(layout, "json")
}

/// There when an import is to end.
pub fn stop_of(layout: &Layout) -> PathBuf {
    beside(layout, "stop")
}

fn beside(layout: &Layout, end: &str) -> PathBuf {
    let number = layout.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    layout.root.with_file_name(format!(".import-{number}.{end}"))
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    service: ServiceId,
    store: String,
    tries: u32,
    told: Told,
}

/// An import's tale.
pub struct Tale {
    path: PathBuf,
    stop: PathBuf,
    kept: Kept,
    /// What is told of it.
    pub told: Told,
    written: Instant,
}

impl Tale {
    /// What was written of a goal's member.
    pub fn read(layout: &Layout, goal: &Goal) -> Option<Self> {
        let path = file_of(layout);
        let kept: Kept = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let own =
            (kept.service, kept.store.as_str()) == (goal.identity.service, goal.store.0.as_str());
        let told = kept.told.clone();
        let stop = stop_of(layout);
        own.then(|| Self { path, stop, kept, told, written: Instant::now() })
    }

    /// The same, begun where there is none.
    pub fn open(layout: &Layout, goal: &Goal) -> Result<Self, Error> {
        if let Some(tale) = Self::read(layout, goal) {
            return Ok(tale);
        }
        let (service, store) = (goal.identity.service, goal.store.0.clone());
        let kept = Kept { service, store, tries: 0, told: Told::default() };
        let (path, stop) = (file_of(layout), stop_of(layout));
        let mut tale = Self { path, stop, kept, told: Told::default(), written: Instant::now() };
        tale.write()?;
        Ok(tale)
    }

    fn write(&mut self) -> Result<(), Error> {
        self.kept.told = self.told.clone();
        self.written = Instant::now();
        let text = serde_json::to_vec(&self.kept).expect("a tale is JSON");
        write_synced(&self.path, &text).map_err(fault("cannot write", &self.path))
    }

    /// Whether it is to end.
    pub fn is_interrupted(&self) -> bool {
        self.stop.exists()
    }

    /// How often it failed on the way.
    pub const fn tries(&self) -> u32 {
        self.kept.tries
    }

    /// It failed on the way once more.
    pub fn count(&mut self) -> Result<(), Error> {
        self.kept.tries += 1;
        self.write()
    }

    /// It is at another stage, of so many bytes.
    pub fn stage(&mut self, stage: Stage, total: u64) -> Result<(), Error> {
        (self.told.stage, self.told.done, self.told.total) = (stage, 0, total);
        self.write()
    }

    /// How it is done.
    pub fn chose(&mut self, chosen: Chosen) -> Result<(), Error> {
        self.told.chosen = Some(chosen);
        self.write()
    }

    /// So many bytes are done. What cannot be written now is written next time.
    pub fn progress(&mut self, done: u64, total: u64) {
        (self.told.done, self.told.total) = (done, total);
        if self.written.elapsed() >= STEP {
            let _ = self.write();
        }
    }

    /// What is other than in the source, or worth a person's knowing.
    pub fn change(&mut self, changes: Vec<String>) -> Result<(), Error> {
        for change in changes {
            if !self.told.changes.contains(&change) {
                self.told.changes.push(change);
            }
        }
        self.write()
    }

    /// It failed for good.
    pub fn fail(&mut self, error: &Error) -> Result<(), Error> {
        self.told.failed = Some(error.to_string());
        self.write()
    }
}
