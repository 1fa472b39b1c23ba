//! Deciding: everything in by argument, always a reason out.
//!
//! `decide` looks at one service and says what to do about it: hold, with the reason; ask
//! witnesses; or act, by a plan that names its evidence. It is run again whenever something about
//! the service changed and each time somebody asks why, so an explanation can never differ from
//! what was decided.
//!
//! What this slice can repair is a single member where its files are. What it cannot repair - the
//! only copy lies on a host that nobody reaches - is held and told to a person, never guessed at.

mod decision;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use decision::{Decision, Plan, Reason};

use crate::automation::{Approval, Pin};
use crate::claim;
use crate::id::{HostId, MemberId};
use crate::knowing::Verdict;
use crate::member;
use crate::operation::{self, Kind};
use crate::promise::Missing;
use crate::remedy::guard::Asked;
use crate::remedy::{Condition, Facts, Found, Level, Remedies, Remedy, Spent};
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
    /// When: it began, or ended.
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
        return in_place(input, decision);
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

/// A failover that is kept from running leaves the primary where it is: where its agent is heard, it is
/// repaired there.
fn in_place(input: &Input<'_>, kept: Decision) -> Decision {
    use member::State as S;
    let Decision::Hold(reason) = &kept else { return kept };
    let stuck = matches!(input.primary.state, Some(S::CrashLooping | S::Hung));
    let recruiting = input.redundancy.as_ref().is_some_and(|r| r.recruiting);
    if input.primary.agent != Hearing::Heard || !stuck || recruiting {
        return kept;
    }
    match by_its_agent(input) {
        Decision::Act(mut plan) => {
            plan.evidence.push(reason.to_string());
            Decision::Act(plan)
        }
        _ => kept,
    }
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
    let mut kept = Vec::new();
    match lacking(input, &mut kept) {
        Some(plan) => Some(Decision::Act(plan)),
        None => pressing(kept).map(Decision::Hold),
    }
}

/// What is to be done about what is lacking beside a primary, the most urgent first; what is kept from being
/// done keeps nothing else from it.
fn lacking(input: &Input<'_>, kept: &mut Vec<Reason>) -> Option<Plan> {
    let redundancy = input.redundancy.as_ref()?;
    let conditions = [
        (redundancy.relax, Condition::SetLacks),
        (redundancy.restore, Condition::StandbyUncounted),
        (redundancy.rejoin, Condition::MemberWaits),
        (redundancy.rebuild, Condition::MemberLost),
    ];
    for (_, condition) in conditions.into_iter().filter(|(so, _)| *so) {
        match remedy(input, condition, Vec::new()) {
            Decision::Act(plan) => return Some(plan),
            Decision::Hold(reason) => kept.push(reason),
            Decision::Ask { .. } => {}
        }
    }
    None
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
        Some(S::CrashLooping) => remedy(input, Condition::CrashLooping, vec![died(input)]),
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

/// Why a server that died is not started again by its agent.
fn died(input: &Input<'_>) -> String {
    let automation = input.automation;
    match automation.remedies().restart() {
        None => "its agent: it died, and no remedy has it started again".to_owned(),
        Some(restart) if automation.level(restart) != Level::Auto => {
            let level = automation.level(restart);
            format!(
                "its agent: it died, and is not started again: remedy {} is on {level}",
                restart.name
            )
        }
        Some(_) => "its agent: it died too often".to_owned(),
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
    let mut kept = Vec::new();
    match first_free(input, &findings, &mut kept) {
        Some(remedy) => {
            let told = |(check, found): (&String, &Found)| {
                format!("{check} ({}) for {} s", found.severity, found.seconds)
            };
            Some(Decision::Act(plan(remedy, findings.iter().map(told).collect())))
        }
        None => pressing(kept).map(Decision::Hold),
    }
}

/// The first remedy for findings that nothing keeps from running, after those that something does.
///
/// One that ran a moment ago is given its time: no other runs meanwhile for a finding that both ask for.
fn first_free<'a>(
    input: &Input<'a>,
    findings: &BTreeMap<String, Found>,
    kept: &mut Vec<Reason>,
) -> Option<&'a Remedy> {
    if findings.is_empty() {
        return None;
    }
    let mut cooling: Vec<&Remedy> = Vec::new();
    for (remedy, holds) in asked(input, Condition::None, findings) {
        match holds {
            Ok(false) => {}
            Err(why) => kept.push(guard_fails(remedy, why)),
            Ok(true) => match kept_from(input, remedy) {
                Some(reason) => {
                    if matches!(reason, Reason::Cooldown { .. }) {
                        cooling.push(remedy);
                    }
                    kept.push(reason);
                }
                None => {
                    let shares = |other: &Remedy| {
                        let both =
                            |check: &String| other.guard.names(check) && remedy.guard.names(check);
                        findings.keys().any(both)
                    };
                    if !cooling.iter().any(|other| shares(other)) {
                        return Some(remedy);
                    }
                }
            },
        }
    }
    None
}

/// What a person should know first: what is theirs to answer, then what else needs them.
fn pressing(mut kept: Vec<Reason>) -> Option<Reason> {
    let rank = |reason: &Reason| match reason {
        Reason::AwaitsPerson { .. } => 0,
        reason if reason.needs_a_person() => 1,
        _ => 2,
    };
    kept.sort_by_key(rank);
    kept.into_iter().next()
}

