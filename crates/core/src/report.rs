//! What an agent saw and did: hosts, members, witnesses' answers.
//!
//! Unchanged parts are not sent again; a beat carries the digest of all members' reports, and a
//! controller that computes another asks for the whole. Reports hold nothing that moves by itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::{Begun, Stored};
use crate::backup::guard::Level;
use crate::backup::job;
use crate::check::{Result as CheckResult, Thresholds, Unread};
use crate::digest::Digest;
use crate::fingerprint;
use crate::goal::{Identity, Password, Refusal, StoreId};
use crate::id::{HostId, Incarnation, MemberId, Revision, ServiceId, Term};
use crate::import;
use crate::member;
use crate::moment::Moment;
use crate::pooler;
use crate::promise::{Copy, Recruit};
use crate::succession::Succession;
use crate::time::Span;

/// One member as its agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The member.
    pub member: MemberId,
    /// Its directory's incarnation.
    pub incarnation: Incarnation,
    /// Terms below this are refused.
    pub pledged: Term,
    /// The newest goal applied.
    pub applied: (Term, Revision),
    /// What it is doing.
    pub state: member::State,
    /// Its server's process, where one runs.
    pub pid: Option<u32>,
    /// Ordered restarts done so far.
    pub restarts: u32,
    /// Deaths without an order since the directory was made.
    pub deaths: u32,
    /// Whether a write was acknowledged since the process started.
    pub write_proven: bool,
    /// The last failure in the server's or the agent's own words.
    pub trouble: Option<String>,
    /// The newest goal refused.
    pub refused: Option<Refusal>,
    /// The port is held by a process that is not the member's.
    pub port_taken: bool,
    /// Where its files are.
    pub data_dir: String,
    /// Checks that do not pass.
    pub checks: Vec<CheckResult>,
    /// Checks that were not read, while it works.
    #[serde(default, skip_serializing_if = "Unread::is_empty")]
    pub unread: Unread,
    /// The identity on disk.
    pub identity: Arc<Identity>,
    /// Its part in replication, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Box<Replication>>,
    /// Its archive, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Box<Archive>>,
    /// Where its import is, while its goal has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Box<import::Told>>,
    /// Its script, while its goal has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<Begun>>,
}

/// How a member's log gets to its archive, and what came of its job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Bytes of log that are complete and in no repository, in a band.
    pub pending_bytes: u64,
    /// Since when the oldest of it waits, where that is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<Moment>,
    /// Why the last file was not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The repositories that did not take it then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Repositories that did not take what others took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<job::Missed>,
    /// The disk that it is kept on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// The newest flush that is done.
    #[serde(default)]
    pub flushed: u32,
    /// What came of the goal's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<job::Told>,
}

impl Archive {
    /// What is told of it where something was told before. While log is on its way, numbers that only get better
    /// come with the next word on since when it waits: a fleet that brings hours of log would tell nothing else.
    #[must_use]
    pub fn after(self, told: Option<&Self>) -> Self {
        match told.filter(|told| told.behind_since.is_some() && self.is_no_worse(told)) {
            Some(told) => told.clone(),
            None => self,
        }
    }

    /// Whether it is the same, or better by numbers alone.
    fn is_no_worse(&self, told: &Self) -> bool {
        let roomier = |(now, told): (&Disk, &Disk)| {
            now.free >= told.free && Disk { free: told.free, ..*now } == *told
        };
        let disks = (self.disk.as_ref(), told.disk.as_ref());
        let disks = disks.0.zip(disks.1).map_or(disks.0 == disks.1, roomier);
        disks
            && self.pending_bytes <= told.pending_bytes
            && self.says_as(told)
            && self.behind_since == told.behind_since
    }

    /// Whether it says the same but for numbers.
    fn says_as(&self, other: &Self) -> bool {
        let level = |archive: &Self| archive.disk.map(|disk| disk.level);
        level(self) == level(other)
            && self.trouble == other.trouble
            && self.refused == other.refused
            && self.missed == other.missed
            && self.flushed == other.flushed
            && self.job == other.job
    }

