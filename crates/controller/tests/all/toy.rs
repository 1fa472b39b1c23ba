//! A kind for tests: a plan without an archive and one with, no checks, a secret that shows what it was packed from.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_core::backup::retention::Keep;
use evenkeel_core::check::Check;
use evenkeel_core::kind::{Kind, Plan};
use evenkeel_core::service::State;
use evenkeel_core::time::Span;

pub struct Toy;

pub const KINDS: &[&dyn Kind] = &[&Toy];

const DEV: Plan = Plan {
    name: "dev",
    summary: "One member.",
    members: 1,
    acks: 0,
    loss: None,
    fast: false,
    memory_mib: 1,
    connections_max: 1,
    pool: None,
    keep: None,
};

const PLANS: &[Plan] = &[DEV, Plan { name: "kept", keep: Some(KEEP), ..DEV }];

const KEEP: Keep = Keep { count: 1, window: Span::secs(60) };

impl Kind for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }
    fn summary(&self) -> &'static str {
        "A kind for tests."
    }
    fn plans(&self) -> &'static [Plan] {
        PLANS
    }
    fn leaves_out(&self, _: &Plan) -> BTreeMap<State, State> {
        BTreeMap::new()
    }
    fn settings(&self, _: &Plan) -> Arc<BTreeMap<String, String>> {
        Arc::default()
    }
    fn scheme(&self) -> &'static str {
        "toy"
    }
    fn greeting(&self) -> (&'static [u8], &'static [u8]) {
        (b"?", b"!")
    }
    fn checks(&self) -> &'static [&'static dyn Check] {
        &[]
    }
    fn secret(&self, password: &str, salt: &[u8; 16]) -> Vec<u8> {
        [&salt[..], password.as_bytes()].concat()
    }
    fn verifier(&self, secret: &[u8]) -> Option<String> {
        let password = secret.get(16..)?;
        Some(String::from_utf8_lossy(password).into_owned())
    }
}
