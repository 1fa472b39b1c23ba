//! The embedded store: one SQLite file, every commit synced.
//!
//! Write-ahead log with `synchronous = FULL`, so an answered commit survives a power cut. The file
//! is held by one process while it is open (`store.db.lock` beside it), which may read whole copies of
//! it beside its commits.
//!
//! A commit is one small append: a [frame] with everything the turns of many cells changed, sorted,
//! packed, chained. [Write-back](writeback) brings rows to rest in [blocks] and entries into
//! [segments]; what has come to rest leaves the tail, and a start lays the rest over what rests
//! ([load]). SQLite itself does not notice a bit that flipped inside a value, or a page that lost
//! rows: every piece has a digest, and the store's own [record](state) has sums over all of them.

mod blocks;
mod copy;
mod db;
mod frame;
mod framer;
mod good;
mod load;
mod merge;
mod migrations;
mod open;
mod options;
mod pack;
mod past;
mod segments;
mod state;
mod upgrade;
mod verify;
mod writeback;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use evenkeel_core::digest::Digest;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::row::{Key, Writes};
use rusqlite::{Connection, ErrorCode, Transaction};

use self::db::Db;
use self::past::{Past, Query};
use self::segments::Segment;
use self::state::{State, Tally};
use crate::{
    Copies, Error, Position, Reads, Recorded, Store, Verified, entry_line, row_line, write_line,
};

pub use copy::succeed;
pub use open::{open, open_existing, open_with};
pub use options::{Limits, Options, Retention, TAIL_RAW_MAX};

/// An open store file.
#[derive(Debug)]
pub struct Sqlite {
    file: PathBuf,
    id: StoreId,
    options: Options,
    /// Before the connection: it ends first.
    good: Option<good::Keeper>,
    connection: Connection,
    /// Whether the connection syncs its commits now.
    synced: bool,
    state: State,
    tail: writeback::Tail,
    segments: VecDeque<Segment>,
    cells: BTreeMap<u32, Tally>,
    sweep: writeback::Sweep,
    framer: framer::Framer,
    blocks: blocks::Writer,
    packer: pack::Packer,
    /// What was found damaged beside the commits: the next is refused.
    damage: Arc<OnceLock<String>>,
    /// After the connection: held until that is closed.
    _lock: std::fs::File,
}

/// An error of SQLite in this crate's words.
fn fault(file: &Path, what: &str, error: rusqlite::Error) -> Error {
    let file = file.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::DiskFull { file },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Error::ReadOnly { file }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::InUse { file },
        Some(ErrorCode::NotADatabase) => {
            Error::NotAStore { file, why: "no SQLite file".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt { file, what: error.to_string() },
        _ => Error::Io { file, what: what.to_owned(), source: error.into() },
    }
}

/// Begins a transaction; dropped without [`finish`], it rolls back.
fn begin<'c>(connection: &'c Connection, file: &Path) -> Result<Transaction<'c>, Error> {
    let failed = |error| fault(file, "cannot begin a commit", error);
    connection.unchecked_transaction().map_err(failed)
}

fn finish(transaction: Transaction<'_>, file: &Path) -> Result<(), Error> {
    transaction.commit().map_err(|error| fault(file, "cannot commit", error))
}

impl Sqlite {
    fn db(&self) -> Db<'_> {
        Db { connection: &self.connection, file: &self.file }
    }

    fn past(&self) -> Past<'_> {
        let frames = &self.tail.frames;
        Past { db: self.db(), state: &self.state, segments: &self.segments, frames }
    }

    /// Whether commits are synced from now on.
    fn synchronous(&mut self, synced: bool) -> Result<(), Error> {
        if self.synced != synced {
            let failed = |error| fault(&self.file, "cannot commit", error);
            let how = if synced { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", how).map_err(failed)?;
            self.synced = synced;
        }
        Ok(())
    }

    fn sound(&self) -> Result<(), Error> {
        match self.damage.get() {
            Some(what) => Err(self.db().corrupt(what.clone())),
            None => Ok(()),
        }
    }

    fn rows(
        &self,
        cells: std::ops::RangeInclusive<u32>,
        take: &mut load::Take<'_>,
    ) -> Result<(), Error> {
        load::rows(self.db(), &self.tail.frames, &self.cells, &cells, take)
    }
}

