//! Backups of a server: taken with its archive's engine, complete when their log is archived, and let go.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evenkeel_core::backup::archive;
use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::job::{Backup, Done};
use evenkeel_core::backup::lineage::{Archive, BackupId};
use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use evenkeel_core::promise::Position;
use evenkeel_kinds::postgres::log::{Segment, SegmentSize};

use super::basebackup::Server;
use super::layout::Layout;
use super::restore::Control;
use super::{image, replication};
use crate::Setup;
use crate::backup::command::{now, tools_of};
use crate::backup::engine::{self, Bounds, Engine, LogFile, Taken, Tools};
use crate::backup::lineage::Manifest;
use crate::backup::missed;
use crate::backup::pace::Paced;
use crate::files::fault;

/// The log that a backup needs is in a repository within this, or the backup is none. A standby's waits
/// for its primary to end a segment.
const LOG_MAX: Duration = Duration::from_secs(600);
/// Between looks whether it is.
const LOG_STEP: Duration = Duration::from_millis(100);
/// An archive's error in the driver's words.
pub fn told(error: archive::Error) -> Error {
    Error::Failed(error.to_string())
}

/// The engine of an archive, with its own files below a directory.
pub fn engine(
    setup: &Setup,
    dir: &Path,
    archive: Option<&Archive>,
) -> Result<Box<dyn Engine>, Error> {
    let none = || Error::Failed("it has no archive: its plan or its fleet has none".to_owned());
    let settings = dir.join("archive.json");
    let tools = Tools { dir: tools_of(&settings), backrest: setup.backrest_image.clone() };
    let engine = engine::open(archive.ok_or_else(none)?, &tools).map_err(told)?;
    engine.lineage().is_ours().map_err(told)?;
    Ok(engine)
}

/// Takes a backup; one of this number that is complete is not taken again.
pub fn take(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    id: BackupId,
    rate: u64,
) -> Result<Done, Error> {
    let engine = engine(setup, &layout.root, goal.archive.as_deref())?;
    match engine.lineage().manifest(id) {
        Ok(manifest) => return Ok(Done::Backup(manifest.backup)),
        Err(archive::Error::NotThere { .. }) => {}
        // One that cannot be asked keeps nobody from having a backup in another.
        Err(error) if error.may_pass() => {}
        Err(error) => return Err(told(error)),
    }
    let control = Control::read(setup, &layout.data)?;
    let size = control.segment_size()?;
    let begun = now();
    let server = Server { setup, goal, data: layout.data.clone() };
    let taken = engine.backup(&server, id, rate)?;
    let ended = now();
    wait_for_log(&*engine, &taken.bounds, size)?;
    let Taken { bounds, bytes, stored, repositories, sets } = taken;
    let Bounds { from, to, timelines: (_, timeline) } = bounds;
    let backup = Backup { id, begun, ended, from, to, timeline, bytes, stored, repositories };
    let manifest = Manifest {
        service: goal.identity.service,
        name: goal.identity.name.as_str().to_owned(),
        kind: goal.identity.kind.clone(),
        owner: goal.owner().to_owned(),
        system: control.system,
        segment_bytes: size.bytes(),
        release: format!("PostgreSQL {}", image(setup)?.major()?),
        backup: backup.clone(),
        sets,
    };
    engine.lineage().complete(&manifest).map_err(told)?;
    Ok(Done::Backup(backup))
}

/// A backup is consistent with its log only.
fn wait_for_log(engine: &dyn Engine, bounds: &Bounds, size: SegmentSize) -> Result<(), Error> {
    let end = Instant::now() + LOG_MAX;
    let (first, timeline) = bounds.timelines;
    let last = Segment::of(timeline, Position(bounds.to.0.saturating_sub(1)), size);
    let mut segment = Segment::of(timeline, bounds.from, size);
    while segment.number <= last.number {
        let name = segment.name(size);
        let of = |timeline| Segment { timeline, ..segment }.name(size);
        let mut asked = (first..=timeline).rev().map(|timeline| engine.has(&of(timeline)));
        match asked.find(|asked| !matches!(asked, Ok(false))).unwrap_or(Ok(false)) {
            Ok(true) => segment = segment.next(),
            Ok(false) if Instant::now() < end => std::thread::sleep(LOG_STEP),
            Ok(false) => {
                let text =
                    format!("its log is not archived: {name} is missing; the backup is none");
                return Err(Error::Failed(text));
            }
            // Any one repository is enough: it may be on its way to another.
            Err(error) if error.may_pass() && Instant::now() < end => std::thread::sleep(LOG_STEP),
            Err(error) => return Err(told(error)),
        }
    }
    Ok(())
}

