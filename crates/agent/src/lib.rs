//! The host side: one process per host that brings members to their goals and tells what it sees.
//!
//! Purpose: a thin shell around [`evenkeel_core::agent::Brain`]. It saves what the brain wants
//! saved, synced, and only then makes driver calls and sends; what comes of them goes back in.
//!
//! Invariants:
//! - databases are not this process's children and outlive it; what runs is adopted at the start;
//! - goals are on disk before they are acted on, and are kept up with no controller in reach;
//! - a process's death is news from the kernel (a descriptor of the process), not from polling.

mod disk;
mod events;
mod gateway;
mod host;
mod perform;
mod pool;
mod stream;
mod witness;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use evenkeel_core::agent::{Brain, Config, Input, Output};
use evenkeel_core::driver::Driver;
use evenkeel_core::goal::Goal;
use evenkeel_core::id::MemberId;
use evenkeel_core::policy::Policy;
use evenkeel_core::report::Hello;
use evenkeel_core::wire;
use evenkeel_drivers::{Setup, image};
use tokio::sync::mpsc;
use tracing::{info, warn};

pub use gateway::Gateway;

use events::{Clock, Event};

/// Most events waiting to be taken in; whoever has more waits.
const EVENTS_MAX: usize = 4096;

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host's name in the fleet.
    pub host: String,
    /// Its zone.
    pub zone: String,
    /// Address its members listen on.
    pub address: IpAddr,
    /// Its own directory: goals, members, pool.
    pub dir: PathBuf,
    /// JSON `{"address", "token"}` of the controller; read again at each dial.
    pub controller_file: PathBuf,
    /// The command that starts a process as nobody's child.
    pub launcher: Vec<String>,
    /// The gateway to keep running on this host, if it has one.
    pub gateway: Option<Gateway>,
    /// Directory of sockets; short.
    pub socket_root: PathBuf,
    /// Freshly initialised directories to keep ready.
    pub pool_target: usize,
    /// Where fetched images are.
    pub images_dir: PathBuf,
    /// Intervals.
    pub policy: Policy,
}

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory cannot be used.
    #[error("cannot use the agent's directory {dir}")]
    Dir {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another agent has the directory.
    #[error("another agent (process {holder}) works in {dir}; stop it, or use another directory")]
    InUse {
        /// Which.
        dir: PathBuf,
        /// Its process.
        holder: String,
    },
}

/// Makes a member's driver.
pub type Drivers = Box<dyn Fn(&Goal) -> Option<Box<dyn Driver>> + Send>;

/// Runs an agent until `shutdown`; its members go on running.
///
/// # Errors
/// [`Error`] if its directory cannot be used.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let image = image::any(&options.images_dir);
    if let Err(error) = &image {
        warn!(host = options.host, "no member can be run here: {error}");
    }
    let setup = Setup {
        host: options.host.clone(),
        members_dir: options.dir.join("members"),
        socket_root: options.socket_root.clone(),
        pool_dir: options.dir.join("pool"),
        pool_target: options.pool_target,
        image: image.ok(),
        launcher: options.launcher.clone(),
        address: options.address.to_string(),
    };
    let digest = setup.image.as_ref().map(|image| image.digest.to_string());
    let pool = pool::Filler::start(setup.clone());
    let drivers = move |goal: &Goal| {
        pool.wake();
        evenkeel_drivers::driver(&goal.identity.kind, &setup)
    };
    run_with(options, digest, Box::new(drivers), shutdown).await
}

