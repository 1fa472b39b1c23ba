//! Drills, done over the API as a person would: by the verb, and for the controller when one is due.

mod brake;
mod controller;
mod failover;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use evenkeel_api::{Client, Way};
use evenkeel_controller::{Access, Driller, Measured};
use evenkeel_core::drill::Kind as Drill;
use evenkeel_drivers::launch::Launch;
use serde_json::Value;

use crate::canary::{Canary, Row};
use crate::failure::{Failure, Kind, chain};
use crate::up::launcher;

/// Rows that are acknowledged before and after, so that the gap has two ends.
const ROWS: usize = 20;
/// How long a drill may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between tries to write, and between looks.
const STEP: Duration = Duration::from_millis(5);
/// Between looks at whether it was aborted.
const LOOK: Duration = Duration::from_millis(250);
/// Where the canary writes; it is made and dropped.
const TABLE: &str = "evenkeel_drill";

/// What a drill came to.
#[derive(Debug)]
pub struct Report {
    /// For the controller, which keeps it.
    pub measured: Measured,
    /// In words.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// Does a drill on a service and measures it. It was recorded that it begins.
///
/// # Errors
/// When it could not be done, took too long, or was aborted.
pub fn run(client: &Client, name: &str, kind: Drill) -> Result<Report, Failure> {
    match kind {
        Drill::Failover => failover::run(client, name),
        Drill::Controller => controller::run(client, name),
        Drill::Brake => brake::run(client, name),
        Drill::Proof => {
            Err(Failure::new(Kind::Usage, format!("`evenkeel prove {name}` proves a restore")))
        }
    }
}

/// What a canary saw during a drill.
struct Sung {
    /// Rows that were acknowledged, in order.
    acked: Vec<Row>,
    /// How many of those were missing afterwards.
    lost: usize,
}

/// Does something while a canary commits numbered rows through a service's stable endpoint: begun once its
/// first rows were acknowledged, and left without its table.
fn under_canary<T>(
    client: &Client,
    name: &str,
    act: impl FnOnce(&Canary, &mut Patience<'_>) -> Result<T, Failure>,
) -> Result<(T, Sung), Failure> {
    let url = client.url(name, Way::Endpoint)?.url;
    let mut canary = Canary::start(&url, TABLE, 1)?;
    let mut patience = Patience::new(client, name);
    let done = patience
        .wait("the canary's first rows", || Ok(canary.acked().len() >= ROWS))
        .and_then(|()| act(&canary, &mut patience));
    let acked = canary.end();
    if done.is_err() {
        // It goes with the next drill, if nobody can be asked now.
        let _ = canary.clear();
    }
    let (done, acked) = (done?, acked?);
    let found = canary.found()?;
    canary.clear()?;
    let lost = acked.iter().filter(|row| !found.contains(&row.number)).count();
    Ok((done, Sung { acked, lost }))
}

/// The longest time between two acknowledged rows, in milliseconds.
fn gap_ms(acked: &[Row]) -> u64 {
    let gaps = acked.windows(2).map(|pair| pair[1].acked.duration_since(pair[0].acked));
    u64::try_from(gaps.max().unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Waits for one thing after another, until it is aborted.
struct Patience<'a> {
    client: &'a Client,
    name: &'a str,
    looked: Instant,
}

impl<'a> Patience<'a> {
    fn new(client: &'a Client, name: &'a str) -> Self {
        Self { client, name, looked: Instant::now() }
    }

    fn wait(
        &mut self,
        what: &str,
        mut so: impl FnMut() -> Result<bool, evenkeel_api::Error>,
    ) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !so()? {
            if Instant::now() > end {
                let text = format!("waited {} s for {what}", PATIENCE.as_secs());
                return Err(Failure::new(Kind::TimedOut, text));
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                // A controller that is away tells nobody to end.
                if self.client.drills(self.name).is_ok_and(|page| page.aborted) {
                    let text = format!("aborted while it waited for {what}");
                    return Err(Failure::new(Kind::Failed, text));
                }
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }
}

/// Does drills that are due.
#[derive(Debug)]
pub struct OverApi {
    /// The fleet's data directory.
    pub data: PathBuf,
}

impl OverApi {
    /// Has a process of its own exercise the loss of the controller, which it outlives.
    fn outlive(&self, service: &str) -> Result<(), Failure> {
        let program = std::env::current_exe()?.display().to_string();
        let data = self.data.display().to_string();
        let argv = [&program, "--data", &data, "drill", "controller", service, "--begun"];
        let directory = self.data.join("controller");
        let launch = Launch {
            argv: argv.map(str::to_owned).to_vec(),
            env: std::env::var("PATH")
                .ok()
                .map(|path| ("PATH".to_owned(), path))
                .into_iter()
                .collect(),
            directory: PathBuf::from("/"),
            log: directory.join("drill.log"),
            out: directory.join("drill.json"),
        };
        let ran = launch.run(&launcher()?);
        ran.map_err(|error| Failure::new(Kind::Failed, chain(&error)))?;
        Ok(())
    }
}

impl Driller for OverApi {
    fn drill(&self, at: &Access, service: &str, kind: Drill) -> Option<Measured> {
        let failed =
            |why: Failure| Measured { failed: Some(why.to_string()), ..Measured::default() };
        if kind == Drill::Controller {
            return self.outlive(service).err().map(failed);
        }
        let client = Client::new(&at.address, &at.token);
        Some(match run(&client, service, kind) {
            Ok(report) => report.measured,
            Err(failure) => failed(failure),
        })
    }

    fn lose(&self) -> std::io::Error {
        match std::env::current_exe() {
            Ok(program) => Command::new(program).args(std::env::args_os().skip(1)).exec(),
            Err(error) => error,
        }
    }
}
