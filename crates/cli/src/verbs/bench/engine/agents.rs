//! Agents of many hosts in one process: streams that beat, and some whose members die. How soon that is known is
//! the time from a death to the moment when the controller's events tell of it, less what the rule allows: nothing
//! for a process that its agent reports dead and for a stream that ends, one and a half beats for a host that
//! falls silent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use evenkeel_core::digest::Digest;
use evenkeel_core::member::State;
use evenkeel_core::report::{FromAgent, Member, ToAgent, digest};
use evenkeel_core::time::Time;
use evenkeel_core::wire::{self, AGENT_PATH, Decoder, Upgrade, upgrade_answer, upgrade_request};
use evenkeel_sim::obedient;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::process::rounded;
use crate::failure::{Failure, Kind};
use crate::print;

/// A host beats once in so long.
const BEAT: Duration = Duration::from_secs(1);
/// A host that has not beaten for so long is late by the default policy.
const LATE: Duration = Duration::from_millis(1500);
/// Parts of a beat's interval in which some of the hosts beat.
const SLOTS: usize = 200;
/// Streams that are opened at once.
const DIALLING: usize = 512;
/// A host that is not let in dials again after a pause, for so long.
const DIALS_FOR: Duration = Duration::from_secs(120);
const DIAL_PAUSE: Duration = Duration::from_millis(200);
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

/// What is asked of one process of agents.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Hosts, by number.
    pub hosts: Range<u32>,
    /// Deaths of each sort, when they are asked for.
    pub deaths: usize,
}

/// Dials in, says `ready`, and beats until its input ends; a line on it has members die, and what came of it
/// is said when all of it is known.
pub fn run(dir: &Path, asked: &Asked) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(all(dir, asked))
}

/// Where the controller is, and what lets in.
fn controller(dir: &Path) -> Result<(SocketAddr, String), Failure> {
    let text = std::fs::read_to_string(dir.join("controller.json"))?;
    let found: Value = serde_json::from_str(&text).map_err(anyhow::Error::from)?;
    let of = |name: &str| found[name].as_str().map(str::to_owned);
    let address = of("address").and_then(|address| address.parse().ok());
    address
        .zip(of("token"))
        .ok_or_else(|| Failure::new(Kind::Failed, "controller.json names no address and token"))
}

async fn all(dir: &Path, asked: &Asked) -> Result<(), Failure> {
    let (address, token) = controller(dir)?;
    let room = Arc::new(Semaphore::new(DIALLING));
    let mut dialling = JoinSet::new();
    let count = u32::try_from(asked.hosts.len()).unwrap_or(u32::MAX);
    for n in 0..count {
        // Hosts of all cells at once, as after a start.
        let host = asked.hosts.start + scattered(n, count);
        let (room, token) = (Arc::clone(&room), token.clone());
        dialling.spawn(async move {
            let _held = room.acquire().await.map_err(anyhow::Error::from)?;
            dial_until(host, address, &token).await
        });
    }
    let mut agents = Vec::new();
    let (die, mut wanted) = mpsc::channel::<()>(1);
    let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        for _ in lines {
            let _ = die.blocking_send(());
        }
        // Whoever waited for it may have failed.
        let _ = end.send(());
    });
    let mut slot = 0;
    let mut ticks = tokio::time::interval(BEAT / u32::try_from(SLOTS).unwrap_or(1));
    let mut deaths = None;
    loop {
        tokio::select! {
            // Who is in beats while others still dial.
            Some(dialled) = dialling.join_next() => {
                agents.push(dialled.map_err(anyhow::Error::from)??);
                if dialling.is_empty() {
                    print::line("ready");
                }
            }
            _ = ticks.tick() => {
                beat(&mut agents, slot)?;
                slot = (slot + 1) % SLOTS;
            }
            Some(()) = wanted.recv() => {
                deaths = Some(Deaths::new(asked.deaths, address, &token).await?);
            }
            _ = &mut ended => return Ok(()),
        }
        let Some(under_way) = &mut deaths else { continue };
        under_way.step(&mut agents)?;
        if let Some(figures) = under_way.figures() {
            print::line(&figures.to_string());
            deaths = None;
        }
    }
}

