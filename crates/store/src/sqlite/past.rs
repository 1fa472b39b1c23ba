//! The journal read: pieces of sealed segments first, then the entries of the tail.
//!
//! Pieces that may not hold what is asked for are passed over unread, by their positions and by the
//! filters of their subjects. Links are not stored but for the one before each piece: an entry's own
//! follows from there.

use std::collections::VecDeque;
use std::sync::Arc;

use evenkeel_core::digest::Digest;
use evenkeel_core::id::CellId;
use evenkeel_core::journal::{Entry, chain_json};

use super::db::Db;
use super::frame::{EntriesPart, Frame, read_entry};
use super::pack::Reader;
use super::segments::{self, Segment};
use super::state::State;
use crate::{Error, Position, Recorded};

/// The whole journal, as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past<'a> {
    pub db: Db<'a>,
    pub state: &'a State,
    pub segments: &'a VecDeque<Segment>,
    pub frames: &'a VecDeque<Arc<Frame>>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'q> {
    pub subject: Option<&'q str>,
    pub after: Option<Position>,
    pub limit: usize,
}

/// A piece and where its bytes are.
enum Place<'a> {
    Segment,
    Frame(&'a Frame, usize),
}

impl<'a> Past<'a> {
    /// Entries in order, those past `after` or else the newest.
    pub fn read(self, query: Query<'_>) -> Result<Vec<Recorded>, Error> {
        match query.after {
            Some(after) => self.forward(query, after),
            None => self.backward(query),
        }
    }

    fn tail(self) -> impl DoubleEndedIterator<Item = (&'a EntriesPart, Place<'a>)> {
        self.frames
            .iter()
            .flat_map(|frame| {
                let rows = frame.rows.len();
                let parts = frame.entries.iter().enumerate();
                parts.map(move |(n, part)| (part, Place::Frame(frame, rows + n)))
            })
            .filter(move |(part, _)| part.first > self.state.sealed)
    }

    fn forward(self, query: Query<'_>, after: Position) -> Result<Vec<Recorded>, Error> {
        let mut found = Vec::new();
        let from = self.segments.partition_point(|segment| segment.last <= after);
        for segment in self.segments.iter().skip(from) {
            if found.len() >= query.limit {
                break;
            }
            for part in segments::directory(self.db, segment)? {
                if part.last() > after && found.len() < query.limit {
                    self.look(&part, &Place::Segment, query, &mut found)?;
                }
            }
        }
        for (part, place) in self.tail().filter(|(part, _)| part.last() > after) {
            if found.len() >= query.limit {
                break;
            }
            self.look(part, &place, query, &mut found)?;
        }
        found.truncate(query.limit);
        Ok(found)
    }

