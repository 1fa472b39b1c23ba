//! Opening a store file: made new, taken as it is, or refused by name.

use std::collections::VecDeque;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::goal::StoreId;
use rusqlite::{Connection, OpenFlags};

use super::db::Db;
use super::frame::Frame;
use super::framer::Framer;
use super::pack::Packer;
use super::state::State;
use super::writeback::{Sweep, Tail};
use super::{Options, Sqlite, blocks, fault, good, load, migrations, segments, upgrade};
use crate::Error;

/// "EVKL": says in the file's header whose it is.
const APPLICATION: i64 = 0x4556_4b4c;
/// First bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Pages of the log from which on it is folded into the file: more at once are cheaper, and a commit
/// that does it waits some tens of milliseconds.
const CHECKPOINT_PAGES: i64 = 4_096;
/// KiB of pages kept in memory, as SQLite wants it: a step of write-back fits.
const CACHE_KIB: i64 = -16_000;

/// Opens the store at `file`, or makes a new one where there is nothing.
///
/// # Errors
/// [`Error`] says what the file is and what can be done; it was not changed.
pub fn open(file: &Path) -> Result<Sqlite, Error> {
    open_with(file, Options::default())
}

/// [`open`], with what it keeps and how far its parts grow.
///
/// # Errors
/// As [`open`].
pub fn open_with(file: &Path, options: Options) -> Result<Sqlite, Error> {
    if !file.try_exists().map_err(|source| io(file, "cannot be looked for", source))? {
        make(file)?;
    }
    // A store that was closed has no log.
    let unclean = fs::metadata(file.with_file_name(wal(file))).is_ok_and(|log| log.len() > 0);
    let mut store = existing(file, options)?;
    good::keep(&mut store, unclean)?;
    Ok(store)
}

fn wal(file: &Path) -> std::ffi::OsString {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push("-wal");
    name
}

/// Opens the store at `file` and makes nothing.
///
/// # Errors
/// As [`open`], and [`Error::Missing`].
pub fn open_existing(file: &Path) -> Result<Sqlite, Error> {
    existing(file, Options::default())
}

fn existing(file: &Path, options: Options) -> Result<Sqlite, Error> {
    look(file)?;
    let held = hold(file)?;
    let mut connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = |error| fault(file, "cannot be opened", error);
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if application != APPLICATION {
        let why = format!("its application id is {application:#x}");
        return Err(Error::NotAStore { file: file.to_owned(), why });
    }
    let settings = [("synchronous", "FULL".to_owned()), ("cache_size", CACHE_KIB.to_string())];
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    for (name, value) in settings {
        connection.pragma_update(None, name, value).map_err(failed)?;
    }
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
    let small = bytes(&connection, file)? <= options.limits.checked_at_once_max;
    if small || layout(&connection, file)? < 2 {
        check(&connection, file, "quick_check")?;
    }
    migrate(&mut connection, file)?;
    upgrade::go_on(&mut connection, file)?;
    let id = connection
        .query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| row.get(0))
        .map_err(|_| corrupt(file, "it has no identity".to_owned()))?;
    let db = Db { connection: &connection, file };
    let state = db.state()?;
    let (frames, cells) = (load::frames(db, &state)?, load::cells(db, &state)?);
    let segments = segments::all(db, &state)?;
    tail_follows(db, &state, &frames)?;
    Ok(Sqlite {
        file: file.to_owned(),
        id: StoreId(id),
        options,
        good: None,
        connection,
        synced: true,
        state,
        tail: Tail::of(frames),
        segments,
        cells,
        sweep: Sweep::default(),
        framer: Framer::new(),
        blocks: blocks::Writer::new(),
        packer: Packer::new(),
        damage: Arc::default(),
        _lock: held,
    })
}

/// The entries that are in no segment are in the tail, up to the journal's end.
fn tail_follows(db: Db<'_>, state: &State, frames: &VecDeque<Arc<Frame>>) -> Result<(), Error> {
    let (mut at, mut link) = (state.sealed, Some(state.sealed_link));
    for part in frames.iter().flat_map(|frame| &frame.entries) {
        if part.last() <= state.sealed {
            continue;
        }
        if part.first != at + 1 || link.is_some_and(|link| link != part.before) {
            return Err(db.corrupt(format!("the journal's chain breaks at entry {}", at + 1)));
        }
        (at, link) = (part.last(), None);
    }
    if at == state.position {
        return Ok(());
    }
    Err(db.corrupt(format!("the journal ends at entry {at}, not {}", state.position)))
}

/// Bytes of the file's pages.
pub(super) fn bytes(connection: &Connection, file: &Path) -> Result<u64, Error> {
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let failed = |error| fault(file, "cannot be opened", error);
    let (pages, size) = (read("page_count").map_err(failed)?, read("page_size").map_err(failed)?);
    Ok(u64::try_from(pages.saturating_mul(size)).unwrap_or(u64::MAX))
}

fn layout(connection: &Connection, file: &Path) -> Result<i64, Error> {
    let failed = |error| fault(file, "cannot be brought to this release's layout", error);
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)
}

