//! What a run came to: the report, what happened in words, what is drawn, and the public account beside it.

use std::collections::BTreeMap;

use evenkeel_core::digest::Digest;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;
use serde::Serialize;

use super::script::{Expect, Here};
use super::tally::{BIN_S, Tally};
use super::{Fleet, digest};
use crate::report::{Assertion, Invariant, Report};

/// Sorts of decisions that are told.
const DECISIONS: usize = 12;
/// Working hours of a year, and all its hours.
const WORKING_YEAR_MINUTES: f64 = 2_000.0 * 60.0;
const CALENDAR_YEAR_MINUTES: f64 = 8_766.0 * 60.0;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// Since the beginning.
    #[serde(rename = "at_ms")]
    pub at: Span,
    /// In words.
    pub text: String,
}

/// How a fleet was at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Since the beginning.
    #[serde(rename = "at_ms")]
    pub at: Span,
    /// Services whose clients could not write.
    pub down: u64,
    /// Segments of log that waited for their archive.
    pub waiting: u64,
    /// The most that was asked of storage in a second since the last one, in hundredths of what it bears.
    pub asked_percent: u64,
}

/// A figure of the public account, and of this run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// What.
    pub what: String,
    /// What the account says.
    pub public: String,
    /// What this run came to.
    pub here: String,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// In figures.
    #[serde(flatten)]
    pub report: Report,
    /// One line.
    pub title: String,
    /// What it shows, for people.
    pub story: String,
    /// Where its figures are from.
    pub sources: Vec<String>,
    /// Cells.
    pub cells: u32,
    /// Hosts.
    pub hosts: u64,
    /// The first thing that must never be otherwise and was.
    pub broken: Option<String>,
    /// What happened, in order.
    pub timeline: Vec<Told>,
    /// What is drawn: a point a minute.
    pub points: Vec<Point>,
    /// Outages of services that ended, by minute since the beginning.
    pub recoveries_per_minute: BTreeMap<u64, u64>,
    /// What was decided or kept, and why, by how often; numbers are left out.
    pub decisions: Vec<(String, u64)>,
    /// When everything was well and stayed so, since the beginning; none: not at the end.
    pub healthy_at_ms: Option<u64>,
    /// Longest outage of one service, in milliseconds; one that lasts on when the run ends until then.
    pub worst_outage_ms: u64,
    /// The most that was ever asked of storage in a second, in hundredths of what it bears.
    pub storage_worst_percent: u64,
    /// Seconds in which half again as much was asked of storage as it bears, or more.
    pub storage_overloaded_seconds: u64,
    /// Working years of 2,000 hours that people would have needed.
    pub working_years_saved: f64,
    /// The same in calendar years, day and night.
    pub calendar_years_saved: f64,
    /// Notices that did not go out, since another cell's about the same did.
    pub notices_folded: u64,
    /// Servers that were started, and primaries that were replaced.
    pub starts: u64,
    /// Primaries that were replaced.
    pub promotions: u64,
    /// How often each remedy began.
    pub remedies: BTreeMap<String, u64>,
    /// Members that were copied anew from another.
    pub copies: u64,
    /// Whether nobody held back.
    pub naive: bool,
    /// The public account beside this run.
    pub account: Vec<Beside>,
}

impl Outcome {
    /// Whether everything was as it must be, and otherwise the first thing that was not.
    ///
    /// # Errors
    /// It, in words.
    pub fn held(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let first = self.report.assertions.iter().find(|assertion| !assertion.held);
        first.map_or(Ok(()), |assertion| Err(format!("not so: {}", assertion.text)))
    }
}

/// What storage is not to be for long.
const OVERLOADED: &str = "storage is asked for half again as much as it bears, or more,";

/// Sums over all cells.
#[derive(Default)]
struct Sums {
    tally: Tally,
    traces: Vec<u64>,
    states: BTreeMap<State, usize>,
    /// Services whose controller is away.
    unknown: u64,
    incidents: u64,
    times: u64,
    minutes: u64,
    hosts: u64,
}

