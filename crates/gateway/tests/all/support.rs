//! Ports, servers and gateways for the tests.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use evenkeel_core::id::{MemberId, ServiceId, Term};
use evenkeel_core::route::{Route, Target};
use evenkeel_gateway::{Error, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::controller::Controller;

pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Longest that anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What must come, in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("too late: {what}"))
}

/// A port that nobody listens on now, below those the system gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 20).expect("below 20") * 100;
    loop {
        let port = 29_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 2_900;
        if std::net::TcpListener::bind((HERE, port)).is_ok() {
            return port;
        }
    }
}

/// With a queue for a thousand: a client that waits for a letter first would not notice that the system
/// dropped it.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(HERE, port))?;
    socket.listen(1024)
}

/// A server that says its letter, then answers what it is sent.
pub struct Server {
    pub port: u16,
    task: JoinHandle<()>,
}

impl Server {
    pub fn start(letter: u8) -> Self {
        Self::start_on(free_port(), letter)
    }

    pub fn start_on(port: u16, letter: u8) -> Self {
        let listener = listen(port).expect("port is free");
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    writer.write_all(&[letter]).await?;
                    tokio::io::copy(&mut reader, &mut writer).await?;
                    writer.shutdown().await
                });
            }
        });
        Self { port, task }
    }

    /// Stops listening; connections go on.
    pub async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("serves for ever").is_cancelled());
    }
}

/// Where connections of a service with this number go; `member` is where the server listens.
pub fn route(port: u16, term: u32, member: Option<(u32, u16)>) -> Route {
    let target = member.map(|(member, port)| Target {
        member: MemberId(member),
        address: HERE.to_string(),
        port,
    });
    let service = ServiceId(u32::from(port));
    Route { service, name: format!("s{port}"), port, term: Term(term), target, holds: false }
}

/// Held while a process is started.
pub static SPAWNING: Mutex<()> = Mutex::new(());

/// A gateway within the test's process.
pub struct Gateway {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Gateway {
    pub fn start(options: Options) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(evenkeel_gateway::run(options, async {
            let _: Result<_, _> = stopped.await;
        }));
        Self { stop, task }
    }

    pub async fn stop(self) {
        let Self { stop, task } = self;
        let _: Result<_, _> = stop.send(());
        soon("end", task).await.expect("does not panic").expect("ends well");
        // A process that is being started has a copy of the lock until it is its own program.
        drop(SPAWNING.lock());
    }

    /// Why it does not start.
    pub async fn refusal(self) -> Error {
        soon("refusal", self.task).await.expect("does not panic").expect_err("does not start")
    }
}

/// A directory with a controller's file and, later, a gateway's state.
pub struct Place {
    dir: TempDir,
    pub controller: Controller,
}

impl Place {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let controller = Controller::start("token-1").await;
        controller.announce(&dir.path().join("controller.json"));
        Self { dir, controller }
    }

    pub fn controller_file(&self) -> PathBuf {
        self.dir.path().join("controller.json")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn options(&self) -> Options {
        let mut options = options(&self.state(), &self.controller_file());
        options.hold = PATIENCE;
        options
    }
}

pub fn options(state: &Path, controller_file: &Path) -> Options {
    let mut options =
        Options::new("h1".to_owned(), HERE, state.to_owned(), controller_file.to_owned());
    options.beat = Duration::from_millis(50);
    options
}

/// A client of an endpoint.
pub async fn connect(port: u16) -> TcpStream {
    let at = SocketAddr::new(HERE, port);
    soon("connect", async {
        loop {
            match TcpStream::connect(at).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

/// The letter of the server a client reached.
pub async fn letter(client: &mut TcpStream) -> u8 {
    soon("letter", client.read_u8()).await.expect("connection is forwarded")
}

/// That what is sent comes back.
pub async fn assert_echo(client: &mut TcpStream, text: &[u8]) {
    client.write_all(text).await.expect("sends");
    let mut back = vec![0; text.len()];
    soon("echo", client.read_exact(&mut back)).await.expect("comes back");
    assert!(back == text, "what came back is not what was sent");
}

/// That a client's connection was reset, and did not merely end.
pub async fn assert_cut(client: &mut TcpStream) {
    let read = soon("reset", client.read_u8()).await;
    assert_eq!(read.expect_err("connection is cut").kind(), io::ErrorKind::ConnectionReset);
}

/// That nothing listens on a port.
pub async fn assert_closed(port: u16) {
    let refused = TcpStream::connect((HERE, port)).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}
