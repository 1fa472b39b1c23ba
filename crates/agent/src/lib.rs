//! The host side: an agent runs members on one host, as a controller's goals say, and alone.
//!
//! Purpose: a thin shell around [`evenkeel_core::agent::Brain`], which decides everything. What is
//! here is I/O: the stream to the controller, goals on disk, driver calls on threads of their own,
//! news of processes' deaths, witnesses' looks, readings of the host.
//!
//! The story: [`run`] takes the directory's lock, reads the goals kept there and begins to turn: it
//! feeds what came in to the brain, writes what must be on disk, and only then makes driver calls
//! and sends reports. One task owns the brain; every other one only sends it events.
//!
//! Invariants:
//! - record, then act: no call is made for, and no report sent of, what is not synced to disk;
//! - nothing here decides about a member, and nothing here waits for a controller;
//! - servers and the gateway are nobody's children and outlive the agent, which adopts what runs;
//! - a file that cannot be read is set aside under a name that says so, and never acted on.
#![deny(missing_docs)]

mod clock;
mod disk;
mod drivers;
mod gateway;
mod host;
mod ledger;
mod pool;
mod poolers;
mod reserve;
mod shell;
mod stream;
mod watch;
mod witness;
mod workers;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_core::policy::Policy;

pub use disk::Error;
pub use drivers::Drivers;

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's name, unique in its fleet.
    pub host: String,
    /// The zone it lies in.
    pub zone: String,
    /// The rack in that zone, if that is known.
    pub rack: Option<String>,
    /// Address its members listen on.
    pub address: IpAddr,
    /// Everything of this host: lock, goals, members, pool. One agent at a time.
    pub dir: PathBuf,
    /// JSON `{"address", "token"}` of the controller; read again at every dial.
    pub controller_file: PathBuf,
    /// The command that starts a program as nobody's child (`evenkeel_drivers::launch::main`).
    pub launcher: Vec<String>,
    /// Program and arguments of the gateway that this agent keeps running, if any.
    pub gateway: Option<Vec<String>>,
    /// Directory of servers' sockets; short, as socket paths have at most 107 bytes.
    pub socket_root: PathBuf,
    /// How many freshly initialised directories are kept ready.
    pub pool_target: usize,
    /// Where fetched images are.
    pub images_dir: PathBuf,
    /// Intervals.
    pub policy: Policy,
}

/// Runs an agent until `shutdown` is ready; its members run on.
///
/// # Errors
/// [`Error`] when its directory cannot be used or another agent has it. Nothing later ends it.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let drivers = Arc::new(drivers::Real::new(&options));
    run_with(options, drivers, shutdown).await
}

/// [`run`] with drivers of the caller's.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    options: Options,
    drivers: Arc<dyn Drivers>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let disk = disk::Disk::open(&options.dir)?;
    shell::Shell::start(options, disk, drivers).await?.run(shutdown).await;
    Ok(())
}

/// An error with its causes, for logs.
fn chain(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
