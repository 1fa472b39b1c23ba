//! A cell: a set of hosts and all services placed on them, decided for by one function.
//!
//! The story of a turn: everything that came in since the last one is learnt; hosts and services it
//! concerns are assessed; operations under way are advanced; what has none is decided about; what
//! changed is recorded and, once the shell has committed it, sent.
//!
//! Invariants:
//! - [`Cell::turn`] is a function of its state, the time and the inbox: same in, same out;
//! - nothing is sent that is not in the same turn's writes or an earlier turn's;
//! - a quiet service costs a turn nothing: only what is named by the inbox or by a due timer is
//!   looked at;
//! - soft state (who is heard, what was reported, doubts) is never stored: reports rebuild it.

mod acts;
mod assess;
mod automation;
mod backups;
mod compact;
mod diagnose;
mod drain;
mod drills;
mod findings;
mod goals;
mod handover;
mod import;
mod incidents;
mod learn;
pub mod load;
mod maintenance;
pub mod many;
mod operate;
mod orders;
mod ports;
mod posture;
pub mod recovery;
mod redundancy;
mod rows;
mod show;
mod state;
mod steps;
mod stored;
mod timers;
mod toil;
mod turn;

pub use posture::Posture;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Delivery, Told};
use crate::digest::Digest;
use crate::edge::Edge;
use crate::goal::StoreId;
use crate::id::CellId;
use crate::incident::chain;
use crate::kind::Kind;
use crate::order::{Accepted, Error as OrderError, Order};
use crate::policy::Policy;
use crate::remedy::Remedies;
use crate::report::{FromAgent, ToAgent};
use crate::route::{FromGateway, ToGateway};
use crate::row::Writes;
use crate::time::Time;

/// What a cell is made with, and does not change while it runs.
#[derive(Clone)]
pub struct Setup {
    /// Which cell.
    pub cell: CellId,
    /// The store it records in.
    pub store: StoreId,
    /// The rules it decides by.
    pub policy: Policy,
    /// The kinds it knows.
    pub kinds: &'static [&'static dyn Kind],
    /// The remedies it may run.
    pub remedies: Arc<Remedies>,
}

/// Names one stream of an agent or gateway; the shell never uses a number twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Link(pub u64);

/// One beat within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The stream it came on.
    pub link: Link,
    /// The agent's own count.
    pub number: u64,
    /// Its digest over its members' reports.
    pub digest: Digest,
    /// Whether it is to be answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answer: bool,
}

/// One thing that comes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// An order, to be answered under its ticket.
    Order {
        /// Names the answer.
        ticket: u64,
        /// Who gives it.
        by: String,
        /// The order.
        order: Order,
    },
    /// An agent's message, beats aside.
    Agent {
        /// Its stream.
        link: Link,
        /// The message.
        message: FromAgent,
    },
    /// An agent's stream ended.
    AgentClosed {
        /// Which.
        link: Link,
    },
    /// The agents' beats of one window. They come after the window's messages.
    Beats(Vec<Beat>),
    /// A gateway's message.
    Gateway {
        /// Its stream.
        link: Link,
        /// The message.
        message: FromGateway,
    },
    /// A gateway's stream ended.
    GatewayClosed {
        /// Which.
        link: Link,
    },
    /// Whom to tell of incidents, in order. The shell says so when it begins.
    Chain(Vec<chain::Step>),
    /// What became of a delivery.
    Told(Told),
    /// The machine's wall clock and the cell's clock drew apart at once.
    ClockJumped {
        /// By how much, in milliseconds; negative when the wall clock went back.
        by_ms: i64,
    },
}

/// One thing that goes out, after the turn's writes are on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Send {
    /// To an agent.
    Agent {
        /// Its stream.
        link: Link,
        /// The message.
        message: ToAgent,
    },
    /// To a gateway.
    Gateway {
        /// Its stream.
        link: Link,
        /// The message.
        message: ToGateway,
    },
    /// Ends a stream, after what was sent on it.
    Close {
        /// Which.
        link: Link,
    },
    /// To a person, through a channel.
    Alert(Delivery),
    /// To whoever gave an order.
    Reply {
        /// The order's ticket.
        ticket: u64,
        /// What became of it.
        result: Result<Accepted, OrderError>,
    },
}

/// Everything a turn gives out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// To be committed first.
    pub writes: Writes,
    /// To be sent then, in order.
    pub sends: Vec<Send>,
    /// When to turn again though nothing comes in.
    pub wake_at: Option<Time>,
    /// Edges that machines took, in order: for whoever counts them. They are neither stored nor sent.
    #[serde(skip)]
    pub edges: Vec<Edge>,
}

/// A cell. See the module's story.
#[derive(Clone)]
pub struct Cell {
    setup: Setup,
    state: state::State,
    /// Whether its first turn is still to come.
    fresh: bool,
}
