//! What happens in a cell's world, in order of time; ties are broken by the order of their making.

use std::collections::BinaryHeap;

use evenkeel_core::agent::{Call, Input};
use evenkeel_core::cell::{Entry, Link};
use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::report::ToAgent;
use evenkeel_core::time::{Span, Time};

use super::host::Slot;

/// One thing that happens.
pub(super) enum Event {
    /// A driver call is over.
    Called(usize, Slot, u64, Box<Call>),
    /// A mind is told something.
    Told(usize, Slot, u64, Box<Input>),
    /// A mind wanted to be woken.
    Wake(usize, Slot, u64),
    /// A quiet member's job is over.
    Worked(MemberId, u32, bool),
    /// A message arrives at the cell.
    ToCell(Box<Entry>),
    /// An agent tries to open its stream.
    Dial(usize),
    /// Whether clients of a service can write may have changed.
    Felt(ServiceId),
    /// Standbys of a service receive what is new.
    Stream(ServiceId),
    /// A host's disk and log are looked at, unless another such look was set since.
    Survey(usize, u32),
    /// A host's power is off, or on again.
    Power(usize, bool),
    /// A host's agent is stopped, or begins again.
    Agent(usize, bool),
    /// A host is on one side of a partition from now on.
    Side(usize, u8),
    /// So many of a hundred links of a host lose packets from now on.
    Ill(usize, u8),
    /// What a host sends and is sent takes so much longer from now on.
    Slow(usize, Span),
    /// What was sent to an agent arrives, if it is the same stream still.
    Heard(usize, Link, Box<ToAgent>),
    /// Nothing of a host's log gets to its archive from now on, or again everything.
    Stuck(usize, bool),
    /// A server dies of the image that it runs from.
    Spoil(MemberId),
    /// The bad image was taken back.
    ImageIsGood,
    /// An agent's stream ends.
    Cut(usize),
    /// A mind wakes, since what its member is connected with changed.
    Rouse(MemberId),
    /// A server dies.
    Die(MemberId),
    /// The controller begins again.
    Begin,
}

/// See the module.
#[derive(Default)]
pub(super) struct Events {
    waiting: BinaryHeap<Due>,
    made: u64,
}

impl Events {
    pub fn add(&mut self, at: Time, event: Event) {
        self.made += 1;
        self.waiting.push(Due { at, made: self.made, event });
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Time> {
        self.waiting.peek().map(|due| due.at)
    }

    /// The next, if it is due by now.
    pub fn take_due(&mut self, now: Time) -> Option<Event> {
        let due = self.next().is_some_and(|at| at <= now);
        due.then(|| self.waiting.pop()).flatten().map(|due| due.event)
    }
}

/// An event with its moment.
struct Due {
    at: Time,
    made: u64,
    event: Event,
}

impl Ord for Due {
    /// What is due first is the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.made).cmp(&(self.at, self.made))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}
