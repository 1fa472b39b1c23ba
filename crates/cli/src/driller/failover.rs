//! The failover drill: a standby takes over while a canary writes.

use evenkeel_api::{Client, Way};
use evenkeel_controller::Measured;
use evenkeel_core::view;
use serde_json::json;

use super::{Patience, ROWS, Report, TABLE, gap_ms};
use crate::canary::Canary;
use crate::failure::Failure;

/// Has a standby take over as if the primary had died, while a canary commits numbered rows through the
/// stable endpoint.
pub fn run(client: &Client, name: &str) -> Result<Report, Failure> {
    let before = client.service(name)?;
    let old_primary = primary(&before);
    let url = client.url(name, Way::Endpoint)?.url;
    let mut canary = Canary::start(&url, TABLE, 1)?;
    let mut patience = Patience::new(client, name);
    let done = (|| {
        let acked = || canary.acked().len();
        patience.wait("the canary's first rows", || Ok(acked() >= ROWS))?;
        client.failover(name, "a drill")?;
        let mut after = 0;
        patience.wait("another member to take writes", || {
            let now = client.service(name)?;
            let moved = primary(&now) != old_primary && now.operation.is_none();
            after = if moved && after == 0 { acked() } else { after };
            Ok(after > 0 && acked() >= after + ROWS)
        })?;
        Ok::<_, Failure>(client.service(name)?)
    })();
    let acked = canary.end();
    let now = match done {
        Ok(now) => now,
        Err(failure) => {
            // It goes with the next drill, if nobody can be asked now.
            let _ = canary.clear();
            return Err(failure);
        }
    };
    let (acked, found) = (acked?, canary.found()?);
    canary.clear()?;
    let (old, new) = (old_primary, primary(&now));
    let lost = acked.iter().filter(|row| !found.contains(&row.number)).count();
    let (gap_ms, acked) = (gap_ms(&acked), acked.len());
    Ok(Report {
        text: format!(
            "{new} took over from {old}; no write was acknowledged for {gap_ms} ms; lost {lost}/{acked}"
        ),
        json: json!({
            "gap_ms": gap_ms, "lost": lost, "acked": acked, "old_primary": old, "new_primary": new,
        }),
        measured: Measured { gap_ms, lost: lost as u64, acked: acked as u64, failed: None },
    })
}

fn primary(service: &view::Service) -> String {
    let primary = service.members.iter().find(|member| member.role == "primary");
    primary.map_or_else(String::new, |member| format!("{} on {}", member.id, member.host))
}
