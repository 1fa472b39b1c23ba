//! `failover`, `switchover`: another member takes the primary's place.

use std::time::Instant;

use clap::Args;
use evenkeel_api::order::Accepted;
use evenkeel_core::service::State;

use super::wait::Wait;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Have a standby take the primary's place as if it had died: nothing acknowledged is lost.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel failover pay --reason \"its host makes strange noises\"")]
pub struct Failover {
    /// The service's name.
    name: String,
    /// Why, for the journal.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    wait: Wait,
}

/// Have a standby take the primary's place in order: the primary stops when the standby has everything.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel switchover pay
  evenkeel switchover pay --to h2")]
pub struct Switchover {
    /// The service's name.
    name: String,
    /// The member that takes over, by its id or its host's name; any standby if not given.
    #[arg(long, value_name = "MEMBER")]
    to: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

fn finish(
    name: &str,
    wait: &Wait,
    context: &Context,
    began: Instant,
    accepted: &Accepted,
) -> Result<(), Failure> {
    let service = wait.until(&context.client()?, name, State::Available)?;
    match (service, context.json) {
        (Some(service), true) => print::json(&service),
        (None, true) => print::json(accepted),
        (Some(service), false) => {
            let took = began.elapsed().as_secs_f64();
            let primary = service.members.iter().find(|member| member.role == "primary");
            let on = primary.map_or_else(String::new, |m| format!(" on {} ({})", m.host, m.id));
            print::line(&format!(
                "{name} is written to{on} after {took:.1} s, term {}",
                service.term
            ));
            Ok(())
        }
        (None, false) => {
            print::line(&accepted.text);
            Ok(())
        }
    }
}

impl Failover {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let began = Instant::now();
        let accepted = context.client()?.failover(&self.name, &self.reason)?;
        finish(&self.name, &self.wait, context, began, &accepted)
    }
}

impl Switchover {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let began = Instant::now();
        let accepted = context.client()?.switchover(&self.name, self.to.as_deref())?;
        finish(&self.name, &self.wait, context, began, &accepted)
    }
}
