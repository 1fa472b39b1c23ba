//! Giving up log that no repository took, so that its disk has room again.
//!
//! Invariants: what is given up was written down first, and nothing that became ready later is: a job
//! that is begun again gives up the same files. Histories of timelines are never given up; they are a few
//! bytes, and nothing is restored without them.

use std::fs;

use evenkeel_core::backup::job::Done;
use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use evenkeel_kinds::postgres::log::Name;
use serde::{Deserialize, Serialize};

use super::backup::ready;
use super::layout::Layout;
use super::restore::Control;
use evenkeel_core::driver::Process;

use super::{replication, server};
use crate::Setup;
use crate::files::{fault, write_synced};

/// What was decided.
#[derive(Debug, Serialize, Deserialize)]
struct Decision {
    /// By which job.
    job: u32,
    /// The files.
    names: Vec<String>,
}

/// Gives up what waits now, or waited when this job was begun first.
pub fn give_up(setup: &Setup, layout: &Layout, goal: &Goal, job: u32) -> Result<Done, Error> {
    let place = layout.root.join("given-up.json");
    let before = fs::read(&place).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let decision = match before.filter(|before: &Decision| before.job == job) {
        Some(decision) => decision,
        None => {
            let decision = Decision { job, names: waiting(setup, layout)? };
            let text = serde_json::to_vec(&decision).expect("a decision is JSON");
            write_synced(&place, &text).map_err(fault("cannot write", &place))?;
            decision
        }
    };
    let (log, mut bytes) = (layout.data.join("pg_wal"), 0);
    for name in &decision.names {
        let ready = log.join("archive_status").join(format!("{name}.ready"));
        let size = fs::metadata(log.join(name)).map_or(0, |found| found.len());
        match fs::rename(&ready, ready.with_extension("done")) {
            Ok(()) => bytes += size,
            // It was archived meanwhile, or an earlier try got so far.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault("cannot rename", &ready)(error)),
        }
    }
    if server::find(&layout.data) != Process::None {
        // What is given up is removed by the next checkpoint, and one that is asked for is soon. One
        // that fails is made by the server itself later.
        let _ = replication::checkpoint(setup, goal);
    }
    Ok(Done::GaveUp { bytes })
}

/// Segments that wait for the archive, oldest first.
fn waiting(setup: &Setup, layout: &Layout) -> Result<Vec<String>, Error> {
    let size = Control::read(setup, &layout.data)?.segment_size()?;
    let paths = ready(&layout.data)?;
    let names = paths.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let segment =
        |name: &String| matches!(Name::parse(name, size), Ok(Name::Segment(_) | Name::Partial(_)));
    Ok(names.filter(segment).collect())
}
