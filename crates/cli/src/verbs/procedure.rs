//! `procedure`: scripts with a contract, looked at and run as planned.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use evenkeel_api::act::{Act, State};
use evenkeel_api::procedure::Step;
use evenkeel_api::{Client, ProcedureOrder, ProcedurePage};

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print::{self, Progress};

/// Between looks at an act.
const STEP: Duration = Duration::from_millis(100);

/// Look at procedures, or run one as planned; under break-glass it is `evenkeel breakglass run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel procedure list
  evenkeel procedure show end-idle-transactions
  evenkeel procedure run ask-locks orders --wait
  evenkeel procedure run end-idle-transactions orders --param seconds=60 --dry-run --wait")]
pub struct Procedure {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every procedure.
    List,
    /// One procedure: what it does, its parameters, its scripts.
    Show {
        /// Its name.
        name: String,
    },
    /// Run a procedure beside a service's primary, or another member.
    Run {
        /// The procedure.
        procedure: String,
        /// The service.
        service: String,
        #[command(flatten)]
        with: With,
        /// Wait until it has ended, and print what it said.
        #[arg(long)]
        wait: bool,
        /// Give up waiting after this many seconds; the procedure goes on.
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        timeout: u64,
    },
}

/// How a procedure is run.
#[derive(Clone, Debug, Args)]
pub struct With {
    /// A parameter's value; may be given again for another one.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    param: Vec<(String, String)>,
    /// Beside this member, by its id or its host's name.
    #[arg(long)]
    pub member: Option<String>,
    /// Only say what it would do.
    #[arg(long)]
    pub dry_run: bool,
}

impl With {
    /// The parameters.
    pub fn parameters(&self) -> BTreeMap<String, String> {
        self.param.iter().cloned().collect()
    }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "give a parameter as NAME=VALUE".to_owned())
}

impl Procedure {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        match &self.what {
            What::List => list(context, &client.procedures()?),
            What::Show { name } => show(context, &client.procedure(name)?),
            What::Run { procedure, service, with, wait, timeout } => {
                let order = ProcedureOrder {
                    procedure: procedure.clone(),
                    member: with.member.clone(),
                    parameters: with.parameters(),
                    dry_run: with.dry_run,
                };
                let accepted = client.run_procedure(service, &order)?;
                if !wait {
                    if context.json {
                        return print::json(&accepted);
                    }
                    print::line(&accepted.text);
                    return Ok(());
                }
                follow(context, &client, accepted.job.unwrap_or(0), *timeout)
            }
        }
    }
}

/// Waits until an act has ended, and prints it; it is a failure unless all of it was done.
pub fn follow(context: &Context, client: &Client, id: u32, timeout: u64) -> Result<(), Failure> {
    let (began, mut progress) = (Instant::now(), Progress::default());
    let act = loop {
        let act = client.act(id)?;
        if !act.lives() {
            progress.end();
            break act;
        }
        let at = act.entries.last().map_or("waits for its turn", |entry| entry.what.as_str());
        progress.show(&format!("{}: {at}", act.called()));
        if began.elapsed() > Duration::from_secs(timeout) {
            progress.end();
            let text = format!("{} is under way after {timeout} s; it goes on", act.called());
            return Err(Failure::new(Kind::TimedOut, text));
        }
        std::thread::sleep(STEP);
    };
    if context.json {
        print::json(&act)?;
    } else {
        transcript(&act);
    }
    match act.state {
        State::Done => Ok(()),
        _ => Err(Failure::new(Kind::Failed, format!("{} failed: {}", act.called(), act.how))),
    }
}

