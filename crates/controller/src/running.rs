//! Starting and stopping: what is taken in which order, and given back in the other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use evenkeel_core::cell::Setup;
use evenkeel_core::cell::many::FIRST;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cell_thread::{self, Handle, Item, Setting};
use crate::credential::{FleetKey, Token};
use crate::drills::{self, Access};
use crate::http::{self, Inner};
use crate::lock::Lock;
use crate::stats::Stats;
use crate::vault::{Keeper, Standings};
use crate::{Alerts, Error, Options, Parts, private_file, telling};

/// Where recordings lie in a data directory.
const RECORDINGS: &str = "recordings";

/// A controller that runs. Dropping it ends it like a crash; [`Running::stop`] is kinder.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What lets in.
    pub token: String,
    cell: Handle,
    thread: JoinHandle<()>,
    server: JoinSet<()>,
    stopping: watch::Sender<bool>,
    recordings: PathBuf,
    keeper: Option<tokio::task::JoinHandle<()>>,
    ending: watch::Sender<bool>,
    _lock: Lock,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Starts a controller over the embedded store in its data directory.
///
/// # Errors
/// [`Error`] names what cannot be had and what would help.
pub async fn start(options: Options) -> Result<Running, Error> {
    private_file::make_dir(&options.dir)?;
    let lock = Lock::take(&options.dir)?;
    let path = options.dir.join("store.db");
    let store = evenkeel_store::sqlite::open(&path)
        .map_err(|source| Error::Store { path: path.clone(), source })?;
    let parts = Parts {
        store: Box::new(store),
        kinds: evenkeel_kinds::KINDS,
        remedies: Arc::clone(&options.remedies),
        alerts: Alerts::default(),
    };
    start_locked(options, parts, lock).await
}

/// Starts a controller over parts of one's own.
///
/// # Errors
/// [`Error`] names what cannot be had and what would help.
pub async fn start_with(options: Options, parts: Parts) -> Result<Running, Error> {
    private_file::make_dir(&options.dir)?;
    let lock = Lock::take(&options.dir)?;
    start_locked(options, parts, lock).await
}

async fn start_locked(options: Options, parts: Parts, lock: Lock) -> Result<Running, Error> {
    let (parts, watcher) = telling::join(parts, options.alerts.as_ref())?;
    let Parts { store, kinds, remedies, alerts } = parts;
    let (id, copies, policy) = (store.id(), store.copies(), options.policy.clone());
    let setup = Setup { cell: FIRST, store: id.clone(), policy, kinds, remedies };
    let (cells, fleet_exists) = cell_thread::load(&*store, &setup)?;
    let key_path = options.dir.join("fleet.key");
    let key = Arc::new(FleetKey::open(&key_path, fleet_exists)?);
    let token = Token::open(&options.dir.join("token"))?;
    let (listener, address) = listen(options.listen).await?;
    let stats = Arc::new(Stats::default());
    let setting = Setting {
        setup,
        seal: key.succession(),
        procedures: options.procedures.clone(),
        cells,
        hosts_max: usize::try_from(options.cell_hosts_max).unwrap_or(usize::MAX),
        head: cell_thread::head(&*store)?,
        store,
        recordings: options.dir.join(RECORDINGS),
        key: Arc::clone(&key),
        stats: Arc::clone(&stats),
        wall: options.wall,
        abort_after: options.abort_after,
        alerts,
    };
    let (cell, thread) = cell_thread::spawn(setting).map_err(Error::Thread)?;
    let standings = Arc::new(Standings::default());
    let (ending, end) = watch::channel(false);
    let keeper = Keeper::of(&options, copies, id, &key, &cell, &standings);
    let standings = keeper.is_some().then_some(standings);
    let keeper = keeper.map(|keeper| tokio::spawn(keeper.run(cell.changed.clone(), end)));
    let (stopping, told) = watch::channel(false);
    let inner = Inner {
        cell: cell.clone(),
        token: token.clone(),
        key,
        key_path,
        engine: options.backup_engine,
        standings,
        vault: options.vault.clone(),
        wall: options.wall,
        kinds,
        allowed_hosts: lower(&options.allowed_hosts),
        stats,
        stopping: told.clone(),
        driller: options.driller.clone(),
        checked: http::doctor::Checked::default(),
        watcher: watcher.clone(),
        recordings: options.dir.join(RECORDINGS),
    };
    let mut server = JoinSet::new();
    server.spawn(http::serve(listener, http::router(Arc::new(inner)), told.clone()));
    telling::beat_if(watcher, &cell, &told, &mut server);
    drill(&options, address, token.as_str(), &cell, told, &mut server);
    // Written last: whoever finds it finds a controller that answers.
    write_address(&options.dir, address, token.as_str())?;
    tracing::info!(%address, "the controller answers");
    Ok(Running {
        address,
        token: token.as_str().to_owned(),
        cell,
        thread,
        server,
        stopping,
        recordings: options.dir.join(RECORDINGS),
        keeper,
        ending,
        _lock: lock,
    })
}

/// A stream is an open file: as many are allowed as this process may have itself allowed.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    allow_files();
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let own = listener.local_addr().map_err(failed)?;
    Ok((listener, own))
}

/// Has drills be done that are due, where there is somebody who does them.
fn drill(
    options: &Options,
    address: SocketAddr,
    token: &str,
    cell: &Handle,
    stopping: watch::Receiver<bool>,
    server: &mut JoinSet<()>,
) {
    let Some(driller) = options.driller.clone() else { return };
    let at = Access { address: reachable(address).to_string(), token: token.to_owned() };
    server.spawn(drills::run(driller, at, cell.clone(), stopping));
}

/// Host names as they are compared.
fn lower(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// Where a controller is found from its own machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    // Nobody can connect to "any address".
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
        }
        address => address,
    }
}

/// Tells agents, gateways and the CLI where the controller is.
fn write_address(dir: &Path, address: SocketAddr, token: &str) -> Result<(), Error> {
    let reachable = reachable(address);
    let text = serde_json::json!({ "address": reachable.to_string(), "token": token });
    private_file::replace(&dir.join("controller.json"), text.to_string().as_bytes())?;
    Ok(())
}

impl Running {
    /// Waits until the controller cannot go on by itself. A store that takes no commits is not such
    /// a case: it is tried again.
    pub async fn failed(&mut self) -> Error {
        // The thread has the other end as long as it lives.
        self.cell.items.closed().await;
        Error::CellEnded { recordings: self.recordings.clone() }
    }

    /// Stops: answers what was asked, ends the streams, writes the recording, closes the store and saves it.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        while self.server.join_next().await.is_some() {}
        // Refused only by a thread that has ended.
        let _ = self.cell.items.send(Item::Stop).await;
        let thread = self.thread;
        // A panic there was printed where it happened.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        self.ending.send_replace(true);
        if let Some(keeper) = self.keeper {
            let _ = keeper.await;
        }
    }
}
