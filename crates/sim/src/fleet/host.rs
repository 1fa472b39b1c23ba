//! A host of a fleet: its stream, its disk, its members. A member that is quiet is a few numbers; the agent's
//! mind is there for those that are not.

use std::collections::BTreeMap;

use evenkeel_core::agent::{Brain, Stored};
use evenkeel_core::backup::guard::{Level, Limits, Room};
use evenkeel_core::backup::job;
use evenkeel_core::backup::pace::Pace;
use evenkeel_core::cell::Link;
use evenkeel_core::check::Unread;
use evenkeel_core::digest::Digest;
use evenkeel_core::driver::{Archived, Process};
use evenkeel_core::goal::{Role, Want};
use evenkeel_core::id::{HostId, MemberId, Revision, Term};
use evenkeel_core::member::State;
use evenkeel_core::moment::Moment;
use evenkeel_core::report::{self, Mark, ToAgent};
use evenkeel_core::time::{Span, Time};

use super::clocks::moment;
use super::server::Server;

/// Bytes of a segment of a log on disk, however much of it is used.
pub(super) const SEGMENT_BYTES: u64 = 4 << 20;
/// Log that waits for longer is behind.
const BEHIND_AFTER: Span = Span::secs(10);
/// Of so many services one writes a lot.
const BUSY_ONE_IN: u32 = 20;
/// Segments an idle service ships in a minute, and a busy one.
const IDLE_PER_MIN: u64 = 1;
const BUSY_PER_MIN: u64 = 8;

/// Names an agent's mind on its host.
pub(super) type Slot = usize;

/// A member.
pub(super) struct Member {
    /// On which host.
    pub host: usize,
    /// What its agent keeps on disk.
    pub stored: Stored,
    /// Its server.
    pub server: Server,
    /// What came of its job.
    pub job: Option<Box<job::Told>>,
    /// What its mind said of its replication last.
    pub replication: Option<Box<report::Replication>>,
    /// The mind that is awake for it.
    pub mind: Option<Slot>,
    /// What it was doing by its newest report.
    pub doing: Option<Doing>,
}

/// What a member is doing: its state, its process, whether it was proven, and the goal it applied.
pub(super) type Doing = (State, Option<u32>, bool, (Term, Revision));

/// A mind that is awake.
pub(super) struct Awake {
    /// It.
    pub brain: Brain,
    /// For whom.
    pub members: Vec<MemberId>,
    /// Names it: what was meant for one before it is void.
    pub life: u64,
    /// When it is to be woken.
    pub wake: Option<Time>,
    /// Driver calls under way.
    pub calls: u32,
    /// When one of its members was doing something else than before, last.
    pub said: Time,
}

/// A host.
pub(super) struct Host {
    pub name: String,
    pub zone: usize,
    /// Whether it has power.
    pub on: bool,
    /// Whether its agent runs.
    pub agent: bool,
    /// On which side of a partition it is; the controller is on side 0.
    pub side: u8,
    /// Of a hundred of its links, so many lose packets, each way.
    pub ill: u8,
    /// What it sends and is sent takes so much longer.
    pub delay: Span,
    /// When the newest message arrives that is on its way from it, and to it.
    pub arrive: (Time, Time),
    /// Its rack, where there are racks.
    pub rack: Option<String>,
    /// What its servers run from.
    pub image: &'static str,
    pub link: Option<Link>,
    /// Grows with every boot.
    pub boots: u32,
    pub beats: u64,
    /// What it was welcomed with.
    pub welcome: Option<Box<ToAgent>>,
    pub id: HostId,
    pub members: Vec<MemberId>,
    /// Its members' reports, as marks.
    pub marks: BTreeMap<MemberId, Mark>,
    pub digest: Option<Digest>,
    pub minds: Vec<Option<Awake>>,
    pub disk: Disk,
}

