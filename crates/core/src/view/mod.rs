//! What people and programs are shown. The API sends these as they are, the CLI prints them.
//!
//! Views are computed from a cell's state when asked for; nothing is stored for them.

mod incidents;

use serde::{Deserialize, Serialize};

use crate::alert::IncidentId;
use crate::automation::Pinned;
use crate::backup::engine::Engine;
use crate::backup::guard::Level;
use crate::check::{Family, Severity};
use crate::decide::Decision;
use crate::host;
use crate::id::{HostId, Incarnation, MemberId, OperationId, Revision, ServiceId, Term};
use crate::member;
use crate::remedy;
use crate::service::{Health, Phase, State};
use crate::time::{Span, Time};

pub use incidents::{
    Ack, AcknowledgedIncident, AlertChannel, AlertOutcome, Alerts, Incident, IncidentMember,
};

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its plan.
    pub plan: String,
    /// One of ten.
    pub state: State,
    /// What it is doing.
    pub phase: Phase,
    /// How it looks.
    pub health: Health,
    /// For how long the state has been so, in milliseconds.
    pub since_ms: Span,
    /// Its term.
    pub term: Term,
    /// The stable endpoint, without a password; none while it is closed.
    pub url: Option<String>,
    /// The endpoint's port, kept for the service's whole life.
    pub endpoint_port: u16,
    /// The pooled endpoint's port; none where its plan has no such endpoint.
    pub pooled_port: Option<u16>,
    /// Its members.
    pub members: Vec<Member>,
    /// The operation under way.
    pub operation: Option<Operation>,
    /// Whether a failover would lose nothing; none for a service without standbys.
    pub failover: Option<Failover>,
    /// Its archive; none where it has none.
    pub backup: Option<Backup>,
    /// The foreign server that it was made from; none where it was not.
    pub import: Option<Import>,
    /// Its owner's role and the name of its database: its own name, or that of what it was restored from.
    pub owner: String,
    /// The incident that it is part of.
    #[serde(default)]
    pub incident: Option<IncidentId>,
    /// What is not as promised.
    pub findings: Vec<Finding>,
    /// That somebody wants it left alone for a while.
    pub pin: Option<Pin>,
    /// A remedy that waits for a person's yes.
    pub approval: Option<Approval>,
    /// What is wrong that nothing is done about for now, each with the reason: which remedy would run, what
    /// keeps it, and when it is tried again. Filled in only where one service is shown.
    #[serde(default)]
    pub held: Vec<String>,
}

/// A service that automation leaves alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What automation may still do: `essential` repairs what is down, `pause` begins nothing, `stop` also
    /// gave up what ran.
    pub level: Pinned,
    /// How long it lasts, in milliseconds.
    pub ends_in_ms: Span,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// A remedy that waits for a person's yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its number, for `evenkeel approve`.
    pub id: u32,
    /// Whose.
    pub service: String,
    /// Which remedy.
    pub remedy: String,
    /// For how long it waits, in milliseconds.
    pub since_ms: Span,
    /// Who said yes; none while nobody has.
    pub given_by: Option<String>,
}

/// A remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Its name.
    pub name: String,
    /// What it does, and why that is the cheapest that suffices.
    pub doc: String,
    /// When it applies: an expression in CEL over condition, findings, health, posture and plan.
    pub when: String,
    /// What it does: an operation's name, or `procedure` and its name.
    pub does: String,
    /// Postures in which it waits.
    pub held_in: Vec<String>,
    /// Who lets it run, in the whole fleet.
    pub level: remedy::Level,
    /// Where it is otherwise: a kind's or a service's name and the level there.
    pub elsewhere: Vec<(String, remedy::Level)>,
    /// Its budget for one service: runs within the window.
    pub tries_max: u8,
    /// The window, in milliseconds.
    pub window_ms: Span,
    /// Least time between two runs, in milliseconds.
    pub cooldown_ms: Span,
    /// Services it may be under way for at once; none: as the claims allow.
    pub fleet_max: Option<u16>,
    /// Services it is under way for now.
    pub running: u16,
    /// Minutes a person would need for the same.
    pub manual_minutes: u16,
    /// The service about which its guard gave no answer when it was asked last, and why; none: it answers.
    #[serde(default)]
    pub fails: Option<String>,
}