    fn backward(self, query: Query<'_>) -> Result<Vec<Recorded>, Error> {
        let mut pieces: Vec<Vec<Recorded>> = Vec::new();
        let mut count = 0;
        let mut take = |part: &EntriesPart, place: Place<'_>| -> Result<bool, Error> {
            if count < query.limit {
                let mut found = Vec::new();
                self.look(part, &place, query, &mut found)?;
                count += found.len();
                pieces.push(found);
            }
            Ok(count < query.limit)
        };
        let mut more = query.limit > 0;
        for (part, place) in self.tail().rev() {
            more = more && take(part, place)?;
        }
        for segment in self.segments.iter().rev() {
            if !more {
                break;
            }
            for part in segments::directory(self.db, segment)?.iter().rev() {
                more = more && take(part, Place::Segment)?;
            }
        }
        let mut found: Vec<Recorded> = pieces.into_iter().rev().flatten().collect();
        found.drain(..found.len().saturating_sub(query.limit));
        Ok(found)
    }

    fn unpack(self, part: &EntriesPart, place: &Place<'_>, raw: &mut Vec<u8>) -> Result<(), Error> {
        match place {
            Place::Segment => segments::piece(self.db, part, raw),
            Place::Frame(frame, index) => self.db.part(frame, *index, raw),
        }
    }

    /// Appends what one piece has of what is asked for.
    fn look(
        self,
        part: &EntriesPart,
        place: &Place<'_>,
        query: Query<'_>,
        found: &mut Vec<Recorded>,
    ) -> Result<(), Error> {
        if query.subject.is_some_and(|subject| !part.filter.may_hold(subject)) {
            return Ok(());
        }
        let needle = query.subject.map(|subject| {
            let subject = serde_json::to_string(subject).expect("text is JSON");
            format!("\"subject\":{subject}").into_bytes()
        });
        let mut raw = Vec::new();
        self.unpack(part, place, &mut raw)?;
        // Without a subject only the piece's last entries can be wanted, or its first past a place.
        let (count, limit) = (u64::from(part.count), super::pack::length(query.limit));
        let (from, to) = match (query.after, &needle) {
            (Some(after), None) => {
                let from = part.first.max(after + 1);
                (from, from.saturating_add(limit - super::pack::length(found.len()) - 1))
            }
            (Some(after), Some(_)) => (after + 1, u64::MAX),
            (None, None) => (part.first + count.saturating_sub(limit), u64::MAX),
            (None, Some(_)) => (0, u64::MAX),
        };
        self.walk(part, &raw, |position, cell, json, link| {
            let about = needle.as_ref().is_none_or(|needle| holds(json, needle));
            if position < from || position > to || !about {
                return Ok(());
            }
            let bad = |_| self.db.corrupt(format!("journal entry {position} cannot be read"));
            let entry: Entry = serde_json::from_slice(json).map_err(bad)?;
            if query.subject.is_none_or(|subject| entry.subject == subject) {
                found.push(Recorded { position, cell: CellId(cell), entry, link });
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Calls `each` with every entry of a piece and its link; the last link.
    fn walk(
        self,
        part: &EntriesPart,
        raw: &[u8],
        mut each: impl FnMut(u64, u32, &[u8], Digest) -> Result<(), Error>,
    ) -> Result<Digest, Error> {
        let (mut from, mut link) = (Reader(raw), part.before);
        for position in part.first..=part.last() {
            let Some((cell, json)) = read_entry(&mut from) else {
                return Err(self.db.corrupt(format!("journal entry {position} cannot be read")));
            };
            link = chain_json(link, json);
            each(position, cell, json, link)?;
        }
        Ok(link)
    }

    /// Goes along the whole chain and calls `each` with every entry; how many there are.
    pub fn follow(self, mut each: impl FnMut(Recorded) -> Result<(), Error>) -> Result<u64, Error> {
        let (mut at, mut link, mut raw) = (self.state.dropped, self.state.dropped_link, Vec::new());
        let mut step = |part: &EntriesPart, place: &Place<'_>| -> Result<(), Error> {
            if part.first != at + 1 || part.before != link {
                let what = format!("the journal's chain breaks at entry {}", at + 1);
                return Err(self.db.corrupt(what));
            }
            self.unpack(part, place, &mut raw)?;
            link = self.walk(part, &raw, |position, cell, json, link| {
                let bad = |_| self.db.corrupt(format!("journal entry {position} cannot be read"));
                let entry = serde_json::from_slice(json).map_err(bad)?;
                each(Recorded { position, cell: CellId(cell), entry, link })
            })?;
            at = part.last();
            Ok(())
        };
        for segment in self.segments {
            for part in segments::directory(self.db, segment)? {
                step(&part, &Place::Segment)?;
            }
        }
        for (part, place) in self.tail() {
            step(part, &place)?;
        }
        if (at, link) != (self.state.position, self.state.head) {
            return Err(self.db.corrupt("the journal's end is not where it was left"));
        }
        Ok(at - self.state.dropped)
    }
}

fn holds(json: &[u8], needle: &[u8]) -> bool {
    json.windows(needle.len()).any(|window| window == needle)
}
