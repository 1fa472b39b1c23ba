//! Deliveries on their way: each channel has lanes of its own, so that a provider that hangs delays no
//! other channel. What concerns one incident, by the number that the channel knows it by, goes through one lane of a channel, in order: a resolution
//! never overtakes what it resolves.
//!
//! Invariants: sending never blocks; every delivery is answered exactly once, by one thread, never from
//! within [`Sender::send`]; a lane that is full says so as a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use evenkeel_core::alert::{Delivery, Told};

use super::Channels;

/// Deliveries that one channel works on at the same time.
const LANES: usize = 4;
/// Deliveries that wait in one lane.
const LANE_MAX: usize = 64;

/// Where deliveries are put in. Dropped, it lets those that are on their way come to an end.
pub struct Sender {
    channels: Arc<Channels>,
    /// Of each channel, in their order.
    lanes: Vec<Vec<mpsc::SyncSender<Delivery>>>,
    answers: mpsc::Sender<Told>,
}

/// Starts the channels' threads. `told` is called once for each delivery, by one thread.
///
/// # Errors
/// If a thread is not to be had.
pub fn spawn(
    channels: Arc<Channels>,
    mut told: impl FnMut(Told) + Send + 'static,
) -> std::io::Result<Sender> {
    let (answers, answered) = mpsc::channel();
    let named = |name: String| std::thread::Builder::new().name(name);
    let mut lanes = Vec::new();
    for name in channels.names() {
        let mut own = Vec::new();
        for _ in 0..LANES {
            let (sender, receiver) = mpsc::sync_channel(LANE_MAX);
            let (channels, answers) = (Arc::clone(&channels), answers.clone());
            named(format!("alert {name}")).spawn(move || work(&channels, &receiver, &answers))?;
            own.push(sender);
        }
        lanes.push(own);
    }
    named("alert answers".to_owned()).spawn(move || answered.into_iter().for_each(&mut told))?;
    Ok(Sender { channels, lanes, answers })
}

fn work(channels: &Channels, lane: &mpsc::Receiver<Delivery>, answers: &mpsc::Sender<Told>) {
    for delivery in lane {
        let number = delivery.number;
        let done = catch_unwind(AssertUnwindSafe(|| channels.deliver(&delivery)));
        let told = done.unwrap_or_else(|_| failed(number, "the channel broke: this is a bug"));
        if answers.send(told).is_err() {
            return;
        }
    }
}

fn failed(number: u64, why: &str) -> Told {
    Told::new(number, Err(why.to_owned()))
}

impl Sender {
    /// Puts a delivery on its way. Never blocks; what becomes of it is told later.
    pub fn send(&self, delivery: Delivery) {
        let number = delivery.number;
        let place = self.channels.place(delivery.channel);
        let lane = usize::try_from(delivery.notice.key().0).unwrap_or(0) % LANES;
        let refused = match place.and_then(|place| self.lanes.get(place)?.get(lane)) {
            None => Some(self.channels.unknown(delivery.channel)),
            Some(lane) => match lane.try_send(delivery) {
                Ok(()) => None,
                Err(mpsc::TrySendError::Full(delivery)) => Some(format!(
                    "too many deliveries wait for channel {}: {LANE_MAX} before this one",
                    delivery.channel
                )),
                Err(mpsc::TrySendError::Disconnected(delivery)) => {
                    Some(format!("channel {} broke: this is a bug", delivery.channel))
                }
            },
        };
        if let Some(why) = refused {
            // Whoever is told may be gone at the end; then nobody is.
            let _ = self.answers.send(failed(number, &why));
        }
    }
}
