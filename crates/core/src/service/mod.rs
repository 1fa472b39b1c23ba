//! A service as a machine: what it is *doing* ([`phase`]), how it *looks* ([`health`]), and the one
//! of ten states people see ([`shown`]).
//!
//! Invariant: the two axes are stored and shown; neither ever hides the other.

pub mod health;
pub mod phase;
mod state;

pub use health::Health;
pub use phase::Phase;
pub use state::{State, shown};
