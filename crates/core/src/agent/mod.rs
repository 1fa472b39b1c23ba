//! The agent's mind: goals kept, members brought to them, reports sent. Pure, as a cell is.
//!
//! The story of a turn: what came in (goals, outcomes of driver calls, news of deaths, witnesses'
//! questions) is taken in; each member it concerns gets its next driver call; what changed is
//! reported. The shell saves [`Output::save`] to disk first, then carries the rest out.
//!
//! Invariants:
//! - goals are enforced alone: whether a controller is heard changes nothing for members, but that nothing
//!   is removed by a goal that was only kept: what that rested on may be gone since;
//! - at most one driver call is under way for a member, and the first is always a look;
//! - what is not in a goal is never started, stopped or removed.

mod archiving;
mod checking;
mod guarding;
mod herd;
mod importing;
mod limits;
mod member;
mod part;
mod perform;
pub mod poolers;
pub mod reconcile;
mod rounds;
mod scripting;
mod stored;
mod telling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use archiving::behind;
pub use perform::{Outcome, perform};
pub use reconcile::Action;
pub use scripting::Begun;
pub use stored::Stored;

use self::herd::Herd;
use crate::backup::job::{Done, Job};
use crate::check::{Check, Reading, Thresholds};
use crate::digest::Digest;
use crate::edge::Edge;
use crate::goal::{Goal, StoreId};
use crate::id::{MemberId, ServiceId};
use crate::import;
use crate::kind::Kind;
use crate::member::State;
use crate::policy::Policy;
use crate::pooler::Pooler;
use crate::procedure::{Ran, Script};
use crate::report::{self, Answer, FromAgent, Hello, Kept, Question, ToAgent};
use crate::succession::{Allegiance, Succession};
use crate::time::{Span, Time};
use member::Member;
use poolers::Poolers;
use reconcile::Next;
pub(crate) use rounds::Every;

/// Between looks at the host itself.
const HOST_STEP: Span = Span::secs(10);
/// Beats whose answers are waited for; older ones prove nothing any more.
const UNANSWERED_MAX: usize = 16;
/// Most questions answered at a time; a controller that asks more is asked to wait.
const QUESTIONS_MAX: usize = 1024;

/// What an agent is started with.
#[derive(Clone)]
pub struct Config {
    /// How it presents itself; its store and checks are filled in by the brain.
    pub hello: Hello,
    /// Where members' data is, with `{}` for the member's number.
    pub data_dirs: String,
    /// Intervals.
    pub policy: Policy,
    /// Kinds it can run.
    pub kinds: &'static [&'static dyn Kind],
    /// Checks of the host.
    pub host_checks: &'static [&'static dyn Check],
}

/// One thing that comes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A stream to a controller opened.
    Opened,
    /// It closed.
    Closed,
    /// A controller's message.
    Message(ToAgent),
    /// What came of a driver call.
    Outcome {
        /// About which member.
        member: MemberId,
        /// The call's number.
        number: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// The operating system tells that a member's process ended.
    Died {
        /// Which member.
        member: MemberId,
    },
    /// What came of a call about a pooler.
    Pooler {
        /// Whose.
        service: ServiceId,
        /// The call's number.
        number: u64,
        /// What came of it.
        outcome: poolers::Outcome,
    },
    /// The operating system tells that a pooler's process ended.
    PoolerDied {
        /// Whose.
        service: ServiceId,
    },
    /// What came of a job.
    Job {
        /// Of which member.
        member: MemberId,
        /// The job's number here.
        number: u64,
        /// What came of it.
        outcome: Result<Done, String>,
    },
    /// What came of a script.
    Script {
        /// Of which member.
        member: MemberId,
        /// The script's number here.
        number: u64,
        /// What came of it.
        ran: Box<Ran>,
    },
    /// Where a member's import is.
    Importing {
        /// Of which member.
        member: MemberId,
        /// By its driver's word.
        told: Box<import::Told>,
    },
    /// A witness's look is done.
    Saw(Answer),
    /// The host was looked at: each host check's name with its reading.
    Host(Vec<(String, Reading)>),
    /// The image that new members run from.
    Image {
        /// Its digest.
        digest: Option<String>,
        /// The major release in it.
        version: Option<String>,
    },
}

