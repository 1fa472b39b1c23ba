//! A connection and the file's name for errors, and the few reads that many rooms need.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::fault;
use super::frame::{Frame, Packed};
use super::pack;
use super::state::State;
use crate::Error;

/// A connection to a named file; also a transaction on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Db<'a> {
    pub connection: &'a Connection,
    pub file: &'a Path,
}

/// SQLite's integers are signed; ids use 63 bits at most.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("ids and positions stay below 2^63")
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl<'a> Db<'a> {
    pub fn failed(self, what: &'static str) -> impl Fn(rusqlite::Error) -> Error + Copy + 'a {
        move |error| fault(self.file, what, error)
    }

    pub fn corrupt(self, what: impl Into<String>) -> Error {
        Error::Corrupt { file: self.file.to_owned(), what: what.into() }
    }

    /// Runs one statement that is kept prepared.
    pub fn run(
        self,
        what: &'static str,
        sql: &str,
        with: impl rusqlite::Params,
    ) -> Result<usize, Error> {
        let failed = self.failed(what);
        self.connection.prepare_cached(sql).map_err(failed)?.execute(with).map_err(failed)
    }

    /// Finds a part's bytes sound and unpacks them.
    pub fn unpack(
        self,
        name: impl Fn() -> String,
        bytes: &[u8],
        of: Packed,
        into: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let long = usize::try_from(of.packed).is_ok_and(|packed| packed == bytes.len());
        if !long || pack::sum(&[bytes]) != of.sum {
            return Err(self.corrupt(format!("{} does not fit its checksum", name())));
        }
        let raw = usize::try_from(of.raw).unwrap_or(usize::MAX);
        if !pack::unpack(bytes, raw, into) {
            return Err(self.corrupt(format!("{} cannot be unpacked", name())));
        }
        Ok(())
    }

    /// Calls `with` with a packed part of a frame; rows come first, then entries.
    pub fn with_part<T>(
        self,
        frame: &Frame,
        part: usize,
        with: impl FnOnce(&[u8], Packed) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let missing = || self.corrupt(format!("commit {} has lost its part {part}", frame.seq));
        let of = frame.parts().nth(part).ok_or_else(missing)?;
        let failed = self.failed("cannot read the tail");
        let row = frame.row(if frame.inline { 0 } else { part + 1 });
        let mut statement =
            self.connection.prepare_cached("SELECT body FROM tail WHERE id = ?").map_err(failed)?;
        let mut found = statement.query(params![signed(row)]).map_err(failed)?;
        let Some(row) = found.next().map_err(failed)? else { return Err(missing()) };
        let body = row.get_ref(0).map_err(failed)?.as_blob().map_err(|_| missing())?;
        if !frame.inline {
            return with(body, of);
        }
        let before: u64 = frame.parts().take(part).map(|part| u64::from(part.packed)).sum();
        let from = frame.head + usize::try_from(before).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(of.packed).unwrap_or(usize::MAX));
        with(body.get(from..to).ok_or_else(missing)?, of)
    }

    /// Unpacks a part of a frame.
    pub fn part(self, frame: &Frame, part: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        self.with_part(frame, part, |bytes, of| {
            self.unpack(|| format!("commit {}, part {part},", frame.seq), bytes, of, into)
        })
    }

    /// The store's own record.
    pub fn state(self) -> Result<State, Error> {
        let failed = self.failed("cannot read the store's record");
        let found: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT body FROM state WHERE id = 0", [], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        let state = found.as_deref().and_then(State::read);
        state.ok_or_else(|| self.corrupt("the store's own record does not fit its checksum"))
    }

    pub fn keep_state(self, state: &State) -> Result<(), Error> {
        let sql = "UPDATE state SET body = ? WHERE id = 0";
        self.run("cannot commit", sql, params![state.write()]).map(|_| ())
    }
}
