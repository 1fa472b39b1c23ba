//! The stream to the controller. It comes and goes; nothing that is served depends on it.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::id::ServiceId;
use evenkeel_core::route::{self, FromGateway, Route, ToGateway};
use evenkeel_core::wire::{self, Decoder, GATEWAY_PATH, Upgrade};
use rustix::net::sockopt;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::connection::Shared;

/// Pause before the controller is dialed again. It doubles up to the second, and is short again once a
/// controller sent routes. Each gateway waits its own share of it.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Longest wait for a controller to take the stream.
const DIAL_MAX: Duration = Duration::from_secs(5);

/// After how many milliseconds of unacknowledged beats the stream is given up.
const SILENCE_MAX_MS: u32 = 10_000;

const READ_BYTES: usize = 64 << 10;

/// Why a stream ended or did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {}; it names the controller and this gateway's token", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is not {{\"address\": \"HOST:PORT\", \"token\": \"...\"}}", path.display())]
    Controller { path: PathBuf, source: serde_json::Error },
    #[error("cannot reach the controller at {address}")]
    Dial { address: String, source: io::Error },
    #[error("the controller at {address} refused the stream: {reason}")]
    Refused { address: String, reason: String },
    #[error("the stream to the controller broke")]
    Broken(#[from] io::Error),
    #[error("the controller sent what cannot be read")]
    Frame(#[from] wire::Error),
}

/// The file that says where the controller is.
#[derive(Deserialize)]
struct Controller {
    address: String,
    token: String,
}

/// What came from the controller last.
pub(crate) type Order = Option<(u64, BTreeMap<ServiceId, Route>)>;

/// What the gateway answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// Sequence of the routes held.
    pub routes: u64,
    /// Ports that are not listened on, with why.
    pub failed: Vec<(u16, String)>,
}

/// This end of the stream.
pub(crate) struct Stream {
    pub name: String,
    pub address: IpAddr,
    pub controller_file: PathBuf,
    pub beat: Duration,
    pub shared: Arc<Shared>,
    pub taken: watch::Receiver<Taken>,
    pub orders: watch::Sender<Order>,
}

impl Stream {
    /// Keeps a stream to the controller, for ever.
    pub async fn keep(mut self) {
        let mut pause = BACKOFF;
        let mut said = String::new();
        for attempt in 0_u64.. {
            let mut welcome = false;
            let Err(error) = self.session(&mut welcome).await;
            self.let_go();
            if welcome {
                (pause, said) = (BACKOFF, String::new());
            }
            let error = chain(&error);
            // A controller that is away for a day is one line, not one a second.
            if error != said {
                tracing::warn!(error, "no controller, serving the routes held");
                said = error;
            }
            sleep(jittered(&self.name, attempt, pause)).await;
            pause = BACKOFF_MAX.min(pause * 2);
        }
    }

    /// One stream, from the dial to its end. `welcome` is set when the controller sends routes.
    async fn session(&mut self, welcome: &mut bool) -> Result<std::convert::Infallible, Error> {
        let controller = read_controller(&self.controller_file)?;
        let address = controller.address.clone();
        let opened = timeout(DIAL_MAX, open(controller)).await.unwrap_or_else(|_| {
            let source = io::ErrorKind::TimedOut.into();
            Err(Error::Dial { address: address.clone(), source })
        });
        let (mut stream, mut decoder) = opened?;
        tracing::info!(address, "stream to the controller is open");

        let (mut reader, mut writer) = stream.split();
        let hello = FromGateway::Hello {
            gateway: self.name.clone(),
            address: self.address.to_string(),
            pid: std::process::id(),
            routes: self.taken.borrow().routes,
        };
        writer.write_all(&wire::encode(&hello)).await?;
        self.taken.mark_changed();
        let mut beats = interval(self.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            while let Some(message) = decoder.message()? {
                self.receive(message, &address)?;
                *welcome = true;
            }
            let answer = tokio::select! {
                read = reader.read(&mut buffer) => {
                    let read = read?;
                    if read == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    decoder.push(&buffer[..read]);
                    continue;
                }
                taken = next(&mut self.taken) => {
                    FromGateway::Took { routes: taken.routes, failed: taken.failed }
                }
                _ = beats.tick() => self.beat(),
            };
            writer.write_all(&wire::encode(&answer)).await?;
        }
    }

    fn receive(&self, message: ToGateway, address: &str) -> Result<(), Error> {
        match message {
            ToGateway::Routes { routes, whole, changed, gone } => {
                // Only the newest matter, but each asks for an answer.
                self.orders.send_modify(|order| match order {
                    Some((newest, _)) if routes < *newest => {
                        tracing::warn!(routes, newest, "routes older than received are refused");
                    }
                    _ => {
                        let (newest, all) = order.get_or_insert_default();
                        *newest = routes;
                        route::merge(all, whole, &changed, &gone);
                    }
                });
                Ok(())
            }
            ToGateway::Refused { reason } => {
                Err(Error::Refused { address: address.to_owned(), reason })
            }
        }
    }

    /// Nobody is left who would end a hold.
    fn let_go(&self) {
        self.orders.send_if_modified(|order| {
            let Some((_, all)) = order else { return false };
            let held = all.values_mut().filter(|route| route.holds);
            held.map(|route| route.holds = false).count() > 0
        });
    }

    fn beat(&self) -> FromGateway {
        FromGateway::Beat {
            open: self.shared.open(),
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }
}

/// Between half of a pause and all of it, by name and attempt (FNV-1a): the gateways of a cell do not
/// all come at once to a controller that is back.
fn jittered(name: &str, attempt: u64, pause: Duration) -> Duration {
    let bytes = name.bytes().chain(attempt.to_be_bytes());
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    pause / 2 + pause / 2 * (hash % 1024) / 1024
}

/// The next state to tell. One whose sender is gone never changes again.
async fn next(taken: &mut watch::Receiver<Taken>) -> Taken {
    if taken.changed().await.is_err() {
        pending::<()>().await;
    }
    taken.borrow_and_update().clone()
}

fn read_controller(path: &Path) -> Result<Controller, Error> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|source| Error::Controller { path: path.to_owned(), source })
}

/// Dials and upgrades; the decoder holds what came right behind the answer.
async fn open(controller: Controller) -> Result<(TcpStream, Decoder), Error> {
    let Controller { address, token } = controller;
    let dialed = TcpStream::connect(&address).await;
    let mut stream = dialed.map_err(|source| Error::Dial { address: address.clone(), source })?;
    stream.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(&stream, SILENCE_MAX_MS).map_err(io::Error::from)?;
    stream.write_all(&wire::upgrade_request(GATEWAY_PATH, &address, &token)).await?;
    let mut answer = Vec::new();
    loop {
        match wire::upgrade_answer(&answer) {
            Upgrade::Open { frames_at } => {
                let mut decoder = Decoder::default();
                decoder.push(&answer[frames_at..]);
                return Ok((stream, decoder));
            }
            Upgrade::Refused { status } => return Err(Error::Refused { address, reason: status }),
            Upgrade::Incomplete => {}
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pauses_differ_by_name_and_attempt_and_stay_in_their_half() {
        let pauses: BTreeSet<_> = (0..8)
            .flat_map(|n| (0..8).map(move |attempt| jittered(&format!("h{n}"), attempt, BACKOFF)))
            .collect();
        assert!(pauses.len() > 48, "{pauses:?}");
        assert!(pauses.iter().all(|pause| (BACKOFF / 2..BACKOFF).contains(pause)), "{pauses:?}");
    }
}
