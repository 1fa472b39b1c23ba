//! What people and machines may order, and why an order is refused.
//!
//! An order is accepted or refused in the turn that takes it in; accepting one records it, the work
//! itself is an operation.

mod error;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::Error;

use crate::alert::IncidentId;
use crate::automation::Pinned;
use crate::backup::engine::Engine;
use crate::backup::lineage::{Repository, Target};
use crate::drill;
use crate::goal::Password;
use crate::id::{OperationId, ServiceId};
use crate::import::Import;
use crate::maintenance;
use crate::remedy::Level;
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
