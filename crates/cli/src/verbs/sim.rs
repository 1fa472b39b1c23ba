//! `sim`: the real decisions in a modelled world.

use std::path::Path;

use clap::{Args, Subcommand};
use evenkeel_sim::Plan;
use evenkeel_sim::scenario::{self, Script};

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::print::{self, Progress};

/// Run the simulator: real cells and agents' minds, modelled servers, everything that can break.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  evenkeel sim                        # a swarm of 100 seeds
  evenkeel sim --seed 42              # one run again, byte for byte
  evenkeel sim --from 1000 --seeds 5000
  evenkeel sim --plan \"7 on 2 hosts for 9000 ms: 100 create orders, 5000 kill-server 17\"
  evenkeel sim list                   # the bundled scenarios
  evenkeel sim scenario lost-host     # one of them, told as it happens
  evenkeel sim scenario ./mine.toml   # your own
  evenkeel sim incidents              # how well incidents are told apart
  evenkeel sim outages                # how long writes are out after each fault, as it predicts")]
pub struct Sim {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// One run of this seed.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// One run of this plan, as a failure prints it.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "from"])]
    plan: Option<Plan>,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The bundled scenarios.
    List,
    /// Run a scenario and print everything that happens.
    Scenario {
        /// A bundled one's name, or a file.
        scenario: String,
        /// Print the script instead of running it, to begin one's own with.
        #[arg(long)]
        script: bool,
    },
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

impl Sim {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.verb {
            Some(Verb::List) => list(context),
            Some(Verb::Scenario { scenario, script }) => run_scenario(scenario, *script, context),
            Some(Verb::Outages { trials }) => outages(*trials, context),
            Some(Verb::Incidents { seeds }) => incidents(*seeds, context),
            None => self.swarm(context),
        }
    }

    fn swarm(&self, context: &Context) -> Result<(), Failure> {
        let seeds = match self.seed {
            Some(seed) => seed..seed.saturating_add(1),
            None => self.from..self.from.saturating_add(self.seeds),
        };
        let (mut runs, mut steps, mut writes) = (0_u64, 0, 0);
        let mut progress = Progress::default();
        let mut trace = None;
        let mut each = |summary: &evenkeel_sim::Summary| {
            runs += 1;
            steps += summary.steps;
            writes += summary.writes;
            trace = Some(summary.trace);
            if runs.is_multiple_of(100) {
                progress.show(&format!("{runs} seeds, {writes} acknowledged writes"));
            }
        };
        let result = match &self.plan {
            Some(plan) => evenkeel_sim::rerun(plan).map(|summary| each(&summary)),
            None => evenkeel_sim::swarm(seeds, each),
        };
        progress.end();
        result.map_err(|failure| Failure::new(Kind::Unwell, failure.to_string()))?;
        if context.json {
            return print::json(&serde_json::json!({
                "seeds": runs, "events": steps, "acknowledged_writes": writes, "last_trace": trace,
            }));
        }
        print::line(&format!(
            "{runs} seeds, {steps} events, {writes} acknowledged writes: nothing lost, all healed"
        ));
        if let Some(trace) = trace.filter(|_| runs == 1) {
            print::line(&format!("trace: {trace}"));
        }
        Ok(())
    }
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
    if context.json {
        let of = |row: &Vec<String>| serde_json::json!({ "name": row[0], "title": row[1] });
        return print::json(&rows.iter().map(of).collect::<Vec<_>>());
    }
    print::table(&rows);
    Ok(())
}

/// A bundled scenario's text by its name, or a file's.
pub fn text_of(scenario: &str) -> Result<String, Failure> {
    if let Some(bundled) = scenario::bundled(scenario) {
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

fn run_scenario(scenario: &str, print_script: bool, context: &Context) -> Result<(), Failure> {
    let text = text_of(scenario)?;
    if print_script {
        print::line(text.trim_end());
        return Ok(());
    }
    let script = Script::parse(scenario, &text).map_err(|error| unreadable(&error))?;
    let run = script.run();
    if context.json {
        let transcript: Vec<&str> = run.transcript.lines().collect();
        print::json(&serde_json::json!({
            "title": script.title, "held": run.held.is_ok(), "failed": run.held.as_ref().err(),
            "transcript": transcript,
        }))?;
    } else {
        print::heading(&script.title);
        print::line(&format!("\n{}\n", script.story.trim()));
        print::line(run.transcript.trim_end());
    }
    run.held.map_err(|what| Failure::new(Kind::Unwell, what))
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
        assert_eq!(parse(&["--seeds", "7"]).unwrap().seeds, 7);
        assert!(matches!(parse(&["list"]).unwrap().verb, Some(Verb::List)));
        let scenario = parse(&["scenario", "create", "--script"]).unwrap().verb;
        assert!(matches!(scenario, Some(Verb::Scenario { script: true, .. })));
        assert!(parse(&["--seed", "7", "list"]).is_err());
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
