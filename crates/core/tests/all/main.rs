//! The core's tests over its public face: tables, protocol, a cell in a modelled world.
mod agent;
mod cell;
mod findings;
mod golden;
mod import;
mod machines;
mod poolers;
mod promise;
mod protocol;
mod recovery;
mod redundancy;
mod runbooks;
mod small_world;
mod world;
