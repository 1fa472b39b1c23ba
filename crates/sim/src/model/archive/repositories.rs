//! Modelled repositories: what is in them, what they answer, and what must never get into them.
//!
//! Every host of a world reaches the same ones. Invariants, held at every change whoever asked for it:
//! nobody writes in a term below one that has begun; one name never has two contents, in whichever
//! repository.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::job::Backup;
use evenkeel_core::backup::lineage::{Archive, BackupId, Repository};
use evenkeel_core::id::{ServiceId, Term};
use evenkeel_core::time::Span;

use super::super::Log;
use crate::mutation::Mutation;

/// A file through a slow repository takes so long.
const SLOW: Span = Span::secs(20);

/// How a repository is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It answers.
    #[default]
    Up,
    /// It gives no answer.
    Unreachable,
    /// It answers, and takes its time.
    Slow,
    /// It refuses the credentials.
    Denied,
    /// It takes nothing more.
    Full,
    /// Everything in it is gone, and it gives no answer.
    Lost,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Slow => "slow",
            Self::Denied => "refusing its credentials",
            Self::Full => "full",
            Self::Lost => "lost with everything in it",
        })
    }
}

/// A file of a log: its timeline, and where its segment begins; none: the timeline's history.
pub type Name = (u32, Option<usize>);

/// A backup as it is stored.
#[derive(Clone, Debug)]
pub struct Base {
    /// What its manifest says.
    pub backup: Backup,
    /// The data: all that was written before its log begins.
    pub log: Log,
    /// Its timelines when it was taken, oldest first, each with where it begins.
    pub timelines: Vec<(u32, usize)>,
}

/// One lineage in one repository.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Terms that have begun.
    pub terms: BTreeSet<Term>,
    /// Files of the log; of a history the timelines with where they begin, in turn.
    pub log: BTreeMap<Name, Vec<u64>>,
    /// Backups.
    pub backups: BTreeMap<BackupId, Base>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    condition: Condition,
    lineages: BTreeMap<String, Kept>,
}

/// All repositories of a world.
#[derive(Debug, Default)]
pub struct Repositories {
    places: BTreeMap<String, Place>,
    /// The archive of each service, as its servers were last told.
    pub archives: BTreeMap<ServiceId, Archive>,
    /// Backups that a restore was proven of.
    pub proven: BTreeMap<String, BTreeSet<BackupId>>,
    /// What each name of each lineage has ever had in it.
    contents: BTreeMap<(String, Name), Vec<u64>>,
    /// Whether what is out of reach is seen too: by who checks, never by servers.
    pub looks_everywhere: bool,
    /// Then: the one that is not.
    pub hidden: Option<String>,
    /// The rule that is broken on purpose.
    pub mutation: Option<Mutation>,
    /// What must never happen and did.
    pub broken: Option<String>,
}

/// Repositories as every host has them.
pub type Shared = Arc<Mutex<Repositories>>;

/// The repositories, for one call.
pub fn open(shared: &Shared) -> MutexGuard<'_, Repositories> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repositories {
    /// One repository more.
    pub fn add(&mut self, name: &str) {
        self.places.entry(name.to_owned()).or_default();
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    /// How one is from now on.
    pub fn become_so(&mut self, name: &str, condition: Condition) {
        let Some(place) = self.places.get_mut(name) else { return };
        if condition == Condition::Lost {
            place.lineages.clear();
        }
        // What is lost is given back empty, by nothing less than a person.
        if place.condition != Condition::Lost || condition == Condition::Up {
            place.condition = condition;
        }
    }

    /// How one is.
    pub fn condition(&self, name: &str) -> Condition {
        self.places.get(name).map_or(Condition::Lost, |place| place.condition)
    }

    /// How long a file takes on its way to an archive.
    pub fn pace(&self, archive: &Archive) -> Span {
        let slow = |r: &Repository| self.condition(&r.name) == Condition::Slow;
        if archive.repositories.iter().any(slow) { SLOW } else { Span(0) }
    }

    /// What a repository has of a lineage, for somebody on a host that reaches it or does not.
    pub fn ask(&self, name: &str, lineage: &str, away: bool) -> Result<Option<&Kept>, Error> {
        if !self.looks_everywhere {
            self.answers(name, away)?;
        }
        let seen = self.hidden.as_deref() != Some(name);
        Ok(self.places.get(name).filter(|_| seen).and_then(|place| place.lineages.get(lineage)))
    }

    fn answers(&self, name: &str, away: bool) -> Result<(), Error> {
        let repository = name.to_owned();
        let unreachable =
            |why: &str| Error::Unreachable { repository: repository.clone(), why: why.to_owned() };
        match self.condition(name) {
            _ if away => Err(unreachable("no route to host")),
            Condition::Up | Condition::Slow | Condition::Full => Ok(()),
            Condition::Unreachable => Err(unreachable("it gives no answer")),
            Condition::Lost => Err(unreachable("it is no repository; is its disk mounted?")),
            Condition::Denied => Err(Error::Denied { repository }),
        }
    }

    /// The same, to store something there.
    pub fn write(&mut self, name: &str, lineage: &str, away: bool) -> Result<&mut Kept, Error> {
        self.answers(name, away)?;
        if self.condition(name) == Condition::Full {
            return Err(Error::Full { repository: name.to_owned() });
        }
        self.change(name, lineage, away)
    }

    /// The same, to remove something.
    pub fn change(&mut self, name: &str, lineage: &str, away: bool) -> Result<&mut Kept, Error> {
        self.answers(name, away)?;
        let lost = || Error::Unreachable { repository: name.to_owned(), why: "it is gone".into() };
        let place = self.places.get_mut(name).ok_or_else(lost)?;
        Ok(place.lineages.entry(lineage.to_owned()).or_default())
    }

    /// Stores a file, and sees whether it may be there at all.
    pub fn store(
        &mut self,
        repository: &str,
        lineage: &str,
        file: Name,
        content: &[u64],
        term: Term,
    ) {
        let Some(place) = self.places.get_mut(repository) else { return };
        let kept = place.lineages.entry(lineage.to_owned()).or_default();
        let newest = kept.terms.last().copied().unwrap_or(term);
        kept.log.insert(file, content.to_vec());
        let known =
            self.contents.entry((lineage.to_owned(), file)).or_insert_with(|| content.to_vec());
        let same = known == content;
        let broke = if term < newest {
            format!("{lineage}: {} was stored in {term}, and {newest} has begun", file_name(file))
        } else if !same {
            format!("{lineage}: {} has two contents", file_name(file))
        } else {
            return;
        };
        self.broken.get_or_insert(broke);
    }
}

/// A file's name, as servers have it.
pub fn file_name((timeline, from): Name) -> String {
    match from {
        Some(from) => format!("{timeline:08X}{from:016X}"),
        None => format!("{timeline:08X}.history"),
    }
}
