//! Evenkeel's pure core: what services, members and hosts are, and how they change.
//!
//! Purpose: every decision Evenkeel takes is a function in this crate, so that production, tests
//! and the simulator run the same code.
//!
//! Invariants:
//! - knows nothing of clocks, threads, files, sockets, environment or randomness: time comes in as
//!   a [`time::Time`], everything else as a value;
//! - no hash order can reach a decision (`BTreeMap` or dense `Vec` only);
//! - knows nothing of PostgreSQL or of any other kind of service.
#![deny(missing_docs)]

pub mod act;
pub mod agent;
pub mod alert;
pub mod automation;
pub mod backup;
pub mod cell;
pub mod check;
pub mod claim;
pub mod contract;
pub mod decide;
pub mod digest;
pub mod drill;
pub mod driver;
pub mod edge;
mod fingerprint;
pub mod goal;
pub mod hex;
pub mod host;
pub mod id;
pub mod import;
pub mod incident;
pub mod journal;
pub mod kind;
pub mod knowing;
pub mod label;
pub mod lifecycle_checks;
pub mod machine;
pub mod maintenance;
pub mod member;
pub mod moment;
pub mod name;
pub mod operation;
pub mod order;
pub mod placement;
pub mod policy;
pub mod pooler;
pub mod procedure;
pub mod promise;
pub mod remedy;
pub mod report;
pub mod route;
pub mod row;
pub mod service;
pub mod succession;
pub mod thresholds;
pub mod time;
pub mod toil;
pub mod view;
pub mod wire;
