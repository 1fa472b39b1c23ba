//! A fleet of one's own, measured as its user would see it: through verbs, psql and pgbench.
//!
//! Every figure is a list of runs, given as minimum, median and maximum. What a goal is compared with
//! (a restart by hand, the databases' own cost) is measured in the same run.

use std::fs;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Kind};
use crate::print;
use crate::stage::{HOSTS, Stage, signal};
use crate::verbs::bench::clients::{self, Load, Session};
use crate::verbs::bench::hand::Hand;
use crate::verbs::bench::{on_stage, spread, usage};

/// Runs of each figure that is measured one at a time.
const RUNS: usize = 7;
/// Clients of the load a server is killed under.
const CLIENTS: u32 = 4;
/// How long that load lasts before the kill.
const LOAD: Duration = Duration::from_secs(5);
/// Size of pgbench's tables: 100,000 accounts each.
const SCALE: u32 = 5;
/// How long idle processes are watched.
const IDLE: Duration = Duration::from_secs(30);
/// How the fleet is started: what is killed stays dead.
const FLAGS: [&str; 2] = ["--respawn-after", "never"];
/// Services that are also connected to past the gateway.
const DIRECT: usize = 10;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Create, until the first committed write.
    Create,
    /// Kill a postmaster under load, beside a restart by hand.
    Kill,
    /// Many services: created, listed, idle, left alone and guarded again, terminated.
    Many,
}

/// Measures and prints.
pub fn run(services: usize, only: &[Part]) -> Result<(), Failure> {
    on_stage("bench", &FLAGS, |stage| Bench { stage }.measure(services, only))
}

struct Bench<'a> {
    stage: &'a mut Stage,
}