/// What was decided most often.
fn commonest(decisions: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = decisions.clone().into_iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all.truncate(DECISIONS);
    all
}

fn add(into: &mut BTreeMap<u64, u64>, from: &BTreeMap<u64, u64>) {
    from.iter().for_each(|(at, count)| *into.entry(*at).or_default() += count);
}

impl Fleet<'_> {
    fn sums(&mut self) -> Sums {
        let (mut sums, now) = (Sums::default(), self.now);
        self.crew.each(|seat| {
            let own = &seat.tally;
            let all = &mut sums.tally;
            all.counts.add(&own.counts);
            all.promotions += own.promotions;
            all.starts += own.starts;
            all.copies += own.copies;
            all.lost += own.lost;
            all.down += own.down;
            all.worst = all.worst.max(own.worst);
            all.broken = all.broken.take().or_else(|| own.broken.clone());
            add(&mut all.rose, &own.rose);
            for (remedy, times) in &own.remedies {
                *all.remedies.entry(remedy.clone()).or_default() += times;
            }
            for (text, count) in &own.decisions {
                *all.decisions.entry(text.clone()).or_default() += count;
            }
            sums.traces.push(own.trace);
            sums.hosts += seat.hosts.len() as u64;
            let Some(cell) = &seat.cell else {
                sums.unknown += seat.services.iter().flatten().count() as u64;
                return;
            };
            for (state, count) in cell.fleet(now).services {
                *sums.states.entry(state).or_default() += count;
            }
            sums.incidents += cell.incidents(true, now).len() as u64;
            let page = cell.toil(now);
            sums.times += page.saved.iter().map(|row| row.times).sum::<u64>();
            sums.minutes += page.minutes;
        });
        sums
    }

    pub(super) fn outcome(mut self) -> Outcome {
        self.crew.each(|seat| {
            seat.hold_to_records();
            seat.hold_to_goals();
            seat.count_outages();
        });
        let mut sums = self.sums();
        self.hold_to_people(&mut sums.tally);
        let began_bin = self.began.since(crate::world::BEGIN).0 / 1000 / BIN_S;
        let since = |bins: &BTreeMap<u64, u64>| -> BTreeMap<u64, u64> {
            let bins = bins.iter().filter(|(bin, _)| **bin >= began_bin);
            bins.map(|(bin, count)| (bin - began_bin, *count)).collect()
        };
        let recoveries = since(&sums.tally.rose);
        let by_agents = sums.tally.counts.ended().saturating_sub(sums.times);
        let minutes = sums.minutes + by_agents * restart_minutes();
        let decisions = commonest(&sums.tally.decisions);
        let services = sums.states.values().sum::<usize>() as u64 + sums.unknown;
        let mut outcome = Outcome {
            report: Report {
                scenario: self.script.name.clone(),
                seed: self.how.seed,
                services,
                sim_seconds: self.now.since(self.began).0 / 1000,
                turns: sums.tally.counts.turns,
                transitions: sums.tally.counts.transitions,
                invariants: sums.tally.counts.invariants.clone(),
                edges: sums.tally.counts.edges.clone(),
                assertions: Vec::new(),
                pages: self.people.pages.len() as u64,
                incidents: sums.incidents,
                recovered: sums.times + by_agents,
                lost_acknowledged_writes: sums.tally.lost,
                unavailable_service_seconds: seconds(sums.tally.counts.unavailable),
                recoveries_per_second_peak: sums.tally.counts.peak(),
                toil_minutes_saved: minutes,
                report_digest: Digest([0; 32]),
            },
            title: self.script.title.clone(),
            story: self.script.story.trim().to_owned(),
            sources: self.script.sources.clone(),
            cells: u32::try_from(sums.traces.len()).unwrap_or(u32::MAX),
            hosts: sums.hosts,
            broken: sums.tally.broken.clone(),
            timeline: std::mem::take(&mut self.told),
            points: std::mem::take(&mut self.points),
            recoveries_per_minute: recoveries,
            decisions,
            healthy_at_ms: self.well_since.map(|at| at.since(self.began).0),
            worst_outage_ms: sums.tally.worst.0,
            storage_worst_percent: self.storage.worst_percent,
            storage_overloaded_seconds: self.storage.overloaded_s,
            working_years_saved: years(minutes, WORKING_YEAR_MINUTES),
            calendar_years_saved: years(minutes, CALENDAR_YEAR_MINUTES),
            notices_folded: self.people.folded(),
            starts: sums.tally.starts,
            promotions: sums.tally.promotions,
            remedies: sums.tally.remedies.clone(),
            copies: sums.tally.copies,
            naive: self.how.naive,
            account: Vec::new(),
        };
        if let Some(at) = outcome.healthy_at_ms.filter(|at| *at > 0) {
            outcome.timeline.push(Told { at: Span(at), text: "everything is well again".into() });
        }
        outcome.timeline.sort_by_key(|told| told.at);
        outcome.report.assertions = self.assertions(&outcome, &sums);
        outcome.account = self.account(&outcome);
        outcome.report.report_digest = Digest::of_json(&(&outcome, digest(&sums.traces)));
        outcome
    }

    /// Nobody is told again of what they acknowledged.
    fn hold_to_people(&self, tally: &mut Tally) {
        for _ in &self.people.pages {
            tally.check(Invariant::PeopleAreTold);
        }
        if let Some(title) = self.people.again.first() {
            let text = format!("people were told again of what they had acknowledged: {title}");
            tally.broke(Invariant::PeopleAreTold, text);
        }
    }

    fn assertions(&self, outcome: &Outcome, sums: &Sums) -> Vec<Assertion> {
        let mut all: Vec<Assertion> = self
            .script
            .assertions
            .iter()
            .map(|expect| {
                let (text, held) = self.holds(expect, outcome);
                Assertion { text, held }
            })
            .collect();
        let (wanted, made) =
            (self.how.services.unwrap_or(self.script.fleet.services), outcome.report.services);
        all.push(Assertion {
            text: format!("all {wanted} services were made ({made})"),
            held: u64::from(wanted) == made,
        });
        let others: usize =
            sums.states.iter().filter(|(s, _)| **s != State::Available).map(|(_, n)| n).sum();
        let (unknown, down) = (sums.unknown, sums.tally.down);
        let mut text = format!("in the end every service is available ({others} are not");
        if unknown > 0 {
            text += &format!(", of {unknown} nobody knows: their controllers are away");
        }
        if down > 0 {
            text += &format!(", clients of {down} cannot write");
        }
        all.push(Assertion { text: text + ")", held: (others, unknown, down) == (0, 0, 0) });
        all
    }

    fn holds(&self, expect: &Expect, outcome: &Outcome) -> (String, bool) {
        let at = |ms: Option<u64>| ms.map_or("never".to_owned(), |ms| Span(ms).to_string());
        match expect {
            Expect::NothingLost => {
                let lost = outcome.report.lost_acknowledged_writes;
                (format!("no acknowledged write is lost ({lost} bytes are)"), lost == 0)
            }
            Expect::HealthyBy(by) => {
                let healthy = outcome.healthy_at_ms;
                let text = format!("everything is well by {} (it is by {})", by.0, at(healthy));
                (text, healthy.is_some_and(|ms| ms <= by.0.0))
            }
            Expect::OutageMax(max) => {
                let worst = outcome.worst_outage_ms;
                let text = format!("no service is out for longer than {} ({})", max.0, Span(worst));
                (text, worst <= max.0.0)
            }
            Expect::PagesMax(max) => {
                let pages = outcome.report.pages;
                (format!("people are told {max} times at most ({pages})"), pages <= *max)
            }
            Expect::ToldWithin(within) => {
                let first = self.first_page();
                let text = format!("a person is told within {} (at {})", within.0, at(first));
                (text, first.is_some_and(|ms| ms <= within.0.0))
            }
            Expect::PromotionsMax(max) => {
                let promotions = outcome.promotions;
                let text = format!("{max} primaries are replaced at most ({promotions})");
                (text, promotions <= *max)
            }
            Expect::PromotionsMin(min) => {
                let promotions = outcome.promotions;
                let text = format!("{min} primaries are replaced at least ({promotions})");
                (text, promotions >= *min)
            }
            Expect::RemedyMax { name, times } => {
                let began = outcome.remedies.get(name).copied().unwrap_or(0);
                (format!("remedy {name} begins {times} times at most ({began})"), began <= *times)
            }
            Expect::StartsMax(max) => {
                let starts = outcome.starts;
                (format!("{max} servers are started at most ({starts})"), starts <= *max)
            }
            Expect::CopiesMaxPercent(max) => {
                let copies = outcome.copies;
                let text = format!("members of {max} % of services are copied at most ({copies})");
                (text, copies * 100 <= *max * outcome.report.services)
            }
            Expect::DownMaxPercent(max) => {
                let down = outcome.points.iter().map(|point| point.down).max().unwrap_or(0);
                let text = format!("{max} % of services are out at once at most ({down})");
                (text, down * 100 <= *max * outcome.report.services)
            }
            Expect::Tells(what) => {
                let said = self.people.pages.iter().any(|page| page.title.contains(what));
                (format!("people are told of \"{what}\""), said)
            }
            Expect::OverloadMaxS(max) => {
                let seconds = outcome.storage_overloaded_seconds;
                (format!("{OVERLOADED} for {max} s at most ({seconds} s)"), seconds <= *max)
            }
            Expect::Posture { is, percent } => {
                let cells = self.postures.get(is).map_or(0, std::collections::BTreeSet::len) as u64;
                let share = cells * 100 / u64::from(outcome.cells.max(1));
                let text = format!("{percent} % of the cells see that it is {is} ({share} %)");
                (text, share >= *percent)
            }
        }
    }

    fn first_page(&self) -> Option<u64> {
        self.people.pages.first().map(|page| page.at.since(self.began).0)
    }

    fn account(&self, outcome: &Outcome) -> Vec<Beside> {
        let after = |ms: Option<u64>| match ms {
            Some(ms) => format!("T + {}", clock(ms)),
            None => "not".to_owned(),
        };
        let here = |here: Here| match here {
            Here::HealthyAt => after(outcome.healthy_at_ms),
            Here::Lost => outcome.report.lost_acknowledged_writes.to_string(),
            Here::YearsSaved => format!(
                "{:.1} working years, {:.1} calendar years",
                outcome.working_years_saved, outcome.calendar_years_saved
            ),
            Here::Pages => outcome.report.pages.to_string(),
            Here::ToldAt => after(self.first_page()),
            Here::Services => outcome.report.services.to_string(),
            Here::StorageAway => clock(self.storage.away.0),
            Here::Promotions => outcome.promotions.to_string(),
            Here::WorstOutage => clock(outcome.worst_outage_ms),
            Here::Starts => outcome.starts.to_string(),
            Here::Copies => outcome.copies.to_string(),
        };
        let beside = |figure: &super::script::Figure| Beside {
            what: figure.what.clone(),
            public: figure.public.clone(),
            here: here(figure.here),
        };
        self.script.account.iter().map(beside).collect()
    }
}

/// Minutes that a person needs to bring one server up again and look whether it serves, where the ledger of the
/// fleet has no entry, as its agent did it: those of the remedy.
fn restart_minutes() -> u64 {
    let remedies = evenkeel_kinds::remedies::bundled();
    remedies.restart().map_or(0, |remedy| u64::from(remedy.manual_minutes))
}

/// A time of a timeline, as people read it.
#[must_use]
pub fn clock(ms: u64) -> String {
    let (s, ms) = (ms / 1000, ms % 1000);
    match s {
        0..60 if ms > 0 => format!("{s}.{} s", ms / 100),
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people: a thousandth is enough")]
fn years(minutes: u64, of: f64) -> f64 {
    minutes as f64 / of
}

#[allow(clippy::cast_precision_loss, reason = "for people: a thousandth is enough")]
fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}
