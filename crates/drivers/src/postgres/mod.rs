//! PostgreSQL's driver: one object per member, every call an "ensure".

mod backup;
mod basebackup;
mod checks;
mod conf;
mod copy;
mod give_up;
mod guard;
pub mod import;
mod layout;
mod make;
mod prepare;
mod replication;
mod restore;
mod scripts;
mod server;
mod session;

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::job::{Done, Job, What};
use evenkeel_core::backup::lineage::BackupId;
use evenkeel_core::check::{Place, Reading};
use evenkeel_core::driver::{Answer, Archived, Directory, Driver, Error, Process, Replication};
use evenkeel_core::goal::{Goal, StopMode};
use evenkeel_core::import::Told;
use evenkeel_core::moment::Moment;
use evenkeel_core::procedure::{Ran, Script};
use evenkeel_core::promise::Position;

use crate::Setup;
use crate::backup::command;
use crate::files::{fault, room, sync_parent, write_synced};
use layout::{Layout, Marker};

/// Log that waits longer than this is behind: a push takes a fraction of a second.
const BEHIND_AFTER: Duration = Duration::from_secs(10);
/// A stop soon after a checkpoint needs none of its own before it.
const CHECKPOINT_FRESH: Duration = Duration::from_secs(5);

pub use make::fill_pool;

/// One member's server.
pub struct Postgres {
    setup: Setup,
    session: session::Session,
    proofs: replication::Proofs,
    /// When a checkpoint was last asked for.
    checkpointed: Option<Instant>,
    /// The flush under way: its number, and the segment that was the last before it.
    flushing: Option<(u32, String)>,
    /// What is in the settings' files may be news to the server: whoever wrote them may have been killed
    /// before it told the server.
    unread: bool,
}

impl Postgres {
    /// A driver for one member; nothing is looked at yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            session: session::Session::default(),
            proofs: replication::Proofs::default(),
            checkpointed: None,
            flushing: None,
            unread: true,
        }
    }

    /// Ends its connections.
    fn disconnect(&mut self) {
        self.session = session::Session::default();
    }

    fn layout(&self, goal: &Goal) -> Layout {
        Layout::of(&self.setup, goal)
    }

    /// Writes the settings' files; whether any changed.
    fn write(&mut self, layout: &Layout, goal: &Goal, gate: conf::Gate) -> Result<bool, Error> {
        let wrote = conf::write(&self.setup, layout, goal, gate);
        // One that failed may have written some of them.
        self.unread |= !matches!(wrote, Ok(false));
        wrote
    }

    /// Has a server that runs read its settings' files, if it may not have yet. One that is stopped does
    /// it when it goes on.
    fn have_read(&mut self, process: Process) -> Result<(), Error> {
        if let Process::Running { pid } | Process::Frozen { pid } = process
            && self.unread
        {
            server::reload(pid)?;
            self.unread = false;
        }
        Ok(())
    }
}

/// The software, or the error that says there is none.
fn image(setup: &Setup) -> Result<&crate::image::Image, Error> {
    let missing = || Error::ProgramMissing {
        program: "postgres".to_owned(),
        image: format!("the software of host {}", setup.host),
    };
    setup.image.as_ref().ok_or_else(missing)
}

impl Driver for Postgres {
    fn directory(&mut self, goal: &Goal) -> Result<Directory, Error> {
        self.layout(goal).look(goal)
    }

    fn process(&mut self, goal: &Goal) -> Result<Process, Error> {
        Ok(server::find(&self.layout(goal).data))
    }

    fn initialize(&mut self, goal: &Goal) -> Result<(), Error> {
        let layout = self.layout(goal);
        match layout.look(goal)? {
            Directory::Absent => make::initialize(&self.setup, &layout, goal),
            Directory::Complete { incarnation } if incarnation == goal.incarnation => Ok(()),
            Directory::Foreign { why } => Err(layout.foreign(why)),
            other => Err(Error::Failed(format!("cannot initialise over {other:?}"))),
        }
    }

