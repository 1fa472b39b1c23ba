//! The procedures that come with PostgreSQL: a manifest and a script each. A new one is two files and a line
//! here.
//!
//! The scripts are asked in SQL: what `psql` reads is the contract's JSON object, what it prints last is the
//! answer. None of them ever ends a session that sends log to a standby, waits for one, or is Evenkeel's own.

use crate::procedures::Files;

macro_rules! files {
    ($name:literal) => {
        Files {
            manifest: include_str!(concat!($name, ".toml")),
            script: include_str!(concat!($name, ".sh")),
        }
    };
}

/// Every procedure of PostgreSQL.
pub const PROCEDURES: &[Files] = &[
    files!("end-idle-transactions"),
    files!("end-runaway-connections"),
    files!("freeze"),
    files!("drop-unread-slots"),
    files!("rebuild-invalid-indexes"),
    files!("free-disk"),
    files!("ask-locks"),
];
