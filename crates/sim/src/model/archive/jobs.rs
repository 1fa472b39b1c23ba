//! Jobs: a backup is copied and then waits for its log; a proof is a restore; an expiry removes.

use evenkeel_core::backup::job::{Backup, Done, Job, Proof, What};
use evenkeel_core::backup::lineage::{Archive, BackupId, Seed};
use evenkeel_core::driver::{Error, Process};
use evenkeel_core::goal::Goal;
use evenkeel_core::moment::Moment;
use evenkeel_core::promise::Position;
use evenkeel_core::time::{Span, Time};

use super::lineage::Lineage;
use super::repositories::{Base, open};
use super::restore::{self, position};
use super::{DATA_BYTES, failed};
use crate::model::{Log, Machine};
use crate::mutation::Mutation;

/// Copying the data takes so long.
const COPY: Span = Span::secs(3);
/// Fetching it, and looking at everything in it.
const RESTORE: Span = Span::secs(4);
/// How much longer both take through a slow repository.
const SLOWER: u64 = 10;
/// Between looks whether a backup's log is stored.
const LOG_STEP: Span = Span::secs(1);
/// A backup whose log is not stored in this time is none.
const LOG_MAX: Span = Span::mins(10);

/// A job under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    begun: Time,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Begins,
    /// The data is read: where its log begins, and which life of the server it is.
    Copies {
        from: usize,
        life: u64,
    },
    /// It is read, and its log is waited for.
    Waits {
        from: usize,
        to: usize,
        life: u64,
        since: Time,
    },
    /// It is on its way back.
    Restores,
}

/// What became of a job.
#[derive(Debug)]
pub enum Progress {
    /// It goes on after a while.
    GoesOn(Span),
    /// The same; whoever its server follows is to end its segment first.
    EndSegment(Span),
    /// It is over.
    Over(Result<Done, Error>),
}

impl Work {
    /// A job that begins.
    pub const fn begin(now: Time) -> Self {
        Self { begun: now, stage: Stage::Begins }
    }
}

fn told<T>(result: Result<T, evenkeel_core::backup::archive::Error>) -> Result<T, Error> {
    result.map_err(|error| Error::Failed(error.to_string()))
}

impl Machine {
    /// A job goes on.
    pub fn work(&mut self, goal: &Goal, job: &Job, work: &mut Work) -> Progress {
        let Some(archive) = goal.archive.as_deref() else {
            return Progress::Over(failed("it has no archive: its plan or its fleet has none"));
        };
        let slow = open(&self.repositories).pace(archive) > Span(0);
        let pace = |span: Span| span.times(if slow { SLOWER } else { 1 });
        let gone_on = match (&job.what, work.stage.clone()) {
            (What::Backup { .. }, _) => {
                self.back_up(goal, archive, BackupId(job.id), work, pace(COPY))
            }
            (What::Expire { backups, before }, _) => {
                self.expire(goal, archive, backups, *before).map(Progress::over)
            }
            (What::Even, _) => self.even(goal, archive, work.begun).map(Progress::over),
            (What::GiveUp, _) => {
                let bytes = self.server(goal).archiver.give_up(job.id);
                Ok(Progress::over(Done::GaveUp { bytes }))
            }
            (What::Prove(_) | What::Last(_), Stage::Begins) => {
                work.stage = Stage::Restores;
                let last = matches!(job.what, What::Last(_));
                let pushed = if last { self.push_rest(goal, archive) } else { Ok(()) };
                pushed.map(|()| Progress::GoesOn(pace(RESTORE)))
            }
            (What::Prove(seed), _) => self.prove(goal, seed, work.begun, None).map(Progress::over),
            (What::Last(seed), _) => {
                let end = self.sealed_end(goal);
                end.and_then(|end| self.prove(goal, seed, work.begun, end)).map(Progress::over)
            }
        };
        gone_on.unwrap_or_else(|error| Progress::Over(Err(error)))
    }

