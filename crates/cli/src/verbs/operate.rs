//! `restart`, `retire`, `revive`, `archive`: orders that end in a state.

use std::time::Instant;

use clap::Args;
use evenkeel_api::order::Accepted;
use evenkeel_api::{Client, Error};
use evenkeel_core::service::State;

use super::wait::Wait;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// What they have in common.
#[derive(Clone, Debug, Args)]
struct Order {
    /// The service's name.
    name: String,
    #[command(flatten)]
    wait: Wait,
}

/// Restart a service's server: stopped with a checkpoint, started, proven by a write.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel restart orders")]
pub struct Restart {
    #[command(flatten)]
    order: Order,
}

/// Stop a service and keep its disks: endpoint closed, stopped cleanly, directory sealed.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel retire orders")]
pub struct Retire {
    #[command(flatten)]
    order: Order,
}

/// Serve again after a retirement: from the disks, or in new members where only the archive is left.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel revive orders")]
pub struct Revive {
    #[command(flatten)]
    order: Order,
}

/// Keep only the archive of a retired service, without waiting for its grace period. Its disks go once a
/// restore has shown that the archive holds everything.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel retire orders && evenkeel archive orders")]
pub struct Archive {
    #[command(flatten)]
    order: Order,
}

impl Order {
    fn run(
        &self,
        context: &Context,
        give: fn(&Client, &str) -> Result<Accepted, Error>,
        state: State,
    ) -> Result<(), Failure> {
        let client = context.client()?;
        let began = Instant::now();
        let accepted = give(&client, &self.name)?;
        let service = self.wait.until(&client, &self.name, state)?;
        match (service, context.json) {
            (Some(service), true) => print::json(&service),
            (None, true) => print::json(&accepted),
            (Some(_), false) => {
                let took = began.elapsed().as_secs_f64();
                print::line(&format!("{} is {state} after {took:.1} s", self.name));
                Ok(())
            }
            (None, false) => {
                print::line(&accepted.text);
                Ok(())
            }
        }
    }
}

impl Restart {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.order.run(context, Client::restart, State::Available)
    }
}

impl Retire {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.order.run(context, Client::retire, State::Retired)
    }
}

impl Revive {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.order.run(context, Client::revive, State::Available)
    }
}

impl Archive {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        self.order.run(context, Client::archive, State::Archived)
    }
}