/// What a service is, or was, imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// From where, without a password.
    pub source: String,
    /// How: `base` or `dump`; `auto` before it was looked at.
    pub method: String,
    /// Why so; empty before it was looked at.
    pub why: String,
    /// Where it is, in words; none when it is over.
    pub progress: Option<String>,
    /// Bytes that are done of this stage.
    pub done_bytes: u64,
    /// Bytes that it has; 0: nobody knows.
    pub total_bytes: u64,
    /// What is other than in the source, and what a person should know.
    pub changes: Vec<String>,
    /// Why it failed for good.
    pub failed: Option<String>,
}

/// A service's archive at a glance. Moments are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// What packs its log and backups.
    #[serde(default)]
    pub engine: Engine,
    /// When the newest backup was complete.
    pub last_at: Option<String>,
    /// Everything that was acknowledged until then can be restored, as far as is known.
    pub restorable_to: Option<String>,
    /// When the newest restore that went as it should was begun.
    pub proven_at: Option<String>,
    /// How long it took until it took writes, in seconds.
    pub restore_seconds: Option<f64>,
    /// How old the newest write of Evenkeel's own was in it, in seconds: what a lost service would have lost.
    pub loss_window_seconds: Option<u64>,
    /// Bytes of log that wait for the archive, rounded up to a band.
    pub archive_lag_bytes: u64,
    /// How long the oldest of it waits, in seconds; 0: no longer than a file takes.
    pub archive_lag_seconds: u64,
    /// How many backups there are.
    pub count: usize,
    /// Where they go.
    pub repositories: Vec<String>,
    /// The job under way.
    pub job: Option<Job>,
    /// The last job, if it failed.
    pub failed: Option<FailedJob>,
}

/// A job beside a service's operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id; a backup's is the backup's.
    pub id: String,
    /// What is done: `backup`, `proof` or `expiry`.
    pub what: String,
    /// For how long, in milliseconds.
    pub since_ms: Span,
}

/// A job that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedJob {
    /// Its id.
    pub id: String,
    /// Why.
    pub why: String,
}

/// A backup. Moments are RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// Its id.
    pub id: String,
    /// Whose.
    pub service: String,
    /// When it was begun.
    pub begun_at: String,
    /// When it was complete: the first moment it can be restored to.
    pub ended_at: String,
    /// Where the log that it needs begins.
    pub from: String,
    /// Where it is consistent.
    pub to: String,
    /// The timeline it was taken on.
    pub timeline: u32,
    /// Bytes of the data.
    pub bytes: u64,
    /// Bytes in the repository.
    pub stored_bytes: u64,
    /// Where it is.
    pub repositories: Vec<String>,
    /// When its restore was proven, if it is the last one proven.
    pub proven_at: Option<String>,
    /// What its proof found wrong.
    pub wrong: Vec<String>,
}

/// What a failover would come to right now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// Whether every acknowledged write would survive it; of an asynchronous plan, all but `cost`.
    pub safe_now: bool,
    /// The numbers: standbys, how many acknowledge, how many are there and must be.
    pub because: String,
    /// What an asynchronous plan's failover may lose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its host's name.
    pub host: String,
    /// Its part in replication: `primary`, `standby`, `waiting` to be made anew, or `leaving`.
    pub role: String,
    /// What its agent said last; none before the first word.
    pub state: Option<member::State>,
    /// Its server's process.
    pub pid: Option<u32>,
    /// Where it listens.
    pub address: String,
    /// Where it listens.
    pub port: u16,
    /// Where its files are, by its agent's word.
    pub data_dir: Option<String>,
    /// Digest of the image it runs from.
    pub image: String,
    /// Which data directory is meant.
    pub incarnation: Incarnation,
    /// The goal it should have.
    pub goal: (Term, Revision),
    /// The goal it has.
    pub applied: Option<(Term, Revision)>,
    /// Deaths without an order since its directory was made.
    pub deaths: u32,
    /// The last failure in the server's or the agent's own words.
    pub trouble: Option<String>,
    /// Bytes of the primary's log that it has not flushed, rounded up to a band; none if not known.
    pub lag_bytes: Option<u64>,
    /// Whether commits wait for it.
    pub sync: bool,
    /// Its disk; none if nothing is known of it.
    pub disk: Option<Disk>,
}

