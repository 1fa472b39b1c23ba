//! A file of layout 1 (a row a row, an entry a row) brought to layout 2, in place.
//!
//! First everything is found sound and nothing is changed. Then rows and entries are moved some
//! thousands a transaction, each with the record that counts them, so a crash between any two goes
//! on where it was. The entries' chain is the same before and after.

use std::collections::BTreeMap;

use evenkeel_core::digest::Digest;
use evenkeel_core::journal::{GENESIS, chain_json};
use evenkeel_core::row::VERSION;
use rusqlite::{Connection, params};

use super::blocks::{self, Block, Changes, Writer};
use super::db::{Db, signed, unsigned};
use super::frame::Place;
use super::pack::Packer;
use super::segments::Sealer;
use super::state::State;
use super::{Limits, begin, fault, finish, load};
use crate::Error;

/// Rows that are moved in one transaction.
const ROWS: i64 = 8_192;

/// Goes through a file of layout 1.
pub(super) fn examine(db: Db<'_>) -> Result<(), Error> {
    old_rows(db, "rows", i64::MAX, |_, _| Ok(()))?;
    old_entries(db, "journal", (0, GENESIS), i64::MAX, |_| Ok(()))?;
    Ok(())
}

/// Moves what is left of layout 1, if anything is.
pub(super) fn go_on(connection: &mut Connection, file: &std::path::Path) -> Result<(), Error> {
    let failed = |error| fault(file, "cannot be brought to this release's layout", error);
    let old = |name| connection.table_exists(None::<&str>, name).map_err(failed);
    if !old("rows_1")? {
        return Ok(());
    }
    let mut moving = Moving {
        state: Db { connection, file }.state()?,
        writer: Writer::new(),
        packer: Packer::new(),
        limits: Limits::default(),
    };
    loop {
        let transaction = begin(connection, file)?;
        let db = Db { connection: &transaction, file };
        let more = moving.rows(db)? || moving.entries(db)?;
        db.keep_state(&moving.state)?;
        if !more {
            transaction
                .execute_batch("DROP TABLE rows_1; DROP TABLE journal_1;")
                .map_err(failed)?;
        }
        finish(transaction, file)?;
        if !more {
            return Ok(());
        }
    }
}

/// What moves.
struct Moving {
    state: State,
    writer: Writer,
    packer: Packer,
    limits: Limits,
}

impl Moving {
    /// Moves some rows; whether there were any.
    fn rows(&mut self, db: Db<'_>) -> Result<bool, Error> {
        let mut cells = load::cells(db, &self.state)?;
        let (mut changes, mut last) = (Changes::default(), None);
        let (writer, state) = (&mut self.writer, &mut self.state);
        let mut touched = BTreeMap::new();
        let moved = old_rows(db, "rows_1", ROWS, |place, body| {
            if last.is_some_and(|last| Block::of(last) != Block::of(place)) {
                writer.apply(db, &changes, state, &mut cells)?;
            }
            if last.is_none_or(|last| Block::of(last) != Block::of(place)) {
                changes.clear(Block::of(place));
            }
            touched.insert(place.cell, ());
            changes.push(place, Some(body));
            last = Some(place);
            Ok(())
        })?;
        let Some(last) = last else { return Ok(false) };
        writer.apply(db, &changes, state, &mut cells)?;
        for cell in touched.keys() {
            blocks::keep_cell(db, *cell, cells.get(cell).copied().unwrap_or_default())?;
        }
        let sql = "DELETE FROM rows_1 WHERE (cell, kind, id) <= (?, ?, ?)";
        let with = params![last.cell, i64::from(last.kind), signed(last.id)];
        db.run("cannot be brought to this release's layout", sql, with)?;
        Ok(moved > 0)
    }

    /// Seals some entries; whether there were any.
    fn entries(&mut self, db: Db<'_>) -> Result<bool, Error> {
        let state = &mut self.state;
        let many = i64::try_from(self.limits.segment_entries).unwrap_or(i64::MAX);
        let mut sealer = Sealer::new(db, &mut self.packer, &self.limits);
        let from = (state.position, state.head);
        let end = old_entries(db, "journal_1", from, many, |entry| {
            state.newest = state.newest.max(entry.at);
            sealer.entry(entry.position, entry.before, entry.cell, entry.json)
        })?;
        if end == from {
            return Ok(false);
        }
        (state.position, state.head) = end;
        (state.sealed, state.sealed_link) = end;
        sealer.finish(end.1)?;
        let sql = "DELETE FROM journal_1 WHERE position <= ?";
        let what = "cannot be brought to this release's layout";
        db.run(what, sql, params![signed(end.0)])?;
        Ok(true)
    }
}

