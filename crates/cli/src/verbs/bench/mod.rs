//! `bench`: figures of this machine.

use clap::{Args, Subcommand};

use crate::failure::Failure;

mod engine;
mod fleet;

/// Measure. Prints JSON.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel bench engine --services 100000
  evenkeel bench fleet --services 100
  evenkeel bench fleet --only create,kill")]
pub struct Bench {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Memory of a quiet service in a cell, and the time of a turn that changes nothing.
    Engine {
        /// Services, spread over as many cells as their ports need.
        #[arg(long, default_value_t = 100_000)]
        services: u32,
    },
    /// A real fleet on this machine: creates, kills, outages, cost at rest. Takes some minutes.
    Fleet {
        /// Services that are there at once.
        #[arg(long, default_value_t = 100)]
        services: usize,
        /// Parts to measure [default: all].
        #[arg(long, value_delimiter = ',')]
        only: Vec<fleet::Part>,
    },
}

impl Bench {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Engine { services } => engine::run(*services),
            Verb::Fleet { services, only } => fleet::run(*services, only),
        }
    }
}
