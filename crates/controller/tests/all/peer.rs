//! Agents and gateways as far as a controller can tell: real connections, real frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::backup::job::Missed;
use evenkeel_core::goal::{Goal, Want};
use evenkeel_core::id::ServiceId;
use evenkeel_core::member::State;
use evenkeel_core::report::{FromAgent, Hello, Member, ToAgent, digest};
use evenkeel_core::route::{FromGateway, ToGateway};
use evenkeel_core::wire::{self, Decoder, Upgrade};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PATIENCE: Duration = Duration::from_secs(20);

/// One stream.
pub struct Peer {
    stream: TcpStream,
    decoder: Decoder,
}

impl Peer {
    pub fn agent(address: SocketAddr, token: &str) -> Self {
        Self::open(address, wire::AGENT_PATH, token).expect("a stream")
    }

    pub fn gateway(address: SocketAddr, token: &str) -> Self {
        Self::open(address, wire::GATEWAY_PATH, token).expect("a stream")
    }

    /// Opens a stream, or gives the status line of the refusal.
    pub fn open(address: SocketAddr, path: &str, token: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let request = wire::upgrade_request(path, &address.to_string(), token);
        stream.write_all(&request).expect("a request");
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match wire::upgrade_answer(&bytes) {
                Upgrade::Incomplete => {
                    let length = stream.read(&mut chunk).expect("an answer");
                    assert!(length > 0, "the connection ended: {bytes:?}");
                    bytes.extend_from_slice(&chunk[..length]);
                }
                Upgrade::Open { frames_at } => {
                    let mut decoder = Decoder::default();
                    decoder.push(&bytes[frames_at..]);
                    return Ok(Self { stream, decoder });
                }
                Upgrade::Refused { status } => return Err(status),
            }
        }
    }

    pub fn send<T: Serialize>(&mut self, message: &T) {
        self.stream.write_all(&wire::encode(message)).expect("it listens");
    }

    pub fn try_send<T: Serialize>(&mut self, message: &T) -> std::io::Result<()> {
        self.stream.write_all(&wire::encode(message))
    }

    /// The next message; `None` when the stream ended.
    pub fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.within(PATIENCE).expect("a message in time")
    }

    /// A message or the end (`Some(None)`) within a time, or nothing.
    pub fn within<T: DeserializeOwned>(&mut self, long: Duration) -> Option<Option<T>> {
        let deadline = Instant::now() + long;
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some(message) = self.decoder.message().expect("frames") {
                return Some(Some(message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("a time-out");
            match self.stream.read(&mut chunk) {
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
}

/// An agent that says that whatever it is told to be, is.
pub struct Agent {
    pub peer: Peer,
    members: Vec<Member>,
    beats: u64,
}

impl Agent {
    /// An agent that is let in; it has read its welcome and its first goals.
    pub fn hello(mut peer: Peer, host: &str) -> Self {
        peer.send(&FromAgent::Hello(hello(host)));
        let welcome = peer.next::<ToAgent>();
        assert!(matches!(welcome, Some(ToAgent::Welcome { .. })), "{welcome:?}");
        Self { peer, members: Vec::new(), beats: 0 }
    }

    pub fn report(&mut self) {
        self.peer.send(&FromAgent::members(true, self.members.clone()));
    }

    /// What it has, to be taken over by one that dials anew.
    pub fn members(self) -> Vec<Member> {
        self.members
    }

    /// Has what another one had, and says so.
    pub fn take_over(&mut self, members: Vec<Member>) {
        self.members = members;
        self.report();
    }

    /// What its members have of log, this repository takes nothing of from now on; or all take all.
    pub fn misses(&mut self, repository: Option<&str>) {
        let missed = |name: &str| Missed { repository: name.to_owned(), over: false };
        for member in &mut self.members {
            let archive = member.archive.get_or_insert_default();
            archive.missed = repository.map(missed).into_iter().collect();
        }
        self.report();
    }

    pub fn beat(&mut self) {
        self.beats += 1;
        let digest = digest(&self.members);
        self.peer.send(&FromAgent::Beat { number: self.beats, digest, answer: false });
    }

    /// The next goals, whatever else comes before them.
    pub fn goals(&mut self) -> Vec<Arc<Goal>> {
        loop {
            match self.peer.next::<ToAgent>() {
                Some(ToAgent::Goals { goals, .. }) if !goals.is_empty() => return goals,
                Some(_) => {}
                None => panic!("the stream ended"),
            }
        }
    }

    /// Does as the next goals say, and reports it.
    pub fn obey(&mut self) {
        for goal in self.goals() {
            self.members.retain(|member| member.member != goal.member);
            self.members.push(obeyed(&goal));
        }
        self.members.sort_by_key(|member| member.member);
        self.report();
    }
}

pub fn hello(host: &str) -> Hello {
    Hello {
        host: host.to_owned(),
        zone: "a".to_owned(),
        rack: None,
        address: "127.0.0.1".to_owned(),
        pid: 1,
        boot: "boot".to_owned(),
        release: "0.1.0".to_owned(),
        image: Some("image".to_owned()),
        version: None,
        store: None,
        checks: Vec::new(),
        poolers: false,
    }
}

fn obeyed(goal: &Goal) -> Member {
    let state = match goal.want {
        Want::Running => State::Ready,
        Want::Stopped => State::Stopped,
        Want::Sealed => State::Sealed,
        Want::Removed => State::Gone,
    };
    let runs = goal.want == Want::Running;
    Member {
        member: goal.member,
        incarnation: goal.incarnation,
        pledged: goal.term,
        applied: (goal.term, goal.revision),
        state,
        pid: runs.then_some(7),
        restarts: goal.restarts,
        deaths: 0,
        write_proven: runs,
        trouble: None,
        refused: None,
        port_taken: false,
        data_dir: format!("/data/m{}", goal.member.0),
        checks: Vec::new(),
        unread: evenkeel_core::check::Unread::default(),
        identity: goal.identity.clone(),
        replication: None,
        archive: None,
        import: None,
        script: None,
    }
}

/// A gateway that takes every route.
pub struct Gateway {
    pub peer: Peer,
    /// Services it was given routes of by [`Gateway::take_what_came`].
    pub led_to: Vec<ServiceId>,
}

impl Gateway {
    pub fn hello(mut peer: Peer, name: &str) -> Self {
        peer.send(&gateway_hello(name));
        let mut gateway = Self { peer, led_to: Vec::new() };
        gateway.take();
        gateway
    }

    /// Takes the routes that came, if any did.
    pub fn take_what_came(&mut self) {
        let soon = Duration::from_millis(1);
        while let Some(Some(ToGateway::Routes { routes, changed, .. })) = self.peer.within(soon) {
            self.led_to.extend(changed.iter().map(|route| route.service));
            self.peer.send(&FromGateway::Took { routes, failed: Vec::new() });
        }
    }

    /// Takes the next routes.
    pub fn take(&mut self) {
        match self.peer.next::<ToGateway>() {
            Some(ToGateway::Routes { routes, .. }) => {
                self.peer.send(&FromGateway::Took { routes, failed: Vec::new() });
            }
            other => panic!("{other:?}"),
        }
    }
}

pub fn gateway_hello(name: &str) -> FromGateway {
    let (gateway, address) = (name.to_owned(), "127.0.0.1".to_owned());
    FromGateway::Hello { gateway, address, pid: 1, routes: 0 }
}
