//! The endpoint forwarder: a plain TCP forwarder for any kind of service, in a process of its own that
//! outlives agent and controller.
//!
//! It listens on one port for each service and leads its connections to the service's primary. Where
//! that is, controllers say over a stream; what they said last is on disk, so that a gateway that is
//! started with every controller gone serves as before. While a service has no primary, or its primary
//! does not answer, new connections are held for a while. Connections to a member that is no longer the
//! primary are cut.
//!
//! It knows nothing of what it forwards, and decides nothing: routes are fenced by their term, and what
//! a controller sends is on disk before it is acted on.

mod connection;
mod disk;
mod limits;
mod server;
mod stream;
pub mod table;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use evenkeel_core::route::Route;
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::Shared;
pub use crate::disk::Error;
use crate::disk::{Kept, Lock};
use crate::server::Server;
use crate::stream::{Order, Stream, Taken};
use crate::table::{Standing, Table};

/// How often ports that could not be listened on, and routes that could not be stored, are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How a gateway is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name: the host's it stands for.
    pub name: String,
    /// Address it listens on.
    pub address: IpAddr,
    /// Directory of its own, made if missing: `lock`, `pid.json`, `routes.json`.
    pub dir: PathBuf,
    /// JSON file `{"address":"127.0.0.1:7432","token":"..."}`, read again on each dial, so that a
    /// controller can move and a token be changed.
    pub controller_file: PathBuf,
    /// Longest time a connection waits for a primary.
    pub hold: Duration,
    /// Most connections that wait at once.
    pub held_max: usize,
    /// Most connections at once; fewer if the limit of open files is lower than twice this.
    pub connections_max: usize,
    /// Time between beats to the controller.
    pub beat: Duration,
}

impl Options {
    /// The defaults: connections wait up to 30 s, 1,024 at once, 20,000 are open, a beat each second.
    #[must_use]
    pub fn new(name: String, address: IpAddr, dir: PathBuf, controller_file: PathBuf) -> Self {
        Self {
            name,
            address,
            dir,
            controller_file,
            hold: Duration::from_secs(30),
            held_max: 1024,
            connections_max: 20_000,
            beat: Duration::from_secs(1),
        }
    }
}

/// Serves until `shutdown` is done; then stops listening and cuts every connection.
///
/// # Errors
/// [`Error`] when the directory is another gateway's or cannot be used. Nothing ends it later: ports
/// that cannot be listened on, a disk that is full and a controller that is away are tried again.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let _lock = Lock::take(&options.dir)?;
    disk::write_identity(&options.dir)?;
    let kept = Kept::load(&options.dir)?;
    let connections_max = limits::connections(options.connections_max, limits::raise());
    let shared = Arc::new(Shared {
        hold: options.hold,
        held: Semaphore::new(options.held_max.min(Semaphore::MAX_PERMITS)),
        room: Arc::new(Semaphore::new(connections_max as usize)),
        connections_max,
        accepted: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let mut gateway = Gateway {
        dir: options.dir,
        server: Server::new(options.address, Arc::clone(&shared)),
        table: Table::new(),
        taken: watch::Sender::default(),
        pending: false,
    };
    gateway.start(kept).await;
    let (orders, mut order) = watch::channel(Order::None);
    let stream = Stream {
        name: options.name,
        address: options.address,
        controller_file: options.controller_file,
        beat: options.beat,
        shared,
        taken: gateway.taken.subscribe(),
        orders,
    };
    tokio::select! {
        () = shutdown => {}
        () = stream.keep() => {}
        () = gateway.follow(&mut order) => {}
    }
    gateway.server.end().await;
    Ok(())
}

/// The routes held, and the sockets that follow them.
struct Gateway {
    dir: PathBuf,
    server: Server,
    table: Table,
    taken: watch::Sender<Taken>,
    /// The last order could not be stored and is to be tried again.
    pending: bool,
}

impl Gateway {
    async fn start(&mut self, kept: Kept) {
        let (table, _) = table::succeed(&Table::new(), kept.all);
        self.change_to(table).await;
        self.tell(kept.routes);
    }

    /// Does what the controller orders, and tries again what could not be done.
    async fn follow(&mut self, order: &mut watch::Receiver<Order>) {
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = order.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // A binding: a borrow that lasts through the await would block the stream.
                    let newest = order.borrow_and_update().clone();
                    self.take(newest).await;
                }
                _ = retry.tick() => {
                    if self.pending {
                        let newest = order.borrow_and_update().clone();
                        self.take(newest).await;
                    } else if self.server.retry() {
                        self.tell(self.held());
                    }
                }
            }
        }
    }

    /// Takes routes, unless newer ones are held: first to disk, then to the sockets. It answers in
    /// either case, with what is held afterwards.
    async fn take(&mut self, order: Order) {
        let Some((routes, all)) = order else { return };
        let held = self.held();
        if routes < held {
            tracing::warn!(routes, held, "routes older than those held are refused");
            return self.tell(held);
        }
        let (table, stale) = table::succeed(&self.table, all.into_values().collect());
        for stale in stale {
            let table::Stale { service, came, held } = stale;
            tracing::warn!(%service, %came, %held, "route of an older term is refused");
        }
        // A hold is a word of the moment: what is started later does not know it.
        let kept = |standing: &Standing| Route { holds: false, ..standing.route.clone() };
        let all = table.values().map(kept).collect();
        let stored = store(&self.dir, Kept::new(routes, all)).await;
        self.pending = stored.is_err();
        if let Err(error) = stored {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "routes are not taken, serving those held");
            return self.tell(held);
        }
        self.change_to(table).await;
        self.server.retry();
        self.tell(routes);
    }

    async fn change_to(&mut self, table: Table) {
        self.server.apply(table::plan(&self.table, &table)).await;
        self.table = table;
    }

    fn held(&self) -> u64 {
        self.taken.borrow().routes
    }

    fn tell(&self, routes: u64) {
        self.taken.send_replace(Taken { routes, failed: self.server.failed() });
    }
}

/// Syncing takes a while: connections are served meanwhile.
async fn store(dir: &Path, kept: Kept) -> Result<(), Error> {
    let dir = dir.to_owned();
    let stored = tokio::task::spawn_blocking(move || kept.store(&dir)).await;
    stored.expect("storing does not panic")
}
