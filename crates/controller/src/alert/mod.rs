//! The alert channels: how a person is told, whatever one provider does.
//!
//! The cell decides who is told what, and when the next channel's turn is; here a delivery is made and
//! answered once. `alerts.toml` ([`Config`]) names the channels in the order of the chain; [`Channels`]
//! delivers through one and waits; [`spawn`] does so on threads, and its [`Sender`] never blocks. The
//! [`Watcher`] is pinged so that Evenkeel's own silence is noticed from outside.
//!
//! Invariants:
//! - a delivery ends within its channel's patience and a second, wherever the other side hangs;
//! - only a provider's own word confirms: what merely answers is a failure;
//! - no secret is in any outcome, error, log or `Debug`;
//! - decides nothing: no retries, no order, no next channel.
//!
//! A new kind is a file here and a line in `KINDS`, and an example in `docs/alerts.toml`.
//!
//! ```no_run
//! # fn run(delivery: evenkeel_core::alert::Delivery) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use evenkeel_controller::alert::{Channels, Config, spawn};
//! let config = Config::load("alerts.toml".as_ref(), |name| std::env::var(name).ok())?;
//! let (channels, watcher) = Channels::new(config, "store-1");
//! let sender = spawn(Arc::new(channels), |told| println!("{told:?}"))?;
//! sender.send(delivery);
//! # Ok(())
//! # }
//! ```

mod alertmanager;
mod command;
mod config;
mod deadman;
mod fields;
mod http;
mod mail;
mod outside;
mod pagerduty;
mod queue;
mod secret;
mod slack;
mod webhook;
mod wording;

use std::time::{Duration, Instant};

use evenkeel_core::alert::{Delivery, Notice, Receipt, Told};
use evenkeel_core::label::Label;
use serde_json::{Value, json};

pub use config::{Config, Error};
pub use deadman::{Head, Status, Watch, Watcher};
pub use fields::Fault;
pub use outside::Outside;
pub use queue::{Sender, spawn};

use config::Entry;
use fields::Fields;
use secret::Secrets;

/// Longest sentence about an outcome, in characters.
const SENTENCE_MAX: usize = 400;

/// A kind of channel.
struct Kind {
    name: &'static str,
    open: fn(&mut Fields<'_>) -> Result<Box<dyn Channel>, Fault>,
}

/// The kinds there are.
const KINDS: &[Kind] = &[
    Kind { name: "pagerduty", open: pagerduty::open },
    Kind { name: "alertmanager", open: alertmanager::open },
    Kind { name: "slack", open: slack::open },
    Kind { name: "webhook", open: webhook::open },
    Kind { name: "mail", open: mail::open },
    Kind { name: "command", open: command::open },
];

/// A way to tell people something.
trait Channel: Send + Sync {
    /// Tells, and waits for the provider's word, no longer than the call's deadline.
    ///
    /// An error is a sentence; it may quote the provider, and is cleansed of secrets by the caller.
    fn deliver(&self, call: &Call<'_>) -> Result<Receipt, String>;

    /// Where it leads, for people, without secrets.
    fn describe(&self) -> String;

    /// What works and could be better.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// When something must be over.
#[derive(Clone, Debug)]
struct Deadline {
    began: Instant,
    allowed: Duration,
}

impl Deadline {
    fn after(allowed: Duration) -> Self {
        Self { began: Instant::now(), allowed }
    }

    /// The time that is left; `None` if none is.
    fn left(&self) -> Option<Duration> {
        let left = self.allowed.saturating_sub(self.began.elapsed());
        (!left.is_zero()).then_some(left)
    }

    fn allowed(&self) -> String {
        fields::span_text(self.allowed)
    }
}

/// One delivery through one channel.
struct Call<'a> {
    store: &'a str,
    delivery: &'a Delivery,
    deadline: Deadline,
}

impl Call<'_> {
    const fn notice(&self) -> &Notice {
        &self.delivery.notice
    }

    /// The name that a channel knows the incident by, unlike that of any other store's.
    fn incident_key(&self) -> String {
        format!("{}-{}", self.store, self.notice().key())
    }

    /// An exercise's own name: it is about no incident.
    fn exercise_key(&self) -> String {
        format!("{}-exercise-{}", self.store, self.delivery.number)
    }