    /// Whether log waits as it did before, and only how much, since no earlier than it did: nothing is decided
    /// anew for that.
    #[must_use]
    pub fn waits_as(&self, before: &Self) -> bool {
        let waits = |archive: &Self| archive.behind_since.filter(|_| archive.pending_bytes > 0);
        let since = waits(self).zip(waits(before));
        since.is_some_and(|(now, before)| now >= before) && self.says_as(before)
    }
}

/// A member's disk, and what its server does about its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What its server goes by.
    pub level: Level,
    /// How large it is, in bytes.
    pub total: u64,
    /// What is free at least, in bytes.
    pub free: u64,
    /// When it is full at the earliest, if it goes on like this; none: not soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_in: Option<Span>,
}

/// A member's part in replication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// Recruited for this term: it follows nobody, and then said how far it got.
    pub recruited: Option<(Term, Recruit)>,
    /// The newest term and change whose set it proved to be in force.
    pub confirmed: Option<(Term, u32)>,
    /// The newest term it was promoted in.
    pub promoted: Option<Term>,
    /// Bytes of log that were set aside when it was last made anew.
    pub discarded: Option<u64>,
    /// The goal that a checkpoint was written for, as it will end soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointed: Option<(Term, Revision)>,
    /// As a primary that waits for nobody: it may have lost its place while it was away, and lets
    /// nobody in before it hears its goal again.
    pub asks: bool,
    /// As a primary: it heard neither its controller nor a standby for too long, stopped taking writes,
    /// and lets nobody in before it hears its goal again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
    /// As a standby: it receives its upstream's log.
    pub streams: bool,
    /// As a primary: whom it sends its log.
    pub senders: Vec<Sender>,
}

/// A follower, by its primary's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Who follows.
    pub copy: Copy,
    /// It has caught up once and gets what is new as it is written.
    pub streaming: bool,
    /// How far it is behind, in bytes and rounded up to a band: 0, or 2^18 and 4 times that again
    /// and again.
    pub lag_bytes: u64,
}

/// A lag in its band: reports hold nothing that moves all the time.
#[must_use]
pub fn band(lag_bytes: u64) -> u64 {
    const FIRST: u64 = 1 << 18;
    let above = |band: &u64| *band >= lag_bytes;
    match lag_bytes {
        0..=65_536 => 0,
        _ => {
            std::iter::successors(Some(FIRST), |b| b.checked_mul(4)).find(above).unwrap_or(u64::MAX)
        }
    }
}

/// Free room of a disk as it is told, in bytes: no more than there is, and less by an eighth at most. So little is
/// told while there is much, and reports hold nothing that moves all the time.
#[must_use]
pub fn free_band(free: u64) -> u64 {
    let step = 1 << free.checked_ilog2().unwrap_or(0).saturating_sub(3);
    free / step * step
}

/// A host as its agent presents it when its stream opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The host's name.
    pub host: String,
    /// Its zone.
    pub zone: String,
    /// Its rack in that zone, where it was told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Address its members listen on.
    pub address: String,
    /// The agent's process.
    pub pid: u32,
    /// New with every boot of the machine.
    pub boot: String,
    /// The agent's release.
    pub release: String,
    /// The image that new members run from, if it has one.
    pub image: Option<String>,
    /// The major release in that image, as its server says: `15`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The newest store this agent obeyed, and its highest sequence.
    pub store: Option<(StoreId, u64)>,
    /// Checks of the host that do not pass.
    pub checks: Vec<CheckResult>,
    /// Whether a gateway is beside it, and with it the poolers.
    #[serde(default)]
    pub poolers: bool,
}

/// Where a witness should look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Names the question in its answer.
    pub id: u64,
    /// About this member.
    pub member: MemberId,
    /// Its kind, which says what a startup packet is.
    pub kind: String,
    /// Where it listens.
    pub address: String,
    /// Where it listens.
    pub port: u16,
    /// How long to wait for an answer.
    pub patience: Span,
}

