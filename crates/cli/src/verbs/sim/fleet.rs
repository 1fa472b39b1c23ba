//! `sim run` of a scenario at scale: progress, a report for people or machines, a page.

use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel_sim::fleet::{self, How, Outcome, Progress as Step, Script};
use serde::Serialize;

use super::{peak_bytes, rows};
use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print::{self, Progress};

/// Decisions, and lines of a timeline, that are printed at most.
const LINES_MAX: usize = 40;
/// Parts of a run that progress is told of.
const PARTS: u64 = 20;
/// A page shows what a run costs with so many times fewer services each.
const SMALLER: [u32; 3] = [1000, 100, 10];
/// Fewer services than this say little about what many cost.
const SMALLEST: u32 = 1_000;

/// What is set beside it where nobody holds back has so many services at most: what it shows is of a hundred.
const NAIVE_MAX: u32 = 100_000;

/// What is asked of a run.
#[derive(Debug)]
pub struct Asked<'a> {
    /// How it is run.
    pub how: How,
    /// A file for a page with plots.
    pub report: Option<&'a Path>,
}

/// What `sim run --json` prints of it.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    held: bool,
    failed: Option<String>,
    wall_seconds: f64,
    rss_bytes: u64,
}

/// Runs a scenario and says what it came to.
pub fn run(script: &Script, asked: &Asked<'_>, context: &Context) -> Result<(), Failure> {
    let (outcome, wall) = play(script, &asked.how);
    let (wall_seconds, rss_bytes) = (wall.as_secs_f64(), peak_bytes());
    let held = outcome.held();
    if let Some(file) = asked.report {
        print::note(
            "for the page: it is run again with fewer services, and where nobody holds back",
        );
        let others = smaller(script, &asked.how, &outcome);
        let naive = naive(script, &asked.how, &outcome);
        let page = fleet::html(&outcome, wall_seconds, rss_bytes, &others, naive.as_ref());
        std::fs::write(file, page).map_err(|error| {
            let text = format!("the page cannot be written to {}: {error}", file.display());
            Failure::new(Kind::Failed, text)
        })?;
    }
    if context.json {
        let failed = held.as_ref().err().cloned();
        let held = held.is_ok();
        print::json(&Answer { outcome: &outcome, held, failed, wall_seconds, rss_bytes })?;
    } else {
        tell(script, &outcome, wall_seconds, rss_bytes);
        if let Some(file) = asked.report {
            print::line(&format!("\nThe page is {}", file.display()));
        }
    }
    held.map_err(|what| Failure::new(Kind::Unwell, what))
}

fn play(script: &Script, how: &How) -> (Outcome, Duration) {
    let began = Instant::now();
    let (mut progress, mut shown) = (Progress::default(), None);
    let outcome = fleet::run(script, how, &mut |step| {
        // A line for each part of it is enough.
        let part = match step {
            Step::Making { cells, of } => (false, u64::from(cells) * PARTS / u64::from(of.max(1))),
            Step::Running { at, of, .. } => (true, at.0 * PARTS / of.0.max(1)),
        };
        if shown.replace(part) == Some(part) {
            return;
        }
        progress.show(&match step {
            Step::Making { cells, of } => format!("the fleet is made: {cells} of {of} cells"),
            Step::Running { at, of, down } => {
                let (at, of) = (fleet::clock(at.0), fleet::clock(of.0));
                format!("T + {at} of {of}, clients of {down} services cannot write")
            }
        });
    });
    progress.end();
    (outcome, began.elapsed())
}

/// The same scenario with fewer services: how many, and wall seconds.
fn smaller(script: &Script, how: &How, outcome: &Outcome) -> Vec<(u64, f64)> {
    let all = u32::try_from(outcome.report.services).unwrap_or(u32::MAX);
    let fewer = SMALLER.into_iter().map(|times| all / times).filter(|few| *few >= SMALLEST);
    fewer
        .map(|services| {
            let how = How { services: Some(services), ..how.clone() };
            let (outcome, wall) = play(script, &how);
            (outcome.report.services, wall.as_secs_f64())
        })
        .collect()
}

/// The same scenario where nobody holds back, for the page; none where that is what was run, or where nothing was
/// asked of storage.
fn naive(script: &Script, how: &How, outcome: &Outcome) -> Option<Outcome> {
    let asked = !how.naive && outcome.storage_worst_percent > 0;
    let services = u32::try_from(outcome.report.services).unwrap_or(u32::MAX).min(NAIVE_MAX);
    let how = How { naive: true, services: Some(services), ..how.clone() };
    asked.then(|| play(script, &how).0)
}

fn tell(script: &Script, outcome: &Outcome, wall_seconds: f64, rss_bytes: u64) {
    print::heading(&script.title);
    print::line(&format!("\n{}\n", script.story.trim()));
    for told in outcome.timeline.iter().take(LINES_MAX) {
        print::line(&format!("T + {:<14} {}", fleet::clock(told.at.0), told.text));
    }
    if let Some(more) = outcome.timeline.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
        print::line(&format!("and {more} more lines (--json has all)"));
    }
    print::line("\nDecided, and kept, and why (numbers are left out):");
    for (text, count) in outcome.decisions.iter().take(LINES_MAX) {
        print::line(&format!("{count:>9}  {text}"));
    }
    print::line("");
    for assertion in &outcome.report.assertions {
        let word = if assertion.held { "held  " } else { "not so" };
        print::line(&format!("{word}  {}", assertion.text));
    }
    print::line("");
    let mut table = rows(&outcome.report);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    table.push(row("fleet", format!("{} hosts, {} cells", outcome.hosts, outcome.cells)));
    table.push(row("cost", format!("{wall_seconds:.1} s, {} MiB at most", rss_bytes >> 20)));
    table.push(row("longest outage", fleet::clock(outcome.worst_outage_ms)));
    table.push(row("storage asked", format!("{} % at most", outcome.storage_worst_percent)));
    let (working, calendar) = (outcome.working_years_saved, outcome.calendar_years_saved);
    let peak = outcome.report.recoveries_per_second_peak;
    table.push(row("recoveries", format!("{peak} a second at most")));
    table.push(row(
        "work saved",
        format!("{working:.1} working years, {calendar:.1} calendar years"),
    ));
    print::table(&table);
    if !outcome.account.is_empty() {
        print::line("");
        let mut table = vec![row("", "PUBLIC".to_owned())];
        table[0].push("THIS RUN".to_owned());
        for beside in &outcome.account {
            table.push(vec![beside.what.clone(), beside.public.clone(), beside.here.clone()]);
        }
        print::table(&table);
    }
    for (n, source) in outcome.sources.iter().enumerate() {
        let gap = if n == 0 { "\n" } else { "" };
        print::line(&format!("{gap}Source: {source}"));
    }
}
