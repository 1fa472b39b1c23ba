//! Streams of agents and gateways: a connection that is upgraded, then frames both ways.
//!
//! The story: a stream says hello within [`HELLO_MAX`] or is closed; then the cell knows it. What
//! it says waits for room in the cell's queue, which holds its connection back; what it is sent
//! never waits, and one that does not read is cut.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use evenkeel_core::cell::{Beat, Entry, Link};
use evenkeel_core::report::FromAgent;
use evenkeel_core::route::FromGateway;
use evenkeel_core::wire::{self, Decoder};
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::App;
use super::failure::Failure;
use crate::cell_thread::{Cut, Item, Outgoing, outbox};
use crate::stats::{Held, Stats};

/// How long a stream may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(5);
/// How long one frame may take to be written; who reads nothing for so long is gone.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Who speaks on a stream.
trait Speaker: Send + 'static {
    /// What it says.
    type Message: DeserializeOwned + Send;
    /// Whether this may be its first message.
    fn is_hello(message: &Self::Message) -> bool;
    /// What the cell is given.
    fn item(link: Link, message: Self::Message) -> Item;
    /// A hello as the cell is given it.
    fn entry(link: Link, message: Self::Message) -> Entry;
    /// Its end as the cell is given it.
    fn closed(link: Link) -> Entry;
    /// Counts it as open.
    fn held(stats: &Arc<Stats>) -> Held;
}

struct Agent;

impl Speaker for Agent {
    type Message = FromAgent;

    fn is_hello(message: &FromAgent) -> bool {
        matches!(message, FromAgent::Hello(_))
    }
    fn item(link: Link, message: FromAgent) -> Item {
        match message {
            FromAgent::Beat { number, digest, answer } => {
                Item::Beat(Beat { link, number, digest, answer })
            }
            message => Item::Message { link, entry: Self::entry(link, message) },
        }
    }
    fn entry(link: Link, message: FromAgent) -> Entry {
        Entry::Agent { link, message }
    }
    fn closed(link: Link) -> Entry {
        Entry::AgentClosed { link }
    }
    fn held(stats: &Arc<Stats>) -> Held {
        Held::of(stats, |stats| &stats.agents)
    }
}

struct Gateway;

impl Speaker for Gateway {
    type Message = FromGateway;

    fn is_hello(message: &FromGateway) -> bool {
        matches!(message, FromGateway::Hello { .. })
    }
    fn item(link: Link, message: FromGateway) -> Item {
        Item::Message { link, entry: Self::entry(link, message) }
    }
    fn entry(link: Link, message: FromGateway) -> Entry {
        Entry::Gateway { link, message }
    }
    fn closed(link: Link) -> Entry {
        Entry::GatewayClosed { link }
    }
    fn held(stats: &Arc<Stats>) -> Held {
        Held::of(stats, |stats| &stats.gateways)
    }
}

/// `GET` on [`wire::AGENT_PATH`]
pub(crate) async fn agent(State(app): State<App>, request: Request) -> Response {
    upgrade::<Agent>(app, request)
}

/// `GET` on [`wire::GATEWAY_PATH`]
pub(crate) async fn gateway(State(app): State<App>, request: Request) -> Response {
    upgrade::<Gateway>(app, request)
}

fn upgrade<S: Speaker>(app: App, mut request: Request) -> Response {
    if !asks_for_stream(request.headers()) {
        let message = format!("this path is for streams; ask for `Upgrade: {}`", wire::PROTOCOL);
        return Failure::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
            .into_response();
    }
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Failure::bad_input("this connection cannot become a stream").into_response();
    };
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut stopping = app.stopping.clone();
        tokio::select! {
            () = super::stopped(&mut stopping) => {}
            () = take::<S>(&app, upgraded) => {}
        }
    });
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static(wire::PROTOCOL)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn asks_for_stream(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    value(UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case(wire::PROTOCOL))
}

/// A stream as its socket: nothing stands between the two any more.
async fn take<S: Speaker>(app: &App, upgraded: Upgraded) {
    let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!("a stream is on no socket and is closed");
        return;
    };
    let mut decoder = Decoder::default();
    decoder.push(&read_buf);
    drop(read_buf);
    stream::<S>(app, io.into_inner(), decoder).await;
}

/// A stream's whole life.
async fn stream<S: Speaker>(app: &App, mut socket: TcpStream, decoder: Decoder) {
    let _held = S::held(&app.stats);
    let (read, write) = socket.split();
    let mut reader = Reader { read, decoder };
    let hello = timeout(HELLO_MAX, reader.message::<S>()).await;
    let Some(hello) = hello.ok().flatten().filter(S::is_hello) else {
        tracing::debug!("a stream did not say hello and is closed");
        return;
    };
    let link = app.cell.new_link();
    let (outbox, outgoing, cut) = outbox();
    let hello = S::entry(link, hello);
    if app.cell.items.send(Item::Opened { link, outbox, hello }).await.is_err() {
        return;
    }
    tokio::select! {
        () = listen::<S>(app, link, &mut reader) => {}
        () = speak(outgoing, write, &cut) => {}
    }
    // The cell has gone if it takes no item any more.
    let _ = app.cell.items.send(Item::Closed { link, entry: S::closed(link) }).await;
}

/// Hands on what a stream says until it ends or says what cannot be read.
async fn listen<S: Speaker>(app: &App, link: Link, reader: &mut Reader<'_>) {
    while let Some(message) = reader.message::<S>().await {
        let taken = match S::item(link, message) {
            Item::Beat(beat) => app.cell.beat(beat).await,
            item => app.cell.items.send(item).await.is_ok(),
        };
        if !taken {
            return;
        }
    }
}

/// Writes what a stream is sent until the cell ends it, or it does not read.
async fn speak(mut outgoing: Outgoing, mut write: WriteHalf<'_>, cut: &Cut) {
    let all = async {
        while let Some(frame) = outgoing.frame().await {
            match timeout(WRITE_MAX, write.write_all(&frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
        // The other side learns the end from the connection's; it may have gone already.
        let _ = timeout(WRITE_MAX, write.shutdown()).await;
    };
    tokio::select! {
        () = all => {}
        () = cut.cut() => {}
    }
}

struct Reader<'a> {
    read: ReadHalf<'a>,
    decoder: Decoder,
}

thread_local! {
    /// What a socket holds goes through here: a stream that is silent has no buffer of its own.
    static CHUNK: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK_BYTES].into());
}

impl Reader<'_> {
    /// The next message; `None` when there will be none.
    async fn message<S: Speaker>(&mut self) -> Option<S::Message> {
        loop {
            match self.decoder.message::<S::Message>() {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = crate::chain(&error), "a stream cannot be read");
                    return None;
                }
            }
            self.read.readable().await.ok()?;
            let taken = CHUNK.with_borrow_mut(|chunk| {
                let length = self.read.try_read(chunk)?;
                self.decoder.push(&chunk[..length]);
                Ok::<usize, io::Error>(length)
            });
            match taken {
                Ok(0) => return None,
                Ok(_) => {}
                // Nothing was there after all.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}
