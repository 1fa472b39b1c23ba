//! A lineage in its repositories, as far as it is the same with every engine: terms, and a catalogue of
//! backups. What is in them, and the log, is its engine's.

use std::collections::BTreeMap;
use std::io::{self, Read};

use evenkeel_core::backup::archive::{self, Archived, Error, There};
use evenkeel_core::backup::engine::Engine;
use evenkeel_core::backup::job::Backup;
use evenkeel_core::backup::lineage::{Archive, BackupId};
use evenkeel_core::digest::Digest;
use evenkeel_core::id::{ServiceId, Term};
use serde::{Deserialize, Serialize};

use super::Key;
use super::repository::{self, Put, Repository};
use super::sealed;

/// Before an engine's name among a lineage's terms, which every writer lists.
const BEGUN_BY: &str = "by-";

/// A lineage, opened.
pub struct Lineage {
    path: String,
    engine: Engine,
    key: Key,
    wrapped: String,
    repositories: Vec<Box<dyn Repository>>,
}

/// A file of the log as a lineage has it.
pub struct Entry<'a> {
    /// The file's name.
    pub name: &'a str,
    /// Its object's.
    pub path: &'a str,
    /// Of its content.
    pub digest: Digest,
    /// What is put.
    pub object: &'a [u8],
}

/// What is known of a backup: whose it is, and all that a restore needs to know beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The service whose data it is.
    pub service: ServiceId,
    /// Its name then, for people.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The owner's role and database in it.
    pub owner: String,
    /// What identifies the server's data through all its copies.
    pub system: String,
    /// Segments of the log have this many bytes.
    pub segment_bytes: u64,
    /// The release of the server.
    pub release: String,
    /// The backup.
    pub backup: Backup,
    /// What its engine calls it in each repository, where it has a name of its own for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, String>,
}

impl Lineage {
    /// Opens a lineage; nothing is asked of any repository yet.
    ///
    /// # Errors
    /// Without a key or a repository.
    pub fn open(archive: &Archive) -> Result<Self, Error> {
        let none = || Error::Unreachable { repository: "none".into(), why: "there is none".into() };
        let opened: Result<Vec<_>, _> = archive.repositories.iter().map(repository::open).collect();
        let repositories = opened?;
        Ok(Self {
            path: archive.lineage.0.clone(),
            engine: archive.engine,
            key: Key::of(&archive.key)?,
            wrapped: archive.wrapped.clone(),
            repositories: Some(repositories).filter(|all| !all.is_empty()).ok_or_else(none)?,
        })
    }

    /// Its repositories, in the order they are asked.
    pub fn repositories(&self) -> impl Iterator<Item = &dyn Repository> {
        self.repositories.iter().map(|repository| &**repository)
    }

