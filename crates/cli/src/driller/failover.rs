//! The failover drill: a standby takes over while a canary writes.

use evenkeel_api::Client;
use evenkeel_controller::Measured;
use evenkeel_core::view;
use serde_json::json;

use super::{ROWS, Report, gap_ms, under_canary};
use crate::failure::Failure;

/// Has a standby take over as if the primary had died, while a canary commits numbered rows through the
/// stable endpoint.
pub fn run(client: &Client, name: &str) -> Result<Report, Failure> {
    let before = client.service(name)?;
    let old_primary = primary(&before);
    let (now, sung) = under_canary(client, name, |canary, patience| {
        client.failover(name, "a drill")?;
        let acked = || canary.acked().len();
        let mut after = 0;
        patience.wait("another member to take writes", || {
            let now = client.service(name)?;
            let moved = primary(&now) != old_primary && now.operation.is_none();
            after = if moved && after == 0 { acked() } else { after };
            Ok(after > 0 && acked() >= after + ROWS)
        })?;
        Ok(client.service(name)?)
    })?;
    let (old, new) = (old_primary, primary(&now));
    let (gap_ms, acked, lost) = (gap_ms(&sung.acked), sung.acked.len(), sung.lost);
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
