//! Deciding: everything in by argument, always a reason out.
//!
//! `decide` looks at one service and says what to do about it: hold, with the reason; ask
//! witnesses; or act, by a plan that names its evidence. It is run again whenever something about
//! the service changed and each time somebody asks why, so an explanation can never differ from
//! what was decided.
//!
//! What this slice can repair is a single member where its files are. What it cannot repair - the
//! only copy lies on a host that nobody reaches - is held and told to a person, never guessed at.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::automation::{Approval, Pin, Pinned};
use crate::claim;
use crate::id::{HostId, MemberId};
use crate::knowing::Verdict;
use crate::member;
use crate::operation::{self, Kind};
use crate::promise::Missing;
use crate::remedy::{Condition, Course, Facts, Found, Level, Remedies, Remedy, Spent};
use crate::service::{Health, Phase};
use crate::time::{Span, Time};

/// Everything a decision rests on.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The moment.
    pub now: Time,
    /// What the service is doing.
    pub phase: Phase,
    /// How it looks.
    pub health: Health,
    /// The operation under way.
    pub operation: Option<Underway>,
    /// The member that takes writes.
    pub primary: Primary,
    /// What its standbys are good for; `None` for a service without any.
    pub redundancy: Option<Redundancy>,
    /// What the witnesses' answers add up to, while the primary is in doubt.
    pub verdict: Option<Verdict>,
    /// Whom to ask about it.
    pub witnesses: Vec<HostId>,
    /// The remedies there are, and what people and the fleet say of them.
    pub automation: &'a dyn Automation,
    /// When remedies ran for this service, oldest first.
    pub runs: &'a [Run],
}

/// What bears on whether a remedy may run for one service: looked up when one applies, as most services
/// need none.
pub trait Automation: fmt::Debug {
    /// The remedies there are.
    fn remedies(&self) -> &Remedies;
    /// The level of one of them for this service.
    fn level(&self, remedy: &Remedy) -> Level;
    /// Somebody wants it left alone.
    fn pin(&self) -> Option<&Pin>;
    /// A remedy that waits for a yes, or has it.
    fn approval(&self) -> Option<&Approval>;
    /// For how many services a remedy is under way.
    fn running(&self, remedy: &str) -> u16;
    /// The fleet's posture, by its name in guards.
    fn posture(&self) -> &'static str;
    /// The service's kind and plan.
    fn offer(&self) -> (&str, &str);
    /// How many members it has.
    fn members(&self) -> usize;
    /// Its findings, by the check's name.
    fn findings(&self) -> BTreeMap<String, Found>;
    /// Whether a claim would be granted to a remedy now; what it may push aside does not stand in its way.
    ///
    /// # Errors
    /// Why not.
    fn claim(&self, remedy: &Remedy) -> Result<(), claim::Refusal>;
}

/// What a service's standbys are good for, and what they lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redundancy {
    /// Whether a failover right now would lose nothing.
    pub safe: Result<(), Missing>,
    /// There was a failover, and not every standby is back since.
    pub failed_over: bool,
    /// Nobody is primary: members were recruited, and nobody was promoted.
    pub recruiting: bool,
    /// A standby that is counted on has been gone for long enough.
    pub relax: bool,
    /// A standby follows and is not counted on.
    pub restore: bool,
    /// A member waits to be made anew, and may be.
    pub rejoin: bool,
    /// A member is away for long enough to have its place taken.
    pub rebuild: bool,
}

/// One run of a remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Which remedy.
    pub remedy: Box<str>,
    /// When.
    pub at: Time,
}

/// An operation as a decision sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underway {
    /// Which.
    pub kind: Kind,
    /// Its claim: granted, or why not.
    pub claim: Result<(), claim::Refusal>,
    /// The step it is at.
    pub step: &'static str,
    /// When that step is late.
    pub due: Time,
    /// Whether it is late and a person was told.
    pub paged: bool,
}

