//! One client's connection: held until its service has a primary that answers, then forwarded.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::route::Target;
use rustix::net::sockopt;
use tokio::io::{Interest, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Bytes on their way, in each direction: what an idle connection costs in memory, twice. Half of it
/// forwards a sixth less (`forward_bench`).
const BUFFER_BYTES: usize = 16 << 10;

/// Pause before a target that could not be connected to is tried again. It doubles up to the second.
const RETRY: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(100);

/// Longest single try to connect. A target that is away without a word is tried again for as long as
/// the connection is held.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// A peer that is gone without a word is noticed after 30 s + 3 * 10 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Where a service's connections lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aim {
    /// Where new ones go; `None` holds them.
    pub target: Option<Target>,
    /// Grows each time the open ones are cut. A count and not an event: one that was just connecting
    /// cannot miss it.
    pub cuts: u64,
}

/// The limits and counts that all connections of a gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Longest time a connection is held.
    pub hold: Duration,
    /// Room for connections that are held.
    pub held: Semaphore,
    /// Room for connections.
    pub room: Arc<Semaphore>,
    /// How many there is room for.
    pub connections_max: u32,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed for want of a primary or of room.
    pub refused: AtomicU64,
}

impl Shared {
    /// Connections open now.
    pub fn open(&self) -> u64 {
        let room = u64::try_from(self.room.available_permits()).unwrap_or(u64::MAX);
        u64::from(self.connections_max).saturating_sub(room)
    }

    /// Closes a connection that nothing can be done for.
    pub fn refuse(&self, client: TcpStream) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        reset(client);
    }
}

/// Serves one client until it is over.
pub(crate) async fn serve(
    client: TcpStream,
    mut aim: watch::Receiver<Aim>,
    shared: Arc<Shared>,
    _room: OwnedSemaphorePermit,
) {
    tune(&client);
    match find(&client, &mut aim, &shared).await {
        Found::Server { server, cuts } => forward(client, server, aim, cuts).await,
        Found::Nobody => shared.refuse(client),
        Found::Over => reset(client),
    }
}

/// What came of looking for a server.
enum Found {
    /// It answers.
    Server {
        server: TcpStream,
        /// The count of cuts when it was dialed.
        cuts: u64,
    },
    /// None in time, or no room to wait.
    Nobody,
    /// The client went away, or the service did.
    Over,
}

async fn find(client: &TcpStream, aim: &mut watch::Receiver<Aim>, shared: &Shared) -> Found {
    let deadline = Instant::now() + shared.hold;
    let mut held = None;
    let mut pause = RETRY;
    loop {
        let Aim { target, cuts } = aim.borrow_and_update().clone();
        if let Some(target) = target {
            tokio::select! {
                dialed = dial(&target) => match dialed {
                    Ok(server) => return Found::Server { server, cuts },
                    Err(error) => tracing::debug!(?target, %error, "target does not answer"),
                },
                changed = aim.changed() => {
                    if changed.is_err() {
                        return Found::Over;
                    }
                    pause = RETRY;
                    continue;
                }
                () = sleep_until(deadline) => return Found::Nobody,
            }
        }
        if held.is_none() {
            held = shared.held.try_acquire().ok();
        }
        if held.is_none() {
            return Found::Nobody;
        }
        if has_left(client).await {
            return Found::Over;
        }
        tokio::select! {
            changed = aim.changed() => {
                if changed.is_err() {
                    return Found::Over;
                }
                pause = RETRY;
            }
            () = sleep(pause) => pause = RETRY_MAX.min(pause * 2),
            () = sleep_until(deadline) => return Found::Nobody,
        }
    }
}

async fn dial(target: &Target) -> io::Result<TcpStream> {
    let server = timeout(CONNECT_MAX, TcpStream::connect((&*target.address, target.port)))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // On one machine a connection to a port nobody listens on can meet itself, when the system picks
    // that very port for its own end.
    if server.local_addr()? == server.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    tune(&server);
    Ok(server)
}

/// Whether a client that is held has closed its sending side. It is taken for gone: clients give up far
/// more often than they end their sending before the first answer, and those that gave up must not
/// fill the room, nor storm a new primary.
async fn has_left(client: &TcpStream) -> bool {
    tokio::select! {
        biased;
        ready = client.ready(Interest::READABLE) => ready.is_ok_and(|ready| ready.is_read_closed()),
        () = std::future::ready(()) => false,
    }
}

/// Copies until both sides have ended, one is reset, or the connection is cut.
async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    mut aim: watch::Receiver<Aim>,
    cuts: u64,
) {
    let ended = {
        let (a, b) = (&mut client, &mut server);
        let mut copy =
            std::pin::pin!(copy_bidirectional_with_sizes(a, b, BUFFER_BYTES, BUFFER_BYTES));
        loop {
            if aim.borrow_and_update().cuts != cuts {
                break false;
            }
            tokio::select! {
                copied = &mut copy => break copied.is_ok(),
                changed = aim.changed() => if changed.is_err() { break false },
            }
        }
    };
    if !ended {
        reset(client);
        reset(server);
    }
}

/// Closes so that the peer sees a reset: an answer that was cut off must not look like its end.
fn reset(stream: TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "cannot reset, closing");
    }
}

/// Small answers go out at once, and peers that vanish are noticed. A socket that refuses this still
/// forwards.
fn tune(stream: &TcpStream) {
    let set = || -> io::Result<()> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
        Ok(())
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "socket options are not taken");
    }
}
