//! `sim`: the real decisions in a modelled world.

use clap::Args;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print::{self, Progress};

/// Run the simulator: real cells and agents' minds, modelled servers, everything that can break.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel sim                 # a swarm of 100 seeds
  evenkeel sim --seed 42       # one run again, byte for byte
  evenkeel sim --from 1000 --seeds 5000")]
pub struct Sim {
    /// One run of this seed.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

impl Sim {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let seeds = match self.seed {
            Some(seed) => seed..seed.saturating_add(1),
            None => self.from..self.from.saturating_add(self.seeds),
        };
        let (mut runs, mut steps, mut writes) = (0_u64, 0, 0);
        let mut progress = Progress::default();
        let mut trace = None;
        let result = evenkeel_sim::swarm(seeds, |summary| {
            runs += 1;
            steps += summary.steps;
            writes += summary.writes;
            trace = Some(summary.trace);
            if runs.is_multiple_of(100) {
                progress.show(&format!("{runs} seeds, {writes} acknowledged writes"));
            }
        });
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
        if let (Some(seed), Some(trace)) = (self.seed, trace) {
            print::line(&format!("trace of seed {seed}: {trace}"));
        }
        Ok(())
    }
}
