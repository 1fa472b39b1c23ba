//! One lineage in its repositories, as `evenkeel-drivers` has it: the rules are core's, the order in
//! which repositories are asked is the same.

use std::collections::BTreeMap;

use evenkeel_core::backup::archive::{self, Archived, Error, There};
use evenkeel_core::backup::lineage::{Archive, BackupId};
use evenkeel_core::digest::Digest;
use evenkeel_core::id::Term;

use super::repositories::{Base, Kept, Name, Repositories, file_name};
use crate::mutation::Mutation;

/// A lineage, opened from a host.
pub struct Lineage<'a> {
    all: &'a mut Repositories,
    archive: &'a Archive,
    /// Whether the host reaches nothing.
    away: bool,
}

fn not_there(repository: &str, name: String) -> Error {
    Error::NotThere { repository: repository.to_owned(), name }
}

impl<'a> Lineage<'a> {
    /// Opens it; nothing is asked yet.
    pub fn open(all: &'a mut Repositories, archive: &'a Archive, away: bool) -> Self {
        Self { all, archive, away }
    }

    fn path(&self) -> &'a str {
        &self.archive.lineage.0
    }

    fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.archive.repositories.iter().map(|repository| repository.name.as_str())
    }

    fn ask(&self, name: &str) -> Result<Option<&Kept>, Error> {
        match self.all.ask(name, self.path(), self.away) {
            Err(_) if self.all.mutation == Some(Mutation::SilenceIsNothing) => Ok(None),
            asked => asked,
        }
    }

    /// Stores a file of the log wherever it is not yet; and who did not take it.
    pub fn push(
        &mut self,
        file: Name,
        content: &[u64],
        term: Term,
    ) -> (Result<Archived, Error>, Vec<String>) {
        let (mut results, mut missed) = (Vec::new(), Vec::new());
        for name in self.names() {
            let result = self.push_to(name, file, content, term);
            missed.extend(result.is_err().then(|| name.to_owned()));
            results.push(result);
        }
        (archive::of_all(results), missed)
    }

    fn push_to(
        &mut self,
        repository: &str,
        file: Name,
        content: &[u64],
        term: Term,
    ) -> Result<Archived, Error> {
        let (path, away) = (self.path(), self.away);
        let kept = self.ask(repository)?;
        let begun = kept.and_then(|kept| kept.terms.last().copied());
        let there = kept
            .and_then(|kept| kept.log.get(&file))
            .map(|found| There { digest: Digest::of_json(found) });
        if begun.is_none_or(|newest| newest < term) {
            self.all.write(repository, path, away)?.terms.insert(term);
        }
        let newest = begun.map_or(term, |newest| newest.max(term));
        let digest = Digest::of_json(&content);
        let name = file_name(file);
        match archive::admit(repository, &name, digest, term, newest, there) {
            Ok(Some(archived)) => return Ok(archived),
            Err(Error::Stale { .. }) if self.all.mutation == Some(Mutation::StaleTermArchives) => {}
            Err(error) => return Err(error),
            Ok(None) => {}
        }
        self.all.write(repository, path, away)?;
        self.all.store(repository, path, file, content, term);
        Ok(Archived::Stored)
    }

    /// Reads a file of the log from the first that has it.
    pub fn fetch(&self, file: Name) -> Result<Vec<u64>, Error> {
        self.first(&file_name(file), |kept| kept.log.get(&file).cloned())
    }

    fn first<T>(&self, name: &str, found: impl Fn(&Kept) -> Option<T>) -> Result<T, Error> {
        let mut first = None;
        let mut results = Vec::new();
        for repository in self.names() {
            let read = self.ask(repository).and_then(|kept| {
                kept.and_then(&found).ok_or_else(|| not_there(repository, name.to_owned()))
            });
            results.push(match read {
                Ok(content) => {
                    first = first.or(Some(content));
                    Ok(())
                }
                Err(error) => Err(error),
            });
        }
        let fetched = archive::fetched(results);
        fetched.and(first.ok_or_else(|| not_there("any", name.to_owned())))
    }

    /// Whether a backup can be begun anywhere; what the first said that takes none.
    pub fn takes_any(&mut self) -> Result<(), Error> {
        let (path, away) = (self.path(), self.away);
        let mut first = None;
        for repository in self.names() {
            match self.all.write(repository, path, away) {
                Ok(_) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Stores a backup wherever that can be done; where it is.
    pub fn complete(&mut self, base: &Base) -> Result<Vec<String>, Error> {
        let (mut stored, mut first) = (Vec::new(), None);
        for repository in self.names() {
            match self.all.write(repository, self.archive.lineage.0.as_str(), self.away) {
                Ok(_) => stored.push(repository.to_owned()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        for repository in &stored {
            let mut base = base.clone();
            base.backup.repositories.clone_from(&stored);
            let kept = self.all.write(repository, self.archive.lineage.0.as_str(), self.away)?;
            kept.backups.insert(base.backup.id, base);
        }
        first.filter(|_| stored.is_empty()).map_or(Ok(stored), Err)
    }

    /// A backup.
    pub fn base(&self, id: BackupId) -> Result<Base, Error> {
        self.first(&format!("backup {id}"), |kept| kept.backups.get(&id).cloned())
    }

    /// Every backup, oldest first, as far as any repository can be asked.
    pub fn backups(&self) -> Result<Vec<Base>, Error> {
        let mut ids: Vec<BackupId> = Vec::new();
        let mut results = Vec::new();
        for repository in self.names() {
            match self.ask(repository) {
                Ok(kept) => {
                    ids.extend(kept.iter().flat_map(|kept| kept.backups.keys().copied()));
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        archive::fetched(results)?;
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| self.base(id)).collect()
    }

    /// Whether every repository says which backups it has.
    pub fn answers(&self) -> Result<(), Error> {
        self.names().try_for_each(|name| self.ask(name).map(drop))
    }

    /// Copies log and backups to wherever they are not; how many objects.
    pub fn even(&mut self) -> Result<u64, Error> {
        let (mut log, mut backups) = (BTreeMap::new(), BTreeMap::new());
        for repository in self.names() {
            let Some(kept) = self.ask(repository)? else { continue };
            for (file, content) in &kept.log {
                log.entry(*file).or_insert_with(|| content.clone());
            }
            for (id, base) in &kept.backups {
                backups.entry(*id).or_insert_with(|| base.clone());
            }
        }
        let mut copied = 0;
        for repository in self.names() {
            let kept = self.ask(repository)?.cloned().unwrap_or_default();
            let lacks_log = log.iter().filter(|(file, _)| !kept.log.contains_key(*file));
            let lacks = backups.iter().filter(|(id, _)| !kept.backups.contains_key(*id));
            let (lacks_log, lacks) = (lacks_log.collect::<Vec<_>>(), lacks.collect::<Vec<_>>());
            if lacks_log.is_empty() && lacks.is_empty() {
                continue;
            }
            let path = self.path();
            let kept = self.all.write(repository, path, self.away)?;
            // A backup is its data and its manifest.
            copied += (lacks_log.len() + 2 * lacks.len()) as u64;
            kept.log.extend(lacks_log.into_iter().map(|(file, content)| (*file, content.clone())));
            kept.backups.extend(lacks.into_iter().map(|(id, base)| (*id, base.clone())));
        }
        Ok(copied)
    }

    /// The newest timeline that its log goes on on, from a backup's on; all must answer.
    pub fn newest_timeline(&self, from: u32) -> Result<u32, Error> {
        let mut newest = from;
        for repository in self.names() {
            let kept = self.ask(repository)?;
            let found = kept.and_then(|kept| kept.log.last_key_value());
            newest = newest.max(found.map_or(0, |((timeline, _), _)| *timeline));
        }
        Ok(newest)
    }

    /// Removes a backup everywhere.
    pub fn remove(&mut self, id: BackupId) -> Result<u64, Error> {
        for repository in self.names() {
            let (path, away) = (self.archive.lineage.0.as_str(), self.away);
            self.all.change(repository, path, away)?.backups.remove(&id);
        }
        Ok(2)
    }

    /// Removes segments that ended before a place.
    pub fn forget(&mut self, before: usize) -> Result<u64, Error> {
        let mut removed = 0;
        for repository in self.names() {
            let (path, away) = (self.archive.lineage.0.as_str(), self.away);
            let kept = self.all.change(repository, path, away)?;
            let there = kept.log.len();
            kept.log
                .retain(|(_, from), content| from.is_none_or(|from| from + content.len() > before));
            removed += there - kept.log.len();
        }
        Ok(removed as u64)
    }
}