impl Bench<'_> {
    fn measure(&mut self, services: usize, only: &[Part]) -> Result<Value, Failure> {
        let wanted = |part: Part| only.is_empty() || only.contains(&part);
        let mut figures = Map::new();
        self.stage.start()?;
        if wanted(Part::Create) {
            figures.insert("create_to_first_write_cold_s".into(), self.creates(false)?);
            figures.insert("create_to_first_write_warm_s".into(), self.creates(true)?);
        }
        if wanted(Part::Kill) {
            figures.insert("kill_9_under_load_to_next_write".into(), self.kills()?);
        }
        if wanted(Part::Many) {
            figures.insert("many".into(), self.many(services)?);
        }
        Ok(Value::Object(figures))
    }

    fn create(&self, name: &str) -> Result<(), Failure> {
        self.stage.verb(&["create", "postgres", name]).map(drop)
    }

    fn terminate(&self, name: &str) -> Result<(), Failure> {
        self.stage.verb(&["terminate", name, "--confirm", name]).map(drop)
    }

    fn url(&self, name: &str, direct: &[&str]) -> Result<String, Failure> {
        Ok(self.stage.verb(&[&["url", name], direct].concat())?.trim().to_owned())
    }

    /// How many directories are ready in all pools.
    fn pooled(stage: &Stage) -> usize {
        let ready = |host: &&str| {
            let entries = fs::read_dir(stage.data().join("hosts").join(host).join("pool"));
            let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
            names.filter(|name| name.to_string_lossy().starts_with("ready-")).count()
        };
        HOSTS.iter().map(ready).sum()
    }

    /// Create -> first committed write, one at a time; with every pool full, or without pools.
    fn creates(&mut self, warm: bool) -> Result<Value, Failure> {
        let image = self.stage.image()?;
        let pool = if warm { 1 } else { 0 };
        self.stage.start_again(&[&FLAGS[..], &["--pool", &pool.to_string()]].concat())?;
        if !warm {
            self.empty_pools()?;
        }
        let mut took = Vec::new();
        for run in 0..RUNS {
            let name = format!("one-{}-{run}", if warm { "warm" } else { "cold" });
            self.stage.until("pool as wanted", |s| Self::pooled(s) == HOSTS.len() * pool)?;
            let began = Instant::now();
            self.create(&name)?;
            let url = self.url(&name, &[])?;
            took.push(clients::until_written(&image, &url, began)?);
            self.terminate(&name)?;
        }
        print::note(&format!("create, pool {}: {took:.2?} s", if warm { "warm" } else { "cold" }));
        Ok(spread(took))
    }

    fn empty_pools(&self) -> Result<(), Failure> {
        for host in HOSTS {
            let pool = self.stage.data().join("hosts").join(host).join("pool");
            for entry in fs::read_dir(&pool)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with("ready-") {
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Two services alike, killed in turn: one healed by its agent; the other, whose agent is gone,
    /// started again by hand at once, with the command it was running by.
    fn kills(&mut self) -> Result<Value, Failure> {
        let image = self.stage.image()?;
        for name in ["healed", "by-hand"] {
            self.create(name)?;
            Load::prepare(&image, &self.url(name, &[])?, SCALE)?;
        }
        let shown = self.stage.json(&["show", "by-hand"]);
        let host = shown["members"][0]["host"].as_str().unwrap_or_default().to_owned();
        if self.stage.json(&["show", "healed"])["members"][0]["host"] == host.as_str() {
            return Err(Failure::new(Kind::Failed, "both services are on one host"));
        }
        let server = self.stage.server("by-hand")?;
        let mut hand = Hand::of(server, self.stage.owner()?)?;
        let log = self.stage.data().join("by-hand.log");
        let (healed, by_hand) = (self.url("healed", &[])?, self.url("by-hand", &["--direct"])?);
        signal(self.stage.process(&format!("hosts/{host}/pid.json"))?, Signal::KILL)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let pid = self.stage.server("healed")?;
            let load = Load::start(&image, &healed, CLIENTS)?;
            std::thread::sleep(LOAD);
            let began = Instant::now();
            signal(pid, Signal::KILL)?;
            ours.push(clients::until_written(&image, &healed, began)?);
            drop(load);
            self.stage.until("new server", |s| s.server("healed").is_ok_and(|now| now != pid))?;
            // An ordered restart: deaths before it no longer slow the agent down.
            self.stage.verb(&["restart", "healed"])?;

            let load = Load::start(&image, &by_hand, CLIENTS)?;
            std::thread::sleep(LOAD);
            let began = Instant::now();
            hand.kill_and_start(&log)?;
            theirs.push(clients::until_written(&image, &by_hand, began)?);
            drop(load);
        }
        print::note(&format!("kill -9 under load: healed {ours:.2?} s, by hand {theirs:.2?} s"));
        let (ours, theirs) = (spread(ours), spread(theirs));
        let more = ours["median"].as_f64().zip(theirs["median"].as_f64()).map(|(a, b)| a - b);
        // The agent of that host is back with the whole fleet.
        self.stage.start_again(&FLAGS)?;
        for name in ["healed", "by-hand"] {
            self.stage.until("service", |stage| stage.state(name) == "available")?;
            self.terminate(name)?;
        }
        Ok(json!({ "healed_s": ours, "by_hand_s": theirs, "median_more_s": more }))
    }

    /// Many services at once on this machine.
    fn many(&mut self, services: usize) -> Result<Value, Failure> {
        let names: Vec<String> = (0..services).map(|n| format!("db-{n}")).collect();
        let created = timed(&names, |name| self.create(name))?;
        print::note(&format!("{services} created in {:.1} s", created.iter().sum::<f64>()));
        let listed = timed(&[(); RUNS], |()| {
            let listed = self.stage.json(&["list"]).as_array().map_or(0, Vec::len);
            if listed == services { Ok(()) } else { Err(failed(&format!("{listed} are listed"))) }
        })?;
        let idle = self.idle()?;
        let guarded = self.guarded(&names)?;
        let ended = timed(&names, |name| self.terminate(name))?;
        print::note(&format!("{services} terminated in {:.1} s", ended.iter().sum::<f64>()));
        Ok(json!({
            "services": services,
            "create_s": spread(created),
            "list_s": spread(listed),
            "terminate_s": spread(ended),
            "idle": idle,
            "control_plane_killed": guarded,
        }))
    }

    /// What everything costs when nothing happens.
    fn idle(&self) -> Result<Value, Failure> {
        let controller = vec![self.stage.process("up.json")?];
        let mut agents = Vec::new();
        for host in HOSTS {
            agents.push(self.stage.process(&format!("hosts/{host}/pid.json"))?);
        }
        let gateways = fs::read_dir(self.stage.data().join("gateways"))?.flatten();
        let file =
            |entry: fs::DirEntry| format!("gateways/{}/pid.json", entry.file_name().display());
        let gateways: Result<Vec<u32>, _> =
            gateways.map(|entry| self.stage.process(&file(entry))).collect();
        let listed = self.stage.json(&["list"]);
        let members = listed.as_array().into_iter().flatten();
        let servers = members.filter_map(|service| service["members"][0]["pid"].as_u64());
        let servers = servers.filter_map(|pid| u32::try_from(pid).ok());
        let databases: Vec<u32> = servers.flat_map(usage::family).collect();
        let usage = usage::over(IDLE, &[controller, agents, gateways?, databases]);
        let names = ["controller", "agents", "gateways", "databases"];
        let pairs = names.into_iter().zip(usage);
        let idle: Map<String, Value> = pairs.map(|(name, u)| (name.into(), json!(u))).collect();
        print::note(&format!("idle: {}", Value::Object(idle.clone())));
        Ok(Value::Object(idle))
    }

    /// Controller and agents are killed and started again, with a connection to every service.
    fn guarded(&mut self, names: &[String]) -> Result<Value, Failure> {
        let image = self.stage.image()?;
        let mut sessions = Vec::new();
        for (n, name) in names.iter().enumerate() {
            sessions.push(Session::open(&image, &self.url(name, &[])?)?);
            if n < DIRECT {
                sessions.push(Session::open(&image, &self.url(name, &["--direct"])?)?);
            }
        }
        let began = Instant::now();
        self.stage.kill_control_plane()?;
        let meanwhile = sessions.iter_mut().filter_map(|s| (!s.answers()).then_some(())).count();
        let dead = began.elapsed().as_secs_f64();
        self.stage.start()?;
        // Of a process whose agent has not spoken to this controller, nothing is shown.
        self.stage.until("guard over all", |stage| {
            let listed = stage.json(&["list"]);
            let guarded = |service: &&Value| {
                service["state"] == "available" && service["members"][0]["pid"].is_u64()
            };
            listed.as_array().is_some_and(|l| l.iter().filter(guarded).count() == names.len())
        })?;
        let guarded = began.elapsed().as_secs_f64();
        let broken = sessions.iter_mut().filter_map(|s| (!s.answers()).then_some(())).count();
        print::note(&format!("all known again in {guarded:.2} s, {broken} connections broke"));
        Ok(json!({
            "connections": sessions.len(),
            "connections_broken_while_dead": meanwhile,
            "connections_broken": broken,
            "dead_s": dead,
            "kill_to_all_guarded_s": guarded,
        }))
    }
}

fn failed(text: &str) -> Failure {
    Failure::new(Kind::Failed, text)
}

/// Seconds that each of these took; the first error ends it.
fn timed<T>(
    each: &[T],
    mut act: impl FnMut(&T) -> Result<(), Failure>,
) -> Result<Vec<f64>, Failure> {
    let mut took = Vec::new();
    for one in each {
        let began = Instant::now();
        act(one)?;
        took.push(began.elapsed().as_secs_f64());
    }
    Ok(took)
}