/// The primary as a decision sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Primary {
    /// The member.
    pub member: MemberId,
    /// Its host.
    pub host: HostId,
    /// Whether its agent is heard.
    pub agent: Hearing,
    /// What its agent said last.
    pub state: Option<member::State>,
    /// Since when that was so.
    pub since: Time,
}

/// An agent that starts what died has done so within this; one that has not waits before it does.
pub const RESTART_MAX: Span = Span::millis(300);

/// Whether an agent is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It is, and has reported its members.
    Heard,
    /// This controller has just begun, or the agent has just dialled in: its word is to come.
    Awaited,
    /// It is not.
    Silent,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing is done now, for this reason.
    Hold(Reason),
    /// Witnesses are asked.
    Ask {
        /// About whom.
        about: MemberId,
        /// Who is asked; empty if there is nobody else.
        of: Vec<HostId>,
    },
    /// This is done.
    Act(Plan),
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is nothing to do.
    Healthy,
    /// The service is meant not to serve.
    Resting,
    /// An operation's step is under way.
    StepUnderWay {
        /// The operation.
        operation: Kind,
        /// The step.
        step: String,
        /// How long until it is late; zero when it is.
        late_in: Span,
    },
    /// An operation waits for its claim.
    ClaimRefused(claim::Refusal),
    /// The agent brings the member up by itself.
    AgentActs {
        /// What the member is doing.
        state: Option<member::State>,
    },
    /// Its agent's word is to come: this controller has just begun, or the agent just dialled in.
    AgentAwaited,
    /// Its process answers, a write is still to be proven.
    AwaitingWrite,
    /// The agent is silent and witnesses reach the member: it serves, nothing may be disturbed.
    MemberServes,
    /// Some witnesses reach it, some do not.
    WitnessesDisagree,
    /// It is down, and the only copy is where nobody can act.
    OnlyCopyOutOfReach,
    /// It is down, and those who are left may lack what it acknowledged.
    NotCovered {
        /// What it would take.
        missing: Missing,
    },
    /// It is down, and was failed over before: not again by itself until every standby is back.
    NotRedundantYet,
    /// A remedy would help and waits for a person's yes.
    AwaitsPerson {
        /// Which.
        remedy: String,
    },
    /// A remedy ran a moment ago.
    Cooldown {
        /// Which.
        remedy: String,
        /// How long it waits.
        for_another: Span,
    },
    /// A remedy's tries are used up: a person is told.
    BudgetSpent {
        /// Which.
        remedy: String,
    },
    /// No remedy is declared for what is seen: a person is told.
    NoRemedy {
        /// For what.
        condition: Condition,
    },
    /// A remedy would help; it is only named, as its level says.
    Suggested {
        /// Which.
        remedy: String,
    },
    /// Somebody pinned the service.
    Pinned {
        /// The remedy that would have run.
        remedy: String,
        /// How far automation may go.
        level: Pinned,
        /// Who said so.
        by: String,
        /// Why.
        reason: String,
        /// For how long.
        for_another: Span,
    },
    /// The fleet's posture forbids it.
    PostureForbids {
        /// The remedy that would have run.
        remedy: String,
        /// The posture.
        posture: String,
    },
    /// The remedy is under way for as many services as its budget allows at once.
    FleetShare {
        /// Which.
        remedy: String,
        /// For how many.
        running: u16,
        /// Allowed.
        max: u16,
    },
}

/// What is done, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The remedy that says so.
    pub remedy: String,
    /// What it does.
    pub course: Course,
    /// What was seen.
    pub evidence: Vec<String>,
    /// Seconds of write outage it is expected to cost.
    pub outage_seconds: u32,
    /// Members touched.
    pub members_touched: u8,
    /// Minutes a person would need for the same.
    pub manual_minutes: u16,
}

