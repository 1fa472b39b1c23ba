//! The embedded store: one SQLite file, every commit synced.
//!
//! Write-ahead log with `synchronous = FULL`, so an answered commit survives a power cut. The file
//! is held by one process while it is open (`store.db.lock` beside it), which may read whole copies of
//! it beside its commits. Each row carries a checksum and the journal is a chain, as
//! SQLite itself does not notice a bit that flipped inside a value.

mod copy;
mod migrations;
mod open;

use std::io::Write;
use std::path::{Path, PathBuf};

use evenkeel_core::digest::Digest;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::journal::{Entry, GENESIS, chain};
use evenkeel_core::row::{self, Key, Table, Writes};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use crate::{Copies, Error, Position, Recorded, Store, Verified, entry_line, row_line, write_line};

pub use copy::succeed;
pub use open::{open, open_existing};

/// An open store file.
#[derive(Debug)]
pub struct Sqlite {
    file: PathBuf,
    id: StoreId,
    connection: Connection,
    position: Position,
    head: Digest,
    /// After the connection: held until that is closed.
    _lock: std::fs::File,
}

/// A row's checksum: a flipped bit, or a row under another key, does not fit.
fn checksum(cell: CellId, key: Key, body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&cell.0.to_be_bytes());
    hasher.update(key.table.as_str().as_bytes());
    hasher.update(&key.id.to_be_bytes());
    hasher.update(body);
    *hasher.finalize().as_bytes().first_chunk().expect("a digest is longer than 8 bytes")
}

/// A table's number in the file; never changed.
const fn number(table: Table) -> i64 {
    match table {
        Table::Cell => 0,
        Table::Host => 1,
        Table::Service => 2,
        Table::Toil => 8,
        Table::Act => 7,
        Table::Incident => 3,
    }
}

/// SQLite's integers are signed; ids use 63 bits at most.
fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("ids and positions stay below 2^63")
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
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

impl Sqlite {
    fn fault(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |error| fault(&self.file, what, error)
    }

    fn corrupt(&self, what: String) -> Error {
        Error::Corrupt { file: self.file.clone(), what }
    }

    /// Every row, or one cell's.
    fn rows(&self, cell: Option<CellId>) -> Result<Vec<(CellId, Key, Vec<u8>)>, Error> {
        let failed = self.fault("cannot read the rows");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT cell, kind, id, body, sum FROM rows WHERE ?1 IS NULL OR cell = ?1
                 ORDER BY cell, kind, id",
            )
            .map_err(&failed)?;
        let mut found = statement.query(params![cell.map(|c| c.0)]).map_err(&failed)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(&failed)? {
            let kind: i64 = row.get(1).map_err(&failed)?;
            let id: i64 = row.get(2).map_err(&failed)?;
            let table = Table::ALL.into_iter().find(|table| number(*table) == kind);
            let Some(table) = table else {
                return Err(self.corrupt(format!("row {id} is of unknown table {kind}")));
            };
            let cell = CellId(row.get(0).map_err(&failed)?);
            let key = Key { table, id: unsigned(id) };
            let body: Vec<u8> = row.get(3).map_err(&failed)?;
            let sum: Vec<u8> = row.get(4).map_err(&failed)?;
            if sum != checksum(cell, key, &body) {
                let name = table.as_str();
                return Err(self.corrupt(format!("row {name} {id} does not fit its checksum")));
            }
            rows.push((cell, key, body));
        }
        Ok(rows)
    }

    fn recorded(&self, row: &rusqlite::Row<'_>) -> Result<Recorded, Error> {
        let failed = self.fault("cannot read the journal");
        let position = unsigned(row.get(0).map_err(&failed)?);
        let entry: Vec<u8> = row.get(2).map_err(&failed)?;
        let link: Vec<u8> = row.get(3).map_err(&failed)?;
        let entry: Entry = row::decode(&entry)
            .map_err(|error| self.corrupt(format!("journal entry {position}: {error}")))?;
        let link = <[u8; 32]>::try_from(link)
            .map_err(|_| self.corrupt(format!("journal entry {position} has no whole link")))?;
        let cell = CellId(row.get(1).map_err(&failed)?);
        Ok(Recorded { position, cell, entry, link: Digest(link) })
    }

    /// Calls `each` with every entry, oldest first.
    fn walk(&self, mut each: impl FnMut(&Recorded) -> Result<(), Error>) -> Result<(), Error> {
        let failed = self.fault("cannot read the journal");
        let mut statement = self
            .connection
            .prepare_cached("SELECT position, cell, entry, link FROM journal ORDER BY position")
            .map_err(&failed)?;
        let mut found = statement.query([]).map_err(&failed)?;
        while let Some(row) = found.next().map_err(&failed)? {
            each(&self.recorded(row)?)?;
        }
        Ok(())
    }
}

