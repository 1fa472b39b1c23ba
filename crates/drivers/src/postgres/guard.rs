//! The disk guard's last word: whoever writes in spite of it is ended, so that the server is not.

use std::time::Duration;

use evenkeel_core::driver::{Error, Process};
use evenkeel_core::goal::Goal;

use super::layout::Layout;
use super::replication::within;
use super::{server, session};
use crate::Setup;
use crate::sql::connect;

/// Such a question is answered within this, or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sessions of clients with an open transaction that has written: it began before writes were refused, or
/// asked for them. Ended and not cancelled: a cancelled statement leaves its transaction open to the next.
/// One whose commit waits for standbys writes nothing more, and is left to wait.
const END: &str = "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) \
    FROM pg_catalog.pg_stat_activity \
    WHERE backend_type = 'client backend' AND backend_xid IS NOT NULL \
    AND usename NOT LIKE 'evenkeel%' AND wait_event IS DISTINCT FROM 'SyncRep'";

/// Ends clients' transactions that have written.
pub fn end_writers(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<(), Error> {
    if !matches!(server::find(&layout.data), Process::Running { .. }) {
        return Ok(());
    }
    let config = session::config(setup, goal, "evenkeel", "evenkeel");
    within("ending writers", PATIENCE, async { connect(config).await?.batch_execute(END).await })
}
