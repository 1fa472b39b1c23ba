//! A lineage in its repositories: log files in and out, backups and their manifests.

use std::collections::BTreeSet;
use std::io::{self, Read};

use evenkeel_core::backup::archive::{self, Archived, Error, There};
use evenkeel_core::backup::job::Backup;
use evenkeel_core::backup::lineage::{Archive, BackupId};
use evenkeel_core::id::{ServiceId, Term};
use serde::{Deserialize, Serialize};

use super::pace::Paced;
use super::repository::{self, Put, Repository};
use super::sealed::{self, Sealer};
use super::{Key, repository::Upload};

/// A lineage, opened.
pub struct Lineage {
    path: String,
    key: Key,
    wrapped: String,
    repositories: Vec<Box<dyn Repository>>,
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
            key: Key::of(&archive.key)?,
            wrapped: archive.wrapped.clone(),
            repositories: Some(repositories).filter(|all| !all.is_empty()).ok_or_else(none)?,
        })
    }

    /// Its repositories, by name.
    #[must_use]
    pub fn repositories(&self) -> Vec<&str> {
        self.repositories.iter().map(|repository| repository.name()).collect()
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.path)
    }

    /// Where a log file goes: by its timeline, so that no directory has them all.
    fn log(&self, name: &str) -> String {
        let timeline = name.get(..8).unwrap_or("other");
        self.at(&format!("log/{timeline}/{name}"))
    }

    /// Stores a log file wherever it is not yet.
    ///
    /// # Errors
    /// [`Error`]; no repository has it then, or one has another of that name.
    pub fn push(
        &self,
        name: &str,
        content: &[u8],
        term: Term,
        pace: &Paced,
    ) -> Result<Archived, Error> {
        let path = self.log(name);
        let digest = sealed::digest(&self.key, content);
        let object = sealed::seal(&self.key, &path, content);
        let one = |repository: &dyn Repository| {
            let here = repository.name();
            let newest = self.newest_term(repository, term)?;
            if term >= newest && repository.put(&path, &object)? == Put::Stored {
                return Ok(Archived::Stored);
            }
            let there = self.there(repository, &path)?;
            match archive::admit(here, name, digest, term, newest, there)? {
                Some(archived) => Ok(archived),
                // It was there, and is gone: somebody removes what is being written.
                None => Err(Error::Unreachable {
                    repository: here.to_owned(),
                    why: format!("{name} came and went"),
                }),
            }
        };
        let paced = |repository: &dyn Repository| pace.send(repository.name(), || one(repository));
        archive::of_all(self.repositories.iter().map(|repository| paced(&**repository)).collect())
    }

    /// Copies to each repository the log and the backups that others have and it lacks; how many objects.
    /// They are copied as they are: sealed under the same name by the same key.
    ///
    /// # Errors
    /// [`Error`]; what was copied stays.
    pub fn even(&self) -> Result<u64, Error> {
        let mut copied = 0;
        let mut logs = BTreeSet::new();
        let mut backups = BTreeSet::new();
        for repository in &self.repositories {
            for timeline in repository.list(&self.at("log"))? {
                let names = repository.list(&self.at(&format!("log/{timeline}")))?;
                logs.extend(names.iter().map(|name| self.at(&format!("log/{timeline}/{name}"))));
            }
            backups.extend(repository.list(&self.at("backups"))?);
        }
        for path in logs {
            copied += self.spread(&path)?;
        }
        for id in backups.iter().filter_map(|name| name.parse().ok().map(BackupId)) {
            if self.manifest(id).is_ok() {
                // What makes it a backup comes last.
                copied += self.spread(&self.base(id))? + self.spread(&self.manifest_of(id))?;
            }
        }
        Ok(copied)
    }

    /// Copies one object to wherever it is not; how often.
    fn spread(&self, path: &str) -> Result<u64, Error> {
        let has = |repository: &dyn Repository| match repository.read(path) {
            Ok(_) => Ok(true),
            Err(Error::NotThere { .. }) => Ok(false),
            Err(error) => Err(error),
        };
        let mut lacking = Vec::new();
        let mut source = None;
        for repository in &self.repositories {
            match has(&**repository)? {
                true => source = source.or(Some(repository)),
                false => lacking.push(repository),
            }
        }
        // It is gone everywhere: something expired meanwhile.
        let Some(source) = source else { return Ok(0) };
        let mut copied = 0;
        for repository in lacking {
            let mut upload = repository.upload(path)?;
            let mut object = source.read(path)?;
            io::copy(&mut object, &mut upload)
                .map_err(|error| broken(repository.name(), path, &error))?;
            upload.finish()?;
            copied += 1;
        }
        Ok(copied)
    }

    /// The newest term that has begun; one's own is announced before the first file is stored in it.
    fn newest_term(&self, repository: &dyn Repository, own: Term) -> Result<Term, Error> {
        let terms = repository.list(&self.at("terms"))?;
        let newest = terms.iter().filter_map(|name| name.parse().ok()).max().map(Term);
        if newest.is_none_or(|newest| newest < own) {
            // Whoever holds the fleet's key can read all that is stored from here on.
            repository.put(&self.at("key"), self.wrapped.as_bytes())?;
            repository.put(&self.at(&format!("terms/{}", own.0)), b"")?;
        }
        Ok(newest.unwrap_or(own).max(own))
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

    /// Reads a log file from the first repository that has it whole.
    ///
    /// # Errors
    /// [`Error::NotThere`] only if every repository was reached and none has it.
    pub fn fetch(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.first(&self.log(name))
    }

    fn first(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut found = Vec::new();
        let mut results = Vec::new();
        for repository in &self.repositories {
            let read =
                repository.read(path).and_then(|object| self.opened(&**repository, path, object));
            match read {
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

    fn opened(
        &self,
        repository: &dyn Repository,
        path: &str,
        object: Box<dyn Read + Send>,
    ) -> Result<Vec<u8>, Error> {
        sealed::open(&self.key, path, object)
            .map_err(|error| broken(repository.name(), path, &error))
    }

    fn base(&self, id: BackupId) -> String {
        self.at(&format!("backups/{}/base", id.0))
    }

    fn manifest_of(&self, id: BackupId) -> String {
        self.at(&format!("backups/{}/manifest", id.0))
    }

    /// Begins to store a backup's data, wherever that can be begun.
    ///
    /// # Errors
    /// Where it cannot be anywhere.
    pub fn upload(&self, id: BackupId) -> Result<Sealer<Uploads>, Error> {
        let (mut uploads, mut first) = (Vec::new(), None);
        for repository in &self.repositories {
            match repository.upload(&self.base(id)) {
                Ok(upload) => uploads.push((repository.name().to_owned(), Some(upload))),
                Err(error) => first = first.or(Some(error)),
            }
        }
        if uploads.is_empty() {
            return Err(first.unwrap_or_else(|| nowhere("no repository")));
        }
        let digest = sealed::digest(&self.key, b"");
        let uploads = Uploads { uploads };
        let begun = Sealer::begin(uploads, &self.key, &self.base(id), digest);
        begun.map_err(|error| nowhere(&error.to_string()))
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
        let mut here =
            self.repositories.iter().filter(|r| named.iter().any(|name| name == r.name()));
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
        for repository in &self.repositories {
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

    /// Reads a backup's data from a repository that has it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn data(&self, id: BackupId) -> Result<sealed::Opened<Box<dyn Read + Send>>, Error> {
        let path = self.base(id);
        let mut unsure = None;
        for repository in &self.repositories {
            let opened = repository.read(&path).and_then(|object| {
                let begun = sealed::Opened::begin(object, &self.key, &path);
                begun.map_err(|error| broken(repository.name(), &path, &error))
            });
            match opened {
                Ok((opened, _)) => return Ok(opened),
                Err(error) => unsure = unsure.or(Some(error)),
            }
        }
        Err(unsure.unwrap_or_else(|| nowhere("no repository")))
    }

    /// Removes a backup everywhere: first what makes it one.
    ///
    /// # Errors
    /// [`Error`]; what is left is no backup, or the whole of it.
    pub fn remove(&self, id: BackupId) -> Result<u64, Error> {
        for repository in &self.repositories {
            repository.remove(&self.manifest_of(id))?;
            repository.remove(&self.base(id))?;
        }
        Ok(2)
    }

    /// Removes log files by name, as `gone` judges them; how many. Histories of timelines stay.
    ///
    /// # Errors
    /// [`Error`].
    pub fn forget(&self, gone: impl Fn(&str) -> bool) -> Result<u64, Error> {
        let mut removed = 0;
        for repository in &self.repositories {
            for timeline in repository.list(&self.at("log"))? {
                for name in repository.list(&self.at(&format!("log/{timeline}")))? {
                    if gone(&name) {
                        repository.remove(&self.at(&format!("log/{timeline}/{name}")))?;
                        removed += 1;
                    }
                }
            }
        }
        Ok(removed)
    }

    /// The newest timeline that the log goes on on, from a backup's on.
    ///
    /// # Errors
    /// Unless every repository says what it has.
    pub fn newest_timeline(&self, from: u32) -> Result<u32, Error> {
        let mut newest = from;
        for repository in &self.repositories {
            for name in repository.list(&self.at("log"))? {
                newest = newest.max(u32::from_str_radix(&name, 16).unwrap_or(0));
            }
        }
        Ok(newest)
    }

    /// Whether a log file is in a repository, without reading all of it.
    ///
    /// # Errors
    /// Where none that can be asked has it, and one cannot be asked.
    pub fn has(&self, name: &str) -> Result<bool, Error> {
        let path = self.log(name);
        let one = |repository: &dyn Repository| repository.read(&path).map(drop);
        let asked = self.repositories.iter().map(|repository| one(&**repository)).collect();
        match archive::fetched(asked) {
            Ok(()) => Ok(true),
            Err(Error::NotThere { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn nowhere(why: &str) -> Error {
    Error::Unreachable { repository: "any".to_owned(), why: why.to_owned() }
}

/// An error while an object was read: of the way to it, or of what is in it.
fn broken(repository: &str, path: &str, error: &io::Error) -> Error {
    let repository = repository.to_owned();
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Error::Damaged { repository, name: path.to_owned() }
        }
        _ => Error::Unreachable { repository, why: error.to_string() },
    }
}

/// One object on its way to several repositories; one that breaks off is left out.
pub struct Uploads {
    uploads: Vec<(String, Option<Box<dyn Upload>>)>,
}

impl Uploads {
    /// Makes it durable; where it is, and how many bytes it has.
    ///
    /// # Errors
    /// Where it is nowhere.
    pub fn finish(self) -> Result<(Vec<String>, u64), Error> {
        let (mut names, mut bytes, mut first) = (Vec::new(), 0, None);
        for (name, upload) in self.uploads {
            match upload.map(Upload::finish) {
                Some(Ok(count)) => {
                    names.push(name);
                    bytes = count;
                }
                Some(Err(error)) => first = first.or(Some(error)),
                None => {}
            }
        }
        if names.is_empty() {
            Err(first.unwrap_or_else(|| nowhere("it broke off")))
        } else {
            Ok((names, bytes))
        }
    }
}

impl io::Write for Uploads {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut first = None;
        for (_, upload) in &mut self.uploads {
            if let Some(Err(error)) = upload.as_mut().map(|upload| upload.write_all(bytes)) {
                *upload = None;
                first = first.or(Some(error));
            }
        }
        let left = self.uploads.iter().any(|(_, upload)| upload.is_some());
        let broke = || io::Error::other("every upload broke off");
        if left { Ok(bytes.len()) } else { Err(first.unwrap_or_else(broke)) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
