//! A store in memory, for tests and the simulator.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use evenkeel_core::digest::Digest;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::journal::{GENESIS, chain};
use evenkeel_core::row::{Key, Writes};

use crate::sqlite::Retention;
use crate::{Error, Position, Recorded, Store, Verified, entry_line, row_line, write_line};

/// Rows and journal in memory.
#[derive(Clone, Debug)]
pub struct Memory {
    id: StoreId,
    rows: BTreeMap<(CellId, Key), Vec<u8>>,
    journal: Vec<Recorded>,
    retention: Option<Retention>,
    dropped: (Position, Digest),
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            id: StoreId("memory".to_owned()),
            rows: BTreeMap::new(),
            journal: Vec::new(),
            retention: None,
            dropped: (0, GENESIS),
        }
    }
}

impl Memory {
    /// An empty store named `memory`, which drops nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that keeps so much of its journal.
    #[must_use]
    pub fn keeping(retention: Retention) -> Self {
        Self { retention: Some(retention), ..Self::default() }
    }

    fn end(&self) -> (Position, Digest) {
        self.journal.last().map_or(self.dropped, |last| (last.position, last.link))
    }

    /// Drops what is not kept once that is a quarter of it, so that most commits drop nothing.
    fn retire(&mut self) {
        let Some(Retention { entries_max, age_max }) = self.retention else { return };
        let (position, _) = self.end();
        let newest = self.journal.iter().map(|recorded| recorded.entry.at).max();
        let old = |recorded: &Recorded| {
            let age = age_max.zip(newest);
            recorded.position.saturating_add(entries_max) <= position
                || age.is_some_and(|(age, newest)| recorded.entry.at + age < newest)
        };
        let gone = self.journal.iter().take_while(|recorded| old(recorded)).count();
        if gone == 0 || gone < self.journal.len() / 4 {
            return;
        }
        if let Some(last) = self.journal.drain(..gone).next_back() {
            self.dropped = (last.position, last.link);
        }
    }
}

impl Store for Memory {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    fn cells(&self) -> Result<Vec<CellId>, Error> {
        let mut cells: Vec<CellId> = self.rows.keys().map(|(cell, _)| *cell).collect();
        cells.dedup();
        Ok(cells)
    }

    fn load_each(&self, take: &mut dyn FnMut(CellId, Key, &[u8])) -> Result<(), Error> {
        self.rows.iter().for_each(|((cell, key), body)| take(*cell, *key, body));
        Ok(())
    }

    fn load_cell(&self, cell: CellId) -> Result<Vec<(Key, Vec<u8>)>, Error> {
        let rows = self.rows.iter().filter(|((of, _), _)| *of == cell);
        Ok(rows.map(|((_, key), body)| (*key, body.clone())).collect())
    }

    fn commit_batch(&mut self, batch: &[(CellId, &Writes)]) -> Result<Position, Error> {
        for (cell, writes) in batch {
            for write in &writes.rows {
                match &write.body {
                    Some(body) => self.rows.insert((*cell, write.key), body.clone()),
                    None => self.rows.remove(&(*cell, write.key)),
                };
            }
            for entry in &writes.journal {
                let (last, head) = self.end();
                let (position, link) = (last + 1, chain(head, entry));
                self.journal.push(Recorded { position, cell: *cell, entry: entry.clone(), link });
            }
        }
        self.retire();
        Ok(self.end().0)
    }

    fn journal(
        &self,
        subject: Option<&str>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        let about = |r: &&Recorded| subject.is_none_or(|subject| r.entry.subject == subject);
        let found = self.journal.iter().filter(about);
        Ok(match after {
            Some(after) => found.filter(|r| r.position > after).take(limit).cloned().collect(),
            None => {
                let mut newest: Vec<_> = found.rev().take(limit).cloned().collect();
                newest.reverse();
                newest
            }
        })
    }

    fn dropped(&self) -> (Position, Digest) {
        self.dropped
    }

    fn verify(&self) -> Result<Verified, Error> {
        let (dropped, mut head) = self.dropped;
        for recorded in &self.journal {
            head = chain(head, &recorded.entry);
            if head != recorded.link {
                let what = format!("the journal's chain breaks at {}", recorded.position);
                return Err(Error::Corrupt { file: PathBuf::from("memory"), what });
            }
        }
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let (rows, entries) = (count(self.rows.len()), count(self.journal.len()));
        Ok(Verified { rows, entries, dropped })
    }

    fn dump(&self, to: &mut dyn Write) -> Result<(), Error> {
        let rows = self.rows.iter().map(|((cell, key), body)| row_line(*cell, *key, body));
        let entries = self.journal.iter().map(entry_line);
        rows.chain(entries).try_for_each(|line| write_line(to, &line)).map_err(|source| Error::Io {
            file: PathBuf::from("memory"),
            what: "cannot write the dump".to_owned(),
            source: source.into(),
        })
    }
}
