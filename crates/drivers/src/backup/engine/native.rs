//! The native engine: a sealed object for each file of the log, and one for each backup, which is what
//! `pg_basebackup` reads.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use evenkeel_core::backup::archive::{self, Archived, Error};
use evenkeel_core::backup::engine::{Capabilities, Engine as Name};
use evenkeel_core::backup::lineage::BackupId;
use evenkeel_core::driver;
use evenkeel_core::id::Term;

use super::{Engine, LogFile, Source, Taken, even};
use crate::backup::ahead::Ahead;
use crate::backup::lineage::{Entry, Lineage, Manifest, broken, nowhere};
use crate::backup::pace::Paced;
use crate::backup::repository::{Repository, Upload};
use crate::backup::sealed::{self, Opened, Sealer};
use crate::files::fault;

/// The engine.
pub struct Native {
    lineage: Lineage,
}

impl Native {
    pub fn new(lineage: Lineage) -> Self {
        Self { lineage }
    }

    /// Where a file of the log goes: by its timeline, so that no directory has them all.
    fn log(&self, name: &str) -> String {
        let timeline = name.get(..8).unwrap_or("other");
        self.lineage.at(&format!("log/{timeline}/{name}"))
    }

    fn base(&self, id: BackupId) -> String {
        self.lineage.at(&format!("backups/{}/base", id.0))
    }

    /// Begins to store a backup's data, wherever that can be begun.
    fn upload(&self, id: BackupId) -> Result<Sealer<Uploads>, Error> {
        let (mut uploads, mut first) = (Vec::new(), None);
        for repository in self.lineage.repositories() {
            match repository.upload(&self.base(id)) {
                Ok(upload) => uploads.push((repository.name().to_owned(), Some(upload))),
                Err(error) => first = first.or(Some(error)),
            }
        }
        if uploads.is_empty() {
            return Err(first.unwrap_or_else(|| nowhere("no repository")));
        }
        let key = self.lineage.key();
        let begun =
            Sealer::begin(Uploads { uploads }, key, &self.base(id), sealed::digest(key, b""));
        begun.map_err(|error| nowhere(&error.to_string()))
    }

    fn data(
        &self,
        repository: &dyn Repository,
        id: BackupId,
    ) -> Result<Opened<Box<dyn Read + Send>>, Error> {
        let path = self.base(id);
        let begun = Opened::begin(repository.read(&path)?, self.lineage.key(), &path);
        let opened = begun.map_err(|error| broken(repository.name(), &path, &error));
        opened.map(|(opened, _)| opened)
    }
}

impl Engine for Native {
    fn capabilities(&self) -> Capabilities {
        Name::Native.capabilities()
    }

    fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    fn push(&self, file: &LogFile<'_>, term: Term, pace: &Paced) -> Result<Archived, Error> {
        let (content, path, key) = (super::read(file)?, self.log(file.name), self.lineage.key());
        let digest = sealed::digest(key, &content);
        let object = sealed::seal(key, &path, &content);
        let entry = Entry { name: file.name, path: &path, digest, object: &object };
        let one = |repository: &dyn Repository| {
            pace.send(repository.name(), || self.lineage.admit(repository, &entry, term))
        };
        archive::of_all(self.lineage.repositories().map(one).collect())
    }

    fn fetch(&self, name: &str, _data: &Path, to: &Path) -> Result<(), Error> {
        let content = self.lineage.first(&self.log(name))?;
        // The server reads the file when this has ended well, and not before.
        std::fs::write(to, content).map_err(|error| super::local(to, &error))
    }

    fn has(&self, name: &str) -> Result<bool, Error> {
        let path = self.log(name);
        let one = |repository: &dyn Repository| repository.read(&path).map(drop);
        match archive::fetched(self.lineage.repositories().map(one).collect()) {
            Ok(()) => Ok(true),
            Err(Error::NotThere { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn newest_timeline(&self, from: u32) -> Result<u32, Error> {
        self.lineage.newest_below("log", from)
    }

    fn backup(&self, source: &dyn Source, id: BackupId, rate: u64) -> Result<Taken, driver::Error> {
        let failed = |why: String| driver::Error::Failed(why);
        let mut sealer = self.upload(id).map_err(|error| failed(error.to_string()))?;
        let copied = source.copy(id, rate, &mut sealer)?;
        let uploads = sealer.finish().map_err(|error| failed(error.to_string()))?;
        let (repositories, stored) = uploads.finish().map_err(|error| failed(error.to_string()))?;
        let (bounds, bytes, sets) = (copied.bounds, copied.bytes, BTreeMap::new());
        Ok(Taken { bounds, bytes, stored, repositories, sets })
    }

    fn restore(&self, backup: &Manifest, data: &Path) -> Result<String, driver::Error> {
        let id = backup.backup.id;
        let mut unsure = None;
        for repository in self.lineage.repositories() {
            let mut opened = match self.data(repository, id) {
                Ok(opened) => Ahead::of(opened),
                Err(error) => {
                    unsure = unsure.or(Some(error));
                    continue;
                }
            };
            let mut archive = tar::Archive::new(&mut opened);
            archive.set_preserve_mtime(false);
            archive.unpack(data).map_err(fault("cannot unpack a backup into", data))?;
            let whole = opened.finish();
            whole.map_err(|error| driver::Error::Failed(format!("backup {id}: {error}")))?;
            return Ok(repository.name().to_owned());
        }
        let error = unsure.unwrap_or_else(|| nowhere("no repository"));
        Err(driver::Error::Failed(error.to_string()))
    }

    fn verify(&self, backup: &Manifest, besides: Option<&str>) -> Vec<Error> {
        let Manifest { backup, .. } = backup;
        let one = |repository: &dyn Repository| {
            let whole = self.data(repository, backup.id)?.finish();
            whole.map_err(|error| broken(repository.name(), &self.base(backup.id), &error))
        };
        let here = self.lineage.repositories().filter(|repository| {
            let name = repository.name();
            Some(name) != besides && backup.repositories.iter().any(|has| has == name)
        });
        here.filter_map(|repository| one(repository).err()).collect()
    }

    fn even(&self) -> Result<u64, driver::Error> {
        even::all(&self.lineage, |id| self.base(id))
            .map_err(|error| driver::Error::Failed(error.to_string()))
    }

    fn remove(&self, backups: &[BackupId]) -> Result<u64, Error> {
        let mut removed = 0;
        for id in backups {
            self.lineage.unmake(*id)?;
            for repository in self.lineage.repositories() {
                repository.remove(&self.base(*id))?;
            }
            removed += 2;
        }
        Ok(removed)
    }

    fn forget(&self, gone: &dyn Fn(&str) -> bool) -> Result<u64, Error> {
        let mut removed = 0;
        for repository in self.lineage.repositories() {
            for timeline in repository.list(&self.lineage.at("log"))? {
                let below = self.lineage.at(&format!("log/{timeline}"));
                for name in repository.list(&below)?.iter().filter(|name| gone(name)) {
                    repository.remove(&format!("{below}/{name}"))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// One object on its way to several repositories; one that breaks off is left out.
struct Uploads {
    uploads: Vec<(String, Option<Box<dyn Upload>>)>,
}

impl Uploads {
    /// Makes it durable; where it is, and how many bytes it has.
    ///
    /// # Errors
    /// Where it is nowhere.
    fn finish(self) -> Result<(Vec<String>, u64), Error> {
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
