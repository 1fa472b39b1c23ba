//! The port of drivers, answered by the model.

use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::job::{Done, Job};
use evenkeel_core::check::{Place, Reading};
use evenkeel_core::driver::{Answer, Archived, Directory, Driver, Error, Process, Replication};
use evenkeel_core::goal::{Goal, Role, StopMode};
use evenkeel_core::promise::Position;

use crate::kinds::cache::Cache;

use super::{Machine, Progress, REPLAY, START, Server, Work};

fn failed<T>(why: &str) -> Result<T, Error> {
    Err(Error::Failed(why.to_owned()))
}

impl Driver for Machine {
    fn directory(&mut self, goal: &Goal) -> Result<Directory, Error> {
        Ok(self.server(goal).directory.clone())
    }

    fn process(&mut self, goal: &Goal) -> Result<Process, Error> {
        Ok(self.server(goal).process)
    }

    fn initialize(&mut self, goal: &Goal) -> Result<(), Error> {
        let incarnation = goal.incarnation;
        match self.server(goal).directory {
            Directory::Absent => {}
            Directory::Complete { incarnation: there } if there == incarnation => return Ok(()),
            _ => return failed("there is something already"),
        }
        let unlucky = self.unlucky("initdb");
        let copied = self.upstream.take();
        let standby = matches!(goal.role, Role::Standby { .. });
        if standby && copied.is_none() {
            return failed("its primary gives no answer");
        }
        let made = match (copied, goal.seed.as_deref().filter(|_| !standby)) {
            (None, Some(seed)) => unlucky.and_then(|()| self.restored(goal, seed)),
            (copied, _) => unlucky.map(|()| copied.unwrap_or_default()),
        };
        let server = self.server(goal);
        server.directory = match made {
            Ok(_) => Directory::Complete { incarnation },
            Err(_) => Directory::Partial,
        };
        (server.copy, server.service) = (Some(goal.copy()), Some(goal.identity.service));
        server.cache = goal.identity.kind == Cache::NAME;
        (server.log, server.standby) = (made?, standby);
        server.archiver.begin(&server.log);
        Ok(())
    }

    fn rejoin(&mut self, goal: &Goal) -> Result<u64, Error> {
        let copied = self.upstream.take();
        let server = self.server(goal);
        let older = matches!(server.directory, Directory::Complete { incarnation }
            if incarnation < goal.incarnation);
        if !older || server.process != Process::None {
            return failed("only what is stopped and of an older incarnation rejoins");
        }
        let Some(log) = copied else { return failed("its primary gives no answer") };
        let unlucky = self.unlucky("rewinding");
        let server = self.server(goal);
        server.directory = match unlucky {
            Ok(()) => Directory::Complete { incarnation: goal.incarnation },
            Err(_) => Directory::Partial,
        };
        unlucky?;
        let discarded = server.log.beyond(&log);
        let same = server.log.len() - discarded;
        (server.log, server.standby, server.dirty) = (log, true, false);
        server.archiver.parted(&server.log, same);
        server.copy = Some(goal.copy());
        Ok(100 * discarded as u64)
    }

    fn discard(&mut self, goal: &Goal) -> Result<(), Error> {
        match self.server(goal).directory {
            Directory::Absent => {}
            Directory::Partial => self.server(goal).directory = Directory::Absent,
            _ => {
                self.must(false, "a complete directory was to be discarded");
                let why = "it is complete; only half-made ones are discarded".to_owned();
                return Err(Error::Foreign { path: goal.member.to_string(), why });
            }
        }
        Ok(())
    }

    fn configure(&mut self, goal: &Goal) -> Result<bool, Error> {
        self.unlucky("writing the settings")?;
        let now = self.now;
        let server = self.server(goal);
        server.take_part(&goal.role, now);
        let changed = server.settings.as_ref() != Some(&goal.settings);
        server.settings = Some(goal.settings.clone());
        let restart = changed && server.process != Process::None;
        self.take_archive(goal);
        Ok(restart)
    }

    fn start(&mut self, goal: &Goal) -> Result<u32, Error> {
        self.unlucky("the start")?;
        let server = self.server(goal);
        let complete = Directory::Complete { incarnation: goal.incarnation };
        let (whole, set) = (server.directory == complete, server.settings.is_some());
        let process = server.process;
        self.must(whole, "a directory that is not complete, or sealed, was to be started");
        self.must(set, "a server without settings was to be started");
        self.must(process == Process::None, "a second server was to be started on one directory");
        if !whole || !set {
            return failed("it is not there, sealed, or has no settings");
        }
        match process {
            Process::None => {}
            Process::Running { pid } | Process::Frozen { pid } => return Ok(pid),
            Process::Leftovers { .. } => return failed("processes of an earlier server are left"),
        }
        if self.held.contains(&goal.port) {
            return Err(Error::PortTaken { port: goal.port });
        }
        if self.room().free == 0 {
            return Err(Error::DiskFull { what: "could not write to file pg_wal/xlogtemp".into() });
        }
        let (now, pid) = (self.now, self.pid + 1);
        self.pid = pid;
        let server = self.server(goal);
        // A cache reads its whole file, however it ended.
        server.ready = now + if server.dirty || server.cache { REPLAY } else { START };
        server.starts += 1;
        // A new process goes by what is written.
        server.sets.clear();
        server.take_part(&goal.role, now);
        server.began = server.log.len();
        server.open = server.standby || !goal.has_siblings();
        (server.process, server.port, server.dirty) = (Process::Running { pid }, goal.port, true);
        Ok(pid)
    }

