//! `completions`: for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::failure::Failure;

/// Print tab completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel completions bash > /etc/bash_completion.d/evenkeel")]
pub struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        let mut command = crate::Cli::command();
        clap_complete::generate(self.shell, &mut command, "evenkeel", &mut std::io::stdout());
        Ok(())
    }
}
