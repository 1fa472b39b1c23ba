//! What people and machines may order, and why an order is refused.
//!
//! An order is accepted or refused in the turn that takes it in; accepting one records it, the work
//! itself is an operation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::IncidentId;
use crate::automation::Pinned;
use crate::backup::engine::Engine;
use crate::backup::lineage::{Repository, Target};
use crate::drill;
use crate::goal::Password;
use crate::id::{OperationId, ServiceId};
use crate::import::Import;
use crate::maintenance;
use crate::name;
use crate::remedy::Level;
use crate::service::State;
use crate::time::Span;

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// No more hosts will show what they keep: a recovered control plane goes on with those that did.
    Recovered {
        /// How many have, by whoever says so.
        hosts: u32,
    },
    /// A new service.
    Create {
        /// Its name.
        name: String,
        /// Its kind's name.
        kind: String,
        /// Its plan's name; the kind's default if absent.
        plan: Option<String>,
        /// The owner's secret as [`crate::kind::Kind::secret`] packs it. Never the password.
        secret: Vec<u8>,
        /// What its archive is sealed with, where its plan has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keys: Option<Keys>,
    },
    /// Take a backup.
    Backup {
        /// Which service.
        name: String,
        /// For a service that has no key yet.
        keys: Keys,
    },
    /// Prove that its newest backup can be restored.
    Prove {
        /// Which service.
        name: String,
    },
    /// Give up the log that no repository took yet, on all members, and take a new backup.
    GiveUpLog {
        /// Which service.
        name: String,
        /// Its name again.
        confirm: String,
        /// Why, for the journal.
        reason: String,
    },
    /// A new service from another's backup and log.
    Fork {
        /// From which.
        source: String,
        /// The new one's name.
        name: String,
        /// How far.
        target: Target,
        /// The new owner's packed secret.
        secret: Vec<u8>,
        /// What its archive is sealed with.
        keys: Keys,
    },
    /// Put a service back to how it was, in new members.
    Rollback {
        /// Which service.
        name: String,
        /// How far.
        target: Target,
        /// What the new members' archive is sealed with.
        keys: Keys,
    },
    /// A new service from a foreign server.
    Import {
        /// Its name.
        name: String,
        /// Its kind's name.
        kind: String,
        /// Its plan's name; the kind's default if absent.
        plan: Option<String>,
        /// From where and how; the password in it is sealed.
        import: Box<Import>,
        /// The new owner's packed secret.
        secret: Vec<u8>,
        /// What its archive is sealed with.
        keys: Keys,
    },
    /// Have archives go to one repository more.
    AddRepository {
        /// Which.
        repository: Repository,
    },
    /// Have no archive go to a repository any more, nor come from there. What is in it stays.
    RemoveRepository {
        /// Which.
        name: String,
        /// Its name again.
        confirm: String,
    },
    /// Restart its members in an orderly way.
    Restart {
        /// Which service.
        name: String,
    },
    /// Stop it and keep its disks.
    Retire {
        /// Which service.
        name: String,
    },
    /// Serve again after a retirement.
    Revive {
        /// Which service.
        name: String,
        /// What new members' archive is sealed with, where they are made from the archive.
        keys: Option<Keys>,
    },
    /// Keep a retired service's archive only, now.
    Archive {
        /// Which service.
        name: String,
    },
    /// End it and remove everything.
    Terminate {
        /// Which service.
        name: String,
        /// Its name again.
        confirm: String,
    },
    /// Have another member take the primary's place, as if it were lost.
    Failover {
        /// Which service.
        name: String,
        /// Why, for the journal.
        reason: String,
    },
    /// Have another member take the primary's place, in order.
    Switchover {
        /// Which service.
        name: String,
        /// Which member, by its id or its host's name; any if absent.
        to: Option<String>,
    },
    /// A drill was done: what it came to is journalled.
    Drilled {
        /// Which service.
        name: String,
        /// What was exercised.
        drill: String,
        /// The longest time without an acknowledged write, in milliseconds.
        gap_ms: u64,
        /// Acknowledged rows that were missing afterwards.
        lost: u64,
        /// Rows that were acknowledged.
        acked: u64,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// Something about drills.
    #[serde(rename = "drill_act")]
    Drill {
        /// What.
        #[serde(rename = "act")]
        order: drill::Order,
    },
    /// Something about windows and planned work.
    #[serde(rename = "maintenance_act")]
    Maintenance {
        /// What.
        #[serde(rename = "act")]
        order: maintenance::Order,
    },
    /// Set who lets a remedy run, everywhere, for a kind or for one service.
    Level {
        /// Which remedy.
        remedy: String,
        /// For this service only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// For services of this kind only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Which level; `None`: as its file says.
        level: Option<Level>,
    },
    /// Have automation leave a service alone for a while.
    Pin {
        /// Which service.
        name: String,
        /// How far; `None` ends the pin.
        level: Option<Pinned>,
        /// For how long, in milliseconds.
        for_ms: Span,
        /// Why.
        reason: String,
    },
    /// Let a remedy run that waits for a person's yes.
    Approve {
        /// The number of what waits.
        id: u32,
    },
    /// Put the fleet brake on or off.
    Brake {
        /// On or off.
        on: bool,
        /// Why.
        reason: String,
    },
    /// Run a procedure, as planned.
    Procedure {
        /// On which service.
        name: String,
        /// Which procedure.
        procedure: String,
        /// Beside which member, by its id or its host's name; the primary if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
        /// Its parameters, as text.
        parameters: BTreeMap<String, String>,
        /// Whether it only says what it would do.
        dry_run: bool,
    },
    /// Break the glass: a person goes in.
    BreakGlass {
        /// Who, for what, for how long.
        glass: Box<Glass>,
    },
    /// Agree, as a second person, to what somebody broke the glass for.
    ApproveAct {
        /// The act's number.
        act: u32,
        /// Who agrees.
        person: String,
    },
    /// End an act before its time.
    EndAct {
        /// The act's number.
        act: u32,
        /// Who ends it.
        person: String,
    },
    /// Keep what was typed and shown in a shell since the last time.
    RecordAct {
        /// The act's number.
        act: u32,
        /// What was typed.
        typed: String,
        /// What was shown.
        shown: String,
    },
    /// A person knows of an incident.
    Acknowledge {
        /// Which.
        incident: IncidentId,
        /// For the journal, and for whoever looks next.
        note: Option<String>,
    },
    /// Exercise every alert channel now.
    TestAlerts,
    /// Place nothing on a host any more, and empty it.
    Drain {
        /// Which host, by name.
        host: String,
    },
    /// Take a drained host back.
    Return {
        /// Which host, by name.
        host: String,
    },
    /// Forget an empty host.
    RemoveHost {
        /// Which host, by name.
        host: String,
    },
}

