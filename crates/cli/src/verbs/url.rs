//! `url`: how to connect, for programs.

use clap::Args;

use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Print a service's URL with its password: the stable endpoint, or with --direct its members.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  psql \"$(evenkeel url orders)\"
  evenkeel url orders --direct")]
pub struct Url {
    /// Its name.
    name: String,
    /// The members themselves, past the gateway; they may change.
    #[arg(long)]
    direct: bool,
}

impl Url {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let url = context.client()?.url(&self.name, self.direct)?;
        if context.json {
            return print::json(&url);
        }
        print::line(&url.url);
        Ok(())
    }
}
