//! The sockets of a gateway: one listener for each route, kept as the table says.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel_core::id::ServiceId;
use evenkeel_core::route::{Route, Target};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connection::{self, Aim, Shared};
use crate::table::Change;

/// Pause after an accept that failed for want of descriptors or memory. The connection stays in the
/// queue, so an accept at once would fail again, for ever.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections the system completes before they are accepted, up to its own limit (`somaxconn`). After a
/// failover every client comes at once; past a short queue some would look connected and never be.
const BACKLOG: u32 = 4096;

/// Longest wait for connections to be cut at the end.
const END_MAX: Duration = Duration::from_secs(1);

/// One service's endpoint. Dropping its aim stops listening and cuts its connections.
struct Endpoint {
    port: u16,
    aim: watch::Sender<Aim>,
    /// The task that accepts, which ends when the aim is dropped, or why the port is not listened on.
    accepts: Result<JoinHandle<()>, String>,
}

/// All endpoints.
pub(crate) struct Server {
    address: IpAddr,
    shared: Arc<Shared>,
    endpoints: BTreeMap<ServiceId, Endpoint>,
}

impl Server {
    pub fn new(address: IpAddr, shared: Arc<Shared>) -> Self {
        Self { address, shared, endpoints: BTreeMap::new() }
    }

    pub async fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Close { service } => self.close(service).await,
                Change::Listen(route) => self.listen(route),
                Change::Retarget { service, target, cut } => self.retarget(service, target, cut),
            }
        }
    }

    fn listen(&mut self, route: Route) {
        let (service, port, target) = (route.service, route.port, route.leads_to().cloned());
        let (aim, aims) = watch::channel(Aim { target, cuts: 0 });
        let accepts = listen_on(self.address, port, aims, &self.shared);
        match &accepts {
            Ok(_) => tracing::info!(%service, name = route.name, port, "listening"),
            Err(reason) => {
                tracing::warn!(%service, name = route.name, port, reason, "not listening")
            }
        }
        self.endpoints.insert(service, Endpoint { port, aim, accepts });
    }

    async fn close(&mut self, service: ServiceId) {
        let Some(endpoint) = self.endpoints.remove(&service) else { return };
        tracing::info!(%service, port = endpoint.port, "closed");
        end(endpoint).await;
    }

    fn retarget(&self, service: ServiceId, target: Option<Target>, cut: bool) {
        let Some(endpoint) = self.endpoints.get(&service) else { return };
        tracing::info!(%service, ?target, cut, "retargeted");
        endpoint.aim.send_modify(|aim| {
            aim.target = target;
            aim.cuts += u64::from(cut);
        });
    }

    /// Tries the ports again that could not be listened on. Whether any is listened on now.
    pub fn retry(&mut self) -> bool {
        let mut any = false;
        for (service, endpoint) in &mut self.endpoints {
            if endpoint.accepts.is_ok() {
                continue;
            }
            let aims = endpoint.aim.subscribe();
            endpoint.accepts = listen_on(self.address, endpoint.port, aims, &self.shared);
            if endpoint.accepts.is_ok() {
                tracing::info!(%service, port = endpoint.port, "listening, at last");
                any = true;
            }
        }
        any
    }

    /// The ports that are not listened on, with why.
    pub fn failed(&self) -> Vec<(u16, String)> {
        let reason = |endpoint: &Endpoint| {
            endpoint.accepts.as_ref().err().map(|reason| (endpoint.port, reason.clone()))
        };
        self.endpoints.values().filter_map(reason).collect()
    }

    /// Stops listening, cuts every connection, and waits for them a moment.
    pub async fn end(&mut self) {
        for endpoint in std::mem::take(&mut self.endpoints).into_values() {
            end(endpoint).await;
        }
        let all = self.shared.room.acquire_many(self.shared.connections_max);
        if tokio::time::timeout(END_MAX, all).await.is_err() {
            tracing::warn!(open = self.shared.open(), "ending with connections open");
        }
    }
}

fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // What is left of connections to a gateway that ended must not keep the next one out.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

fn listen_on(
    address: IpAddr,
    port: u16,
    aims: watch::Receiver<Aim>,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>, String> {
    if port == 0 {
        return Err("port 0 cannot be an endpoint".to_owned());
    }
    let at = SocketAddr::new(address, port);
    let listener = bind(at).map_err(|error| format!("cannot listen on {at}: {error}"))?;
    let shared = Arc::clone(shared);
    Ok(tokio::spawn(async move {
        tokio::select! {
            () = accept(listener, &aims, &shared) => {}
            () = dropped(aims.clone()) => {}
        }
    }))
}

/// The port is free when this returns.
async fn end(endpoint: Endpoint) {
    drop(endpoint.aim);
    if let Ok(task) = endpoint.accepts {
        task.await.expect("accepting does not panic");
    }
}

async fn dropped(mut aims: watch::Receiver<Aim>) {
    while aims.changed().await.is_ok() {}
}

async fn accept(listener: TcpListener, aims: &watch::Receiver<Aim>, shared: &Arc<Shared>) {
    let mut pausing = false;
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                pausing = false;
                admit(client, aims, shared);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                // Once for each shortage: it may last, and its log must not fill the disk as well.
                if !pausing {
                    tracing::warn!(%error, "cannot accept, pausing until it works again");
                }
                pausing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an accept failed because of the one connection it would have taken.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(error.kind(), E::ConnectionAborted | E::ConnectionReset | E::Interrupted)
}

fn admit(client: TcpStream, aims: &watch::Receiver<Aim>, shared: &Arc<Shared>) {
    shared.accepted.fetch_add(1, Ordering::Relaxed);
    match Arc::clone(&shared.room).try_acquire_owned() {
        Ok(room) => {
            tokio::spawn(connection::serve(client, aims.clone(), Arc::clone(shared), room));
        }
        Err(_) => shared.refuse(client),
    }
}
