//! What a cell stores: one row for itself, one per host, one per service.
//!
//! Invariant: a restarted controller knows from these rows alone what it wanted of everybody and
//! how far every operation was; what was *seen* comes back with the agents' reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::backups::rows::Archive;
use super::compact::{Few, Name};
use super::recovery::rows::Recovery;
use crate::alert::IncidentId;
use crate::automation::{Approval, Brake, Pin, Rule};
use crate::backup::lineage::Repository;
use crate::check::Severity;
use crate::decide::Run;
use crate::drill::{self, Drills};
use crate::goal::{StopMode, Want};
use crate::id::{HostId, Incarnation, MemberId, OperationId, Revision, ServiceId, Term};
use crate::label::Label;
use crate::maintenance::{Planned, Windows};
use crate::name::ServiceName;
use crate::operation::Operation;
use crate::promise::{Copy, Promise};
use crate::service::{Health, Phase};
use crate::time::Time;

/// The cell itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Grows with every turn that records anything. Agents keep the highest they saw.
    pub sequence: u64,
    /// The cell's clock when this was recorded.
    pub clock: Time,
    /// The last id drawn of each sort.
    pub services: ServiceId,
    /// The last id drawn of each sort.
    pub members: MemberId,
    /// The last id drawn of each sort.
    pub hosts: HostId,
    /// The last id drawn of each sort.
    pub operations: OperationId,
    /// Grows with every change of any route.
    pub routes: u64,
    /// Where the search for a free port goes on.
    pub port: u16,
    /// Address endpoints are on: that of the gateway heard last. Clients keep using it while no
    /// gateway is heard here, and it may well serve.
    pub endpoints: Option<String>,
    /// Digests of images members run from; members name them by place.
    pub images: Vec<String>,
    /// The major release in each image that a host told it of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
    /// The last id drawn of each sort.
    #[serde(default)]
    pub jobs: u32,
    /// The last id drawn of each sort.
    #[serde(default)]
    pub acts: u32,
    /// Where archives go.
    #[serde(default)]
    pub repositories: Vec<Repository>,
    /// That this store comes after others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Box<Recovery>>,
    /// Levels of remedies that people set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// The fleet brake, while it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brake: Option<Box<Brake>>,
    /// The last number drawn for an approval.
    #[serde(default)]
    pub approvals: u32,
    /// The number of the newest piece of planned work.
    #[serde(default, skip_serializing_if = "none_yet")]
    pub planned: u32,
    /// Drills of every service, as the policy said last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drills: Vec<drill::Rule>,
}

/// Whether nothing was numbered yet.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn none_yet(number: &u32) -> bool {
    *number == 0
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its rack in that zone, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Address its members listen on.
    pub address: String,
    /// Whether it takes no new members.
    pub draining: bool,
    /// The operation under way: it is being drained.
    #[serde(default)]
    pub operation: Option<Box<Operation>>,
    /// The incident that it is a member of; 0: of none.
    #[serde(default, skip_serializing_if = "IncidentId::is_none")]
    pub incident: IncidentId,
    /// Since when its checks do not pass.
    #[serde(default, skip_serializing_if = "Findings::is_empty")]
    pub findings: Findings,
}

/// Since when a check does not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// The check's name, one for all rows alike.
    pub check: Name,
    /// The member that it is about; number 0: the host whose row this is in.
    #[serde(default, skip_serializing_if = "nobody")]
    member: MemberId,
    /// How bad.
    pub severity: Severity,
    /// Since when.
    pub since: Time,
}

/// Checks that do not pass; one is held inline, as most have none or the same one.
pub type Findings = SmallVec<[Began; 1]>;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn nobody(member: &MemberId) -> bool {
    member.0 == 0
}

impl Began {
    /// A check does not pass, of a member or of a host, from now on.
    pub fn new(check: Name, member: Option<MemberId>, severity: Severity, since: Time) -> Self {
        Self { check, member: member.unwrap_or_default(), severity, since }
    }

    /// The member that it is about; none: the host whose row this is in.
    pub fn member(&self) -> Option<MemberId> {
        Some(self.member).filter(|member| !nobody(member))
    }
}

/// What was chosen when a service was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offer {
    /// Its kind.
    pub kind: Label,
    /// Its plan.
    pub plan: Label,
}

/// A packed secret; the size is that of PostgreSQL's, held inline.
pub type Secret = SmallVec<[u8; 80]>;

