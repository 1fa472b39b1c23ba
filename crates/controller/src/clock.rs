//! The cell's clock: it goes on from the newest time the store knows, by a monotonic clock only.
//! The wall clock is read once, when a fleet begins, and then only watched.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use evenkeel_core::time::Time;

/// A drift of the wall clock within one watch that is told. Slewing (NTP: 0.05 %) stays far below.
const JUMP_MIN_MS: i64 = 5_000;

/// Reads the wall clock, in milliseconds since 1970; tests put their own in.
pub type Wall = fn() -> i64;

/// The machine's wall clock.
#[must_use]
pub fn wall() -> i64 {
    let signed = |ms: u128| i64::try_from(ms).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_millis()),
        Err(before) => -signed(before.duration().as_millis()),
    }
}

/// The clock one cell goes by.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Time,
    began: Instant,
    wall: Wall,
    /// Wall clock minus monotonic clock, when they were last compared.
    offset_ms: i64,
}

impl Clock {
    /// A clock that goes on from what the cell has seen; a cell that has seen nothing begins at
    /// the wall clock's time.
    pub fn new(seen: Time, wall: Wall) -> Self {
        let now = wall();
        let origin = if seen == Time(0) { Time(u64::try_from(now).unwrap_or(1)) } else { seen };
        Self { origin, began: Instant::now(), wall, offset_ms: now }
    }

    /// The cell's time now; never goes back.
    pub fn now(&self) -> Time {
        Time(self.origin.0.saturating_add(self.elapsed_ms()))
    }

    /// How long until the cell's clock shows a time; zero if it did already.
    pub fn until(&self, at: Time) -> std::time::Duration {
        std::time::Duration::from_millis(at.since(self.now()).0)
    }

    /// By how much the wall clock jumped since it was last asked, if it did.
    pub fn jump_ms(&mut self) -> Option<i64> {
        let elapsed = i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX);
        let offset = (self.wall)().saturating_sub(elapsed);
        let by = offset.saturating_sub(self.offset_ms);
        self.offset_ms = offset;
        (by.saturating_abs() > JUMP_MIN_MS).then_some(by)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn it_goes_on_from_the_store_whatever_the_wall_clock_says() {
        let clock = Clock::new(Time(5_000_000_000_000), || 7);
        assert!(clock.now() >= Time(5_000_000_000_000));
        assert!(clock.now() < Time(5_000_000_060_000));
        let fresh = Clock::new(Time(0), || 1_700_000_000_000);
        assert!(fresh.now() >= Time(1_700_000_000_000));
        assert!(fresh.now() < Time(1_700_000_060_000));
    }

    #[test]
    fn a_jump_is_told_once_with_its_sign() {
        static WALL: AtomicI64 = AtomicI64::new(1_000_000);
        let mut clock = Clock::new(Time(1), || WALL.load(Ordering::SeqCst));
        assert_eq!(clock.jump_ms(), None);
        WALL.fetch_sub(3_600_000, Ordering::SeqCst);
        let by = clock.jump_ms().unwrap();
        assert!((-3_660_000..=-3_600_000).contains(&by), "{by}");
        assert_eq!(clock.jump_ms(), None);
        WALL.fetch_add(4_000, Ordering::SeqCst);
        assert_eq!(clock.jump_ms(), None, "below what is told");
    }
}
