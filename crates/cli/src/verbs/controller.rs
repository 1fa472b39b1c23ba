//! `controller`: the controller as a process of its own.

use std::net::SocketAddr;

use clap::Args;
use evenkeel_core::backup::engine::Engine;

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::print;
use crate::rules::Rules;
use crate::up::signals;

/// Run a controller over a data directory, for a fleet whose agents run elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel controller --data /var/lib/evenkeel --listen 127.0.0.1:7432")]
pub struct Controller {
    /// Address of its API, and of agents' and gateways' streams.
    #[arg(long, default_value = "127.0.0.1:7432")]
    listen: SocketAddr,
    /// What packs the log and backups of services that are created from now on: native or pgbackrest.
    #[arg(long, value_name = "ENGINE", default_value_t)]
    backup_engine: Engine,
    #[command(flatten)]
    rules: Rules,
    /// Hosts of one cell, the unit of ownership: a new host that comes when the newest cell has so many opens
    /// one more. A fleet with fewer hosts is one cell.
    #[arg(long, value_name = "HOSTS", default_value_t = evenkeel_controller::CELL_HOSTS_MAX,
        value_parser = clap::value_parser!(u32).range(1..))]
    cell_hosts_max: u32,
    /// Host names it answers to, beside addresses and localhost.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

impl Controller {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let data = context.data();
        if rustix::process::geteuid().is_root() {
            // Its agents could not read what root writes. Only returns if it could not be done.
            return Err(crate::up::user::become_evenkeel(&data));
        }
        crate::up::logging();
        let dir = data.join("controller");
        let options = evenkeel_controller::Options {
            listen: self.listen,
            backup_engine: self.backup_engine,
            policy: self.rules.policy()?,
            cell_hosts_max: self.cell_hosts_max,
            remedies: self.rules.remedies()?,
            alerts: self.rules.alerts(),
            allowed_hosts: self.allow_host.clone(),
            procedures: self.rules.procedures()?,
            vault: Some(std::sync::Arc::new(crate::vault::Repositories)),
            driller: Some(std::sync::Arc::new(crate::driller::OverApi { data: data.clone() })),
            ..evenkeel_controller::Options::new(dir.clone())
        };
        crate::up::runtime()?.block_on(async {
            let failed = |error| Failure::new(Kind::Failed, chain(&error));
            let mut running = evenkeel_controller::start(options).await.map_err(failed)?;
            crate::up::write_identity(&dir.join("pid.json"))?;
            print::note(&format!("the controller answers at http://{}", running.address));
            tokio::select! {
                () = signals() => {
                    running.stop().await;
                    Ok(())
                }
                error = running.failed() => Err(failed(error)),
            }
        })
    }
}