/// Prints what was ordered by an act and what came of it.
pub fn transcript(act: &Act) {
    print::heading(&format!("{} of {} on {}", act.called(), act.procedure, act.service));
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![row("by", act.by.clone()), row("reason", act.reason.clone())];
    if let Some(digest) = &act.digest {
        rows.push(row("digest", digest.to_string()));
    }
    let values: Vec<String> = act.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
    rows.push(row(
        "parameters",
        if values.is_empty() { "none".to_owned() } else { values.join(" ") },
    ));
    if act.dry_run {
        rows.push(row("dry run", "it only says what it would do".to_owned()));
    }
    if let Some(approved) = &act.approved {
        rows.push(row("approved", format!("by {}", approved.by)));
    }
    rows.push(row("allowed for", act.until.since(act.begun).to_string()));
    let state = match act.state {
        State::Waiting => "it waits for a second person",
        State::Open => "it is open",
        State::Done | State::Ended => act.how.as_str(),
    };
    rows.push(row("state", state.to_owned()));
    print::table(&rows);
    for entry in &act.entries {
        let took = entry.ended.map_or(String::new(), |at| format!(" ({})", at.since(entry.at)));
        let ok = match entry.ok {
            None => "under way",
            Some(true) => "done",
            Some(false) => "failed",
        };
        print::line(&format!("\n{}: {ok}{took}: {}", entry.what, entry.text));
        let Some(ran) = &entry.ran else { continue };
        for changed in ran.answer.iter().flat_map(|a| a["changed"].as_array()).flatten() {
            print::line(&format!("  {}", changed.as_str().unwrap_or_default()));
        }
        for (name, words) in [("output", &ran.output), ("log", &ran.log)] {
            words.lines().for_each(|line| print::line(&format!("  {name}: {line}")));
        }
    }
    if let Some(recording) = &act.recording {
        print::line("\ntyped:");
        recording.typed.lines().for_each(|line| print::line(&format!("  {line}")));
        print::line("\nshown:");
        print::line(&recording.shown);
    }
}

fn list(context: &Context, all: &[ProcedurePage]) -> Result<(), Failure> {
    if context.json {
        return print::json(&all);
    }
    let heading = ["PROCEDURE", "KIND", "LOGIN", "DISRUPTIVE", "BY HAND", "FROM"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for page in all {
        let manifest = &page.manifest;
        rows.push(vec![
            manifest.name.clone(),
            manifest.kind.clone(),
            format!("{:?}", manifest.role).to_lowercase(),
            if manifest.disruptive { "yes" } else { "no" }.to_owned(),
            format!("{} min", manifest.manual_minutes),
            if page.bundled { "evenkeel" } else { "you" }.to_owned(),
        ]);
    }
    print::table(&rows);
    Ok(())
}

fn show(context: &Context, page: &ProcedurePage) -> Result<(), Failure> {
    if context.json {
        return print::json(page);
    }
    let manifest = &page.manifest;
    print::heading(&format!("procedure {}", manifest.name));
    print::line(&manifest.doc);
    let yes = |so: bool| if so { "yes" } else { "no" }.to_owned();
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    print::table(&[
        row("digest", page.digest.to_string()),
        row("login", format!("{:?}", manifest.role).to_lowercase()),
        row("time limit", format!("{} s", manifest.time_limit_seconds)),
        row("disruptive", yes(manifest.disruptive)),
        row("may be repeated", yes(manifest.repeatable)),
        row("can say what it would do", yes(manifest.dry_run)),
        row("needs a second person", yes(manifest.second_person)),
        row("by hand", format!("{} min", manifest.manual_minutes)),
    ]);
    for parameter in &manifest.parameters {
        let default = parameter
            .default
            .as_ref()
            .map_or("must be given".to_owned(), |value| format!("{value} if not given"));
        print::line(&format!("--param {}=...  {default}. {}", parameter.name, parameter.doc));
    }
    for step in &manifest.steps {
        print::line(&match step {
            Step::Operation(operation) => format!("step: operation {operation:?}").to_lowercase(),
            Step::Script(script) => format!("step: script {script}"),
        });
    }
    for (name, text) in &page.scripts {
        print::heading(&format!("\nscript {name}"));
        print::line(text);
    }
    Ok(())
}
