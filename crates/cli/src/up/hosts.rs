//! The local hosts: one agent each, in a process of its own, started again when it was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_drivers::launch::Launch;
use evenkeel_drivers::process::{self, Identity};
use tracing::{info, warn};

use super::{Options, place};
use crate::failure::{Failure, Kind, chain};

/// The zones, in turn.
const ZONES: [&str; 3] = ["a", "b", "c"];
/// How long an agent's end is waited for before looking whether we still want it.
const STEP: Duration = Duration::from_millis(250);

/// The agents' keepers.
pub struct Hosts {
    left: Arc<AtomicBool>,
}

/// One host.
#[derive(Clone)]
struct Host {
    name: String,
    dir: PathBuf,
    launch: Launch,
    launcher: Vec<String>,
}

/// The rack of a host: those of a zone in turn.
fn rack(number: u8, racks: u8) -> Option<String> {
    let in_zone = usize::from(number) / ZONES.len();
    (racks > 0).then(|| format!("r{}", in_zone % usize::from(racks) + 1))
}

impl Hosts {
    /// Starts what does not run yet, and keeps it running.
    pub fn start(data: &Path, program: &Path, options: &Options) -> Result<Self, Failure> {
        let left = Arc::new(AtomicBool::new(false));
        for number in 0..options.hosts {
            let host = Host::new(data, program, options, number);
            fs::create_dir_all(&host.dir)?;
            if host.running().is_none() {
                host.start()?;
            }
            let (left, respawn) = (Arc::clone(&left), options.respawn_after);
            thread::spawn(move || host.keep(&left, respawn));
        }
        Ok(Self { left })
    }

    /// Agents are left to themselves from here on.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }
}

impl Host {
    fn new(data: &Path, program: &Path, options: &Options, number: u8) -> Self {
        let name = format!("h{}", number + 1);
        let dir = data.join("hosts").join(&name);
        let text = |path: &Path| path.display().to_string();
        let mut argv = vec![
            text(program),
            "agent".to_owned(),
            "--host".to_owned(),
            name.clone(),
            "--zone".to_owned(),
            ZONES[usize::from(number) % ZONES.len()].to_owned(),
            "--dir".to_owned(),
            text(&dir),
            "--controller-file".to_owned(),
            text(&data.join("controller/controller.json")),
            "--sockets".to_owned(),
            text(&place::sockets(data, &name)),
            "--images".to_owned(),
            text(&options.images),
            "--pool".to_owned(),
            options.pool.to_string(),
        ];
        if let Some(rack) = rack(number, options.racks) {
            argv.extend(["--rack".to_owned(), rack]);
        }
        if number == 0 {
            argv.extend(["--gateway-dir".to_owned(), text(&data.join("gateways").join(&name))]);
        }
        let own = |name: &str| std::env::var(name).ok().map(|value| (name.to_owned(), value));
        let env = ["PATH", "EVENKEEL_LOG"].into_iter().filter_map(own).collect();
        let launch = Launch {
            argv,
            env,
            directory: PathBuf::from("/"),
            log: data.join("log").join(format!("{name}.log")),
            out: dir.join("launched.json"),
        };
        Self { name, dir, launch, launcher: vec![text(program), "launch".to_owned()] }
    }

    /// The agent that runs, by its own file or by its launcher's.
    fn running(&self) -> Option<Identity> {
        ["launched.json", "pid.json"].into_iter().find_map(|name| {
            let text = fs::read(self.dir.join(name)).ok()?;
            let identity: Identity = serde_json::from_slice(&text).ok()?;
            identity.lives().then_some(identity)
        })
    }

    fn start(&self) -> Result<Identity, Failure> {
        self.launch.run(&self.launcher).map_err(|error| Failure::new(Kind::Failed, chain(&error)))
    }

    /// Starts the agent again whenever it ended, after the given time; never, without one.
    fn keep(&self, left: &AtomicBool, respawn_after: Option<Duration>) {
        let mut missing_since = None;
        while !left.load(Ordering::Relaxed) {
            if let Some(identity) = self.running() {
                missing_since = None;
                match process::pidfd(identity.pid) {
                    Ok(descriptor) => drop(process::wait_gone(&descriptor, STEP)),
                    Err(_) => thread::sleep(STEP),
                }
                continue;
            }
            let since = *missing_since.get_or_insert_with(Instant::now);
            match respawn_after {
                Some(after) if since.elapsed() >= after => {
                    match self.start() {
                        Ok(identity) => info!("agent {} runs again: {}", self.name, identity.pid),
                        Err(failure) => warn!("agent {} does not start: {failure}", self.name),
                    }
                    missing_since = None;
                }
                Some(after) => thread::sleep((after - since.elapsed().min(after)).min(STEP)),
                None => thread::sleep(STEP),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_a_zone_are_in_its_racks_in_turn() {
        let racks = |racks| (0..8).map(|number| rack(number, racks)).collect::<Vec<_>>();
        assert!(racks(0).iter().all(Option::is_none));
        let two: Vec<String> = racks(2).into_iter().flatten().collect();
        assert_eq!(two, ["r1", "r1", "r1", "r2", "r2", "r2", "r1", "r1"]);
    }
}
