//! Poolers: what keeps a service's pooled endpoint, beside a gateway that it reaches the service
//! through.
//!
//! Purpose: clients' transactions share a few of the server's sessions, and a planned switchover is a
//! pause for them. A pooler leads to the endpoint of its own gateway, so it never needs to know who is
//! primary, and a fenced primary is out of its reach as it is for everybody.
//!
//! Invariant: a pooler that is paused has no session at the server, and keeps its clients waiting.

use serde::{Deserialize, Serialize};

use crate::driver::Error;
use crate::goal::Login;
use crate::id::ServiceId;

/// What is wanted of one service's pooler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pooler {
    /// The service.
    pub service: ServiceId,
    /// Its name, for people.
    pub name: String,
    /// Its kind's name.
    pub kind: String,
    /// Port clients come to.
    pub port: u16,
    /// Port of the gateway's endpoint that it leads to.
    pub endpoint_port: u16,
    /// Who may log in. What is kept of them is what the server keeps.
    pub logins: Vec<Login>,
    /// Most sessions at the server.
    pub sessions_max: u32,
    /// Most clients.
    pub clients_max: u32,
    /// Whether transactions wait. Obeyed only while the controller that says so is heard.
    pub paused: bool,
}

/// What a pooler does, by its agent's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It takes clients and serves them.
    Serving,
    /// It takes clients, and they wait; no session at the server is left.
    Paused,
    /// It does not run, and why.
    Failed(String),
}

/// What an agent says of one pooler when that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Its service.
    pub service: ServiceId,
    /// The newest routes carried out.
    pub routes: u64,
    /// What it does.
    pub state: State,
}

/// What came of keeping a pooler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its process.
    pub pid: u32,
    /// Whether what was wanted is so; if not, clients' transactions are still open, and it is asked
    /// for again.
    pub so: bool,
}

/// The port to one service's pooler on one host. Calls may block, and are safe to repeat.
pub trait Driver: Send {
    /// Has it run with these settings, serve or be paused. A pooler that does not answer is ended and
    /// started.
    ///
    /// # Errors
    /// [`Error`]; it does not serve then.
    fn keep(&mut self, wanted: &Pooler) -> Result<Kept, Error>;
    /// Ends it and removes what it had on disk.
    ///
    /// # Errors
    /// [`Error`].
    fn remove(&mut self, service: ServiceId) -> Result<(), Error>;
}
