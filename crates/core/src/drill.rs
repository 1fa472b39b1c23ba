//! Drills: what must work in an emergency, exercised and measured while there is none.
//!
//! A schedule says how often a service is drilled; its next drill is due in its first window after that.
//! How many run at once, and how close together on one service, are budgets of the policy. What every drill
//! came to is kept, so that a trend is seen before an emergency shows it.
//!
//! Knows nothing of how a drill is done: somebody begins it, does it, and says what it came to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::ServiceId;
use crate::maintenance::Windows;
use crate::time::{Span, Time};

/// Results that are kept of each sort of drill on one service.
pub const RESULTS_MAX: usize = 20;
/// Results on each side of a trend.
const TREND: usize = 5;
/// A drill that has not said what it came to by then has failed: ten times what one may take.
pub const RUN_MAX: Span = Span::mins(20);
/// A brake drill holds what would begin on its service, repairs excepted, for so long.
pub const HOLD: Span = Span::secs(3);
/// Shortest time from one scheduled drill to the next.
pub const EVERY_MIN: Span = Span::secs(1);

/// What is exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A standby takes over as if the primary had died.
    Failover,
    /// A backup is restored into a scratch member.
    Proof,
    /// The controller is lost and comes back.
    Controller,
    /// The brake holds what would begin, and lets it go.
    Brake,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Failover, Self::Proof, Self::Controller, Self::Brake];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Proof => "proof",
            Self::Controller => "controller",
            Self::Brake => "brake",
        }
    }

    /// Whether a service's clients could feel it.
    #[must_use]
    pub const fn is_felt(self) -> bool {
        matches!(self, Self::Failover)
    }

    /// Minutes a person would need to prepare, do and write up the same, for the toil ledger: an
    /// afternoon's game day on one service, divided by the four services it would cover.
    #[must_use]
    pub const fn manual_minutes(self) -> u16 {
        match self {
            Self::Failover | Self::Proof => 60,
            Self::Controller | Self::Brake => 30,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no kind of drill.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no drill; there are failover, proof, controller and brake")]
pub struct NoSuchDrill {
    /// The text.
    pub text: String,
}

impl FromStr for Kind {
    type Err = NoSuchDrill;

    fn from_str(text: &str) -> Result<Self, NoSuchDrill> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| NoSuchDrill { text: text.to_owned() })
    }
}

/// How often a service is drilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// What is exercised.
    pub kind: Kind,
    /// From one to the next.
    pub every: Span,
    /// When it was asked for: the first is due one span later.
    pub since: Time,
}

/// Who began a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begun {
    /// A person, who also reports it.
    Person,
    /// The controller, because it was due.
    Schedule,
}

/// A drill that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// What is exercised.
    pub kind: Kind,
    /// Since when.
    pub since: Time,
    /// Who began it.
    pub by: Begun,
    /// It is to end as soon as it can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
}

/// What a drill came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was exercised.
    pub kind: Kind,
    /// When it ended.
    pub at: Time,
    /// The longest time without what it measures, in milliseconds: acknowledged writes, or decisions.
    pub gap_ms: u64,
    /// Acknowledged rows that were missing afterwards.
    pub lost: u64,
    /// Rows that were acknowledged.
    pub acked: u64,
    /// Why it failed; `None`: it did what it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Outcome {
    /// Whether all went as it must in an emergency.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.failed.is_none() && self.lost == 0
    }
}

/// Everything a service keeps about drills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drills {
    /// How often, at most one for each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// The one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// What they came to, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<Outcome>,
    /// Kinds that are not done here by themselves, whatever the policy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<Kind>,
}

impl Drills {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { schedules, running, results, off } = self;
        schedules.is_empty() && running.is_none() && results.is_empty() && off.is_empty()
    }

    /// Keeps a result, and no more of its kind than are needed.
    pub fn keep(&mut self, result: Outcome) {
        let kind = result.kind;
        self.results.push(result);
        let surplus = self.of(kind).count().saturating_sub(RESULTS_MAX);
        for _ in 0..surplus {
            if let Some(oldest) = self.results.iter().position(|result| result.kind == kind) {
                self.results.remove(oldest);
            }
        }
    }

    /// What one kind came to, oldest first.
    pub fn of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Outcome> {
        self.results.iter().filter(move |result| result.kind == kind)
    }

    /// The newest of one kind.
    #[must_use]
    pub fn newest(&self, kind: Kind) -> Option<&Outcome> {
        self.of(kind).next_back()
    }

    /// When a scheduled drill is due: in the first window after its time.
    #[must_use]
    pub fn due(&self, schedule: &Schedule, windows: Option<&Windows>) -> Time {
        let last = self.newest(schedule.kind).map_or(schedule.since, |last| last.at);
        let due = last.max(schedule.since) + schedule.every;
        windows.map_or(due, |windows| windows.opening(due))
    }

    /// When a drill that was due is late: a whole turn was left out.
    #[must_use]
    pub fn late(&self, schedule: &Schedule, windows: Option<&Windows>) -> Time {
        self.due(schedule, windows) + schedule.every
    }

    /// The drill that runs and may still say what it came to.
    #[must_use]
    pub fn runs(&self, now: Time) -> Option<&Running> {
        self.running.as_ref().filter(|running| now.since(running.since) < RUN_MAX)
    }

    /// When the newest drill of any kind that people feel began or ended.
    #[must_use]
    pub fn touched(&self) -> Option<Time> {
        let felt = self.results.iter().filter(|result| result.kind.is_felt());
        let running = self.running.filter(|running| running.kind.is_felt());
        felt.map(|result| result.at).chain(running.map(|running| running.since)).max()
    }

    /// Until when a brake drill holds what would begin.
    #[must_use]
    pub fn holds_until(&self, now: Time) -> Option<Time> {
        let running = self.running.filter(|running| running.kind == Kind::Brake)?;
        Some(running.since + HOLD).filter(|until| now < *until)
    }

    /// How the newest results of one kind compare with those before them.
    #[must_use]
    pub fn trend(&self, kind: Kind) -> Option<Trend> {
        let gaps: Vec<u64> =
            self.of(kind).rev().filter(|r| r.failed.is_none()).map(|r| r.gap_ms).collect();
        let newest = median(gaps.get(..gaps.len().min(TREND))?)?;
        let before = gaps.get(TREND..).map(|rest| &rest[..rest.len().min(TREND)]);
        Some(Trend { newest_ms: newest, before_ms: before.and_then(median) })
    }
}

