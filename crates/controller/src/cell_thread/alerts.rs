//! The port to whatever tells people: the cells' thread hands deliveries out and takes their outcomes in. What
//! several cells would tell of one trouble is folded before it comes here ([`super::people`]).

use evenkeel_core::alert::{Delivery, Told};
use evenkeel_core::incident::chain::Step;
use tokio::sync::mpsc;

use super::Item;

/// What tells people. It never waits: a delivery that is not answered in time has failed, by the cell's clock.
pub trait AlertPort: Send {
    /// Takes a delivery that is recorded. Answered once, by a [`Teller`].
    fn send(&self, delivery: Delivery);
}

/// Makes the port, given the way back.
pub type Open = Box<dyn FnOnce(Teller) -> Box<dyn AlertPort> + Send>;

/// Whom a controller tells of incidents, and by what.
pub struct Alerts {
    /// Channels, in order.
    pub chain: Vec<Step>,
    /// What tells them.
    pub open: Open,
}

impl Default for Alerts {
    /// Nobody.
    fn default() -> Self {
        Self { chain: Vec::new(), open: Box::new(|_| Box::new(Nobody)) }
    }
}

/// For controllers without channels, whose cells send nothing.
struct Nobody;

impl AlertPort for Nobody {
    fn send(&self, delivery: Delivery) {
        tracing::warn!(channel = %delivery.channel, "no such alert channel; nobody is told");
    }
}

/// The way back to the cell, for outcomes.
#[derive(Clone)]
pub struct Teller(mpsc::Sender<Item>);

impl Teller {
    pub(super) fn new(items: mpsc::Sender<Item>) -> Self {
        Self(items)
    }

    /// Says what became of a delivery. Where the queue is full or closed its word is lost, which the cell
    /// takes as silence.
    pub fn told(&self, told: Told) {
        let _ = self.0.try_send(Item::Told(told));
    }
}
