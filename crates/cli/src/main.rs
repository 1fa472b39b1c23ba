//! The one binary: verbs for people, and the processes of a fleet.
//!
//! Invariants: only this crate sees the environment, files of configuration and flags; what is for
//! programs goes to stdout, everything else to stderr; every failure has an exit code that is in the
//! help and a text that names the input and the fix.

mod canary;
mod driller;
mod failure;
mod find;
mod lasting;
mod print;
mod rules;
mod stage;
mod up;
mod vault;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use find::Context;

/// Cells allocate much that is small and short-lived, on a heap of gigabytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes, as the help prints them.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong input
  3  not found
  4  refused: not possible now
  5  the controller cannot be reached
  6  not reached in time
  7  something is not as it should be (doctor, replay)";

/// Runs fleets of data services so that nobody is woken at night.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    verb: verbs::Verb,
}

fn main() -> ExitCode {
    // Not a verb for people: starts a process as nobody's child.
    if std::env::args().nth(1).as_deref() == Some("launch") {
        let arguments: Vec<String> = std::env::args().skip(2).collect();
        let code = evenkeel_drivers::launch::main(&arguments);
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let cli = Cli::parse();
    match cli.verb.run(&cli.context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::note(&format!("evenkeel: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_verb_shows_an_example() {
        let command = Cli::command();
        command.clone().debug_assert();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", verb.get_name());
        }
    }
}