    fn prepare(&mut self, goal: &Goal) -> Result<(), Error> {
        self.unlucky("making the database")?;
        match self.probe(goal, false) {
            Answer::Accepting | Answer::Following => Ok(()),
            _ => failed("the server takes no connections"),
        }
    }

    fn probe(&mut self, goal: &Goal, write: bool) -> Answer {
        let now = self.now;
        let server = self.server(goal);
        match server.process {
            Process::Running { .. } if now < server.ready => Answer::Recovering,
            Process::Running { .. } if server.standby => Answer::Following,
            // Its own write waits for standbys as a client's does.
            Process::Running { .. } if write && server.acknowledges(server.log.len(), now) => {
                Answer::Writing
            }
            Process::Running { .. } => Answer::Accepting,
            Process::Frozen { .. } => Answer::Silent,
            Process::None | Process::Leftovers { .. } => Answer::NotYet,
        }
    }

    fn replication(&mut self, goal: &Goal) -> Result<Replication, Error> {
        let now = self.now;
        let server = self.server(goal);
        if !server.runs(now) {
            return failed("the server takes no connections");
        }
        Ok(server.replication(now))
    }

    fn end_of_log(&mut self, goal: &Goal) -> Result<Option<Position>, Error> {
        let server = self.server(goal);
        let ended = server.process == Process::None && !server.dirty;
        Ok(ended.then(|| server.log.end_within()))
    }

    fn promote(&mut self, goal: &Goal) -> Result<(), Error> {
        self.unlucky("the promotion")?;
        let Role::Primary { set, .. } = &goal.role else { return failed("it is no primary") };
        let now = self.now;
        let server = self.server(goal);
        if !server.runs(now) {
            return failed("the server takes no connections");
        }
        server.promote(set, goal.term);
        Ok(())
    }

    fn open(&mut self, goal: &Goal) -> Result<bool, Error> {
        let Role::Primary { set, .. } = &goal.role else { return failed("it is no primary") };
        let server = self.server(goal);
        server.open |= server.may_open(set);
        Ok(server.open)
    }

    fn checkpoint(&mut self, goal: &Goal) -> Result<(), Error> {
        match self.server(goal).process {
            Process::Running { .. } => Ok(()),
            _ => failed("no server is there to write one"),
        }
    }

    fn confirm(&mut self, goal: &Goal) -> Result<bool, Error> {
        let Role::Primary { set, .. } = &goal.role else { return failed("it is no primary") };
        let now = self.now;
        Ok(self.server(goal).in_force(set, now))
    }

    fn archived(&mut self, goal: &Goal) -> Result<Archived, Error> {
        self.said_of_archive(goal)
    }

    fn flush(&mut self, goal: &Goal) -> Result<bool, Error> {
        self.unlucky("ending a segment")?;
        self.flush_log(goal)
    }

    fn guard(&mut self, goal: &Goal, level: Level) -> Result<(), Error> {
        self.take_guard(goal, level)
    }

    fn job(&mut self, goal: &Goal, job: &Job) -> Result<Done, Error> {
        // Where time passes meanwhile, a world has it go on step by step.
        let mut work = Work::begin(self.now);
        loop {
            match self.work(goal, job, &mut work) {
                Progress::Over(result) => return result,
                Progress::GoesOn(span) | Progress::EndSegment(span) => {
                    let now = self.now + span;
                    self.archive(now);
                }
            }
        }
    }

    fn read(&mut self, _goal: &Goal, _question: &str, _place: Place) -> Result<Reading, Error> {
        // Checks' judgement has tables of its own; here they are quiet.
        failed("the model answers no checks")
    }

    fn stop(&mut self, goal: &Goal, mode: StopMode) -> Result<(), Error> {
        self.unlucky("the stop")?;
        let now = self.now;
        let server = self.server(goal);
        match server.process {
            Process::Frozen { .. } => return failed("the server is stopped and hears nothing"),
            // A clean end: nothing is to be replayed. One that still replays ends as it can.
            Process::Running { .. } => {
                server.dirty &= mode == StopMode::Immediate || !server.runs(now);
                if mode == StopMode::Fast {
                    self.last_round(goal.member);
                }
            }
            Process::None | Process::Leftovers { .. } => {}
        }
        let server = self.server(goal);
        server.process = Process::None;
        server.end();
        Ok(())
    }

    fn kill(&mut self, goal: &Goal) -> Result<(), Error> {
        let server = self.server(goal);
        server.dirty |= server.process != Process::None;
        server.process = Process::None;
        server.end();
        Ok(())
    }

    fn seal(&mut self, goal: &Goal, sealed: bool) -> Result<(), Error> {
        self.unlucky("the seal")?;
        let stopped = self.server(goal).process == Process::None;
        self.must(stopped, "a running server's directory was sealed");
        let server = self.server(goal);
        server.directory = match (&server.directory, sealed) {
            (Directory::Complete { incarnation }, true) => {
                Directory::Sealed { incarnation: *incarnation }
            }
            (Directory::Sealed { incarnation }, false) => {
                Directory::Complete { incarnation: *incarnation }
            }
            (Directory::Complete { .. } | Directory::Sealed { .. }, _) => return Ok(()),
            _ => return failed("there is nothing whole to seal"),
        };
        Ok(())
    }

    fn remove(&mut self, goal: &Goal) -> Result<(), Error> {
        self.unlucky("the removal")?;
        let stopped = self.server(goal).process == Process::None;
        self.must(stopped, "a running server's directory was to be removed");
        if !stopped {
            return failed("its server still runs; stop it first");
        }
        self.servers.insert(goal.member, Server::default());
        Ok(())
    }
}
