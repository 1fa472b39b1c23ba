//! A mass recovery: every server of a fleet killed at once, and how long it takes until each service takes a
//! write again, by three ways in turns.
//!
//! - `ours`: agents start servers as many at once as each host turns out to bear.
//! - `unlimited`: the same without a limit (policy `host_starts_max`), all at once.
//! - `by-hand`: no agent and no controller; a loop of `pg_ctl -w start` over the servers, as their user and by
//!   the very command lines that they had, which begins at once.
//!
//! Clients are the same in all: one of each service tries to write over a new connection, again and again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use evenkeel_drivers::process;
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio_postgres::NoTls;

use crate::failure::{Failure, Kind};
use crate::print;
use crate::stage::Stage;
use crate::verbs::bench::hand::Hand;
use crate::verbs::bench::{backed_up, on_stage, pairs, quiet_policy, spread, usage};

/// A client that was refused tries again after this.
const AGAIN: Duration = Duration::from_millis(200);
/// What is prepared before may take this long.
const PREPARE_MAX: Duration = Duration::from_secs(120);
/// A try that has no answer is given up.
const TRY_MAX: Duration = Duration::from_secs(10);
/// No service takes longer.
const RECOVERY_MAX: Duration = Duration::from_secs(900);
/// Rows written to each service before it is killed: some 4 MiB of log to replay.
const ROWS: u32 = 50_000;
/// Before the kill: log is shipped, and nothing else goes on.
const SETTLE: Duration = Duration::from_secs(30);
/// Between looks at the load.
const SAMPLE: Duration = Duration::from_millis(100);
/// Starts at once that are no limit.
const UNLIMITED: u32 = 1_000_000;

/// A way to have all servers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Way {
    /// As many starts at once as each host bears.
    Ours,
    /// All at once.
    Unlimited,
    /// One after another, by a loop of a person.
    ByHand,
}

impl Way {
    const ALL: [Self; 3] = [Self::Ours, Self::Unlimited, Self::ByHand];

    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Unlimited => "unlimited",
            Self::ByHand => "by_hand",
        }
    }
}

/// Measures and prints.
pub fn run(services: usize, runs: usize, only: &[Way]) -> Result<(), Failure> {
    if services == 0 || runs == 0 {
        let text = "a service and a run are needed: --services 200 --runs 3";
        return Err(Failure::new(Kind::Usage, text));
    }
    let ways: Vec<Way> =
        Way::ALL.into_iter().filter(|way| only.is_empty() || only.contains(way)).collect();
    on_stage("bench-recovery", &[], |stage| {
        let mut bench = Bench::begin(stage, services)?;
        let mut all: Vec<(Way, Recovery)> = Vec::new();
        for run in 0..runs {
            // Who is first moves on with each run.
            for at in 0..ways.len() {
                let way = ways[(run + at) % ways.len()];
                let recovery = bench.recover(way)?;
                print::note(&format!("run {} {}: {}", run + 1, way.name(), recovery.told()));
                all.push((way, recovery));
            }
        }
        let mut figures = Map::new();
        figures.insert("services".into(), json!(services));
        figures.insert("rows_before".into(), json!(ROWS));
        for way in ways {
            let runs: Vec<&Recovery> =
                all.iter().filter(|(of, _)| *of == way).map(|(_, recovery)| recovery).collect();
            figures.insert(way.name().into(), in_short(&runs));
        }
        Ok(Value::Object(figures))
    })
}

/// How one run went.
struct Recovery {
    /// Seconds without writes, of each service.
    outages: Vec<f64>,
    peaks: Peaks,
}

impl Recovery {
    /// Until all take writes.
    fn all_s(&self) -> f64 {
        self.outages.iter().copied().fold(0.0, f64::max)
    }

    fn hundredth(&self, hundredths: usize) -> f64 {
        let mut outages = self.outages.clone();
        outages.sort_by(f64::total_cmp);
        pairs::at(&outages, hundredths).unwrap_or_default()
    }

    fn told(&self) -> Value {
        json!({
            "all_s": self.all_s(), "p50_s": self.hundredth(50), "p99_s": self.hundredth(99),
            "peak_running": self.peaks.running, "mean_running": self.peaks.mean_running,
            "peak_blocked": self.peaks.blocked, "peak_starts": self.peaks.starts,
        })
    }
}

fn in_short(runs: &[&Recovery]) -> Value {
    let of = |figure: fn(&Recovery) -> f64| spread(runs.iter().map(|run| figure(run)).collect());
    json!({
        "all_available_s": of(Recovery::all_s),
        "outage_p50_s": of(|run| run.hundredth(50)),
        "outage_p99_s": of(|run| run.hundredth(99)),
        "peak_running": of(|run| f64::from(run.peaks.running)),
        "mean_running": of(|run| run.peaks.mean_running),
        "peak_blocked": of(|run| f64::from(run.peaks.blocked)),
        "peak_starts_at_once": of(|run| f64::from(run.peaks.starts)),
    })
}

