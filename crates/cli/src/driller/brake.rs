//! The brake drill: what is held while it is on, and how soon it goes on afterwards.

use std::time::{Duration, Instant};

use evenkeel_api::act::State;
use evenkeel_api::{Client, ProcedureOrder};
use evenkeel_controller::Measured;
use evenkeel_core::drill::HOLD;
use serde_json::json;

use super::{Patience, Report};
use crate::failure::{Failure, Kind};

/// What is held: it only looks.
const PROCEDURE: &str = "ask-locks";

/// Plans something harmless while the brake holds its service: it must not begin before its end, and must
/// be done after.
pub fn run(client: &Client, name: &str) -> Result<Report, Failure> {
    let begun = Instant::now();
    let order = ProcedureOrder { procedure: PROCEDURE.to_owned(), ..ProcedureOrder::default() };
    let accepted = client.run_procedure(name, &order)?;
    let number = accepted.job.ok_or_else(|| Failure::new(Kind::Failed, "it has no number"))?;
    let mut patience = Patience::new(client, name);
    let hold = Duration::from_millis(HOLD.0);
    let (mut held, mut early) = (0_u32, None);
    patience.wait("what was held", || {
        let (service, act) = (client.service(name)?, client.act(number)?);
        let since = begun.elapsed();
        let waits = act.lives() && service.operation.is_some_and(|operation| !operation.claimed);
        match () {
            () if waits && since < hold => held += 1,
            // The hold began before this was asked for, so it may end a little earlier by this clock.
            () if !waits && since < hold / 2 => early = early.or(Some(since)),
            () => {}
        }
        Ok(!act.lives())
    })?;
    let since = begun.elapsed();
    let after = since.saturating_sub(hold);
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    let act = client.act(number)?;
    let failed = match early {
        Some(at) => Some(format!("what it should have held began after {} ms", at.as_millis())),
        None if held == 0 => Some("nobody saw it held: too much went on here".to_owned()),
        None if act.state != State::Done => {
            Some(format!("what it held did not end well: {:?}", act.state))
        }
        None => None,
    };
    Ok(Report {
        text: format!(
            "the brake held {PROCEDURE} for {HOLD}; it was done {after_ms} ms after that"
        ),
        json: json!({ "held_ms": HOLD.0, "looks_while_held": held, "gap_ms": after_ms }),
        measured: Measured { gap_ms: after_ms, lost: 0, acked: 0, failed },
    })
}
