//! `sim coverage`: which edges of the machines any bundled scenario takes, and which none does.

use clap::Args;
use evenkeel_sim::edges::Edges;
use evenkeel_sim::{fleet, scenario};

use super::unreadable;
use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print::{self, Progress};

/// What `sim coverage` takes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel sim coverage                        # a row for each edge: how often, and by what
  evenkeel sim coverage --missed               # only those that nothing takes
  evenkeel sim coverage --seeds 1000 --json")]
pub struct Coverage {
    /// Seeds of the swarm that run beside the scenarios.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Services of each scenario at scale.
    #[arg(long, value_name = "N", default_value_t = 300)]
    services: u32,
    /// Only edges that nothing takes.
    #[arg(long)]
    missed: bool,
}

/// Runs, by name, and what each took.
type Runs = Vec<(String, Edges)>;

impl Coverage {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let runs = self.play()?;
        let mut all = Edges::default();
        runs.iter().for_each(|(_, edges)| all.add(edges));
        if context.json {
            let of = |(name, edges): &(String, Edges)| (name.clone(), edges.clone());
            let runs: std::collections::BTreeMap<String, Edges> = runs.iter().map(of).collect();
            return print::json(&serde_json::json!({ "edges": all, "runs": runs }));
        }
        let heads = ["MACHINE", "FROM", "TO", "BY", "TIMES", "TAKEN BY"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for (at, line) in all.lines().into_iter().enumerate() {
            if self.missed && line.times > 0 {
                continue;
            }
            let took: Vec<&str> = runs
                .iter()
                .filter(|(_, edges)| edges.lines()[at].times > 0)
                .map(|(name, _)| name.as_str())
                .collect();
            let by = match took.as_slice() {
                [] => "nothing".to_owned(),
                [one] => (*one).to_owned(),
                [first, others @ ..] => format!("{first} and {} more", others.len()),
            };
            let times = line.times.to_string();
            let named = line.named;
            let machine = named.edge.machine.to_owned();
            rows.push(vec![machine, named.from, named.to, named.event, times, by]);
        }
        print::table(&rows);
        print::line(&format!("\n{} runs: {}", runs.len(), all.summary()));
        Ok(())
    }

    /// Every bundled scenario, and the swarm.
    fn play(&self) -> Result<Runs, Failure> {
        let (mut runs, mut progress) = (Runs::new(), Progress::default());
        for bundled in scenario::BUNDLED {
            progress.show(bundled.name);
            let run = bundled.run().map_err(|error| unreadable(&error))?;
            runs.push((bundled.name.to_owned(), run.report.edges));
        }
        for bundled in fleet::BUNDLED {
            progress.show(bundled.name);
            let script = fleet::Script::parse(bundled.name, bundled.text);
            let script = script.map_err(|error| unreadable(&error))?;
            let how = fleet::How { services: Some(self.services), ..fleet::How::default() };
            let outcome = fleet::run(&script, &how, &mut |_| {});
            runs.push((bundled.name.to_owned(), outcome.report.edges));
        }
        if self.seeds > 0 {
            progress.show("the swarm");
            let mut edges = Edges::default();
            let ran = evenkeel_sim::swarm(0..self.seeds, |summary| edges.add(&summary.edges));
            ran.map_err(|failure| Failure::new(Kind::Unwell, failure.to_string()))?;
            runs.push((format!("swarm of {}", self.seeds), edges));
        }
        progress.end();
        Ok(runs)
    }
}