/// What somebody breaks the glass for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glass {
    /// On which service.
    pub service: String,
    /// Who.
    pub person: String,
    /// Why, for the journal.
    pub reason: String,
    /// For how long at most.
    pub lasts: Span,
    /// Whether it is for a shell; else a procedure is run.
    pub shell: bool,
    /// Which procedure, or which shell.
    pub procedure: String,
    /// Beside which member, by its id or its host's name; the primary if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The procedure's parameters, as text.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Whether it only says what it would do.
    #[serde(default)]
    pub dry_run: bool,
    /// Who is to agree, where a second person must and it is not to be anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<String>,
}

/// What an archive is sealed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// 32 bytes in hexadecimal.
    pub key: Password,
    /// The same, for the holder of the fleet's recovery key.
    pub wrapped: String,
    /// Who packs what is sealed with it.
    #[serde(default, skip_serializing_if = "Engine::is_default")]
    pub engine: Engine,
}

/// What became of an accepted order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The service concerned, if it is about one.
    pub service: Option<ServiceId>,
    /// The operation that carries it out, if it needs one.
    pub operation: Option<OperationId>,
    /// The job that carries it out, if it is one; a backup's number is the backup's. Of a procedure or a
    /// break-glass: the act's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u32>,
    /// One sentence for people.
    pub text: String,
}

