//! Why an order is refused: a code for programs, a sentence with the fix for people.

use serde::{Deserialize, Serialize};

use crate::id::OperationId;
use crate::name;
use crate::service::State;
use crate::time::Span;

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
