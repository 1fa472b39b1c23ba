//! `journal`: what happened, and what is happening.

use clap::Args;
use evenkeel_api::JournalQuery;

use super::explain::entries;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Print the journal; --follow goes on as entries come.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel journal
  evenkeel journal --subject orders --limit 100
  evenkeel journal --follow --json")]
pub struct Journal {
    /// Only entries about this service or host.
    #[arg(long)]
    subject: Option<String>,
    /// Newest entries to print.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Go on printing as entries come.
    #[arg(long, short)]
    follow: bool,
}

impl Journal {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let query =
            JournalQuery { subject: self.subject.clone(), after: None, limit: Some(self.limit) };
        let journal = client.journal(&query)?;
        let now = client.fleet()?.now;
        if context.json && !self.follow {
            return print::json(&journal);
        }
        if context.json {
            journal.iter().try_for_each(json_line)?;
        } else {
            entries(&journal, Some(now));
        }
        if !self.follow {
            return Ok(());
        }
        let last = journal.last().map(|entry| entry.position);
        for entry in client.events(last)? {
            let entry = entry?;
            if self.subject.as_ref().is_some_and(|subject| *subject != entry.subject) {
                continue;
            }
            if context.json {
                json_line(&entry)?;
            } else {
                entries(std::slice::from_ref(&entry), None);
            }
        }
        Ok(())
    }
}

fn json_line(entry: &evenkeel_api::JournalEntry) -> Result<(), Failure> {
    print::line(&serde_json::to_string(entry).map_err(anyhow::Error::from)?);
    Ok(())
}
