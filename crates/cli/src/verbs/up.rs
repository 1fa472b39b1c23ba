//! `up`: a whole fleet on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use evenkeel_core::backup::engine::Engine;

use crate::failure::Failure;
use crate::find::Context;
use crate::lasting;
use crate::rules::Rules;
use crate::up;

/// Run a fleet on this machine: controller, store, hosts' agents and a gateway. Ctrl-C ends the
/// controller; agents, gateway and databases go on (`evenkeel down` ends them).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel up
  evenkeel up --data ./fleet --hosts 1 --listen 127.0.0.1:7433")]
pub struct Up {
    /// Address of the API, and of agents' and gateways' streams.
    #[arg(long, default_value = "127.0.0.1:7432")]
    listen: SocketAddr,
    /// Local hosts, in zones a, b, c in turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=26))]
    hosts: u8,
    /// Racks in each zone, hosts in turn; 0: hosts are in none.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    racks: u8,
    /// Start a killed agent again after this long ("10s", "500ms"), or "never".
    #[arg(long, default_value = "10s", value_parser = respawn)]
    respawn_after: Respawn,
    /// Freshly initialised directories each host keeps ready.
    #[arg(long, default_value_t = 1)]
    pool: usize,
    /// What packs the log and backups of services that are created from now on: native or pgbackrest.
    #[arg(long, value_name = "ENGINE", default_value_t)]
    backup_engine: Engine,
    #[command(flatten)]
    rules: Rules,
    /// Where fetched images are kept [default: DATA/images].
    #[arg(long, env = "EVENKEEL_IMAGES", value_name = "DIR")]
    images: Option<std::path::PathBuf>,
}

/// When a killed agent is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Respawn(pub Option<Duration>);

fn respawn(text: &str) -> Result<Respawn, String> {
    if text == "never" {
        return Ok(Respawn(None));
    }
    lasting::parse(text).map(|after| Respawn(Some(after))).map_err(|why| format!("{why}, or never"))
}

impl Up {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        up::run(
            context,
            &up::Options {
                listen: self.listen,
                hosts: self.hosts,
                racks: self.racks,
                respawn_after: self.respawn_after.0,
                pool: self.pool,
                backup_engine: self.backup_engine,
                rules: self.rules.clone(),
                images: self.images.clone().unwrap_or_else(|| context.data().join("images")),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(respawn("10s"), Ok(Respawn(Some(Duration::from_secs(10)))));
        assert_eq!(respawn("500ms"), Ok(Respawn(Some(Duration::from_millis(500)))));
        assert_eq!(respawn("3"), Ok(Respawn(Some(Duration::from_secs(3)))));
        assert_eq!(respawn("never"), Ok(Respawn(None)));
        assert!(respawn("soon").is_err());
    }
}
