//! PgBouncer: the pooler of one service's pooled endpoint.
//!
//! It lies in a directory of its own and leads to the endpoint of the gateway beside it. Clients log in
//! with what the server itself stores of them, so that no password is kept here; one that runs from
//! another program than is wanted hands its clients over to its successor.

mod conf;
mod console;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evenkeel_core::driver::Error;
use evenkeel_core::id::ServiceId;
use evenkeel_core::pooler::{self, Kept, Pooler};
use rustix::process::Signal;

use crate::Setup;
use crate::files::{fault, make_private, remove_dir};
use crate::launch::Launch;
use crate::process::{self, Identity, State};
use console::Console;

/// A pooler that was started answers within this, or it does not run.
const START_MAX: Duration = Duration::from_secs(5);
/// One that was asked to end is gone within this, or it is killed.
const STOP_MAX: Duration = Duration::from_secs(2);
/// What was killed is gone within this, or the kernel is stuck.
const KILL_MAX: Duration = Duration::from_secs(10);
/// Between looks at a condition that nothing tells of.
const STEP: Duration = Duration::from_millis(5);
/// Who runs, beside its settings.
const STARTED: &str = "started.json";

/// One service's pooler on this host.
pub struct PgBouncer {
    setup: Setup,
    console: Option<Console>,
    /// It serves, by what was asked of it last: asking again would fill its log with refusals.
    serves: bool,
}

impl PgBouncer {
    /// Makes nothing on disk.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self { setup, console: None, serves: false }
    }

    fn dir(&self, service: ServiceId) -> PathBuf {
        self.setup.poolers_dir.join(service.0.to_string())
    }

    fn image(&self) -> Result<&crate::image::Image, Error> {
        self.setup.pooler_image.as_ref().ok_or_else(|| Error::ProgramMissing {
            program: "pgbouncer".to_owned(),
            image: "none: none is installed, and none was fetched".to_owned(),
        })
    }

    /// Starts it, as the successor of the one that runs, if one does.
    fn start(&mut self, dir: &Path, wanted: &Pooler, takes_over: bool) -> Result<u32, Error> {
        let image = self.image()?;
        let mut argv = vec![image.program("pgbouncer")?.display().to_string()];
        argv.extend(takes_over.then(|| "--reboot".to_owned()));
        argv.push(dir.join(conf::SETTINGS).display().to_string());
        let launch = Launch {
            argv,
            env: image.env.clone(),
            directory: dir.to_owned(),
            log: dir.join("pgbouncer.log"),
            out: dir.join(STARTED),
        };
        let failed = |error: crate::launch::Error| Error::Failed(crate::chain(&error));
        let before = running(dir);
        (self.console, self.serves) = (None, true);
        let identity = launch.run(&self.setup.launcher).map_err(failed)?;
        let end = Instant::now() + START_MAX;
        let alone = || !takes_over || before.is_none_or(|pid| process::state(pid).is_none());
        loop {
            if !identity.lives() {
                return Err(why_ended(dir, wanted));
            }
            // Until its predecessor is gone, it is that one who answers.
            if alone() && self.ask(wanted, "SHOW VERSION").is_ok() {
                return Ok(identity.pid);
            }
            if Instant::now() > end {
                end_process(identity.pid, Signal::KILL, KILL_MAX)?;
                let limit_ms = u64::try_from(START_MAX.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::Deadline { what: "the pooler's first answer".into(), limit_ms });
            }
            std::thread::sleep(STEP);
        }
    }

    /// Asks over the kept connection, or a new one where it is gone. One that did not answer in time
    /// is not used again.
    fn ask(&mut self, wanted: &Pooler, command: &str) -> Result<usize, Error> {
        if let Some(console) = self.console.take() {
            let asked = console.ask(command);
            if !console.is_closed() {
                self.console =
                    Some(console).filter(|_| !matches!(asked, Err(Error::Deadline { .. })));
                return asked;
            }
        }
        let console = Console::open(&self.setup.socket_root, wanted.port)?;
        let asked = console.ask(command);
        self.console = Some(console).filter(|_| !matches!(asked, Err(Error::Deadline { .. })));
        asked
    }

    /// Has clients' transactions wait; whether no session at the server is left.
    fn pause(&mut self, wanted: &Pooler) -> Result<bool, Error> {
        self.serves = false;
        // A pause that was asked for before goes on, and asking again is refused.
        Ok(self.ask(wanted, "PAUSE").is_ok() || self.ask(wanted, "SHOW SERVERS")? == 0)
    }

    fn resume(&mut self, wanted: &Pooler) -> Result<(), Error> {
        if !self.serves {
            // Refused where it is not paused.
            let _ = self.ask(wanted, "RESUME");
            self.ask(wanted, "SHOW VERSION")?;
            self.serves = true;
        }
        Ok(())
    }
}

