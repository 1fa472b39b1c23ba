//! The simulator's own tests: the bundled scenarios and the swarm.

mod mutations;
mod scenarios;
mod swarm;
