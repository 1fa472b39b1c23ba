//! `kind`: what a service can be.

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Kinds of services: list, show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel kind list
  evenkeel kind show postgres
  evenkeel kind show postgres --diagram")]
pub struct Kind {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List every kind.
    List,
    /// Show a kind: plans, checks, its machines.
    Show {
        /// Its name.
        name: String,
        /// Print the state diagrams, in Mermaid's form.
        #[arg(long)]
        diagram: bool,
    },
}

impl Kind {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match &self.verb {
            Verb::List => {
                let kinds = client.kinds()?;
                if context.json {
                    return print::json(&kinds);
                }
                for kind in kinds {
                    let plans: Vec<&str> = kind.plans.iter().map(|p| p.name.as_str()).collect();
                    let plans = plans.join(", ");
                    print::line(&format!("{}  {} (plans: {plans})", kind.name, kind.summary));
                }
                Ok(())
            }
            Verb::Show { name, diagram } => {
                let page = client.kind(name)?;
                if context.json {
                    return print::json(&page);
                }
                if *diagram {
                    print::line(&page.phase_diagram);
                    print::line(&page.health_diagram);
                    print::line(&page.member_diagram);
                    return Ok(());
                }
                print::heading(&format!("{}: {}", page.kind.name, page.kind.summary));
                for plan in &page.kind.plans {
                    print::line(&format!("  plan {}: {}", plan.name, plan.summary));
                }
                print::heading("checks");
                for check in &page.kind.checks {
                    print::line(&format!("  {} ({}): {}", check.name, check.family, check.doc));
                }
                print::heading("phases");
                print::line(&page.phase_table);
                print::heading("health");
                print::line(&page.health_table);
                Ok(())
            }
        }
    }
}
