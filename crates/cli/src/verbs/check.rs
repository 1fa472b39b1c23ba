//! `check`: what is looked at all the time.

use clap::{Args, Subcommand};
use evenkeel_api::{CheckPage, JournalEntry, JournalQuery};
use evenkeel_core::journal::Topic;

use super::explain::entries;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Newest entries of a service's journal that are looked through for what came and went.
const HISTORY_MAX: usize = 1000;

/// Checks: list, show, history.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel check list
  evenkeel check show blocked-queries
  evenkeel check history orders --check long-transactions")]
pub struct Check {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List everything that is looked at.
    List,
    /// Show a check: what it looks at, what it goes by now, examples.
    Show {
        /// Its name.
        name: String,
    },
    /// Show what came and went of a service lately.
    History {
        /// The service's name, or a host's.
        name: String,
        /// Only this check.
        #[arg(long)]
        check: Option<String>,
    },
}

impl Check {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match &self.verb {
            Verb::List => {
                let checks = client.checks()?;
                if context.json {
                    return print::json(&checks);
                }
                let heading = ["NAME", "FAMILY", "SCOPE", "EVERY", "OF", ""];
                let mut rows = vec![heading.map(str::to_owned).to_vec()];
                for check in checks {
                    let family = check.family.to_string();
                    let columns = [check.name, family, check.scope, check.every, check.of];
                    rows.push(columns.into_iter().chain([check.summary]).collect());
                }
                print::table(&rows);
                Ok(())
            }
            Verb::Show { name } => {
                let check = client.check(name)?;
                if context.json {
                    return print::json(&check);
                }
                page(&check);
                Ok(())
            }
            Verb::History { name, check } => {
                let found = history(context, name, check.as_deref())?;
                if context.json {
                    return print::json(&found);
                }
                entries(&found, Some(client.fleet()?.now));
                Ok(())
            }
        }
    }
}

fn page(page: &CheckPage) {
    let check = &page.check;
    print::heading(&check.name);
    let (family, scope, every) = (check.family, &check.scope, &check.every);
    print::line(&format!("family {family}, about a {scope}, looked at: {every}, of: {}", check.of));
    print::line(&page.doc);
    if !page.thresholds.is_empty() {
        print::heading("goes by");
        for threshold in &page.thresholds {
            print::line(&format!("  {} = {}", threshold.name, threshold.value));
        }
    }
    if !page.question.is_empty() {
        print::heading("asks");
        print::line(&format!("  {}", page.question));
        print::heading("examples");
        print::line(&format!("  fires at {}: {}", page.firing, page.evidence));
        print::line(&format!("  quiet at {}", page.quiet));
    }
}

/// What came and went of a service, by its journal, oldest first.
pub fn history(
    context: &Context,
    name: &str,
    check: Option<&str>,
) -> Result<Vec<JournalEntry>, Failure> {
    let query =
        JournalQuery { subject: Some(name.to_owned()), after: None, limit: Some(HISTORY_MAX) };
    let mut found = context.client()?.journal(&query)?;
    found.retain(|entry| {
        let of = |check| entry.text.split(' ').next() == Some(check);
        entry.topic == Topic::Finding && check.is_none_or(of)
    });
    Ok(found)
}
