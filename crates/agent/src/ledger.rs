//! What is owed to the disk: written before a turn's calls are made and its reports sent.
//!
//! A disk that takes nothing does not stop the agent: members whose record could not be written
//! get no call, no report of any member is sent, and the rest goes on. One that is full is first given back
//! some of the room that is kept for that.

use std::sync::Arc;

use evenkeel_core::agent::Output;
use evenkeel_core::driver;
use evenkeel_core::id::MemberId;

use crate::disk::{Disk, Error, Owed};
use crate::reserve::Reserve;

/// The disk and what it does not have yet.
pub(crate) struct Ledger {
    disk: Arc<Disk>,
    reserve: Arc<Reserve>,
    owed: Owed,
    trouble: Option<driver::Error>,
}

impl Ledger {
    /// Nothing is owed yet.
    pub fn new(disk: Disk, reserve: Arc<Reserve>) -> Self {
        Self { disk: Arc::new(disk), reserve, owed: Owed::default(), trouble: None }
    }

    /// Whether everything is on disk.
    pub fn is_settled(&self) -> bool {
        self.owed.is_empty()
    }

    /// Why a member's record is not on disk, if it is not.
    pub fn refusal(&self, member: MemberId) -> Option<&driver::Error> {
        self.trouble.as_ref().filter(|_| self.owed.members.contains_key(&member))
    }

    /// Records a turn, and what earlier turns owe.
    pub async fn record(&mut self, out: &mut Output) {
        self.owed.members.extend(std::mem::take(&mut out.save));
        self.owed.poolers.extend(std::mem::take(&mut out.save_poolers));
        self.owed.store = out.save_store.take().or(self.owed.store.take());
        for id in &out.forget {
            self.owed.members.remove(id);
            self.owed.forgotten.insert(*id);
        }
        if self.owed.is_empty() {
            return;
        }
        let (disk, mut owed) = (Arc::clone(&self.disk), self.owed.clone());
        let reserve = Arc::clone(&self.reserve);
        let written = tokio::task::spawn_blocking(move || {
            let mut written = disk.write(&mut owed);
            // A part for each try, and no more: who fills the disk on and on is not to have all of it.
            if written.as_ref().is_err_and(lacks_room) && reserve.give() {
                written = disk.write(&mut owed);
            }
            (written, owed)
        });
        let (written, owed) = written.await.expect("writing does not panic");
        self.owed = owed;
        self.note(written.err());
    }

    fn note(&mut self, error: Option<Error>) {
        let trouble = error.map(|error| {
            let words = crate::chain(&error);
            match lacks_room(&error) {
                true => driver::Error::DiskFull { what: words },
                false => driver::Error::Failed(words),
            }
        });
        match (&self.trouble, &trouble) {
            (before, Some(error)) if before.as_ref() != Some(error) => {
                tracing::error!(%error, "goals cannot be written to disk: nothing is done for them");
            }
            (Some(_), None) => tracing::info!("goals are on disk again"),
            _ => {}
        }
        self.trouble = trouble;
    }
}

fn lacks_room(error: &Error) -> bool {
    use std::io::ErrorKind as E;
    let Error::File { source, .. } = error else { return false };
    matches!(source.kind(), E::StorageFull | E::QuotaExceeded)
}
