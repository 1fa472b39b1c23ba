//! The disk guard: what a member does as its disk fills, most of all with log that no repository took.
//!
//! Invariants: less room never leads to a lower level; a level is left only with clearly more room than
//! it was reached with, so that nothing flaps; read-only comes before full.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// What is done about room, in the order in which it is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// There is room.
    #[default]
    Fine,
    /// Somebody should know.
    Warn,
    /// Whoever fills it is slowed down.
    Throttle,
    /// It takes no more writes; what is there is served.
    ReadOnly,
}

/// A disk, by its member's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// How large it is, in bytes: what is used and what may still be. Blocks that a file system keeps for others
    /// are neither.
    pub total: u64,
    /// What is free, in bytes.
    pub free: u64,
}

impl Room {
    /// The share that is free, in hundredths.
    #[must_use]
    pub fn free_percent(self) -> u64 {
        let percent = u128::from(self.free) * 100 / u128::from(self.total.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

/// When each level is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// [`Level::Warn`] below so many thousandths of the disk.
    pub warn: u64,
    /// [`Level::Throttle`] below so many.
    pub throttle: u64,
    /// [`Level::ReadOnly`] below so many.
    pub read_only: u64,
    /// [`Level::ReadOnly`] below so many bytes too, on a disk so large that this is less than a tenth of
    /// it: what a checkpoint and the log under way still write.
    pub reserve: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { warn: 250, throttle: 120, read_only: 60, reserve: 512 << 20 }
    }
}

/// A level is left with so many times the room, in quarters, that it is reached below.
const LEAVES: u128 = 5;
const REACHES: u128 = 4;
/// What one server writes at most, in bytes a millisecond: a gigabyte a second is beyond what
/// PostgreSQL's log was ever seen to take.
const WRITER_MAX_BYTES_PER_MS: u64 = 1 << 20;
/// A look costs little, and not nothing.
const LOOK_MIN: Span = Span::millis(100);

impl Limits {
    /// What is done about a disk, where so much is done already.
    #[must_use]
    pub fn level(&self, before: Level, room: Room) -> Level {
        let order = [Level::ReadOnly, Level::Throttle, Level::Warn];
        let held = |level: &Level| {
            let quarters = if before >= *level { LEAVES } else { REACHES };
            u128::from(room.free) * REACHES < u128::from(self.bytes(*level, room.total)) * quarters
        };
        order.into_iter().find(held).unwrap_or(Level::Fine)
    }

    /// A disk is to be looked at again before the fastest writer has used what is left above the reserve.
    #[must_use]
    pub fn look_within(&self, room: Room) -> Span {
        let above = room.free.saturating_sub(self.bytes(Level::ReadOnly, room.total));
        Span::millis(above / WRITER_MAX_BYTES_PER_MS).max(LOOK_MIN)
    }

    /// A level is reached below so many free bytes.
    #[must_use]
    pub fn bytes(&self, level: Level, total: u64) -> u64 {
        let part = |thousandths: u64| {
            let bytes = u128::from(total) * u128::from(thousandths) / 1000;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        let last = part(self.read_only).max(self.reserve.min(total / 10));
        match level {
            Level::Fine => u64::MAX,
            Level::Warn => part(self.warn).max(last),
            Level::Throttle => part(self.throttle).max(last),
            Level::ReadOnly => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [Level; 4] = [Level::Fine, Level::Warn, Level::Throttle, Level::ReadOnly];
    const GIB: u64 = 1 << 30;

    #[test]
    fn less_room_never_leads_to_less_and_read_only_comes_before_full() {
        let limits = Limits::default();
        for total in [1, 1000, GIB, 100 * GIB, u64::MAX] {
            for before in LEVELS {
                let at = |share: u64| {
                    let free = u128::from(total) * u128::from(share) / 200;
                    let free = u64::try_from(free).expect("less than all");
                    limits.level(before, Room { total, free })
                };
                let levels: Vec<Level> = (0..=200).map(at).collect();
                assert!(levels.is_sorted_by(|less, more| less >= more), "{total}: {levels:?}");
                assert_eq!(levels[200], Level::Fine, "an empty disk of {total}");
                assert!(total < 1000 || levels[0] == Level::ReadOnly, "a full disk of {total}");
            }
        }
    }

    #[test]
    fn the_fuller_a_disk_the_sooner_it_is_looked_at() {
        let limits = Limits::default();
        let within = |free| limits.look_within(Room { total: 100 * GIB, free });
        assert!(within(90 * GIB) > Span::secs(60));
        assert_eq!(within(7 * GIB), Span::millis(1024), "a gibibyte above the reserve of six");
        assert_eq!(within(6 * GIB), LOOK_MIN);
        assert_eq!(within(0), LOOK_MIN);
    }

    #[test]
    fn a_disk_that_wavers_around_a_limit_stays_where_it_is() {
        let (limits, total) = (Limits::default(), 100 * GIB);
        for level in [Level::Warn, Level::Throttle, Level::ReadOnly] {
            let edge = limits.bytes(level, total);
            let mut now = Level::Fine;
            let mut changes = 0;
            for step in 0..100 {
                let free = if step % 2 == 0 { edge - 1 } else { edge + edge / 5 };
                let next = limits.level(now, Room { total, free });
                changes += u32::from(next != now);
                now = next;
            }
            assert_eq!((now, changes), (level, 1));
        }
    }

    #[test]
    fn what_is_reserved_is_bytes_on_a_large_disk_and_a_tenth_of_a_small_one() {
        let limits = Limits { warn: 0, throttle: 0, read_only: 0, reserve: GIB };
        for (total, edge) in [(100 * GIB, GIB), (5 * GIB, GIB / 2)] {
            assert_eq!(limits.bytes(Level::ReadOnly, total), edge);
            let level = |free| limits.level(Level::Fine, Room { total, free });
            assert_eq!((level(edge - 1), level(edge)), (Level::ReadOnly, Level::Fine));
        }
    }
}