    fn importing(&mut self, goal: &Goal) -> Option<Told> {
        import::told(&self.layout(goal), goal)
    }

    fn interrupt(&mut self, goal: &Goal) -> Result<(), Error> {
        import::interrupt(&self.layout(goal))
    }

    fn rejoin(&mut self, goal: &Goal) -> Result<u64, Error> {
        let layout = self.layout(goal);
        match layout.look(goal)? {
            Directory::Complete { incarnation } if incarnation < goal.incarnation => {}
            Directory::Foreign { why } => return Err(layout.foreign(why)),
            other => return Err(Error::Failed(format!("cannot make {other:?} follow"))),
        }
        if server::find(&layout.data) != Process::None {
            return Err(Error::Failed("its server still runs; stop it first".to_owned()));
        }
        copy::rewound(&self.setup, &layout, goal)
    }

    fn discard(&mut self, goal: &Goal) -> Result<(), Error> {
        let layout = self.layout(goal);
        match layout.look(goal)? {
            Directory::Absent => Ok(()),
            Directory::Partial => {
                import::end_tools(&layout)?;
                // A server that replays has it as its own until it is killed.
                server::kill(&layout.data)?;
                let root = &layout.root;
                fs::remove_dir_all(root).map_err(fault("cannot remove", root))?;
                sync_parent(root).map_err(fault("cannot sync", root))
            }
            _ => Err(layout.foreign("it is complete; only half-made ones are discarded".into())),
        }
    }

    fn configure(&mut self, goal: &Goal) -> Result<bool, Error> {
        let layout = self.layout(goal);
        let running = server::find(&layout.data);
        let gate = match running {
            Process::None => conf::Gate::at_start(goal),
            _ => conf::Gate::Keep,
        };
        let changed = self.write(&layout, goal, gate)?;
        self.have_read(running)?;
        Ok(changed && running != Process::None)
    }

    fn start(&mut self, goal: &Goal) -> Result<u32, Error> {
        let layout = self.layout(goal);
        match layout.look(goal)? {
            Directory::Complete { incarnation } if incarnation == goal.incarnation => {}
            Directory::Foreign { why } => return Err(layout.foreign(why)),
            other => return Err(Error::Failed(format!("cannot start from {other:?}"))),
        }
        self.disconnect();
        self.proofs = replication::Proofs::default();
        self.unread = true;
        server::start(&self.setup, &layout, goal)
    }

    fn prepare(&mut self, goal: &Goal) -> Result<(), Error> {
        prepare::prepare(&self.setup, goal)
    }

    fn probe(&mut self, goal: &Goal, write: bool) -> Answer {
        // Sessions of a stopped postmaster go on; nobody new is let in.
        let data = self.layout(goal).data;
        if matches!(server::find(&data), Process::Frozen { .. }) {
            return Answer::Silent;
        }
        if let Some(answer) = self.session.refused_lately()
            && server::is_starting(&data)
        {
            return answer;
        }
        if write && self.session.is_ignored(&self.setup, goal) {
            return Answer::Silent;
        }
        let answer = self.session.probe(&self.setup, goal, write);
        // A write that waits for standbys says nothing against the server.
        if answer == Answer::Silent && goal.has_siblings() && self.session.is_waiting() {
            return session::Session::default().probe(&self.setup, goal, false);
        }
        answer
    }

    fn replication(&mut self, goal: &Goal) -> Result<Replication, Error> {
        replication::ask(&self.setup, goal)
    }

    fn end_of_log(&mut self, goal: &Goal) -> Result<Option<Position>, Error> {
        replication::end_of_log(&self.setup, &self.layout(goal))
    }

    fn promote(&mut self, goal: &Goal) -> Result<(), Error> {
        replication::promote(&self.setup, &self.layout(goal), goal)
    }