struct Bench<'a> {
    stage: &'a mut Stage,
    services: usize,
    urls: Vec<String>,
    /// Policies of agents: those that find by trying, and those that start all.
    policies: [String; 2],
}

impl<'a> Bench<'a> {
    fn begin(stage: &'a mut Stage, services: usize) -> Result<Self, Failure> {
        let ours = quiet_policy();
        let mut unlimited = ours.clone();
        unlimited["host_starts_max"] = json!(UNLIMITED);
        let policies = [stage.policy("ours", &ours)?, stage.policy("unlimited", &unlimited)?];
        stage.start_again(&flags(&policies[0]))?;
        let mut urls = Vec::new();
        for n in 0..services {
            let name = format!("db-{n}");
            stage.verb(&["create", "postgres", &name])?;
            urls.push(stage.verb(&["url", &name])?.trim().to_owned());
        }
        backed_up(stage, services)?;
        write_all(&urls, "CREATE TABLE beat (n bigint)")?;
        Ok(Self { stage, services, urls, policies })
    }

    /// All are killed, and come back one way.
    fn recover(&mut self, way: Way) -> Result<Recovery, Failure> {
        // Agents that begin have forgotten earlier deaths, which would slow them down.
        let policy = self.policies[usize::from(way == Way::Unlimited)].clone();
        self.stage.start_again(&flags(&policy))?;
        let services = self.services;
        self.stage.until("guard over all", |stage| {
            let listed = stage.json(&["list"]);
            let available = |service: &&Value| service["state"] == "available";
            listed.as_array().is_some_and(|all| all.iter().filter(available).count() == services)
                && stage.servers().len() == services
        })?;
        write_all(&self.urls, "TRUNCATE beat")?;
        write_all(&self.urls, &format!("INSERT INTO beat SELECT generate_series(1, {ROWS})"))?;
        std::thread::sleep(SETTLE);
        let owner = self.stage.owner()?;
        let servers = self.stage.servers();
        let hands = servers.iter().map(|(_, pid)| Hand::of(*pid, owner));
        let hands = hands.collect::<Result<Vec<_>, _>>()?;
        let files = hands.iter().map(|hand| hand.data().join("postmaster.pid")).collect();
        if way == Way::ByHand {
            self.stage.kill_control_plane()?;
        }
        let postmasters: Vec<u32> = servers.iter().map(|(_, pid)| *pid).collect();
        let table = usage::table();
        let parents = |row: &&usage::Row| postmasters.contains(&row.parent);
        let children = table.iter().filter(parents).map(|row| row.pid);
        let pids: Vec<u32> = postmasters.iter().copied().chain(children).collect();
        let sampler = Sampler::start(files);
        let killed = Instant::now();
        kill_all(&pids);
        let loop_by_hand = match way {
            Way::ByHand => Some(self.by_hand(hands)?),
            Way::Ours | Way::Unlimited => None,
        };
        let outages = outages(&self.urls, killed);
        let peaks = sampler.end()?;
        if let Some(by_hand) = loop_by_hand {
            by_hand.join().map_err(|_| Failure::new(Kind::Failed, "the loop broke off"))??;
        }
        Ok(Recovery { outages: outages?, peaks })
    }

    /// The loop of a person who knows every server.
    fn by_hand(&self, hands: Vec<Hand>) -> Result<JoinHandle<Result<(), Failure>>, Failure> {
        let (image, log) = (self.stage.image()?, self.stage.data().join("by-hand.log"));
        Ok(std::thread::spawn(move || hands.iter().try_for_each(|hand| hand.pg_ctl(&image, &log))))
    }
}

/// How the fleet is started.
const fn flags(policy: &str) -> [&str; 6] {
    ["--respawn-after", "never", "--pool", "0", "--policy", policy]
}

fn kill_all(pids: &[u32]) {
    // Who each of them is is settled first: then all are killed in one stretch.
    let descriptors: Vec<_> = pids.iter().filter_map(|&pid| process::pidfd(pid).ok()).collect();
    for descriptor in descriptors {
        // One that is gone with its postmaster needs none.
        let _ = process::signal(&descriptor, Signal::KILL);
    }
}

/// One statement over a connection of its own.
async fn wrote(url: &str, statement: &str, patience: Duration) -> bool {
    let work = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let done = client.batch_execute(statement).await;
        drop(client);
        let _ = connection.await;
        done
    };
    matches!(tokio::time::timeout(patience, work).await, Ok(Ok(())))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A statement in every service, one after another.
