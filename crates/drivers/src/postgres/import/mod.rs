//! New directories from foreign servers.
//!
//! The story: the source is looked at, and what stands in the way is told with its fix; then all of its
//! server is copied (`base`), or one of its databases is read and written into a fresh server (`dump`).
//! What was had is made the service's own by a server that nobody but we can reach, which is stopped
//! cleanly. What is left is a directory like any other.
//!
//! Invariants: PostgreSQL's own programs do all the reading, as a role that is asked for nothing but to
//! read, and leave nothing at the source; the source's password is in no argument, file or message;
//! nothing of the source's that runs - commands of its settings, its libraries, its jobs - is run here as
//! Evenkeel; a directory that is not whole never serves.

mod adopt;
mod base;
mod dump;
pub mod look;
mod own;
mod tale;
mod tools;

use std::fs;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use evenkeel_core::import::{Import, Method, Secret, Stage, Told};

use super::layout::Layout;
use super::{image, server};
use crate::Setup;
use crate::files::{fault, remove_file, room, write_synced};
use look::{Here, Look};
use tale::Tale;
use tools::Tools;

/// What failed on the way to the source is tried so often in all.
const TRIES_MAX: u32 = 3;

/// A failure, and whether the same may go well at another time.
enum Fault {
    Passing(Error),
    Final(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Fills a directory that is being made.
pub fn whole(setup: &Setup, layout: &Layout, goal: &Goal, import: &Import) -> Result<(), Error> {
    let mut tale = Tale::open(layout, goal)?;
    if let Some(why) = &tale.told.failed {
        return Err(Error::Failed(why.clone()));
    }
    end_tools(layout)?;
    let fault = match fill(setup, layout, goal, import, &mut tale) {
        Ok(()) => return tale.stage(Stage::Done, 0),
        Err(fault) => fault,
    };
    // Nobody waits for a reason of what was ended by order.
    if tale.is_interrupted() {
        return Err(Error::Failed("the import was ended by order".to_owned()));
    }
    match fault {
        Fault::Passing(error) if tale.tries() + 1 < TRIES_MAX => {
            tale.count()?;
            Err(error)
        }
        Fault::Passing(error) | Fault::Final(error) => {
            tale.fail(&error)?;
            Err(error)
        }
    }
}

fn fill(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    import: &Import,
    tale: &mut Tale,
) -> Result<(), Fault> {
    let password = match &import.password {
        None => None,
        Some(Secret::Open(password)) => Some(password.clone()),
        Some(Secret::Sealed(_)) => {
            let text =
                "its password came sealed; the controller that sent it is of another release";
            return Err(Error::Failed(text.to_owned()).into());
        }
    };
    let tools = Tools::new(image(setup)?, &import.source, password, &layout.root);
    tale.stage(Stage::Looking, 0)?;
    let here = Here::of(image(setup)?, &setup.host, goal)?;
    let look = Look::take(&tools, &here)?;
    // What was chosen once is gone on with: a person was told.
    let wanted = tale.told.chosen.as_ref().map_or(import.method, |chosen| chosen.method);
    let chosen = look.choose(wanted)?;
    has_room(layout, &look, chosen.method)?;
    tale.chose(chosen.clone())?;
    match chosen.method {
        Method::Base => base::copy(setup, layout, goal, &tools, &look, tale),
        Method::Auto | Method::Dump => dump::copy(setup, layout, goal, &tools, &look, tale),
    }
}

/// What is copied must have room; a dump is on disk beside what is made of it.
fn has_room(layout: &Layout, look: &Look, method: Method) -> Result<(), Error> {
    let (bytes, tenths) = match method {
        Method::Base => (look.found.whole, 12),
        Method::Auto | Method::Dump => (look.found.size, 22),
    };
    let need = bytes / 10 * tenths;
    let Some(free) = room(&layout.root).ok().map(|room| room.free).filter(|free| *free < need)
    else {
        return Ok(());
    };
    let what = format!(
        "importing by {method} needs about {} MiB, and {} has {} MiB free; make room there, or drain \
         this host and import on another",
        need >> 20,
        layout.root.display(),
        free >> 20
    );
    Err(Error::Failed(what))
}

/// Where a directory's import is.
pub fn told(layout: &Layout, goal: &Goal) -> Option<Told> {
    Tale::read(layout, goal).map(|tale| tale.told)
}

/// Has an import under way end soon.
pub fn interrupt(layout: &Layout) -> Result<(), Error> {
    let path = tale::stop_of(layout);
    write_synced(&path, b"").map_err(fault("cannot write", &path))
}

/// Ends what an agent that was killed left at work.
pub fn end_tools(layout: &Layout) -> Result<(), Error> {
    server::kill(&layout.root)
}

/// Nothing is left of an import.
pub fn forget(layout: &Layout) -> Result<(), Error> {
    for path in [tale::file_of(layout), tale::stop_of(layout)] {
        remove_file(&path).map_err(fault("cannot remove", &path))?;
    }
    Ok(())
}

/// What a directory holds, in bytes, without what is below it.
fn flat_size(directory: &std::path::Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}