/// Each number below a count once, far from the one before.
fn scattered(n: u32, count: u32) -> u32 {
    // A step that shares no divisor with the count, by the golden ratio.
    let gcd = |mut a: u32, mut b: u32| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let step = (count / 8 * 5 + 1..).find(|step| gcd(*step, count) == 1).unwrap_or(1);
    let at = u64::from(n) * u64::from(step) % u64::from(count);
    u32::try_from(at).unwrap_or(n)
}

/// The beats of one slot.
fn beat(agents: &mut [Agent], slot: usize) -> Result<(), Failure> {
    for agent in agents.iter_mut().skip(slot).step_by(SLOTS).filter(|agent| !agent.silent) {
        let Some(stream) = &agent.stream else { continue };
        agent.beats += 1;
        agent.beat = Instant::now();
        let (number, digest) = (agent.beats, agent.digest);
        write(stream, &agent.name, &FromAgent::Beat { number, digest, answer: false })?;
    }
    Ok(())
}

/// Writes what is small beside a socket's buffer.
fn write(stream: &TcpStream, name: &str, message: &FromAgent) -> Result<(), Failure> {
    let frame = wire::encode(message);
    let sent = stream.try_write(&frame).is_ok_and(|length| length == frame.len());
    let text = || format!("the stream of {name} takes no more: the controller does not read it");
    if sent { Ok(()) } else { Err(Failure::new(Kind::Failed, text())) }
}

/// Dials again where a controller that has much to do ended the stream, as agents do. One that says nothing for too
/// long has failed.
async fn dial_until(host: u32, address: SocketAddr, token: &str) -> Result<Agent, Failure> {
    let began = Instant::now();
    loop {
        let left = DIALS_FOR.saturating_sub(began.elapsed());
        let late = |_| {
            let text = format!("host {host} was given no goals within {} s", DIALS_FOR.as_secs());
            Failure::new(Kind::Failed, text)
        };
        match tokio::time::timeout(left, dial(host, address, token)).await.map_err(late)? {
            Err(error) if began.elapsed() < DIALS_FOR => {
                print::note(&format!("{error}; it dials again"));
                tokio::time::sleep(DIAL_PAUSE).await;
            }
            dialled => return dialled,
        }
    }
}

/// Opens a stream, does as it is told and says so, and goes on listening.
async fn dial(host: u32, address: SocketAddr, token: &str) -> Result<Agent, Failure> {
    let hello = obedient::host_hello(u64::from(host));
    let name = hello.host.clone();
    let bad = |what: String| Failure::new(Kind::Failed, format!("the stream of {name}: {what}"));
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = upgrade_request(AGENT_PATH, &address.to_string(), token);
    stream.write_all(&request).await?;
    let (mut bytes, mut decoder) = (Vec::new(), Decoder::default());
    let mut chunk = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut chunk).await?;
        bytes.extend_from_slice(&chunk[..length]);
        match upgrade_answer(&bytes) {
            Upgrade::Open { frames_at } => break decoder.push(&bytes[frames_at..]),
            Upgrade::Incomplete if length > 0 => {}
            other => return Err(bad(format!("{other:?}"))),
        }
    }
    stream.write_all(&wire::encode(&FromAgent::Hello(hello))).await?;
    let members: Vec<Member> = loop {
        match decoder.message::<ToAgent>().map_err(anyhow::Error::from)? {
            Some(ToAgent::Goals { whole: true, goals }) => {
                break goals.iter().map(|goal| obedient::ready(goal, Time(0))).collect();
            }
            Some(ToAgent::Refused { reason }) => return Err(bad(reason)),
            Some(_) => {}
            None => {
                let length = stream.read(&mut chunk).await?;
                if length == 0 {
                    return Err(bad("it was closed".to_owned()));
                }
                decoder.push(&chunk[..length]);
            }
        }
    };
    let digest = digest(&members);
    let member = members.first().cloned();
    let report = FromAgent::members(true, members);
    stream.write_all(&wire::encode(&report)).await?;
    let stream = Arc::new(stream);
    tokio::spawn(hear(Arc::downgrade(&stream)));
    let (stream, beat) = (Some(stream), Instant::now());
    Ok(Agent { name, stream, member, digest, beats: 0, silent: false, beat })
}

