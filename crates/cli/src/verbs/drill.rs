//! `drill`: what must work in an emergency, done and measured while there is none.

use clap::{Args, Subcommand};
use evenkeel_api::order::Accepted;
use evenkeel_api::{DrillResult, DrillSchedule, drill};
use evenkeel_controller::Measured;
use evenkeel_core::drill::Kind as Exercise;

use crate::driller;
use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Exercise an emergency on a service that serves, and measure it; by hand, or by itself on a schedule.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel drill failover pay
  evenkeel drill failover pay --json | jq .gap_ms
  evenkeel drill controller pay
  evenkeel drill brake pay
  evenkeel drill schedule pay --every 30d
  evenkeel drill schedule
  evenkeel drill results pay")]
pub struct Drill {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A standby takes over as if the primary had died, while a canary commits numbered rows through
    /// the stable endpoint.
    Failover {
        /// The service's name.
        name: String,
    },
    /// The controller ends without goodbye and begins anew, while a canary commits numbered rows on a
    /// service: for how long nothing was decided, and whether anybody who wrote noticed.
    Controller {
        /// The service's name.
        name: String,
        /// It was begun by the controller, which is about to be lost.
        #[arg(long, hide = true)]
        begun: bool,
    },
    /// The brake is put on for one service for three seconds: something harmless must wait for its end,
    /// and go on then.
    Brake {
        /// The service's name.
        name: String,
    },
    /// Have a service be drilled by itself in its maintenance window; without a service: show every
    /// schedule.
    #[command(after_help = "Examples:
  evenkeel drill schedule pay --every 30d
  evenkeel drill schedule pay --kind controller --every 90d
  evenkeel drill schedule pay --off
  evenkeel drill schedule")]
    Schedule {
        /// The service's name.
        name: Option<String>,
        /// What is exercised: failover, controller or brake.
        #[arg(long, default_value = "failover", value_name = "KIND")]
        kind: String,
        /// How often, such as 30d or 12h.
        #[arg(long, value_name = "SPAN", conflicts_with = "off", requires = "name")]
        every: Option<String>,
        /// Not any more.
        #[arg(long, requires = "name")]
        off: bool,
    },
    /// Show what drills came to, and how they go: the median of the newest five and of the five before.
    Results {
        /// The service's name; every service's if absent.
        name: Option<String>,
    },
    /// Have the drill that runs on a service end as soon as it can.
    Abort {
        /// The service's name.
        name: String,
    },
}

impl Drill {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.verb {
            Verb::Failover { name } => exercise(context, name, Exercise::Failover, false),
            Verb::Controller { name, begun } => {
                exercise(context, name, Exercise::Controller, *begun)
            }
            Verb::Brake { name } => exercise(context, name, Exercise::Brake, false),
            Verb::Schedule { name: Some(name), kind, every, off } if every.is_some() || *off => {
                let order = DrillSchedule { kind: kind.clone(), every: every.clone() };
                told(context, &context.client()?.schedule_drill(name, &order)?)
            }
            Verb::Schedule { name, .. } => schedules(context, &pages(context, name.as_deref())?),
            Verb::Results { name } => results(context, &pages(context, name.as_deref())?),
            Verb::Abort { name } => told(context, &context.client()?.abort_drill(name)?),
        }
    }
}

fn pages(context: &Context, name: Option<&str>) -> Result<Vec<drill::Page>, Failure> {
    let client = context.client()?;
    Ok(match name {
        Some(name) => vec![client.drills(name)?],
        None => client.all_drills()?,
    })
}

/// What became of an order.
fn told(context: &Context, accepted: &Accepted) -> Result<(), Failure> {
    if context.json {
        return print::json(accepted);
    }
    print::line(&accepted.text);
    Ok(())
}

/// Does a drill now, and has it kept.
fn exercise(context: &Context, name: &str, kind: Exercise, begun: bool) -> Result<(), Failure> {
    let client = context.client()?;
    let drill = kind.to_string();
    if !begun {
        client.begin_drill(name, &drill)?;
    }
    let done = driller::run(&client, name, kind);
    let Measured { gap_ms, lost, acked, failed } = match &done {
        Ok(report) => report.measured.clone(),
        Err(failure) => Measured { failed: Some(failure.to_string()), ..Measured::default() },
    };
    client.drilled(name, &DrillResult { drill, gap_ms, lost, acked, failed: failed.clone() })?;
    let report = done?;
    if context.json {
        print::json(&report.json)?;
    } else {
        print::line(&format!("{name}: {}", report.text));
    }
    if let Some(why) = failed {
        return Err(Failure::new(Kind::Failed, format!("the drill failed: {why}")));
    }
    // A plan that waits for nobody says what a failover may cost; what that is, a drill shows.
    let may_lose = client.service(name)?.failover.is_some_and(|failover| failover.cost.is_some());
    if lost > 0 && !may_lose {
        let text = format!("{lost} acknowledged rows are missing");
        return Err(Failure::new(Kind::Failed, text));
    }
    Ok(())
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn schedules(context: &Context, pages: &[drill::Page]) -> Result<(), Failure> {
    if context.json {
        return print::json(&pages);
    }
    let mut rows = vec![row(&["SERVICE", "DRILL", "EVERY", "DUE", "NOW"])];
    for page in pages {
        for scheduled in &page.scheduled {
            let runs = page.running.as_ref() == Some(&scheduled.kind);
            let now = if runs { "runs" } else { "" };
            let (every, due) = (&scheduled.every, &scheduled.due_at);
            rows.push(row(&[&page.service, &scheduled.kind, every, due, now]));
        }
    }
    if rows.len() == 1 {
        print::note(
            "no service is drilled by itself; `evenkeel drill schedule SERVICE --every 30d`, or the \
             policy's drill_every for every service",
        );
        return Ok(());
    }
    print::table(&rows);
    Ok(())
}

fn results(context: &Context, pages: &[drill::Page]) -> Result<(), Failure> {
    if context.json {
        return print::json(&pages);
    }
    let mut rows = vec![row(&["SERVICE", "DRILL", "WHEN", "GAP", "LOST", "ACKED", "CAME TO"])];
    let mut trends = Vec::new();
    for page in pages {
        for result in &page.results {
            let came = match &result.failed {
                Some(why) => format!("failed: {why}"),
                None if result.lost > 0 => "rows were lost".to_owned(),
                None => "well".to_owned(),
            };
            let gap = format!("{} ms", result.gap_ms);
            let (lost, acked) = (result.lost.to_string(), result.acked.to_string());
            rows.push(row(&[&page.service, &result.kind, &result.at, &gap, &lost, &acked, &came]));
        }
        for trend in &page.trends {
            let before = trend.before_ms.map_or_else(String::new, |ms| format!(", before {ms} ms"));
            let (service, kind, newest) = (&page.service, &trend.kind, trend.newest_ms);
            trends.push(format!("{service}: {kind}, median of the newest {newest} ms{before}"));
        }
    }
    if rows.len() == 1 {
        print::note("no drill was done yet; `evenkeel drill failover SERVICE` does one");
        return Ok(());
    }
    print::table(&rows);
    trends.iter().for_each(|trend| print::line(trend));
    Ok(())
}
