//! `maintenance`: windows, and the work that waits for them.

use clap::{Args, Subcommand};
use evenkeel_api::maintenance::{Item, Page};
use evenkeel_api::order::Accepted;
use evenkeel_api::{PlanOrder, WindowOrder};

use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Plan work for a service's maintenance window; what a person orders directly waits for none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel maintenance window pay \"Sun 02:00 4h\"
  evenkeel maintenance plan pay restart --reason \"settings that wait for a restart\"
  evenkeel maintenance plan pay switchover --reason \"its host is serviced\" --by 2026-12-24
  evenkeel maintenance list
  evenkeel maintenance run-now 3")]
pub struct Maintenance {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show a service's windows and what is planned.
    Show {
        /// The service's name.
        name: String,
    },
    /// Set a service's windows, weekly and in UTC; or clear them, for those of the policy.
    Window {
        /// The service's name.
        name: String,
        /// Day, time and length, such as "Sun 02:00 4h"; several with commas between them.
        #[arg(required_unless_present = "clear", conflicts_with = "clear")]
        window: Option<String>,
        /// No windows of its own any more.
        #[arg(long)]
        clear: bool,
    },
    /// Plan work for the next window.
    Plan {
        /// The service's name.
        name: String,
        /// What: restart, switchover or drill.
        task: String,
        /// Why, for the journal.
        #[arg(long)]
        reason: String,
        /// By when it must be done, such as 2026-12-24: past that it waits for no window.
        #[arg(long, value_name = "DATE")]
        by: Option<String>,
    },
    /// Have planned work wait no longer.
    RunNow {
        /// Its number.
        id: u32,
    },
    /// Have planned work not be done.
    Cancel {
        /// Its number.
        id: u32,
    },
    /// Show everything that is planned.
    List,
}

impl Maintenance {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match &self.verb {
            Verb::Show { name } => show(context, &client.maintenance(name)?),
            Verb::Window { name, window, .. } => {
                let order = WindowOrder { window: window.clone() };
                told(context, &client.set_window(name, &order)?)
            }
            Verb::Plan { name, task, reason, by } => {
                let (task, reason) = (task.clone(), reason.clone());
                let order = PlanOrder { task, reason, required_by: by.clone() };
                told(context, &client.plan(name, &order)?)
            }
            Verb::RunNow { id } => told(context, &client.run_now(*id)?),
            Verb::Cancel { id } => told(context, &client.cancel(*id)?),
            Verb::List => {
                let planned = client.planned()?;
                if context.json { print::json(&planned) } else { list(&planned) }
            }
        }
    }
}

/// What became of an order.
fn told(context: &Context, accepted: &Accepted) -> Result<(), Failure> {
    if context.json {
        return print::json(accepted);
    }
    print::line(&accepted.text);
    Ok(())
}

fn show(context: &Context, page: &Page) -> Result<(), Failure> {
    if context.json {
        return print::json(page);
    }
    let from = match page.from.as_str() {
        "policy" => " (the policy's)",
        _ => "",
    };
    let window = page.window.as_ref().map_or("any time".to_owned(), |text| format!("{text} UTC"));
    let open = match &page.opens_at {
        Some(at) => format!("closed, opens {at}"),
        None => "open".to_owned(),
    };
    print::line(&format!("{}: planned work at {window}{from}; {open}", page.service));
    list(&page.planned)
}

fn list(items: &[Item]) -> Result<(), Failure> {
    if items.is_empty() {
        print::note("nothing is planned");
        return Ok(());
    }
    let heading = ["ID", "SERVICE", "WHAT", "STATE", "OPENS", "REQUIRED BY", "REASON"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(items.iter().map(|item| {
        let when = |at: &Option<String>| at.clone().unwrap_or_default();
        vec![
            item.id.to_string(),
            item.service.clone(),
            item.task.clone(),
            item.state.clone(),
            when(&item.opens_at),
            when(&item.required_by),
            item.reason.clone(),
        ]
    }));
    print::table(&rows);
    Ok(())
}