/// A driver call to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The member.
    pub member: MemberId,
    /// Named in the outcome.
    pub number: u64,
    /// What to do.
    pub action: Action,
    /// Toward which goal.
    pub goal: Arc<Goal>,
}

/// A job to begin, on a driver of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCall {
    /// The member.
    pub member: MemberId,
    /// Named in the outcome.
    pub number: u64,
    /// What to do.
    pub job: Job,
    /// Toward which goal.
    pub goal: Arc<Goal>,
}

/// A script to begin, on a driver of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptCall {
    /// The member.
    pub member: MemberId,
    /// Named in the outcome.
    pub number: u64,
    /// What to run.
    pub script: Script,
    /// Toward which goal.
    pub goal: Arc<Goal>,
}

/// Everything a turn gives out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// To be on disk before anything else here happens.
    pub save: Vec<(MemberId, Stored)>,
    /// The store obeyed, to be on disk too.
    pub save_store: Option<Allegiance>,
    /// Members that are gone and not wanted any more: forgotten on disk too.
    pub forget: Vec<MemberId>,
    /// Driver calls.
    pub calls: Vec<Call>,
    /// Jobs beside them.
    pub jobs: Vec<JobCall>,
    /// Scripts beside them.
    pub scripts: Vec<ScriptCall>,
    /// Scripts that nobody wants any more, by their numbers: they are to end.
    pub end_scripts: Vec<u64>,
    /// Imports that nobody wants any more, by their newest goals: they are to end soon.
    pub interrupts: Vec<Arc<Goal>>,
    /// Poolers to be kept on disk, or to be forgotten there, before anything else happens.
    pub save_poolers: Vec<(ServiceId, Option<Pooler>)>,
    /// Calls about poolers.
    pub pooler_calls: Vec<poolers::Call>,
    /// To the controller, in order.
    pub send: Vec<FromAgent>,
    /// Questions to look into.
    pub ask: Vec<Question>,
    /// Whether to look at the host.
    pub look_at_host: bool,
    /// Why the controller is not obeyed, when that is so.
    pub refused: Option<String>,
    /// When to turn again though nothing comes in.
    pub wake_at: Option<Time>,
    /// Edges that members' machines took: for whoever counts them.
    #[serde(skip)]
    pub edges: Vec<Edge>,
}

/// An agent's mind.
#[derive(Clone)]
pub struct Brain {
    config: Config,
    members: BTreeMap<MemberId, Member>,
    poolers: Poolers,
    herd: Herd,
    store: Option<Allegiance>,
    /// Whether the controller on the stream is the one to obey.
    obeys: bool,
    open: bool,
    beat: Time,
    beats: u64,
    /// Beats that asked for an answer and have none yet, with when they were sent.
    unanswered: VecDeque<(u64, Time)>,
    host_looked: Option<Time>,
    /// Whether its host's checks were told since it began: what it said before was another's word.
    host_told: bool,
    calls: u64,
    digest: Option<Digest>,
}

impl Brain {
    /// An agent with what was on its disk. Nothing is assumed of processes: they are looked at.
    #[must_use]
    pub fn new(
        config: Config,
        stored: Vec<Stored>,
        poolers: Vec<Pooler>,
        store: Option<Allegiance>,
    ) -> Self {
        let members = stored.into_iter().map(|s| (s.applied.goal.member, Member::new(s))).collect();
        Self {
            config,
            members,
            poolers: Poolers::new(&poolers),
            herd: Herd::default(),
            store,
            obeys: false,
            open: false,
            beat: Time(0),
            beats: 0,
            unanswered: VecDeque::new(),
            host_looked: None,
            host_told: false,
            calls: 0,
            digest: None,
        }
    }