/// Removes backups, and the log that ended before a position. The newest backup there is stays, whoever
/// said what.
pub fn expire(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    backups: &[BackupId],
    before: Position,
) -> Result<Done, Error> {
    let engine = engine(setup, &layout.root, goal.archive.as_deref())?;
    let there = engine.lineage().backups().map_err(told)?;
    if there.last().is_some_and(|newest| backups.contains(&newest.backup.id)) {
        return Err(Error::Failed("the newest backup is not removed".to_owned()));
    }
    let mut objects = engine.remove(backups).map_err(told)?;
    // The catalogue is asked again: what a backup that stays begins with stays, whoever said what.
    let kept = engine.lineage().backups().map_err(told)?;
    let Some(size) = kept.first().and_then(|kept| SegmentSize::new(kept.segment_bytes)) else {
        return Ok(Done::Expired { objects });
    };
    let first = kept.iter().map(|kept| kept.backup.from).min().unwrap_or(Position(0)).min(before);
    let gone = |name: &str| {
        use evenkeel_kinds::postgres::log::Name;
        match Name::parse(name, size) {
            Ok(Name::Segment(segment)) => segment.begin(size).0 + size.bytes() <= first.0,
            _ => false,
        }
    };
    objects += engine.forget(&gone).map_err(told)?;
    Ok(Done::Expired { objects })
}

/// Makes a member's repositories even, and forgets what was known to be missing before.
pub fn even(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<Done, Error> {
    let begun = now();
    let objects = engine(setup, &layout.root, goal.archive.as_deref())?.even()?;
    let settings = &layout.archive;
    missed::forget(settings, begun).map_err(fault("cannot write beside", settings))?;
    Ok(Done::Evened { objects })
}

/// Archives what a server that was stopped cleanly left to be archived; where its log ends. Its last
/// segment begins with nothing but the record of its stop: what was written ends where that begins.
pub fn push_rest(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<Position, Error> {
    let unclean = || Error::Failed("its server was not stopped cleanly: revive it".to_owned());
    let Position(end) = replication::end_of_log(setup, layout)?.ok_or_else(unclean)?;
    let segment = Control::read(setup, &layout.data)?.segment_size()?.bytes();
    let engine = engine(setup, &layout.root, goal.archive.as_deref())?;
    let log = layout.data.join("pg_wal");
    for ready in ready(&layout.data)? {
        let name = ready.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = log.join(&name);
        let file = LogFile { name: &name, path: &path, data: &layout.data };
        let pace = Paced::new(None, Level::Fine);
        engine.push(&file, goal.term, &pace).map_err(told)?;
        let done = ready.with_extension("done");
        std::fs::rename(&ready, &done).map_err(fault("cannot rename", &ready))?;
    }
    Ok(Position((end - 1) / segment * segment))
}

/// What says of a file of the log that it waits to be archived, oldest first.
pub fn ready(data: &Path) -> Result<Vec<PathBuf>, Error> {
    let place = data.join("pg_wal/archive_status");
    let entries = std::fs::read_dir(&place).map_err(fault("cannot list", &place))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let waits = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ready");
    let mut all: Vec<PathBuf> = paths.filter(waits).collect();
    all.sort();
    Ok(all)
}

/// Log that no repository has yet: how much, and since when its oldest file is ready.
pub fn pending(data: &Path) -> Result<(u64, Option<std::time::SystemTime>), Error> {
    let (mut bytes, mut oldest) = (0, None);
    for path in ready(data)? {
        let file = data.join("pg_wal").join(path.file_stem().unwrap_or_default());
        bytes += std::fs::metadata(file).map_or(0, |found| found.len());
        // One that is done meanwhile is pending no more.
        if let Ok(since) = std::fs::metadata(&path).and_then(|found| found.modified()) {
            oldest = Some(oldest.map_or(since, |oldest: std::time::SystemTime| oldest.min(since)));
        }
    }
    Ok((bytes, oldest))
}
