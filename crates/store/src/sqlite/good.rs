//! The copy of what opened cleanly (`store.db.good`), for the day when the file itself does not.
//!
//! It is what a person puts back when there is no other: the control plane's own backups are the
//! copies in the repositories. So it has to be sound and not too old, and it must not make a start
//! wait. A small file is checked and copied at every start, at once. A large one is opened without
//! either, as everything that is read of it is checked anyway: a thread checks the whole of it after
//! a start that was not clean, and makes a copy once a day, beside the commits.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::db::Db;
use super::open::{self, beside, io, settle};
use super::{Sqlite, fault, load, verify};
use crate::Error;

/// Pages per step of a copy; between two it can be told to stop, and each is brought to the disk by itself: commits
/// wait for what else is being synced, and would wait for the whole of a large copy.
const COPY_PAGES: i32 = 1_024;
/// A large file's copy is made anew when it is older.
const COPY_EVERY: Duration = Duration::from_hours(24);

/// The thread that checks and copies a large file. It ends with the store.
pub(super) struct Keeper {
    stop: Arc<AtomicBool>,
    interrupt: InterruptHandle,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.interrupt.interrupt();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps a copy of what opened cleanly: now, or beside the commits.
pub(super) fn keep(store: &mut Sqlite, unclean: bool) -> Result<(), Error> {
    let file = store.file.clone();
    let small = open::bytes(&store.connection, &file)? <= store.options.limits.checked_at_once_max;
    if small {
        // What is sound as pages can still have a past that was changed: the copy before stays, and
        // the file goes on, as agents need a controller more than a controller its past.
        if matches!(verify::all(store.db(), &|| false), Err(Error::Corrupt { .. })) {
            return Ok(());
        }
        return copy(&store.connection, &file, &AtomicBool::new(false)).map(|_| ());
    }
    let copied = fs::metadata(beside(&file, "good")).and_then(|good| good.modified()).ok();
    let due = copied.is_none_or(|at| at.elapsed().is_ok_and(|age| age > COPY_EVERY));
    if !due && !unclean {
        return Ok(());
    }
    let connection = load::reading(&file)?;
    // The sight of the file that is checked and copied begins here.
    let failed = |error| fault(&file, "cannot be opened to be read", error);
    let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    connection.query_row("SELECT count(*) FROM state", [], read).map_err(failed)?;
    let (stop, damage) = (Arc::new(AtomicBool::new(false)), Arc::clone(&store.damage));
    let (interrupt, stopped) = (connection.get_interrupt_handle(), Arc::clone(&stop));
    let work = move || look_and_copy(&connection, &file, due, &stopped, &damage);
    let thread = std::thread::Builder::new().name("store-good".to_owned()).spawn(work);
    let thread = thread.map_err(|source| io(&store.file, "no thread to check it", source))?;
    store.good = Some(Keeper { stop, interrupt, thread: Some(thread) });
    Ok(())
}

fn look_and_copy(
    connection: &Connection,
    file: &Path,
    due: bool,
    stop: &AtomicBool,
    damage: &OnceLock<String>,
) {
    if stop.load(Ordering::Relaxed) {
        return;
    }
    match open::check(connection, file, "quick_check") {
        Err(Error::Corrupt { what, .. }) => {
            damage.get_or_init(|| what);
        }
        // A copy that cannot be made (a full disk), or would be of a changed past, is made at another
        // start: the one before stays.
        Ok(()) if due => {
            let db = Db { connection, file };
            if verify::all(db, &|| stop.load(Ordering::Relaxed)).is_ok() {
                drop(copy(connection, file, stop));
            }
        }
        Ok(()) | Err(_) => {}
    }
}

/// Copies a file as the connection sees it; `false`: it was told to stop.
fn copy(connection: &Connection, file: &Path, stop: &AtomicBool) -> Result<bool, Error> {
    let (good, new) = (beside(file, "good"), beside(file, "good.new"));
    open::remove(&new)?;
    let made = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new);
    let made = made.map_err(|source| io(&new, "cannot be made", source))?;
    let copied = copy_to(connection, (&new, &made), stop);
    if !matches!(copied, Ok(true)) {
        let _ = fs::remove_file(&new);
        return copied;
    }
    settle(&new, &good)?;
    Ok(true)
}

fn copy_to(
    connection: &Connection,
    (new, made): (&Path, &fs::File),
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let failed = |error| fault(new, "cannot be copied to", error);
    let mut copy = open::connect(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let backup = Backup::new(connection, &mut copy).map_err(failed)?;
    while !stop.load(Ordering::Relaxed) {
        match backup.step(COPY_PAGES).map_err(failed)? {
            StepResult::Done => return Ok(true),
            StepResult::More => {
                made.sync_data().map_err(|source| io(new, "cannot be written", source))?;
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    Ok(false)
}
