//! The binary as its users run it: real processes, real PostgreSQL, real faults.
//!
//! Each test has a fleet of its own, on ports of its own, and ends it by recorded identity.
mod backups;
mod damage;
mod disks;
mod engine;
mod fleet;
mod ha;
mod import;
mod incidents;
mod kills;
mod life;
mod maintenance;
mod offline;
mod outage;
mod partitions;
mod pooled;
mod procedures;
mod provider;
mod recover;
mod remedies;
mod stops;
#[path = "../../../drivers/tests/all/storage.rs"]
mod storage;
