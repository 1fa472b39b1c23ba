//! `drill`: what must work in an emergency, done and measured while there is none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use evenkeel_api::{DrillResult, Way};
use evenkeel_core::view;
use serde::Serialize;
use tokio_postgres::{Client, NoTls};

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

/// What the canary was told.
#[derive(Default)]
struct Canary {
    acked: Vec<(Instant, u64)>,
}

impl Drill {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let Verb::Failover { name } = &self.verb;
        let client = context.client()?;
        let before = client.service(name)?;
        let old_primary = primary(&before);
        let url = client.url(name, Way::Endpoint)?.url;
        statement(&url, &format!("CREATE TABLE IF NOT EXISTS {TABLE} (n bigint PRIMARY KEY)"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(std::sync::Mutex::new(Canary::default()));
        let writer = {
            let (url, stop, count) = (url.clone(), Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || sing(&url, &stop, &count))
        };
        let acked = || count.lock().map_or(0, |canary| canary.acked.len());
        let done = (|| {
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
        stop.store(true, Ordering::Relaxed);
        let ended = writer.join();
        let now = done?;
        ended.map_err(|_| Failure::new(Kind::Failed, "the canary died".to_owned()))?;
        let found: BTreeSet<u64> = rows(&url)?;
        statement(&url, &format!("DROP TABLE {TABLE}"))?;
        let canary =
            count.lock().map_err(|_| Failure::new(Kind::Failed, "the canary died".to_owned()))?;
        let gaps = canary.acked.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0));
        let gap = gaps.max().unwrap_or_default();
        let report = Report {
            gap_ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
            lost: canary.acked.iter().filter(|(_, n)| !found.contains(n)).count(),
            acked: canary.acked.len(),
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

/// Commits numbered rows until it is stopped; each number is used once.
fn sing(url: &str, stop: &AtomicBool, count: &std::sync::Mutex<Canary>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        let (mut kept, mut number) = (None, 0);
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let wrote = write(url, kept.take(), number).await;
            if let Some(client) = wrote {
                kept = Some(client);
                if let Ok(mut canary) = count.lock() {
                    canary.acked.push((Instant::now(), number));
                }
            }
            tokio::time::sleep(STEP).await;
        }
    });
}

/// Writes one row; the connection, if it was acknowledged.
async fn write(url: &str, kept: Option<Client>, number: u64) -> Option<Client> {
    let client = match kept {
        Some(client) => client,
        None => connect(url).await.ok()?,
    };
    let text = format!("INSERT INTO {TABLE} VALUES ({number})");
    client.batch_execute(&text).await.ok().map(|()| client)
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn asked(url: &str, text: &str) -> Result<Vec<tokio_postgres::Row>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(async { connect(url).await?.query(text, &[]).await });
    rows.map_err(|error| Failure::new(Kind::Failed, format!("the canary: {error}")))
}

fn statement(url: &str, text: &str) -> Result<(), Failure> {
    asked(url, text).map(drop)
}

fn rows(url: &str) -> Result<BTreeSet<u64>, Failure> {
    let found = asked(url, &format!("SELECT n FROM {TABLE}"))?;
    Ok(found.iter().filter_map(|row| u64::try_from(row.get::<_, i64>(0)).ok()).collect())
}
