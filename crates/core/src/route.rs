//! Routes: where a gateway sends the connections of each service's endpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{MemberId, ServiceId, Term};

/// Where connections go now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The member.
    pub member: MemberId,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
}

/// One service's endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service.
    pub service: ServiceId,
    /// Its name, for people.
    pub name: String,
    /// Port the gateway listens on.
    pub port: u16,
    /// A gateway refuses a route of an older term than it holds.
    pub term: Term,
    /// `None`: no primary now; new connections are held.
    pub target: Option<Target>,
    /// The target takes no clients at the moment, and will: new connections are held. Believed only
    /// while the stream is open that said so, as a gateway alone must lead clients where they went.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds: bool,
}

impl Route {
    /// Where new connections go now; `None` holds them.
    #[must_use]
    pub fn leads_to(&self) -> Option<&Target> {
        self.target.as_ref().filter(|_| !self.holds)
    }
}

/// What a gateway sends to its controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGateway {
    /// First on every stream.
    Hello {
        /// Its name: the host's it stands for.
        gateway: String,
        /// Address it listens on.
        address: String,
        /// Its process.
        pid: u32,
        /// Sequence of the routes it holds.
        routes: u64,
    },
    /// Routes taken, and the ports that could not be listened on, with why.
    Took {
        /// Their sequence.
        routes: u64,
        /// Ports that are not listened on.
        failed: Vec<(u16, String)>,
    },
    /// Alive; counts since it began.
    Beat {
        /// Connections open now.
        open: u64,
        /// Connections accepted.
        accepted: u64,
        /// Connections that found no primary in time.
        refused: u64,
    },
}

/// What a controller sends to a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToGateway {
    /// Routes: all of them first on every stream, then those that change.
    Routes {
        /// Grows with every change.
        routes: u64,
        /// Whether these are all: services not named have no route then.
        whole: bool,
        /// Routes that are new, or other than before.
        changed: Vec<Route>,
        /// Services without a route from now on.
        gone: Vec<ServiceId>,
    },
    /// The stream is not welcome.
    Refused {
        /// For people.
        reason: String,
    },
}

/// Brings the routes held up to date with what a controller sent.
pub fn merge(
    held: &mut BTreeMap<ServiceId, Route>,
    whole: bool,
    changed: &[Route],
    gone: &[ServiceId],
) {
    if whole {
        held.clear();
    }
    gone.iter().for_each(|service| drop(held.remove(service)));
    held.extend(changed.iter().map(|route| (route.service, route.clone())));
}