/// A host's disk, and the log on it that waits for its archive.
pub(super) struct Disk {
    pub total: u64,
    /// Bytes used by everything but log that waits.
    pub used: u64,
    /// Segments that waited at a moment, and how many more of them there are in a minute.
    pub waiting: u64,
    pub per_min: u64,
    pub at: Time,
    /// Since when the oldest of them waits.
    pub since: Option<Time>,
    /// When some of it was taken last, while it is on its way.
    pub taken: Time,
    /// Why none of it is taken.
    pub trouble: Option<&'static str>,
    /// What the guard does about it.
    pub level: Level,
    /// How hard it asks.
    pub pace: Pace,
    /// What was told of it last.
    pub told: Option<Face>,
    /// When its agent asked how log on its way gets on.
    pub asked: Time,
    /// Which look at it is the next: others that were to come are void.
    pub surveys: u32,
    /// Whether it is looked at every second: log is on its way.
    pub pushes: bool,
    /// Whether nothing of it gets to its archive, whatever that answers.
    pub stuck: bool,
    /// By how much its host's wall clock is off.
    pub skew_ms: i64,
}

/// What a report says of an archive and a disk, for an idle service and for a busy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Face {
    pub idle: u64,
    pub busy: u64,
    pub behind: Option<Moment>,
    pub trouble: bool,
    pub level: Level,
    pub free: u64,
}

impl Face {
    /// Whether it is better than what was told by numbers alone: see [`report::Archive::after`].
    pub fn is_no_worse(&self, told: &Self) -> bool {
        let same = Self { idle: self.idle, busy: self.busy, free: self.free, ..*told } == *self;
        let better = self.idle <= told.idle && self.busy <= told.busy && self.free >= told.free;
        same && better && told.behind.is_some()
    }
}

/// Segments that a member ships in a minute.
pub(super) const fn per_min(member: MemberId) -> u64 {
    if member.0.is_multiple_of(BUSY_ONE_IN) { BUSY_PER_MIN } else { IDLE_PER_MIN }
}

impl Disk {
    pub fn new(total: u64, used: u64) -> Self {
        Self {
            total,
            used,
            waiting: 0,
            per_min: 0,
            at: Time(0),
            since: None,
            taken: Time(0),
            trouble: None,
            level: Level::Fine,
            pace: Pace::default(),
            told: None,
            asked: Time(0),
            surveys: 0,
            pushes: false,
            stuck: false,
            skew_ms: 0,
        }
    }

    /// Segments that come in a minute: its servers write less, or nothing, when it is nearly full.
    fn rate(&self) -> u64 {
        match self.level {
            Level::Fine | Level::Warn => self.per_min,
            Level::Throttle => self.per_min / 2,
            Level::ReadOnly => 0,
        }
    }

    /// Segments that wait now: none while they are taken as they come.
    pub fn waits(&self, now: Time) -> u64 {
        match self.since {
            Some(_) => self.waiting + now.since(self.at).0 * self.rate() / 60_000,
            None => 0,
        }
    }

    /// Fixes what waits, before anything about it changes.
    pub fn settle(&mut self, now: Time) {
        let rate = self.rate();
        if self.since.is_none() || self.per_min == 0 {
            (self.waiting, self.at) = (0, now);
            return;
        }
        if rate == 0 {
            self.at = now;
            return;
        }
        let whole = now.since(self.at).0 * rate / 60_000;
        self.waiting += whole;
        // What is left over of a minute is not lost.
        self.at = self.at + Span(whole * 60_000 / rate);
    }

    pub fn room(&self, now: Time) -> Room {
        let used = self.used + self.waits(now) * SEGMENT_BYTES;
        Room { total: self.total, free: self.total.saturating_sub(used) }
    }

    /// Takes the level of the room there is; whether it changed.
    pub fn look(&mut self, now: Time) -> bool {
        let level = Limits::default().level(self.level, self.room(now));
        if level == self.level {
            return false;
        }
        // What came until now came at the pace of until now.
        self.settle(now);
        self.level = level;
        true
    }

