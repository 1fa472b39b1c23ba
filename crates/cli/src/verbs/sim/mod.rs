//! `sim`: the real decisions in a modelled world.

mod coverage;
mod fleet;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use evenkeel_core::digest::Digest;
use evenkeel_sim::edges::Edges;
use evenkeel_sim::fleet as at_scale;
use evenkeel_sim::report::Report;
use evenkeel_sim::scenario::{self, How, Script};
use evenkeel_sim::{Plan, Summary};
use serde::Serialize;

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::print::{self, Progress};
use crate::{lasting, rules};

/// Run the simulator: real cells and agents' minds, modelled servers, everything that can break.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel sim list                   # the bundled scenarios
  evenkeel sim run lost-host          # one of them, told as it happens, with what it came to
  evenkeel sim run ./mine.toml --policy ./policy.toml --json
  evenkeel sim run s3-outage-2017 --services 1000000 --seed 7 --report report.html
  evenkeel sim swarm --seeds 1000     # random fleets and faults, until one shows a mistake
  evenkeel sim swarm --for 10m --save ./failures
  evenkeel sim swarm --seed 42        # one run again, byte for byte
  evenkeel sim coverage               # which edges of which machine all scenarios take, and which none does
  evenkeel sim incidents              # how well incidents are told apart
  evenkeel sim outages                # how long writes are out after each fault, as it predicts")]
pub struct Sim {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The bundled scenarios.
    List,
    /// Run a scenario: everything that happens, and what it came to. Fails if something did not hold.
    Run(Run),
    /// Run random fleets and faults under every checker; a run that fails is shrunk and kept as a file.
    Swarm(Swarm),
    /// Which edges of the machines the bundled scenarios and a swarm take together, and which none does.
    Coverage(coverage::Coverage),
    /// How well incidents are told apart: fleets with a cause or two and noise, grouped by the real function.
    Incidents {
        /// Fleets of each cause.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
    },
    /// How long writes of an `ha` service are out after each fault, to hold against what is measured.
    Outages {
        /// Runs of each.
        #[arg(long, default_value_t = 20)]
        trials: u64,
    },
}

/// What `sim run` takes.
#[derive(Debug, Args)]
struct Run {
    /// A bundled scenario's name, or a file.
    scenario: String,
    /// All chance comes from it: the same seed gives the same run. Scenarios leave little to chance.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run it under this policy instead of the scenario's own.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Of a scenario at scale: how many services, instead of what it says.
    #[arg(long, value_name = "N")]
    services: Option<u32>,
    /// Of a scenario at scale: a page of what it came to, with plots, is written to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Of a scenario at scale: nobody holds back, so that what depends on many is asked for all at once.
    #[arg(long)]
    naive: bool,
    /// Of a scenario at scale: threads; 0 for one of each core. What a run comes to does not depend on it.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print the script instead of running it, to begin one's own with.
    #[arg(long, conflicts_with_all = ["seed", "policy", "services", "report", "naive"])]
    script: bool,
}

/// What `sim swarm` takes.
#[derive(Debug, Args)]
struct Swarm {
    /// One run of this seed.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// One run of this plan: the file that a failure was kept in, or the text it printed.
    #[arg(long, value_name = "FILE|TEXT", conflicts_with_all = ["seed", "seeds", "from", "lasts"])]
    plan: Option<String>,
    /// How many seeds [default: 100, or as many as there is time for].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 62))]
    from: u64,
    /// No seed is begun after this.
    #[arg(long = "for", value_name = "TIME", value_parser = lasting::parse)]
    lasts: Option<Duration>,
    /// Where the plan of a run that fails is kept.
    #[arg(long, value_name = "DIR", default_value = ".")]
    save: PathBuf,
}

impl Sim {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.verb {
            Verb::List => list(context),
            Verb::Run(run) => run.run(context),
            Verb::Swarm(swarm) => swarm.run(context),
            Verb::Coverage(coverage) => coverage.run(context),
            Verb::Outages { trials } => outages(*trials, context),
            Verb::Incidents { seeds } => incidents(*seeds, context),
        }
    }
}

/// Seeds of a swarm for which nothing was said.
const SEEDS: u64 = 100;

/// How far a swarm is.
#[derive(Default)]
struct Tally {
    runs: u64,
    steps: u64,
    writes: u64,
    trace: Option<Digest>,
    edges: Edges,
    progress: Progress,
}

