//! The chain of channels as the controller knows it: shown, and exercised.

use std::time::{Duration, Instant};

use evenkeel_core::view;

use crate::failure::{Failure, Kind};
use crate::find::Context;
use crate::print::{self, Progress};

/// Longer than a channel may take before it has failed.
const TEST_MAX: Duration = Duration::from_secs(60);
/// Between two looks at what came of it.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Exercises every channel and waits for what comes of it.
pub fn test(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let accepted = client.test_alerts()?;
    let began = Instant::now();
    let mut progress = Progress::default();
    progress.show(&accepted.text);
    let alerts = loop {
        let alerts = client.alerts()?;
        if alerts.channels.iter().all(|channel| channel.awaited == 0) {
            break alerts;
        }
        if began.elapsed() > TEST_MAX {
            progress.end();
            let text = "not every channel has answered; `evenkeel alert chain show` tells more";
            return Err(Failure::new(Kind::Unwell, text.to_owned()));
        }
        std::thread::sleep(LOOK_EVERY);
    };
    progress.end();
    show(context, &alerts)?;
    let fails = |channel: &&view::AlertChannel| {
        !channel.exercised.as_ref().is_some_and(|outcome| outcome.confirmed)
    };
    let failing: Vec<&str> =
        alerts.channels.iter().filter(fails).map(|channel| channel.name.as_str()).collect();
    if failing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "alert channels that confirmed nothing: {}; what they said is above",
        failing.join(", ")
    );
    Err(Failure::new(Kind::Unwell, text))
}

/// Prints the chain.
pub fn show(context: &Context, alerts: &view::Alerts) -> Result<(), Failure> {
    if context.json {
        return print::json(alerts);
    }
    if alerts.channels.is_empty() {
        print::note("no alert channel is configured: nobody is told of incidents");
        return Ok(());
    }
    let heading = ["CHANNEL", "ACK WITHIN", "TOLD", "LAST", "EXERCISED"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for channel in &alerts.channels {
        let ago = channel.told_ms.map(|ms| format!("{} ago", print::span(ms)));
        rows.push(vec![
            channel.name.clone(),
            print::span(channel.ack_within_ms),
            ago.unwrap_or_else(|| "never".to_owned()),
            outcome(channel.last.as_ref()),
            outcome(channel.exercised.as_ref()),
        ]);
    }
    print::table(&rows);
    if let Some(why) = &alerts.down {
        print::line(&format!("nobody can be told: {why}"));
    }
    for known in &alerts.acknowledged {
        let (by, ago) = (&known.ack.by, print::span(known.ack.ago_ms));
        print::line(&format!("{} was acknowledged by {by}, {ago} ago", known.incident));
    }
    Ok(())
}

fn outcome(outcome: Option<&view::AlertOutcome>) -> String {
    outcome.map_or_else(
        || "-".to_owned(),
        |outcome| {
            let word = if outcome.confirmed { "confirmed" } else { "failed" };
            let text =
                if outcome.text.is_empty() { String::new() } else { format!(": {}", outcome.text) };
            format!("{} {word} {} ago{text}", outcome.purpose, print::span(outcome.ago_ms))
        },
    )
}