impl pooler::Driver for PgBouncer {
    fn keep(&mut self, wanted: &Pooler) -> Result<Kept, Error> {
        let dir = self.dir(wanted.service);
        for made in [&dir, &self.setup.socket_root] {
            make_private(made).map_err(fault("cannot make", made))?;
        }
        let moved = conf::port(&dir).is_some_and(|port| port != wanted.port);
        let changed = conf::write(&self.setup, &dir, wanted)?;
        let mut pid = running(&dir);
        if let Some(pid) = pid.filter(|_| wanted.paused && !changed && !moved)
            && let Ok(so) = self.pause(wanted)
        {
            return Ok(Kept { pid, so });
        }
        if let Some(running) = pid {
            if moved || self.ask(wanted, "SHOW VERSION").is_err() {
                end_process(running, Signal::TERM, STOP_MAX)?;
                pid = None;
            } else if changed {
                self.ask(wanted, "RELOAD")?;
            }
        }
        let pid = match pid {
            None => self.start(&dir, wanted, false)?,
            Some(pid) if !wanted.paused && self.is_outdated(pid) => {
                self.start(&dir, wanted, true)?
            }
            Some(pid) => pid,
        };
        let so = match wanted.paused {
            true => self.pause(wanted)?,
            false => self.resume(wanted).map(|()| true)?,
        };
        Ok(Kept { pid, so })
    }

    fn remove(&mut self, service: ServiceId) -> Result<(), Error> {
        self.console = None;
        let dir = self.dir(service);
        stop_directory(&dir)?;
        remove_dir(&dir).map_err(fault("cannot remove", &dir))
    }
}

impl PgBouncer {
    /// Whether it runs from another program than it should.
    fn is_outdated(&self, pid: u32) -> bool {
        let Ok(wanted) = self.image().and_then(|image| image.program("pgbouncer")) else {
            return false;
        };
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|runs| runs != wanted)
    }
}

/// The pooler that works in a directory: the one started last, or any.
fn running(dir: &Path) -> Option<u32> {
    let text = fs::read(dir.join(STARTED)).ok()?;
    let started = serde_json::from_slice::<Identity>(&text).ok().filter(Identity::lives);
    let dir = dir.canonicalize().ok()?;
    started.map(|identity| identity.pid).or_else(|| process::all_in(&dir).first().copied())
}

/// Ends whatever pooler works in a directory; whether there was one.
///
/// # Errors
/// [`Error::Deadline`] when something of it is left.
pub fn stop_directory(dir: &Path) -> Result<bool, Error> {
    let Ok(dir) = dir.canonicalize() else { return Ok(false) };
    let all = process::all_in(&dir);
    for pid in &all {
        end_process(*pid, Signal::TERM, STOP_MAX)?;
    }
    Ok(!all.is_empty())
}

fn end_process(pid: u32, signal: Signal, patience: Duration) -> Result<(), Error> {
    let Ok(descriptor) = process::pidfd(pid) else { return Ok(()) };
    let failed = |error: std::io::Error| Error::Failed(format!("cannot end {pid}: {error}"));
    // A stopped process hears nothing but this.
    let signal = if process::state(pid) == Some(State::Stopped) { Signal::KILL } else { signal };
    process::signal(&descriptor, signal).map_err(failed)?;
    if process::wait_gone(&descriptor, patience) {
        return Ok(());
    }
    process::signal(&descriptor, Signal::KILL).map_err(failed)?;
    if process::wait_gone(&descriptor, KILL_MAX) {
        return Ok(());
    }
    let limit_ms = u64::try_from(KILL_MAX.as_millis()).unwrap_or(u64::MAX);
    Err(Error::Deadline { what: format!("the end of process {pid}"), limit_ms })
}

/// What a pooler that ended at once said.
fn why_ended(dir: &Path, wanted: &Pooler) -> Error {
    let log = fs::read_to_string(dir.join("pgbouncer.log")).unwrap_or_default();
    let last = log.lines().rev().take(20).collect::<Vec<_>>();
    if last.iter().any(|line| line.contains("Address already in use")) {
        return Error::PortTaken { port: wanted.port };
    }
    let said = last.iter().find(|line| line.contains("FATAL") || line.contains("ERROR"));
    let said = said.or(last.first()).copied().unwrap_or("nothing");
    Error::Failed(format!("pgbouncer ended at once; it said: {said}"))
}
