//! What a kind of service says of itself. Kinds live in their own crate, one room each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backup::retention::Keep;
use crate::check::Check;
use crate::goal::{Login, Password};
use crate::promise::Copy;
use crate::service::State;
use crate::time::Span;

/// Size and promise of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name, as `--plan` takes it.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Members of a service.
    pub members: u8,
    /// Standbys that must have a commit before it is acknowledged.
    pub acks: u8,
    /// What a failover may cost of what was acknowledged. `None`: nothing, and no clock is trusted.
    pub loss: Option<Loss>,
    /// Whether a primary without a sign of life is given up after half a second of evidence against
    /// it, instead of ten.
    pub fast: bool,
    /// Memory a member may count on, in MiB.
    pub memory_mib: u32,
    /// Most client connections.
    pub connections_max: u32,
    /// Its pooled endpoint, where it has one.
    pub pool: Option<Pool>,
    /// Which backups its archive keeps. `None`: it has no archive, and no state `archived`.
    pub keep: Option<Keep>,
}

impl Plan {
    /// Whether a service has an archive.
    #[must_use]
    pub const fn archives(&self) -> bool {
        self.keep.is_some()
    }
}

/// The bound on what a failover of an asynchronous plan may lose, and the clock that this rests on.
///
/// A standby takes the primary's place only if it was at most `bytes` behind when the primary was heard
/// last, and once the primary has surely stopped taking writes: one that has heard neither its controller
/// nor a standby for `fence` less [`FENCE_MARGIN`] stops by itself. So what is lost was written within
/// `fence` of that last word, or was among those bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Bytes of log.
    pub bytes: u64,
    /// A promotion waits so long since anybody was last in contact with the primary.
    pub fence: Span,
}

/// A primary fences itself so much before a promotion may come: for clocks that drift, and for the time
/// that a stop takes.
pub const FENCE_MARGIN: Span = Span::secs(2);

/// How large a pooled endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Most sessions at the server.
    pub sessions_max: u32,
    /// Most clients.
    pub clients_max: u32,
}

/// A kind of service.
pub trait Kind: Sync {
    /// Its name, as `create` takes it.
    fn name(&self) -> &'static str;
    /// One line for people.
    fn summary(&self) -> &'static str;
    /// Its plans; the first is the default.
    fn plans(&self) -> &'static [Plan];
    /// States it leaves out, and what an entry to each becomes instead.
    fn leaves_out(&self, plan: &Plan) -> BTreeMap<State, State>;
    /// Server settings of a plan: the same for all of its members, and asked for with every goal.
    fn settings(&self, plan: &Plan) -> Arc<BTreeMap<String, String>>;
    /// The URL scheme of its endpoints.
    fn scheme(&self) -> &'static str;
    /// What a witness sends to a port, and the first bytes any of which prove a server of this kind.
    fn greeting(&self) -> (&'static [u8], &'static [u8]);
    /// Its checks.
    fn checks(&self) -> &'static [&'static dyn Check];

    /// Packs an owner's password and its salt into what the cell keeps and a verifier is made of;
    /// the password cannot be had from it. Empty: the kind has no logins.
    fn secret(&self, password: &str, salt: &[u8; 16]) -> Vec<u8> {
        let _ = (password, salt);
        Vec::new()
    }
    /// What the server stores for a packed secret; `None` where it is no secret of this kind.
    fn verifier(&self, secret: &[u8]) -> Option<String> {
        let _ = secret;
        None
    }
    /// The packed secret that a verifier was made of; `None` where it is no verifier of this kind.
    fn secret_in(&self, verifier: &str) -> Option<Vec<u8>> {
        let _ = verifier;
        None
    }
    /// The salt inside a packed secret, by which the password can be derived again.
    fn salt<'a>(&self, secret: &'a [u8]) -> Option<&'a [u8]> {
        secret.get(..16)
    }

    /// How a copy logs in to replicate, derived from the owner's packed secret: its login, and the
    /// password to it. `None` where the kind does not replicate.
    fn replication(&self, secret: &[u8], copy: Copy) -> Option<(Login, Password)> {
        let _ = (secret, copy);
        None
    }

    /// A plan by name.
    fn plan(&self, name: &str) -> Option<&'static Plan> {
        self.plans().iter().find(|p| p.name == name)
    }
}
