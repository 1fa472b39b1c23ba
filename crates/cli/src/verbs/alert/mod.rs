//! `alert`: whom Evenkeel tells, and whether that works.

mod chain;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use evenkeel_controller::alert::{Channels, Config, Watcher};
use evenkeel_core::alert::{Delivery, IncidentId, Notice, Purpose};
use evenkeel_core::check::Severity;
use evenkeel_core::label::Label;
use evenkeel_core::moment::Moment;
use evenkeel_core::time::Span;

use crate::failure::{self, Failure, Kind};
use crate::find::Context;
use crate::print;

/// The store that is named where a person tells from here.
const BY_HAND: &str = "by-hand";

/// Look at the channels that people are told through, and try them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  evenkeel alert check alerts.toml                          # is it right; who is told, in which order
  evenkeel alert send alerts.toml --channel pager           # an exercise, from here, without a controller
  evenkeel alert send alerts.toml --channel pager --raise   # a real alert: somebody is woken
  evenkeel alert send alerts.toml --channel pager --resolve # and ends it
  evenkeel alert chain show                                 # the controller's channels, and what they did last
  evenkeel alert test                                       # exercise all of them through the controller")]
pub struct Alert {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a file, and show the chain that it describes.
    Check {
        /// The file (see docs/alerts.toml).
        file: PathBuf,
    },
    /// Send a notice through one channel, directly from here, and show what it answers.
    Send(Send),
    /// Exercise every channel through the controller, and wait for what comes of it.
    Test,
    /// The chain of channels.
    Chain {
        #[command(subcommand)]
        verb: Chain,
    },
}

#[derive(Debug, Subcommand)]
enum Chain {
    /// Show channels in order, what they did last, and who acknowledged.
    Show,
}

#[derive(Debug, Args)]
struct Send {
    /// The file (see docs/alerts.toml).
    file: PathBuf,
    /// Through which channel.
    #[arg(long, value_name = "NAME")]
    channel: String,
    /// Raise a real alert instead of an exercise.
    #[arg(long, conflicts_with = "resolve")]
    raise: bool,
    /// End the alert that `--raise` raised.
    #[arg(long)]
    resolve: bool,
}

impl Alert {
    /// Does it.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.verb {
            Verb::Check { file } => check(context, file),
            Verb::Send(send) => send.run(context),
            Verb::Test => chain::test(context),
            Verb::Chain { verb: Chain::Show } => chain::show(context, &context.client()?.alerts()?),
        }
    }
}

/// A file's channels; the store is told to providers as what sends from here.
/// Reads a file of channels.
pub(super) fn load(
    file: &Path,
    store: &str,
) -> Result<(Channels, Option<Watcher>, Vec<String>), Failure> {
    use evenkeel_controller::alert::Error as E;
    let config = Config::load(file, |name| std::env::var(name).ok()).map_err(|error| {
        let kind = match &error {
            E::Unreadable { .. } => Kind::NotFound,
            E::Wrong { .. } => Kind::Usage,
        };
        Failure::new(kind, failure::chain(&error))
    })?;
    let notes = config.notes();
    let (channels, watcher) = Channels::new(config, store);
    Ok((channels, watcher, notes))
}

fn check(context: &Context, file: &Path) -> Result<(), Failure> {
    let (channels, watcher, notes) = load(file, BY_HAND)?;
    let watcher = watcher.map(|watcher| watcher.describe());
    if context.json {
        return print::json(&serde_json::json!({
            "channels": channels.shown(),
            "watcher": watcher,
            "notes": notes,
        }));
    }
    let heads = ["", "channel", "kind", "leads to", "confirms within", "acknowledged within"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (place, shown) in channels.shown().into_iter().enumerate() {
        rows.push(vec![
            (place + 1).to_string(),
            shown.name.to_string(),
            shown.kind.to_owned(),
            shown.leads_to,
            print::span(Span(shown.patience_ms)),
            print::span(Span(shown.ack_within_ms)),
        ]);
    }
    print::table(&rows);
    print::line(&format!("watcher: {}", watcher.as_deref().unwrap_or("none")));
    notes.iter().for_each(|note| print::note(&format!("note: {note}")));
    Ok(())
}

impl Send {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let (channels, _, _) = load(&self.file, BY_HAND)?;
        let channel = Label::new(&self.channel).ok();
        let channel = channel.filter(|channel| channels.names().any(|name| name == *channel));
        let channel = channel.ok_or_else(|| {
            let names: Vec<String> = channels.names().map(|name| name.to_string()).collect();
            let text = format!(
                "{} has no channel {:?}; it has {}",
                self.file.display(),
                self.channel,
                names.join(", ")
            );
            Failure::new(Kind::NotFound, text)
        })?;
        let delivery = Delivery { number: now_ms(), channel, notice: self.notice() };
        print::note(&format!("sending through {channel} ..."));
        let told = channels.deliver(&delivery);
        if context.json {
            print::json(&told)?;
        }
        match told.outcome {
            Ok(_) if context.json => Ok(()),
            Ok(receipt) => {
                print::line(&format!("{channel} confirmed: {}", receipt.text));
                Ok(())
            }
            Err(why) => {
                let text = format!("{channel} did not confirm: {why}");
                Err(Failure::new(Kind::Failed, text))
            }
        }
    }

    fn notice(&self) -> Notice {
        let (purpose, title) = match (self.raise, self.resolve) {
            (true, _) => (Purpose::Raise, "A real alert, raised by hand to try this channel"),
            (_, true) => (Purpose::Resolve, "The alert that was raised by hand is over"),
            _ => (Purpose::Exercise, "This channel is being tried"),
        };
        Notice {
            incident: IncidentId(0),
            under: None,
            purpose,
            severity: Severity::Page,
            title: title.to_owned(),
            domain: "fleet".to_owned(),
            evidence: vec!["somebody ran `evenkeel alert send`".to_owned()],
            since: Moment::of_millis(now_ms()).to_string(),
        }
    }
}

/// The wall clock: no two notices that are sent by hand bear the same number.
fn now_ms() -> u64 {
    u64::try_from(evenkeel_controller::wall()).unwrap_or_default()
}