/// What a witness saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// The server answered its startup packet.
    Answered,
    /// The host answered that nothing listens.
    Refused,
    /// Connected, or not even that, and no answer in time.
    Silent,
    /// The network says there is no way.
    Unreachable,
}

/// A witness's answer: evidence with a vantage point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's id.
    pub id: u64,
    /// About this member.
    pub member: MemberId,
    /// What was seen.
    pub sight: Sight,
}

/// What an agent keeps on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The store that it obeys.
    pub store: StoreId,
    /// Stores that it obeyed before.
    #[serde(default)]
    pub past: Vec<StoreId>,
    /// The host's id there, if it was told.
    pub host: Option<HostId>,
    /// Members' goals and fences.
    pub members: Vec<Stored>,
    /// Poolers beside its gateway.
    pub poolers: Vec<pooler::Pooler>,
}

/// What an agent sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromAgent {
    /// First on every stream.
    Hello(Hello),
    /// Alive; the digest covers all members' reports.
    Beat {
        /// Counts from 1 on each stream.
        number: u64,
        /// Digest over [`Member`]s in order of id, as [`digest`] computes it.
        digest: Digest,
        /// Whether a member here rests on hearing that this one was heard.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        answer: bool,
    },
    /// Members that changed; all of them after [`ToAgent::SendAll`] and after Hello.
    Members {
        /// Members not named are gone.
        whole: bool,
        /// Their reports.
        members: Vec<Member>,
        /// Their marks in the same order, as its beats go by them. An agent of another release may say more of its
        /// members than its controller reads, and has them marked otherwise.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        marks: Vec<Mark>,
    },
    /// The host's own checks, when they change.
    Host {
        /// Checks that do not pass.
        checks: Vec<CheckResult>,
        /// The image that new members run from.
        image: Option<String>,
        /// The major release in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// Answers to questions.
    Answers(Vec<Answer>),
    /// Poolers of which there is news; all of them on a new stream.
    Poolers(Vec<pooler::News>),
    /// What it keeps on its disk, for a store that comes after the one that wrote it.
    Kept(Kept),
    /// It shows nothing: what it was asked by proves nothing.
    Unconvinced {
        /// For people.
        reason: String,
    },
    /// A planned absence: not silence until it is over.
    Absence {
        /// How long at most.
        until_back: Span,
        /// Why, for people.
        reason: String,
    },
}

impl FromAgent {
    /// Members' reports without their marks: whoever hears them makes those.
    #[must_use]
    pub const fn members(whole: bool, members: Vec<Member>) -> Self {
        Self::Members { whole, members, marks: Vec::new() }
    }

    /// Members' reports, each with its mark.
    #[must_use]
    pub fn marked(whole: bool, members: Vec<(Mark, Member)>) -> Self {
        let (marks, members) = members.into_iter().unzip();
        Self::Members { whole, members, marks }
    }
}

/// What a controller sends to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToAgent {
    /// First on every stream.
    Welcome {
        /// The host's id.
        host: HostId,
        /// The controller's store and sequence.
        store: (StoreId, u64),
        /// Interval of beats.
        beat: Span,
        /// What checks go by.
        #[serde(default, skip_serializing_if = "Thresholds::are_default")]
        checks: Box<Thresholds>,
        /// Servers that are started at once at most; without it the host finds by trying what it bears.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starts_max: Option<u32>,
        /// What the host holds a later successor's proof against.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seal: Option<Password>,
        /// To a host that obeys another store: that this one comes after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        succession: Option<Succession>,
    },
    /// Show what you keep: this store comes after the one you obey, and is to know of it.
    Show {
        /// The controller's store.
        store: StoreId,
        /// The proof.
        succession: Succession,
    },
    /// New goals.
    Goals {
        /// These are all: members without a goal are reported as strays, never touched.
        whole: bool,
        /// The goals.
        goals: Vec<Arc<crate::goal::Goal>>,
    },
    /// Poolers, to an agent with a gateway beside it.
    Poolers {
        /// The routes these are of.
        routes: u64,
        /// Whether these are all: those not named are removed.
        whole: bool,
        /// Poolers that are new, or other than before.
        changed: Vec<pooler::Pooler>,
        /// Services without one from now on.
        gone: Vec<ServiceId>,
    },
    /// The digest did not match: send every member.
    SendAll,
    /// A beat that asked for it was heard.
    Heard {
        /// Which.
        number: u64,
    },
    /// Look for us.
    Ask(Vec<Question>),
    /// The stream is not welcome; the reason says what to do.
    Refused {
        /// For people.
        reason: String,
    },
}

