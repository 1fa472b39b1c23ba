//! The agent's clock: wall time at its start, moved on by a monotonic clock only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_core::time::Time;
use rustix::time::{ClockId, clock_gettime};

/// A clock that never goes back, is moved by nobody, and counts the time its machine was suspended: a
/// primary that slept must know at once that it was not heard for so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Time,
    began: Duration,
}

impl Clock {
    /// Begins at the wall clock's time.
    pub fn new() -> Self {
        Self { origin: Time(wall_ms()), began: since_boot() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time(self.origin.0.saturating_add(millis(since_boot().saturating_sub(self.began))))
    }

    /// How long until it shows a time; zero if it did already.
    pub fn until(&self, at: Time) -> Duration {
        Duration::from_millis(at.since(self.now()).0)
    }
}

/// Time since the machine was started, suspended or not.
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
}

/// The wall clock, in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
