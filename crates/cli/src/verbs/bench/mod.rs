//! `bench`: figures of this machine.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::find::Context;
use crate::lasting;
use crate::print;
use crate::stage::Stage;

mod archives;
mod backup;
mod checks;
mod clients;
mod engine;
mod fleet;
mod ha;
mod hand;
mod pairs;
mod recovery;
mod soak;
mod usage;

/// Measure. Prints JSON, `engine` a table unless --json.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel bench engine --services 1000000 --json
  evenkeel bench fleet --services 100
  evenkeel bench fleet --only create,kill
  evenkeel bench ha --trials 20
  evenkeel bench archives --services 100 --only proofs
  evenkeel bench backup --scale 150
  evenkeel bench soak --faults 100 --for 20m
  evenkeel bench checks --services 200 --pairs 5
  evenkeel bench recovery --services 200 --runs 3")]
pub struct Bench {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The engine at any size: memory, durable transitions, a cold start, beats through real sockets, and how
    /// soon deaths are known meanwhile. Starts nothing but itself. Less than a minute as it is.
    #[command(after_help = "Examples:
  evenkeel bench engine
  evenkeel bench engine --services 1000000 --hosts 20000 --for 10m --dir /srv/scratch --json
  evenkeel bench engine --services 100000 --only transitions")]
    Engine(engine::Engine),
    #[command(hide = true)]
    EnginePart(engine::EnginePart),
    /// A real fleet on this machine: creates, kills, outages, cost at rest. Takes some minutes.
    Fleet {
        /// Services that are there at once.
        #[arg(long, default_value_t = 100)]
        services: usize,
        /// Parts to measure [default: all].
        #[arg(long, value_delimiter = ',')]
        only: Vec<fleet::Part>,
    },
    /// Backups, restores and log with each backup engine, beside the same tool by hand. Takes some minutes.
    Backup {
        /// Of pgbench's database; 150 are 2 GB.
        #[arg(long, default_value_t = 150)]
        scale: u32,
    },
    /// A service with a standby: pauses of planned switchovers, the ways to it beside each other, what
    /// it costs at rest. Takes some minutes.
    Ha {
        /// Switchovers for each sort of client.
        #[arg(long, default_value_t = 20)]
        trials: usize,
        /// Parts to measure [default: all].
        #[arg(long, value_delimiter = ',')]
        only: Vec<ha::Part>,
    },
    /// Random faults on services with standbys, one after another; nothing may be lost, and nobody
    /// waited for. The full one takes some hours.
    Soak {
        /// Faults.
        #[arg(long, default_value_t = 500)]
        faults: usize,
        /// No new fault after this long.
        #[arg(long = "for", default_value = "4h", value_parser = lasting::parse)]
        lasts: Duration,
        /// The same seed, the same faults.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Archives: many services proven one after another under writers, and hosts that burn. Takes some
    /// minutes for each hundred services.
    Archives {
        /// Services that are proven.
        #[arg(long, default_value_t = 100)]
        services: usize,
        /// Hosts that burn, one after another.
        #[arg(long, default_value_t = 4)]
        burns: usize,
        /// Parts to measure [default: all].
        #[arg(long, value_delimiter = ',')]
        only: Vec<archives::Part>,
    },
    /// Services with standbys lose one of three zones at once.
    Zone {
        /// Services.
        #[arg(long, default_value_t = 50)]
        services: usize,
    },
    /// What checks cost agents and servers, and what clients feel of them: with checks and without, in
    /// turns. Takes half an hour.
    Checks {
        /// Services that are there.
        #[arg(long, default_value_t = 200)]
        services: usize,
        /// Phases with checks, each beside one without.
        #[arg(long, default_value_t = 5)]
        pairs: usize,
        /// How long each phase is measured.
        #[arg(long = "for", default_value = "60s", value_parser = lasting::parse)]
        lasts: Duration,
    },
    /// Every server killed at once: until all services take writes, beside unlimited starts and a loop by
    /// hand. Takes half an hour.
    Recovery {
        /// Services that are killed.
        #[arg(long, default_value_t = 200)]
        services: usize,
        /// Recoveries each way.
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Ways to measure [default: all].
        #[arg(long, value_delimiter = ',')]
        only: Vec<recovery::Way>,
    },
}

impl Bench {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.verb {
            Verb::Engine(verb) => verb.run(context),
            Verb::EnginePart(part) => part.run(),
            Verb::Fleet { services, only } => fleet::run(*services, only),
            Verb::Backup { scale } => backup::run(*scale),
            Verb::Ha { trials, only } => ha::run(*trials, only),
            Verb::Soak { faults, lasts, seed } => soak::run(*faults, *lasts, *seed),
            Verb::Archives { services, burns, only } => archives::run(*services, *burns, only),
            Verb::Zone { services } => soak::zone(*services),
            Verb::Checks { services, pairs, lasts } => checks::run(*services, *pairs, *lasts),
            Verb::Recovery { services, runs, only } => recovery::run(*services, *runs, only),
        }
    }
}

/// Measures on a fleet of one's own and prints the figures. What was measured is taken down again; what
/// failed is left to be looked at.
fn on_stage(
    name: &str,
    flags: &[&str],
    measure: impl FnOnce(&mut Stage) -> Result<Value, Failure>,
) -> Result<(), Failure> {
    let mut stage = Stage::new(name, flags)?;
    let data = stage.data().display().to_string();
    print::note(&format!("if this is interrupted: evenkeel down --data {data}"));
    let measured = measure(&mut stage);
    let down = stage.down();
    stage.put_away(measured.is_ok() && down.is_ok());
    let figures = measured?;
    down?;
    print::json(&figures)
}

/// A policy under which nothing is done by the clock while it is measured: no proofs, and no remedy for a disk
/// that the benchmark itself fills.
fn quiet_policy() -> Value {
    const LATER_MS: u64 = 1000 * 60 * 60 * 1000;
    json!({
        "prove_first_within": LATER_MS, "prove_every": LATER_MS,
        "checks": { "disk_free_warn_percent": 1, "disk_free_critical_percent": 0 },
    })
}

/// Waits until each of so many services, `db-0` and on, has its first backup: none is taken later.
fn backed_up(stage: &mut Stage, services: usize) -> Result<(), Failure> {
    for n in 0..services {
        let name = format!("db-{n}");
        stage.until("a first backup", |stage| {
            stage.json(&["show", &name])["backup"]["last_at"].is_string()
        })?;
    }
    print::note(&format!("{services} services, each with a backup"));
    Ok(())
}

/// Runs in short: how many, minimum, median, maximum, sum.
fn spread(mut runs: Vec<f64>) -> Value {
    runs.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (runs.first(), runs.last()) else { return Value::Null };
    json!({
        "n": runs.len(), "min": min, "median": runs[runs.len() / 2], "max": max,
        "sum": runs.iter().sum::<f64>(),
    })
}
