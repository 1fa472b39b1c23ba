//! Drills, done over the API as a person would: by the verb, and for the controller when one is due.

use std::time::{Duration, Instant};

use evenkeel_api::{Client, Way};
use evenkeel_controller::{Access, Driller, Measured};
use evenkeel_core::drill::Kind as Drill;
use evenkeel_core::view;
use serde::Serialize;

use crate::canary::{Canary, Row};
use crate::failure::{Failure, Kind};

/// Rows that are acknowledged before and after, so that the gap has two ends.
const ROWS: usize = 20;
/// How long a drill may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between tries to write, and between looks.
const STEP: Duration = Duration::from_millis(5);
/// Between looks at whether it was aborted.
const LOOK: Duration = Duration::from_millis(250);
/// Where the canary writes; it is made and dropped.
const TABLE: &str = "evenkeel_drill";

/// What a failover drill came to.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The longest time without an acknowledged write.
    pub gap_ms: u64,
    /// Acknowledged rows that were missing afterwards.
    pub lost: usize,
    /// Rows that were acknowledged.
    pub acked: usize,
    /// Who took writes before.
    pub old_primary: String,
    /// Who takes writes now.
    pub new_primary: String,
}

/// Has a standby take over as if the primary had died, while a canary commits numbered rows through the
/// stable endpoint. It was recorded that the drill begins.
///
/// # Errors
/// When it could not be done, took too long, or was aborted.
pub fn failover(client: &Client, name: &str) -> Result<Report, Failure> {
    let before = client.service(name)?;
    let old_primary = primary(&before);
    let url = client.url(name, Way::Endpoint)?.url;
    let mut canary = Canary::start(&url, TABLE, 1)?;
    let mut patience = Patience::new(client, name);
    let done = (|| {
        let acked = || canary.acked().len();
        patience.wait("the canary's first rows", || Ok(acked() >= ROWS))?;
        client.failover(name, "a drill")?;
        let mut after = 0;
        patience.wait("another member to take writes", || {
            let now = client.service(name)?;
            let moved = primary(&now) != old_primary && now.operation.is_none();
            after = if moved && after == 0 { acked() } else { after };
            Ok(after > 0 && acked() >= after + ROWS)
        })?;
        Ok::<_, Failure>(client.service(name)?)
    })();
    let acked = canary.end();
    let now = match done {
        Ok(now) => now,
        Err(failure) => {
            // It goes with the next drill, if nobody can be asked now.
            let _ = canary.clear();
            return Err(failure);
        }
    };
    let (acked, found) = (acked?, canary.found()?);
    canary.clear()?;
    Ok(Report {
        gap_ms: gap_ms(&acked),
        lost: acked.iter().filter(|row| !found.contains(&row.number)).count(),
        acked: acked.len(),
        old_primary,
        new_primary: primary(&now),
    })
}

fn gap_ms(acked: &[Row]) -> u64 {
    let gaps = acked.windows(2).map(|pair| pair[1].acked.duration_since(pair[0].acked));
    u64::try_from(gaps.max().unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn primary(service: &view::Service) -> String {
    let primary = service.members.iter().find(|member| member.role == "primary");
    primary.map_or_else(String::new, |member| format!("{} on {}", member.id, member.host))
}

/// Waits for one thing after another, until it is aborted.
struct Patience<'a> {
    client: &'a Client,
    name: &'a str,
    looked: Instant,
}

impl<'a> Patience<'a> {
    fn new(client: &'a Client, name: &'a str) -> Self {
        Self { client, name, looked: Instant::now() }
    }

    fn wait(
        &mut self,
        what: &str,
        mut so: impl FnMut() -> Result<bool, evenkeel_api::Error>,
    ) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !so()? {
            if Instant::now() > end {
                let text = format!("waited {} s for {what}", PATIENCE.as_secs());
                return Err(Failure::new(Kind::TimedOut, text));
            }
            if self.looked.elapsed() >= LOOK {
                self.looked = Instant::now();
                if self.client.drills(self.name)?.aborted {
                    let text = format!("aborted while it waited for {what}");
                    return Err(Failure::new(Kind::Failed, text));
                }
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }
}

/// Does drills that are due.
#[derive(Debug)]
pub struct OverApi;

impl Driller for OverApi {
    fn drill(&self, at: &Access, service: &str, kind: Drill) -> Measured {
        let client = Client::new(&at.address, &at.token);
        let failed = |why: String| Measured { failed: Some(why), ..Measured::default() };
        match kind {
            Drill::Failover => match failover(&client, service) {
                Ok(report) => Measured {
                    gap_ms: report.gap_ms,
                    lost: report.lost as u64,
                    acked: report.acked as u64,
                    failed: None,
                },
                Err(failure) => failed(failure.to_string()),
            },
            Drill::Proof | Drill::Controller => failed(format!("a {kind} drill is never due")),
        }
    }
}
