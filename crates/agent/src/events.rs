//! What comes in to the shell, and the clock it is taken in by.

use std::time::{Duration, Instant};

use evenkeel_core::agent::{Input, Outcome};
use evenkeel_core::id::MemberId;
use evenkeel_core::time::Time;
use tokio::sync::mpsc;

/// One thing that came in.
#[derive(Debug)]
pub enum Event {
    /// A stream opened; frames are written to it through this.
    Opened(mpsc::Sender<Vec<u8>>),
    /// It closed.
    Closed,
    /// Something for the brain alone.
    Input(Input),
    /// A driver call came to an end.
    Performed {
        /// Of which member.
        member: MemberId,
        /// Its number.
        number: u64,
        /// What came of it.
        outcome: Outcome,
        /// The server's process, where the call learnt of one.
        pid: Option<u32>,
    },
    /// A process ended.
    Ended {
        /// Of which member.
        member: MemberId,
        /// Which process.
        pid: u32,
    },
}

/// Monotonic time as the brain counts it. It begins past all its intervals, so that "never" is
/// long ago.
pub struct Clock {
    began: Instant,
}

/// A day, in milliseconds.
const BEGIN: u64 = 86_400_000;

impl Clock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self { began: Instant::now() }
    }

    /// The moment.
    pub fn now(&self) -> Time {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Time(BEGIN.saturating_add(elapsed))
    }

    /// How long until a moment.
    pub fn until(&self, at: Time) -> Duration {
        Duration::from_millis(at.since(self.now()).0)
    }
}
