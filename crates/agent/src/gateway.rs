//! Keeping the host's gateway running. It is nobody's child and outlives the agent: one that runs
//! is found by what it wrote down, not started again.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use evenkeel_drivers::launch::Launch;
use evenkeel_drivers::process::{self, Identity};
use tracing::{info, warn};

/// The gateway of a host.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The command.
    pub argv: Vec<String>,
    /// Its directory, where it writes `pid.json`.
    pub dir: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
}

/// Longest wait for the end of a gateway before looking anew.
const STEP: Duration = Duration::from_secs(1);
/// Between starts, so that one that cannot run does not spin.
const STEP_FAILED: Duration = Duration::from_millis(500);

/// Ends the keeping, not the gateway, when it is dropped.
pub struct Kept {
    _stop: Sender<()>,
}

impl Gateway {
    /// Keeps it running.
    pub fn keep(self, launcher: Vec<String>) -> Kept {
        let (stop, stopped) = channel::<()>();
        thread::spawn(move || {
            loop {
                let wait = match self.running() {
                    Some(identity) => {
                        // News from the kernel, or time to see whether we are still needed.
                        if let Ok(descriptor) = process::pidfd(identity.pid) {
                            let _ = process::wait_gone(&descriptor, STEP);
                        }
                        Duration::ZERO
                    }
                    None => {
                        self.start(&launcher);
                        STEP_FAILED
                    }
                };
                if stopped.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        });
        Kept { _stop: stop }
    }

    /// The one that runs, by its own file or by its launcher's.
    fn running(&self) -> Option<Identity> {
        ["pid.json", "launched.json"].into_iter().find_map(|name| {
            let identity: Identity =
                serde_json::from_slice(&fs::read(self.dir.join(name)).ok()?).ok()?;
            identity.lives().then_some(identity)
        })
    }

    fn start(&self, launcher: &[String]) {
        if let Err(error) = fs::create_dir_all(&self.dir) {
            warn!("the gateway's directory cannot be made: {error}");
            return;
        }
        let environment = [("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8")];
        let launch = Launch {
            argv: self.argv.clone(),
            env: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            directory: PathBuf::new(),
            log: self.log.clone(),
            out: self.dir.join("launched.json"),
        };
        match launch.run(launcher) {
            Ok(identity) => info!("the gateway was started as process {}", identity.pid),
            Err(error) => warn!("the gateway was not started: {error}"),
        }
    }
}