    /// Bytes that wait of a member's log: its share.
    pub fn pending(&self, per_min: u64, now: Time) -> u64 {
        match self.per_min {
            0 => 0,
            all => self.waits(now) * per_min / all * SEGMENT_BYTES,
        }
    }

    fn behind(&self, now: Time) -> Option<Moment> {
        let since = self.since.filter(|since| now.since(*since) > BEHIND_AFTER);
        let since = since.map(|since| moment(Time(since.0 / 1000 * 1000), self.skew_ms));
        let told = self.told.and_then(|told| told.behind);
        evenkeel_core::agent::behind(told, since, moment(now, self.skew_ms))
    }

    /// What would be told of it now.
    pub fn face(&self, now: Time) -> Face {
        Face {
            idle: report::band(self.pending(IDLE_PER_MIN, now)),
            busy: report::band(self.pending(BUSY_PER_MIN, now)),
            behind: self.behind(now),
            trouble: self.trouble.is_some() && self.waits(now) > 0,
            level: self.level,
            free: report::free_band(self.room(now).free),
        }
    }

    /// How a member's log gets to its archive, as its driver says it.
    pub fn archived(&self, member: MemberId, repository: &str, now: Time) -> Archived {
        let pending_bytes = self.pending(per_min(member), now);
        let trouble = self.trouble.filter(|_| pending_bytes > 0);
        Archived {
            pending_bytes,
            behind_since: self.behind(now).filter(|_| pending_bytes > 0),
            trouble: trouble.map(str::to_owned),
            refused: trouble.map(|_| repository.to_owned()).into_iter().collect(),
            missed: Vec::new(),
            room: Some(self.room(now)),
        }
    }
}

impl Member {
    pub fn id(&self) -> MemberId {
        self.stored.applied.goal.member
    }

    /// The report of one that is quiet: as its agent's mind makes it.
    pub fn report(&self, disk: &Disk, repository: &str, now: Time) -> report::Member {
        let goal = &self.stored.applied.goal;
        let pid = match self.server.process {
            Process::Running { pid } => Some(pid),
            _ => None,
        };
        let state = match (goal.want, &goal.role) {
            (Want::Running, Role::Standby { .. }) => State::Following,
            (Want::Running, _) => State::Ready,
            (Want::Stopped, _) => State::Stopped,
            (Want::Sealed, _) => State::Sealed,
            (Want::Removed, _) => State::Gone,
        };
        let archive = (goal.archive.is_some() || goal.job.is_some()).then(|| {
            let said = disk.archived(goal.member, repository, now);
            let face = disk.face(now);
            Box::new(report::Archive {
                pending_bytes: report::band(said.pending_bytes),
                behind_since: said.behind_since,
                trouble: said.trouble,
                refused: said.refused,
                missed: said.missed,
                disk: Some(report::Disk {
                    level: self.server.guard,
                    total: disk.total,
                    free: face.free,
                    full_in: None,
                }),
                flushed: self.server.flushed,
                job: self.job.as_deref().cloned(),
            })
        });
        report::Member {
            member: goal.member,
            incarnation: goal.incarnation,
            pledged: self.stored.applied.pledged,
            applied: (goal.term, goal.revision),
            state,
            pid,
            restarts: self.stored.restarts,
            deaths: self.stored.deaths,
            write_proven: state == State::Ready,
            trouble: None,
            refused: None,
            port_taken: false,
            data_dir: data_dir(goal.member),
            checks: Vec::new(),
            unread: Unread::everything(),
            identity: goal.identity.clone(),
            replication: self.replication.clone(),
            archive,
            import: None,
            script: None,
        }
    }
}

/// Where a member's data is.
pub(super) fn data_dir(member: MemberId) -> String {
    format!("/members/{}/data", member.0)
}