impl Tally {
    fn count(&mut self, summary: &Summary) {
        self.runs += 1;
        self.steps += summary.steps;
        self.writes += summary.writes;
        self.trace = Some(summary.trace);
        self.edges.add(&summary.edges);
        if self.runs.is_multiple_of(100) {
            let (runs, writes) = (self.runs, self.writes);
            self.progress.show(&format!("{runs} seeds, {writes} acknowledged writes"));
        }
    }
}

impl Swarm {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        if self.plan.is_none() {
            // Sooner than after the hours that a failure may take.
            writable(&self.save, std::fs::create_dir_all(&self.save), "plans of failures")?;
        }
        let mut tally = Tally::default();
        let result = match self.plan()? {
            Some(plan) => evenkeel_sim::rerun(&plan).map(|summary| tally.count(&summary)),
            None => self.seeds(&mut tally),
        };
        tally.progress.end();
        result.map_err(|failure| self.keep(&failure))?;
        let Tally { runs, steps, writes, trace, edges, .. } = tally;
        if context.json {
            return print::json(&serde_json::json!({
                "seeds": runs, "events": steps, "acknowledged_writes": writes, "last_trace": trace,
                "edges": edges,
            }));
        }
        print::line(&format!(
            "{runs} seeds, {steps} events, {writes} acknowledged writes: nothing lost, all healed"
        ));
        print::line(&format!("edges of machines: {}", edges.summary()));
        if let Some(trace) = trace.filter(|_| runs == 1) {
            print::line(&format!("trace: {trace}"));
        }
        Ok(())
    }

    fn seeds(&self, tally: &mut Tally) -> Result<(), evenkeel_sim::Failure> {
        let began = Instant::now();
        let (from, count) = match (self.seed, self.seeds, self.lasts) {
            (Some(seed), ..) => (seed, 1),
            (None, Some(seeds), _) => (self.from, seeds),
            (None, None, Some(_)) => (self.from, u64::MAX),
            (None, None, None) => (self.from, SEEDS),
        };
        for seed in from..from.saturating_add(count) {
            // One is run however little time there is.
            if seed > from && self.lasts.is_some_and(|lasts| began.elapsed() >= lasts) {
                break;
            }
            evenkeel_sim::swarm(seed..seed + 1, |summary| tally.count(summary))?;
        }
        Ok(())
    }

    /// The plan to run again.
    fn plan(&self) -> Result<Option<Plan>, Failure> {
        let Some(given) = &self.plan else { return Ok(None) };
        let is_file = Path::new(given).is_file();
        let text = if is_file { std::fs::read_to_string(given)? } else { given.clone() };
        text.trim().parse().map(Some).map_err(|error| {
            let text = format!("--plan {given} is no file and no plan: {error}");
            Failure::new(Kind::Usage, text)
        })
    }

    /// Keeps the plan of a failure where it is run again from.
    fn keep(&self, failure: &evenkeel_sim::Failure) -> Failure {
        if self.plan.is_some() {
            return Failure::new(Kind::Unwell, failure.to_string());
        }
        let file = self.save.join(format!("seed-{}.plan", failure.plan.seed));
        let kept = std::fs::create_dir_all(&self.save)
            .and_then(|()| std::fs::write(&file, format!("{}\n", failure.plan)));
        let file = file.display();
        let told = match kept {
            Ok(()) => format!("  kept:  evenkeel sim swarm --plan {file}"),
            Err(error) => format!("  {file} cannot be written: {error}"),
        };
        Failure::new(Kind::Unwell, format!("{failure}\n{told}"))
    }
}

/// Refuses a place where nothing can be written, by name.
fn writable(at: &Path, tried: std::io::Result<()>, what: &str) -> Result<(), Failure> {
    tried.map_err(|error| {
        let text = format!("{what} cannot be written to {}: {error}", at.display());
        Failure::new(Kind::Usage, text)
    })
}

fn outages(trials: u64, context: &Context) -> Result<(), Failure> {
    let mut rows = vec![["FAULT", "MIN", "MEDIAN", "MAX"].map(str::to_owned).to_vec()];
    let mut answer = serde_json::Map::new();
    for fault in evenkeel_sim::predicted() {
        let mut spans = evenkeel_sim::outages(fault, trials.max(1));
        spans.sort();
        let all: Vec<u64> = spans.iter().map(|span| span.0).collect();
        answer.insert(fault.to_owned(), serde_json::json!({ "outages_ms": all }));
        let at = |index: usize| spans[index].to_string();
        rows.push(vec![fault.to_owned(), at(0), at(spans.len() / 2), at(spans.len() - 1)]);
    }
    if context.json {
        return print::json(&answer);
    }
    print::table(&rows);
    Ok(())
}

