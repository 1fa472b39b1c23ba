//! A service with a standby, measured as its clients see it.
//!
//! Pauses come from pgbench's own log of transactions. The ways to a service are measured in turns, so
//! that what else the machine does falls on all of them; what a pair costs without Evenkeel is measured
//! on the same two servers, with controller and agents killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use evenkeel_drivers::image::Image;
use serde_json::{Map, Value, json};

use super::clients::{self, Load, Loop, sql};
use super::{on_stage, spread, usage};
use crate::failure::{Failure, Kind};
use crate::print;
use crate::stage::{HOSTS, Stage};

/// The service.
const NAME: &str = "pay";
/// Clients in loops of transactions.
const CLIENTS: u32 = 16;
/// How long they run before a switchover, and altogether.
const BEFORE: Duration = Duration::from_millis(1500);
const LOOP: Duration = Duration::from_secs(4);
/// One transaction of a loop.
const TRANSACTION: &str =
    "BEGIN;\nINSERT INTO loops DEFAULT VALUES RETURNING id;\nSELECT 1;\nCOMMIT;\n";
/// Turns that the ways to a service take, and how long each is measured in a turn.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(4);
/// How long idle processes are watched.
const IDLE: Duration = Duration::from_secs(20);

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Planned switchovers under clients of the pooled endpoint.
    Switchover,
    /// Direct, gateway, pooled endpoint and `HAProxy` beside each other.
    Ways,
    /// What Evenkeel costs beside the same pair left alone.
    Rest,
}

/// Measures and prints.
pub fn run(trials: usize, only: &[Part]) -> Result<(), Failure> {
    on_stage("bench-ha", &["--respawn-after", "never"], |stage| {
        Bench { stage }.measure(trials, only)
    })
}

struct Bench<'a> {
    stage: &'a mut Stage,
}

