//! `remedy`, `approve`, `pin`, `brake`: how far automation goes.

use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use evenkeel_api::order::Accepted;
use evenkeel_api::{BrakeOrder, LevelOrder, PinOrder};
use evenkeel_controller::recorder;
use evenkeel_core::automation::Pinned;
use evenkeel_core::remedy::Level;
use evenkeel_core::time::Span;
use evenkeel_core::{journal, view};
use evenkeel_sim::scenario::{self, How, Script};

use crate::failure::{Failure, Kind, chain};
use crate::find::Context;
use crate::{print, rules};

/// What is repaired by itself, how often, and who lets it: list, show, level, check.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel remedy list
  evenkeel remedy show hung
  evenkeel remedy level rebuild approve
  evenkeel remedy level failover suggest --service orders
  evenkeel remedy level failover default --service orders
  evenkeel remedy check my-remedies/*.toml
  evenkeel remedy test hung.toml --against lost-primary
  evenkeel remedy test hung.toml --against /var/lib/evenkeel/controller/recordings/FILE

A remedy is a file (TOML): `remedy show` prints what each says. Your own are read from the directory
that `evenkeel up --remedies DIR` names.")]
pub struct Remedy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every remedy, its level, and how many services it is under way for.
    List,
    /// One remedy: what it answers to, what it does, its budget.
    Show {
        /// Its name.
        name: String,
    },
    /// Say who lets a remedy run: nobody (off), a person by hand (suggest), a person's yes (approve),
    /// itself (auto); `default` is what its file says.
    Level {
        /// Its name.
        name: String,
        /// Which level.
        level: LevelWord,
        /// For this service only.
        #[arg(long, value_name = "NAME", conflicts_with = "kind")]
        service: Option<String>,
        /// For services of this kind only.
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
    },
    /// Run a remedy against what happened (a flight recording) or what could (a scenario of the simulator),
    /// and say what it would have done.
    Test {
        /// The remedy's file.
        file: std::path::PathBuf,
        /// A recording's file, a scenario's file, or a bundled scenario's name (`evenkeel sim list`).
        #[arg(long, value_name = "RECORDING|SCENARIO")]
        against: String,
    },
    /// Read remedy files and say what is wrong with them, without a fleet.
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<std::path::PathBuf>,
    },
}

/// A level by its word.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LevelWord {
    /// Not at all.
    Off,
    /// Named, and done by a person.
    Suggest,
    /// After a person's yes.
    Approve,
    /// By itself.
    Auto,
    /// As its file says.
    Default,
}

impl LevelWord {
    const fn level(self) -> Option<Level> {
        match self {
            Self::Off => Some(Level::Off),
            Self::Suggest => Some(Level::Suggest),
            Self::Approve => Some(Level::Approve),
            Self::Auto => Some(Level::Auto),
            Self::Default => None,
        }
    }
}

impl Remedy {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.verb {
            Verb::List => list(context, &context.client()?.remedies()?),
            Verb::Show { name } => {
                let all = context.client()?.remedies()?;
                let found = all.iter().find(|remedy| remedy.name == *name);
                let names = || all.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ");
                let found = found.ok_or_else(|| {
                    let text = format!("no remedy is named {name:?}; there are: {}", names());
                    Failure::new(Kind::NotFound, text)
                })?;
                show(context, found)
            }
            Verb::Level { name, level, service, kind } => {
                let (service, kind) = (service.clone(), kind.clone());
                let order = LevelOrder { level: level.level(), service, kind };
                said(context, &context.client()?.set_level(name, &order)?)
            }
            Verb::Test { file, against } => test(context, file, against),
            Verb::Check { files } => {
                for path in files {
                    let remedy = rules::read_remedy(path)?;
                    print::line(&format!(
                        "{}: when {}, then {}; {}",
                        remedy.name, remedy.guard, remedy.course, remedy.level
                    ));
                }
                Ok(())
            }
        }
    }
}

/// Let a remedy run that waits for a person's yes; without a number: list what waits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel approve
  evenkeel approve 7")]
pub struct Approve {
    /// The number of what waits.
    id: Option<u32>,
}

impl Approve {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        if let Some(id) = self.id {
            return said(context, &client.approve(id)?);
        }
        let waiting = client.approvals()?;
        if context.json {
            return print::json(&waiting);
        }
        let mut rows = vec![["ID", "SERVICE", "REMEDY", "WAITS"].map(str::to_owned).to_vec()];
        let state = |a: &view::Approval| match &a.given_by {
            Some(by) => format!("no more: {by} said yes"),
            None => format!("for {}", print::span(a.since_ms)),
        };
        let row = |a: &view::Approval| {
            vec![a.id.to_string(), a.service.clone(), a.remedy.clone(), state(a)]
        };
        rows.extend(waiting.iter().map(row));
        print::table(&rows);
        Ok(())
    }
}

/// Have automation leave a service alone for a while.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel pin orders --level pause --for 2h --reason \"moving its tables by hand\"
  evenkeel pin orders --level essential --for 1d --reason \"their launch day\"
  evenkeel pin orders --level active

essential repairs what is down and does nothing else; pause begins nothing, and a server that dies stays
down; stop also gives up what a remedy began; active ends the pin. A pin that never expires does not exist:
it lasts a week at most.")]
pub struct Pin {
    /// The service's name.
    name: String,
    /// How far automation may go.
    #[arg(long)]
    level: PinWord,
    /// For how long: 30m, 2h, 1d.
    #[arg(long = "for", value_name = "TIME", required_if_eq_any(
        [("level", "essential"), ("level", "pause"), ("level", "stop")]
    ))]
    span: Option<Span>,
    /// Why, for the journal.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// A pin's level by its word.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PinWord {
    /// Not pinned.
    Active,
    /// Repairs only.
    Essential,
    /// Nothing begins.
    Pause,
    /// Nothing begins, and what a remedy began is given up.
    Stop,
}

impl Pin {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let level = match self.level {
            PinWord::Active => None,
            PinWord::Essential => Some(Pinned::Essential),
            PinWord::Pause => Some(Pinned::Pause),
            PinWord::Stop => Some(Pinned::Stop),
        };
        let for_ms = self.span.unwrap_or_default();
        let order = PinOrder { level, for_ms, reason: self.reason.clone() };
        said(context, &context.client()?.pin(&self.name, &order)?)
    }
}

/// Stop everything that automation or a plan would begin, in the whole fleet; or let it go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel brake on --reason \"something moves that should not\"
  evenkeel brake off
  evenkeel brake

Agents still start servers that die, gateways still lead clients, archives and backups go on, and what a
person orders and does not disturb anybody (`create`) or is an emergency (`failover`) goes through.")]
pub struct Brake {
    /// On or off; without it: how it is.
    to: Option<OnOff>,
    /// Why, for the journal; needed to put it on.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}

impl Brake {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let client = context.client()?;
        if let Some(to) = self.to {
            let order = BrakeOrder { on: to == OnOff::On, reason: self.reason.clone() };
            return said(context, &client.brake(&order)?);
        }
        let brake = client.fleet()?.brake;
        if context.json {
            return print::json(&serde_json::json!({ "brake": brake }));
        }
        print::line(&match brake {
            Some(why) => format!("the brake is on: {why}"),
            None => "the brake is off".to_owned(),
        });
        Ok(())
    }
}

/// What bounds automation now: the fleet's posture, and the brake.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  evenkeel posture --json")]
pub struct Posture {}

impl Posture {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let fleet = context.client()?.fleet()?;
        if context.json {
            let (posture, brake) = (fleet.posture, fleet.brake);
            return print::json(&serde_json::json!({ "posture": posture, "brake": brake }));
        }
        print::line(&fleet.posture);
        if let Some(why) = fleet.brake {
            print::line(&format!("the brake is on: {why}"));
        }
        Ok(())
    }
}

fn said(context: &Context, accepted: &Accepted) -> Result<(), Failure> {
    if context.json {
        return print::json(accepted);
    }
    print::line(&accepted.text);
    Ok(())
}

fn list(context: &Context, all: &[view::Remedy]) -> Result<(), Failure> {
    if context.json {
        return print::json(&all);
    }
    let head = ["REMEDY", "LEVEL", "DOES", "TRIES", "RUNS NOW", "WHEN"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|remedy| {
        let others = match remedy.elsewhere.len() {
            0 => String::new(),
            n => format!(" ({n} otherwise)"),
        };
        vec![
            remedy.name.clone(),
            format!("{}{others}", remedy.level),
            remedy.does.clone(),
            format!("{} in {}", remedy.tries_max, remedy.window_ms),
            remedy.running.to_string(),
            match &remedy.fails {
                Some(why) => format!("cannot be said {why}"),
                None => remedy.when.clone(),
            },
        ]
    }));
    print::table(&rows);
    Ok(())
}

fn show(context: &Context, remedy: &view::Remedy) -> Result<(), Failure> {
    if context.json {
        return print::json(remedy);
    }
    print::line(&format!("{}: {}", remedy.name, remedy.doc));
    print::line(&format!("  when     {}", remedy.when));
    print::line(&format!("  does     {}", remedy.does));
    let cooldown = match remedy.cooldown_ms {
        Span(0) => String::new(),
        span => format!(", {span} between two"),
    };
    let fleet = remedy.fleet_max.map_or_else(String::new, |n| format!(", {n} services at once"));
    print::line(&format!(
        "  budget   {} in {} for a service{cooldown}{fleet}; then a person is told",
        remedy.tries_max, remedy.window_ms
    ));
    if !remedy.held_in.is_empty() {
        print::line(&format!("  waits    while the posture is {}", remedy.held_in.join(", ")));
    }
    print::line(&format!("  level    {} in the fleet", remedy.level));
    for (whom, level) in &remedy.elsewhere {
        print::line(&format!("           {level} for {whom}"));
    }
    print::line(&format!("  by hand  {} minutes", remedy.manual_minutes));
    if let Some(why) = &remedy.fails {
        print::line(&format!("  fails    whether it applies cannot be said {why}"));
    }
    print::line(&format!("  now      under way for {} services", remedy.running));
    Ok(())
}

/// What a remedy would have done, line by line, and whether all was well in the end.
fn test(context: &Context, path: &std::path::Path, against: &str) -> Result<(), Failure> {
    let remedy = rules::read_remedy(path)?;
    let name = remedy.name.to_string();
    let all = Arc::new(evenkeel_kinds::remedies::bundled().overlaid(vec![remedy]));
    let needle = format!("remedy {name}");
    let (lines, held) = if against.ends_with(".toml") || scenario::bundled(against).is_some() {
        let text = super::sim::text_of(against)?;
        let script = Script::parse(against, &text)
            .map_err(|error| Failure::new(Kind::Usage, chain(&error)))?;
        let run = script.run_how(How { remedies: Some(all), ..How::default() });
        let of = |line: &&str| line.contains(&needle) || line.contains("FAILED");
        let lines: Vec<String> =
            run.transcript.lines().filter(of).map(|line| line.trim().to_owned()).collect();
        (lines, run.held)
    } else {
        let replay = recorder::replay(against.as_ref(), evenkeel_kinds::KINDS, all, None)
            .map_err(|error| Failure::new(Kind::Failed, chain(&error)))?;
        let of = |entry: &&journal::Entry| entry.text.contains(&needle);
        let line = |entry: &journal::Entry| {
            format!("{} ms  {}: {}", entry.at.0, entry.subject, entry.text)
        };
        (replay.decisions.iter().filter(of).map(line).collect(), Ok(()))
    };
    if context.json {
        print::json(&serde_json::json!({
            "remedy": name, "against": against, "did": lines, "held": held.is_ok(),
            "failed": held.as_ref().err(),
        }))?;
    } else {
        match lines.len() {
            0 => print::line(&format!("remedy {name} would have done nothing")),
            n => print::line(&format!("remedy {name} has a part in {n} lines:")),
        }
        lines.iter().for_each(|line| print::line(&format!("  {line}")));
    }
    held.map_err(|what| Failure::new(Kind::Unwell, what))
}
