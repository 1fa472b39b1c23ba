//! A controller as far as an agent can tell: one port, streams, what it says and hears.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::check::Result as CheckResult;
use evenkeel_core::goal::{Goal, Identity, RestartBudget, Role, StopMode, StoreId, Want};
use evenkeel_core::id::{HostId, Incarnation, MemberId, Revision, ServiceId, Term};
use evenkeel_core::member::State;
use evenkeel_core::name::ServiceName;
use evenkeel_core::report::{FromAgent, Hello, Member, ToAgent};
use evenkeel_core::time::Span;
use evenkeel_core::wire::{self, Decoder};

use crate::toy::{Host, PATIENCE};

pub const TOKEN: &str = "a good token";
pub const STORE: &str = "store";

/// A goal for a member; newer ones have a higher revision.
pub fn goal(member: u32, revision: u32, want: Want) -> Goal {
    Goal {
        store: StoreId(STORE.to_owned()),
        succeeds: Vec::new(),
        identity: Identity {
            service: ServiceId(member),
            name: ServiceName::new("orders").expect("a good name"),
            kind: "postgres".to_owned(),
            plan: "dev".to_owned(),
            endpoint_port: 21000,
            members: vec![(MemberId(member), HostId(1))],
            key: "k".to_owned(),
        }
        .into(),
        member: MemberId(member),
        incarnation: Incarnation(1),
        term: Term(1),
        revision: Revision(revision),
        want,
        role: Role::alone(),
        image: String::new(),
        address: "127.0.0.1".to_owned(),
        port: 21001,
        settings: Arc::default(),
        logins: Vec::new(),
        restarts: 0,
        stop: StopMode::Fast,
        ends_soon: false,
        fence: None,
        budget: RestartBudget { tries_max: 5, window: Span::mins(10), backoff: Span::secs(1) },
        archive: None,
        flush: 0,
        seed: None,
        import: None,
        job: None,
        script: None,
    }
}

/// A port that agents dial.
pub struct Controller {
    listener: TcpListener,
}

impl Controller {
    /// Listens, and tells the host's agents where.
    pub fn of(host: &Host) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        host.point_at(&address, TOKEN);
        Self { listener }
    }

    pub fn address(&self) -> String {
        self.listener.local_addr().expect("an address").to_string()
    }

    /// The next stream; who comes with another token is turned away.
    pub fn accept(&self) -> Stream {
        loop {
            let (mut io, _) = self.listener.accept().expect("a connection");
            io.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                io.read_exact(&mut byte).expect("a request");
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).expect("text");
            assert!(head.starts_with(&format!("GET {} ", wire::AGENT_PATH)), "{head}");
            if !head.contains(&format!("Authorization: Bearer {TOKEN}\r\n")) {
                io.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").expect("an answer");
                continue;
            }
            io.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").expect("an answer");
            return Stream::begin(io);
        }
    }

    /// The next stream, welcomed.
    pub fn welcome(&self) -> Stream {
        let mut stream = self.accept();
        stream.welcome(STORE, 1);
        stream
    }
}

/// One agent's stream, and what it reported.
pub struct Stream {
    io: TcpStream,
    decoder: Decoder,
    pub hello: Option<Hello>,
    pub known: BTreeMap<MemberId, Member>,
}

impl Stream {
    /// A stream that said hello.
    fn begin(io: TcpStream) -> Self {
        let known = BTreeMap::new();
        let mut stream = Self { io, decoder: Decoder::default(), hello: None, known };
        match stream.next() {
            Some(FromAgent::Hello(hello)) => Self { hello: Some(hello), ..stream },
            other => panic!("first came {other:?}"),
        }
    }

    /// Listens until a host check fires, in the hello or later.
    pub fn finding(&mut self, name: &str) -> CheckResult {
        let find = |checks: &[CheckResult]| checks.iter().find(|c| c.check == name).cloned();
        match self.hello.as_ref().and_then(|hello| find(&hello.checks)) {
            Some(found) => found,
            None => self.hear(name, |message| match message {
                FromAgent::Host { checks, .. } => find(checks),
                _ => None,
            }),
        }
    }

    /// Listens to that many beats.
    pub fn beats(&mut self, count: u32) {
        let mut beats = 0;
        self.hear("beats", |message| {
            beats += u32::from(matches!(message, FromAgent::Beat { .. }));
            (beats == count).then_some(())
        });
    }

    pub fn send(&mut self, message: &ToAgent) {
        self.io.write_all(&wire::encode(message)).expect("it listens");
    }

    pub fn welcome(&mut self, store: &str, sequence: u64) {
        let store = (StoreId(store.to_owned()), sequence);
        self.send(&ToAgent::Welcome {
            checks: Box::default(),
            starts_max: None,
            host: HostId(1),
            store,
            beat: Span::millis(100),
            seal: None,
            succession: None,
        });
    }

    pub fn goals(&mut self, goals: &[Goal]) {
        self.send(&ToAgent::Goals {
            whole: false,
            goals: goals.iter().cloned().map(Arc::new).collect(),
        });
    }

    /// The next message; `None` when the stream ended.
    pub fn next(&mut self) -> Option<FromAgent> {
        self.within(PATIENCE).expect("a message in time")
    }

    /// A message, or the end, or nothing within a time.
    pub fn within(&mut self, long: Duration) -> Option<Option<FromAgent>> {
        let deadline = Instant::now() + long;
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some(message) = self.decoder.message().expect("frames") {
                if let FromAgent::Members { members, .. } = &message {
                    self.known.extend(members.iter().map(|m| (m.member, m.clone())));
                }
                return Some(Some(message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.io.set_read_timeout(Some(left)).expect("a time-out");
            match self.io.read(&mut chunk) {
                Ok(0) => return Some(None),
                Ok(length) => self.decoder.push(&chunk[..length]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    ErrorKind::ConnectionReset => return Some(None),
                    _ => panic!("{error}"),
                },
            }
        }
    }

    /// Listens until something that was said fits.
    pub fn hear<T>(&mut self, what: &str, mut fits: impl FnMut(&FromAgent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.next() {
                Some(message) => {
                    if let Some(found) = fits(&message) {
                        return found;
                    }
                }
                None => panic!("the stream ended before {what}"),
            }
        }
        panic!("not in time: {what}; known: {:?}", self.known);
    }

    /// Listens until a member's report fits.
    pub fn member(&mut self, id: u32, what: &str, fits: impl Fn(&Member) -> bool) -> Member {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(member) = self.known.get(&MemberId(id)).filter(|m| fits(m)) {
                return member.clone();
            }
            assert!(Instant::now() < deadline, "not in time: {what}; known: {:?}", self.known);
            assert!(self.next().is_some(), "the stream ended before {what}");
        }
    }

    pub fn ready(&mut self, id: u32) -> Member {
        self.member(id, "ready", |m| m.state == State::Ready && m.pid.is_some())
    }
}
