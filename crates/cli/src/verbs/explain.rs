//! `explain`: why a service is as it is.

use clap::Args;
use evenkeel_api::JournalQuery;
use evenkeel_core::time::Time;

use super::show;
use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Say what a service is doing, how it looks, and why: observations, decision, steps, journal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel explain orders
  evenkeel explain orders --json | jq .decision")]
pub struct Explain {
    /// Its name.
    name: String,
    /// Journal entries to show.
    #[arg(long, default_value_t = 15)]
    limit: usize,
}

impl Explain {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        let query =
            JournalQuery { subject: Some(self.name.clone()), after: None, limit: Some(self.limit) };
        let explained = client.explain(&self.name);
        let journal = client.journal(&query)?;
        let explain = match explained {
            Ok(explain) => explain,
            Err(error) => {
                // What is gone is still in the journal.
                if !journal.is_empty() && !context.json {
                    print::note(&format!("{} is gone; its journal ends so:", self.name));
                    entries(&journal, None);
                }
                return Err(error.into());
            }
        };
        if context.json {
            let both = serde_json::json!({ "explain": explain, "journal": journal });
            return print::json(&both);
        }
        let now = client.fleet()?.now;
        show::service_page(&explain.service);
        print::heading("seen");
        for seen in &explain.observations {
            let ago = print::span(seen.ago_ms);
            print::line(&format!("  {} on {}: {} ({ago} ago)", seen.by, seen.subject, seen.text));
        }
        print::heading("decided");
        print::line(&format!("  {}", explain.decision_text));
        print::line(&format!("  posture {}", explain.posture));
        print::heading("journal");
        entries(&journal, Some(now));
        Ok(())
    }
}

/// Journal entries, oldest first, each with how long ago it was where the time is known.
pub fn entries(journal: &[evenkeel_api::JournalEntry], now: Option<Time>) {
    for entry in journal {
        let ago = now.map_or_else(
            || format!("at {} ms", entry.at.0),
            |now| format!("{:>8} ago", print::span(now.since(entry.at))),
        );
        print::line(&format!("  {ago}  {}: {}", entry.subject, entry.text));
        for evidence in &entry.evidence {
            print::line(&format!("                {evidence}"));
        }
    }
}
