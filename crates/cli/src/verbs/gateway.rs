//! `gateway`: the endpoint forwarder as a process of its own.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::failure::{Failure, Kind, chain};
use crate::up::{logging, runtime, signals};

/// Run a gateway: the stable endpoints of services, forwarded to whoever takes writes.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel gateway --name db-7 --address 10.0.0.7 --dir /var/lib/evenkeel/gateway \\
      --controller-file /etc/evenkeel/controller.json")]
pub struct Gateway {
    /// Its name: the host's it stands for.
    #[arg(long)]
    name: String,
    /// Address it listens on.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Its directory: routes, lock.
    #[arg(long)]
    dir: PathBuf,
    /// JSON {"address", "token"} of the controller; read again at each dial.
    #[arg(long)]
    controller_file: PathBuf,
}

impl Gateway {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        logging();
        let options = evenkeel_gateway::Options::new(
            self.name.clone(),
            self.address,
            self.dir.clone(),
            self.controller_file.clone(),
        );
        let run = evenkeel_gateway::run(options, signals());
        runtime()?.block_on(run).map_err(|error| Failure::new(Kind::Failed, chain(&error)))
    }
}
