//! Keeping directories ready in the background, one at a time.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use evenkeel_drivers::{Setup, fill_pool};
use tracing::warn;

/// A look even when nobody asked: a member may have been made by an earlier agent.
const STEP: Duration = Duration::from_secs(10);
/// After a failure, such as a full disk.
const STEP_FAILED: Duration = Duration::from_secs(30);

/// Fills the pool for as long as it is kept.
pub struct Filler {
    wake: Sender<()>,
}

impl Filler {
    /// Begins to fill.
    pub fn start(setup: Setup) -> Self {
        let (wake, woken) = channel::<()>();
        thread::spawn(move || {
            let mut wait = Duration::ZERO;
            loop {
                match woken.recv_timeout(wait) {
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                    Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                }
                wait = match fill_pool(&setup) {
                    Ok(true) => Duration::ZERO,
                    Ok(false) => STEP,
                    Err(error) => {
                        warn!("no directory could be made ready: {error}");
                        STEP_FAILED
                    }
                };
            }
        });
        Self { wake }
    }

    /// A member came: one may soon be taken.
    pub fn wake(&self) {
        let _ = self.wake.send(());
    }
}