    fn open(&mut self, goal: &Goal) -> Result<bool, Error> {
        let layout = self.layout(goal);
        if !conf::is_open(&layout) {
            if !self.proofs.may_open(&self.setup, goal)? {
                return Ok(false);
            }
            self.write(&layout, goal, conf::Gate::Open)?;
        }
        if self.unread {
            self.have_read(server::find(&layout.data))?;
        }
        Ok(true)
    }

    fn checkpoint(&mut self, goal: &Goal) -> Result<(), Error> {
        replication::checkpoint(&self.setup, goal)?;
        self.checkpointed = Some(Instant::now());
        Ok(())
    }

    fn confirm(&mut self, goal: &Goal) -> Result<bool, Error> {
        self.proofs.in_force(&self.setup, goal)
    }

    fn archived(&mut self, goal: &Goal) -> Result<Archived, Error> {
        let layout = self.layout(goal);
        let (bytes, since) = backup::pending(&layout.data)?;
        let last = fs::read(command::last_of(&layout.archive)).unwrap_or_default();
        let last: Option<command::Last> = serde_json::from_slice(&last).ok();
        let now = SystemTime::now();
        let long =
            |since: &SystemTime| now.duration_since(*since).is_ok_and(|ago| ago > BEHIND_AFTER);
        let moment = |since: SystemTime| {
            let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
            Moment::of_millis(since.as_secs().saturating_mul(1000))
        };
        Ok(Archived {
            pending_bytes: bytes,
            behind_since: since.filter(long).map(moment),
            refused: last.iter().flat_map(|last| last.refused.clone()).collect(),
            trouble: last.and_then(|last| last.error).filter(|_| bytes > 0),
            missed: crate::backup::missed::all(&layout.archive),
            room: room(&layout.data).ok(),
        })
    }

    fn guard(&mut self, goal: &Goal, level: Level) -> Result<(), Error> {
        let layout = self.layout(goal);
        self.unread |= conf::guard(&layout, level)?;
        self.have_read(server::find(&layout.data))?;
        guard::make_room(&self.setup, &layout, goal, level)
    }

    fn flush(&mut self, goal: &Goal) -> Result<bool, Error> {
        let upto = match &self.flushing {
            Some((number, upto)) if *number == goal.flush => upto.clone(),
            _ => replication::end_segment(&self.setup, goal)?,
        };
        let done = replication::is_archived(&self.layout(goal), &upto)?;
        self.flushing = Some((goal.flush, upto));
        Ok(done)
    }

    fn script(&mut self, goal: &Goal, script: &Script, stop: &AtomicBool) -> Ran {
        scripts::run(&self.setup, goal, script, stop)
    }

    fn job(&mut self, goal: &Goal, job: &Job) -> Result<Done, Error> {
        let layout = self.layout(goal);
        match &job.what {
            What::Backup { rate_max } => {
                backup::take(&self.setup, &layout, goal, BackupId(job.id), *rate_max)
            }
            What::Prove(seed) => {
                restore::prove_to(&self.setup, &layout, goal, seed, None).map(Done::Proof)
            }
            What::Last(seed) => {
                let end = backup::push_rest(&self.setup, &layout, goal)?;
                restore::prove_to(&self.setup, &layout, goal, seed, Some(end)).map(Done::Proof)
            }
            What::Expire { backups, before } => {
                backup::expire(&self.setup, &layout, goal, backups, *before)
            }
            What::Even => backup::even(&self.setup, &layout, goal),
            What::GiveUp => give_up::give_up(&self.setup, &layout, goal, job.id),
        }
    }

    fn read(&mut self, goal: &Goal, question: &str, place: Place) -> Result<Reading, Error> {
        checks::read(&mut self.session, &self.setup, goal, question, place)
    }

    fn read_all(
        &mut self,
        goal: &Goal,
        questions: &[&str],
        place: Place,
    ) -> Result<Vec<Reading>, Error> {
        checks::read_all(&mut self.session, &self.setup, goal, questions, place)
    }

