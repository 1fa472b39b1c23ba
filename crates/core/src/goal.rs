//! What a controller wants of one member: declarative, whole, and fenced by (term, revision).
//!
//! Invariants: a goal carries the service's identity, so that a burnt control plane can be rebuilt
//! from its hosts; an agent acts on a goal only after [`accept`] said so and the goal is on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backup::job::Job;
use crate::backup::lineage::{Archive, Seed};
use crate::digest::Digest;
use crate::id::{HostId, Incarnation, MemberId, Revision, ServiceId, Term};
use crate::import::Import;
use crate::name::ServiceName;
use crate::procedure::Script;
use crate::promise::{Copy, Set};
use crate::time::Span;

/// The identity of one control plane's store; a rebuilt or restored store takes a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(pub String);

/// Who a member belongs to, enough to rebuild the service's row from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The service.
    pub service: ServiceId,
    /// Its name.
    pub name: ServiceName,
    /// Its kind's name.
    pub kind: String,
    /// Its plan's name.
    pub plan: String,
    /// The port of its stable endpoint.
    pub endpoint_port: u16,
    /// Every member and where it lives.
    pub members: Vec<(MemberId, HostId)>,
    /// Which key its secrets are sealed with.
    pub key: String,
}

/// A login that the service's owner holds. The agent never sees the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Role name.
    pub role: String,
    /// What the server stores: a SCRAM verifier for PostgreSQL.
    pub verifier: String,
}

/// Whether and how a member's process should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Initialised if need be, started, kept running.
    Running,
    /// Stopped cleanly, directory kept.
    Stopped,
    /// Stopped, and sealed against being started.
    Sealed,
    /// Stopped and its directory removed. Only a person's order leads here.
    Removed,
}

/// A member's part in replication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes writes, and is promoted first where it followed before.
    Primary {
        /// Whose acknowledgement a commit waits for.
        set: Set,
        /// Which change of the set within the term this is; a confirmation names it.
        change: u32,
        /// Who may replicate from it.
        followers: Vec<Follower>,
    },
    /// Follows a primary, and is made from it if need be.
    Standby {
        /// Whom.
        upstream: Upstream,
    },
    /// Follows nobody: a standby says how far it got, a primary is stopped first.
    Recruit,
}

impl Role {
    /// Takes writes, and waits for nobody.
    #[must_use]
    pub fn alone() -> Self {
        Self::Primary { set: Set::nobody(), change: 0, followers: Vec::new() }
    }
}

/// A copy that may replicate from a primary, by a login that is nobody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    /// Which.
    pub copy: Copy,
    /// How it logs in. The role's name is its slot's and its name in the synchronous set too.
    pub login: Login,
}

/// Whom a standby follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Which copy.
    pub copy: Copy,
    /// Where it listens.
    pub address: String,
    /// Where it listens.
    pub port: u16,
    /// The follower's role there.
    pub role: String,
    /// Its password.
    pub password: Password,
}

/// A password on its way to who needs it; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a password)")
    }
}

/// How hard a restart or stop is allowed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Sessions end, a checkpoint is written. What is planned uses this.
    Fast,
    /// No checkpoint; the next start recovers. What is broken gets this.
    Immediate,
}

/// The agent's own permission to restart what died, from the remedy `restart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartBudget {
    /// Restarts allowed within `window`; the next death is a crash loop.
    pub tries_max: u8,
    /// The window the tries are counted in.
    pub window: Span,
    /// Wait before the second restart, doubled for each further one. The first is at once.
    pub backoff: Span,
}

/// What a controller wants of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// The store that issued it.
    pub store: StoreId,
    /// The stores which that one succeeded: what was made by their order is its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub succeeds: Vec<StoreId>,
    /// Who the member belongs to.
    pub identity: Arc<Identity>,
    /// The member.
    pub member: MemberId,
    /// The data directory meant. A directory of another incarnation refuses the goal.
    pub incarnation: Incarnation,
    /// The service's term.
    pub term: Term,
    /// Grows with every change of this goal within a term.
    pub revision: Revision,
    /// Running or not.
    pub want: Want,
    /// Its part in replication.
    pub role: Role,
    /// Digest of the image it runs from.
    pub image: String,
    /// Address its server listens on.
    pub address: String,
    /// Port its server listens on.
    pub port: u16,
    /// Server settings, as the kind's plan gives them; one for all members of a plan.
    pub settings: Arc<BTreeMap<String, String>>,
    /// The owner's logins.
    pub logins: Vec<Login>,
    /// Grows by one for each restart ordered; the agent restarts once per value.
    pub restarts: u32,
    /// How the newest ordered restart or stop is done.
    pub stop: StopMode,
    /// It will be stopped soon: what a stop has to write is written before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_soon: bool,
    /// As a primary whom nobody's acknowledgement ties: it takes no writes once it has heard neither its
    /// controller nor a standby for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Span>,
    /// The agent's own budget of restarts.
    pub budget: RestartBudget,
    /// Where its log and backups go; `None`: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Box<Archive>>,
    /// Grows by one for each time that everything written so far is to be archived at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flush: u32,
    /// What its first directory is made from as a primary; `None`: from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Box<Seed>>,
    /// The foreign server that its first directory is made from as a primary; `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Box<Import>>,
    /// What is to be done beside its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<Job>>,
    /// The script that runs beside its server, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<Script>>,
}

