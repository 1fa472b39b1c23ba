//! `connect`: the kind's own client, connected.

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::verbs::url::Ways;

/// Open psql on a service. The password goes by the environment, not by the command line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel connect orders
  evenkeel connect orders -- -c 'SELECT 1'")]
pub struct Connect {
    /// Its name.
    name: String,
    #[command(flatten)]
    way: Ways,
    /// Arguments for psql.
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Connect {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let to = context.client()?.url(&self.name, self.way.way())?;
        let images = context.data().join("images");
        let image =
            evenkeel_drivers::image::any(evenkeel_drivers::image::Software::Postgres, &images).ok();
        let unpacked = image.and_then(|image| image.command("psql").ok());
        let mut psql = unpacked.unwrap_or_else(|| Command::new("psql"));
        let port = to.port.to_string();
        psql.env("PGPASSWORD", &to.password).args(["-h", &to.host, "-p", &port]);
        for name in ["PATH", "HOME", "TERM", "LANG", "PAGER"] {
            // The image's programs run in an environment of their own; these are the user's.
            if let Some(value) = std::env::var_os(name) {
                psql.env(name, value);
            }
        }
        psql.args(["-U", &to.user, "-d", &to.database]).args(&self.arguments);
        // Only returns if it could not be run.
        let error = psql.exec();
        let text = format!("psql cannot be run ({error}); install the package postgresql-client");
        Err(Failure::new(Kind::Failed, text))
    }
}
