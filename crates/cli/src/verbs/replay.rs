//! `replay`: the same inputs, the same turns?

use std::path::PathBuf;

use clap::Args;
use evenkeel_controller::recorder;

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::{print, rules};

/// Replay a flight recording and compare every turn with what was done; exit code 7 if any differs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel replay /var/lib/evenkeel/controller/recordings/FILE
  evenkeel replay FILE --policy policy.json   # what would have been decided under other rules")]
pub struct Replay {
    /// A file from the controller's recordings.
    file: PathBuf,
    /// Rules to decide by instead, as JSON; what is left out is as by default.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Replay {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let policy = self.policy.as_deref().map(rules::read_policy).transpose()?;
        let other_rules = policy.is_some();
        let kinds = evenkeel_kinds::KINDS;
        let remedies = std::sync::Arc::new(evenkeel_kinds::remedies::bundled());
        let replay = recorder::replay(&self.file, kinds, remedies, policy)
            .map_err(|error| Failure::new(Kind::Failed, chain(&error)))?;
        if context.json {
            let verdicts: Vec<_> = replay.verdicts.iter().map(|v| (&v.subject, &v.text)).collect();
            print::json(&serde_json::json!({
                "turns": replay.turns,
                "differing": replay.differing_turns,
                "unfinished": replay.unfinished,
                "torn": replay.torn,
                "verdicts": verdicts,
            }))?;
        } else {
            let (turns, differing) = (replay.turns, replay.differing_turns);
            print::line(&format!("{turns} turns replayed, {differing} differ from what was done"));
            for difference in &replay.differing {
                print::line(&format!("  turn {} at {} ms", difference.turn, difference.now.0));
            }
            for verdict in &replay.verdicts {
                print::line(&format!("  verdict on {}: {}", verdict.subject, verdict.text));
                verdict.evidence.iter().for_each(|e| print::line(&format!("      {e}")));
            }
            if replay.torn {
                print::note("the recording ends in the middle of a turn, as one of a kill does");
            }
        }
        if replay.differing_turns > 0 && !other_rules {
            let text = "the turns differ: another release recorded it, or the file was changed";
            return Err(Failure::new(Kind::Unwell, text));
        }
        Ok(())
    }
}
