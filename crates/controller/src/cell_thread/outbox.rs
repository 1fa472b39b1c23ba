//! What goes out on one stream: a bounded queue of frames between the cell's thread and the
//! stream's task. The cell never waits for a stream: one that is too slow is cut.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

/// Frames that may wait for one stream. In one turn a stream gets a handful; so many means that
/// the other side has not read for many turns.
pub(crate) const FRAMES_MAX: usize = 256;
/// Bytes that may wait for one stream: four times the largest frame.
pub(crate) const BYTES_MAX: usize = 64 << 20;

/// The cell's end. Dropping it ends the stream after what was sent.
pub(crate) struct Outbox {
    frames: mpsc::Sender<Vec<u8>>,
    waiting_bytes: Arc<std::sync::atomic::AtomicUsize>,
    cut: Cut,
}

/// The stream's end.
pub(crate) struct Outgoing {
    frames: mpsc::Receiver<Vec<u8>>,
    waiting_bytes: Arc<std::sync::atomic::AtomicUsize>,
}

/// Tells a stream to end at once, whatever waits.
#[derive(Clone)]
pub(crate) struct Cut(Arc<Notify>);

/// A stream that does not read what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// Both ends of a stream's queue, and what cuts it.
pub(crate) fn outbox() -> (Outbox, Outgoing, Cut) {
    let (sender, receiver) = mpsc::channel(FRAMES_MAX);
    let waiting_bytes = Arc::default();
    let cut = Cut(Arc::new(Notify::new()));
    let outgoing = Outgoing { frames: receiver, waiting_bytes: Arc::clone(&waiting_bytes) };
    (Outbox { frames: sender, waiting_bytes, cut: cut.clone() }, outgoing, cut)
}

impl Outbox {
    /// Queues a frame. A stream that ended already takes nothing and is no error: its end is in
    /// the cell's queue.
    pub fn send(&self, frame: Vec<u8>) -> Result<(), TooSlow> {
        use std::sync::atomic::Ordering::Relaxed;
        let length = frame.len();
        if self.waiting_bytes.fetch_add(length, Relaxed) > BYTES_MAX {
            return Err(TooSlow);
        }
        match self.frames.try_send(frame) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(TooSlow),
        }
    }

    /// Ends the stream at once.
    pub fn cut(self) {
        self.cut.0.notify_one();
    }
}

impl Outgoing {
    /// The next frame; `None` when the cell ended the stream.
    pub async fn frame(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.recv().await?;
        self.waiting_bytes.fetch_sub(frame.len(), std::sync::atomic::Ordering::Relaxed);
        Some(frame)
    }
}

impl Cut {
    /// Waits until the stream is cut.
    pub async fn cut(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_bytes() {
        let (outbox, mut outgoing, cut) = outbox();
        for _ in 0..FRAMES_MAX {
            outbox.send(vec![0; 9]).unwrap();
        }
        assert_eq!(outbox.send(vec![0; 9]), Err(TooSlow));
        assert_eq!(outgoing.frame().await.unwrap().len(), 9);
        outbox.send(vec![0; BYTES_MAX]).unwrap();
        assert_eq!(outgoing.frame().await.unwrap().len(), 9);
        assert_eq!(outbox.send(vec![0; 9]), Err(TooSlow), "by bytes");
        outbox.cut();
        cut.cut().await;
    }

    #[tokio::test]
    async fn a_stream_that_ended_is_not_too_slow() {
        let (outbox, outgoing, _cut) = outbox();
        drop(outgoing);
        assert_eq!(outbox.send(vec![0; 9]), Ok(()));
    }
}
