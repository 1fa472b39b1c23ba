//! Repositories made even: what one has and another lacks is copied as it is, sealed under the same name by
//! the same key.

use std::collections::BTreeSet;
use std::io;

use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::lineage::BackupId;

use crate::backup::lineage::{Lineage, broken};
use crate::backup::repository::Repository;

/// Copies log and backups to wherever they are not; how many objects.
pub fn all(lineage: &Lineage, base: impl Fn(BackupId) -> String) -> Result<u64, Error> {
    let (mut logs, mut backups) = (BTreeSet::new(), BTreeSet::new());
    for repository in lineage.repositories() {
        for timeline in repository.list(&lineage.at("log"))? {
            let names = repository.list(&lineage.at(&format!("log/{timeline}")))?;
            logs.extend(names.iter().map(|name| lineage.at(&format!("log/{timeline}/{name}"))));
        }
        backups.extend(repository.list(&lineage.at("backups"))?);
    }
    let mut copied = 0;
    for path in logs {
        copied += one(lineage, &path)?;
    }
    for id in backups.iter().filter_map(|name| name.parse().ok().map(BackupId)) {
        if lineage.manifest(id).is_ok() {
            // What makes it a backup comes last.
            copied += one(lineage, &base(id))? + one(lineage, &lineage.manifest_of(id))?;
        }
    }
    Ok(copied)
}

/// Copies one object to wherever it is not; how often.
fn one(lineage: &Lineage, path: &str) -> Result<u64, Error> {
    let has = |repository: &dyn Repository| match repository.read(path) {
        Ok(_) => Ok(true),
        Err(Error::NotThere { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    let (mut source, mut lacking) = (None, Vec::new());
    for repository in lineage.repositories() {
        match has(repository)? {
            true => source = source.or(Some(repository)),
            false => lacking.push(repository),
        }
    }
    // It is gone everywhere: it expired meanwhile.
    let Some(source) = source else { return Ok(0) };
    let mut copied = 0;
    for repository in lacking {
        let (mut upload, mut object) = (repository.upload(path)?, source.read(path)?);
        let sent = io::copy(&mut object, &mut upload);
        sent.map_err(|error| broken(repository.name(), path, &error))?;
        upload.finish()?;
        copied += 1;
    }
    Ok(copied)
}