    /// Takes everything in, gives everything out.
    pub fn turn(&mut self, now: Time, inputs: &[Input]) -> Output {
        let mut out = Output::default();
        for input in inputs {
            self.rouse(input);
            self.learn(now, input, &mut out);
        }
        self.drive(now, &mut out);
        out.pooler_calls = self.poolers.drive(now);
        self.report(now, &mut out);
        self.beat(now, &mut out);
        if self.host_looked.is_none_or(|at| now.since(at) >= HOST_STEP) {
            (self.host_looked, out.look_at_host) = (Some(now), true);
        }
        out.wake_at = Some(self.wake_at(now));
        out
    }

    /// Members that something is heard of are looked at, whatever they wait for.
    fn rouse(&mut self, input: &Input) {
        let mut rouse = |id: &MemberId| {
            if let Some(member) = self.members.get_mut(id) {
                member.rests_until = Time(0);
            }
        };
        match input {
            Input::Outcome { member, .. }
            | Input::Died { member }
            | Input::Job { member, .. }
            | Input::Script { member, .. }
            | Input::Importing { member, .. } => rouse(member),
            Input::Message(ToAgent::Goals { whole: false, goals }) => {
                goals.iter().for_each(|goal| rouse(&goal.member));
            }
            Input::Saw(_)
            | Input::Host(_)
            | Input::Image { .. }
            | Input::Pooler { .. }
            | Input::PoolerDied { .. }
            | Input::Message(ToAgent::Ask(_)) => {}
            Input::Opened | Input::Closed | Input::Message(_) => {
                self.members.values_mut().for_each(|member| member.rests_until = Time(0));
            }
        }
    }

    fn learn(&mut self, now: Time, input: &Input, out: &mut Output) {
        match input {
            Input::Opened => {
                self.members.values_mut().for_each(|member| member.seen.given = false);
                (self.open, self.obeys, self.beats, self.beat) = (true, false, 0, now);
                self.host_told = false;
                self.unanswered.clear();
                let mut hello = self.config.hello.clone();
                hello.store = self.store.as_ref().map(|s| (s.store.clone(), s.sequence));
                out.send.push(FromAgent::Hello(hello));
                self.report_all(now, out);
            }
            Input::Closed => {
                self.members.values_mut().for_each(|member| member.seen.given = false);
                (self.open, self.obeys) = (false, false);
                self.poolers.hear(false);
            }
            Input::Message(message) => self.hear(now, message, out),
            Input::Outcome { member, number, outcome } => {
                let kinds = self.config.kinds;
                if let Some(member) = self.members.get_mut(member) {
                    let kind = member.goal().identity.kind.as_str();
                    let kind = kinds.iter().find(|k| k.name() == kind);
                    let checks = kind.map_or(&[][..], |kind| kind.checks());
                    let limits = &self.config.policy.checks;
                    member.outcome(*number, outcome, (checks, limits), now);
                }
            }
            Input::Died { member } => {
                if let Some(member) = self.members.get_mut(member) {
                    member.died();
                }
            }
            Input::Pooler { service, number, outcome } => {
                self.poolers.outcome(*service, *number, outcome, now);
            }
            Input::PoolerDied { service } => self.poolers.died(*service),
            Input::Job { member, number, outcome } => {
                if let Some(member) = self.members.get_mut(member) {
                    member.touched |= member.seen.archiving.ended(*number, outcome);
                }
            }
            Input::Script { member, number, ran } => {
                if let Some(member) = self.members.get_mut(member) {
                    member.script_ended(*number, ran);
                }
            }
            Input::Importing { member, told } => {
                if let Some(member) = self.members.get_mut(member) {
                    let unwanted = member.told((**told).clone());
                    out.interrupts.extend(unwanted.then(|| Arc::clone(member.goal())));
                }
            }
            Input::Saw(answer) => {
                if self.open {
                    out.send.push(FromAgent::Answers(vec![answer.clone()]));
                }
            }
            Input::Host(readings) => self.judge_host(readings, out),
            Input::Image { digest, version } => {
                let hello = &mut self.config.hello;
                if hello.image != *digest || hello.version != *version {
                    hello.image.clone_from(digest);
                    hello.version.clone_from(version);
                    self.tell_host(out);
                }
            }
        }
    }

