//! The pool: freshly initialised directories, made while nobody waits for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::drivers::Drivers;

/// Between looks at the pool when nothing was taken from it.
const STEP: Duration = Duration::from_secs(10);
/// After a directory could not be made.
const RETRY: Duration = Duration::from_secs(30);

/// How many directories are being made for members: the pool waits for them.
#[derive(Default)]
pub(crate) struct Making {
    count: AtomicUsize,
    ended: Notify,
}

/// One being made.
pub(crate) struct Made(Arc<Making>);

impl Making {
    /// One begins; it lasts as long as the value does.
    pub fn begin(making: &Arc<Self>) -> Made {
        making.count.fetch_add(1, Ordering::SeqCst);
        Made(Arc::clone(making))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_one();
    }
}

/// Keeps the pool full, one directory at a time, for as long as it is polled.
pub(crate) async fn keep_full(drivers: Arc<dyn Drivers>, making: Arc<Making>) {
    let mut trouble = None;
    loop {
        let mut pause = STEP;
        if making.count.load(Ordering::SeqCst) == 0 {
            let drivers = Arc::clone(&drivers);
            let filled = tokio::task::spawn_blocking(move || drivers.fill_pool()).await;
            let words = match filled {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = words.as_ref().filter(|words| trouble.as_ref() != Some(*words)) {
                tracing::warn!(error, "the pool cannot be filled: creating takes longer");
            }
            if words.is_some() {
                pause = RETRY;
            }
            trouble = words;
        }
        tokio::select! {
            () = making.ended.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
