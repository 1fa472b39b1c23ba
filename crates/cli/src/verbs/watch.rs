//! `watch`: the outside watcher, for a machine that is not one of the fleet's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use evenkeel_controller::alert::Outside;

use tokio::net::TcpListener;

use super::alert;
use crate::failure::{Failure, Kind};
use crate::{lasting, print, up};

/// Hear the pings of a fleet's control plane, and tell people when they stay away. It needs nothing of the
/// fleet: run it elsewhere, and point `[watcher]` of the fleet's alerts.toml at it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, with url = \"http://watch.internal:7499/our-fleet\" in [watcher] of the fleet's file:
  evenkeel watch --listen 0.0.0.0:7499 --path /our-fleet --alerts alerts.toml

Its own file names whom it tells; [watcher] there is not used. Who knows the path can keep it quiet: choose one
that nobody guesses."
)]
pub struct Watch {
    /// Address to hear pings at.
    #[arg(long, default_value = "127.0.0.1:7499")]
    listen: SocketAddr,
    /// The path that pings come to.
    #[arg(long, default_value = "/")]
    path: String,
    /// Whom to tell, and in which order (see docs/alerts.toml).
    #[arg(long, value_name = "FILE")]
    alerts: PathBuf,
    /// Tell people when nothing was heard for so long: three pings' time or more.
    #[arg(long, default_value = "3m", value_parser = lasting::parse)]
    limit: Duration,
}

impl Watch {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        let (channels, _, notes) = alert::load(&self.alerts, "watch")?;
        // It is one itself.
        let others = notes.iter().filter(|note| !note.contains("[watcher]"));
        others.for_each(|note| print::note(&format!("note: {note}")));
        let outside = Outside::new(channels, self.limit, &self.path);
        let runtime = up::runtime()?;
        let listener = runtime.block_on(TcpListener::bind(self.listen)).map_err(|error| {
            let text = format!("cannot listen at {}: {error}; name another --listen", self.listen);
            Failure::new(Kind::Failed, text)
        })?;
        let address = listener.local_addr()?;
        print::note(&format!("pings are heard at http://{address}{}", self.path));
        runtime.spawn(outside.hear(listener));
        outside.watch(print::line)
    }
}
