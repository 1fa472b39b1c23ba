//! What cells tell people, as one: between their deliveries and the port.
//!
//! The story: a trouble that many cells see is told once ([`Fold`]). A cell whose notice is folded is told what the
//! channel said of the one that went out, and that a person knows, as if it had been said to itself: by entries
//! of its next turn, which are recorded like any others.
//!
//! Invariants:
//! - nothing is kept here that is not recorded, but for what is on its way, which cells send again when they are
//!   read back, and ends that wait for other cells': those of channels that only cells which are over have told are
//!   lost when the controller begins anew;
//! - a fleet of one cell sees nothing of this.

use std::sync::Arc;

use evenkeel_core::alert::{Delivery, Told};
use evenkeel_core::cell::{Cell, Entry};
use evenkeel_core::id::CellId;
use evenkeel_core::incident::fold::{Acknowledgement, Fold, Way};
use evenkeel_core::order::Order;

use super::alerts::AlertPort;
use super::cells::Cells;
use crate::stats::Stats;

/// Nobody waits for the answer to an order with this ticket.
const NO_TICKET: u64 = 0;

/// See the module's words.
pub(super) struct People {
    port: Box<dyn AlertPort>,
    fold: Fold,
    /// What cells are told in the next round.
    words: Vec<(CellId, Entry)>,
    stats: Arc<Stats>,
}

impl People {
    pub fn new(port: Box<dyn AlertPort>, stats: Arc<Stats>) -> Self {
        Self { port, fold: Fold::default(), words: Vec::new(), stats }
    }

    /// Goes by what is recorded of these cells, and by nothing else.
    pub fn begin(&mut self, cells: &Cells) {
        self.forget();
        cells.ids().filter_map(|id| cells.get(id)).for_each(|cell| self.learn(cell));
    }

    /// What was on its way to cells that are thrown away is nobody's.
    pub fn forget(&mut self) {
        self.fold = Fold::default();
        self.words.clear();
    }

    /// A cell's delivery, which is recorded.
    pub fn deliver(&mut self, cell: CellId, delivery: Delivery) {
        let way = self.fold.deliver(cell, delivery);
        self.stats.notices_folded.add(usize::from(!matches!(way, Way::Out(_))));
        match way {
            Way::Out(delivery) => self.port.send(delivery),
            Way::Waits => {}
            Way::Answered(told) => self.words.push((cell, Entry::Told(told))),
            Way::Known(told, too) => {
                self.words.push((cell, Entry::Told(told)));
                self.words.push(order(too));
            }
        }
    }

    /// What a cell recorded of its incidents, once its deliveries are made.
    pub fn learn(&mut self, cell: &Cell) {
        let learnt = self.fold.learn(cell.id(), &cell.standings());
        // Their cells have their answers: whatever is said of these is heard by nobody.
        learnt.ends.into_iter().for_each(|end| self.port.send(end));
        let told = learnt.told.into_iter().map(|(cell, told)| (cell, Entry::Told(told)));
        self.words.extend(told);
        self.words.extend(learnt.acknowledged.into_iter().map(order));
    }

    /// A channel's word about a delivery of a cell: what cells are told.
    pub fn told(&mut self, cell: CellId, told: Told) -> Vec<(CellId, Told)> {
        self.fold.told(cell, told)
    }

    /// Whether some cell is to be told something.
    pub fn has_words(&self) -> bool {
        !self.words.is_empty()
    }

    /// What cells are told now.
    pub fn take_words(&mut self) -> Vec<(CellId, Entry)> {
        std::mem::take(&mut self.words)
    }
}

/// The order that a person would have given to this cell, too.
fn order(too: Acknowledgement) -> (CellId, Entry) {
    let order = Order::Acknowledge { incident: too.incident, note: too.word.note };
    (too.cell, Entry::Order { ticket: NO_TICKET, by: too.word.by, order })
}