/// Decides about one service.
#[must_use]
pub fn decide(input: &Input<'_>) -> Decision {
    if let Some(plan @ Decision::Act(_)) = lost(input) {
        return plan;
    }
    if let Some(plan) = repair(input) {
        return Decision::Act(plan);
    }
    if let Some(operation) = &input.operation {
        return Decision::Hold(match &operation.claim {
            Err(refusal) => Reason::ClaimRefused(refusal.clone()),
            Ok(()) => Reason::StepUnderWay {
                operation: operation.kind,
                step: operation.step.to_owned(),
                late_in: operation.due.since(input.now),
            },
        });
    }
    if input.phase != Phase::Serving {
        return Decision::Hold(Reason::Resting);
    }
    if let Some(decision) = lost(input) {
        return decision;
    }
    match input.primary.agent {
        Hearing::Heard => by_its_agent(input),
        Hearing::Awaited => Decision::Hold(Reason::AgentAwaited),
        Hearing::Silent => by_witnesses(input),
    }
}

/// The primary is lost, and others can take its place: that goes before whatever only improves things.
fn lost(input: &Input<'_>) -> Option<Decision> {
    let redundancy = input.redundancy.as_ref().filter(|_| input.phase == Phase::Serving)?;
    let running = input.operation.as_ref().map(|operation| operation.kind);
    if running.is_some_and(|running| !operation::preempts(Kind::Failover, running)) {
        return None;
    }
    if redundancy.recruiting {
        return Some(remedy(input, Condition::PrimaryLost, vec!["nobody is primary".to_owned()]));
    }
    let mut evidence = match (&input.verdict, input.primary.agent, input.primary.state) {
        (_, Hearing::Heard, Some(member::State::CrashLooping)) => {
            vec!["its agent: it died too often".to_owned()]
        }
        // The first restart is at once; before a later one its agent waits, and others need not.
        (_, Hearing::Heard, Some(member::State::Failed))
            if input.now.since(input.primary.since) >= RESTART_MAX =>
        {
            vec!["its agent: it died again, and is started again only after a while".to_owned()]
        }
        (Some(Verdict::Down(seen)), Hearing::Silent, _)
        | (Some(Verdict::Down(seen)), Hearing::Heard, Some(member::State::Hung)) => {
            seen.iter().map(|s| crate::knowing::describe(s, input.now)).collect()
        }
        _ => return None,
    };
    if let Err(missing) = &redundancy.safe {
        // Where its agent is heard the primary itself can be repaired.
        let silent = input.primary.agent == Hearing::Silent;
        return silent.then(|| Decision::Hold(Reason::NotCovered { missing: missing.clone() }));
    }
    if redundancy.failed_over {
        return Some(Decision::Hold(Reason::NotRedundantYet));
    }
    evidence.push("those who are left cover all that was promised".to_owned());
    Some(remedy(input, Condition::PrimaryLost, evidence))
}

/// A primary that needs a repair where it is goes before what only improves things beside it, which
/// may well wait for it.
fn repair(input: &Input<'_>) -> Option<Plan> {
    let running = input.operation.as_ref()?.kind;
    let heard = input.phase == Phase::Serving && input.primary.agent == Hearing::Heard;
    if !heard || !operation::preempts(Kind::Recover, running) {
        return None;
    }
    let aside = |plan: &Plan| {
        let kind = plan.course.operation();
        kind.is_some_and(|kind| operation::preempts(kind, running))
    };
    match by_its_agent(input) {
        Decision::Act(plan) if aside(&plan) => Some(plan),
        _ => None,
    }
}

/// The primary serves: is everything there that was promised beside it?
fn beside(input: &Input<'_>) -> Option<Decision> {
    let redundancy = input.redundancy.as_ref()?;
    let condition = match redundancy {
        Redundancy { relax: true, .. } => Condition::SetLacks,
        Redundancy { restore: true, .. } => Condition::StandbyUncounted,
        Redundancy { rejoin: true, .. } => Condition::MemberWaits,
        Redundancy { rebuild: true, .. } => Condition::MemberLost,
        _ => return None,
    };
    Some(remedy(input, condition, Vec::new()))
}

