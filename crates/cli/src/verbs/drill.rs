//! `drill`: what must work in an emergency, done and measured while there is none.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use evenkeel_api::{DrillResult, Way};
use evenkeel_core::view;
use serde::Serialize;

use crate::canary::Canary;
use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print;

/// Rows that are acknowledged before and after, so that the gap has two ends.
const ROWS: usize = 20;
/// How long a drill may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between tries to write, and between looks.
const STEP: Duration = Duration::from_millis(5);
/// Where the canary writes; it is made and dropped.
const TABLE: &str = "evenkeel_drill";

/// Exercise an emergency on a service that serves, and measure it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel drill failover pay
  evenkeel drill failover pay --json | jq .gap_ms")]
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
}

/// What a drill came to.
#[derive(Debug, Serialize)]
struct Report {
    gap_ms: u64,
    lost: usize,
    acked: usize,
    old_primary: String,
    new_primary: String,
}

impl Drill {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let Verb::Failover { name } = &self.verb;
        let client = context.client()?;
        let before = client.service(name)?;
        let old_primary = primary(&before);
        let url = client.url(name, Way::Endpoint)?.url;
        let mut canary = Canary::start(&url, TABLE, 1)?;
        let done = (|| {
            let acked = || canary.acked().len();
            wait("the canary's first rows", || Ok(acked() >= ROWS))?;
            client.failover(name, "a drill")?;
            let mut after = 0;
            wait("another member to take writes", || {
                let now = client.service(name)?;
                let moved = primary(&now) != old_primary && now.operation.is_none();
                after = if moved && after == 0 { acked() } else { after };
                Ok(after > 0 && acked() >= after + ROWS)
            })?;
            Ok::<_, Failure>(client.service(name)?)
        })();
        let acked = canary.end();
        let (now, acked) = (done?, acked?);
        let found = canary.found()?;
        canary.clear()?;
        let gaps = acked.windows(2).map(|pair| pair[1].acked.duration_since(pair[0].acked));
        let gap = gaps.max().unwrap_or_default();
        let report = Report {
            gap_ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
            lost: acked.iter().filter(|row| !found.contains(&row.number)).count(),
            acked: acked.len(),
            old_primary,
            new_primary: primary(&now),
        };
        client.drilled(
            name,
            &DrillResult {
                drill: "failover".to_owned(),
                gap_ms: report.gap_ms,
                lost: report.lost as u64,
                acked: report.acked as u64,
            },
        )?;
        if context.json {
            print::json(&report)?;
        } else {
            print::line(&format!(
                "{name}: {} took over from {}; no write was acknowledged for {} ms; lost {}/{}",
                report.new_primary, report.old_primary, report.gap_ms, report.lost, report.acked
            ));
        }
        if report.lost > 0 {
            let text = format!("{} acknowledged rows are missing", report.lost);
            return Err(Failure::new(Kind::Failed, text));
        }
        Ok(())
    }
}

fn primary(service: &view::Service) -> String {
    let primary = service.members.iter().find(|member| member.role == "primary");
    primary.map_or_else(String::new, |member| format!("{} on {}", member.id, member.host))
}

fn wait(
    what: &str,
    mut so: impl FnMut() -> Result<bool, evenkeel_api::Error>,
) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while !so()? {
        if Instant::now() > end {
            let text = format!("waited {} s for {what}", PATIENCE.as_secs());
            return Err(Failure::new(Kind::TimedOut, text));
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}
