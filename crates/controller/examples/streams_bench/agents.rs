//! All agents of a fleet in one process: streams that beat, and some whose members die.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::digest::Digest;
use evenkeel_core::member::State;
use evenkeel_core::report::{FromAgent, Member, ToAgent, digest};
use evenkeel_core::wire::{self, AGENT_PATH, Decoder, Upgrade, upgrade_answer, upgrade_request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use crate::Args;
use crate::fill::{hello, ready};

/// A host beats once in so long.
const BEAT: Duration = Duration::from_secs(1);
/// A host that has not beaten for so long is late by the default policy.
const LATE: Duration = Duration::from_millis(1500);
/// Parts of a beat's interval in which some of the hosts beat.
const SLOTS: usize = 200;
/// Streams that are opened at once.
const DIALLING: usize = 1_024;
/// Deaths are so far apart, all sorts together: the fleet as a whole stays well.
const APART: Duration = Duration::from_millis(20);
/// Every death is known by then, or counts as missed.
const KNOWN_MAX: Duration = Duration::from_secs(10);

/// An agent that has said everything.
struct Agent {
    name: String,
    stream: Option<Arc<TcpStream>>,
    /// One of its members, to be reported dead.
    member: Option<Member>,
    digest: Digest,
    beats: u64,
    silent: bool,
    /// When it beat last.
    beat: Instant,
}

/// Something that the journal tells of.
struct Note {
    at: Instant,
    subject: String,
    text: String,
}

pub fn run(args: &Args) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(all(args));
}

async fn all(args: &Args) {
    let at = std::fs::read_to_string(args.dir.join("at")).expect("an address");
    let (address, token) = at.split_once(' ').expect("an address and a token");
    let address: SocketAddr = address.parse().expect("an address");
    let room = Arc::new(Semaphore::new(DIALLING));
    let mut dialling = Vec::new();
    for host in 0..args.streams {
        let (room, token) = (Arc::clone(&room), token.to_owned());
        dialling.push(tokio::spawn(async move {
            let _held = room.acquire().await.expect("it stays");
            dial(host, address, &token).await
        }));
    }
    let mut agents = Vec::new();
    for dialled in dialling {
        agents.push(dialled.await.expect("it dials"));
    }
    println!("ready");
    let (die, mut asked) = mpsc::channel::<()>(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if line.is_ok_and(|line| line == "die") && die.blocking_send(()).is_err() {
                return;
            }
        }
    });
    let mut slot = 0;
    let mut ticks = tokio::time::interval(BEAT / u32::try_from(SLOTS).expect("few"));
    let mut deaths = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                beat(&mut agents, slot);
                slot = (slot + 1) % SLOTS;
            }
            Some(()) = asked.recv() => deaths = Some(Deaths::new(args, address, token).await),
        }
        let Some(under_way) = &mut deaths else { continue };
        under_way.step(&mut agents);
        if let Some(figures) = under_way.figures() {
            println!("{figures}");
            deaths = None;
        }
    }
}

/// The beats of one slot.
fn beat(agents: &mut [Agent], slot: usize) {
    for agent in agents.iter_mut().skip(slot).step_by(SLOTS).filter(|agent| !agent.silent) {
        let Some(stream) = &agent.stream else { continue };
        agent.beats += 1;
        agent.beat = Instant::now();
        let (number, digest) = (agent.beats, agent.digest);
        let frame = wire::encode(&FromAgent::Beat { number, digest, answer: false });
        let sent = stream.try_write(&frame);
        assert!(sent.is_ok_and(|length| length == frame.len()), "{} is not read", agent.name);
    }
}

/// Opens a stream, does as it is told and says so, and goes on listening.
async fn dial(host: u32, address: SocketAddr, token: &str) -> Agent {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let request = upgrade_request(AGENT_PATH, &address.to_string(), token);
    stream.write_all(&request).await.expect("it listens");
    let (mut bytes, mut decoder) = (Vec::new(), Decoder::default());
    let mut chunk = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut chunk).await.expect("an answer");
        bytes.extend_from_slice(&chunk[..length]);
        match upgrade_answer(&bytes) {
            Upgrade::Open { frames_at } => break decoder.push(&bytes[frames_at..]),
            Upgrade::Incomplete if length > 0 => {}
            other => panic!("{other:?}"),
        }
    }
    let hello = hello(host);
    let name = hello.host.clone();
    stream.write_all(&wire::encode(&FromAgent::Hello(hello))).await.expect("it listens");
    let members: Vec<Member> = loop {
        match decoder.message::<ToAgent>().expect("frames") {
            Some(ToAgent::Goals { whole: true, goals }) => break goals.iter().map(ready).collect(),
            Some(ToAgent::Refused { reason }) => panic!("{reason}"),
            Some(_) => {}
            None => {
                let length = stream.read(&mut chunk).await.expect("it answers");
                assert!(length > 0, "{name} was closed");
                decoder.push(&chunk[..length]);
            }
        }
    };
    let digest = digest(&members);
    let member = members.first().cloned();
    let report = FromAgent::Members { whole: true, members };
    stream.write_all(&wire::encode(&report)).await.expect("it listens");
    let stream = Arc::new(stream);
    let listening = Arc::downgrade(&stream);
    tokio::spawn(async move {
        let mut chunk = [0; 4096];
        // Its questions and new goals are taken and left: these agents only ever say what they said.
        while let Some(stream) = listening.upgrade() {
            match tokio::time::timeout(Duration::from_secs(1), stream.readable()).await {
                Ok(Ok(())) if !matches!(stream.try_read(&mut chunk), Ok(0)) => {}
                Err(_) => {}
                _ => return,
            }
        }
    });
    Agent {
        name,
        stream: Some(stream),
        member,
        digest,
        beats: 0,
        silent: false,
        beat: Instant::now(),
    }
}