/// The disk that a member's data and log are on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What its server does about its room: nothing (`fine`, `warn`), slows commits (`throttle`), takes no
    /// writes (`read_only`).
    pub level: Level,
    /// How large it is.
    pub total_bytes: u64,
    /// What is free at least, by the member's agent.
    pub free_bytes: u64,
    /// When it is full at the earliest, if it goes on as in the last minutes; none: in no month.
    pub full_in_seconds: Option<u64>,
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Its name.
    pub name: String,
    /// Who or what began it.
    pub cause: String,
    /// What it is for.
    pub story: String,
    /// For how long it runs, in milliseconds.
    pub since_ms: Span,
    /// Whether its claim was granted.
    pub claimed: bool,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A step of an operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub progress: Progress,
    /// What is still missing to call it done, by member or gateway; empty unless it is under way.
    pub missing: Vec<String>,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Proven.
    Done,
    /// Ordered, not proven.
    UnderWay,
    /// Its turn will come.
    Ahead,
}

/// A check's negative result, or what the lifecycle itself finds wanting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's name.
    pub check: String,
    /// Its family.
    pub family: Family,
    /// How bad.
    pub severity: Severity,
    /// The service that it is of; none for a host's.
    pub service: Option<String>,
    /// What it is about: a service, member or host.
    pub subject: String,
    /// What was seen.
    pub evidence: String,
    /// What it is about, one by one; empty where the evidence says it all.
    #[serde(default)]
    pub items: Vec<String>,
    /// For how long, in milliseconds.
    pub since_ms: Span,
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
    #[serde(default)]
    pub rack: Option<String>,
    /// Address its members listen on.
    pub address: String,
    /// What is known of it.
    pub state: host::State,
    /// Its agent's process.
    pub pid: Option<u32>,
    /// Its agent's release.
    pub release: String,
    /// Digest of the image that new members run from.
    pub image: Option<String>,
    /// The major release in that image.
    #[serde(default)]
    pub version: Option<String>,
    /// Members it holds.
    pub members: usize,
    /// How long ago it was heard, in milliseconds; none if never since this controller began.
    pub heard_ms: Option<Span>,
    /// Whether it takes no new members.
    pub draining: bool,
    /// The operation under way: a drain.
    pub operation: Option<Operation>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Address it listens on.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// Whether it has every route.
    pub current: bool,
    /// Client connections open now.
    pub open: u64,
    /// How long ago it was heard, in milliseconds.
    pub heard_ms: Span,
}

/// The fleet at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The cell's clock.
    pub now: Time,
    /// Since when this controller decides.
    #[serde(default)]
    pub began: Time,
    /// What bounds automation now, and why.
    pub posture: String,
    /// The fleet brake, while it is on: who put it on and why.
    pub brake: Option<String>,
    /// Services by state, states in the order of the documentation.
    pub services: Vec<(State, usize)>,
    /// Hosts.
    pub hosts: Vec<Host>,
    /// Gateways.
    pub gateways: Vec<Gateway>,
    /// What is not as it should be about the fleet itself.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// Why a service is as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// The service.
    pub service: Service,
    /// What was seen, by whom, when.
    pub observations: Vec<Observation>,
    /// What bounds automation now, and why.
    pub posture: String,
    /// What is decided on it, with the reason.
    pub decision: Decision,
    /// The same in a sentence.
    pub decision_text: String,
}

/// One thing seen. Evidence, never a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Who saw it.
    pub by: String,
    /// About what.
    pub subject: String,
    /// What.
    pub text: String,
    /// How long ago, in milliseconds.
    pub ago_ms: Span,
}

/// How a check of a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Light {
    /// It does not pass, and something is broken or about to be.
    Red,
    /// It does not pass.
    Yellow,
    /// It was not read, or not yet.
    Unread,
    /// It passes.
    Green,
    /// There is nothing for it to look at.
    NotApplicable,
}

/// One check of a service, with what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosed {
    /// The check's name.
    pub check: String,
    /// Its family.
    pub family: Family,
    /// How it stands.
    pub light: Light,
    /// Why so, in a line.
    pub text: String,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
}

/// Every check of a service, with what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The service.
    pub service: String,
    /// Its state.
    pub state: State,
    /// Its checks, by family.
    pub checks: Vec<Diagnosed>,
}
