//! The gateway of this host, kept running. It is nobody's child and outlives the agent.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evenkeel_drivers::launch::Launch;
use evenkeel_drivers::process::Identity;

/// First wait after a gateway that could not be started or ended at once; doubled up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// One that ran this long is started again at once.
const STEADY: Duration = Duration::from_secs(5);

/// How a gateway is started, and where it is found again.
pub(crate) struct Keeper {
    launch: Launch,
    launcher: Vec<String>,
}

impl Keeper {
    /// Identity and output go into files of the agent's directory.
    pub fn new(argv: Vec<String>, dir: &Path, launcher: Vec<String>) -> Self {
        let (out, log) = (dir.join("gateway.json"), dir.join("gateway.log"));
        Self {
            launch: Launch { argv, env: Vec::new(), log, out, directory: dir.to_owned() },
            launcher,
        }
    }

    /// Keeps it running for as long as this is polled.
    pub async fn keep(self) {
        let mut wait = RETRY_FIRST;
        let mut found = adopt(&self.launch.out);
        loop {
            let began = Instant::now();
            let running = match found.take() {
                Some(identity) => Ok(identity),
                None => self.start().await,
            };
            match running {
                Ok(Identity { pid, .. }) => {
                    tracing::info!(pid, "the gateway runs");
                    if let Err(error) = crate::watch::gone(pid).await {
                        tracing::warn!(pid, %error, "the gateway cannot be watched");
                        found = adopt(&self.launch.out);
                    }
                }
                Err(error) => tracing::error!(error, "the gateway cannot be started"),
            }
            if began.elapsed() >= STEADY {
                wait = RETRY_FIRST;
                continue;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn start(&self) -> Result<Identity, String> {
        let (launch, launcher) = (self.launch.clone(), self.launcher.clone());
        let started = tokio::task::spawn_blocking(move || launch.run(&launcher)).await;
        started.map_err(|error| error.to_string())?.map_err(|error| crate::chain(&error))
    }
}

/// The gateway an earlier agent started, if it still runs.
fn adopt(out: &PathBuf) -> Option<Identity> {
    let identity: Identity = serde_json::from_slice(&std::fs::read(out).ok()?).ok()?;
    identity.lives().then_some(identity)
}