/// A member's report as a mark: what changes with it, in 8 bytes. A controller keeps one for every
/// member, and two reports with one mark are rarer than broken disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(pub [u8; 8]);

/// The mark of a report.
#[must_use]
pub fn mark(member: &Member) -> Mark {
    Mark(fingerprint::of(member))
}

/// Digest over members' reports, which must be in order of id.
#[must_use]
pub fn digest<'a>(members: impl IntoIterator<Item = &'a Member>) -> Digest {
    digest_of(members.into_iter().map(mark))
}

/// The same, of their marks.
#[must_use]
pub fn digest_of(marks: impl IntoIterator<Item = Mark>) -> Digest {
    let bytes: Vec<u8> = marks.into_iter().flat_map(|mark| mark.0).collect();
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(since_s: u64, pending_bytes: u64, free: u64) -> Archive {
        let disk = Disk { level: Level::Fine, total: 1000, free, full_in: None };
        Archive {
            pending_bytes,
            behind_since: Some(Moment::of_millis(since_s * 1000)),
            disk: Some(disk),
            ..Archive::default()
        }
    }

    #[test]
    fn numbers_that_only_get_better_are_told_with_the_next_word_on_since_when() {
        let told = waits(100, 64, 500);
        let is_told = |now: Archive| now.clone().after(Some(&told)) == now;
        assert!(!is_told(waits(100, 16, 600)), "less waits, and there is more room");
        assert!(is_told(waits(200, 16, 600)), "since later");
        assert!(is_told(waits(100, 256, 500)), "more waits");
        assert!(is_told(waits(100, 64, 400)), "there is less room");
        assert!(is_told(Archive { trouble: Some("refused".to_owned()), ..waits(100, 16, 600) }));
        assert!(is_told(Archive { flushed: 1, ..waits(100, 16, 600) }));
        assert!(is_told(Archive { disk: None, ..waits(100, 16, 600) }));
        let fine = Archive { behind_since: None, ..told.clone() };
        let better = Archive { behind_since: None, ..waits(100, 16, 600) };
        assert_eq!(better.clone().after(Some(&fine)), better, "nothing is on its way");
        assert_eq!(told.clone().after(None), told);
    }

    #[test]
    fn how_much_log_waits_decides_nothing_but_anything_else_about_it_may() {
        let before = waits(100, 64, 500);
        assert!(waits(100, 256, 400).waits_as(&before));
        assert!(waits(200, 16, 600).waits_as(&before));
        assert!(!waits(50, 64, 500).waits_as(&before), "since earlier");
        assert!(!waits(100, 0, 500).waits_as(&before), "nothing waits");
        assert!(!Archive { behind_since: None, ..waits(100, 64, 500) }.waits_as(&before));
        let full = Disk { level: Level::Throttle, total: 1000, free: 500, full_in: None };
        assert!(!Archive { disk: Some(full), ..waits(100, 64, 500) }.waits_as(&before));
        assert!(
            !Archive { refused: vec!["north".to_owned()], ..waits(100, 64, 500) }.waits_as(&before)
        );
    }

    #[test]
    fn free_room_is_told_to_an_eighth() {
        for free in [0, 1, 7, 8, 1000, 12_345_678_901, u64::MAX] {
            let told = free_band(free);
            assert!(told <= free && free - told <= free / 8, "{free}: {told}");
        }
        assert_eq!(free_band(700 << 30), 640 << 30);
    }
}