fn incidents(seeds: u64, context: &Context) -> Result<(), Failure> {
    let scores = evenkeel_sim::incidents::score(0..seeds);
    let mut rows = vec![
        ["CAUSE", "RUNS", "RIGHT", "WRONG", "MISSED", "TROUBLES", "INCIDENTS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut answer = serde_json::Map::new();
    for (cause, score) in &scores {
        let evenkeel_sim::incidents::Score { runs, right, wrong, missed, incidents, troubles } =
            score;
        answer.insert(
            (*cause).to_owned(),
            serde_json::json!({
                "runs": runs, "right": right, "wrong": wrong, "missed": missed,
                "troubles": troubles, "incidents": incidents,
            }),
        );
        let numbers = [runs, right, wrong, missed].map(ToString::to_string);
        let totals = [troubles, incidents].map(ToString::to_string);
        rows.push([vec![(*cause).to_owned()], numbers.to_vec(), totals.to_vec()].concat());
    }
    if context.json {
        return print::json(&answer);
    }
    print::table(&rows);
    Ok(())
}

fn unreadable(error: &scenario::Error) -> Failure {
    Failure::new(Kind::Usage, chain(error))
}

fn list(context: &Context) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for bundled in scenario::BUNDLED {
        let title = bundled.script().map_err(|error| unreadable(&error))?.title;
        rows.push(vec![bundled.name.to_owned(), title]);
    }
    for bundled in at_scale::BUNDLED {
        let script = at_scale::Script::parse(bundled.name, bundled.text);
        let script = script.map_err(|error| unreadable(&error))?;
        let title = format!("{} (any number of services)", script.title);
        rows.push(vec![bundled.name.to_owned(), title]);
    }
    if context.json {
        let of = |row: &Vec<String>| serde_json::json!({ "name": row[0], "title": row[1] });
        return print::json(&rows.iter().map(of).collect::<Vec<_>>());
    }
    print::table(&rows);
    Ok(())
}

/// A bundled scenario's text by its name, or a file's.
pub fn text_of(scenario: &str) -> Result<String, Failure> {
    if let Some(bundled) = scenario::bundled(scenario).or_else(|| at_scale::bundled(scenario)) {
        return Ok(bundled.text.to_owned());
    }
    std::fs::read_to_string(Path::new(scenario)).map_err(|error| {
        let text = format!(
            "{scenario} is no bundled scenario (`evenkeel sim list` shows them) and no readable \
             file: {error}"
        );
        Failure::new(Kind::NotFound, text)
    })
}

/// What `sim run --json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    report: &'a Report,
    title: &'a str,
    held: bool,
    failed: Option<&'a String>,
    wall_seconds: f64,
    rss_bytes: u64,
    transcript: Vec<&'a str>,
}

impl Run {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let text = text_of(&self.scenario)?;
        if self.script {
            print::line(text.trim_end());
            return Ok(());
        }
        if at_scale::Script::is_one(&text) {
            return self.at_scale(&text, context);
        }
        if self.services.is_some() || self.report.is_some() || self.naive {
            let text = format!(
                "{} has hosts and services of its own: --services, --report and --naive are for scenarios at \
                 scale (`evenkeel sim list` shows which are)",
                self.scenario
            );
            return Err(Failure::new(Kind::Usage, text));
        }
        let mut script =
            Script::parse(&self.scenario, &text).map_err(|error| unreadable(&error))?;
        if let Some(file) = &self.policy {
            script.policy = rules::read_policy(file)?;
        }
        let began = Instant::now();
        let run = script.run_how(How { seed: self.seed, ..How::default() });
        if context.json {
            let answer = Answer {
                report: &run.report,
                title: &script.title,
                held: run.held.is_ok(),
                failed: run.held.as_ref().err(),
                wall_seconds: began.elapsed().as_secs_f64(),
                rss_bytes: peak_bytes(),
                transcript: run.transcript.lines().collect(),
            };
            print::json(&answer)?;
        } else {
            print::heading(&script.title);
            print::line(&format!("\n{}\n", script.story.trim()));
            print::line(run.transcript.trim_end());
            print::line("");
            print::table(&rows(&run.report));
        }
        run.held.map_err(|what| Failure::new(Kind::Unwell, what))
    }
}

