//! Operations: durable, resumable pieces of work on a service, as steps that are data.
//!
//! Each operation is one file with one [`Spec`], readable top-down like a runbook: what each step
//! orders, what proves it done, how long that may take, what happens past that, and what the step
//! becomes if the member dies meanwhile. The cell executes them; nothing else knows any by name.

mod archive;
mod drain;
mod failover;
mod fork;
mod import;
mod install;
mod procedure;
mod rebuild;
mod recover;
mod rejoin;
mod relax;
mod restart;
mod restore;
mod retire;
mod revive;
mod switchover;
mod terminate;

use serde::{Deserialize, Serialize};

use crate::claim::Lane;
use crate::goal::StopMode;
use crate::id::{HostId, MemberId, OperationId};
use crate::procedure::Script;
use crate::service::phase;
use crate::time::{Span, Time};

/// A script that was ended as its time was over is told of within this.
const SCRIPT_GRACE: Span = Span::secs(60);

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Place, initialise, start, open.
    Install,
    /// Restart in an orderly way.
    Restart,
    /// Restart what is broken, hard.
    Recover,
    /// Close, stop, seal.
    Retire,
    /// Unseal, start, open.
    Revive,
    /// Remove the members of what is wholly in its archive.
    Archive,
    /// Close, stop, remove.
    Terminate,
    /// Make a service from another's archive.
    Fork,
    /// Make a service from a foreign server.
    Import,
    /// Empty a host.
    Drain,
    /// Another member takes the primary's place, which is lost.
    Failover,
    /// Another member takes the primary's place, in order.
    Switchover,
    /// Have a former primary follow.
    Rejoin,
    /// Make another standby in the place of one that is lost.
    Rebuild,
    /// Count no longer on who is not there.
    Relax,
    /// Count on who is there again.
    Restore,
    /// Run a script beside a member's server.
    Procedure,
}

/// What a step wants of the world. Every effect is an "ensure": safe to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Members run.
    Run,
    /// The primary runs; standbys are made from it later.
    RunPrimary,
    /// Standbys follow; those that cannot as they are are made anew.
    Follow,
    /// Commits wait for those who are there, and nobody else.
    Count,
    /// A new term: members follow nobody, the primary is stopped hard.
    Recruit,
    /// A new term: the primary is stopped in order, and its standbys get all of its log meanwhile.
    HandOver,
    /// They follow nobody any more, in the same term.
    RecruitOthers,
    /// The member that must be promoted is.
    Promote,
    /// A member that is lost gives its place to a new one on another host.
    Replace,
    /// The service it is made from archives all that it wrote so far.
    Flush,
    /// Members restart once, by this mode.
    Restart(StopMode),
    /// The endpoint leads to the primary.
    OpenEndpoint,
    /// The endpoint is closed.
    CloseEndpoint,
    /// The service it is made from gives it its name and endpoint.
    TakePlace,
    /// The primary writes what its stop would have to write.
    Checkpoint,
    /// The pooled endpoint has transactions wait, until another member takes clients.
    Pause,
    /// Members stop cleanly.
    Stop,
    /// Members are sealed.
    Seal,
    /// Members' directories are removed.
    Remove,
    /// The same, of all but the primary.
    RemoveStandbys,
    /// The host takes no new members.
    CloseHost,
    /// The host's members go elsewhere.
    EmptyHost,
    /// A script runs beside a member's server, once.
    Script,
}

/// The observation that proves a step done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The primary applied the goal, and a write was acknowledged since its process started.
    Writing,
    /// Every standby receives the primary's log.
    Following,
    /// The set that was wanted is proven in force.
    Counted,
    /// The primary has written a checkpoint.
    Checkpointed,
    /// Every pooler that is heard has its clients wait, or does not run.
    Paused,
    /// The primary has stopped and said where its log ends; or it is not heard any more.
    HandedOver,
    /// Those recruited cover everything that may have been acknowledged.
    Covered,
    /// Every gateway that is heard took the routes.
    Routed,
    /// Its agent looked at the foreign server and says how it is imported.
    Chosen,
    /// Its source's log is archived up to when the step began; or its source does not serve.
    Flushed,
    /// Every member applied the goal and is stopped.
    Stopped,
    /// Every member applied the goal and is sealed.
    Sealed,
    /// Every member applied the goal and is gone.
    Gone,
    /// The same, of all but the primary.
    StandbysGone,
    /// The host takes no new members.
    HostClosed,
    /// The host holds no members.
    HostEmpty,
    /// The script ended and says that it did what it is for.
    Scripted,
}