/// The agent is heard: its word is the nearest there is.
fn by_its_agent(input: &Input<'_>) -> Decision {
    use member::State as S;
    match input.primary.state {
        Some(S::Ready) if input.health == Health::Healthy => {
            let decision = beside(input).or_else(|| found(input));
            decision.unwrap_or(Decision::Hold(Reason::Healthy))
        }
        Some(S::Ready) => beside(input).unwrap_or(Decision::Hold(Reason::AwaitingWrite)),
        // Before its clients are let in it may wait for a standby that is gone.
        Some(S::Starting | S::Recovering) if input.redundancy.as_ref().is_some_and(|r| r.relax) => {
            beside(input).unwrap_or(Decision::Hold(Reason::AwaitingWrite))
        }
        Some(S::CrashLooping) => {
            remedy(input, Condition::CrashLooping, vec!["its agent: it died too often".into()])
        }
        Some(S::Hung) => match &input.verdict {
            Some(Verdict::Down(sightings)) => {
                let mut evidence = vec!["its agent: the process gives no answer".to_owned()];
                evidence.extend(sightings.iter().map(|s| crate::knowing::describe(s, input.now)));
                remedy(input, Condition::Hung, evidence)
            }
            _ => ask(input),
        },
        state => Decision::Hold(Reason::AgentActs { state }),
    }
}

/// The agent is silent: others are asked, and silence alone moves nothing.
fn by_witnesses(input: &Input<'_>) -> Decision {
    match &input.verdict {
        Some(Verdict::Reached(_)) => Decision::Hold(Reason::MemberServes),
        Some(Verdict::Disputed(_)) => Decision::Hold(Reason::WitnessesDisagree),
        Some(Verdict::Down(_)) => Decision::Hold(Reason::OnlyCopyOutOfReach),
        Some(Verdict::Unknown(_)) | None => ask(input),
    }
}

fn ask(input: &Input<'_>) -> Decision {
    Decision::Ask { about: input.primary.member, of: input.witnesses.clone() }
}

/// The service does all that its life asks of it; a finding may still ask for a remedy.
fn found(input: &Input<'_>) -> Option<Decision> {
    let findings = input.automation.findings();
    if findings.is_empty() {
        return None;
    }
    let remedy = chosen(input, Condition::None, &findings)?;
    let told = |(check, found): (&String, &Found)| {
        format!("{check} ({}) for {} s", found.severity, found.seconds)
    };
    Some(run(input, remedy, findings.iter().map(told).collect()))
}

/// The first remedy that applies and is not switched off.
fn chosen<'a>(
    input: &Input<'a>,
    condition: Condition,
    findings: &BTreeMap<String, Found>,
) -> Option<&'a Remedy> {
    let automation = input.automation;
    let (kind, plan) = automation.offer();
    let facts = Facts {
        condition,
        health: match input.health {
            Health::Healthy => "healthy",
            Health::Uncertain => "uncertain",
            Health::Unavailable => "unavailable",
        },
        posture: automation.posture(),
        kind,
        plan,
        members: automation.members(),
        redundant: input.redundancy.as_ref().is_some_and(|r| r.safe.is_ok()),
        findings,
    };
    let on = |remedy: &&Remedy| automation.level(remedy) != Level::Off;
    let remedies = automation.remedies().iter();
    remedies.filter(on).find(|remedy| remedy.guard.holds(&facts) == Ok(true))
}

/// What the lifecycle sees needs a repair.
fn remedy(input: &Input<'_>, condition: Condition, evidence: Vec<String>) -> Decision {
    match chosen(input, condition, &input.automation.findings()) {
        Some(remedy) => run(input, remedy, evidence),
        None => Decision::Hold(Reason::NoRemedy { condition }),
    }
}

