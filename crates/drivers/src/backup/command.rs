//! What a server calls for each file of its log, to store it and to have it back.
//!
//! `archive-push SETTINGS PATH NAME` and `archive-fetch SETTINGS NAME PATH`, as commands of the
//! launcher. They live no longer than one file: a server's log goes on its way though every agent and
//! controller is dead. What came of the last one is left beside the settings, for the agent to tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use evenkeel_core::backup::archive::{self, Archived, Error};
use evenkeel_core::backup::engine::Engine as Name;
use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::lineage::Archive;
use evenkeel_core::id::Term;
use evenkeel_core::moment::Moment;
use serde::{Deserialize, Serialize};

use super::engine::{self, Engine, LogFile, Tools};
use super::missed;
use super::pace::Paced;
use crate::Setup;
use crate::image::Image;

/// The command to store.
pub const PUSH: &str = "archive-push";
/// The command to have back.
pub const FETCH: &str = "archive-fetch";
/// What the disk guard leaves beside the settings.
pub const LEVEL: &str = "guard.level";
/// Longest error that is left for the agent.
const ERROR_MAX: usize = 500;

/// What the commands go by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where the log goes; `None`: nowhere, and nobody was promised that it would.
    pub archive: Option<Archive>,
    /// The term of the goal this was written for.
    pub term: Term,
    /// Where the host keeps its pace towards repositories, for all its servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<PathBuf>,
    /// pgBackRest, where it is the archive's engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backrest: Option<Image>,
}

impl Settings {
    /// What the commands go by on a host.
    #[must_use]
    pub fn of(setup: &Setup, archive: Option<&Archive>, term: Term) -> Self {
        let driven = archive.is_some_and(|archive| archive.engine == Name::PgBackRest);
        let backrest = setup.backrest_image.clone().filter(|_| driven);
        let pace = Some(setup.members_dir.join(".pace"));
        Self { archive: archive.cloned(), term, pace, backrest }
    }

    /// The archive's engine; its own files are beside the settings.
    fn engine(&self, place: &Path) -> Result<Box<dyn Engine>, Error> {
        let none = || Error::Unreachable { repository: "none".into(), why: "there is none".into() };
        let archive = self.archive.as_ref().ok_or_else(none)?;
        engine::open(archive, &Tools { dir: tools_of(place), backrest: self.backrest.clone() })
    }
}

/// Where an engine's own files are, beside the settings.
#[must_use]
pub fn tools_of(settings: &Path) -> PathBuf {
    settings.with_file_name("engine")
}

/// What came of the last file, where it was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Which.
    pub name: String,
    /// When.
    pub at: Moment,
    /// Why it was not stored.
    pub error: Option<String>,
    /// Who did not take it.
    #[serde(default)]
    pub refused: Vec<String>,
}

/// Now, by this machine's clock.
#[must_use]
pub fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Runs one of the commands; `None` if the arguments name neither. The exit code.
#[must_use]
pub fn main(arguments: &[String]) -> Option<u8> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [PUSH, settings, path, name] => {
            let result = push(settings.as_ref(), path.as_ref(), name);
            Some(ended(archive::archive_exit(&result), result.map(drop), name))
        }
        [FETCH, settings, name, path] => {
            let result = fetch(settings.as_ref(), name, path.as_ref());
            Some(ended(archive::restore_exit(&result), result, name))
        }
        [PUSH | FETCH, ..] => {
            eprintln!("{}: settings, a path and a name are needed", words[0]);
            // Neither an archiver nor a recovery may take it for an answer.
            Some(126)
        }
        _ => None,
    }
}

fn ended(code: u8, result: Result<(), Error>, name: &str) -> u8 {
    match result {
        // A server asks for what comes next in its log, and for timelines there may not be.
        Ok(()) | Err(Error::NotThere { .. }) => {}
        Err(error) => eprintln!("archive: {name}: {error}"),
    }
    code
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    let why = format!("{} cannot be read: {error}", path.display());
    Error::Unreachable { repository: "any".to_owned(), why }
}

fn read(path: &Path) -> Result<Settings, Error> {
    let text = fs::read(path).map_err(|error| unreadable(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| unreadable(path, &error))
}

fn push(settings: &Path, path: &Path, name: &str) -> Result<Archived, Error> {
    let read = read(settings)?;
    if read.archive.is_none() {
        return Ok(Archived::Already);
    }
    let (path, data) = (absolute(path)?, absolute(".".as_ref())?);
    let file = LogFile { name, path: &path, data: &data };
    let pace = Paced::new(read.pace.as_deref(), level(settings));
    let stored = read.engine(settings).and_then(|engine| {
        let stored = engine.push(&file, read.term, &pace)?;
        if engine.capabilities().evens {
            missed::note(settings, &pace.failed());
        }
        Ok(stored)
    });
    // Each repository has its own trouble, and a person must know of all.
    let (refused, all): (Vec<String>, Vec<String>) = pace.failed().into_iter().unzip();
    let told = |error: &Error| if all.len() > 1 { all.join("; ") } else { error.to_string() };
    leave(settings, name, stored.as_ref().err().map(told), refused);
    stored
}

/// Where the last file's outcome is, beside the settings.
#[must_use]
pub fn last_of(settings: &Path) -> PathBuf {
    settings.with_extension("last.json")
}

/// How much room the server's disk has, as the disk guard left it beside the settings.
fn level(settings: &Path) -> Level {
    let text = fs::read(settings.with_file_name(LEVEL)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// What is lost of it with a crash is told again by the next file. After a file that was stored there is
/// nothing to tell: to write that down each time would wait for the disk once more.
fn leave(settings: &Path, name: &str, error: Option<String>, refused: Vec<String>) {
    let place = last_of(settings);
    let left = match error {
        None => crate::files::remove_file(&place),
        Some(error) => {
            let error = error.chars().take(ERROR_MAX).collect();
            let last = Last { name: name.to_owned(), at: now(), error: Some(error), refused };
            let text = serde_json::to_vec(&last).expect("an outcome is JSON");
            let new = settings.with_extension("last.new");
            fs::write(&new, text).and_then(|()| fs::rename(&new, &place))
        }
    };
    if let Err(error) = left {
        eprintln!("archive: {}: {error}", place.display());
    }
}

fn fetch(settings: &Path, name: &str, path: &Path) -> Result<(), Error> {
    let engine = read(settings)?.engine(settings)?;
    let fetched = engine.fetch(name, &absolute(".".as_ref())?, &absolute(path)?);
    if let Err(Error::NotThere { .. }) = fetched {
        // Another engine's files have other names: nothing of them is the end of a log.
        engine.lineage().is_ours()?;
    }
    fetched
}

/// A path that others can use: the server names its files from the directory of its data, which is where
/// it runs its commands.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| unreadable(path, &error))
}
