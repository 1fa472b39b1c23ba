//! The kinds of services, one room each, and what is common to all: host checks and remedies.
//!
//! Purpose: everything Evenkeel knows about PostgreSQL that needs no I/O is in one room here; what
//! does need it is in one room of the drivers. A new kind is those two rooms and a line in [`KINDS`].
//!
//! Invariants: pure as the core is; a check's question may be asked by a low-privilege role.
#![deny(missing_docs)]

pub mod host;
pub mod postgres;
pub mod procedures;
pub mod remedies;

use evenkeel_core::kind::Kind;

/// Every kind.
pub const KINDS: &[&dyn Kind] = &[&postgres::Postgres];

/// A kind by name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}
