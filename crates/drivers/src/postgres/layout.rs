//! A member's directory: what is where, and whose it is.
//!
//! ```text
//! <members>/<number>/data          what initdb made; evenkeel.json inside says whose it is
//! <members>/<number>/conf          settings and rules, written by Evenkeel, outside what users edit
//! <members>/<number>/log           the server's output
//! <members>/<number>/initializing  there while it is half made; says for whom
//! <members>/<number>/sealed        there while it must not be started
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use evenkeel_core::driver::{Directory, Error};
use evenkeel_core::goal::Goal;
use evenkeel_core::id::{Incarnation, MemberId, ServiceId};
use serde::{Deserialize, Serialize};

use crate::Setup;
use crate::files::fault;

/// Whose a directory is; kept inside the data, so that it shares its fate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The service.
    pub service: ServiceId,
    /// Its name when the directory was made, for people.
    pub name: String,
    /// The member.
    pub member: MemberId,
    /// Which data directory of it.
    pub incarnation: Incarnation,
    /// The store that ordered it: numbers of services begin anew in every other one.
    pub store: String,
}

impl Marker {
    /// What a goal's directory is marked with.
    pub fn of(goal: &Goal) -> Self {
        Self {
            service: goal.identity.service,
            name: goal.identity.name.as_str().to_owned(),
            member: goal.member,
            incarnation: goal.incarnation,
            store: goal.store.0.clone(),
        }
    }

    /// As it is written.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a marker is JSON")
    }

    /// Whether it marks a goal's member, in whichever of its lives, by order of whichever of the stores that
    /// came one after another.
    fn is_of(&self, goal: &Goal) -> bool {
        let mine = Self::of(goal);
        let ours =
            self.store == mine.store || goal.succeeds.iter().any(|before| before.0 == self.store);
        (self.service, self.member) == (mine.service, mine.member) && ours
    }
}

/// Where everything of a member is.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The member's directory.
    pub root: PathBuf,
    /// The server's data.
    pub data: PathBuf,
    /// Settings and rules.
    pub conf: PathBuf,
    /// The server's output.
    pub log: PathBuf,
    /// Says that it is half made.
    pub initializing: PathBuf,
    /// Says that it must not be started.
    pub sealed: PathBuf,
    /// Says whose the data is.
    pub marker: PathBuf,
    /// What is left when it is removed.
    pub tombstone: PathBuf,
    /// Its name while it is being removed.
    pub removing: PathBuf,
    /// Where its backups are proven.
    pub proof: PathBuf,
    /// What the server's commands for its log go by.
    pub archive: PathBuf,
}

/// What a marker's file says.
enum Mark {
    /// There is none.
    None,
    /// It marks the goal's member.
    Mine(Incarnation),
    /// It marks something else, or nothing that can be read.
    Other(String),
}

impl Layout {
    /// The layout of a goal's member.
    pub fn of(setup: &Setup, goal: &Goal) -> Self {
        Self::at(setup.members_dir.join(goal.member.0.to_string()), goal)
    }

    /// The layout of a directory of its own kind.
    pub fn at(root: PathBuf, goal: &Goal) -> Self {
        let members = root.parent().map(Path::to_owned).unwrap_or_default();
        let number = goal.member.0;
        let data = root.join("data");
        Self {
            proof: members.join(format!(".proof-{number}")),
            archive: root.join("archive.json"),
            conf: root.join("conf"),
            log: root.join("log"),
            initializing: root.join("initializing"),
            sealed: root.join("sealed"),
            marker: data.join("evenkeel.json"),
            tombstone: members.join(".tombstones").join(format!("{number}.json")),
            removing: members.join(format!(".removing-{number}")),
            data,
            root,
        }
    }

    /// What is there, and whether it is this goal's member's.
    pub fn look(&self, goal: &Goal) -> Result<Directory, Error> {
        let foreign = |why: &str| Ok(Directory::Foreign { why: why.to_owned() });
        match fs::symlink_metadata(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Directory::Absent),
            Err(error) => return Err(fault("cannot look at", &self.root)(error)),
            Ok(found) if found.is_symlink() => return foreign("it is a symbolic link"),
            Ok(found) if !found.is_dir() => return foreign("it is no directory"),
            Ok(_) => {}
        }
        match read(&self.initializing, goal)? {
            Mark::Mine(_) => return Ok(Directory::Partial),
            Mark::Other(_) => return foreign("it is being made for another member"),
            Mark::None => {}
        }
        Ok(match read(&self.marker, goal)? {
            // Made and not marked yet when the power went: there is nothing in it.
            Mark::None if is_empty(&self.root) => Directory::Absent,
            Mark::None => return foreign("it has no marker of Evenkeel"),
            Mark::Other(why) => return foreign(&why),
            Mark::Mine(incarnation) if self.sealed.exists() => Directory::Sealed { incarnation },
            Mark::Mine(incarnation) => Directory::Complete { incarnation },
        })
    }

    /// The refusal to touch what is somebody else's.
    pub fn foreign(&self, why: String) -> Error {
        Error::Foreign { path: self.root.display().to_string(), why }
    }
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn read(path: &Path, goal: &Goal) -> Result<Mark, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Mark::None),
        Err(error) => return Err(fault("cannot read", path)(error)),
    };
    Ok(match serde_json::from_slice::<Marker>(&text) {
        Err(_) => Mark::Other("its marker cannot be read".to_owned()),
        Ok(marker) if marker.is_of(goal) => Mark::Mine(marker.incarnation),
        Ok(marker) => Mark::Other(format!(
            "it is {} of service {}, by its marker",
            marker.member, marker.name
        )),
    })
}
