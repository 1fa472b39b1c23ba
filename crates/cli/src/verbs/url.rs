//! `url`: how to connect, for programs.

use clap::Args;
use evenkeel_api::Way;

use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Print a service's URL with its password: the stable endpoint, the pooled one, or its members.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  psql \"$(evenkeel url orders)\"
  pgbench -c 100 \"$(evenkeel url pay --pooled)\"
  evenkeel url orders --direct")]
pub struct Url {
    /// Its name.
    name: String,
    #[command(flatten)]
    way: Ways,
}

/// Which way to a service.
#[derive(Debug, Args)]
pub struct Ways {
    /// The pooled endpoint: transactions share sessions, and wait while a switchover is under way.
    /// What belongs to a session (SET, LISTEN, advisory locks) does not outlast a transaction there.
    #[arg(long, conflicts_with = "direct")]
    pooled: bool,
    /// The members themselves, past the gateway; they may change.
    #[arg(long)]
    direct: bool,
}

impl Ways {
    /// The way named; the stable endpoint without one.
    pub const fn way(&self) -> Way {
        match (self.pooled, self.direct) {
            (true, _) => Way::Pooled,
            (_, true) => Way::Direct,
            _ => Way::Endpoint,
        }
    }
}

impl Url {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let url = context.client()?.url(&self.name, self.way.way())?;
        if context.json {
            return print::json(&url);
        }
        print::line(&url.url);
        Ok(())
    }
}
