//! A modelled kind: a cache that answers from memory and appends what it is told to a file, which it syncs once a
//! second.
//!
//! Purpose: the same lifecycles meet a kind that is not PostgreSQL. It has no archive, so that nothing of it waits for
//! object storage and its services are never archived; every start reads the whole file; a process that dies loses
//! nothing, a host without power [`UNSYNCED`] of it; and a standby whose contents are not the beginning of its
//! primary's throws them away and copies all, by itself. There is no driver for it: only models run it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use evenkeel_core::check::Check;
use evenkeel_core::goal::{Login, Password};
use evenkeel_core::kind::{Kind, Loss, Plan};
use evenkeel_core::promise::Copy;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;
use evenkeel_kinds::postgres::Postgres;

/// What a host that loses its power has not on its disk yet.
pub const UNSYNCED: Span = Span::secs(1);

const SINGLE: Plan = Plan {
    name: "single",
    summary: "one member: with its host's power the last second is lost, with its host everything",
    members: 1,
    acks: 0,
    loss: None,
    fast: false,
    memory_mib: 256,
    connections_max: 1_000,
    pool: None,
    keep: None,
};

const PLANS: &[Plan] = &[
    SINGLE,
    Plan {
        name: "pair",
        summary: "a primary and a standby that no write waits for",
        members: 2,
        loss: Some(Loss { bytes: 16 << 20, fence: Span::secs(8) }),
        fast: true,
        ..SINGLE
    },
];

/// Every goal asks for the same: there are none.
static SETTINGS: LazyLock<Arc<BTreeMap<String, String>>> = LazyLock::new(Arc::default);

/// See the module.
pub struct Cache;

impl Cache {
    /// Its name.
    pub const NAME: &'static str = "cache";
}

impl Kind for Cache {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn summary(&self) -> &'static str {
        "a modelled cache"
    }

    fn plans(&self) -> &'static [Plan] {
        PLANS
    }

    fn leaves_out(&self, _: &Plan) -> BTreeMap<State, State> {
        [(State::Archived, State::Retired)].into()
    }

    fn settings(&self, _: &Plan) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&SETTINGS)
    }

    fn scheme(&self) -> &'static str {
        "redis"
    }

    fn greeting(&self) -> (&'static [u8], &'static [u8]) {
        (b"PING\r\n", b"+-")
    }

    fn checks(&self) -> &'static [&'static dyn Check] {
        &[]
    }

    fn replication(&self, secret: &[u8], copy: Copy) -> Option<(Login, Password)> {
        // Nobody logs in to a model: any kind's will do.
        Postgres.replication(secret, copy)
    }
}