    /// The delivery's name: a repetition bears it again.
    fn delivery_key(&self) -> String {
        format!("{}-d{}", self.store, self.delivery.number)
    }

    /// The whole notice as JSON, for programs.
    fn document(&self) -> Value {
        json!({
            "store": self.store,
            "delivery": self.delivery.number,
            "channel": self.delivery.channel,
            "key": self.incident_key(),
            "notice": self.delivery.notice,
        })
    }
}

/// A text of so many characters at most.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}...", &text[..at]),
    }
}

/// A sentence as people see it: without secrets, in one line, of a bounded length.
fn presentable(secrets: &Secrets, text: &str) -> String {
    let cleansed = secrets.cleanse(text);
    let line: String = cleansed.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    cut(&words.join(" "), SENTENCE_MAX)
}

/// A channel as people see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Its name.
    pub name: Label,
    /// Its kind.
    pub kind: &'static str,
    /// Where it leads, without secrets.
    pub leads_to: String,
    /// How long a confirmation is waited for, in milliseconds.
    pub patience_ms: u64,
    /// How long a person has to acknowledge before the next channel is used too, in milliseconds.
    pub ack_within_ms: u64,
}

/// The channels of `alerts.toml`, in their order.
#[derive(Debug)]
pub struct Channels {
    store: String,
    entries: Vec<Entry>,
}

impl Channels {
    /// The channels of a file, and who watches from outside. The store's name makes an incident's key
    /// unlike that of another fleet's at the same provider.
    #[must_use]
    pub fn new(config: Config, store: &str) -> (Self, Option<Watcher>) {
        (Self { store: store.to_owned(), entries: config.entries }, config.watcher)
    }

    /// Their names, in the order of the chain.
    pub fn names(&self) -> impl Iterator<Item = Label> + '_ {
        self.entries.iter().map(|entry| entry.name)
    }

    /// The chain: each channel, and how long a person has to acknowledge what was told through it
    /// before the next is used too.
    #[must_use]
    pub fn chain(&self) -> Vec<(Label, Duration)> {
        self.entries.iter().map(|entry| (entry.name, entry.ack_within)).collect()
    }

    /// The chain for people.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let shown = self.entries.iter().map(|entry| Shown {
            name: entry.name,
            kind: entry.kind,
            leads_to: entry.channel.describe(),
            patience_ms: ms(entry.patience),
            ack_within_ms: ms(entry.ack_within),
        });
        shown.collect()
    }

    /// Makes a delivery and waits for the channel's word: its patience and a second at most.
    #[must_use]
    pub fn deliver(&self, delivery: &Delivery) -> Told {
        let entry = self.place(delivery.channel).and_then(|place| self.entries.get(place));
        let number = delivery.number;
        let Some(entry) = entry else {
            return Told::new(number, Err(self.unknown(delivery.channel)));
        };
        let call = Call { store: &self.store, delivery, deadline: Deadline::after(entry.patience) };
        let outcome = match entry.channel.deliver(&call) {
            Ok(receipt) => Ok(Receipt { text: presentable(&entry.secrets, &receipt.text) }),
            Err(why) => Err(presentable(&entry.secrets, &why)),
        };
        Told::new(number, outcome)
    }

    /// Which place of the chain a channel has.
    fn place(&self, channel: Label) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == channel)
    }

    /// What is said of a channel that is not there.
    fn unknown(&self, channel: Label) -> String {
        let names: Vec<String> = self.names().map(|name| name.to_string()).collect();
        format!("there is no channel {channel}; alerts.toml has {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_registry_is_sound() {
        let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len(), "two kinds share a name");
        let page = include_str!("../../../../docs/alerts.toml");
        for name in names {
            assert!(page.contains(&format!("kind = \"{name}\"")), "no example of {name}");
        }
    }

    #[test]
    fn sentences_are_one_line_without_secrets_and_bounded() {
        let mut secrets = Secrets::default();
        secrets.add(&secret::Secret::new("hunter22"));
        let said = presentable(&secrets, &format!("a\r\n b hunter22 {}", "\u{e4}".repeat(900)));
        assert!(said.starts_with("a b [secret] \u{e4}"), "{said}");
        assert!(said.chars().count() <= SENTENCE_MAX + 3);
    }
}