    fn stop(&mut self, goal: &Goal, mode: StopMode) -> Result<(), Error> {
        let fresh = self.checkpointed.take().is_some_and(|at| at.elapsed() < CHECKPOINT_FRESH);
        let runs = || matches!(server::find(&self.layout(goal).data), Process::Running { .. });
        if mode == StopMode::Fast && goal.has_siblings() && !fresh && runs() {
            // Most of what the stop would write is written while clients still write: another waits
            // to take over. A server too busy for it is stopped all the same.
            let _ = replication::checkpoint(&self.setup, goal);
        }
        self.disconnect();
        server::stop(&self.layout(goal).data, mode)
    }

    fn kill(&mut self, goal: &Goal) -> Result<(), Error> {
        self.disconnect();
        server::kill(&self.layout(goal).data)
    }

    fn seal(&mut self, goal: &Goal, sealed: bool) -> Result<(), Error> {
        let layout = self.layout(goal);
        match (layout.look(goal)?, sealed) {
            (Directory::Complete { .. }, true) => {
                let text = Marker::of(goal).bytes();
                write_synced(&layout.sealed, &text).map_err(fault("cannot write", &layout.sealed))
            }
            (Directory::Sealed { .. }, false) => {
                fs::remove_file(&layout.sealed).map_err(fault("cannot remove", &layout.sealed))?;
                sync_parent(&layout.sealed).map_err(fault("cannot sync", &layout.sealed))
            }
            (Directory::Complete { .. }, false) | (Directory::Sealed { .. }, true) => Ok(()),
            (Directory::Foreign { why }, _) => Err(layout.foreign(why)),
            (other, _) => Err(Error::Failed(format!("cannot seal {other:?}"))),
        }
    }

    fn remove(&mut self, goal: &Goal) -> Result<(), Error> {
        let layout = self.layout(goal);
        match layout.look(goal)? {
            Directory::Absent => return Ok(()),
            Directory::Foreign { why } => return Err(layout.foreign(why)),
            Directory::Partial | Directory::Complete { .. } | Directory::Sealed { .. } => {}
        }
        if server::find(&layout.data) != Process::None {
            return Err(Error::Failed("its server still runs; stop it first".to_owned()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let stone = serde_json::json!({ "removed_at_unix_s": now, "was": Marker::of(goal) });
        let tombstone = &layout.tombstone;
        let made = tombstone.parent().map_or(Ok(()), fs::create_dir_all);
        made.map_err(fault("cannot make a place for", tombstone))?;
        write_synced(tombstone, stone.to_string().as_bytes())
            .map_err(fault("cannot write", tombstone))?;
        // The name goes first, at once: half a directory is never taken for a whole one.
        restore::clear(&layout)?;
        import::forget(&layout)?;
        crate::files::remove_dir(&layout.proof).map_err(fault("cannot remove", &layout.proof))?;
        let (root, aside) = (&layout.root, &layout.removing);
        let _ = fs::remove_dir_all(aside);
        fs::rename(root, aside).map_err(fault("cannot set aside", root))?;
        sync_parent(root).map_err(fault("cannot sync", root))?;
        fs::remove_dir_all(aside).map_err(fault("cannot remove", aside))
    }
}

/// Stops whatever server works in a data directory, cleanly if it can; whether there was one.
///
/// # Errors
/// [`Error::Deadline`] when something of it is left.
pub fn stop_directory(data: &std::path::Path) -> Result<bool, Error> {
    match server::find(data) {
        Process::None => return Ok(false),
        // It hears no request; its log is replayed at the next start.
        Process::Frozen { .. } => return server::kill(data).map(|()| true),
        Process::Running { .. } | Process::Leftovers { .. } => {}
    }
    server::stop(data, StopMode::Fast)
        .or_else(|_| server::stop(data, StopMode::Immediate))
        .or_else(|_| server::kill(data))?;
    Ok(true)
}