/// Writes a batch within a transaction; the journal's new end.
fn write(
    transaction: &Transaction<'_>,
    batch: &[(CellId, &Writes)],
    (mut position, mut head): (Position, Digest),
) -> rusqlite::Result<(Position, Digest)> {
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO rows (cell, kind, id, body, sum) VALUES (?, ?, ?, ?, ?)",
    )?;
    let mut drop =
        transaction.prepare_cached("DELETE FROM rows WHERE cell = ? AND kind = ? AND id = ?")?;
    let mut append = transaction.prepare_cached(
        "INSERT INTO journal (position, cell, subject, entry, link) VALUES (?, ?, ?, ?, ?)",
    )?;
    for (cell, writes) in batch {
        for write in &writes.rows {
            let (kind, id) = (number(write.key.table), signed(write.key.id));
            match &write.body {
                Some(body) => {
                    let sum = checksum(*cell, write.key, body);
                    put.execute(params![cell.0, kind, id, body, sum])?
                }
                None => drop.execute(params![cell.0, kind, id])?,
            };
        }
        for entry in &writes.journal {
            position += 1;
            head = chain(head, entry);
            let body = row::encode(entry);
            append.execute(params![signed(position), cell.0, entry.subject, body, head.0])?;
        }
    }
    Ok((position, head))
}

impl Store for Sqlite {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    fn copies(&self) -> Option<Box<dyn Copies>> {
        Some(Box::new(copy::Copier(self.file.clone())))
    }

    fn cells(&self) -> Result<Vec<CellId>, Error> {
        let failed = self.fault("cannot read which cells there are");
        // From one cell to the next: not through all the rows of each.
        let sql = "WITH RECURSIVE of(cell) AS (
                     SELECT min(cell) FROM rows UNION ALL
                     SELECT (SELECT min(cell) FROM rows WHERE cell > of.cell) FROM of
                     WHERE of.cell IS NOT NULL)
                   SELECT cell FROM of WHERE cell IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let cells = statement.query_map([], |row| Ok(CellId(row.get(0)?))).map_err(&failed)?;
        cells.collect::<Result<_, _>>().map_err(&failed)
    }

    fn load_cell(&self, cell: CellId) -> Result<Vec<(Key, Vec<u8>)>, Error> {
        Ok(self.rows(Some(cell))?.into_iter().map(|(_, key, body)| (key, body)).collect())
    }

    fn commit_batch(&mut self, batch: &[(CellId, &Writes)]) -> Result<Position, Error> {
        let end = (self.position, self.head);
        let file = self.file.clone();
        let failed = |error| fault(&file, "cannot commit", error);
        // Dropped without a commit, a transaction rolls back.
        let transaction = self.connection.transaction().map_err(failed)?;
        let end = write(&transaction, batch, end).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        (self.position, self.head) = end;
        Ok(self.position)
    }

    fn journal(
        &self,
        subject: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        let failed = self.fault("cannot read the journal");
        let (order, compare) = if after.is_some() { ("ASC", ">") } else { ("DESC", ">=") };
        let about = if subject.is_some() { "subject = ?1" } else { "?1 IS NULL" };
        let sql = format!(
            "SELECT position, cell, entry, link FROM journal
             WHERE {about} AND position {compare} ?2 ORDER BY position {order} LIMIT ?3"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(&failed)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let from = signed(after.unwrap_or(0));
        let mut found = statement.query(params![subject, from, limit]).map_err(&failed)?;
        let mut entries = Vec::new();
        while let Some(row) = found.next().map_err(&failed)? {
            entries.push(self.recorded(row)?);
        }
        if after.is_none() {
            entries.reverse();
        }
        Ok(entries)
    }

    fn verify(&self) -> Result<Verified, Error> {
        open::check(&self.connection, &self.file, "integrity_check")?;
        let rows = u64::try_from(self.rows(None)?.len()).unwrap_or(u64::MAX);
        let (mut head, mut entries) = (GENESIS, 0);
        self.walk(|recorded| {
            entries += 1;
            head = chain(head, &recorded.entry);
            if head != recorded.link || recorded.position != entries {
                let at = recorded.position;
                let (subject, text) = (&recorded.entry.subject, &recorded.entry.text);
                return Err(self.corrupt(format!(
                    "the journal's chain breaks at entry {at} ({subject}: {text:?})"
                )));
            }
            Ok(())
        })?;
        if (entries, head) != (self.position, self.head) {
            return Err(self.corrupt("the journal's end is not where it was left".to_owned()));
        }
        Ok(Verified { rows, entries })
    }

    fn dump(&self, to: &mut dyn Write) -> Result<(), Error> {
        let failed = |source: std::io::Error| Error::Io {
            file: self.file.clone(),
            what: "cannot write the dump".to_owned(),
            source: source.into(),
        };
        for (cell, key, body) in self.rows(None)? {
            write_line(to, &row_line(cell, key, &body)).map_err(failed)?;
        }
        self.walk(|recorded| write_line(to, &entry_line(recorded)).map_err(failed))
    }
}

/// The journal's end as the file has it.
fn end(connection: &Connection, file: &Path) -> Result<(Position, Digest), Error> {
    let newest = connection
        .query_row("SELECT position, link FROM journal ORDER BY position DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()
        .map_err(|error| fault(file, "cannot read the journal's end", error))?;
    let Some((position, link)) = newest else { return Ok((0, GENESIS)) };
    let link = <[u8; 32]>::try_from(link).map_err(|_| Error::Corrupt {
        file: file.to_owned(),
        what: "the journal's last link is not whole".to_owned(),
    })?;
    Ok((unsigned(position), Digest(link)))
}
