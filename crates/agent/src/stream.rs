//! The one stream to a controller: dialled out, upgraded, then frames both ways.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_core::report::{FromAgent, ToAgent};
use evenkeel_core::wire::{self, Decoder, Upgrade};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::shell::Event;

/// First wait before another dial, doubled up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A connection, and the answer to its upgrade, take no longer.
const DIAL_MAX: Duration = Duration::from_secs(5);
/// A frame that is not taken for so long ends the stream.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Bytes that nobody confirms for so long end the connection: a controller's host that vanished.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(10);
/// Messages that wait to be written; a controller that is further behind is cut.
const WAITING_MAX: usize = 1024;
/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Where a controller is, as its file says.
#[derive(Deserialize)]
struct Controller {
    address: String,
    token: String,
}

/// Why there is no stream, or none any more.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {}, which says where the controller is", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} does not hold {{\"address\", \"token\"}}", path.display())]
    Content { path: PathBuf, source: serde_json::Error },
    #[error("cannot reach the controller at {address}")]
    Dial { address: String, source: io::Error },
    #[error(
        "the controller at {address} does not let this agent in ({status}); put its present token \
         into {}, which is read again at every dial",
        path.display()
    )]
    Refused { address: String, status: String, path: PathBuf },
    #[error("the controller says what cannot be read")]
    Frame(#[source] wire::Error),
    #[error("the controller closed the stream")]
    Closed,
    #[error("the stream broke")]
    Broken(#[source] io::Error),
    #[error("the controller does not read")]
    Slow,
    #[error("the agent ended it")]
    Ended,
}

/// Dials again and again until the shell takes no events any more. It ends a stream by dropping
/// the outbox it was given.
pub(crate) async fn keep_open(file: PathBuf, events: mpsc::Sender<Event>) {
    let mut wait = RETRY_FIRST;
    let mut told = String::new();
    while !events.is_closed() {
        let dialled = tokio::select! {
            () = events.closed() => return,
            dialled = dial(&file) => dialled,
        };
        match dialled {
            Ok((stream, decoder)) => {
                told.clear();
                let (outbox, outgoing) = mpsc::channel(WAITING_MAX);
                if events.send(Event::Opened(outbox)).await.is_err() {
                    return;
                }
                let mut heard = false;
                let end = talk(stream, decoder, outgoing, &events, &mut heard).await;
                tracing::warn!(why = crate::chain(&end), "the stream to the controller ended");
                if events.send(Event::Closed).await.is_err() {
                    return;
                }
                if heard {
                    wait = RETRY_FIRST;
                }
            }
            Err(error) => {
                // The same every two seconds is said once.
                let words = crate::chain(&error);
                if words != told {
                    tracing::warn!(
                        why = words,
                        "no stream to a controller; members are kept alone"
                    );
                    told = words;
                }
            }
        }
        tokio::select! {
            () = events.closed() => return,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
        }
    }
}

/// A stream that is open, with what came beyond the answer to its upgrade.
async fn dial(file: &Path) -> Result<(TcpStream, Decoder), Error> {
    let path = || file.to_owned();
    let text = std::fs::read(file).map_err(|source| Error::File { path: path(), source })?;
    let Controller { address, token } =
        serde_json::from_slice(&text).map_err(|source| Error::Content { path: path(), source })?;
    let failed = |source| Error::Dial { address: address.clone(), source };
    let opened = timeout(DIAL_MAX, upgrade(&address, &token)).await;
    match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)? {
        Ok(open) => Ok(open),
        Err(status) => Err(Error::Refused { address, status, path: path() }),
    }
}

/// Connects and asks for the stream; the inner error is the status line of a refusal.
async fn upgrade(address: &str, token: &str) -> io::Result<Result<(TcpStream, Decoder), String>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let limit = u32::try_from(UNCONFIRMED_MAX.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&stream, limit)?;
    stream.write_all(&wire::upgrade_request(wire::AGENT_PATH, address, token)).await?;
    let mut bytes = Vec::new();
    loop {
        match wire::upgrade_answer(&bytes) {
            Upgrade::Incomplete => {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Upgrade::Open { frames_at } => {
                let mut decoder = Decoder::default();
                decoder.push(&bytes[frames_at..]);
                return Ok(Ok((stream, decoder)));
            }
            Upgrade::Refused { status } => return Ok(Err(status)),
        }
    }
}

/// A stream's life; ends with the reason.
async fn talk(
    stream: TcpStream,
    decoder: Decoder,
    outgoing: mpsc::Receiver<FromAgent>,
    events: &mpsc::Sender<Event>,
    heard: &mut bool,
) -> Error {
    let (read, write) = stream.into_split();
    tokio::select! {
        end = listen(read, decoder, events, heard) => end,
        end = speak(write, outgoing) => end,
    }
}

async fn listen(
    mut read: OwnedReadHalf,
    mut decoder: Decoder,
    events: &mpsc::Sender<Event>,
    heard: &mut bool,
) -> Error {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match decoder.message::<ToAgent>() {
            Ok(Some(message)) => {
                *heard = true;
                if events.send(Event::Said(message)).await.is_err() {
                    return Error::Ended;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => return Error::Frame(error),
        }
        match read.read(&mut chunk).await {
            Ok(0) => return Error::Closed,
            Ok(length) => decoder.push(&chunk[..length]),
            Err(error) => return Error::Broken(error),
        }
    }
}

async fn speak(mut write: OwnedWriteHalf, mut outgoing: mpsc::Receiver<FromAgent>) -> Error {
    while let Some(message) = outgoing.recv().await {
        match timeout(WRITE_MAX, write.write_all(&wire::encode(&message))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Error::Broken(error),
            Err(_) => return Error::Slow,
        }
    }
    // The shell dropped the outbox, at its end or because it was full.
    match write.shutdown().await {
        Ok(()) => Error::Ended,
        Err(error) => Error::Broken(error),
    }
}