    fn hear(&mut self, now: Time, message: &ToAgent, out: &mut Output) {
        match message {
            ToAgent::Welcome {
                host,
                store: (store, sequence),
                beat,
                checks,
                starts_max,
                seal,
                succession,
            } => {
                self.config.policy.beat = *beat;
                self.config.policy.host_starts_max = *starts_max;
                self.go_by(checks, now);
                let refused = match &self.store {
                    Some(mine) => mine.follows(store, *sequence, succession.as_ref()).err(),
                    None => None,
                };
                self.obey(refused.map(|refused| refused.to_string()), out);
                if self.obeys {
                    let first = || Allegiance::from((store.clone(), *sequence));
                    let mine = self.store.get_or_insert_with(first);
                    mine.take(store, *sequence, *host, seal.as_ref());
                    out.save_store.clone_from(&self.store);
                }
            }
            ToAgent::Show { store, succession } => self.show(store, succession, out),
            // Goals of a controller that is not to be obeyed are as if never sent.
            ToAgent::Goals { whole, goals } if self.obeys => self.take(now, *whole, goals, out),
            ToAgent::Poolers { routes, whole, changed, gone } if self.obeys => {
                let save = self.poolers.take(*routes, *whole, changed, gone);
                out.save_poolers.extend(save);
            }
            ToAgent::Heard { number } if self.obeys => self.answered(*number),
            ToAgent::Goals { .. } | ToAgent::Poolers { .. } | ToAgent::Heard { .. } => {}
            ToAgent::SendAll => self.report_all(now, out),
            ToAgent::Ask(questions) => {
                out.ask.extend(questions.iter().take(QUESTIONS_MAX).cloned());
            }
            ToAgent::Refused { reason } => out.refused = Some(reason.clone()),
        }
    }

    /// Checks go by these from now on.
    fn go_by(&mut self, checks: &Thresholds, now: Time) {
        let every = Every::of(checks);
        self.members.values_mut().for_each(|member| member.pace_checks(every, now));
        self.config.policy.checks = checks.clone();
    }

    /// The controller on the stream is obeyed from now on, unless it is refused.
    fn obey(&mut self, refused: Option<String>, out: &mut Output) {
        self.obeys = refused.is_none();
        self.poolers.hear(self.obeys);
        out.refused = refused;
    }

    /// A store says that it comes after the one obeyed. Who proves it is shown what is kept; it is not
    /// obeyed before it says welcome.
    fn show(&self, store: &StoreId, succession: &Succession, out: &mut Output) {
        let Some(mine) = &self.store else { return };
        if let Err(refused) = mine.believes(store, Some(succession)) {
            let reason = refused.to_string();
            out.refused = Some(reason.clone());
            out.send.push(FromAgent::Unconvinced { reason });
            return;
        }
        out.send.push(FromAgent::Kept(Kept {
            store: mine.store.clone(),
            past: mine.past.clone(),
            host: mine.host,
            members: self.members.values().map(|member| member.stored.clone()).collect(),
            poolers: self.poolers.wanted(),
        }));
    }

    fn take(&mut self, now: Time, whole: bool, goals: &[Arc<Goal>], out: &mut Output) {
        for goal in goals {
            match self.members.get_mut(&goal.member) {
                Some(member) => member.take(goal, now),
                None => {
                    let mut member = Member::new(Stored::first(Arc::clone(goal)));
                    (member.unsaved, member.seen.part.heard) = (true, now);
                    member.seen.given = true;
                    member.pace_checks(Every::of(&self.config.policy.checks), now);
                    self.members.insert(goal.member, member);
                }
            }
        }
        if whole {
            // What is gone and not wanted is forgotten; what is there and not wanted is a stray.
            let named: BTreeSet<MemberId> = goals.iter().map(|goal| goal.member).collect();
            let gone = |(id, m): (&MemberId, &Member)| {
                (!named.contains(id) && m.seen.state == State::Gone).then_some(*id)
            };
            let gone: Vec<MemberId> = self.members.iter().filter_map(gone).collect();
            for id in gone {
                self.members.remove(&id);
                self.digest = None;
                out.forget.push(id);
            }
        }
    }

