//! What is queued for a cell, and how what came in one window becomes one inbox.

use std::collections::BTreeMap;

use evenkeel_core::alert::Told;
use evenkeel_core::cell::{Beat, Entry, Link};
use evenkeel_core::order::{Accepted, Order};
use tokio::sync::oneshot;

use super::{Outbox, Seen, Unanswered, Whom};

/// A question that runs between two turns.
pub(crate) type Query = Box<dyn FnOnce(&Seen<'_>) + Send>;

/// Whoever waits for an order's answer.
pub(crate) type Reply = oneshot::Sender<Result<Accepted, Unanswered>>;

/// One thing for the cell's thread.
pub(crate) enum Item {
    /// An order of a person or program.
    Order {
        /// Who gives it.
        by: String,
        /// What.
        order: Order,
        /// Who waits.
        reply: Reply,
    },
    /// A stream said hello.
    Opened {
        /// Its number.
        link: Link,
        /// Where what is for it goes.
        outbox: Outbox,
        /// Its hello.
        hello: Entry,
    },
    /// A message of a stream that is open.
    Message {
        /// Its number.
        link: Link,
        /// The message.
        entry: Entry,
    },
    /// A beat of an agent's stream, where too many are gathered already.
    Beat(Beat),
    /// A stream ended.
    Closed {
        /// Its number.
        link: Link,
        /// What the cell is told.
        entry: Entry,
    },
    /// What became of a delivery.
    Told(Told),
    /// A question.
    Query {
        /// Of which cell.
        whom: Whom,
        /// What.
        query: Query,
    },
    /// The controller stops.
    Stop,
}

/// What came in one window, in order; beats last, the newest of each stream.
#[derive(Default)]
pub(crate) struct Window {
    pub entries: Vec<Entry>,
    beats: BTreeMap<Link, Beat>,
}

impl Window {
    /// Of entries alone.
    pub fn of(entries: Vec<Entry>) -> Self {
        Self { entries, beats: BTreeMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.beats.is_empty()
    }

    pub fn beat(&mut self, beat: Beat) {
        self.beats.insert(beat.link, beat);
    }

    pub fn beats(&self) -> usize {
        self.beats.len()
    }

    /// The inbox of one turn. A beat's digest covers the messages sent before it, and those are in
    /// this window or an earlier one.
    pub fn into_inbox(mut self) -> Vec<Entry> {
        if !self.beats.is_empty() {
            self.entries.push(Entry::Beats(self.beats.into_values().collect()));
        }
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::digest::Digest;

    use super::*;

    #[test]
    fn beats_come_last_and_once_a_stream() {
        let beat = |link, number| Beat {
            link: Link(link),
            number,
            digest: Digest([0; 32]),
            answer: false,
        };
        let mut window = Window::default();
        window.beat(beat(2, 1));
        window.entries.push(Entry::AgentClosed { link: Link(9) });
        window.beat(beat(1, 7));
        window.beat(beat(2, 2));
        let expected =
            vec![Entry::AgentClosed { link: Link(9) }, Entry::Beats(vec![beat(1, 7), beat(2, 2)])];
        assert_eq!(window.into_inbox(), expected);
        assert!(Window::default().into_inbox().is_empty());
    }
}