/// Runs an agent over drivers of one's own.
///
/// # Errors
/// [`Error`] if its directory cannot be used.
pub async fn run_with(
    options: Options,
    image: Option<String>,
    drivers: Drivers,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let disk = disk::Disk::open(&options.dir)?;
    let config = Config {
        hello: Hello {
            host: options.host.clone(),
            zone: options.zone.clone(),
            address: options.address.to_string(),
            pid: std::process::id(),
            boot: host::boot_id(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            image,
            store: None,
            checks: Vec::new(),
        },
        data_dirs: options.dir.join("members/{}/data").display().to_string(),
        policy: options.policy.clone(),
        kinds: evenkeel_kinds::KINDS,
        host_checks: evenkeel_kinds::host::CHECKS,
    };
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let brain = Brain::new(config, disk.goals(), disk.store());
    let _gateway = options.gateway.clone().map(|g| g.keep(options.launcher.clone()));
    tokio::spawn(stream::dial(options.controller_file.clone(), events.clone()));
    let shell = Shell {
        clock: Clock::new(),
        brain,
        disk,
        drivers,
        performers: BTreeMap::new(),
        watched: BTreeMap::new(),
        stream: None,
        host: host::Host::new(options.dir.clone()),
        events,
    };
    info!(host = options.host, "agent runs");
    shell.run(inbox, shutdown).await;
    Ok(())
}

/// Everything around the brain.
struct Shell {
    clock: Clock,
    brain: Brain,
    disk: disk::Disk,
    drivers: Drivers,
    performers: BTreeMap<MemberId, perform::Performer>,
    watched: BTreeMap<MemberId, u32>,
    stream: Option<mpsc::Sender<Vec<u8>>>,
    host: host::Host,
    events: mpsc::Sender<Event>,
}

impl Shell {
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut taken = Vec::new();
        loop {
            let inputs: Vec<Input> = taken.drain(..).filter_map(|event| self.take(event)).collect();
            let out = self.brain.turn(self.clock.now(), &inputs);
            let wake = out.wake_at.map_or(Duration::from_secs(1), |at| self.clock.until(at));
            self.carry_out(out).await;
            tokio::select! {
                () = &mut shutdown => return,
                _ = inbox.recv_many(&mut taken, EVENTS_MAX) => {}
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    /// An event as the brain takes it; some concern the shell alone.
    fn take(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Opened(stream) => {
                self.stream = Some(stream);
                Some(Input::Opened)
            }
            Event::Closed => {
                self.stream = None;
                Some(Input::Closed)
            }
            Event::Input(input) => Some(input),
            Event::Performed { member, number, outcome, pid } => {
                if let Some(pid) = pid {
                    self.watch(member, pid);
                }
                Some(Input::Outcome { member, number, outcome })
            }
            Event::Ended { member, pid } => {
                // News of an earlier process of the member is none.
                (self.watched.get(&member) == Some(&pid)).then(|| {
                    self.watched.remove(&member);
                    Input::Died { member }
                })
            }
        }
    }

    /// Has the kernel tell when a process ends. Adopted ones are watched as well.
    fn watch(&mut self, member: MemberId, pid: u32) {
        if self.watched.get(&member) != Some(&pid) {
            self.watched.insert(member, pid);
            tokio::spawn(perform::watch(member, pid, self.events.clone()));
        }
    }

    /// Saves first; then calls, sends and asks.
    async fn carry_out(&mut self, out: Output) {
        if let Err(error) = self.disk.save(&out) {
            // What is not on disk is not acted on: the calls of this turn fail instead.
            warn!("goals cannot be saved, nothing is done about them: {error}");
            for call in out.calls {
                let (member, number) = (call.member, call.number);
                let outcome = perform::unsaved(&error);
                let event = Event::Performed { member, number, outcome, pid: None };
                let _ = self.events.send(event).await;
            }
            self.disk.retry(out.save);
            return;
        }
        for call in out.calls {
            let performer = self.performers.entry(call.member).or_insert_with(|| {
                perform::Performer::new((self.drivers)(&call.goal), self.events.clone())
            });
            performer.perform(call);
        }
        for member in &out.forget {
            self.performers.remove(member);
            self.watched.remove(member);
        }
        for message in &out.send {
            let frame = wire::encode(message);
            if self.stream.as_ref().is_some_and(|stream| stream.try_send(frame).is_err()) {
                // Too slow or gone: the dialler notices and opens another.
                self.stream = None;
            }
        }
        for question in out.ask {
            tokio::spawn(witness::look(question, self.events.clone()));
        }
        if out.look_at_host {
            self.host.look(self.events.clone());
        }
        if let Some(reason) = out.refused {
            warn!("the controller is not obeyed: {reason}");
        }
    }
}