/// A row's checksum in layout 1.
fn checksum(cell: u32, table: &str, id: u64, body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&cell.to_be_bytes());
    hasher.update(table.as_bytes());
    hasher.update(&id.to_be_bytes());
    hasher.update(body);
    *hasher.finalize().as_bytes().first_chunk().expect("a digest is longer than 8 bytes")
}

/// Calls `each` with rows of layout 1, in order, each found sound; how many.
fn old_rows(
    db: Db<'_>,
    table: &str,
    limit: i64,
    mut each: impl FnMut(Place, &[u8]) -> Result<(), Error>,
) -> Result<u64, Error> {
    let failed = db.failed("cannot read the rows");
    let sql = format!(
        "SELECT cell, kind, id, body, sum FROM {table} ORDER BY cell, kind, id LIMIT {limit}"
    );
    let mut statement = db.connection.prepare(&sql).map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    let mut count = 0;
    while let Some(row) = found.next().map_err(failed)? {
        let id = unsigned(row.get(2).map_err(failed)?);
        let kind: u8 = row.get(1).map_err(failed)?;
        let place = Place { cell: row.get(0).map_err(failed)?, kind, id };
        let Some((_, key)) = place.key() else {
            return Err(db.corrupt(format!("row {id} is of unknown table {kind}")));
        };
        let name = key.table.as_str();
        let bad = || db.corrupt(format!("row {name} {id} does not fit its checksum"));
        let body = row.get_ref(3).map_err(failed)?.as_blob().map_err(|_| bad())?;
        let sum = row.get_ref(4).map_err(failed)?.as_blob().map_err(|_| bad())?;
        if checksum(place.cell, name, id, body) != *sum {
            return Err(bad());
        }
        each(place, body)?;
        count += 1;
    }
    Ok(count)
}

/// An entry of layout 1.
struct Old<'a> {
    position: u64,
    before: Digest,
    cell: u32,
    at: u64,
    json: &'a [u8],
}

/// Calls `each` with entries of layout 1 past a place, in order, each found to go on the chain; the
/// place after them.
fn old_entries(
    db: Db<'_>,
    table: &str,
    (mut at, mut link): (u64, Digest),
    limit: i64,
    mut each: impl FnMut(Old<'_>) -> Result<(), Error>,
) -> Result<(u64, Digest), Error> {
    let failed = db.failed("cannot read the journal");
    let sql = format!(
        "SELECT position, cell, entry, link FROM {table} WHERE position > ? ORDER BY position
         LIMIT {limit}"
    );
    let mut statement = db.connection.prepare(&sql).map_err(failed)?;
    let mut found = statement.query(params![signed(at)]).map_err(failed)?;
    while let Some(row) = found.next().map_err(failed)? {
        let position = unsigned(row.get(0).map_err(failed)?);
        let bad = || db.corrupt(format!("journal entry {position} cannot be read"));
        let body = row.get_ref(2).map_err(failed)?.as_blob().map_err(|_| bad())?;
        let kept = row.get_ref(3).map_err(failed)?.as_blob().map_err(|_| bad())?;
        let Some((&VERSION, json)) = body.split_first() else { return Err(bad()) };
        let entry: evenkeel_core::journal::Entry =
            serde_json::from_slice(json).map_err(|_| bad())?;
        let before = link;
        link = chain_json(before, json);
        if position != at + 1 || link.0 != *kept {
            let (subject, text) = (&entry.subject, &entry.text);
            return Err(db.corrupt(format!(
                "the journal's chain breaks at entry {position} ({subject}: {text:?})"
            )));
        }
        let cell = row.get(1).map_err(failed)?;
        each(Old { position, before, cell, at: entry.at.0, json })?;
        at = position;
    }
    Ok((at, link))
}