/// A service. [`super::stored`] has the form it is stored in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: ServiceName,
    /// Its kind and plan; one for all services alike.
    pub offer: Arc<Offer>,
    /// What it is doing.
    pub phase: Phase,
    /// How it looked last.
    pub health: Health,
    /// Whether its endpoint is open.
    pub open: bool,
    /// Its endpoint's port.
    pub endpoint_port: u16,
    /// Its pooled endpoint's port; 0 where its plan has none.
    pub pooled_port: u16,
    /// Since when the state shown is what it is.
    pub since: Time,
    /// Its term.
    pub term: Term,
    /// What may have been acknowledged and who covers it; `None` for a service without standbys.
    pub promise: Option<Box<Promise>>,
    /// Another member took the primary's place by a remedy, and not every standby is back since.
    pub failed_over: bool,
    /// Its members; the first takes writes.
    pub members: SmallVec<[Member; 1]>,
    /// The owner's packed secret.
    pub secret: Secret,
    /// The operation under way.
    pub operation: Option<Box<Operation>>,
    /// Whether a person was told of the state it is in.
    pub paged: bool,
    /// The incident that it is a member of; 0: of none.
    pub incident: IncidentId,
    /// Its archive, where its plan has one.
    pub archive: Option<Box<Archive>>,
    /// What few services have.
    pub few: Few<Extra>,
    /// Since when its members' checks do not pass.
    pub findings: Findings,
}

/// What few services have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// When remedies ran, oldest first.
    pub runs: Box<[Run]>,
    /// What people said of automation on it.
    pub people: Option<Box<People>>,
    /// Its windows, planned work and drills; `None` for a service that never had any.
    pub upkeep: Option<Box<Upkeep>>,
}

/// What people said, or are asked, about automation on one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// It is to be left alone for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// A remedy waits for a yes, or has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// What people planned for a service, and what its drills came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkeep {
    /// Its windows; `None`: those of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// What waits for them, in order of number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<Planned>,
    /// Its drills.
    #[serde(default, skip_serializing_if = "Drills::is_empty")]
    pub drills: Drills,
}

/// A member, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its host.
    pub host: HostId,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// The term its goal is of: in a handover the primary's goes before the others'.
    #[serde(default)]
    pub term: Term,
    /// Goal changes in this term.
    pub revision: Revision,
    /// Restarts ordered.
    pub restarts: u32,
    /// Where it listens.
    pub port: u16,
    /// Running or not.
    pub want: Want,
    /// Its part in replication; the first member's is told by the promise.
    #[serde(default)]
    pub part: Part,
    /// How the newest restart or stop is done.
    pub stop: StopMode,
    /// The image it runs from, by place among the cell's.
    pub image: u16,
    /// Fingerprint of its goal: a goal with other content gets another revision.
    pub goal: u64,
}

/// What a member that is not the primary does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It follows the primary; or it is the primary.
    #[default]
    Follows,
    /// Its log may have what its primary's has not: it waits to be made anew.
    Waits,
    /// Another has its place: it is removed when nothing rests on it any more.
    Leaves,
}

impl Member {
    /// Whether no other has its place.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.part != Part::Leaves
    }

    /// The version of its goal.
    #[must_use]
    pub const fn version(&self) -> (Term, Revision) {
        (self.term, self.revision)
    }

    /// Its data directory, by name.
    #[must_use]
    pub const fn copy(&self) -> Copy {
        Copy { member: self.id, incarnation: self.incarnation }
    }
}

impl Service {
    /// Its owner's role, and the name of its database.
    #[must_use]
    pub fn owner(&self) -> &str {
        let other = self.archive.as_ref().and_then(|archive| archive.owner.as_ref());
        other.unwrap_or(&self.name).as_str()
    }

    /// Since when a check of a member does not pass, if it does not.
    #[must_use]
    pub fn began(&self, check: &str, member: Option<MemberId>) -> Option<&Began> {
        let mut began = self.findings.iter();
        began.find(|began| *began.check == *check && began.member() == member)
    }

    /// When remedies ran, oldest first.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        self.few.get().map_or(&[], |few| &few.runs)
    }

    /// What people said of automation on it.
    #[must_use]
    pub fn people(&self) -> Option<&People> {
        self.few.get()?.people.as_deref()
    }

    /// Changes what people said, or are asked.
    pub fn change_people<R>(&mut self, change: impl FnOnce(&mut People) -> R) -> R {
        self.few.change(|few| {
            let mut people = few.people.take().unwrap_or_default();
            let changed = change(&mut people);
            few.people = (*people != People::default()).then_some(people);
            changed
        })
    }

    /// Its windows, planned work and drills; `None` for a service that never had any.
    #[must_use]
    pub fn upkeep(&self) -> Option<&Upkeep> {
        self.few.get()?.upkeep.as_deref()
    }

    /// The member that takes writes.
    ///
    /// # Panics
    /// Never: a service is created with its members.
    #[must_use]
    pub fn primary(&self) -> &Member {
        self.members.first().expect("a service has members from its creation")
    }

    /// Whether it serves, and nothing is known against that.
    #[must_use]
    pub fn needs_nobody(&self) -> bool {
        self.phase == Phase::Serving && self.health == Health::Healthy
    }

    /// Whether nothing on any host is its own: its members are gone, its archive is what remains.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.archive.as_ref().is_some_and(|archive| archive.bare)
    }
}