    /// What everything in it is sealed with.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The path of something in it.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.path)
    }

    /// Puts a file of the log where it is not yet and may be.
    ///
    /// # Errors
    /// [`Error`]; nothing was put then.
    pub fn admit(
        &self,
        repository: &dyn Repository,
        entry: &Entry<'_>,
        term: Term,
    ) -> Result<Archived, Error> {
        let Entry { name, path, digest, object } = *entry;
        let here = repository.name();
        let newest = self.newest_term(repository, term)?;
        if term >= newest && repository.put(path, object)? == Put::Stored {
            return Ok(Archived::Stored);
        }
        let there = self.there(repository, path)?;
        // It was there, and is gone: somebody removes what is being written.
        let gone = || Error::Unreachable {
            repository: here.to_owned(),
            why: format!("{name} came and went"),
        };
        archive::admit(here, name, digest, term, newest, there)?.ok_or_else(gone)
    }

    /// The newest term that has begun; one's own is announced before the first file is stored in it.
    fn newest_term(&self, repository: &dyn Repository, own: Term) -> Result<Term, Error> {
        let terms = repository.list(&self.at("terms"))?;
        let begun = self.suits(repository, &terms)?;
        let newest = terms.iter().filter_map(|name| name.parse().ok()).max().map(Term);
        if newest.is_none_or(|newest| newest < own) {
            // Whoever holds the fleet's key can read all that is stored from here on.
            repository.put(&self.at("key"), self.wrapped.as_bytes())?;
            if !begun {
                repository.put(&self.at(&format!("terms/{BEGUN_BY}{}", self.engine)), b"")?;
            }
            repository.put(&self.at(&format!("terms/{}", own.0)), b"")?;
        }
        Ok(newest.unwrap_or(own).max(own))
    }

    /// Whether what is known of a lineage's terms says who began it; it must be our engine.
    fn suits(&self, repository: &dyn Repository, terms: &[String]) -> Result<bool, Error> {
        let named = terms.iter().find_map(|name| name.strip_prefix(BEGUN_BY)?.parse().ok());
        // Lineages from before there were several do not say so.
        let begun = named.or_else(|| (!terms.is_empty()).then_some(Engine::Native));
        match begun {
            Some(begun) if begun != self.engine => {
                let (repository, engine) = (repository.name().to_owned(), self.engine);
                Err(Error::OtherEngine { repository, begun, engine })
            }
            _ => Ok(named.is_some()),
        }
    }

    /// Whether it was begun by our engine, as far as any repository can say.
    ///
    /// # Errors
    /// [`Error::OtherEngine`].
    pub fn is_ours(&self) -> Result<(), Error> {
        for repository in self.repositories() {
            if let Ok(terms) = repository.list(&self.at("terms")) {
                self.suits(repository, &terms)?;
            }
        }
        Ok(())
    }

    fn there(&self, repository: &dyn Repository, path: &str) -> Result<Option<There>, Error> {
        let mut object = match repository.read(path) {
            Ok(object) => object,
            Err(Error::NotThere { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut header = [0; sealed::HEADER];
        let digest = object.read_exact(&mut header).ok().and_then(|()| sealed::digest_in(&header));
        let damaged =
            || Error::Damaged { repository: repository.name().to_owned(), name: path.to_owned() };
        digest.map(|digest| Some(There { digest })).ok_or_else(damaged)
    }

    /// Reads a sealed object from the first repository that has it whole.
    ///
    /// # Errors
    /// [`Error::NotThere`] only if every repository was reached and none has it.
    pub fn first(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut found = Vec::new();
        let mut results = Vec::new();
        for repository in self.repositories() {
            match self.opened(repository, path) {
                Ok(content) => {
                    found = content;
                    results.push(Ok(()));
                    break;
                }
                Err(error) => results.push(Err(error)),
            }
        }
        archive::fetched(results).map(|()| found)
    }

    /// Reads a sealed object from one repository.
    ///
    /// # Errors
    /// [`Error`].
    pub fn opened(&self, repository: &dyn Repository, path: &str) -> Result<Vec<u8>, Error> {
        let object = repository.read(path)?;
        sealed::open(&self.key, path, object)
            .map_err(|error| broken(repository.name(), path, &error))
    }

    /// Where a backup's manifest is.
    #[must_use]
    pub fn manifest_of(&self, id: BackupId) -> String {
        self.at(&format!("backups/{}/manifest", id.0))
    }

    /// From here on it is a backup.
    ///
    /// # Errors
    /// [`Error`]; where it is not one.
    pub fn complete(&self, manifest: &Manifest) -> Result<(), Error> {
        let path = self.manifest_of(manifest.backup.id);
        let text = serde_json::to_vec(manifest).expect("a manifest is JSON");
        let object = sealed::seal(&self.key, &path, &text);
        let named = &manifest.backup.repositories;
        let mut here = self.repositories().filter(|r| named.iter().any(|name| name == r.name()));
        here.try_for_each(|repository| repository.put(&path, &object).map(drop))
    }

    /// A backup's manifest.
    ///
    /// # Errors
    /// [`Error::NotThere`] where there is no such backup.
    pub fn manifest(&self, id: BackupId) -> Result<Manifest, Error> {
        let path = self.manifest_of(id);
        let text = self.first(&path)?;
        serde_json::from_slice(&text)
            .map_err(|_| Error::Damaged { repository: "any".to_owned(), name: path.clone() })
    }

    /// Every complete backup, oldest first, as far as any repository can be asked.
    ///
    /// # Errors
    /// Where none can be.
    pub fn backups(&self) -> Result<Vec<Manifest>, Error> {
        let mut ids: Vec<BackupId> = Vec::new();
        let mut results = Vec::new();
        for repository in self.repositories() {
            match repository.list(&self.at("backups")) {
                Ok(names) => {
                    ids.extend(names.iter().filter_map(|name| name.parse().ok().map(BackupId)));
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        archive::fetched(results)?;
        ids.sort_unstable();
        ids.dedup();
        let manifest = |id| match self.manifest(id) {
            Err(Error::NotThere { .. }) => None,
            other => Some(other),
        };
        ids.into_iter().filter_map(manifest).collect()
    }

    /// Whether every repository says which backups it has: only then is one that none has nowhere.
    ///
    /// # Errors
    /// What the first said that does not.
    pub fn answers(&self) -> Result<(), Error> {
        let path = self.at("backups");
        self.repositories().try_for_each(|repository| repository.list(&path).map(drop))
    }

    /// From here on it is no backup any more.
    ///
    /// # Errors
    /// [`Error`].
    pub fn unmake(&self, id: BackupId) -> Result<(), Error> {
        self.repositories().try_for_each(|repository| repository.remove(&self.manifest_of(id)))
    }

    /// The newest timeline among the names that repositories have below a path, which begin with it.
    ///
    /// # Errors
    /// Unless every repository says what it has.
    pub fn newest_below(&self, path: &str, from: u32) -> Result<u32, Error> {
        let mut newest = from;
        for repository in self.repositories() {
            newest = newest.max(self::newest(&repository.list(&self.at(path))?));
        }
        Ok(newest)
    }
}

/// The newest timeline that one of these names begins with.
#[must_use]
pub fn newest(names: &[String]) -> u32 {
    let timeline = |name: &String| u32::from_str_radix(name.get(..8)?, 16).ok();
    names.iter().filter_map(timeline).max().unwrap_or(0)
}

/// An error of whoever has no repository to blame.
#[must_use]
pub fn nowhere(why: &str) -> Error {
    Error::Unreachable { repository: "any".to_owned(), why: why.to_owned() }
}

/// An error while an object was read: of the way to it, or of what is in it.
#[must_use]
pub fn broken(repository: &str, path: &str, error: &io::Error) -> Error {
    let repository = repository.to_owned();
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Error::Damaged { repository, name: path.to_owned() }
        }
        _ => Error::Unreachable { repository, why: error.to_string() },
    }
}
