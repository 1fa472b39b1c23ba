//! A store that takes no commit: what was decided did not happen, and nothing is decided until it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::cell::Cell;
use evenkeel_core::cell::many::FIRST;
use evenkeel_core::journal::{self, Topic};
use evenkeel_core::row::Writes;
use evenkeel_core::time::Time;

use super::cells::Cells;
use super::worker::Worker;
use super::{Unanswered, record};

/// First wait after a failed commit; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest wait between two tries to record again.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The store takes no commits.
pub(super) struct Halted {
    pub cause: Arc<str>,
    since: Time,
    pub retry_at: Instant,
    backoff: Duration,
}

impl Worker {
    /// The store took no commit: no turn of the round happened.
    pub(super) fn halt(&mut self, error: &evenkeel_store::Error) {
        let cause: Arc<str> = crate::chain(error).into();
        tracing::error!(%cause, "the store cannot record: nothing is decided until it can");
        self.links.clear();
        self.gateways.clear();
        for (_, reply) in std::mem::take(&mut self.replies) {
            let _ = reply.send(Err(Unanswered::CannotRecord { cause: cause.to_string() }));
        }
        self.recorders.values_mut().for_each(crate::recorder::Recorder::end);
        // What people see meanwhile is what is stored, not what was never committed.
        self.cells = self.load().ok();
        self.people.forget();
        self.list_cells();
        self.stats.cannot_record.set(1);
        self.recording.send_replace(Some(Arc::clone(&cause)));
        self.halted = Some(Halted {
            cause,
            since: self.clock.now(),
            retry_at: Instant::now() + RETRY_FIRST,
            backoff: RETRY_FIRST,
        });
    }

    /// The cells as they were committed last.
    fn load(&self) -> Result<Cells, record::Error> {
        let (cells, _) = record::load(&*self.record.store, &self.setup)?;
        Ok(Cells::of(cells.into_iter().map(|cell| self.equipped(cell))))
    }

    /// A cell with what is not stored of it.
    pub(super) fn equipped(&self, mut cell: Cell) -> Cell {
        cell.entrust(self.seal.clone());
        cell.equip(self.procedures.clone());
        cell
    }

    /// Goes on if the store takes a commit again: the note that it does.
    pub(super) fn retry(&mut self) {
        let Some(halted) = &mut self.halted else { return };
        if Instant::now() < halted.retry_at {
            return;
        }
        halted.backoff = (halted.backoff * 2).min(RETRY_MAX);
        halted.retry_at = Instant::now() + halted.backoff;
        let now = self.clock.now();
        let text = format!(
            "the store takes records again after {}; nothing was decided meanwhile",
            now.since(halted.since)
        );
        let note = Writes { rows: Vec::new(), journal: vec![note(now, text, &halted.cause)] };
        // Cells that were read back had no turn since: they are as the store has them.
        if self.cells.is_none() {
            match self.load() {
                Ok(cells) => self.cells = Some(cells),
                Err(error) => {
                    tracing::error!(error = crate::chain(&error), "the store cannot be read back");
                    return;
                }
            }
            self.list_cells();
        }
        if let Err(error) = self.commit(&[(FIRST, &note)]) {
            tracing::warn!(error = crate::chain(&error), "the store still cannot record");
            return;
        }
        tracing::info!("the store records again");
        if let Some(cells) = &mut self.cells {
            cells.wake_all(now);
            self.people.begin(cells);
        }
        self.halted = None;
        self.stats.cannot_record.set(0);
        self.recording.send_replace(None);
    }
}

fn note(at: Time, text: String, cause: &str) -> journal::Entry {
    journal::Entry {
        at,
        topic: Topic::Fleet,
        subject: "fleet".to_owned(),
        text,
        evidence: vec![cause.to_owned()],
    }
}
