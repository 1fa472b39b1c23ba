//! The binary as its users run it: real processes, real PostgreSQL, real faults.
//!
//! Each test has a fleet of its own, on ports of its own, and ends it by recorded identity.
mod backups;
mod damage;
mod fleet;
mod ha;
mod kills;
mod life;
mod offline;
mod partitions;
mod pooled;
mod recover;
mod stops;