/// Holds a store for this process, by a file beside it: SQLite's own exclusive mode would let nobody read a
/// copy beside the commits.
fn hold(file: &Path) -> Result<fs::File, Error> {
    let lock = beside(file, "lock");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let held = options.open(&lock).map_err(|source| io(&lock, "cannot be opened", source))?;
    match held.try_lock() {
        Ok(()) => Ok(held),
        Err(fs::TryLockError::WouldBlock) => Err(Error::InUse { file: file.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(io(&lock, "cannot be locked", source)),
    }
}

/// A new store's identity.
pub(super) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Writes a file that only its owner may read, from what is read elsewhere.
pub(super) fn write_private(file: &Path, from: &mut dyn Read) -> Result<(), Error> {
    let made = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(file);
    let written = made.and_then(|mut made| std::io::copy(from, &mut made));
    written.map(|_| ()).map_err(|source| io(file, "cannot be written", source))
}

/// Runs one of SQLite's own checks.
pub(super) fn check(connection: &Connection, file: &Path, which: &str) -> Result<(), Error> {
    let found: String = connection
        .query_row(&format!("PRAGMA {which}(1)"), [], |row| row.get(0))
        .map_err(|error| fault(file, "cannot be checked", error))?;
    if found == "ok" { Ok(()) } else { Err(corrupt(file, found)) }
}

fn corrupt(file: &Path, what: String) -> Error {
    Error::Corrupt { file: file.to_owned(), what }
}

pub(super) fn io(file: &Path, what: &str, source: std::io::Error) -> Error {
    let file = file.to_owned();
    if source.kind() == std::io::ErrorKind::StorageFull {
        return Error::DiskFull { file };
    }
    Error::Io { file, what: what.to_owned(), source: source.into() }
}

/// What can be told from outside: SQLite takes an empty file for a new one, which it is not here.
fn look(file: &Path) -> Result<(), Error> {
    let mut opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing { file: file.to_owned() });
        }
        Err(source) => return Err(io(file, "cannot be read", source)),
    };
    let mut head = Vec::new();
    let read = opened.by_ref().take(100).read_to_end(&mut head);
    read.map_err(|source| io(file, "cannot be read", source))?;
    let length = opened.metadata().map_err(|source| io(file, "cannot be read", source))?.len();
    if head.len() < 100 {
        return Err(corrupt(file, format!("it is cut off after {length} bytes")));
    }
    if !head.starts_with(MAGIC) {
        let why = "no SQLite file".to_owned();
        return Err(Error::NotAStore { file: file.to_owned(), why });
    }
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        page => u64::from(page),
    };
    if page == 0 || length % page != 0 {
        return Err(corrupt(file, format!("it is cut off inside a page, after {length} bytes")));
    }
    Ok(())
}

pub(super) fn connect(file: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| fault(file, "cannot be opened", error);
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    connection.busy_timeout(Duration::ZERO).map_err(failed)?;
    Ok(connection)
}

/// Makes a new store beside its place and moves it there whole.
pub(super) fn make(file: &Path) -> Result<(), Error> {
    let new = beside(file, "new");
    remove(&new)?;
    let made = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new);
    made.map_err(|source| io(&new, "cannot be made", source))?;
    let failed = |error| fault(&new, "cannot be made", error);
    let mut connection = connect(&new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
    migrate(&mut connection, &new)?;
    upgrade::go_on(&mut connection, &new)?;
    connection.execute("INSERT INTO meta VALUES ('store', ?)", [new_id()]).map_err(failed)?;
    drop(connection);
    settle(&new, file)
}

pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io(file, "cannot be removed", error))
        }
        _ => Ok(()),
    }
}

/// Syncs a whole file and gives it its name, which is synced too.
pub(super) fn settle(new: &Path, file: &Path) -> Result<(), Error> {
    let synced = fs::File::open(new).and_then(|opened| opened.sync_all());
    synced.map_err(|source| io(new, "cannot be synced", source))?;
    fs::rename(new, file).map_err(|source| io(file, "cannot be put in place", source))?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let synced = fs::File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
    synced.map_err(|source| io(file, "its directory cannot be synced", source))
}

/// Brings a file to the newest layout, one transaction a step.
fn migrate(connection: &mut Connection, file: &Path) -> Result<(), Error> {
    let failed = |error| fault(file, "cannot be brought to this release's layout", error);
    let found = layout(connection, file)?;
    let known = i64::try_from(migrations::STEPS.len()).unwrap_or(i64::MAX);
    let Ok(done) = usize::try_from(found) else {
        return Err(corrupt(file, format!("its layout is {found}")));
    };
    if found > known {
        return Err(Error::Newer { file: file.to_owned(), found, known });
    }
    if found == 1 {
        upgrade::examine(Db { connection, file })?;
    }
    for (version, step) in (1i64..).zip(migrations::STEPS).skip(done) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        if version == 2 {
            let state = State::default().write();
            transaction.execute("INSERT INTO state VALUES (0, ?)", [state]).map_err(failed)?;
        }
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