/// Questions and new goals are taken and left: these agents only ever say what they said.
async fn hear(stream: Weak<TcpStream>) {
    let mut chunk = [0; 4096];
    while let Some(stream) = stream.upgrade() {
        match tokio::time::timeout(Duration::from_secs(1), stream.readable()).await {
            Ok(Ok(())) if !matches!(stream.try_read(&mut chunk), Ok(0)) => {}
            Err(_) => {}
            _ => return,
        }
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
    async fn new(each: usize, address: SocketAddr, token: &str) -> Result<Self, Failure> {
        let (told, notes) = mpsc::channel(1 << 16);
        listen(address, token, told).await?;
        Ok(Self {
            notes,
            open: Default::default(),
            over_ms: Default::default(),
            left: each * SORTS.len(),
            next: Instant::now(),
            last: None,
        })
    }

    /// Has the next one die if it is time, and takes in what is known.
    fn step(&mut self, agents: &mut [Agent]) -> Result<(), Failure> {
        while self.left > 0 && self.next <= Instant::now() {
            self.left -= 1;
            self.next += APART;
            // Far apart from each other in every cell.
            let at = self.left * 7919 % agents.len();
            self.kill(self.left % SORTS.len(), &mut agents[at])?;
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
        Ok(())
    }

    fn kill(&mut self, sort: usize, agent: &mut Agent) -> Result<(), Failure> {
        let (Some(stream), Some(member)) = (agent.stream.clone(), agent.member.take()) else {
            return Ok(());
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
                let report = FromAgent::members(false, vec![dead]);
                write(&stream, &agent.name, &report)?;
            }
            1 => {
                self.open[1].insert(agent.name.clone(), now);
                agent.stream = None;
                let both = rustix::net::Shutdown::Both;
                rustix::net::shutdown(&*stream, both).map_err(std::io::Error::from)?;
            }
            _ => {
                self.open[2].insert(agent.name.clone(), agent.beat + LATE);
                agent.silent = true;
            }
        }
        Ok(())
    }

    /// Every time, by sort, once all is known or can be no more; and how many are missed.
    fn figures(&mut self) -> Option<Value> {
        let missed: usize = self.open.iter().map(BTreeMap::len).sum();
        let over = self.last.is_some_and(|last| last.elapsed() > KNOWN_MAX);
        if self.left > 0 || (missed > 0 && !over) {
            return None;
        }
        let mut sorts = serde_json::Map::new();
        for (name, over) in SORTS.iter().zip(&self.over_ms) {
            sorts.insert((*name).to_owned(), json!(over));
        }
        sorts.insert("missed".to_owned(), missed.into());
        Some(Value::Object(sorts))
    }
}

/// What several processes of agents measured, in one.
pub fn spread_of(parts: &[Value]) -> Value {
    let mut figures = serde_json::Map::new();
    let mut all = Vec::new();
    for name in SORTS {
        let of = |part: &Value| part[name].as_array().cloned().unwrap_or_default();
        let mut times: Vec<f64> = parts.iter().flat_map(of).filter_map(|ms| ms.as_f64()).collect();
        all.extend_from_slice(&times);
        figures.insert(name.to_owned(), spread(&mut times));
    }
    figures.insert("all".to_owned(), spread(&mut all));
    let missed: u64 = parts.iter().filter_map(|part| part["missed"].as_u64()).sum();
    figures.insert("missed".to_owned(), missed.into());
    Value::Object(figures)
}

fn spread(times: &mut [f64]) -> Value {
    times.sort_by(f64::total_cmp);
    let of = |percent: usize| {
        let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(at).map(|ms| rounded(*ms, 1))
    };
    json!({ "deaths": times.len(), "p50": of(50), "p99": of(99), "max": of(100) })
}

/// Hears of everything that is journalled from now on.
async fn listen(address: SocketAddr, token: &str, told: mpsc::Sender<Note>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    if !first.contains("200") {
        return Err(Failure::new(Kind::Failed, format!("the controller tells no events: {first}")));
    }
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let Some(json) = line.strip_prefix("data:") else { continue };
            let Ok(entry) = serde_json::from_str::<Value>(json) else { continue };
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let note = Note { at: Instant::now(), subject: text("subject"), text: text("text") };
            if told.send(note).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_dials_once() {
        for count in [1, 2, 7, 200, 9_850] {
            let mut all: Vec<u32> = (0..count).map(|n| scattered(n, count)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
