//! Whole copies of a store, beside whoever commits to it, and a copy as another store's beginning.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::row::Writes;
use rusqlite::{Connection, OpenFlags};

use super::open::{self, io};
use super::{Sqlite, fault};
use crate::{Copies, Error, Store};

/// A copy waits so long for a lock; commits never hold one that it needs for longer than a moment.
pub(super) const LOCK_MAX: Duration = Duration::from_secs(5);

/// The file that copies are taken of.
#[derive(Debug)]
pub(super) struct Copier(pub PathBuf);

impl Copies for Copier {
    fn copy(&self, to: &Path) -> Result<(), Error> {
        let _ = fs::remove_file(to);
        // Its owner's alone from the first byte on: SQLite takes an empty file for none.
        let made = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(to);
        made.map_err(|source| io(to, "cannot be made", source))?;
        let failed = |error| fault(&self.0, "cannot be copied", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.0, flags).map_err(failed)?;
        connection.busy_timeout(LOCK_MAX).map_err(failed)?;
        let to = to.to_string_lossy();
        connection.execute("VACUUM INTO ?", [to.as_ref()]).map_err(failed)?;
        Ok(())
    }
}

/// Makes a store that comes after others: from a whole copy of one of them where there is one, else from
/// nothing. Its identity is new, and it begins with these writes.
///
/// # Errors
/// [`Error`]; then there is no store at `file`. Also when there is one already.
pub fn succeed(
    file: &Path,
    copy: Option<&Path>,
    cell: CellId,
    writes: &Writes,
) -> Result<StoreId, Error> {
    let new = open::beside(file, "new");
    for left in [new.clone(), open::beside(&new, "good"), open::beside(&new, "lock")] {
        open::remove(&left)?;
    }
    match copy {
        Some(copy) => {
            let mut from = fs::File::open(copy).map_err(|e| io(copy, "cannot be read", e))?;
            open::write_private(&new, &mut from)?;
        }
        None => open::make(&new)?,
    }
    let mut store: Sqlite = open::open_existing(&new)?;
    store.verify()?;
    let id = open::new_id();
    let failed = |error| fault(&new, "cannot be made another store", error);
    let renamed = store.connection.execute("UPDATE meta SET value = ? WHERE key = 'store'", [&id]);
    renamed.map_err(failed)?;
    store.commit(cell, writes)?;
    store.verify()?;
    // The log is folded in when the last connection ends: the file alone is all of it then.
    drop(store);
    open::remove(&open::beside(&new, "lock"))?;
    if file.try_exists().map_err(|source| io(file, "cannot be looked for", source))? {
        return Err(Error::Exists { file: file.to_owned() });
    }
    open::settle(&new, file)?;
    Ok(StoreId(id))
}
