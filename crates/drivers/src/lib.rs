//! The I/O of each kind, behind the core's driver port.
//!
//! Purpose: real servers, real files, real processes. A kind is one room here and one in the kinds;
//! what all rooms share - processes, launching, images, synced files - is beside them.
//!
//! Invariants:
//! - a server is nobody's child, and is found again by what is on disk and in the process table;
//! - a directory that is not Evenkeel's, or not the member's, is never touched;
//! - a signal goes to a process through a descriptor of it, never to a number that may be reused.
#![deny(missing_docs)]

pub mod backup;
pub mod files;
pub mod image;
pub mod launch;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod script;
mod sql;

use std::path::PathBuf;

use evenkeel_core::driver::{Driver, Error};
use evenkeel_core::pooler;

/// Where and with what the members of one host run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The host's name.
    pub host: String,
    /// One directory per member, by number.
    pub members_dir: PathBuf,
    /// Directory of sockets; short, as socket paths have at most 107 bytes.
    pub socket_root: PathBuf,
    /// Freshly initialised directories, ready to be taken. On the file system of the members.
    pub pool_dir: PathBuf,
    /// How many to keep ready.
    pub pool_target: usize,
    /// The software that new members run from; `None` where there is none yet. Servers that run
    /// are found, watched and stopped all the same.
    pub image: Option<image::Image>,
    /// The command that starts a server as nobody's child: [`launch::main`] behind some program.
    pub launcher: Vec<String>,
    /// Address members listen on.
    pub address: String,
    /// One directory per pooler, by its service's number.
    pub poolers_dir: PathBuf,
    /// The software that poolers run from, where there is some.
    pub pooler_image: Option<image::Image>,
    /// pgBackRest, where there is some.
    pub backrest_image: Option<image::Image>,
}

/// The driver of one member of a kind; `None` for a kind without one. Makes nothing on disk.
#[must_use]
pub fn driver(kind: &str, setup: &Setup) -> Option<Box<dyn Driver>> {
    match kind {
        "postgres" => Some(Box::new(postgres::Postgres::new(setup.clone()))),
        _ => None,
    }
}

/// The driver of one service's pooler; `None` for a kind without one. Makes nothing on disk.
#[must_use]
pub fn pooler(kind: &str, setup: &Setup) -> Option<Box<dyn pooler::Driver>> {
    match kind {
        "postgres" => Some(Box::new(pgbouncer::PgBouncer::new(setup.clone()))),
        _ => None,
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Makes one more ready directory if there are fewer than wanted; false: there are enough, or
/// another process is making one. Takes about a second, so it is called in the background.
///
/// # Errors
/// [`Error`]; what was begun is removed by the next call.
pub fn fill_pool(setup: &Setup) -> Result<bool, Error> {
    postgres::fill_pool(setup)
}
