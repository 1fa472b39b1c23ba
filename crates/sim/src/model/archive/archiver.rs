//! What gets a server's log to its archive: finished segments in order, one after the other, kept on disk
//! until they are stored.

use std::collections::{BTreeMap, VecDeque};

use evenkeel_core::backup::archive::archive_exit;
use evenkeel_core::backup::job::Missed;
use evenkeel_core::backup::lineage::Archive;
use evenkeel_core::id::Term;
use evenkeel_core::time::{Span, Time};

use super::lineage::Lineage;
use super::repositories::{Name, Shared, open};
use crate::model::Log;

/// Bytes of a segment on disk, however much of it is used: as the real driver makes them.
pub const SEGMENT_BYTES: u64 = 4 << 20;
/// A segment that anything is in ends after this.
const SEGMENT_MAX: Span = Span::secs(60);
/// A file that was not stored is tried again after this.
const AGAIN: Span = Span::secs(1);
/// Most files in one round.
const ROUND: usize = 8;
/// A repository that refused nothing for so long takes everything: as the real driver judges it.
const OVER_AFTER: Span = Span::secs(150);

/// A file that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its name.
    pub name: Name,
    /// Up to where the log has to be for it.
    pub to: usize,
    /// Since when.
    pub since: Time,
}

impl Pending {
    /// What is in it; of a history the timelines with where they begin, in turn.
    pub fn content(&self, log: &Log) -> Vec<u64> {
        let (_, from) = self.name;
        match from {
            Some(from) => log.part(from, self.to).to_vec(),
            None => {
                let timelines = log.upto(self.to).timelines().into_iter();
                timelines
                    .flat_map(|(timeline, begin)| [u64::from(timeline), begin as u64])
                    .collect()
            }
        }
    }
}

/// A server's archiver, with what it keeps on disk.
#[derive(Clone, Debug, Default)]
pub struct Archiver {
    /// Where the log goes, as the server was last told, and in which term.
    pub archive: Option<(Archive, Term)>,
    /// Files that are complete and not stored, oldest first.
    pub pending: VecDeque<Pending>,
    /// Why the last one was not.
    pub trouble: Option<String>,
    /// Who did not take it.
    pub refused: Vec<String>,
    /// When each repository last did not take what another took.
    missed: BTreeMap<String, Time>,
    /// What was given up, by the newest job that did.
    given_up: Option<(u32, Vec<Name>)>,
    /// How much of the log was gone through.
    seen: usize,
    /// The segment that was under way there, and the timeline.
    segment: usize,
    timeline: u32,
    /// When the next file may be tried.
    next: Time,
    /// Since when anything is in the segment under way.
    filled: Option<Time>,
}

impl Archiver {
    /// It begins with a log that is somebody else's to archive up to here.
    pub fn begin(&mut self, log: &Log) {
        self.pending.clear();
        (self.seen, self.segment) = (log.len(), log.segment());
        (self.timeline, self.filled) = (log.timeline(), None);
    }

    /// The log is another's from a place on: what was complete before still waits.
    pub fn parted(&mut self, log: &Log, same: usize) {
        self.pending.retain(|pending| pending.to <= same);
        let before = log.upto(same);
        (self.seen, self.segment) = (before.segment(), before.segment());
        self.timeline = log.upto(self.seen).timeline();
    }

    /// Goes through what is new in the log.
    pub fn see(&mut self, log: &Log, now: Time) {
        for (timeline, at) in log.timelines_from(self.seen).collect::<Vec<_>>() {
            self.complete_until(log, at, now);
            self.timeline = timeline;
            self.pending.push_back(Pending { name: (timeline, None), to: at + 1, since: now });
        }
        self.complete_until(log, log.len(), now);
        match log.len() > log.segment() {
            true => drop(self.filled.get_or_insert(now)),
            false => self.filled = None,
        }
    }