impl Goal {
    /// Whether its member is to take writes.
    #[must_use]
    pub const fn takes_writes(&self) -> bool {
        matches!(self.role, Role::Primary { .. })
    }

    /// The owner's role, and the name of its database: that of its service, or of the one it was
    /// restored from.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.logins.first().map_or(self.identity.name.as_str(), |login| &login.role)
    }

    /// The copy meant.
    #[must_use]
    pub const fn copy(&self) -> Copy {
        Copy { member: self.member, incarnation: self.incarnation }
    }

    /// Whether its service has other members: then clients are let in only when that is safe.
    #[must_use]
    pub fn has_siblings(&self) -> bool {
        self.identity.members.len() > 1
    }

    /// Digest of what is prepared in a server: the owner's logins and those of its followers.
    #[must_use]
    pub fn accounts(&self) -> Digest {
        let followers = match &self.role {
            Role::Primary { followers, .. } => followers.as_slice(),
            Role::Standby { .. } | Role::Recruit => &[],
        };
        Digest::of_json(&(&self.identity.name, &self.logins, followers))
    }

    /// Digest of the whole goal: equal (term, revision) must mean equal digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What an agent keeps beside a member's data, synced before it acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The directory's incarnation.
    pub incarnation: Incarnation,
    /// No goal of an older term is obeyed.
    pub pledged: Term,
    /// The newest goal accepted.
    pub goal: Arc<Goal>,
}

/// Why an agent does not obey a goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The directory was made anew since.
    #[error("goal is for incarnation {goal}, the directory is {directory}")]
    Incarnation {
        /// In the goal.
        goal: Incarnation,
        /// On disk.
        directory: Incarnation,
    },
    /// An older term than pledged, or an older revision than applied.
    #[error("goal {goal_term}/{goal_revision} is older than {term}/{revision}")]
    Stale {
        /// In the goal.
        goal_term: Term,
        /// In the goal.
        goal_revision: Revision,
        /// On disk.
        term: Term,
        /// On disk.
        revision: Revision,
    },
    /// The same (term, revision) with other content: two controllers, or a restored store.
    #[error("goal {term}/{revision} was already applied with other content")]
    Forked {
        /// Of both.
        term: Term,
        /// Of both.
        revision: Revision,
    },
}

/// What to do with a goal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Write it down, then act.
    New,
    /// Known already: report again.
    Known,
}

/// Whether an agent obeys a goal. Refused goals are reported, never obeyed.
///
/// # Errors
/// [`Refusal`] names both sides of what does not fit.
pub fn accept(applied: Option<&Applied>, goal: &Goal) -> Result<Accept, Refusal> {
    let Some(applied) = applied else { return Ok(Accept::New) };
    let mine = (applied.goal.term, applied.goal.revision);
    let theirs = (goal.term, goal.revision);
    // A member is made anew by a newer goal that says so, and only as a standby: from a primary.
    let remade = goal.incarnation > applied.incarnation
        && theirs > mine
        && matches!(goal.role, Role::Standby { .. });
    if goal.incarnation != applied.incarnation && !remade {
        return Err(Refusal::Incarnation {
            goal: goal.incarnation,
            directory: applied.incarnation,
        });
    }
    if goal.term < applied.pledged || theirs < mine {
        return Err(Refusal::Stale {
            goal_term: goal.term,
            goal_revision: goal.revision,
            term: applied.pledged.max(applied.goal.term),
            revision: applied.goal.revision,
        });
    }
    if theirs > mine {
        return Ok(Accept::New);
    }
    if *goal == *applied.goal {
        return Ok(Accept::Known);
    }
    Err(Refusal::Forked { term: goal.term, revision: goal.revision })
}