/// Runs a remedy, or says what keeps it from running.
fn run(input: &Input<'_>, remedy: &Remedy, evidence: Vec<String>) -> Decision {
    if let Some(reason) = kept_from(input, remedy) {
        return Decision::Hold(reason);
    }
    let spec = remedy.course.operation().map(operation::spec);
    Decision::Act(Plan {
        remedy: remedy.name.to_string(),
        course: remedy.course.clone(),
        evidence,
        outage_seconds: spec.map_or(0, |spec| spec.outage_seconds),
        members_touched: 1,
        manual_minutes: remedy.manual_minutes,
    })
}

/// What keeps a remedy that applies from running now: people first, then the fleet, then its own budget,
/// then claims.
fn kept_from(input: &Input<'_>, remedy: &Remedy) -> Option<Reason> {
    let automation = input.automation;
    let name = || remedy.name.to_string();
    let lane = remedy.lane();
    if let Some(pin) = automation.pin().filter(|pin| !pin.level.allows(lane)) {
        return Some(Reason::Pinned {
            remedy: name(),
            level: pin.level,
            by: pin.by.to_string(),
            reason: pin.reason.to_string(),
            for_another: pin.until.since(input.now),
        });
    }
    let approval = automation.approval();
    let approved = approval.is_some_and(|approval| approval.lets(&remedy.name, input.now));
    match automation.level(remedy) {
        Level::Auto => {}
        Level::Approve if approved => {}
        Level::Approve => return Some(Reason::AwaitsPerson { remedy: name() }),
        Level::Off | Level::Suggest => return Some(Reason::Suggested { remedy: name() }),
    }
    let posture = automation.posture();
    if remedy.held_in.iter().any(|held| held == posture) {
        let posture = posture.replace('_', "-");
        return Some(Reason::PostureForbids { remedy: name(), posture });
    }
    let runs: Vec<Time> =
        input.runs.iter().filter(|run| run.remedy == remedy.name).map(|run| run.at).collect();
    match remedy.budget.allows(&runs, input.now) {
        Err(Spent::Tries) => return Some(Reason::BudgetSpent { remedy: name() }),
        Err(Spent::Cooldown { until }) => {
            return Some(Reason::Cooldown { remedy: name(), for_another: until.since(input.now) });
        }
        Ok(()) => {}
    }
    let running = automation.running(&remedy.name);
    if let Some(max) = remedy.budget.fleet_max.filter(|max| running >= *max) {
        return Some(Reason::FleetShare { remedy: name(), running, max });
    }
    automation.claim(remedy).err().map(Reason::ClaimRefused)
}

