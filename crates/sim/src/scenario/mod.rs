//! Scenarios: a small fleet, a timeline of orders and faults, and what must be so.
//!
//! Purpose: they are tests, and the tutorial. Each is a TOML file that people can read and write; a
//! run of it gives a transcript with everything that happened to the world and everything that the
//! controller recorded. Bundled transcripts are kept under `docs/scenarios` and compared.
//!
//! A new one is a file in `scenarios/` and a line in [`BUNDLED`].
//!
//! ```
//! let run = evenkeel_sim::scenario::bundled("killed-server").unwrap().run().unwrap();
//! assert!(run.held.is_ok());
//! ```

mod script;
mod stage;

use std::fmt::Write;
use std::sync::Arc;

use evenkeel_core::remedy::Remedies;

use crate::mutation::Mutation;
use crate::report::Report;
pub(crate) use script::Lasting;
pub use script::{Error, Script, Step};

/// A scenario that comes with Evenkeel.
#[derive(Clone, Copy, Debug)]
pub struct Bundled {
    /// Its name: the file's, without its ending.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// Scenarios of a directory, by the names of their files.
macro_rules! files {
    ($dir:literal: $($name:literal),* $(,)?) => {
        &[$($crate::scenario::Bundled {
            name: $name,
            text: include_str!(concat!("../../scenarios/", $dir, $name, ".toml")),
        }),*]
    };
}
pub(crate) use files;

/// Every bundled scenario, in the order in which people should read them.
pub const BUNDLED: &[Bundled] = files!["":
    "create",
    "killed-server",
    "crash-loop",
    "silent-agent",
    "lost-host",
    "lost-primary",
    "cut-off-async",
    "rebuilt-standby",
    "controller-killed",
    "storage-outage",
    "disk-fills",
    "last-copy",
    "last-copy-away",
    "pager-down",
];

/// A bundled scenario by name.
#[must_use]
pub fn bundled(name: &str) -> Option<Bundled> {
    BUNDLED.iter().copied().find(|scenario| scenario.name == name)
}

/// What a run of a scenario was.
#[derive(Clone, Debug)]
pub struct Run {
    /// Everything that happened.
    pub transcript: String,
    /// Whether everything was as it must be, and otherwise the first thing that was not.
    pub held: Result<(), String>,
    /// What it came to, in figures.
    pub report: Report,
}

/// How a scenario is run where it is not run as it is.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// All chance comes from it.
    pub seed: u64,
    /// A rule that is broken on purpose.
    pub mutation: Option<Mutation>,
    /// Remedies of one's own.
    pub remedies: Option<Arc<Remedies>>,
}

impl Script {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Run {
        self.run_how(How::default())
    }

    /// Runs it otherwise.
    #[must_use]
    pub fn run_how(&self, how: How) -> Run {
        let remedies = how.remedies.unwrap_or_else(bundled_remedies);
        stage::Stage::new(self, how.seed, how.mutation, remedies).play()
    }
}

impl Bundled {
    /// Its script.
    ///
    /// # Errors
    /// [`Error`], which the tests of this crate exclude.
    pub fn script(&self) -> Result<Script, Error> {
        Script::parse(self.name, self.text)
    }

    /// Runs it.
    ///
    /// # Errors
    /// As [`Bundled::script`].
    pub fn run(&self) -> Result<Run, Error> {
        Ok(self.script()?.run())
    }

    /// Its page of the documentation: story, script and transcript.
    ///
    /// # Errors
    /// As [`Bundled::script`].
    pub fn page(&self) -> Result<String, Error> {
        self.page_of(&self.run()?)
    }

    /// The same, of a run of it.
    ///
    /// # Errors
    /// As [`Bundled::script`].
    pub fn page_of(&self, run: &Run) -> Result<String, Error> {
        let (script, name) = (self.script()?, self.name);
        let mut page = format!(
            "# {}\n\nRendered by running it; do not edit. `evenkeel sim run {name}` runs it.\n\n",
            script.title
        );
        let _ = write!(page, "{}\n\n", script.story.trim());
        let _ = write!(page, "## The script\n\n```toml\n{}```\n\n", self.text);
        let _ = write!(page, "## What happens\n\n```text\n{}```\n", run.transcript);
        Ok(page)
    }
}

fn bundled_remedies() -> Arc<Remedies> {
    Arc::new(evenkeel_kinds::remedies::bundled())
}

/// The index of the pages.
///
/// # Errors
/// As [`Bundled::script`].
pub fn index() -> Result<String, Error> {
    let mut page = INTRODUCTION.to_owned();
    for scenario in BUNDLED {
        let title = scenario.script()?.title;
        let _ = writeln!(page, "- [{}]({}.md): {title}", scenario.name, scenario.name);
    }
    Ok(page)
}

const INTRODUCTION: &str = "# Scenarios

Rendered from the scenarios themselves; do not edit.

Each page is a small fleet in the simulator: the script, and a transcript of everything that happened.
The decisions are the real ones; hosts, servers, clients and the network are modelled. Read in this
order they are a tutorial. `evenkeel sim run FILE.toml` runs a scenario of your own.

Times in a transcript are seconds since the fleet was up. The sign in front says whose word it is:

| sign | meaning |
|---|---|
| `>` | an order, a fault or a repair of the script |
| `<` | the controller's answer to an order |
| `*` | an entry of the journal, with its evidence below |
| `=` | something that had to be so, and is |
| `?` | what `evenkeel explain` says at that moment |
| none | what happened in the world: driver calls, processes, clients |

";
