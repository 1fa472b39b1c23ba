//! Wall clocks: those of hosts, which agents write moments by, and those of controllers, which are only watched.

use evenkeel_core::cell::Entry;
use evenkeel_core::moment::Moment;
use evenkeel_core::time::Time;

use super::seat::Seat;

/// A moment on a clock that is off by so much.
pub(super) fn moment(at: Time, skew_ms: i64) -> Moment {
    Moment::of_millis(at.0.saturating_add_signed(skew_ms))
}

impl Seat {
    /// Clocks of some hosts, and that of the controller, jump.
    pub fn clocks_jump(&mut self, percent: u64, by_s: i64) {
        let by_ms = by_s.saturating_mul(1000);
        for n in 0..self.hosts.len() {
            if self.chance.percent(percent) {
                self.hosts[n].disk.skew_ms += by_ms;
            }
        }
        if self.cell.is_some() {
            self.tell(Entry::ClockJumped { by_ms });
        }
    }
}
