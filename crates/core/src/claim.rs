//! Claims: the permission an operation needs before its first step. One gate for robots and people.

use serde::{Deserialize, Serialize};

use crate::id::{HostId, OperationId};
use crate::policy::Policy;

/// Which share a claim is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// It disturbs nobody: installs, revivals.
    Free,
    /// Planned and disruptive.
    Planned,
    /// It repairs what is down already.
    Emergency,
}

/// What the gate looks at.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Which share.
    pub lane: Lane,
    /// Another operation that holds the service's one claim.
    pub held_by: Option<OperationId>,
    /// The host concerned.
    pub host: HostId,
    /// Planned operations that hold a claim on that host.
    pub host_planned: u16,
    /// Emergencies that hold a claim on that host.
    pub host_emergencies: u16,
}

/// Why a claim is refused; tried again whenever another is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// At most one disruptive operation per service.
    #[error("the service is busy with {0}")]
    ServiceBusy(OperationId),
    /// The host's share is used up.
    #[error("host {host} has {running} of {max} operations running; this one waits its turn")]
    HostShare {
        /// The host.
        host: HostId,
        /// Running now.
        running: u16,
        /// Allowed.
        max: u16,
    },
}

/// Grants or refuses.
///
/// # Errors
/// [`Refusal`] says what is used up.
pub fn gate(policy: &Policy, request: &Request) -> Result<(), Refusal> {
    if let Some(operation) = request.held_by {
        return Err(Refusal::ServiceBusy(operation));
    }
    let (running, max) = match request.lane {
        Lane::Free => return Ok(()),
        Lane::Planned => (request.host_planned, policy.host_operations_max),
        Lane::Emergency => (request.host_emergencies, policy.host_emergencies_max),
    };
    if running >= max {
        return Err(Refusal::HostShare { host: request.host, running, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_has_its_own_share() {
        let policy = Policy::default();
        let full = Request {
            lane: Lane::Planned,
            held_by: None,
            host: HostId(1),
            host_planned: policy.host_operations_max,
            host_emergencies: 0,
        };
        assert!(matches!(gate(&policy, &full), Err(Refusal::HostShare { .. })));
        assert_eq!(gate(&policy, &Request { lane: Lane::Emergency, ..full }), Ok(()));
        assert_eq!(gate(&policy, &Request { lane: Lane::Free, ..full }), Ok(()));
        let crowd = Request {
            lane: Lane::Emergency,
            host_emergencies: policy.host_emergencies_max,
            ..full
        };
        assert!(matches!(gate(&policy, &crowd), Err(Refusal::HostShare { .. })));
    }

    #[test]
    fn a_service_has_one_claim_whatever_the_lane() {
        for lane in [Lane::Free, Lane::Planned, Lane::Emergency] {
            let request = Request {
                lane,
                held_by: Some(OperationId(3)),
                host: HostId(1),
                host_planned: 0,
                host_emergencies: 0,
            };
            let refused = gate(&Policy::default(), &request);
            assert_eq!(refused, Err(Refusal::ServiceBusy(OperationId(3))));
        }
    }
}
