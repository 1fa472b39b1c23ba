//! Connections: accepted, bounded in number, given a time to ask.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at once, streams included: one for each agent and gateway of 20,000 hosts and more, and some for
/// people. The system's limit of open files is mostly met before.
const CONNECTIONS_MAX: usize = 65_536;
/// How long a connection may take to say what it wants.
const HEADER_MAX: Duration = Duration::from_secs(10);
/// How long requests under way are waited for at the end.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// After the system refused a connection (too many files open), how long until the next is taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = super::stopped(&mut stopping) => break,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // Frames are small and each is waited for.
                let _ = stream.set_nodelay(true);
                let (router, stopping) = (router.clone(), stopping.clone());
                connections.spawn(connection(TokioIo::new(stream), router, stopping));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::debug!("requests under way were cut off");
    }
}

async fn connection(
    io: TokioIo<tokio::net::TcpStream>,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .serve_connection(io, TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = super::stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