/// The sorts of deaths.
const SORTS: [&str; 3] = ["reported", "closed", "silent"];

/// Deaths under way, and when they were known.
struct Deaths {
    notes: mpsc::Receiver<Note>,
    /// Of each sort, by whom the journal tells of, and since when it could.
    open: [BTreeMap<String, Instant>; 3],
    over_ms: [Vec<f64>; 3],
    left: usize,
    next: Instant,
    last: Option<Instant>,
}

impl Deaths {
    async fn new(args: &Args, address: SocketAddr, token: &str) -> Self {
        let each = match args.deaths {
            0 => (args.streams / 100).max(50),
            deaths => deaths,
        };
        let (told, notes) = mpsc::channel(1 << 16);
        listen(address, token, told).await;
        Self {
            notes,
            open: Default::default(),
            over_ms: Default::default(),
            left: each as usize * SORTS.len(),
            next: Instant::now(),
            last: None,
        }
    }

    /// Has the next one die if it is time, and takes in what is known.
    fn step(&mut self, agents: &mut [Agent]) {
        while self.left > 0 && self.next <= Instant::now() {
            self.left -= 1;
            self.next += APART;
            // Far apart from each other in every cell.
            let at = self.left * 7919 % agents.len();
            self.kill(self.left % SORTS.len(), &mut agents[at]);
            self.last = Some(Instant::now());
        }
        while let Ok(note) = self.notes.try_recv() {
            for (sort, open) in self.open.iter_mut().enumerate() {
                let fits = if sort == 0 { "-> failed" } else { "-> suspect" };
                if note.text.contains(fits)
                    && let Some(could) = open.remove(&note.subject)
                {
                    let over = note.at.saturating_duration_since(could);
                    self.over_ms[sort].push(over.as_secs_f64() * 1e3);
                }
            }
        }
    }

    fn kill(&mut self, sort: usize, agent: &mut Agent) {
        let (Some(stream), Some(member)) = (agent.stream.clone(), agent.member.take()) else {
            return;
        };
        let now = Instant::now();
        match sort {
            0 => {
                self.open[0].insert(member.identity.name.as_str().to_owned(), now);
                let deaths = member.deaths + 1;
                let dead = Member {
                    state: State::Failed,
                    pid: None,
                    deaths,
                    write_proven: false,
                    ..member
                };
                let report = FromAgent::Members { whole: false, members: vec![dead] };
                let frame = wire::encode(&report);
                let sent = stream.try_write(&frame);
                assert!(sent.is_ok_and(|length| length == frame.len()), "it is read");
            }
            1 => {
                self.open[1].insert(agent.name.clone(), now);
                agent.stream = None;
                let socket = rustix::net::Shutdown::Both;
                rustix::net::shutdown(&*stream, socket).expect("an open socket");
            }
            _ => {
                self.open[2].insert(agent.name.clone(), agent.beat + LATE);
                agent.silent = true;
            }
        }
    }

    /// What it came to, once all is known or can be no more.
    fn figures(&mut self) -> Option<String> {
        let missed: usize = self.open.iter().map(BTreeMap::len).sum();
        let over = self.last.is_some_and(|last| last.elapsed() > KNOWN_MAX);
        if self.left > 0 || (missed > 0 && !over) {
            return None;
        }
        let mut all: Vec<f64> = self.over_ms.iter().flatten().copied().collect();
        let mut sorts = serde_json::Map::new();
        for (name, over) in SORTS.iter().zip(&mut self.over_ms) {
            sorts.insert((*name).to_owned(), spread(over));
        }
        sorts.insert("all".to_owned(), spread(&mut all));
        sorts.insert("missed".to_owned(), missed.into());
        Some(serde_json::Value::Object(sorts).to_string())
    }
}

fn spread(times: &mut [f64]) -> serde_json::Value {
    times.sort_by(f64::total_cmp);
    let of = |percent: usize| {
        let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(at).map(|ms| (ms * 10.0).round() / 10.0)
    };
    serde_json::json!({ "deaths": times.len(), "p50": of(50), "p99": of(99), "max": of(100) })
}

/// Hears of everything that is journalled from now on.
async fn listen(address: SocketAddr, token: &str, told: mpsc::Sender<Note>) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next_line().await.expect("an answer").expect("a line");
    assert!(first.contains("200"), "{first}");
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let Some(json) = line.strip_prefix("data:") else { continue };
            let entry: serde_json::Value = serde_json::from_str(json).expect("an entry");
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let note = Note { at: Instant::now(), subject: text("subject"), text: text("text") };
            if told.send(note).await.is_err() {
                return;
            }
        }
    });
    std::io::stdout().flush().expect("a place for words");
}
