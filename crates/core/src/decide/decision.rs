//! What a decision says: to hold, and why; to ask; or to act, by a plan. And how it reads.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::automation::Pinned;
use crate::claim;
use crate::id::{HostId, MemberId};
use crate::member;
use crate::operation::{self, Kind};
use crate::promise::Missing;
use crate::remedy::{Condition, Course};
use crate::time::Span;

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
        /// How long until its window lets it run again.
        #[serde(default)]
        for_another: Span,
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
    /// A remedy would help, and is refused its claim.
    Unclaimed {
        /// Which.
        remedy: String,
        /// Why.
        refusal: claim::Refusal,
    },
    /// A remedy's guard gives no answer about what is seen: a person is told.
    GuardFails {
        /// Which.
        remedy: String,
        /// Why, in the words of its language.
        why: String,
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
                | Self::GuardFails { .. }
        )
    }

    /// Whether it may pass by itself, as when a host starts anew: a person is told when the outage has lasted
    /// for [`crate::incident::Rules::alone_after`], and not at once.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::OnlyCopyOutOfReach)
    }

    /// The remedy that would have run, where one is kept from it.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::AwaitsPerson { remedy }
            | Self::Cooldown { remedy, .. }
            | Self::BudgetSpent { remedy, .. }
            | Self::Suggested { remedy }
            | Self::Pinned { remedy, .. }
            | Self::PostureForbids { remedy, .. }
            | Self::FleetShare { remedy, .. }
            | Self::Unclaimed { remedy, .. }
            | Self::GuardFails { remedy, .. } => Some(remedy),
            _ => None,
        }
    }

    /// Whether something is wrong with the service that nothing is done about for now.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.needs_a_person() || self.remedy().is_some()
    }
}

/// How long to wait, as people say it: whole seconds, or minutes where it is long; never too short.
fn about(span: Span) -> Span {
    let whole = |unit: u64| Span(span.0.div_ceil(unit) * unit);
    if span > Span::mins(2) { whole(60_000) } else { whole(1000) }
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "a sentence for each")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy: there is nothing to do"),
            Self::Resting => f.write_str("it is meant not to serve"),
            Self::StepUnderWay { operation, step, late_in } => {
                let late = match late_in {
                    Span(0) => "which is late".to_owned(),
                    left => format!("late in {left}"),
                };
                write!(f, "{} is at \"{step}\", {late}", operation::spec(*operation).name)
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
            Self::Cooldown { remedy, for_another: left } => {
                write!(f, "remedy {remedy} ran a moment ago; again in {}", about(*left))
            }
            Self::BudgetSpent { remedy, for_another } => write!(
                f,
                "the tries of remedy {remedy} are used up; a person must look, and it is tried again \
                 in {}",
                about(*for_another)
            ),
            Self::NoRemedy { condition } => {
                write!(f, "no remedy is declared, or none is on, for `{condition}`")
            }
            Self::Suggested { remedy } => {
                write!(f, "remedy {remedy} would help; its level is to suggest it and no more")
            }
            Self::Pinned { remedy, level, by, reason, for_another } => write!(
                f,
                "remedy {remedy} is kept from running for another {}: {by} pinned the service to {level} \
                 ({reason})",
                about(*for_another)
            ),
            Self::PostureForbids { remedy, posture } => {
                write!(f, "remedy {remedy} waits until the posture is no longer {posture}")
            }
            Self::FleetShare { remedy, running, max } => write!(
                f,
                "remedy {remedy} is under way for {running} services, of {max} at once; it goes on when \
                 one of them is done"
            ),
            Self::Unclaimed { remedy, refusal } => {
                write!(f, "remedy {remedy} is refused its claim: {refusal}")
            }
            Self::GuardFails { remedy, why } => write!(
                f,
                "whether remedy {remedy} applies cannot be said: {why}; mend its `when`, or switch it off \
                 (`evenkeel remedy level {remedy} off`)"
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
    pub fn code(&self) -> u16 {
        let remedy = match self {
            Self::Hold(reason) => reason.remedy(),
            Self::Act(plan) => Some(plan.remedy.as_str()),
            Self::Ask { .. } => None,
        };
        // Names are told apart by what 11 bits can hold of them (FNV-1a): few remedies have one.
        let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
        let name = remedy.map_or(0, |name| name.bytes().fold(2_166_136_261, mix) % 2_047 + 1);
        let name = u16::try_from(name).unwrap_or_default();
        name << 5 | u16::from(self.sort())
    }

    /// The sort of it, as a number below 32.
    const fn sort(&self) -> u8 {
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
                Reason::Unclaimed { .. } => 23,
                Reason::GuardFails { .. } => 24,
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
