//! `down`: everything of a fleet on this machine ends, by recorded identity.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use evenkeel_drivers::pgbouncer;
use evenkeel_drivers::postgres;
use evenkeel_drivers::process::{self, Identity};
use rustix::process::Signal;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// How long a process may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stop controller, agents, gateways and databases of a data directory. Nothing is removed.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel down --data ./fleet")]
pub struct Down {}

impl Down {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let data = context.data();
        if !data.is_dir() {
            let text =
                format!("there is no data directory {}; name it with --data", data.display());
            return Err(Failure::new(Kind::NotFound, text));
        }
        let began = Instant::now();
        let mut stopped = Stopped::default();
        // Who would start others again goes first.
        stopped.controllers += end(&data.join("up.json"))?;
        stopped.controllers += end(&data.join("controller/pid.json"))?;
        for host in entries(&data.join("hosts")) {
            stopped.agents += end(&host.join("pid.json"))?;
        }
        for gateway in entries(&data.join("gateways")) {
            stopped.gateways += end(&gateway.join("pid.json"))?;
        }
        for host in entries(&data.join("hosts")) {
            for pooler in entries(&host.join("poolers")).into_iter().filter(|path| path.is_dir()) {
                let done = pgbouncer::stop_directory(&pooler);
                let done = done.map_err(|error| {
                    Failure::new(Kind::Failed, format!("{}: {error}", pooler.display()))
                })?;
                stopped.poolers += usize::from(done);
            }
            for member in entries(&host.join("members")) {
                let done = postgres::stop_directory(&member.join("data"));
                let done = done.map_err(|error| {
                    Failure::new(Kind::Failed, format!("{}: {error}", member.display()))
                })?;
                stopped.databases += usize::from(done);
            }
        }
        if context.json {
            return print::json(&serde_json::json!({
                "controllers": stopped.controllers,
                "agents": stopped.agents,
                "gateways": stopped.gateways,
                "poolers": stopped.poolers,
                "databases": stopped.databases,
            }));
        }
        let Stopped { controllers, agents, gateways, poolers, databases } = stopped;
        if controllers + agents + gateways + poolers + databases == 0 {
            print::line(&format!("nothing of {} was running", data.display()));
        } else {
            print::line(&format!(
                "stopped {controllers} controllers, {agents} agents, {gateways} gateways, \
                 {poolers} poolers and {databases} databases in {:.1} s; all data is kept in {}",
                began.elapsed().as_secs_f64(),
                data.display()
            ));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Stopped {
    controllers: usize,
    agents: usize,
    gateways: usize,
    poolers: usize,
    databases: usize,
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// Ends the process a file names, if that very process still lives; how many that were.
fn end(file: &Path) -> Result<usize, Failure> {
    let Ok(text) = fs::read(file) else { return Ok(0) };
    let Ok(identity) = serde_json::from_slice::<Identity>(&text) else { return Ok(0) };
    let Ok(descriptor) = process::pidfd(identity.pid) else { return Ok(0) };
    // Looked at with the descriptor in hand: from here on the number cannot mean another.
    if !identity.lives() {
        return Ok(0);
    }
    let failed = |error: std::io::Error| {
        let text =
            format!("process {} of {} cannot be ended: {error}", identity.pid, file.display());
        Failure::new(Kind::Failed, text)
    };
    process::signal(&descriptor, Signal::TERM).map_err(failed)?;
    if !process::wait_gone(&descriptor, PATIENCE) {
        process::signal(&descriptor, Signal::KILL).map_err(failed)?;
        let _ = process::wait_gone(&descriptor, PATIENCE);
    }
    Ok(1)
}
