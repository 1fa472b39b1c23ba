//! The one stream to the controller: dialled out, opened again whenever it ends.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evenkeel_core::agent::Input;
use evenkeel_core::report::ToAgent;
use evenkeel_core::wire::{self, AGENT_PATH, Decoder, Upgrade};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::events::Event;

/// First wait before dialling again, doubled up to the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A dial that takes longer is given up.
const DIAL_MAX: Duration = Duration::from_secs(5);
/// Frames waiting to be written; a controller that reads slower gets another stream.
const FRAMES_MAX: usize = 1024;

/// Where the controller is and how it knows us.
#[derive(Deserialize)]
struct Controller {
    address: String,
    token: String,
}

/// Why a stream ended or never opened.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{path} does not name a controller: {why}")]
    File { path: PathBuf, why: String },
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(
        "the controller refused the stream ({0}); is the token in the controller file its own?"
    )]
    Refused(String),
    #[error("the controller closed it")]
    Closed,
    #[error("the controller does not answer")]
    Silent,
    #[error("what came is no message: {0}")]
    Frame(#[from] wire::Error),
}

/// Dials for ever.
pub async fn dial(controller_file: PathBuf, events: mpsc::Sender<Event>) {
    let mut wait = BACKOFF_MIN;
    let mut last = String::new();
    loop {
        match tokio::time::timeout(DIAL_MAX, open(&controller_file)).await {
            Ok(Ok((stream, rest))) => {
                info!("the controller is reached");
                wait = BACKOFF_MIN;
                last.clear();
                let error = serve(stream, rest, &events).await;
                info!("the stream to the controller ended: {error}");
                if events.send(Event::Closed).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => tell(&mut last, &error),
            Err(_) => tell(&mut last, &Error::Silent),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF_MAX);
        if events.is_closed() {
            return;
        }
    }
}

/// The same failure again and again is told once.
fn tell(last: &mut String, error: &Error) {
    let text = error.to_string();
    if *last == text {
        debug!("the controller is not reached: {text}");
    } else {
        warn!("the controller is not reached: {text}; members are kept as they are");
        *last = text;
    }
}

async fn open(controller_file: &Path) -> Result<(TcpStream, Vec<u8>), Error> {
    let bad = |why: String| Error::File { path: controller_file.to_owned(), why };
    let text = tokio::fs::read(controller_file).await.map_err(|error| bad(error.to_string()))?;
    let controller: Controller =
        serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    let mut stream = TcpStream::connect(&controller.address).await?;
    stream.set_nodelay(true)?;
    let request = wire::upgrade_request(AGENT_PATH, &controller.address, &controller.token);
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    loop {
        match wire::upgrade_answer(&answer) {
            Upgrade::Open { frames_at } => return Ok((stream, answer.split_off(frames_at))),
            Upgrade::Refused { status } => return Err(Error::Refused(status)),
            Upgrade::Incomplete => {
                if stream.read_buf(&mut answer).await? == 0 {
                    return Err(Error::Refused("closed without an answer".to_owned()));
                }
            }
        }
    }
}

/// Carries frames until the stream ends; why it did.
async fn serve(stream: TcpStream, rest: Vec<u8>, events: &mpsc::Sender<Event>) -> Error {
    let (reader, writer) = stream.into_split();
    let (frames, queue) = mpsc::channel(FRAMES_MAX);
    if events.send(Event::Opened(frames)).await.is_err() {
        return Error::Silent;
    }
    tokio::select! {
        error = read(reader, rest, events) => error,
        error = write(writer, queue) => error,
    }
}

async fn read(mut reader: OwnedReadHalf, rest: Vec<u8>, events: &mpsc::Sender<Event>) -> Error {
    let mut decoder = Decoder::default();
    decoder.push(&rest);
    let mut buffer = vec![0; 64 << 10];
    loop {
        loop {
            match decoder.message::<ToAgent>() {
                Ok(Some(message)) => {
                    if events.send(Event::Input(Input::Message(message))).await.is_err() {
                        return Error::Silent;
                    }
                }
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
        match reader.read(&mut buffer).await {
            Ok(0) => return Error::Closed,
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) => return error.into(),
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> Error {
    while let Some(frame) = queue.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            return error.into();
        }
    }
    Error::Silent
}
