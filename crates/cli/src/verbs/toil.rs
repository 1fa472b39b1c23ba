//! `toil`: what the fleet does by itself, and what people still do by hand.

use clap::Args;
use evenkeel_api::toil::Page;

use crate::failure::Failure;
use crate::find::Context;
use crate::print;

/// Show the toil ledger: minutes saved by what runs by itself, and what people still do by hand.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel toil
  evenkeel toil --just")]
pub struct Toil {
    /// Only what people did by hand in the last 90 days, with what each could become.
    #[arg(long)]
    just: bool,
}

impl Toil {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let page = context.client()?.toil()?;
        match (context.json, self.just) {
            (true, true) => print::json(&page.just),
            (true, false) => print::json(&page),
            (false, true) => just(&page),
            (false, false) => {
                saved(&page);
                just(&page)
            }
        }
    }
}

fn saved(page: &Page) {
    let hours = page.minutes / 60;
    print::line(&format!(
        "{} min saved: {hours} h, {:.2} working years of 2,000 h, {:.2} calendar years",
        page.minutes, page.working_years, page.calendar_years
    ));
    if page.saved.is_empty() {
        return;
    }
    let mut rows =
        vec![["OPERATION", "BY", "TIMES", "MINUTES", "LAST"].map(str::to_owned).to_vec()];
    rows.extend(page.saved.iter().map(|saved| {
        vec![
            saved.operation.clone(),
            saved.by.clone(),
            saved.times.to_string(),
            saved.minutes.to_string(),
            saved.last_at.clone(),
        ]
    }));
    print::table(&rows);
}

fn just(page: &Page) -> Result<(), Failure> {
    if page.just.is_empty() {
        print::note("nobody did anything by hand in the last 90 days");
        return Ok(());
    }
    print::heading("by hand in the last 90 days");
    let mut rows = vec![["ACT", "TIMES", "LAST", "COULD BECOME"].map(str::to_owned).to_vec()];
    rows.extend(page.just.iter().map(|act| {
        vec![act.act.clone(), act.times.to_string(), act.last_at.clone(), act.could_become.clone()]
    }));
    print::table(&rows);
    Ok(())
}
