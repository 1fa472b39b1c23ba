//! Making the directory of a control plane that comes after a lost one. Nothing runs meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_core::cell::many::FIRST;
use evenkeel_core::goal::StoreId;
use evenkeel_core::row::{Key, Writes};
use evenkeel_store::sqlite;

use crate::credential::FleetKey;
use crate::lock::Lock;
use crate::{Error, private_file};

/// What a store holds of a cell.
pub type Rows = Vec<(Key, Vec<u8>)>;

/// The rows of a whole copy of a store, which is looked through first.
///
/// # Errors
/// [`Error::Store`] says what is wrong with it.
pub fn rows_of(copy: &Path) -> Result<(StoreId, Rows), Error> {
    use evenkeel_store::Store as _;
    let bad = |source| Error::Store { path: copy.to_owned(), source };
    let store = sqlite::open_existing(copy).map_err(bad)?;
    store.verify().map_err(bad)?;
    let cells = store.cells().map_err(bad)?;
    if cells.iter().any(|cell| *cell != FIRST) {
        return Err(Error::ManyCells { path: copy.to_owned(), cells: cells.len() });
    }
    let rows = store.load_cell(FIRST).map_err(bad)?;
    Ok((store.id(), rows))
}

/// Makes a controller's directory: its store from a copy or from nothing, and the fleet's key. A directory
/// that is there and holds a store is moved aside, if that is wanted; where to.
///
/// # Errors
/// [`Error`]; a controller runs there, or there is a store.
pub fn recover(
    dir: &Path,
    key: &FleetKey,
    copy: Option<&Path>,
    writes: &Writes,
    aside: bool,
) -> Result<(StoreId, Option<PathBuf>), Error> {
    private_file::make_dir(dir)?;
    let lock = Lock::take(dir)?;
    let path = dir.join("store.db");
    let mut moved = None;
    let lock = if path.exists() && aside {
        let old = free_name(dir);
        fs::rename(dir, &old).map_err(private_file::Error::at("move aside", dir))?;
        moved = Some(old);
        drop(lock);
        private_file::make_dir(dir)?;
        Lock::take(dir)?
    } else {
        lock
    };
    let failed = |source| Error::Store { path: path.clone(), source };
    if path.exists() {
        return Err(failed(evenkeel_store::Error::Exists { file: path.clone() }));
    }
    let own = dir.join("fleet.key");
    if own.exists() && FleetKey::read(&own)?.digits() != key.digits() {
        return Err(Error::OtherKey { path: own });
    }
    key.write(&own)?;
    // Whoever recovered with it has a copy.
    private_file::replace(&own.with_extension("key.saved"), key.digits().as_bytes())?;
    let store = sqlite::succeed(&path, copy, FIRST, writes).map_err(failed)?;
    drop(lock);
    Ok((store, moved))
}

fn free_name(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let named = |n: u32| dir.with_file_name(format!("{name}.before-{n}"));
    (1..).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(0))
}

#[cfg(test)]
mod tests {
    use evenkeel_store::Store as _;

    use super::*;

    #[test]
    fn a_directory_is_made_once_and_moved_aside_only_if_that_is_wanted() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("controller");
        let copy = top.path().join("key");
        fs::write(&copy, [7; 32]).unwrap();
        let key = FleetKey::read(&copy).unwrap();
        let writes = Writes::default();
        let (first, moved) = recover(&dir, &key, None, &writes, false).unwrap();
        assert_eq!(moved, None);
        let again = recover(&dir, &key, None, &writes, false).unwrap_err();
        assert!(crate::chain(&again).contains("exists; move"), "{}", crate::chain(&again));
        let (second, moved) = recover(&dir, &key, None, &writes, true).unwrap();
        let old = moved.unwrap();
        assert_ne!(first, second);
        assert_eq!(sqlite::open(&old.join("store.db")).unwrap().id(), first);
        let (id, rows) = rows_of(&dir.join("store.db")).unwrap();
        assert_eq!((id, rows.len()), (second, 0));
        assert_eq!(FleetKey::read(&dir.join("fleet.key")).unwrap().digits(), key.digits());
        fs::remove_file(dir.join("store.db")).unwrap();
        fs::write(&copy, [8; 32]).unwrap();
        let other = recover(&dir, &FleetKey::read(&copy).unwrap(), None, &writes, false);
        assert!(matches!(other, Err(Error::OtherKey { .. })));
    }

    #[test]
    fn a_directory_with_a_controller_in_it_is_left_alone() {
        let top = tempfile::tempdir().unwrap();
        let copy = top.path().join("key");
        fs::write(&copy, [7; 32]).unwrap();
        let _held = Lock::take(top.path()).unwrap();
        let key = FleetKey::read(&copy).unwrap();
        let refused = recover(top.path(), &key, None, &Writes::default(), true);
        assert!(matches!(refused, Err(Error::Lock(_))), "{refused:?}");
    }
}
