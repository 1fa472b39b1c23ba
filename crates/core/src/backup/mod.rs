//! Deciding about backups: when one is taken, which may go, and what a filling disk leads to.
//!
//! Invariants:
//! - what could still be the last way back is never let go, whatever else is true;
//! - while nobody knows whether repositories can be reached, nothing is let go at all;
//! - a service goes on serving for as long as its disk lets it, and is told to stop writing before the
//!   disk would stop it.

pub mod archive;
pub mod engine;
pub mod guard;
pub mod job;
pub mod lineage;
pub mod pace;
pub mod retention;
pub mod schedule;
pub mod snapshot;
