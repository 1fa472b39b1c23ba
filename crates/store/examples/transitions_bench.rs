//! Synced transitions a second, write-back, sealing and retention included, and a cold start after
//! it; prints one JSON object.
//!
//! A transition is one service's row and one journal entry. `--services` of them are spread over
//! 200 cells; each commit holds the turns of many cells, over distinct services.
//!
//! ```text
//! cargo run --release -p evenkeel-store --example transitions_bench -- --for 60 --services 1000000
//! ```
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel_core::id::CellId;
use evenkeel_core::journal::{Entry, Topic};
use evenkeel_core::row::{Key, Table, Write, Writes};
use evenkeel_core::time::Time;
use evenkeel_store::{Store, sqlite};

type Failure = Box<dyn std::error::Error>;

const CELLS: u64 = 200;
/// A commit holds the turns of so many cells.
const CELLS_A_COMMIT: u64 = 50;

struct Asked {
    seconds: u64,
    services: u64,
    batch: u64,
    dir: std::path::PathBuf,
    cold: bool,
    /// The cold start finds the longest permitted tail.
    longest: bool,
    retention: sqlite::Retention,
}

fn asked() -> Result<Asked, Failure> {
    let mut asked = Asked {
        seconds: 10,
        services: 1_000_000,
        batch: 4_000,
        dir: std::env::current_dir()?,
        cold: true,
        longest: false,
        retention: sqlite::Retention::default(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, Failure> {
            let text = words.next().ok_or_else(|| format!("{word} wants a number"))?;
            Ok(text.trim_end_matches('s').parse()?)
        };
        match word.as_str() {
            "--for" => asked.seconds = number()?,
            "--services" => asked.services = number()?,
            "--batch" => asked.batch = number()?,
            "--keep" => asked.retention.entries_max = number()?,
            "--longest-tail" => asked.longest = true,
            "--no-cold-start" => asked.cold = false,
            "--dir" => asked.dir = words.next().ok_or("--dir wants a directory")?.into(),
            other => {
                return Err(format!(
                    "{other} is none of --for, --services, --batch, --keep, --dir, --longest-tail, --no-cold-start"
                )
                .into());
            }
        }
    }
    Ok(asked)
}

/// A number that looks drawn, and is the same in every run.
fn drawn(mut of: u64) -> u64 {
    of = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    of = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    of = (of ^ (of >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ (of >> 31)
}

fn hex(out: &mut String, seed: u64, digits: usize) {
    for n in 0..digits / 16 {
        let _ = write!(out, "{:016x}", drawn(seed.wrapping_mul(31) + n as u64));
    }
}

/// A service's row as a cell of one member and an archive stores it, secrets and all.
fn row(service: u64, term: u64, at: u64) -> Vec<u8> {
    let (id, host) = (service / CELLS + 1, service / 50 + 1);
    let mut text = String::with_capacity(900);
    let _ = write!(
        text,
        "\u{1}{{\"id\":{id},\"name\":\"service-{service}\",\"kind\":\"postgres\",\"plan\":\"dev\",\"phase\":\"serving\",\"health\":\"healthy\",\"open\":true,\"endpoint_port\":{port},\"pooled_port\":0,\"since\":{at},\"term\":{term},\"members\":[{{\"id\":{id},\"host\":{host},\"incarnation\":{term},\"term\":{term},\"revision\":1,\"restarts\":0,\"port\":{member},\"want\":\"running\",\"part\":\"follows\",\"stop\":\"fast\",\"image\":0,\"goal\":{goal}}}],\"secret\":\"",
        port = 21_000 + id % 5_000 * 2,
        member = 21_001 + id % 5_000 * 2,
        goal = drawn(service ^ term << 32),
    );
    hex(&mut text, service, 160);
    let _ = write!(
        text,
        "\",\"operation\":null,\"runs\":null,\"paged\":false,\"archive\":{{\"generation\":1,\"key\":\""
    );
    hex(&mut text, service + 1_000_000_000, 64);
    text.push_str("\",\"wrapped\":\"");
    for n in 0..96 {
        let digit = drawn(service * 97 + n) % 64;
        text.push(char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[digit as usize],
        ));
    }
    text.push_str("\",\"backups\":[],\"flush\":0,\"put_away\":false,\"bare\":false}}");
    text.into_bytes()
}

fn entry(service: u64, term: u64, at: u64) -> Entry {
    Entry {
        at: Time(at),
        topic: Topic::Transition,
        subject: format!("service-{service}"),
        text: format!("member m{}: starting -> ready", service / CELLS + 1),
        evidence: vec![format!(
            "the agent of h{}: ready in {} ms",
            service / 50 + 1,
            200 + drawn(service ^ term) % 4_000
        )],
    }
}

/// The services in an order that looks drawn: a step that shares no divisor with their number.
struct Order {
    services: u64,
    step: u64,
    next: u64,
}

impl Order {
    fn new(services: u64) -> Self {
        let gcd = |mut a: u64, mut b: u64| {
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let step = (services / 10 * 6 + 1..).find(|step| gcd(*step, services) == 1).unwrap_or(1);
        Self { services, step, next: 0 }
    }
}

impl Order {
    /// A batch of transitions, as a thread's cells would turn: `CELLS_A_COMMIT` cells at a time.
    fn batch(&mut self, size: u64, turn: u64) -> Vec<(CellId, Writes)> {
        let mut cells: BTreeMap<u64, Writes> = BTreeMap::new();
        let group = turn % (CELLS / CELLS_A_COMMIT) * CELLS_A_COMMIT;
        for _ in 0..size {
            self.next = (self.next + self.step) % self.services;
            // Which service of the group's cells.
            let service = self.next / CELLS * CELLS + group + self.next % CELLS_A_COMMIT;
            let at = 1_795_735_000_000 + turn * 20;
            let writes = cells.entry(service % CELLS).or_default();
            let key = Key { table: Table::Service, id: service / CELLS + 1 };
            writes.rows.push(Write { key, body: Some(row(service, turn, at)) });
            writes.journal.push(entry(service, turn, at));
        }
        let cell = |cell: u64| CellId(u32::try_from(cell).unwrap_or(0));
        cells.into_iter().map(|(of, writes)| (cell(of), writes)).collect()
    }
}

fn fill(store: &mut sqlite::Sqlite, services: u64) -> Result<f64, Failure> {
    let began = Instant::now();
    for cell in 0..CELLS {
        let mut writes = Writes::default();
        for service in (cell..services).step_by(usize::try_from(CELLS)?) {
            let key = Key { table: Table::Service, id: service / CELLS + 1 };
            writes.rows.push(Write { key, body: Some(row(service, 0, 1_795_735_000_000)) });
        }
        store.commit(CellId(u32::try_from(cell)?), &writes)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn peak_rss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn main() -> Result<(), Failure> {
    let asked = asked()?;
    let dir = tempfile::tempdir_in(&asked.dir)?;
    let file = dir.path().join("store.db");
    let options = sqlite::Options { retention: asked.retention, ..sqlite::Options::default() };
    let mut store = sqlite::open_with(&file, options)?;
    let filled = fill(&mut store, asked.services)?;
    let (sender, receiver) = std::sync::mpsc::sync_channel(4);
    let (services, size) = (asked.services, asked.batch);
    // What a controller's engine would do beside: its time is not the store's.
    let producer = std::thread::spawn(move || {
        let mut order = Order::new(services);
        (1..).all(|turn| sender.send(order.batch(size, turn)).is_ok())
    });
    let mut result = measure(&mut store, &receiver, asked.seconds)?;
    drop(receiver);
    let _ = producer.join();
    let (frames, raw) = store.tail();
    let _ = write!(
        result,
        ",\"services\":{services},\"batch\":{size},\"fill_seconds\":{filled:.1},\"tail_commits\":{frames},\"tail_row_bytes\":{raw},\"peak_rss_bytes\":{}",
        peak_rss()
    );
    if asked.cold {
        drop(store);
        if asked.longest {
            lengthen(&file, options, services, size)?;
        }
        let _ = write!(result, ",{}", cold(&file, options)?);
    }
    println!("{{{result}}}");
    Ok(())
}

/// Commits without write-back until the tail is as long as it may be.
fn lengthen(
    file: &Path,
    mut options: sqlite::Options,
    services: u64,
    size: u64,
) -> Result<(), Failure> {
    options.limits.step_blocks_max = 0;
    let mut store = sqlite::open_with(file, options)?;
    let mut order = Order::new(services);
    for turn in 1_000_000.. {
        let batch = order.batch(size, turn);
        let turns: Vec<(CellId, &Writes)> = batch.iter().map(|(cell, w)| (*cell, w)).collect();
        store.commit_batch(&turns)?;
        if store.tail().1 + size * 1_000 > sqlite::TAIL_RAW_MAX {
            break;
        }
    }
    Ok(())
}

fn measure(
    store: &mut sqlite::Sqlite,
    batches: &std::sync::mpsc::Receiver<Vec<(CellId, Writes)>>,
    seconds: u64,
) -> Result<String, Failure> {
    let (began, mut rates, mut transitions, mut commits) = (Instant::now(), Vec::new(), 0_u64, 0);
    let (mut second, mut in_second, mut longest) = (Instant::now(), 0_u64, Duration::ZERO);
    let (mut in_store, mut cpu) = (Duration::ZERO, 0.0);
    let mut times = Vec::new();
    while began.elapsed().as_secs() < seconds {
        let batch = batches.recv()?;
        let turns: Vec<(CellId, &Writes)> =
            batch.iter().map(|(cell, writes)| (*cell, writes)).collect();
        let count: usize = batch.iter().map(|(_, writes)| writes.rows.len()).sum();
        let (commit, before) = (Instant::now(), cpu_seconds());
        store.commit_batch(&turns)?;
        cpu += cpu_seconds() - before;
        let took = commit.elapsed();
        in_store += took;
        times.push(took);
        longest = longest.max(took);
        commits += 1;
        transitions += count as u64;
        in_second += count as u64;
        if second.elapsed().as_secs() >= 1 {
            rates.push(in_second as f64 / second.elapsed().as_secs_f64());
            (second, in_second) = (Instant::now(), 0);
        }
    }
    rates.sort_by(f64::total_cmp);
    times.sort();
    let total = transitions as f64;
    let mut out = String::new();
    let _ = write!(
        out,
        "\"transitions\":{transitions},\"commits\":{commits},\"seconds\":{:.1},\"transitions_per_second\":{{\"mean\":{:.0},\"median\":{:.0},\"min\":{:.0}}},\"in_the_store\":{{\"transitions_per_second\":{:.0},\"per_cpu_second\":{:.0},\"commit_ms\":{{\"median\":{:.1},\"p99\":{:.1},\"longest\":{:.1}}}}}",
        began.elapsed().as_secs_f64(),
        total / began.elapsed().as_secs_f64(),
        rates.get(rates.len() / 2).unwrap_or(&0.0),
        rates.first().unwrap_or(&0.0),
        total / in_store.as_secs_f64(),
        total / cpu,
        times[times.len() / 2].as_secs_f64() * 1e3,
        times[times.len() * 99 / 100].as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
    );
    Ok(out)
}

/// Opens the store again and reads every row: on this thread, then on two.
fn cold(file: &Path, options: sqlite::Options) -> Result<String, Failure> {
    let began = Instant::now();
    let store = sqlite::open_with(file, options)?;
    let opened = began.elapsed().as_secs_f64();
    let tail = store.tail().1;
    let (began, before) = (Instant::now(), cpu_seconds());
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    store.load_each(&mut |_, _, body| (rows, bytes) = (rows + 1, bytes + body.len() as u64))?;
    let (one, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - before);
    let reads = store.reads().ok_or("it has a file")?;
    let began = Instant::now();
    let half = u32::try_from(CELLS / 2)?;
    let mut counts = [0_u64; 2];
    let [low, high] = &mut counts;
    let read = |cells, count: &mut u64| reads.read(cells, &mut |_, _, _| *count += 1);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| read(CellId(half)..=CellId(u32::MAX), high));
        let here = read(CellId(0)..=CellId(half - 1), low);
        here.and(other.join().map_err(|_| "the other thread ended badly").unwrap_or(Ok(())))
    })?;
    let two = began.elapsed().as_secs_f64();
    if counts[0] + counts[1] != rows {
        return Err(format!("{counts:?} rows on two threads, {rows} on one").into());
    }
    let size = std::fs::metadata(file)?.len();
    let began = Instant::now();
    let found = store.journal(Some("service-4711"), None, 20)?.len();
    let asked = began.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    store.journal(None, None, 100)?;
    let newest = began.elapsed().as_secs_f64() * 1e3;
    drop(store);
    Ok(format!(
        "\"cold_start\":{{\"tail_row_bytes\":{tail},\"open_seconds\":{opened:.3},\"read_seconds_one_thread\":{one:.3},\"read_cpu_seconds\":{cpu:.3},\"read_seconds_two_threads\":{two:.3},\"rows\":{rows},\"row_bytes\":{bytes},\"file_bytes\":{size}}},\"journal\":{{\"one_subject_found\":{found},\"one_subject_ms\":{asked:.1},\"newest_hundred_ms\":{newest:.1}}}"
    ))
}
