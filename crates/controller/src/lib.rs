//! The controller: the shell around a cell. It tells it the time, gives it what came in, records
//! what it decides and only then sends it.
//!
//! Invariants:
//! - record, then act: nothing leaves this process before the turn that says it is on disk;
//! - the wall clock moves no decision: a cell's clock goes on from its store, by monotonic time;
//! - one controller for each data directory;
//! - knows nothing of any kind of service, and takes no decision of its own.
//!
//! ```no_run
//! # async fn run() -> Result<(), evenkeel_controller::Error> {
//! use evenkeel_controller::{Options, start};
//! let mut running = start(Options::new("data/controller".into())).await?;
//! println!("http://{}", running.address);
//! let error = running.failed().await;
//! running.stop().await;
//! # Err(error)
//! # }
//! ```

pub mod alert;
mod cell_thread;
mod clock;
mod credential;
mod drills;
mod failpoint;
mod http;
mod lock;
mod private_file;
mod procedures;
pub mod recorder;
mod recover;
mod running;
mod stats;
mod telling;
mod vault;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::backup::engine::Engine;
use evenkeel_core::kind::Kind;
use evenkeel_core::policy::Policy;
use evenkeel_core::procedure::Procedure;
use evenkeel_core::remedy::Remedies;
use evenkeel_store::Store;

pub use cell_thread::{AlertPort, Alerts, LoadError, Teller, load as load_cells};
pub use clock::{Wall, wall};
pub use credential::{Error as CredentialError, FleetKey};
pub use drills::{Access, Driller, Measured};
pub use failpoint::AbortAfter;
pub use lock::Error as LockError;
pub use private_file::Error as FileError;
pub use procedures::{Error as ProceduresError, load as load_procedures};
pub use recover::{Rows, recover, rows_of};
pub use running::{Running, start, start_with};
pub use telling::AlertFile;
pub use vault::Vault;

/// A change of the store is in the repositories about so long after it.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// Hosts of one cell: at 10 services each they fill it. Smaller fleets are one cell, and see no other.
pub const CELL_HOSTS_MAX: u32 = 1_000;

/// How a controller is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its data directory, made if it is not there.
    pub dir: PathBuf,
    /// Where it listens. Port 0: one the system picks, told by [`Running::address`].
    pub listen: SocketAddr,
    /// The rules it decides by.
    pub policy: Policy,
    /// Hosts of one cell: a new host that comes when the newest cell has so many opens one more. What hosts
    /// a cell has already it keeps.
    pub cell_hosts_max: u32,
    /// The remedies it may run.
    pub remedies: Arc<Remedies>,
    /// Whom it tells of incidents; `None`: nobody.
    pub alerts: Option<AlertFile>,
    /// What packs the archives of services that are created from now on.
    pub backup_engine: Engine,
    /// Host names it answers to, beside addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Procedures that there are: those that come with Evenkeel, and users' own ([`load_procedures`]).
    pub procedures: Vec<Procedure>,
    /// Where snapshots of its store go; `None`: nowhere.
    pub vault: Option<Arc<dyn Vault>>,
    /// They are taken no oftener than this.
    pub save_every: Duration,
    /// Who does drills that are due; `None`: nobody, and they are late.
    pub driller: Option<Arc<dyn Driller>>,
    /// For tests of crashes: dies at a commit.
    #[doc(hidden)]
    pub abort_after: Option<AbortAfter>,
    /// For tests of clocks: what is taken for the wall clock.
    #[doc(hidden)]
    pub wall: Wall,
}

impl Options {
    /// The defaults, for a data directory: any free port of the loopback address.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            policy: Policy::default(),
            cell_hosts_max: CELL_HOSTS_MAX,
            remedies: Arc::new(evenkeel_kinds::remedies::bundled()),
            alerts: None,
            backup_engine: Engine::default(),
            allowed_hosts: Vec::new(),
            procedures: evenkeel_kinds::procedures::bundled(),
            vault: None,
            save_every: SAVE_EVERY,
            driller: None,
            abort_after: None,
            wall,
        }
    }
}

/// What a controller is made of beside its options; tests bring their own.
pub struct Parts {
    /// Where it records.
    pub store: Box<dyn Store>,
    /// The kinds it knows.
    pub kinds: &'static [&'static dyn Kind],
    /// The remedies it may run.
    pub remedies: Arc<Remedies>,
    /// Whom it tells of incidents.
    pub alerts: Alerts,
}

/// Why a controller did not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another controller has the data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file of the data directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key or the token cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The address is not to be had.
    #[error(
        "cannot listen on {address}; if another program has that port, choose one with `--listen`"
    )]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("the store {} cannot be used", path.display())]
    Store {
        /// Its file.
        path: PathBuf,
        /// What is wrong, and what can be done.
        #[source]
        source: evenkeel_store::Error,
    },
    /// A copy of a store with several cells.
    #[error(
        "{} holds {cells} cells, and only a control plane of one cell can be made anew from a copy and its \
         hosts yet. Put the copy itself in the store's place: agents that have seen nothing newer obey it, the \
         others serve on by themselves until a person has looked",
        path.display()
    )]
    ManyCells {
        /// The copy.
        path: PathBuf,
        /// How many it holds.
        cells: usize,
    },
    /// The directory has another key than the one that was named.
    #[error("{} is another key than the one that was named; move it aside first", path.display())]
    OtherKey {
        /// Where it is.
        path: PathBuf,
    },
    /// The store was opened and the cell in it cannot be had.
    #[error("the cell cannot be loaded from the store")]
    Load(#[from] cell_thread::LoadError),
    /// The system gave no thread.
    #[error("the cell's thread cannot be started; is the limit of processes reached?")]
    Thread(#[source] std::io::Error),
    /// The file that says whom to tell is not as it must be.
    #[error(transparent)]
    Alerts(alert::Error),
    /// A bug: the cell's thread ended by itself.
    #[error(
        "the cell's thread ended unexpectedly; services go on serving. The newest file in {} shows \
         what it was given: `evenkeel replay FILE`",
        recordings.display()
    )]
    CellEnded {
        /// Where its recordings lie.
        recordings: PathBuf,
    },
}

/// An error and what it rests on, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