    fn back_up(
        &mut self,
        goal: &Goal,
        archive: &Archive,
        id: BackupId,
        work: &mut Work,
        takes: Span,
    ) -> Result<Progress, Error> {
        use evenkeel_core::backup::archive::Error as Refused;
        let (now, away) = (self.now, self.away);
        let server = self.server(goal);
        let (runs, life) = (server.runs(now), server.starts);
        let (length, segment) = (server.log.len(), server.log.segment());
        match work.stage {
            Stage::Begins | Stage::Restores => {
                let mut all = open(&self.repositories);
                let mut lineage = Lineage::open(&mut all, archive, away);
                match lineage.base(id) {
                    Ok(base) => return Ok(Progress::over(Done::Backup(base.backup))),
                    Err(Refused::NotThere { .. }) => {}
                    // One that cannot be asked keeps nobody from having a backup in another.
                    Err(error) if error.may_pass() => told(lineage.takes_any())?,
                    Err(error) => return told(Err(error)),
                }
                if !runs {
                    return failed("pg_basebackup: the server takes no connections");
                }
                work.stage = Stage::Copies { from: segment, life };
                Ok(Progress::GoesOn(takes))
            }
            Stage::Copies { life: begun, .. } | Stage::Waits { life: begun, .. }
                if !runs || begun != life =>
            {
                failed("pg_basebackup: server closed the connection unexpectedly")
            }
            Stage::Copies { from, .. } => {
                work.stage = Stage::Waits { from, to: length, life, since: now };
                // A primary ends its segment; a standby's is another's to end.
                Ok(match self.end_segment(goal.member) {
                    true => Progress::GoesOn(LOG_STEP),
                    false => Progress::EndSegment(LOG_STEP),
                })
            }
            Stage::Waits { from, to, since, .. } => {
                let (data, log) = {
                    let log = &self.server(goal).log;
                    (log.upto(from), log.upto(to))
                };
                let mut all = open(&self.repositories);
                let mut lineage = Lineage::open(&mut all, archive, away);
                if !has_log(&lineage, &log, from)? {
                    return match now.since(since) < LOG_MAX {
                        true => Ok(Progress::GoesOn(LOG_STEP)),
                        false => failed("its log is not archived; the backup is none"),
                    };
                }
                let moment = |time: Time| Moment::of_millis(time.0);
                let backup = Backup {
                    id,
                    begun: moment(work.begun),
                    ended: moment(since),
                    from: position(from),
                    to: position(to),
                    timeline: log.timeline(),
                    bytes: DATA_BYTES + 8192 * from as u64,
                    stored: DATA_BYTES / 2 + 4096 * from as u64,
                    repositories: Vec::new(),
                };
                let timelines = log.timelines();
                let base = Base { backup: backup.clone(), log: data, timelines };
                let repositories = told(lineage.complete(&base))?;
                Ok(Progress::over(Done::Backup(Backup { repositories, ..backup })))
            }
        }
    }

    fn prove(
        &mut self,
        goal: &Goal,
        seed: &Seed,
        begun: Time,
        end: Option<usize>,
    ) -> Result<Done, Error> {
        let (now, away) = (self.now, self.away);
        let mut all = open(&self.repositories);
        let lineage = Lineage::open(&mut all, &seed.archive, away);
        let newest = told(lineage.newest_timeline(0))?;
        let restored = restore::restore(&lineage, seed, newest.max(1) + 1)?;
        let reached = restored.log.len();
        all.hold_to_end(seed, reached, goal.identity.name.as_str());
        let short = end.filter(|end| reached < *end);
        let wrong: Vec<String> = short
            .map(|end| {
                let (reached, end) = (position(reached), position(end));
                format!("its log ends at {reached}, and its server's at {end}")
            })
            .into_iter()
            .collect();
        let backup = restored.base.backup.id;
        if wrong.is_empty() {
            all.proven.entry(seed.archive.lineage.0.clone()).or_default().insert(backup);
        }
        Ok(Done::Proof(Proof {
            backup,
            begun: Moment::of_millis(begun.0),
            restore_ms: now.since(begun).0,
            canary: restored.log.newest().map(|time| Moment::of_millis(time.0)),
            relations: 1,
            wrong,
        }))
    }

