//! `store`: the controller's records, for people.

use clap::{Args, Subcommand};
use evenkeel_store::Store as _;
use evenkeel_store::sqlite;

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::print;

/// Look into the controller's store while the controller does not run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel store verify --data DIR
  evenkeel store dump --data DIR | jq .")]
pub struct Store {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print every row and journal entry, one JSON object a line.
    Dump,
    /// Check every row and the whole chain of the journal.
    Verify,
}

impl Store {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let file = context.data().join("controller/store.db");
        let failed = |error: evenkeel_store::Error| {
            let kind = match &error {
                evenkeel_store::Error::Missing { .. } => Kind::NotFound,
                evenkeel_store::Error::InUse { .. } => Kind::Refused,
                evenkeel_store::Error::Corrupt { .. } => Kind::Unwell,
                _ => Kind::Failed,
            };
            Failure::new(kind, chain(&error))
        };
        let store = sqlite::open_existing(&file).map_err(failed)?;
        match self.verb {
            Verb::Dump => store.dump(&mut std::io::stdout().lock()).map_err(failed),
            Verb::Verify => {
                let found = store.verify().map_err(failed)?;
                let (rows, entries, dropped) = (found.rows, found.entries, found.dropped);
                if context.json {
                    return print::json(&serde_json::json!({
                        "rows": rows, "entries": entries, "dropped": dropped,
                    }));
                }
                let before = match dropped {
                    0 => String::new(),
                    dropped => format!("; {dropped} older entries were dropped by retention"),
                };
                print::line(&format!(
                    "{rows} rows and {entries} journal entries are sound{before}"
                ));
                Ok(())
            }
        }
    }
}
