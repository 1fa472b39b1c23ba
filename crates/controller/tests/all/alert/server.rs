//! Servers that behave as a test wants: HTTP, and whatever speaks on a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_rustls::rustls::{self, ServerConfig, ServerConnection, StreamOwned};

/// A connection, encrypted or not.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// Between the bytes of a server that dribbles.
const DRIBBLE: Duration = Duration::from_millis(20);

/// Lets each connection be handled on a thread of its own.
pub fn listen(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handle = Arc::clone(&handle);
            std::thread::spawn(move || handle(stream));
        }
    });
    address
}

/// A port nobody listens at.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

/// Says nothing until the other side has gone.
pub fn hang(wire: &mut dyn Wire) {
    let mut buffer = [0; 4096];
    while wire.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

/// One byte, and one more, until the other side has gone.
pub fn dribble(wire: &mut dyn Wire, byte: u8) {
    while wire.write_all(&[byte]).and_then(|()| wire.flush()).is_ok() {
        std::thread::sleep(DRIBBLE);
    }
}

/// What was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub line: String,
    pub head: String,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers, with this status and body.
    Answer(u16, String),
    /// Answers the status, and the request itself.
    Echo(u16),
    /// Leads elsewhere.
    Redirect(String),
    /// Says nothing.
    Hang,
    /// The head of its answer comes byte by byte.
    DribbleHead,
    /// The body of its answer comes byte by byte, and never ends.
    DribbleBody,
    /// Is gone before its answer.
    Die,
    /// Is gone in the middle of its answer's body, which begins so.
    DieInBody(u16, String),
}

/// A server, and what it was asked.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub fn start(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        Self::with(act, |stream, serve| serve(&mut BufReader::new(Both(Box::new(stream)))))
    }

    pub fn start_tls(
        certificate: &Certificate,
        act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Self {
        let config = certificate.config();
        Self::with(act, move |stream, serve| {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            serve(&mut BufReader::new(Both(Box::new(StreamOwned::new(tls, stream)))));
        })
    }

    fn with(
        act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
        wrap: impl Fn(TcpStream, &dyn Fn(&mut BufReader<Both>)) + Send + Sync + 'static,
    ) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let own = Arc::clone(&asked);
        let address = listen(move |stream| {
            wrap(stream, &|wire| {
                if let Some(request) = read(wire) {
                    own.lock().expect("sound").push(request.clone());
                    perform(wire.get_mut(), &act(&request), &request);
                }
            });
        });
        Self { address, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("sound").clone()
    }
}

/// A connection that is read through a buffer and written beside it.
pub struct Both(pub Box<dyn Wire>);

impl Read for Both {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn read(wire: &mut BufReader<Both>) -> Option<Asked> {
    let mut asked = Asked::default();
    wire.read_line(&mut asked.line).ok().filter(|count| *count > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        wire.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        asked.head.push_str(&line);
    }
    let mut body = vec![0; length];
    wire.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

fn perform(wire: &mut Both, act: &Act, asked: &Asked) {
    let head = |status: u16, length: usize| {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
    };
    // Whoever asked may be gone; that is not the server's business.
    let mut say = |text: &str| {
        let _ = wire.write_all(text.as_bytes()).and_then(|()| wire.flush());
    };
    match act {
        Act::Answer(status, body) => say(&format!("{}{body}", head(*status, body.len()))),
        Act::Echo(status) => {
            let body = format!("{}{}\n{}", asked.line, asked.head, asked.body);
            say(&format!("{}{body}", head(*status, body.len())));
        }
        Act::Redirect(to) => {
            say(&format!("HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"));
        }
        Act::Hang => hang(wire),
        Act::DribbleHead => {
            say("HTTP/1.1 200 OK\r\nx: ");
            dribble(wire, b'x');
        }
        Act::DribbleBody => {
            say("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
            dribble(wire, b' ');
        }
        Act::Die => {}
        Act::DieInBody(status, part) => say(&format!("{}{part}", head(*status, part.len() + 9))),
    }
}

/// A certificate for 127.0.0.1 that nobody knows, unless it is given to them.
pub struct Certificate {
    pub pem: String,
    key: Vec<u8>,
    der: Vec<u8>,
}

impl Certificate {
    pub fn new() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
                .expect("made");
        Self {
            pem: made.cert.pem(),
            key: made.signing_key.serialize_der(),
            der: made.cert.der().to_vec(),
        }
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone().into()], key.into())
            .expect("a certificate");
        Arc::new(config)
    }
}
