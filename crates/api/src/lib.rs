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

mod client;
mod client_checks;
mod endpoint;
mod error;
mod events;
mod openapi;
mod schema;
mod types;

pub use client::{Client, Way};
pub use endpoint::{ENDPOINTS, Endpoint, Method, Parameter};
pub use error::Error;
pub use evenkeel_core::{order, view};
pub use events::Events;
pub use openapi::openapi;
pub use types::{
    CheckLine, CheckPage, CheckSummary, DoctorItem, DrillResult, ErrorBody, FailoverOrder,
    FindingsQuery, ForkOrder, GiveUpOrder, ImportOrder, JournalEntry, JournalQuery, KindPage,
    KindSummary, NewRepository, NewService, PlanSummary, RecoveryEnd, RepositoryPage,
    RestoreTarget, RollbackOrder, SwitchoverOrder, Termination, Threshold, UrlAnswer,
};