    /// Every member without a call under way gets its next one; of starts, as many as the host bears.
    fn drive(&mut self, now: Time, out: &mut Output) {
        let Self { members, herd, .. } = self;
        let is = |id, so: fn(&Member) -> bool| members.get(&id).is_some_and(so);
        herd.look(now, |id| is(id, Member::answers), |id| !is(id, Member::may_come_up));
        let (mut driven, mut starts) = (Vec::new(), Vec::new());
        for (id, member) in &mut self.members {
            if now < member.rests_until {
                continue;
            }
            driven.push(*id);
            member.settle();
            match member.next(now) {
                Next::Do(Action::Start) => starts.push((!member.goal().takes_writes(), *id)),
                Next::Do(action) => {
                    self.calls += 1;
                    out.calls.push(call(member, *id, (self.calls, action), now));
                }
                _ => {}
            }
            let (state, goal) = (member.seen.state, &member.stored.applied.goal);
            if member.seen.archiving.wants(goal, state)
                && let Some(job) = goal.job.as_deref().cloned()
            {
                self.calls += 1;
                member.seen.archiving.begin(job.id, self.calls);
                let goal = Arc::clone(member.goal());
                out.jobs.push(JobCall { member: *id, number: self.calls, job, goal });
            }
        }
        // Those who take writes first: others can wait for them.
        starts.sort_unstable();
        for (_, id) in starts {
            if !self.herd.has_room(self.config.policy.host_starts_max) {
                break;
            }
            let Some(member) = self.members.get_mut(&id) else { continue };
            self.herd.starts(id, now);
            self.calls += 1;
            out.calls.push(call(member, id, (self.calls, Action::Start), now));
        }
        for id in driven {
            let Some(member) = self.members.get_mut(&id) else { continue };
            let script = member.script_due();
            out.end_scripts.extend(script.end);
            if script.begin
                && let Some(script) = member.goal().script.as_deref().cloned()
            {
                self.calls += 1;
                member.scripting.begin(script.id, self.calls);
                let goal = Arc::clone(member.goal());
                out.scripts.push(ScriptCall { member: id, number: self.calls, script, goal });
            }
            if std::mem::take(&mut member.unsaved) {
                out.save.push((id, member.stored.clone()));
            }
            out.edges.append(&mut member.edges);
            member.rests_until = match member.next(now) {
                Next::Wait(at) => at.max(now + Span::millis(1)),
                Next::Settled => Time(u64::MAX),
                // The host bears no more starts now.
                Next::Do(_) => Time(0),
            };
        }
    }

    fn wake_at(&self, now: Time) -> Time {
        let host = self.host_looked.unwrap_or(now) + HOST_STEP;
        let beat = if self.open { self.beat } else { host };
        let members = self.members.values().map(|member| member.rests_until);
        let members = members.filter(|at| *at > Time(0));
        let poolers = self.poolers.wake_at().map(|at| at.max(now + Span::millis(1)));
        members.chain(poolers).fold(host.min(beat), Time::min)
    }

    /// Members with their state and whether a process is theirs, for people and tests.
    pub fn members(&self) -> impl Iterator<Item = report::Member> {
        self.members.iter().map(|(id, member)| member.report(data_dir(&self.config, *id), Time(0)))
    }
}

/// A member's next call begins.
fn call(member: &mut Member, id: MemberId, (number, action): (u64, Action), now: Time) -> Call {
    member.begin(number, action.clone(), now);
    Call { member: id, number, action, goal: Arc::clone(member.goal()) }
}

/// Where a member's data is.
fn data_dir(config: &Config, member: MemberId) -> String {
    config.data_dirs.replacen("{}", &member.0.to_string(), 1)
}