    fn complete_until(&mut self, log: &Log, end: usize, now: Time) {
        for at in self.seen..end {
            if log.ends_segment(at) {
                let name = (self.timeline.max(1), Some(self.segment));
                self.pending.push_back(Pending { name, to: at + 1, since: now });
                (self.segment, self.filled) = (at + 1, None);
            }
        }
        self.seen = self.seen.max(end);
    }

    /// Whether the segment under way is to be ended: so many rows fill it, or it has had something in it
    /// for long.
    pub fn ends(&self, log: &Log, rows: usize, now: Time) -> bool {
        let full = log.len() - log.segment() >= rows;
        self.archive.is_some()
            && (full || self.filled.is_some_and(|since| now.since(since) >= SEGMENT_MAX))
    }

    /// Bytes on disk: what waits, and what is written to.
    pub fn bytes(&self) -> u64 {
        let segments = self.pending.iter().filter(|pending| pending.name.1.is_some()).count();
        (segments as u64 + 1) * SEGMENT_BYTES
    }

    /// Bytes that wait.
    pub fn pending_bytes(&self) -> u64 {
        self.bytes() - SEGMENT_BYTES
    }

    /// Stores what waits, in order, as long as that goes well.
    pub fn push(&mut self, log: &Log, shared: &Shared, away: bool, now: Time) {
        if now < self.next {
            return;
        }
        for _ in 0..ROUND {
            let Some(first) = self.pending.front().cloned() else { return };
            match self.store(&first, log, shared, away) {
                Ok(missed) => self.missed.extend(missed.into_iter().map(|name| (name, now))),
                Err((error, refused)) => {
                    (self.trouble, self.next) = (Some(error), now + AGAIN);
                    self.refused = refused;
                    return;
                }
            }
            (self.trouble, self.refused) = (None, Vec::new());
            self.pending.pop_front();
            let pace = self.archive.as_ref().map(|(archive, _)| open(shared).pace(archive));
            if let Some(pace) = pace.filter(|pace| *pace > Span(0)) {
                self.next = now + pace;
                return;
            }
        }
    }

    /// Stores a file; who did not take what another took. Otherwise why nobody took it, and who did not.
    fn store(
        &self,
        pending: &Pending,
        log: &Log,
        shared: &Shared,
        away: bool,
    ) -> Result<Vec<String>, (String, Vec<String>)> {
        // Without an archive nobody was promised anything.
        let Some((archive, term)) = &self.archive else { return Ok(Vec::new()) };
        let content = pending.content(log);
        let mut all = open(shared);
        let (result, missed) =
            Lineage::open(&mut all, archive, away).push(pending.name, &content, *term);
        match archive_exit(&result) {
            0 => Ok(missed),
            code => {
                Err((result.map_or_else(|error| error.to_string(), |_| code.to_string()), missed))
            }
        }
    }

    /// Repositories that did not take what others took.
    pub fn missed(&self, now: Time) -> Vec<Missed> {
        let over = |at: Time| now.since(at) > OVER_AFTER;
        let told = |(repository, at): (&String, &Time)| Missed {
            repository: repository.clone(),
            over: over(*at),
        };
        self.missed.iter().map(told).collect()
    }

    /// They have everything that was stored until a moment.
    pub fn evened(&mut self, until: Time) {
        self.missed.retain(|_, at| *at > until);
    }

    /// Gives up what waits now, or waited when this job was begun first; how many bytes that is. Histories
    /// of timelines are never given up.
    pub fn give_up(&mut self, job: u32) -> u64 {
        let before = self.pending_bytes();
        let names = match self.given_up.take() {
            Some((number, names)) if number == job => names,
            _ => self.pending.iter().map(|p| p.name).filter(|name| name.1.is_some()).collect(),
        };
        self.pending.retain(|pending| !names.contains(&pending.name));
        self.given_up = Some((job, names));
        before - self.pending_bytes()
    }
}