/// Why an order is refused. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "error")]
pub enum Error {
    /// Hosts are still to show what they keep.
    #[error("this control plane is being recovered, and orders nothing before it is: {waits}")]
    Recovering {
        /// What it waits for.
        waits: String,
    },
    /// There is nothing to end.
    #[error("no recovery is under way")]
    NotRecovering,
    /// Other hosts have shown what they keep than somebody thinks.
    #[error(
        "{named} hosts are named, and {shown} have shown what they keep ({waits}); look again, then name \
         that many"
    )]
    OtherHosts {
        /// As named.
        named: u32,
        /// That have.
        shown: u32,
        /// What it waits for.
        waits: String,
    },
    /// Hosts obey another control plane.
    #[error(
        "store {store} has succeeded this control plane, which orders nothing any more; stop it, and go to \
         the one that has that store"
    )]
    Succeeded {
        /// Which.
        store: String,
    },
    /// The name cannot be used.
    #[error("{why}")]
    BadName {
        /// What is wrong and what would do.
        why: String,
    },
    /// A service of that name exists.
    #[error("a service named {name:?} exists already; choose another name or terminate it first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No such service.
    #[error("no service is named {name:?}; `evenkeel list` shows those there are")]
    NoSuchService {
        /// The name.
        name: String,
    },
    /// No such host.
    #[error("no host is named {name:?}; `evenkeel host list` shows those there are")]
    NoSuchHost {
        /// The name.
        name: String,
    },
    /// No such kind.
    #[error("no kind is named {name:?}; there are: {known}")]
    NoSuchKind {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No such plan.
    #[error("kind {kind} has no plan {name:?}; there are: {known}")]
    NoSuchPlan {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Not legal in the state the service is in.
    #[error("{order} is not possible while {name} is {state}")]
    NotNow {
        /// The order.
        order: String,
        /// The service.
        name: String,
        /// Its state.
        state: State,
    },
    /// Another operation is under way and this order does not go before it.
    #[error("{name} is busy with {running} ({operation}); try again when it has ended")]
    Busy {
        /// The service.
        name: String,
        /// What runs.
        running: String,
        /// Its id.
        operation: OperationId,
    },
    /// The confirmation is missing or differs.
    #[error("terminating {name} removes its data for ever; confirm with `--confirm {name}`")]
    Unconfirmed {
        /// The service.
        name: String,
    },
    /// The confirmation is missing or differs.
    #[error(
        "giving up log of {name} leaves a time that cannot be restored; confirm with \
         `--confirm {name}`"
    )]
    Unsure {
        /// The service.
        name: String,
    },
    /// No repository has that name.
    #[error("no repository is named {name}; `evenkeel repository list` shows them")]
    NoSuchRepository {
        /// What was asked for.
        name: String,
    },
    /// The confirmation is missing or differs.
    #[error(
        "nothing is restored from {name} any more once it is removed; confirm with `--confirm {name}`"
    )]
    RepositoryUnsure {
        /// The repository.
        name: String,
    },
    /// Services have nothing else.
    #[error(
        "{name} is the last repository, and of {services} nothing but their archive is left; add another \
         and have it hold what this one does first"
    )]
    LastRepository {
        /// The repository.
        name: String,
        /// Whose only place it is.
        services: String,
    },
    /// The service has no standbys by its plan.
    #[error("{name} has one member by its plan: there is nobody to take its place")]
    NoStandbys {
        /// The service.
        name: String,
    },
    /// No such standby.
    #[error("{name} has no standby {member:?}; `evenkeel show {name}` lists its members and hosts")]
    NoSuchStandby {
        /// The service.
        name: String,
        /// What was asked for.
        member: String,
    },
    /// It might lose acknowledged writes.
    #[error("nobody can take over in {name} without risk of loss: {why}; wait for its standbys")]
    Unsafe {
        /// The service.
        name: String,
        /// The numbers.
        why: String,
    },
    /// Its plan has no archive.
    #[error("{name} has no archive: its plan has none, or it never had a repository to go to")]
    NoArchive {
        /// The service.
        name: String,
    },
    /// No such incident.
    #[error(
        "there is no incident {incident}; `evenkeel incident list --all` shows those there are"
    )]
    NoSuchIncident {
        /// Its number.
        incident: String,
    },
    /// It is over.
    #[error("incident {incident} is closed: there is nothing to acknowledge")]
    IncidentOver {
        /// Its number.
        incident: String,
    },
    /// Nobody can be told.
    #[error("no alert channel is configured; `evenkeel alert --help` tells how to configure one")]
    NoChannels,
    /// The fleet has no repository.
    #[error("the fleet has no repository; add one with `evenkeel repository add NAME --path DIR`")]
    NoRepository,
    /// A repository of that name exists.
    #[error("a repository named {name:?} exists already; `evenkeel repository show {name}`")]
    RepositoryTaken {
        /// The name.
        name: String,
    },
    /// There is nothing to restore.
    #[error("{name} has no backup yet; take one with `evenkeel backup {name} --wait`")]
    NoBackup {
        /// The service.
        name: String,
    },
    /// One job at a time.
    #[error("{name} has {running} under way; try again when it has ended")]
    JobRunning {
        /// The service.
        name: String,
        /// What runs.
        running: String,
    },
    /// Nobody can do the job.
    #[error("no member of {name} can do it now; `evenkeel show {name}` says how they are")]
    NoMember {
        /// The service.
        name: String,
    },
    /// Nothing can be restored to there.
    #[error("{name} cannot be restored to {target}: {why}")]
    Unreachable {
        /// The service.
        name: String,
        /// How far.
        target: String,
        /// Why not.
        why: String,
    },
    /// No such remedy.
    #[error("no remedy is named {name:?}; there are: {known}")]
    NoSuchRemedy {
        /// As given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No procedure has that name.
    #[error("no procedure is named {name:?}; there are: {known}")]
    NoSuchProcedure {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No such question to people.
    #[error("nothing waits for approval {id}; `evenkeel approve` lists what does")]
    NoSuchApproval {
        /// As given.
        id: u32,
    },
    /// A pin that never ends does not exist.
    #[error("a pin lasts between a moment and {max}, not {asked}; name its time with `--for 2h`")]
    PinTooLong {
        /// As given.
        asked: Span,
        /// The longest.
        max: Span,
    },
    /// No act has that number, or it is too long ago.
    #[error(
        "no run or break-glass has the number {id}; `evenkeel breakglass list` shows those kept"
    )]
    NoSuchAct {
        /// What was asked for.
        id: u32,
    },
    /// It cannot be done like that, or not now.
    #[error("{why}")]
    BadAct {
        /// What is wrong, and what would do.
        why: String,
    },
    /// A reason is missing.
    #[error("say why, for the journal: `--reason TEXT`")]
    NoReason,
    /// No planned work has that number.
    #[error(
        "no planned work has the number {id}; `evenkeel maintenance list` shows what is planned"
    )]
    NoSuchPlanned {
        /// What was asked for.
        id: u32,
    },
    /// A service has as much planned as it may.
    #[error("{name} has {max} pieces of work planned already; cancel one, or let one go")]
    TooMuchPlanned {
        /// The service.
        name: String,
        /// How many there may be.
        max: usize,
    },
    /// A day that lies behind.
    #[error("it would be required by {by}, which lies behind; name a day to come, or run it now")]
    DayPast {
        /// The day.
        by: String,
    },
    /// Planned work is under way.
    #[error("{name} has planned work {id} under way; it can be neither changed nor cancelled")]
    PlannedRuns {
        /// The service.
        name: String,
        /// Its number.
        id: u32,
    },
    /// Such a drill cannot be scheduled or begun.
    #[error("{name} cannot have a {drill} drill: {why}")]
    NoDrill {
        /// The service.
        name: String,
        /// What would be exercised.
        drill: String,
        /// Why not, and what would do.
        why: String,
    },
    /// No drill runs.
    #[error("no drill runs on {name}; `evenkeel drill results {name}` shows what there was")]
    NoDrillRuns {
        /// The service.
        name: String,
    },
    /// No host can take a member.
    #[error("{why}")]
    Nowhere {
        /// Every host's reason.
        why: String,
    },
    /// Every port of the range is taken.
    #[error("no port is free between {first} and {last}; terminate services or widen the range")]
    PortsUsedUp {
        /// First of the range.
        first: u16,
        /// Last of the range.
        last: u16,
    },
    /// The host still holds members.
    #[error("host {name} still holds {members} members; drain it or terminate them first")]
    HostNotEmpty {
        /// The host.
        name: String,
        /// How many.
        members: usize,
    },
}

