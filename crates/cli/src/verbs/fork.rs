//! `fork`, `rollback`: services from backups and archived log.

use std::time::Instant;

use clap::Args;
use evenkeel_api::order::Accepted;
use evenkeel_api::{Client, ForkOrder, RestoreTarget};
use evenkeel_core::service::State;

use super::wait::Wait;
use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// How far the log is replayed.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
struct To {
    /// Every transaction that committed until then, like 2026-11-22T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Every record of the log that ends until there, like 0/3000148.
    #[arg(long, value_name = "POSITION")]
    lsn: Option<String>,
    /// To a restore point made with `pg_create_restore_point`.
    #[arg(long = "name", value_name = "POINT")]
    point: Option<String>,
}

impl To {
    fn target(&self) -> RestoreTarget {
        let Self { at, lsn, point } = self.clone();
        RestoreTarget { at, lsn, point }
    }
}

/// Make a new service from another's backup and log; the other is not touched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel fork orders orders-copy
  evenkeel fork orders orders-copy --at 2026-11-22T10:00:00Z
  evenkeel fork orders orders-copy --name before-the-upgrade")]
pub struct Fork {
    /// The service to make it from.
    source: String,
    /// The new service's name.
    name: String,
    #[command(flatten)]
    to: To,
    /// Wait until it takes writes; what is done anyway.
    #[arg(long, hide = true)]
    wait: bool,
    #[command(flatten)]
    waits: Wait,
}

/// Put a service back to how it was, in new members; the old ones are retired and can be revived.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel rollback orders --at 2026-11-22T10:00:00Z")]
pub struct Rollback {
    /// The service's name.
    name: String,
    #[command(flatten)]
    to: To,
    /// Wait until it takes writes; what is done anyway.
    #[arg(long, hide = true)]
    wait: bool,
    #[command(flatten)]
    waits: Wait,
}

impl Fork {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let (client, began) = (context.client()?, Instant::now());
        let order = ForkOrder { name: self.name.clone(), target: self.to.target() };
        let accepted = client.fork(&self.source, &order)?;
        finish(context, &client, &self.name, &self.waits, began, &accepted)
    }
}

impl Rollback {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let target = self.to.target();
        if target == RestoreTarget::default() {
            let text = "say how far back: `--at TIME`, `--lsn POSITION` or `--name POINT`";
            return Err(Failure::new(Kind::Usage, text.to_owned()));
        }
        let (client, began) = (context.client()?, Instant::now());
        let before = client.service(&self.name)?.id;
        let accepted = client.rollback(&self.name, target)?;
        // It has its name once it serves: until then it goes by another.
        let id = accepted.service;
        let made = client.services()?.into_iter().find(|service| Some(service.id) == id);
        if let Some(made) = made.filter(|made| made.id != before && made.name != self.name) {
            let waited = self.waits.until(&client, &made.name, State::Available);
            if waited.is_err() && client.service(&made.name).is_ok() {
                waited?;
            }
        }
        finish(context, &client, &self.name, &self.waits, began, &accepted)
    }
}

fn finish(
    context: &Context,
    client: &Client,
    name: &str,
    wait: &Wait,
    began: Instant,
    accepted: &Accepted,
) -> Result<(), Failure> {
    let Some(service) = wait.until(client, name, State::Available)? else {
        if context.json {
            return print::json(accepted);
        }
        print::line(&accepted.text);
        return Ok(());
    };
    if context.json {
        return print::json(&service);
    }
    let took = began.elapsed().as_secs_f64();
    print::line(&format!("{name} is available after {took:.1} s ({})", accepted.text));
    if let Some(url) = &service.url {
        print::line(&format!("endpoint  {url}"));
    }
    print::line(&format!("connect   evenkeel connect {name}{}", context.hint()));
    Ok(())
}
