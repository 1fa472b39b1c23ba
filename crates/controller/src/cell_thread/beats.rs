//! Beats on their way from streams to the cells' thread: gathered beside its queue, so that it wakes once for a
//! window of them and not for each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use evenkeel_core::cell::Beat;
use tokio::sync::Notify;

/// Beats that may be gathered: one second's of the largest fleet, three times. Past that they wait in the
/// queue, which holds their streams back.
const GATHERED_MAX: usize = 65_536;

/// The beats that came since they were taken last.
#[derive(Default)]
pub(crate) struct Beats {
    gathered: Mutex<Vec<Beat>>,
    some: Notify,
}

impl Beats {
    fn gathered(&self) -> MutexGuard<'_, Vec<Beat>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; given back when there are too many.
    pub fn add(&self, beat: Beat) -> Result<(), Beat> {
        let mut gathered = self.gathered();
        if gathered.len() >= GATHERED_MAX {
            return Err(beat);
        }
        gathered.push(beat);
        let first = gathered.len() == 1;
        drop(gathered);
        if first {
            self.some.notify_one();
        }
        Ok(())
    }

    /// Waits until there is one, if it was not waited for since they were taken last.
    pub async fn some(&self) {
        self.some.notified().await;
    }

    /// Takes all, in the order they came.
    pub fn take(&self) -> Vec<Beat> {
        std::mem::take(&mut *self.gathered())
    }
}

/// Beats that wait for what was queued before them: a beat covers the messages its stream sent before it.
pub(super) struct Held {
    pub beats: Vec<Beat>,
    /// So many items of the queue go before them.
    pub behind: usize,
}

#[cfg(test)]
mod tests {
    use evenkeel_core::cell::Link;
    use evenkeel_core::digest::Digest;

    use super::*;

    fn beat(link: u64) -> Beat {
        Beat { link: Link(link), number: 1, digest: Digest([0; 32]), answer: false }
    }

    #[tokio::test]
    async fn one_wake_up_is_for_all_that_came() {
        let beats = Beats::default();
        (1..=3).for_each(|link| beats.add(beat(link)).unwrap());
        beats.some().await;
        assert_eq!(beats.take(), [beat(1), beat(2), beat(3)]);
        let short = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(short, beats.some()).await.is_err(), "none came since");
        beats.add(beat(4)).unwrap();
        beats.some().await;
    }

    #[test]
    fn they_are_bounded() {
        let beats = Beats::default();
        (0..GATHERED_MAX).for_each(|_| beats.add(beat(1)).unwrap());
        assert_eq!(beats.add(beat(2)), Err(beat(2)));
        assert_eq!(beats.take().len(), GATHERED_MAX);
        assert_eq!(beats.add(beat(2)), Ok(()));
    }
}