/// What happens when a step's deadline passes without its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Past {
    /// Order it again, so many times, then page and go on waiting; its proof still ends it.
    Insist {
        /// Times it is ordered again before the page.
        tries: u8,
    },
    /// Page and give the operation up; the service serves as well as it can.
    GiveUp,
    /// Note it and go on: the step improves things and nothing rests on it.
    GoOn,
}

/// What a step becomes if a member is confirmed dead while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeath {
    /// The same: the agent starts what died, or the step wants it dead anyway.
    Continue,
    /// The operation ends and the remedies have the service.
    HandOver,
}

/// One step of a runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name for people.
    pub name: &'static str,
    /// What it orders.
    pub order: Effect,
    /// What proves it.
    pub proof: Proof,
    /// How long that may take.
    pub deadline: Span,
    /// What happens past that.
    pub past: Past,
    /// What it becomes when a member dies.
    pub on_death: OnDeath,
}

/// An operation's runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Which.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// What it is for, as a sentence.
    pub story: &'static str,
    /// Which share its claim is taken from.
    pub lane: Lane,
    /// The phase event it begins with.
    pub begins: Option<phase::Event>,
    /// The phase event its last proof is, if it moves its service's phase.
    pub ends: Option<phase::Event>,
    /// Seconds of write outage it is expected to cost.
    pub outage_seconds: u32,
    /// Minutes a person would need for the same, for the toil ledger.
    pub manual_minutes: u16,
    /// The steps, in order.
    pub steps: &'static [Step],
}

/// Every operation; a new one is a file and a line here.
pub const SPECS: &[&Spec] = &[
    &install::SPEC,
    &fork::SPEC,
    &import::SPEC,
    &restart::SPEC,
    &recover::SPEC,
    &retire::SPEC,
    &revive::SPEC,
    &archive::SPEC,
    &terminate::SPEC,
    &drain::SPEC,
    &failover::SPEC,
    &switchover::SPEC,
    &rejoin::SPEC,
    &rebuild::SPEC,
    &relax::SPEC,
    &restore::SPEC,
    &procedure::SPEC,
];

/// An operation's runbook by its kind.
///
/// # Panics
/// Never: the registry's test proves every kind present.
#[must_use]
pub fn spec(kind: Kind) -> &'static Spec {
    SPECS.iter().find(|s| s.kind == kind).expect("every kind is in the registry")
}

/// Why an operation runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody ordered it.
    Order {
        /// Who.
        by: Box<str>,
    },
    /// A remedy.
    Remedy {
        /// Which.
        name: Box<str>,
    },
}

impl Cause {
    /// The remedy, if it is one.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Remedy { name } => Some(name),
            Self::Order { .. } => None,
        }
    }
}

/// An operation under way, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Which runbook.
    pub kind: Kind,
    /// Why.
    pub cause: Cause,
    /// Which member it is about, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// The script that it runs, if it is a procedure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<Script>>,
    /// The host whose share its claim is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<HostId>,
    /// The image whose share its claim is taken from, by place among the cell's.
    #[serde(default)]
    pub image: u16,
    /// When it was accepted.
    pub begun: Time,
    /// Whether its claim was granted; until then no step began.
    pub claimed: bool,
    /// The step it is at.
    pub step: u8,
    /// When that step was ordered last.
    pub ordered: Time,
    /// The sequence of the routes that have to be taken for that; 0: of none. It is stored, as another
    /// controller may go on with the step before any gateway took them.
    #[serde(default, skip_serializing_if = "none")]
    pub routes: u64,
    /// How often it was ordered again.
    pub tries: u8,
    /// Whether a person was told that it is late.
    pub paged: bool,
}

/// Whether no routes are waited for.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn none(routes: &u64) -> bool {
    *routes == 0
}

