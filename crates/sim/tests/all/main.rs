//! The simulator's own tests: the bundled scenarios and the swarm.

mod scenarios;
mod swarm;