impl Error {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Recovering { .. } => "recovering",
            Self::NotRecovering => "not_recovering",
            Self::OtherHosts { .. } => "other_hosts",
            Self::Succeeded { .. } => "succeeded",
            Self::BadName { .. } => "bad_name",
            Self::NameTaken { .. } => "name_taken",
            Self::NoSuchService { .. } => "no_such_service",
            Self::NoSuchHost { .. } => "no_such_host",
            Self::NoSuchKind { .. } => "no_such_kind",
            Self::NoSuchPlan { .. } => "no_such_plan",
            Self::NoSuchRemedy { .. } => "no_such_remedy",
            Self::NoSuchApproval { .. } => "no_such_approval",
            Self::PinTooLong { .. } => "pin_too_long",
            Self::NotNow { .. } => "not_now",
            Self::Busy { .. } => "busy",
            Self::Unconfirmed { .. } | Self::Unsure { .. } | Self::RepositoryUnsure { .. } => {
                "unconfirmed"
            }
            Self::NoSuchRepository { .. } => "no_such_repository",
            Self::LastRepository { .. } => "last_repository",
            Self::NoStandbys { .. } => "no_standbys",
            Self::NoSuchStandby { .. } => "no_such_standby",
            Self::Unsafe { .. } => "unsafe",
            Self::NoArchive { .. } => "no_archive",
            Self::NoRepository => "no_repository",
            Self::NoSuchIncident { .. } => "no_such_incident",
            Self::IncidentOver { .. } => "incident_over",
            Self::NoChannels => "no_channels",
            Self::RepositoryTaken { .. } => "repository_taken",
            Self::NoBackup { .. } => "no_backup",
            Self::JobRunning { .. } => "job_running",
            Self::NoMember { .. } => "no_member",
            Self::Unreachable { .. } => "unreachable_target",
            Self::NoReason => "no_reason",
            Self::NoSuchPlanned { .. } => "no_such_planned",
            Self::TooMuchPlanned { .. } => "too_much_planned",
            Self::DayPast { .. } => "day_past",
            Self::PlannedRuns { .. } => "planned_runs",
            Self::NoDrill { .. } => "no_drill",
            Self::NoDrillRuns { .. } => "no_drill_runs",
            Self::NoSuchProcedure { .. } => "no_such_procedure",
            Self::NoSuchAct { .. } => "no_such_act",
            Self::BadAct { .. } => "bad_act",
            Self::Nowhere { .. } => "nowhere",
            Self::PortsUsedUp { .. } => "ports_used_up",
            Self::HostNotEmpty { .. } => "host_not_empty",
        }
    }
}

impl From<name::Error> for Error {
    fn from(error: name::Error) -> Self {
        Self::BadName { why: error.to_string() }
    }
}
