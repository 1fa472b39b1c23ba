//! The controller over real HTTP on the loopback address, with agents and gateways that speak the
//! real streams, and a store whose commits can be held and refused.

mod alert;
mod alerts;
mod api;
mod cells;
mod crash;
mod folding;
mod memory;
mod peer;
mod recording;
mod store;
mod streams;
mod toy;
mod vault;
mod world;
