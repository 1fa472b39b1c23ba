//! `terminate`: the end of a service, asked for twice.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use evenkeel_core::service::State;

use super::wait::Wait;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// End a service and remove its data for ever. Asks for the name again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel terminate orders
  evenkeel terminate orders --confirm orders")]
pub struct Terminate {
    /// Its name.
    name: String,
    /// Its name again.
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

impl Terminate {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let confirm = match &self.confirm {
            Some(confirm) => confirm.clone(),
            None if std::io::stdin().is_terminal() => {
                // Does it exist? Before anybody is asked to type.
                client.service(&self.name)?;
                print::note(&format!(
                    "this removes {0} and its data for ever; type {0} to go on:",
                    self.name
                ));
                let mut answer = String::new();
                std::io::stdin().lock().read_line(&mut answer)?;
                answer.trim().to_owned()
            }
            None => String::new(),
        };
        let accepted = client.terminate(&self.name, &confirm)?;
        let left = self.wait.until(&client, &self.name, State::Terminated)?;
        if context.json {
            return print::json(&accepted);
        }
        match left {
            None => print::line(&format!("{}: {}", self.name, accepted.text)),
            Some(service) => print::line(&format!("{} is {}", self.name, service.state)),
        }
        Ok(())
    }
}