/// Bytes of rows before packing in a batch, about.
fn raw(batch: &[(CellId, &Writes)]) -> u64 {
    let rows = batch.iter().flat_map(|(_, writes)| &writes.rows);
    rows.map(|row| pack::length(row.body.as_ref().map_or(0, Vec::len)) + 8).sum()
}

impl Store for Sqlite {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    fn copies(&self) -> Option<Box<dyn Copies>> {
        Some(Box::new(copy::Copier(self.file.clone())))
    }

    fn cells(&self) -> Result<Vec<CellId>, Error> {
        load::named_cells(self.db(), &self.tail.frames, &self.cells)
    }

    fn reads(&self) -> Option<Box<dyn Reads>> {
        Some(Box::new(load::Reading(self.file.clone())))
    }

    fn load_cell(&self, cell: CellId) -> Result<Vec<(Key, Vec<u8>)>, Error> {
        let mut rows = Vec::new();
        self.rows(cell.0..=cell.0, &mut |_, key, body| rows.push((key, body.to_vec())))?;
        Ok(rows)
    }

    fn load_each(&self, take: &mut dyn FnMut(CellId, Key, &[u8])) -> Result<(), Error> {
        self.rows(0..=u32::MAX, take)
    }

    fn commit_batch(&mut self, batch: &[(CellId, &Writes)]) -> Result<Position, Error> {
        self.sound()?;
        if batch.iter().all(|(_, writes)| writes.is_empty()) {
            return Ok(self.state.position);
        }
        self.make_room()?;
        let large = raw(batch) >= self.options.limits.large_raw;
        if large && self.tail.small > 0 {
            // Small commits stay the youngest, or become a run: order is by age.
            self.gather()?;
        }
        self.synchronous(true)?;
        let mut state = self.state.clone();
        let frame = self.framer.commit(batch, &mut state, large, self.sweep.phase());
        let transaction = begin(&self.connection, &self.file)?;
        let db = Db { connection: &transaction, file: &self.file };
        writeback::store(db, &frame, &self.framer.head, &self.framer.bodies)?;
        db.keep_state(&state)?;
        finish(transaction, &self.file)?;
        self.state = state;
        let raw = frame.raw();
        if large {
            // It is on disk: what cannot be read of it now is found when it is swept.
            let _ = self.take_large(Arc::new(frame));
        } else {
            self.tail.push(Arc::new(frame));
        }
        self.follow(raw);
        Ok(self.state.position)
    }

    fn journal(
        &self,
        subject: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        self.past().read(Query { subject, after, limit })
    }

    fn dropped(&self) -> (Position, Digest) {
        (self.state.dropped, self.state.dropped_link)
    }

    fn verify(&self) -> Result<Verified, Error> {
        self.sound()?;
        open::check(&self.connection, &self.file, "integrity_check")?;
        let (state, found) = verify::all(self.db(), &|| false)?;
        if state != self.state {
            return Err(self.db().corrupt("the journal's end is not where it was left"));
        }
        Ok(found)
    }

    fn dump(&self, to: &mut dyn Write) -> Result<(), Error> {
        let failed = |source: std::io::Error| Error::Io {
            file: self.file.clone(),
            what: "cannot write the dump".to_owned(),
            source: source.into(),
        };
        let mut written = Ok(());
        self.load_each(&mut |cell, key, body| {
            if written.is_ok() {
                written = write_line(to, &row_line(cell, key, body));
            }
        })?;
        written.map_err(failed)?;
        self.past().follow(|recorded| write_line(to, &entry_line(&recorded)).map_err(failed))?;
        Ok(())
    }
}
