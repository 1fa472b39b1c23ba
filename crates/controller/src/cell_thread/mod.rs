//! The one thread that owns all cells and their store, and the way in.
//!
//! The story: everything that is for a cell goes through one bounded queue, beats aside, which are gathered. The
//! thread takes what is queued, runs one turn of each cell that is concerned, commits what all of them record
//! at once, and only then hands their sends to the streams and answers orders. Whoever wants to see something
//! queues a question that runs between two rounds, so there are no locks. Which cell a host, a service or a
//! number belongs to is known here and nowhere else.

mod admit;
mod alerts;
mod beats;
mod cells;
mod halt;
mod item;
mod outbox;
mod people;
mod record;
mod whom;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::cell::{Beat, Cell, Link};
use evenkeel_core::id::CellId;
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::time::Time;
use evenkeel_store::Store;
use tokio::sync::{mpsc, oneshot, watch};

pub use alerts::{AlertPort, Alerts, Teller};
use beats::Beats;
pub(crate) use item::{Item, Query};
pub(crate) use outbox::{Cut, Outbox, Outgoing, outbox};
pub use record::Error as LoadError;
pub(crate) use record::head;
pub use record::load;
pub(crate) use whom::Whom;
pub(crate) use worker::{Setting, recordings_of, spawn};

/// What may wait for the cell. A full fleet's first reports are taken in this many at a time;
/// behind it the streams' own connections push back.
pub(crate) const INBOX_MAX: usize = 16_384;
/// How long an order or a question waits for room in the queue before it is refused.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a question sees.
pub(crate) struct Seen<'a> {
    /// The cell that was asked for, after its newest committed turn.
    pub cell: &'a Cell,
    /// Where it records.
    pub store: &'a dyn Store,
    /// The cell's time.
    pub now: Time,
}

/// Why an order or a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// The cell refused it.
    #[error(transparent)]
    Refused(#[from] order::Error),
    /// Nothing can be recorded.
    #[error(
        "the store cannot record ({cause}); nothing was ordered, services go on serving, and it is \
         tried again by itself"
    )]
    CannotRecord {
        /// What the store said.
        cause: String,
    },
    /// Too much is queued.
    #[error("the controller has more to do than it can; try again in a moment")]
    Overloaded,
    /// The controller is stopping.
    #[error("the controller is stopping; try again when it runs again")]
    Stopping,
}

/// Whether the store takes commits; the cause if it does not.
pub(crate) type Recording = Option<Arc<str>>;

/// The way to the cells.
#[derive(Clone)]
pub(crate) struct Handle {
    pub items: mpsc::Sender<Item>,
    /// `Some(cause)` while nothing can be recorded.
    pub recording: watch::Receiver<Recording>,
    /// Position of the journal's newest entry.
    pub head: watch::Receiver<u64>,
    /// Counts commits.
    pub changed: watch::Receiver<u64>,
    /// The cells there are, in order.
    pub cells: watch::Receiver<Arc<[CellId]>>,
    beats: Arc<Beats>,
    links: Arc<AtomicU64>,
}

impl Handle {
    /// Gives an order and waits until it is recorded or refused.
    pub async fn order(&self, by: String, order: Order) -> Result<Accepted, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.queue(Item::Order { by, order, reply }).await?;
        answer.await.map_err(|_| Unanswered::Stopping)?
    }

    /// Asks something of the first cell between two rounds: what is the fleet's, or the store's.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Seen<'_>) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        self.ask_of(Whom::First, question).await
    }

    /// Asks something of one cell between two rounds.
    pub async fn ask_of<T: Send + 'static>(
        &self,
        whom: Whom,
        question: impl FnOnce(&Seen<'_>) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |seen| {
            // Whoever asked may have gone.
            let _ = reply.send(question(seen));
        });
        self.queue(Item::Query { whom, query }).await?;
        answer.await.map_err(|_| match self.recording.borrow().as_deref() {
            Some(cause) => Unanswered::CannotRecord { cause: cause.to_owned() },
            None => Unanswered::Stopping,
        })
    }

    /// Asks the same of every cell, of each between two rounds of its own, so that nobody waits for all of
    /// them together; answers in order of cells.
    pub async fn ask_each<T: Send + 'static>(
        &self,
        question: impl Fn(&Seen<'_>) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Unanswered> {
        let cells = Arc::clone(&self.cells.borrow());
        let mut answers = Vec::with_capacity(cells.len());
        for &id in &*cells {
            answers.push(self.ask_of(Whom::Cell(id), question.clone()).await?);
        }
        Ok(answers)
    }

    /// Every cell's list in one, in an order that is the same however many cells there are.
    pub async fn list<T: Send + 'static, K: Ord>(
        &self,
        question: impl Fn(&Seen<'_>) -> Vec<T> + Clone + Send + 'static,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>, Unanswered> {
        let mut lists = self.ask_each(question).await?;
        if lists.len() == 1 {
            // As the cell has it.
            return Ok(lists.remove(0));
        }
        let mut all: Vec<T> = lists.into_iter().flatten().collect();
        all.sort_by_key(key);
        Ok(all)
    }

    /// Hands on an agent's beat; false when nobody takes it any more.
    pub async fn beat(&self, beat: Beat) -> bool {
        match self.beats.add(beat) {
            Ok(()) => !self.items.is_closed(),
            Err(beat) => self.items.send(Item::Beat(beat)).await.is_ok(),
        }
    }

    /// A number for a new stream, used once in this process.
    pub fn new_link(&self) -> Link {
        Link(self.links.fetch_add(1, Ordering::Relaxed))
    }

    async fn queue(&self, item: Item) -> Result<(), Unanswered> {
        use mpsc::error::SendTimeoutError as E;
        self.items.send_timeout(item, ROOM_WAIT_MAX).await.map_err(|error| match error {
            E::Timeout(_) => Unanswered::Overloaded,
            E::Closed(_) => Unanswered::Stopping,
        })
    }
}
