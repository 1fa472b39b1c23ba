//! `agent`: the host side as a process of its own.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use evenkeel_core::policy::Policy;

use crate::failure::{Failure, Kind, chain};
use crate::up::{launcher, logging, runtime, signals};

/// Run the agent of this host. Its databases go on running when it ends.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel agent --host db-7 --zone a --rack r2 --address 10.0.0.7 --dir /var/lib/evenkeel/agent \\
      --controller-file /etc/evenkeel/controller.json")]
pub struct Agent {
    /// The host's name in the fleet.
    #[arg(long)]
    host: String,
    /// Its zone.
    #[arg(long)]
    zone: String,
    /// Its rack in that zone: hosts that share a switch and power fail together, and are one incident.
    #[arg(long)]
    rack: Option<String>,
    /// Address its members listen on.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Its directory: goals, members, pool.
    #[arg(long)]
    dir: PathBuf,
    /// JSON {"address", "token"} of the controller; read again at each dial.
    #[arg(long)]
    controller_file: PathBuf,
    /// Directory of sockets; short [default: DIR/s].
    #[arg(long)]
    sockets: Option<PathBuf>,
    /// Where fetched images are [default: DIR/images].
    #[arg(long)]
    images: Option<PathBuf>,
    /// Freshly initialised directories to keep ready.
    #[arg(long, default_value_t = 2)]
    pool: usize,
    /// Keep a gateway running on this host, with its files here.
    #[arg(long)]
    gateway_dir: Option<PathBuf>,
}

impl Agent {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        logging();
        let launcher = launcher()?;
        let options = evenkeel_agent::Options {
            host: self.host.clone(),
            zone: self.zone.clone(),
            rack: self.rack.clone(),
            address: self.address,
            dir: self.dir.clone(),
            controller_file: self.controller_file.clone(),
            gateway: self.gateway_dir.as_ref().map(|dir| self.gateway(dir, &launcher[0])),
            launcher,
            socket_root: self.sockets.clone().unwrap_or_else(|| self.dir.join("s")),
            pool_target: self.pool,
            images_dir: self.images.clone().unwrap_or_else(|| self.dir.join("images")),
            policy: Policy::default(),
        };
        let run = evenkeel_agent::run(options, signals());
        runtime()?.block_on(run).map_err(|error| Failure::new(Kind::Failed, chain(&error)))
    }

    /// The command of this host's gateway.
    fn gateway(&self, dir: &std::path::Path, program: &str) -> Vec<String> {
        let text = |path: &std::path::Path| path.display().to_string();
        let argv = [
            program,
            "gateway",
            "--name",
            &self.host,
            "--address",
            &self.address.to_string(),
            "--dir",
            &text(dir),
            "--controller-file",
            &text(&self.controller_file),
        ];
        argv.map(str::to_owned).to_vec()
    }
}
