//! What the disk guard does beside its settings: whoever writes in spite of them is ended, so that the
//! server is not, and log that nobody needs goes at once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evenkeel_core::backup::guard::{Level, Limits};
use evenkeel_core::driver::{Error, Process};
use evenkeel_core::goal::Goal;

use super::layout::Layout;
use super::replication::{self, within};
use super::{backup, server, session};
use crate::Setup;
use crate::files::{fault, room};
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

/// Whether so many bytes more leave the servers of a disk what they need to go on taking writes: what is
/// restored beside them is never what stops them.
pub fn leaves_room(directory: &Path, more: u64) -> Result<(), Error> {
    let Ok(room) = room(directory) else { return Ok(()) };
    let kept = Limits::default().bytes(Level::ReadOnly, room.total);
    if room.free.saturating_sub(more) >= kept {
        return Ok(());
    }
    let [free, kept, more] = [room.free, kept, more].map(|bytes| bytes >> 20);
    Err(Error::Failed(format!(
        "no space left for a restore: {} has {free} MiB free, of which its servers need {kept}, and it takes \
         {more} MiB more",
        directory.display()
    )))
}

/// Ends clients' transactions that have written, where no writes are taken; and has the server let go of
/// the log that it only keeps until its next checkpoint.
pub fn make_room(setup: &Setup, layout: &Layout, goal: &Goal, level: Level) -> Result<(), Error> {
    let runs = matches!(server::find(&layout.data), Process::Running { .. });
    if !runs || level < Level::Throttle {
        return Ok(());
    }
    if level == Level::ReadOnly {
        let config = session::config(setup, goal, "evenkeel", "evenkeel");
        within("ending writers", PATIENCE, async {
            connect(config).await?.batch_execute(END).await
        })?;
    }
    // What waits for its archive stays, whatever checkpoints there are.
    let (pending, _) = backup::pending(&layout.data)?;
    if pending < kept(&layout.data)? / 2 {
        replication::checkpoint(setup, goal)?;
    }
    Ok(())
}

/// Bytes of log on disk.
fn kept(data: &Path) -> Result<u64, Error> {
    let place = data.join("pg_wal");
    let entries = fs::read_dir(&place).map_err(fault("cannot list", &place))?;
    let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    Ok(files.filter(fs::Metadata::is_file).map(|file| file.len()).sum())
}