impl Reason {
    /// Whether a person must know, because nothing here can go on by itself.
    #[must_use]
    pub const fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::OnlyCopyOutOfReach
                | Self::NotCovered { .. }
                | Self::NotRedundantYet
                | Self::BudgetSpent { .. }
                | Self::NoRemedy { .. }
                | Self::AwaitsPerson { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy: there is nothing to do"),
            Self::Resting => f.write_str("it is meant not to serve"),
            Self::StepUnderWay { operation, step, late_in } => {
                let name = operation::spec(*operation).name;
                match late_in {
                    Span(0) => write!(f, "{name} is at \"{step}\", which is late"),
                    left => write!(f, "{name} is at \"{step}\", late in {left}"),
                }
            }
            Self::ClaimRefused(refusal) => write!(f, "its claim is refused: {refusal}"),
            Self::AgentActs { state: Some(state) } => {
                write!(f, "its agent is on it (the member is {state})")
            }
            Self::AgentActs { state: None } => f.write_str("its agent has not reported it yet"),
            Self::AgentAwaited => f.write_str("its agent has yet to report"),
            Self::AwaitingWrite => f.write_str("it answers; a write is still to be proven"),
            Self::MemberServes => f.write_str(
                "its agent is silent and witnesses reach it: it serves, nothing may be disturbed",
            ),
            Self::WitnessesDisagree => f.write_str("some witnesses reach it, some do not"),
            Self::OnlyCopyOutOfReach => {
                f.write_str("it is down, and its only copy is where nobody can act")
            }
            Self::NotCovered { missing } => {
                write!(
                    f,
                    "it is down, and those who are left may lack acknowledged writes: {missing}"
                )
            }
            Self::NotRedundantYet => f.write_str(
                "it is down after a failover, and not every standby was back: a person may order \
                 another one, which loses nothing (`evenkeel failover`)",
            ),
            Self::AwaitsPerson { remedy } => write!(f, "remedy {remedy} waits for a person's yes"),
            Self::Cooldown { remedy, for_another } => {
                write!(f, "remedy {remedy} ran a moment ago; again in {for_another}")
            }
            Self::BudgetSpent { remedy } => {
                write!(f, "the tries of remedy {remedy} are used up; a person must look")
            }
            Self::NoRemedy { condition } => {
                write!(f, "no remedy is declared, or none is on, for `{condition}`")
            }
            Self::Suggested { remedy } => {
                write!(f, "remedy {remedy} would help; its level is to suggest it and no more")
            }
            Self::Pinned { remedy, level, by, reason, for_another } => write!(
                f,
                "remedy {remedy} is kept from running for another {for_another}: {by} pinned the service \
                 to {level} ({reason})"
            ),
            Self::PostureForbids { remedy, posture } => {
                write!(f, "remedy {remedy} waits until the posture is no longer {posture}")
            }
            Self::FleetShare { remedy, running, max } => write!(
                f,
                "remedy {remedy} is under way for {running} services, of {max} at once; it goes on when \
                 one of them is done"
            ),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(reason) => write!(f, "hold: {reason}"),
            Self::Ask { about, of } if of.is_empty() => {
                write!(f, "ask about {about}: there is nobody to ask")
            }
            Self::Ask { about, of } => {
                let of: Vec<String> = of.iter().map(ToString::to_string).collect();
                write!(f, "ask about {about}: {}", of.join(", "))
            }
            Self::Act(plan) => write!(
                f,
                "act: {} by remedy {}, about {} s of write outage",
                plan.course, plan.remedy, plan.outage_seconds
            ),
        }
    }
}

impl Decision {
    /// A number that differs where the meaning does, whatever the time: changes are journalled.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Ask { .. } => 1,
            Self::Act(_) => 2,
            Self::Hold(reason) => match reason {
                Reason::Healthy => 3,
                Reason::Resting => 4,
                Reason::StepUnderWay { .. } => 5,
                Reason::ClaimRefused(_) => 6,
                Reason::AgentActs { .. } => 7,
                Reason::AwaitingWrite => 8,
                Reason::MemberServes => 9,
                Reason::WitnessesDisagree => 10,
                Reason::OnlyCopyOutOfReach => 11,
                Reason::AwaitsPerson { .. } => 12,
                Reason::Cooldown { .. } => 13,
                Reason::BudgetSpent { .. } => 14,
                Reason::NoRemedy { .. } => 15,
                Reason::AgentAwaited => 16,
                Reason::NotCovered { .. } => 17,
                Reason::NotRedundantYet => 18,
                Reason::Suggested { .. } => 19,
                Reason::Pinned { .. } => 20,
                Reason::PostureForbids { .. } => 21,
                Reason::FleetShare { .. } => 22,
            },
        }
    }

    /// Whether the journal should tell of it; what goes without saying is left out.
    #[must_use]
    pub const fn worth_noting(&self) -> bool {
        !matches!(
            self,
            Self::Hold(
                Reason::Healthy
                    | Reason::Resting
                    | Reason::StepUnderWay { .. }
                    | Reason::AwaitingWrite
                    | Reason::AgentAwaited
            )
        )
    }
}
