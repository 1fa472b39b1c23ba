//! A pager's provider of a test's own: a real server, and what it does to whoever asks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It takes what it is given and says so. Whether anybody is told is another matter.
    Lies,
    /// Nobody listens.
    Refuses,
    /// It answers nothing.
    Hangs,
    /// It answers 500.
    Breaks,
    /// It is gone in the middle of a request.
    Dies,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    told: Vec<Value>,
    ping: Option<Instant>,
    over: bool,
}

/// The provider; it ends with its test. Pings of the watcher's come to `/alive`, and are always heard.
pub struct Provider {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Provider {
    /// One that takes everything.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = State { mode: Mode::Lies, told: Vec::new(), ping: None, over: false };
        let state = Arc::new(Mutex::new(state));
        let own = Arc::clone(&state);
        thread::spawn(move || listen(listener, address, &own));
        Self { address, state }
    }

    pub fn set(&self, mode: Mode) {
        self.state.lock().expect("sound").mode = mode;
    }

    /// What it took, whether it said so or not.
    pub fn told(&self) -> Vec<Value> {
        self.state.lock().expect("sound").told.clone()
    }

    /// When the watcher was pinged last.
    pub fn last_ping(&self) -> Option<Instant> {
        self.state.lock().expect("sound").ping
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.state.lock().expect("sound").over = true;
    }
}

/// Takes connections; while it refuses, nobody listens at its address.
fn listen(listener: TcpListener, address: SocketAddr, state: &Arc<Mutex<State>>) {
    let mut listener = Some(listener);
    loop {
        let (mode, over) = {
            let state = state.lock().expect("sound");
            (state.mode, state.over)
        };
        if over {
            return;
        }
        if mode == Mode::Refuses {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
        }
        let Some(listening) = &listener else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        listening.set_nonblocking(true).expect("a socket");
        match listening.accept() {
            Ok((stream, _)) => {
                let state = Arc::clone(state);
                thread::spawn(move || serve(stream, &state));
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// One request. Whoever asked may be gone; that is not the server's business.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut stream = stream;
    let mut answer = |status: &str| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()
    };
    if first.contains("/alive") {
        state.lock().expect("sound").ping = Some(Instant::now());
        return answer("200 OK");
    }
    let mode = state.lock().expect("sound").mode;
    if mode == Mode::Dies {
        // Before it has read what it is given.
        return None;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    state.lock().expect("sound").told.push(serde_json::from_slice(&body).ok()?);
    match mode {
        Mode::Hangs => {
            // Longer than anybody's patience.
            thread::sleep(Duration::from_secs(600));
            None
        }
        Mode::Breaks => answer("500 Internal Server Error"),
        _ => answer("202 Accepted"),
    }
}
