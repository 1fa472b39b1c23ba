//! `breakglass`: people go in, for a reason and for a time, and all of it is kept.

mod draft;
mod shell;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use evenkeel_api::act::{Act, State};
use evenkeel_api::order::Accepted;
use evenkeel_api::{Client, GlassOrder};

use super::procedure::{With, follow, transcript};
use crate::failure::Failure;
use crate::find::Context;
use crate::{lasting, print};

/// Break the glass: run a procedure or open a shell on a service, for a reason and a time. It is recorded
/// before anything runs, ends by itself, and what was done stays readable.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel breakglass run end-idle-transactions --service orders --reason \"deploy is stuck\" --for 30m
  evenkeel breakglass approve 7 --as kim
  evenkeel breakglass shell --service orders --reason \"looking at odd rows\" --for 15m
  evenkeel breakglass transcript 7
  evenkeel breakglass draft 7 --name fix-odd-rows --to ./procedures")]
pub struct Breakglass {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What was run and done by hand, the newest first.
    List,
    /// Run a procedure.
    Run {
        /// The procedure.
        procedure: String,
        #[command(flatten)]
        lease: Lease,
        #[command(flatten)]
        with: With,
        /// Who is to agree, where the procedure needs a second person; anybody else if not given.
        #[arg(long, value_name = "NAME")]
        second: Option<String>,
        /// Return as soon as it is recorded.
        #[arg(long)]
        no_wait: bool,
    },
    /// Open psql, or a shell, on a service; what is typed and shown is kept.
    Shell {
        #[command(flatten)]
        lease: Lease,
        /// A shell of the system with the service's login in its environment, instead of psql.
        #[arg(long)]
        system: bool,
    },
    /// Agree, as a second person.
    Approve {
        /// Its number.
        id: u32,
        #[command(flatten)]
        person: Person,
    },
    /// End it before its time.
    End {
        /// Its number.
        id: u32,
        #[command(flatten)]
        person: Person,
    },
    /// What was ordered, and what came of it.
    Transcript {
        /// Its number.
        id: u32,
    },
    /// Make a procedure of what was typed in a shell: a manifest and a script, to be looked over.
    Draft {
        /// The shell's number.
        id: u32,
        /// The procedure's name.
        #[arg(long)]
        name: Option<String>,
        /// Write NAME.toml and NAME.sh into this directory instead of printing them.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// For what, why and for how long.
#[derive(Clone, Debug, Args)]
struct Lease {
    /// The service.
    #[arg(long)]
    service: String,
    /// Why, for the journal.
    #[arg(long)]
    reason: String,
    /// For how long at most, such as 30m.
    #[arg(long = "for", value_name = "TIME", value_parser = lasting::parse)]
    lasts: Duration,
    #[command(flatten)]
    person: Person,
}

#[derive(Clone, Debug, Args)]
struct Person {
    /// Your name, for the record [default: your login here].
    #[arg(long = "as", env = "EVENKEEL_PERSON", value_name = "NAME")]
    name: Option<String>,
}

impl Person {
    fn name(&self) -> String {
        let login = || {
            let names = ["SUDO_USER", "USER", "LOGNAME"];
            names.iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()))
        };
        self.name.clone().or_else(login).unwrap_or_else(|| "operator".to_owned())
    }
}

impl Lease {
    fn order(&self, procedure: &str) -> GlassOrder {
        GlassOrder {
            service: self.service.clone(),
            person: Some(self.person.name()),
            reason: self.reason.clone(),
            lasts_seconds: u32::try_from(self.lasts.as_secs()).unwrap_or(u32::MAX),
            procedure: procedure.to_owned(),
            ..GlassOrder::default()
        }
    }
}

impl Breakglass {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match &self.what {
            What::List => list(context, &client.acts()?),
            What::Run { procedure, lease, with, second, no_wait } => {
                let order = GlassOrder {
                    member: with.member.clone(),
                    parameters: with.parameters(),
                    dry_run: with.dry_run,
                    second: second.clone(),
                    ..lease.order(procedure)
                };
                let accepted = client.break_glass(&order)?;
                let id = accepted.job.unwrap_or(0);
                let waits = client.act(id)?.state == State::Waiting;
                if *no_wait || waits {
                    return said(context, &accepted);
                }
                follow(context, &client, id, lease.lasts.as_secs().saturating_add(60))
            }
            What::Shell { lease, system } => self.shell(context, &client, lease, *system),
            What::Approve { id, person } => {
                said(context, &client.approve_act(*id, &person.name())?)
            }
            What::End { id, person } => said(context, &client.end_act(*id, &person.name())?),
            What::Transcript { id } => {
                let act = client.act(*id)?;
                if context.json {
                    return print::json(&act);
                }
                transcript(&act);
                Ok(())
            }
            What::Draft { id, name, to } => {
                draft::make(context, &client.act(*id)?, name.as_deref(), to.as_deref())
            }
        }
    }

    fn shell(
        &self,
        context: &Context,
        client: &Client,
        lease: &Lease,
        system: bool,
    ) -> Result<(), Failure> {
        let name = if system { "sh" } else { "psql" };
        // Who cannot connect breaks nothing.
        let to = client.url(&lease.service, evenkeel_api::Way::Endpoint)?;
        let accepted = client.break_glass(&GlassOrder { shell: true, ..lease.order(name) })?;
        let id = accepted.job.unwrap_or(0);
        print::note(&accepted.text);
        let came = shell::run(context, client, id, (&to, system), lease.lasts);
        // Whatever came of it, nobody is in there any more; its time may have ended it before.
        match client.end_act(id, &lease.person.name()) {
            Ok(_) | Err(evenkeel_api::Error::Refused { status: 409, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        came?;
        if context.json {
            return print::json(&client.act(id)?);
        }
        print::note(&format!(
            "break-glass {id} has ended; `evenkeel breakglass draft {id}` makes a procedure of it"
        ));
        Ok(())
    }
}

fn said(context: &Context, accepted: &Accepted) -> Result<(), Failure> {
    if context.json {
        return print::json(accepted);
    }
    print::line(&accepted.text);
    Ok(())
}

fn list(context: &Context, acts: &[Act]) -> Result<(), Failure> {
    if context.json {
        return print::json(&acts);
    }
    let heading = ["ID", "SORT", "PROCEDURE", "SERVICE", "BY", "STATE", "REASON"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for act in acts {
        rows.push(vec![
            act.id.to_string(),
            format!("{:?}", act.sort).to_lowercase(),
            act.procedure.clone(),
            act.service.clone(),
            act.by.clone(),
            format!("{:?}", act.state).to_lowercase(),
            act.reason.clone(),
        ]);
    }
    print::table(&rows);
    Ok(())
}