/// Everything that is wrong and that nothing is done about for now, each with its reason: what is decided
/// first, then what else is lacking or found.
#[must_use]
pub fn held(input: &Input<'_>) -> Vec<Reason> {
    let Decision::Hold(first) = decide(input) else { return Vec::new() };
    if !first.holds_back() {
        return Vec::new();
    }
    let mut all = Vec::new();
    if input.health == Health::Healthy && input.operation.is_none() {
        lacking(input, &mut all);
        first_free(input, &input.automation.findings(), &mut all);
    }
    all.retain(|reason| *reason != first);
    all.insert(0, first);
    all
}

/// Whether a remedy asks for what findings say, whatever keeps it from running.
#[must_use]
pub fn applies(input: &Input<'_>, remedy: &str) -> bool {
    let findings = input.automation.findings();
    let mut all = asked(input, Condition::None, &findings);
    all.any(|(other, holds)| *other.name == *remedy && holds == Ok(true))
}

/// Every remedy that is not switched off, in order, with what its guard says.
fn asked<'a, 'b>(
    input: &'b Input<'a>,
    condition: Condition,
    findings: &'b BTreeMap<String, Found>,
) -> impl Iterator<Item = (&'a Remedy, Result<bool, String>)> + use<'a, 'b> {
    let automation = input.automation;
    // What guards are asked about is put together when the first needs more than a glance.
    let mut asked = None;
    let remedies = automation.remedies().iter();
    remedies.filter(move |remedy| automation.level(remedy) != Level::Off).map(move |remedy| {
        if !remedy.guard.may_hold(condition, findings) {
            return (remedy, Ok(false));
        }
        let asked = asked.get_or_insert_with(|| facts(input, condition, findings));
        let holds = match asked {
            Ok(asked) => remedy.guard.holds_of(asked),
            Err(why) => Err(why.clone()),
        };
        (remedy, holds)
    })
}

/// A service as guards are asked about it.
fn facts(
    input: &Input<'_>,
    condition: Condition,
    findings: &BTreeMap<String, Found>,
) -> Result<Asked, String> {
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
    facts.asked()
}

fn guard_fails(remedy: &Remedy, why: String) -> Reason {
    Reason::GuardFails { remedy: remedy.name.to_string(), why }
}

/// What the lifecycle sees needs a repair.
fn remedy(input: &Input<'_>, condition: Condition, evidence: Vec<String>) -> Decision {
    let mut failed = None;
    for (remedy, holds) in asked(input, condition, &input.automation.findings()) {
        match holds {
            Ok(true) => return run(input, remedy, evidence),
            Ok(false) => {}
            Err(why) => failed = failed.or(Some(guard_fails(remedy, why))),
        }
    }
    Decision::Hold(failed.unwrap_or(Reason::NoRemedy { condition }))
}

/// Runs a remedy, or says what keeps it from running.
fn run(input: &Input<'_>, remedy: &Remedy, evidence: Vec<String>) -> Decision {
    match kept_from(input, remedy) {
        Some(reason) => Decision::Hold(reason),
        None => Decision::Act(plan(remedy, evidence)),
    }
}

fn plan(remedy: &Remedy, evidence: Vec<String>) -> Plan {
    let spec = remedy.course.operation().map(operation::spec);
    Plan {
        remedy: remedy.name.to_string(),
        course: remedy.course.clone(),
        evidence,
        outage_seconds: spec.map_or(0, |spec| spec.outage_seconds),
        members_touched: 1,
        manual_minutes: remedy.manual_minutes,
    }
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
    let level = automation.level(remedy);
    if matches!(level, Level::Off | Level::Suggest) {
        return Some(Reason::Suggested { remedy: name() });
    }
    let posture = automation.posture();
    if remedy.held_in.iter().any(|held| held == posture) {
        let posture = posture.replace('_', "-");
        return Some(Reason::PostureForbids { remedy: name(), posture });
    }
    let runs: Vec<Time> =
        input.runs.iter().filter(|run| run.remedy == remedy.name).map(|run| run.at).collect();
    match remedy.budget.allows(&runs, input.now) {
        Err(Spent::Tries { until }) => {
            let for_another = until.since(input.now);
            return Some(Reason::BudgetSpent { remedy: name(), for_another });
        }
        Err(Spent::Cooldown { until }) => {
            return Some(Reason::Cooldown { remedy: name(), for_another: until.since(input.now) });
        }
        Ok(()) => {}
    }
    // Nobody is asked for a yes that could not be used.
    let approval = automation.approval();
    let approved = approval.is_some_and(|approval| approval.lets(&remedy.name, input.now));
    if level == Level::Approve && !approved {
        return Some(Reason::AwaitsPerson { remedy: name() });
    }
    let running = automation.running(&remedy.name);
    if let Some(max) = remedy.budget.fleet_max.filter(|max| running >= *max) {
        return Some(Reason::FleetShare { remedy: name(), running, max });
    }
    let refusal = automation.claim(remedy).err()?;
    Some(Reason::Unclaimed { remedy: name(), refusal })
}
