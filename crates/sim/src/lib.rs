//! The simulator: the real cell, the real kinds and the real agents' minds on virtual time, in a
//! world that is modelled and does what it can to break them.
//!
//! Purpose: the same decision code as in production meets thousands of unlucky days in seconds. One
//! seed decides everything: the same seed gives the same bytes.
//!
//! A run has two halves. In the first anything happens: processes die, freeze and are killed in the
//! middle of a turn, streams are cut, calls fail or are slow, people order what they like, and after
//! every event the world is checked for *safety*. In the second nothing more breaks, and within
//! [`HEAL`] every service must rest or serve: *liveness*.

mod budgets;
pub mod edges;
pub mod fleet;
pub mod incidents;
mod kinds;
mod model;
mod mutation;
pub mod obedient;
mod predict;
mod prng;
pub mod report;
pub mod scenario;
mod swarm;
mod world;

pub use mutation::Mutation;
pub use predict::{outages, predicted};
pub use swarm::{
    Act, Failure, Plan, PlanError, Summary, Verb, What, Wrong, caught, rerun, run, swarm,
};
pub use world::Fault;

use evenkeel_core::time::Span;

/// How long things break in a run.
pub const TROUBLE: Span = Span::mins(4);
/// How long a world may take to heal once nothing breaks any more. Budgets of remedies end in a
/// page, and a person's order then helps: both are part of it.
pub const HEAL: Span = Span::mins(12);
