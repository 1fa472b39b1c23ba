//! The alert channels against servers that accept, refuse, hang, lie and die.

mod command;
mod config;
mod http;
mod kinds;
mod queue;
mod server;
mod smtp;
mod watcher;

use std::time::{Duration, Instant};

use evenkeel_controller::alert::{Channels, Config};
use evenkeel_core::alert::{Delivery, IncidentId, Notice, Purpose};
use evenkeel_core::check::Severity;
use evenkeel_core::label::Label;

/// Every secret of these tests bears this, so that one look finds any of them.
pub const SECRET: &str = "s3cr3t+Xyz";
/// The shortest patience there is: what hangs is given up after so long.
pub const PATIENCE: &str = "patience = \"1s\"\nack_within = \"5s\"\n";
/// Far more than patience and a second, and far less than for ever.
pub const BOUND: Duration = Duration::from_secs(8);

/// A file of channels, as read from a directory of its own.
pub fn config(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("alerts.toml");
    std::fs::write(&path, text).expect("written");
    let env = |name: &str| (name == "TEST_SECRET").then(|| SECRET.to_owned());
    Config::load(&path, env).map_err(|error| {
        let said = error.to_string();
        assert_clean(&format!("{said} {error:?}"));
        said.replace(&format!("{}:", path.display()), "")
    })
}

/// The channels of a file that is right.
pub fn channels(text: &str) -> Channels {
    Channels::new(config(text).expect("it is right"), "st").0
}

/// One channel named `c` with these fields.
pub fn channel(fields: &str) -> Channels {
    channels(&format!("{PATIENCE}[[channel]]\nname = \"c\"\n{fields}\n"))
}

pub fn assert_clean(text: &str) {
    for form in [SECRET, "s3cr3t%2BXyz"] {
        assert!(!text.contains(form), "a secret is shown: {text}");
    }
}

/// A notice through the channel `c`.
pub fn delivery(purpose: Purpose) -> Delivery {
    Delivery {
        number: 41,
        channel: Label::new("c").expect("short"),
        notice: Notice {
            incident: IncidentId(7),
            under: None,
            purpose,
            severity: Severity::Page,
            title: "host ha1 is gone & <nobody> answers".to_owned(),
            domain: "host ha1".to_owned(),
            evidence: vec![
                "two witnesses do not reach it".to_owned(),
                "ein Zeuge: \u{fc}".to_owned(),
            ],
            since: "2026-11-22T10:00:00Z".to_owned(),
        },
    }
}

/// Delivers within the bound; what is said is clean.
pub fn deliver(channels: &Channels, purpose: Purpose) -> Result<String, String> {
    deliver_this(channels, &delivery(purpose))
}

/// The same, of a delivery.
pub fn deliver_this(channels: &Channels, delivery: &Delivery) -> Result<String, String> {
    let began = Instant::now();
    let told = channels.deliver(delivery);
    let took = began.elapsed();
    assert!(took < BOUND, "took {took:?}: {:?}", told.outcome);
    assert_eq!(told.number, 41);
    assert_clean(&format!("{:?} {channels:?} {:?}", told.outcome, channels.shown()));
    told.outcome.map(|receipt| receipt.text)
}
