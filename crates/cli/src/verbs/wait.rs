//! Waiting for a service to be somewhere, with progress.

use std::time::{Duration, Instant};

use clap::Args;
use evenkeel_api::Client;
use evenkeel_core::check::Severity;
use evenkeel_core::service::State;
use evenkeel_core::view;

use crate::failure::{Failure, Kind};
use crate::print::Progress;

/// Between looks.
const STEP: Duration = Duration::from_millis(25);

/// Whether and how long a verb waits.
#[derive(Clone, Debug, Args)]
pub struct Wait {
    /// Return as soon as the order is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this many seconds; the order goes on.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
}

impl Wait {
    /// For a verb with bounds of its own.
    pub const fn new(no_wait: bool, timeout: u64) -> Self {
        Self { no_wait, timeout }
    }

    /// Waits until a service is in a state and no operation is under way. `None`: it is gone, or
    /// nobody wants to wait.
    pub fn until(
        &self,
        client: &Client,
        name: &str,
        state: State,
    ) -> Result<Option<view::Service>, Failure> {
        if self.no_wait {
            return Ok(None);
        }
        let end = Instant::now() + Duration::from_secs(self.timeout);
        let mut progress = Progress::default();
        loop {
            let service = match client.service(name) {
                Ok(service) => service,
                Err(evenkeel_api::Error::Refused { status: 404, .. })
                    if state == State::Terminated =>
                {
                    progress.end();
                    return Ok(None);
                }
                // A controller that restarts meanwhile goes on where it was.
                Err(evenkeel_api::Error::Unreachable { .. }) if Instant::now() < end => {
                    progress.show("the controller is not reached; waiting");
                    std::thread::sleep(STEP);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if service.state == state && service.operation.is_none() {
                progress.end();
                return Ok(Some(service));
            }
            let failed = service.import.as_ref().and_then(|import| import.failed.as_ref());
            if let Some(why) = failed.filter(|_| state == State::Available) {
                progress.end();
                let text = format!(
                    "{name} is not imported: {why}; `evenkeel terminate {name} --confirm {name}` \
                     removes what is left"
                );
                return Err(Failure::new(Kind::Failed, text));
            }
            progress.show(&describe(&service));
            if Instant::now() > end {
                progress.end();
                let text = format!(
                    "{name} is {} after {} s; it goes on. `evenkeel explain {name}` says why",
                    service.state, self.timeout
                );
                return Err(Failure::new(Kind::TimedOut, text));
            }
            std::thread::sleep(STEP);
        }
    }
}

/// Where a service is, in a line.
fn describe(service: &view::Service) -> String {
    let mut text = format!("{}: {}", service.name, service.state);
    if let Some(operation) = &service.operation {
        let step = operation.steps.iter().find(|s| s.progress == view::Progress::UnderWay);
        match step {
            Some(step) => {
                text.push_str(&format!(", {}: {}", operation.name, step.name));
                if let Some(missing) = step.missing.first() {
                    text.push_str(&format!(" ({missing})"));
                }
            }
            None => text.push_str(&format!(", {} waits its turn", operation.name)),
        }
    }
    if let Some(page) = service.findings.iter().find(|f| f.severity == Severity::Page) {
        text.push_str(&format!(" - {}", page.evidence));
    }
    text
}
