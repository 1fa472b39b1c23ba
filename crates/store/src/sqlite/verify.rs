//! Everything that lies in a file, read and held against its sums and the journal's chain.

use super::db::Db;
use super::past::Past;
use super::state::State;
use super::{load, segments};
use crate::{Error, Verified};

/// Goes through all of it, from the file and not from what is known of it; told to stop, it fails.
pub(super) fn all(db: Db<'_>, stopped: &dyn Fn() -> bool) -> Result<(State, Verified), Error> {
    let state = db.state()?;
    let (frames, cells) = (load::frames(db, &state)?, load::cells(db, &state)?);
    let segments = segments::all(db, &state)?;
    let mut rows = 0;
    load::rows(db, &frames, &cells, &(0..=u32::MAX), &mut |_, _, _| rows += 1)?;
    let past = Past { db, state: &state, segments: &segments, frames: &frames };
    let entries = past.follow(|_| match stopped() {
        true => Err(db.failed("was not read to its end")(rusqlite::Error::InvalidQuery)),
        false => Ok(()),
    })?;
    let dropped = state.dropped;
    Ok((state, Verified { rows, entries, dropped }))
}
