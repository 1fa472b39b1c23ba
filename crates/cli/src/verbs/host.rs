//! `host`: the machines of the fleet.

use clap::{Args, Subcommand};
use evenkeel_core::view;

use super::show;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Hosts: list, show, drain, return, remove.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel host list
  evenkeel host drain h1
  evenkeel host return h1")]
pub struct Host {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List every host.
    List,
    /// Show a host.
    Show {
        /// Its name.
        name: String,
    },
    /// Place nothing on a host any more.
    Drain {
        /// Its name.
        name: String,
    },
    /// Take a drained host back.
    Return {
        /// Its name.
        name: String,
    },
    /// Forget an empty host.
    Remove {
        /// Its name.
        name: String,
    },
}

impl Host {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let accepted = match &self.verb {
            Verb::List => return list(context, &client.hosts()?),
            Verb::Show { name } => return page(context, &client.host(name)?),
            Verb::Drain { name } => client.drain(name)?,
            Verb::Return { name } => client.return_host(name)?,
            Verb::Remove { name } => client.remove_host(name)?,
        };
        if context.json {
            return print::json(&accepted);
        }
        print::line(&accepted.text);
        Ok(())
    }
}

fn list(context: &Context, hosts: &[view::Host]) -> Result<(), Failure> {
    if context.json {
        return print::json(&hosts);
    }
    let heading = ["NAME", "ZONE", "RACK", "STATE", "MEMBERS", "AGENT", "HEARD", "NOTES"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for host in hosts {
        let worst = host.findings.first().map(|f| f.check.clone()).unwrap_or_default();
        let heard = host.heard_ms.map(|ms| format!("{} ago", print::span(ms)));
        rows.push(vec![
            host.name.clone(),
            host.zone.clone(),
            host.rack.clone().unwrap_or_else(|| "-".to_owned()),
            host.state.to_string(),
            host.members.to_string(),
            host.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            heard.unwrap_or_else(|| "never".to_owned()),
            match (&host.operation, host.draining) {
                (Some(operation), _) => operation.name.clone(),
                (None, true) => "drained".to_owned(),
                (None, false) => worst,
            },
        ]);
    }
    print::table(&rows);
    Ok(())
}

fn page(context: &Context, host: &view::Host) -> Result<(), Failure> {
    if context.json {
        return print::json(host);
    }
    print::heading(&host.name);
    let version = host.version.as_ref().map_or_else(String::new, |v| format!(" (PostgreSQL {v})"));
    let image = host.image.as_ref().map(|image| format!("{image}{version}"));
    print::table(&[
        vec!["state".into(), host.state.to_string()],
        vec!["zone".into(), host.zone.clone()],
        vec!["rack".into(), host.rack.clone().unwrap_or_else(|| "none".to_owned())],
        vec!["address".into(), host.address.clone()],
        vec!["members".into(), host.members.to_string()],
        vec!["release".into(), host.release.clone()],
        vec!["image".into(), image.unwrap_or_else(|| "none".to_owned())],
    ]);
    if host.draining {
        print::line("it takes no new members");
    }
    show::operation(host.operation.as_ref());
    show::findings(&host.findings);
    Ok(())
}