fn write_all(urls: &[String], statement: &str) -> Result<(), Failure> {
    let runtime = runtime()?;
    for url in urls {
        if !runtime.block_on(wrote(url, statement, PREPARE_MAX)) {
            return Err(Failure::new(Kind::Failed, format!("{statement}: not done in time")));
        }
    }
    Ok(())
}

/// Seconds since the kill until each service took a write.
fn outages(urls: &[String], killed: Instant) -> Result<Vec<f64>, Failure> {
    runtime()?.block_on(async {
        let mut tries = tokio::task::JoinSet::new();
        let count = u32::try_from(urls.len()).unwrap_or(u32::MAX);
        for (n, url) in (0..count).zip(urls.iter().cloned()) {
            tries.spawn(async move {
                tokio::time::sleep(AGAIN * n / count).await;
                while !wrote(&url, "INSERT INTO beat VALUES (0)", TRY_MAX).await {
                    if killed.elapsed() > RECOVERY_MAX {
                        return None;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Some(killed.elapsed().as_secs_f64())
            });
        }
        let mut all = Vec::new();
        while let Some(ended) = tries.join_next().await {
            let outage = ended.ok().flatten();
            let late = || Failure::new(Kind::Failed, "a service did not come back in 15 minutes");
            all.push(outage.ok_or_else(late)?);
        }
        Ok(all)
    })
}

/// What the machine had to bear at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Peaks {
    /// Processes that ran or waited for a core.
    running: u32,
    /// The same, on the mean.
    mean_running: f64,
    /// Processes that waited for a disk.
    blocked: u32,
    /// Servers that had begun and did not take connections yet.
    starts: u32,
}

impl Peaks {
    fn of(samples: &[[u32; 3]]) -> Self {
        let most = |at: usize| samples.iter().map(|sample| sample[at]).max().unwrap_or_default();
        let sum: f64 = samples.iter().map(|sample| f64::from(sample[0])).sum();
        let count = u32::try_from(samples.len().max(1)).unwrap_or(u32::MAX);
        Self {
            running: most(0),
            mean_running: sum / f64::from(count),
            blocked: most(1),
            starts: most(2),
        }
    }
}

/// Looks at the machine beside what it goes through.
struct Sampler {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<[u32; 3]>>,
}

impl Sampler {
    fn start(files: Vec<PathBuf>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
                let [running, blocked] = queues(&stat);
                let read = |file: &PathBuf| std::fs::read_to_string(file).unwrap_or_default();
                let starting = files.iter().filter(|file| starts(&read(file))).count();
                // This thread itself runs.
                let starting = u32::try_from(starting).unwrap_or(u32::MAX);
                samples.push([running.saturating_sub(1), blocked, starting]);
                std::thread::sleep(SAMPLE);
            }
            samples
        });
        Self { over, thread }
    }

    fn end(self) -> Result<Peaks, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let samples = self.thread.join();
        let samples = samples.map_err(|_| Failure::new(Kind::Failed, "the sampler broke off"))?;
        Ok(Peaks::of(&samples))
    }
}

/// Processes that run or wait for a core, and that wait for a disk, by `/proc/stat`.
fn queues(stat: &str) -> [u32; 2] {
    ["procs_running ", "procs_blocked "].map(|name| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
    })
}

/// Whether a server has begun and does not take connections yet: the eighth line of its process file
/// (`PM_STATUS_STARTING` of PostgreSQL's `utils/pidfile.h`), or none so far.
fn starts(file: &str) -> bool {
    !file.is_empty() && file.lines().nth(7).is_none_or(|status| status.trim() == "starting")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_file_tells_a_start_from_a_server() {
        let file = |status: &str| format!("7\n/data\n1700000000\n5432\n/tmp\n*\n1 2\n{status}\n");
        assert!(starts(&file("starting")) && starts("7\n/data\n"));
        assert!(!starts(&file("ready   ")) && !starts(&file("standby ")) && !starts(""));
    }

    #[test]
    fn queues_and_their_peaks_are_read() {
        let stat = "cpu 1 2 3\nctxt 5\nprocs_running 17\nprocs_blocked 4\nsoftirq 1\n";
        assert_eq!(queues(stat), [17, 4]);
        assert_eq!(queues(""), [0, 0]);
        let peaks = Peaks::of(&[[1, 9, 0], [4, 2, 3], [1, 1, 1]]);
        assert_eq!(peaks, Peaks { running: 4, mean_running: 2.0, blocked: 9, starts: 3 });
        assert_eq!(Peaks::of(&[]), Peaks::default());
    }

    #[test]
    fn a_run_is_told_by_its_last_and_its_middle_service() {
        let outages = (1..=200).rev().map(f64::from).collect();
        let run = Recovery { outages, peaks: Peaks::default() };
        assert_eq!((run.all_s(), run.hundredth(50), run.hundredth(99)), (200.0, 100.0, 198.0));
    }
}
