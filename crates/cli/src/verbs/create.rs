//! `create`: a new service.

use std::time::Instant;

use clap::Args;
use evenkeel_api::NewService;
use evenkeel_core::backup::engine::Engine;
use evenkeel_core::service::State;

use super::wait::Wait;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Create a service and wait until it takes writes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel create postgres orders
  evenkeel create postgres orders --plan dev --no-wait
  psql \"$(evenkeel url orders)\"")]
pub struct Create {
    /// Its kind; `evenkeel kind list` shows them.
    kind: String,
    /// Its name: a-z, 0-9, '_' and '-', beginning with a letter.
    name: String,
    /// Its plan; the kind's first if not given.
    #[arg(long)]
    plan: Option<String>,
    /// What packs its log and backups: native or pgbackrest [default: the fleet's].
    #[arg(long, value_name = "ENGINE")]
    backup_engine: Option<Engine>,
    #[command(flatten)]
    wait: Wait,
}

impl Create {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let began = Instant::now();
        let new = NewService {
            name: self.name.clone(),
            kind: self.kind.clone(),
            plan: self.plan.clone(),
            backup_engine: self.backup_engine,
        };
        let accepted = client.create(&new)?;
        let Some(service) = self.wait.until(&client, &self.name, State::Available)? else {
            if context.json {
                return print::json(&accepted);
            }
            print::line(&accepted.text);
            return Ok(());
        };
        if context.json {
            return print::json(&service);
        }
        let (name, hint) = (&self.name, context.hint());
        print::line(&format!(
            "{name} is available after {:.1} s ({}, plan {})",
            began.elapsed().as_secs_f64(),
            service.kind,
            service.plan
        ));
        if let Some(url) = &service.url {
            print::line(&format!("endpoint  {url}"));
        }
        print::line(&format!("connect   evenkeel connect {name}{hint}"));
        print::line(&format!("          psql \"$(evenkeel url {name}{hint})\""));
        Ok(())
    }
}
