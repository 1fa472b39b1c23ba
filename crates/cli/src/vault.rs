//! Snapshots of the control plane's store in repositories: kept for the controller, found again for
//! `recover`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use evenkeel_controller::Vault;
use evenkeel_core::backup::archive::Error;
use evenkeel_core::backup::lineage::Repository as Place;
use evenkeel_core::backup::snapshot::{self, Manifest, ROOT};
use evenkeel_core::goal::{Password, StoreId};
use evenkeel_core::moment::Moment;
use evenkeel_drivers::backup::repository::{self, Repository};
use evenkeel_drivers::backup::{Key, sealed};

use crate::failure::chain;

/// The largest manifest that is read.
const MANIFEST_MAX_BYTES: u64 = 64 << 10;

/// Repositories of every sort.
#[derive(Debug)]
pub struct Repositories;

impl Vault for Repositories {
    fn found(&self, place: &Place) -> Result<(), String> {
        repository::found(place).map_err(|error| error.to_string())
    }

    fn keep(
        &self,
        place: &Place,
        manifest: &Manifest,
        copy: &Path,
        key: &Password,
    ) -> Result<(), String> {
        put(place, manifest, copy, key).map_err(|error| error.to_string())
    }

    fn newest(&self, place: &Place, store: &StoreId) -> Result<Option<String>, String> {
        let words = |error: Error| error.to_string();
        let repository = repository::open(place).map_err(words)?;
        let mut names = repository.list(&format!("{ROOT}/{}", store.0)).map_err(words)?;
        names.retain(|name| snapshot::moment(name).is_some());
        Ok(names.pop())
    }
}

fn put(place: &Place, manifest: &Manifest, copy: &Path, key: &Password) -> Result<(), Error> {
    let repository = repository::open(place)?;
    let path = manifest.path();
    let name = format!("{path}/store");
    let failed = |error: io::Error| unreachable(&*repository, &error);
    let key = Key::of(key)?;
    let mut file = File::open(copy).map_err(failed)?;
    let upload = repository.upload(&name)?;
    let nothing = sealed::digest(&key, b"");
    let mut sealer = sealed::Sealer::begin(upload, &key, &name, nothing).map_err(failed)?;
    io::copy(&mut file, &mut sealer).map_err(failed)?;
    sealer.finish().map_err(failed)?.finish()?;
    let text = serde_json::to_vec(manifest).expect("a manifest is JSON");
    repository.put(&format!("{path}/manifest"), &text)?;
    thin(&*repository, &manifest.store, manifest.at)
}

/// Lets go of what is not needed any more.
fn thin(repository: &dyn Repository, store: &StoreId, now: Moment) -> Result<(), Error> {
    let all = format!("{ROOT}/{}", store.0);
    for name in snapshot::surplus(&repository.list(&all)?, now) {
        // Without its manifest it is none already.
        repository.remove(&format!("{all}/{name}/manifest"))?;
        repository.remove(&format!("{all}/{name}/store"))?;
    }
    Ok(())
}

fn unreachable(repository: &dyn Repository, error: &io::Error) -> Error {
    Error::Unreachable { repository: repository.name().to_owned(), why: chain(error) }
}

/// Every snapshot in a repository, by its manifest.
///
/// # Errors
/// When the repository cannot be asked. A manifest that cannot be read is passed over.
pub fn manifests(place: &Place) -> Result<Vec<Manifest>, Error> {
    let repository = repository::open(place)?;
    let mut found = Vec::new();
    for store in repository.list(ROOT)? {
        for name in repository.list(&format!("{ROOT}/{store}"))? {
            let path = format!("{ROOT}/{store}/{name}/manifest");
            let mut text = Vec::new();
            let object = match repository.read(&path) {
                Ok(object) => object,
                // It was not completed, or is being removed.
                Err(Error::NotThere { .. }) => continue,
                Err(error) => return Err(error),
            };
            let read = object.take(MANIFEST_MAX_BYTES).read_to_end(&mut text);
            read.map_err(|error| unreachable(&*repository, &error))?;
            found.extend(serde_json::from_slice::<Manifest>(&text).ok());
        }
    }
    Ok(found)
}

/// Opens a snapshot into a file.
///
/// # Errors
/// When it is not what was sealed, or cannot be fetched.
pub fn fetch(place: &Place, manifest: &Manifest, key: &Password, to: &Path) -> Result<(), String> {
    let words = |error: Error| error.to_string();
    let failed = |error: io::Error| chain(&error);
    let repository = repository::open(place).map_err(words)?;
    let key = Key::of(key).map_err(words)?;
    let name = format!("{}/store", manifest.path());
    let object = repository.read(&name).map_err(words)?;
    let (mut opened, _) = sealed::Opened::begin(object, &key, &name).map_err(failed)?;
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.create(true).truncate(true).write(true), 0o600);
    let mut file = options.open(to).map_err(failed)?;
    io::copy(&mut opened, &mut file).map_err(failed)?;
    opened.finish().map_err(failed)
}
