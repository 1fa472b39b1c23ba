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

pub mod files;
pub mod image;
pub mod launch;
pub mod postgres;
pub mod process;

use std::path::PathBuf;

use evenkeel_core::driver::{Driver, Error};

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
}

/// The driver of one member of a kind; `None` for a kind without one. Makes nothing on disk.
#[must_use]
pub fn driver(kind: &str, setup: &Setup) -> Option<Box<dyn Driver>> {
    match kind {
        "postgres" => Some(Box::new(postgres::Postgres::new(setup.clone()))),
        _ => None,
    }
}

/// Makes one more ready directory if there are fewer than wanted; false: there are enough, or
/// another process is making one. Takes about a second, so it is called in the background.
///
/// # Errors
/// [`Error`]; what was begun is removed by the next call.
pub fn fill_pool(setup: &Setup) -> Result<bool, Error> {
    postgres::fill_pool(setup)
}
