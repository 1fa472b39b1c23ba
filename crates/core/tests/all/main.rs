//! The core's tests over its public face: tables, protocol, a cell in a modelled world.
mod agent;
mod automation;
mod cell;
mod drills;
mod golden;
mod import;
mod machines;
mod maintenance;
mod poolers;
mod promise;
mod protocol;
mod recovery;
mod redundancy;
mod runbooks;
mod small_world;
mod upkeep;
mod world;
