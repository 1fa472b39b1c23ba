//! The simulator's own tests: the bundled scenarios and the swarm.

mod fleet;
mod incidents;
mod mutations;
mod scenarios;
mod swarm;