impl Operation {
    /// Its runbook.
    #[must_use]
    pub fn spec(&self) -> &'static Spec {
        spec(self.kind)
    }

    /// The step it is at.
    ///
    /// # Panics
    /// Never: the cell ends an operation with its last step.
    #[must_use]
    pub fn at(&self) -> &'static Step {
        &self.spec().steps[usize::from(self.step)]
    }

    /// When the step it is at is late.
    #[must_use]
    pub fn due(&self) -> Time {
        // Who runs a script ends it in time, and has to be heard then.
        match &self.script {
            Some(script) => self.ordered + script.limit + SCRIPT_GRACE,
            None => self.ordered + self.at().deadline,
        }
    }

    /// Which share its claim is taken from: a script's is its procedure's to say.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match &self.script {
            Some(script) if !script.code.disruptive => Lane::Free,
            _ => self.spec().lane,
        }
    }
}

/// Whether an order may push a running operation aside. A person's end of a service goes before
/// everything; its retirement before anything that keeps it running; the loss of a primary before what
/// only improves things.
#[must_use]
pub const fn preempts(order: Kind, running: Kind) -> bool {
    let beside = matches!(running, Kind::Rejoin | Kind::Rebuild | Kind::Relax | Kind::Restore);
    let repairs = beside || matches!(running, Kind::Restart | Kind::Recover | Kind::Procedure);
    match order {
        Kind::Terminate => !matches!(running, Kind::Terminate),
        Kind::Retire => repairs || matches!(running, Kind::Revive),
        Kind::Revive => matches!(running, Kind::Retire),
        Kind::Failover => repairs,
        Kind::Switchover | Kind::Restart => beside,
        Kind::Recover => beside || matches!(running, Kind::Procedure),
        // A script may take hours; commits that wait, and copies that are missing, do not wait for it.
        Kind::Relax | Kind::Restore | Kind::Rejoin | Kind::Rebuild => {
            matches!(running, Kind::Procedure)
        }
        Kind::Install
        | Kind::Fork
        | Kind::Import
        | Kind::Archive
        | Kind::Drain
        | Kind::Procedure => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_sound() {
        let kinds = [
            Kind::Install,
            Kind::Fork,
            Kind::Import,
            Kind::Restart,
            Kind::Recover,
            Kind::Retire,
            Kind::Revive,
            Kind::Archive,
            Kind::Terminate,
            Kind::Drain,
            Kind::Failover,
            Kind::Switchover,
            Kind::Rejoin,
            Kind::Rebuild,
            Kind::Relax,
            Kind::Restore,
            Kind::Procedure,
        ];
        for kind in kinds {
            assert_eq!(SPECS.iter().filter(|s| s.kind == kind).count(), 1, "{kind:?}");
            let spec = spec(kind);
            assert!(spec.story.ends_with('.'), "{}", spec.name);
            assert!(!spec.steps.is_empty() && spec.steps.len() < 16, "{}", spec.name);
            for step in spec.steps {
                assert!(step.deadline > Span(0), "{}: {}", spec.name, step.name);
            }
        }
        assert_eq!(SPECS.len(), kinds.len());
    }

    #[test]
    fn only_steps_that_rebuild_nothing_go_on_unproven() {
        for spec in SPECS {
            for step in spec.steps.iter().filter(|s| s.past == Past::GoOn) {
                use Proof as P;
                let improves = matches!(
                    step.proof,
                    P::Routed | P::HandedOver | P::Checkpointed | P::Paused | P::Flushed
                );
                assert!(improves, "{}: {}", spec.name, step.name);
            }
        }
    }

    #[test]
    fn what_is_asked_of_hosts_and_of_services_is_never_mixed() {
        for spec in SPECS {
            for step in spec.steps {
                let host = matches!(step.order, Effect::CloseHost | Effect::EmptyHost);
                assert_eq!(host, spec.kind == Kind::Drain, "{}: {}", spec.name, step.name);
                let proof = matches!(step.proof, Proof::HostClosed | Proof::HostEmpty);
                assert_eq!(host, proof, "{}: {}", spec.name, step.name);
            }
        }
    }

    #[test]
    fn nothing_pushes_a_termination_aside() {
        for spec in SPECS {
            assert!(!preempts(spec.kind, Kind::Terminate), "{}", spec.name);
        }
    }
}