/// What the policy has every service be drilled in, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is exercised.
    pub kind: Kind,
    /// From one to the next on one service.
    pub every: Span,
    /// Since when this is so.
    pub since: Time,
}

impl Rule {
    /// The schedule of one service: first drills are spread evenly over the first turn.
    #[must_use]
    pub fn schedule(&self, service: ServiceId) -> Schedule {
        let Self { kind, every, since } = *self;
        // Knuth's multiplicative hash: neighbours are far apart.
        let part = (u64::from(service.0.wrapping_mul(2_654_435_761) >> 12) * every.0) >> 20;
        let since = Time((since.0 + part).saturating_sub(every.0));
        Schedule { kind, every, since }
    }
}

/// Two medians: of the newest five, and of the five before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trend {
    /// Of the newest, in milliseconds.
    pub newest_ms: u64,
    /// Of those before, in milliseconds; none while there are no more.
    pub before_ms: Option<u64>,
}

fn median(gaps: &[u64]) -> Option<u64> {
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable();
    // Of an even number the upper one: a drill is not made to look better than it was.
    sorted.get(sorted.len() / 2).copied()
}

/// A drill that is due and could be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// On which service.
    pub service: ServiceId,
    /// What is exercised.
    pub kind: Kind,
    /// Since when it is due.
    pub since: Time,
    /// When this service was drilled last, in any way that people feel.
    pub touched: Option<Time>,
    /// A person planned it: the space between two drills is theirs to judge.
    pub planned: bool,
}

/// How many drills there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// At once, in the whole fleet.
    pub at_once: usize,
    /// Between two on one service.
    pub spacing: Span,
}

/// Which drills begin now beside those that run: the longest due first, ties by service.
#[must_use]
pub fn pick(
    now: Time,
    due: &[Candidate],
    running: usize,
    budget: Budget,
) -> Vec<(ServiceId, Kind)> {
    let spaced = |candidate: &&Candidate| {
        candidate.planned || candidate.touched.is_none_or(|last| now.since(last) >= budget.spacing)
    };
    let mut order: Vec<&Candidate> = due.iter().filter(spaced).collect();
    order.sort_by_key(|candidate| (candidate.since, candidate.service, candidate.kind));
    let mut picked: Vec<(ServiceId, Kind)> = Vec::new();
    for candidate in order {
        let known = picked.iter().any(|(service, _)| *service == candidate.service);
        if running + picked.len() < budget.at_once && !known {
            picked.push((candidate.service, candidate.kind));
        }
    }
    picked
}

/// What may be ordered about drills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A service is drilled so often; `None`: not by itself any more.
    Schedule {
        /// Which service.
        name: String,
        /// What is exercised.
        kind: Kind,
        /// How often.
        every: Option<Span>,
    },
    /// A drill begins.
    Begin {
        /// On which service.
        name: String,
        /// What is exercised.
        kind: Kind,
        /// Who begins it: one by schedule is refused unless it is due and the budgets allow it.
        by: Begun,
    },
    /// The drill that runs is to end as soon as it can.
    Abort {
        /// On which service.
        name: String,
    },
}

/// A drill on a schedule, for people. Moments are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// What is exercised.
    pub kind: String,
    /// How often.
    pub every: String,
    /// When the next is due.
    pub due_at: String,
}

/// What a drill came to, for people. Moments are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What was exercised.
    pub kind: String,
    /// When it ended.
    pub at: String,
    /// The longest time without what it measures, in milliseconds.
    pub gap_ms: u64,
    /// Acknowledged rows that were missing afterwards.
    pub lost: u64,
    /// Rows that were acknowledged.
    pub acked: u64,
    /// Why it failed.
    pub failed: Option<String>,
}

/// How results of one kind go, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownTrend {
    /// What was exercised.
    pub kind: String,
    /// Median of the newest five, in milliseconds.
    pub newest_ms: u64,
    /// Median of the five before, in milliseconds.
    pub before_ms: Option<u64>,
}

/// A service's drills, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Which service.
    pub service: String,
    /// How often it is drilled by itself.
    pub scheduled: Vec<Scheduled>,
    /// What runs now.
    pub running: Option<String>,
    /// Whether what runs is to end.
    pub aborted: bool,
    /// What drills came to, oldest first.
    pub results: Vec<Shown>,
    /// How they go.
    pub trends: Vec<ShownTrend>,
}