impl Bench<'_> {
    fn measure(&mut self, trials: usize, only: &[Part]) -> Result<Value, Failure> {
        let wanted = |part: Part| only.is_empty() || only.contains(&part);
        let mut figures = Map::new();
        self.stage.start()?;
        self.stage.verb(&["create", "postgres", NAME, "--plan", "ha"])?;
        self.whole()?;
        let image = self.stage.image()?;
        Load::prepare(&image, &self.url(&[])?, 1)?;
        if !sql(&image, &self.url(&[])?, "CREATE TABLE loops (id bigserial PRIMARY KEY)") {
            return Err(failed("no table could be made"));
        }
        let pooled = self.url(&["--pooled"])?;
        self.stage.until("pooled endpoint", |_| sql(&image, &pooled, "SELECT 1"))?;
        if wanted(Part::Switchover) {
            for mode in ["simple", "extended"] {
                let name = format!("switchover_pooled_{mode}");
                figures.insert(name, self.switchovers(&image, trials, mode)?);
            }
        }
        if wanted(Part::Ways) {
            figures.insert("ways".into(), self.ways(&image)?);
        }
        if wanted(Part::Rest) {
            figures.insert("at_rest".into(), self.rest(&image)?);
        }
        Ok(Value::Object(figures))
    }

    fn url(&self, way: &[&str]) -> Result<String, Failure> {
        Ok(self.stage.verb(&[&["url", NAME], way].concat())?.trim().to_owned())
    }

    /// Waits until its standby is counted on and nothing is under way.
    fn whole(&mut self) -> Result<(), Failure> {
        self.stage.until("whole service", |stage| {
            let show = stage.json(&["show", NAME]);
            show["failover"]["safe_now"] == true && show["operation"].is_null()
        })
    }

    /// The longest time between two commits of clients in loops, with a switchover among them.
    fn switchovers(&mut self, image: &Image, trials: usize, mode: &str) -> Result<Value, Failure> {
        let (mut gaps, mut errors, mut commits) = (Vec::new(), 0, Vec::new());
        let url = self.url(&["--pooled"])?;
        let dir = self.stage.data().with_extension("loops");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("loop.sql"), TRANSACTION)?;
        for _ in 0..trials {
            self.whole()?;
            let running = Loop::start(image, &dir, &url, mode, CLIENTS, LOOP)?;
            std::thread::sleep(BEFORE);
            self.stage.verb(&["switchover", NAME])?;
            let (times, failed) = running.end()?;
            errors += usize::from(failed);
            let pairs = times.windows(2).map(|pair| pair[1] - pair[0]);
            gaps.push(pairs.fold(0.0, f64::max) * 1000.0);
            commits.push(
                f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX)) / LOOP.as_secs_f64(),
            );
        }
        let _ = fs::remove_dir_all(&dir);
        print::note(&format!("switchovers, {mode}: {gaps:.0?} ms, {errors} runs with errors"));
        Ok(json!({
            "clients": CLIENTS, "gap_ms": spread(gaps), "runs_with_errors": errors,
            "commits_per_s": spread(commits),
        }))
    }

    /// Reads over every way: the latency of one client, the throughput of sixteen.
    fn ways(&mut self, image: &Image) -> Result<Value, Failure> {
        let direct = self.url(&["--direct"])?;
        // The first of its hosts takes writes.
        let primary =
            direct.split_once(',').map_or(direct.clone(), |(first, _)| format!("{first}/{NAME}"));
        let mut ways = vec![
            ("direct", primary.clone()),
            ("gateway", self.url(&[])?),
            ("pooled", self.url(&["--pooled"])?),
        ];
        let proxy = Proxy::start(self.stage.data(), &primary)?;
        match &proxy {
            Some(proxy) => ways.push(("haproxy", proxy.url.clone())),
            None => print::note("haproxy is not on the path: not measured beside the others"),
        }
        let mut one = vec![Vec::new(); ways.len()];
        let mut many = vec![Vec::new(); ways.len()];
        for _ in 0..TURNS {
            for (at, (_, url)) in ways.iter().enumerate() {
                one[at].push(1e6 / clients::reads(image, url, 1, TURN)?);
                many[at].push(clients::reads(image, url, CLIENTS, TURN)?);
            }
        }
        let each = ways.iter().zip(one.into_iter().zip(many)).map(|((name, _), (one, many))| {
            let figures =
                json!({ "one_client_us": spread(one), "sixteen_clients_per_s": spread(many) });
            ((*name).to_owned(), figures)
        });
        let each: Map<String, Value> = each.collect();
        print::note(&format!("ways: {}", Value::Object(each.clone())));
        Ok(Value::Object(each))
    }

    /// Memory and processor of everything at rest; the latency of a commit with Evenkeel and without.
    fn rest(&mut self, image: &Image) -> Result<Value, Failure> {
        self.whole()?;
        let mut agents = Vec::new();
        for host in HOSTS {
            agents.push(self.stage.process(&format!("hosts/{host}/pid.json"))?);
        }
        let show = self.stage.json(&["show", NAME]);
        let members = show["members"].as_array().into_iter().flatten();
        let servers = members.filter_map(|member| u32::try_from(member["pid"].as_u64()?).ok());
        let databases: Vec<u32> = servers.flat_map(usage::family).collect();
        let groups = [
            ("controller", vec![self.stage.process("up.json")?]),
            ("agents", agents),
            ("gateway", vec![self.stage.process("gateways/h1/pid.json")?]),
            ("pooler", poolers(self.stage.data())),
            ("databases", databases.clone()),
        ];
        let pids: Vec<Vec<u32>> = groups.iter().map(|(_, pids)| pids.clone()).collect();
        let used = usage::over(IDLE, &pids);
        let idle: Map<String, Value> = groups
            .iter()
            .zip(used)
            .map(|((name, _), used)| ((*name).to_owned(), json!(used)))
            .collect();
        let direct = self.url(&["--direct"])?;
        let first =
            direct.split_once(',').map_or(direct.clone(), |(first, _)| format!("{first}/{NAME}"));
        let commits = |turns: usize| -> Result<Vec<f64>, Failure> {
            let each = |_| Ok(1e6 / clients::commits(image, &first, TURN)?);
            (0..turns).map(each).collect()
        };
        let with = commits(TURNS)?;
        self.stage.kill_control_plane()?;
        let alone = usage::over(IDLE, &[databases]);
        let without = commits(TURNS)?;
        self.stage.start()?;
        print::note(&format!("a commit: {with:.0?} us, the pair alone {without:.0?} us"));
        Ok(json!({
            "idle": idle, "databases_alone": alone.first().map(|used| json!(used)),
            "commit_us": spread(with), "commit_alone_us": spread(without),
        }))
    }
}

/// The poolers of the first host.
fn poolers(data: &Path) -> Vec<u32> {
    let entries = fs::read_dir(data.join("hosts/h1/poolers")).into_iter().flatten().flatten();
    let dirs = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    dirs.flat_map(|dir| evenkeel_drivers::process::all_in(&dir)).collect()
}

/// `HAProxy` in front of a primary, as plain TCP.
struct Proxy {
    child: Child,
    url: String,
    file: PathBuf,
}

impl Proxy {
    /// None where there is no `HAProxy`.
    fn start(data: &Path, primary: &str) -> Result<Option<Self>, Failure> {
        if Command::new("haproxy")
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            return Ok(None);
        }
        let Some((before, after)) = primary.rsplit_once('@') else { return Err(failed(primary)) };
        let Some((server, database)) = after.split_once('/') else { return Err(failed(primary)) };
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = data.with_extension("haproxy.cfg");
        fs::write(
            &file,
            format!(
                "global\n maxconn 1000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n \
             timeout server 1h\nlisten pg\n bind 127.0.0.1:{port}\n server primary {server}\n"
            ),
        )?;
        let mut command = Command::new("haproxy");
        command
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn()?;
        let url = format!("{before}@127.0.0.1:{port}/{database}");
        let proxy = Self { child, url, file };
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        for _ in 0..500 {
            if listens() {
                return Ok(Some(proxy));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(failed("haproxy does not listen"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

fn failed(text: &str) -> Failure {
    Failure::new(Kind::Failed, text)
}