    /// Archives what a server that was stopped cleanly left to be archived.
    fn push_rest(&mut self, goal: &Goal, archive: &Archive) -> Result<(), Error> {
        if self.mutated(Mutation::EarlyLastProof) {
            return Ok(());
        }
        let (now, away) = (self.now, self.away);
        let shared = self.repositories.clone();
        let server = self.server(goal);
        if server.process != Process::None || server.dirty {
            return failed("its server was not stopped cleanly: revive it");
        }
        server.archiver.see(&server.log, now);
        while let Some(first) = server.archiver.pending.front().cloned() {
            let content = first.content(&server.log);
            let mut all = open(&shared);
            let mut lineage = Lineage::open(&mut all, archive, away);
            told(lineage.push(first.name, &content, goal.term).0)?;
            server.archiver.pending.pop_front();
        }
        Ok(())
    }

    /// Where the log of a server ends that was stopped cleanly: its last segment has only its stop in it.
    fn sealed_end(&mut self, goal: &Goal) -> Result<Option<usize>, Error> {
        if self.mutated(Mutation::EarlyLastProof) {
            return Ok(None);
        }
        Ok(Some(self.server(goal).log.segment()))
    }

    /// Makes repositories even, and forgets what was known to be missing before.
    fn even(&mut self, goal: &Goal, archive: &Archive, begun: Time) -> Result<Done, Error> {
        let away = self.away;
        let objects = told(Lineage::open(&mut open(&self.repositories), archive, away).even())?;
        self.server(goal).archiver.evened(begun);
        Ok(Done::Evened { objects })
    }

    fn expire(
        &mut self,
        goal: &Goal,
        archive: &Archive,
        backups: &[BackupId],
        Position(before): Position,
    ) -> Result<Done, Error> {
        let away = self.away;
        let mut all = open(&self.repositories);
        let path = &archive.lineage.0;
        let mut backups = backups.to_vec();
        if all.mutation == Some(Mutation::ProvenExpires) {
            backups.extend(all.proven.get(path).into_iter().flatten());
        }
        let mut lineage = Lineage::open(&mut all, archive, away);
        let there: Vec<BackupId> =
            told(lineage.backups())?.iter().map(|base| base.backup.id).collect();
        let newest = there.last();
        if newest.is_some_and(|newest| backups.contains(newest)) {
            all.broken.get_or_insert(format!("{}: the newest backup expires", goal.identity.name));
            return failed("the newest backup is not removed");
        }
        let mut objects = 0;
        for id in &backups {
            objects += told(lineage.remove(*id))?;
        }
        let kept = told(lineage.backups())?;
        let first = kept.iter().map(|base| base.backup.from).min();
        if let Some(Position(first)) = first {
            let end = usize::try_from(first.min(before) / 2).unwrap_or(0);
            objects += told(lineage.forget(end))?;
        }
        let proven = all.proven.entry(path.clone()).or_default();
        let had = there.iter().any(|id| proven.contains(id));
        proven.retain(|id| kept.iter().any(|base| base.backup.id == *id));
        if had && proven.is_empty() {
            let what = format!("{}: no proven backup is left by expiry", goal.identity.name);
            all.broken.get_or_insert(what);
        }
        Ok(Done::Expired { objects })
    }
}

impl Progress {
    const fn over(done: Done) -> Self {
        Self::Over(Ok(done))
    }
}

/// Whether the log that a backup needs is stored: every segment from where it begins.
fn has_log(lineage: &Lineage<'_>, log: &Log, from: usize) -> Result<bool, Error> {
    let timelines = log.timelines();
    let mut at = from;
    while at < log.len() {
        let mut next = None;
        for (timeline, _) in timelines.iter().rev() {
            use evenkeel_core::backup::archive::Error as Refused;
            match lineage.fetch((*timeline, Some(at))) {
                Ok(content) => next = Some(at + content.len()),
                Err(Refused::NotThere { .. }) => continue,
                // Any one repository is enough: it may be on its way to another.
                Err(error) if error.may_pass() => {}
                Err(error) => return told(Err(error)),
            }
            break;
        }
        match next {
            Some(next) => at = next,
            None => return Ok(false),
        }
    }
    Ok(true)
}
