//! The HTTP API under `/v1`: its types, its list of endpoints, and a client.
//!
//! Purpose: one place that says what travels between the controller and whoever asks it, so that
//! the server, the client and the OpenAPI document cannot drift apart.
//!
//! Invariants: knows nothing of how a controller answers; what the core shows already
//! ([`view`], [`order`]) travels as it is.
//!
//! ```no_run
//! let client = evenkeel_api::Client::new("127.0.0.1:21000", "token");
//! for service in client.services()? {
//!     println!("{} is {}", service.name, service.state);
//! }
//! # Ok::<(), evenkeel_api::Error>(())
//! ```
#![deny(missing_docs)]

mod acts;
mod automation;
mod client;
mod client_checks;
mod endpoint;
mod error;
mod events;
mod incidents;
mod openapi;
mod schema;
mod shapes;
mod types;
mod upkeep;
mod words;

pub use automation::{BrakeOrder, LevelOrder, PinOrder};
pub use client::{Client, Way};
pub use endpoint::{ENDPOINTS, Endpoint, Method, Parameter};
pub use error::Error;
pub use evenkeel_core::{act, order, procedure, view};
pub use evenkeel_core::{drill, maintenance, toil};
pub use events::Events;
pub use openapi::openapi;
pub use types::{
    AckOrder, CheckLine, CheckPage, CheckSummary, DoctorItem, DrillResult, ErrorBody,
    FailoverOrder, FindingsQuery, ForkOrder, GiveUpOrder, GlassOrder, ImportOrder, JournalEntry,
    JournalQuery, KindPage, KindSummary, NewRepository, NewService, PersonOrder, PlanSummary,
    ProcedureOrder, ProcedurePage, RecordingOrder, RecoveryEnd, RepositoryPage, RestoreTarget,
    RollbackOrder, SwitchoverOrder, Termination, Threshold, UrlAnswer,
};
pub use types::{DrillBegin, DrillSchedule, PlanOrder, WindowOrder};
