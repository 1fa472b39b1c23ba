//! The agent's clock: wall time at its start, moved on by a monotonic clock only.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel_core::time::Time;

/// A clock that never goes back and never jumps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Time,
    began: Instant,
}

impl Clock {
    /// Begins at the wall clock's time.
    pub fn new() -> Self {
        Self { origin: Time(wall_ms()), began: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time(self.origin.0.saturating_add(millis(self.began.elapsed())))
    }

    /// How long until it shows a time; zero if it did already.
    pub fn until(&self, at: Time) -> Duration {
        Duration::from_millis(at.since(self.now()).0)
    }
}

/// The wall clock, in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