impl Run {
    /// A fleet of any size.
    fn at_scale(&self, text: &str, context: &Context) -> Result<(), Failure> {
        let mut script =
            at_scale::Script::parse(&self.scenario, text).map_err(|error| unreadable(&error))?;
        if let Some(file) = &self.policy {
            script.policy = rules::read_policy(file)?;
        }
        if let Some(services) = self.services {
            script.fleet.services = services;
        }
        script.check().map_err(|error| unreadable(&error))?;
        if let Some(file) = &self.report {
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
            writable(file, opened.map(drop), "the page")?;
        }
        let how = at_scale::How {
            seed: self.seed,
            services: self.services,
            threads: self.threads,
            naive: self.naive,
            mutation: None,
        };
        let asked = fleet::Asked { how, report: self.report.as_deref() };
        fleet::run(&script, &asked, context)
    }
}

/// What a run came to, for people.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let seconds = |all: f64| format!("{all:.1} s");
    let held = report.assertions.iter().filter(|assertion| assertion.held).count();
    let looks: u64 = report.invariants.values().map(|all| all.checked).sum();
    let broken: Vec<String> = report
        .invariants
        .iter()
        .filter(|(_, all)| all.broken > 0)
        .map(|(invariant, _)| format!("not so: {invariant}"))
        .collect();
    let broken = if broken.is_empty() { "all held".to_owned() } else { broken.join(", ") };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    vec![
        row("simulated", format!("{} s, {} turns", report.sim_seconds, report.turns)),
        row("recorded", report.transitions.to_string()),
        row("assertions", format!("{held} of {} held", report.assertions.len())),
        row("invariants", format!("{looks} looks, {broken}")),
        row("edges", report.edges.summary()),
        row("lost writes", report.lost_acknowledged_writes.to_string()),
        row("unavailable", seconds(report.unavailable_service_seconds)),
        row("recovered", format!("{}, {} min saved", report.recovered, report.toil_minutes_saved)),
        row("incidents", format!("{}, pages: {}", report.incidents, report.pages)),
        row("digest", report.report_digest.to_string()),
    ]
}

/// The most memory this process ever had, in bytes; 0 where the kernel does not tell.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;

    fn parse(arguments: &[&str]) -> Result<Sim, clap::Error> {
        let command = Sim::augment_args(clap::Command::new("sim").no_binary_name(true));
        Sim::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn a_swarm_a_list_and_a_scenario_are_told_apart() {
        let swarm = parse(&["swarm", "--seeds", "7", "--for", "10m"]).unwrap().verb;
        let Verb::Swarm(swarm) = swarm else { panic!("it is a swarm") };
        assert_eq!((swarm.seeds, swarm.lasts), (Some(7), Some(Duration::from_secs(600))));
        assert!(matches!(parse(&["list"]).unwrap().verb, Verb::List));
        let scenario = parse(&["run", "create", "--script"]).unwrap().verb;
        assert!(matches!(scenario, Verb::Run(Run { script: true, .. })));
        assert!(parse(&["swarm", "--seed", "7", "--from", "1"]).is_err());
    }

    #[test]
    fn a_failures_plan_is_kept_where_it_is_run_again_from() {
        let dir = tempfile::tempdir().unwrap();
        let plan: Plan = "7 on 2 hosts for 9000 ms: 100 create orders".parse().unwrap();
        let wrong = evenkeel_sim::Wrong::Broken("orders: it is gone".to_owned());
        let failure = evenkeel_sim::Failure {
            plan: Box::new(plan.clone()),
            wrong,
            journal: vec![],
            shrunk: None,
        };
        let save = dir.path().join("failures").display().to_string();
        let swarm =
            |arguments: &[&str]| match parse(&[&["swarm"], arguments].concat()).unwrap().verb {
                Verb::Swarm(swarm) => swarm,
                other => panic!("{other:?}"),
            };
        let told = swarm(&["--save", &save]).keep(&failure).to_string();
        let file = format!("{save}/seed-7.plan");
        assert!(told.ends_with(&format!("evenkeel sim swarm --plan {file}")), "{told}");
        assert_eq!(swarm(&["--plan", &file]).plan().unwrap(), Some(plan));
        assert_eq!(swarm(&["--plan", "nonsense"]).plan().unwrap_err().code(), 2);
    }

    #[test]
    fn a_scenario_is_a_bundled_one_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, "title = 'mine'").unwrap();
        assert!(text_of("create").unwrap().contains("orders"));
        assert_eq!(text_of(&file.display().to_string()).unwrap(), "title = 'mine'");
        assert_eq!(text_of("nonsense").unwrap_err().code(), 3);
    }
}
