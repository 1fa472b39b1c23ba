//! A controller that only streams routes.

use std::path::Path;

use evenkeel_core::id::ServiceId;
use evenkeel_core::route::{FromGateway, Route, ToGateway};
use evenkeel_core::wire::{self, Decoder, GATEWAY_PATH, PROTOCOL};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{HERE, PATIENCE, free_port, soon};

/// Where gateways dial.
pub struct Controller {
    listener: TcpListener,
    port: u16,
    token: &'static str,
}

impl Controller {
    pub async fn start(token: &'static str) -> Self {
        let port = free_port();
        let listener = TcpListener::bind((HERE, port)).await.expect("port is free");
        Self { listener, port, token }
    }

    /// Writes the file that gateways find it by.
    pub fn announce(&self, path: &Path) {
        let json = format!(r#"{{"address":"{HERE}:{}","token":"{}"}}"#, self.port, self.token);
        let beside = path.with_extension("new");
        std::fs::write(&beside, json).expect("writes");
        std::fs::rename(beside, path).expect("renames");
    }

    /// The next dial: its request, until the empty line, and the stream behind it.
    async fn dialed(&self) -> (TcpStream, String) {
        let (mut stream, _) = soon("dial", self.listener.accept()).await.expect("accepts");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(soon("request", stream.read_u8()).await.expect("request is whole"));
        }
        (stream, String::from_utf8(request).expect("request is text"))
    }

    /// The next stream, with its hello and the first word of what is held.
    pub async fn accept(&self) -> Session {
        let (mut stream, request) = self.dialed().await;
        assert!(request.starts_with(&format!("GET {GATEWAY_PATH} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains(&format!("Authorization: Bearer {}\r\n", self.token)));
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {PROTOCOL}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("answers");
        let mut session = Session { stream, decoder: Decoder::default(), held: 0 };
        let FromGateway::Hello { gateway, address, routes, .. } = session.next().await else {
            panic!("hello is first");
        };
        assert_eq!((&*gateway, address), ("h1", HERE.to_string()));
        session.held = routes;
        assert_eq!(session.took().await.0, routes, "it tells what it holds");
        session
    }

    /// Refuses the next dial.
    pub async fn refuse(&self, status: &str) {
        let (mut stream, _) = self.dialed().await;
        let answer = format!("HTTP/1.1 {status}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("answers");
    }

    /// Takes the next dial's stream, then refuses it in a frame.
    pub async fn refuse_within(&self, reason: &str) {
        let mut session = self.accept().await;
        let refused = ToGateway::Refused { reason: reason.to_owned() };
        session.stream.write_all(&wire::encode(&refused)).await.expect("sends");
        let mut rest = Vec::new();
        // It may be reset, for beats that were not read.
        let _: Result<_, _> = soon("end", session.stream.read_to_end(&mut rest)).await;
    }
}

/// One stream. Dropped, it ends.
pub struct Session {
    stream: TcpStream,
    decoder: Decoder,
    /// The sequence its hello told.
    pub held: u64,
}

impl Session {
    pub async fn next(&mut self) -> FromGateway {
        self.try_next().await.expect("stream is open")
    }

    async fn try_next(&mut self) -> Option<FromGateway> {
        loop {
            if let Some(message) = self.decoder.message().expect("frames are whole") {
                return Some(message);
            }
            let mut buffer = vec![0; 4096];
            match soon("message", self.stream.read(&mut buffer)).await {
                Ok(read) if read > 0 => self.decoder.push(&buffer[..read]),
                _ => return None,
            }
        }
    }

    /// The next word of routes taken: their sequence, and the ports that failed.
    pub async fn took(&mut self) -> (u64, Vec<(u16, String)>) {
        soon("took", async {
            loop {
                if let FromGateway::Took { routes, failed } = self.next().await {
                    return (routes, failed);
                }
            }
        })
        .await
    }

    /// Waits for a beat with these counts: connections open, accepted, refused.
    pub async fn beat(&mut self, expected: (u64, u64, u64)) {
        let mut last = None;
        let beats = async {
            while last != Some(expected) {
                if let FromGateway::Beat { open, accepted, refused } = self.next().await {
                    last = Some((open, accepted, refused));
                }
            }
        };
        let came = timeout(PATIENCE, beats).await.is_ok();
        assert!(came, "no beat of {expected:?}, the last was {last:?}");
    }

    /// Sends routes; false when the gateway is gone.
    pub async fn send(&mut self, routes: u64, all: Vec<Route>) -> bool {
        self.frame(ToGateway::Routes { routes, whole: true, changed: all, gone: Vec::new() }).await
    }

    /// Sends any message; false when the gateway is gone.
    pub async fn frame(&mut self, message: ToGateway) -> bool {
        let frame = wire::encode(&message);
        self.stream.write_all(&frame).await.is_ok()
    }

    /// Sends routes and awaits the answer.
    pub async fn order(&mut self, routes: u64, all: Vec<Route>) -> (u64, Vec<(u16, String)>) {
        assert!(self.send(routes, all).await, "stream is open");
        self.took().await
    }

    /// Sends what changed and awaits the answer.
    pub async fn update(&mut self, routes: u64, changed: Vec<Route>, gone: Vec<ServiceId>) {
        let message = ToGateway::Routes { routes, whole: false, changed, gone };
        assert!(self.frame(message).await, "stream is open");
        assert_eq!(self.took().await.0, routes);
    }

    /// The highest sequence that was taken, once the gateway is gone.
    pub async fn last_took(&mut self) -> u64 {
        let mut last = self.held;
        while let Some(message) = self.try_next().await {
            if let FromGateway::Took { routes, .. } = message {
                last = last.max(routes);
            }
        }
        last
    }
}
