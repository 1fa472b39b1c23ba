//! A store in memory, for tests and the simulator.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use evenkeel_core::digest::Digest;
use evenkeel_core::goal::StoreId;
use evenkeel_core::id::CellId;
use evenkeel_core::journal::{GENESIS, chain};
use evenkeel_core::row::{Key, Writes};

use crate::{Error, Position, Recorded, Store, Verified, entry_line, row_line, write_line};

/// Rows and journal in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    id: StoreId,
    rows: BTreeMap<(CellId, Key), Vec<u8>>,
    journal: Vec<Recorded>,
}

impl Memory {
    /// An empty store named `memory`.
    #[must_use]
    pub fn new() -> Self {
        Self { id: StoreId("memory".to_owned()), ..Self::default() }
    }

    fn head(&self) -> Digest {
        self.journal.last().map_or(GENESIS, |last| last.link)
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
                let link = chain(self.head(), entry);
                let position = self.journal.last().map_or(1, |last| last.position + 1);
                self.journal.push(Recorded { position, cell: *cell, entry: entry.clone(), link });
            }
        }
        Ok(self.journal.last().map_or(0, |last| last.position))
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

    fn verify(&self) -> Result<Verified, Error> {
        let mut head = GENESIS;
        for recorded in &self.journal {
            head = chain(head, &recorded.entry);
            if head != recorded.link {
                let what = format!("the journal's chain breaks at {}", recorded.position);
                return Err(Error::Corrupt { file: PathBuf::from("memory"), what });
            }
        }
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Ok(Verified { rows: count(self.rows.len()), entries: count(self.journal.len()) })
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
