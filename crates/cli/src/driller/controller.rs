//! The controller drill: it is lost and begins anew while a canary writes; nobody who writes may notice.

use std::time::Instant;

use evenkeel_api::Client;
use evenkeel_controller::Measured;
use evenkeel_core::host;
use evenkeel_core::view::Fleet;
use serde_json::json;

use super::{ROWS, Report, Sung, gap_ms, under_canary};
use crate::canary::Row;
use crate::failure::Failure;

/// Has the controller end without goodbye and begin anew; measures for how long nothing was decided, and
/// what writers saw meanwhile.
pub fn run(client: &Client, name: &str) -> Result<Report, Failure> {
    let before = client.fleet()?;
    let (away, Sung { acked, lost }) = under_canary(client, name, |canary, patience| {
        let begun = Instant::now();
        if let Err(error) = client.lose_controller(name)
            && matches!(error, evenkeel_api::Error::Refused { .. })
        {
            return Err(error.into());
        }
        patience.wait("the controller to decide again, with every host", || {
            Ok(client.fleet().is_ok_and(|now| is_back(&before, &now)))
        })?;
        let away = begun.elapsed();
        let after = canary.acked().len();
        patience.wait("the canary's last rows", || Ok(canary.acked().len() >= after + ROWS))?;
        Ok(away)
    })?;
    let (away_ms, write_gap_ms) =
        (u64::try_from(away.as_millis()).unwrap_or(u64::MAX), gap_ms(&acked));
    let refused = refused(&acked);
    let failed = (refused > 0).then(|| format!("{refused} writes failed while it was away"));
    Ok(Report {
        text: format!(
            "the controller was away for {away_ms} ms; {} writes went on meanwhile, {refused} failed, \
             the longest pause {write_gap_ms} ms; lost {lost}/{}",
            acked.len(),
            acked.len()
        ),
        json: json!({
            "gap_ms": away_ms, "write_gap_ms": write_gap_ms, "refused": refused, "lost": lost,
            "acked": acked.len(),
        }),
        measured: Measured {
            gap_ms: away_ms,
            lost: lost as u64,
            acked: acked.len() as u64,
            failed,
        },
    })
}

/// Whether another controller decides, as freely as the one before, and hears whom that one heard.
fn is_back(before: &Fleet, now: &Fleet) -> bool {
    let up = |fleet: &Fleet, name: &str| {
        fleet.hosts.iter().any(|host| host.name == name && host.state == host::State::Up)
    };
    let heard = before.hosts.iter().filter(|host| up(before, &host.name));
    now.began != before.began
        && now.posture == before.posture
        && heard.into_iter().all(|host| up(now, &host.name))
}

/// Numbers between the first and the last that were sent and not acknowledged.
fn refused(acked: &[Row]) -> u64 {
    let (Some(first), Some(last)) = (acked.first(), acked.last()) else { return 0 };
    (last.number - first.number + 1).saturating_sub(acked.len() as u64)
}
