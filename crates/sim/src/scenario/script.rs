//! A scenario as it is written: a TOML file with a fleet, a timeline and what must be so.

use std::collections::BTreeMap;
use std::fmt;

use evenkeel_core::host;
use evenkeel_core::incident::chain;
use evenkeel_core::label::Label;
use evenkeel_core::policy::Policy;
use evenkeel_core::service::State;
use evenkeel_core::time::Span;
use serde::{Deserialize, Deserializer};

use crate::world::{Answers, Condition, REPOSITORIES};

/// Most hosts of a scenario: it is read by people.
const HOSTS_MAX: usize = 9;
/// Most steps.
const STEPS_MAX: usize = 200;
/// Clients write no more often.
const WRITE_MIN: Span = Span::millis(1);
/// Longest span in a script: a day of virtual time.
const SPAN_MAX: Span = Span::mins(24 * 60);

/// A script that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no scenario.
    #[error("{name} is no scenario; `evenkeel sim run {like} --script` prints one that is")]
    Form {
        /// Its name.
        name: String,
        /// One of its sort that is bundled.
        like: &'static str,
        /// What is wrong and where.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Out of bounds.
    #[error("{name}: {what}")]
    Bounds {
        /// Its name.
        name: String,
        /// What is out of which bounds.
        what: String,
    },
}

/// A script.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its name: a file's, or a bundled one's.
    #[serde(skip)]
    pub name: String,
    /// One line.
    pub title: String,
    /// What it shows, for people.
    pub story: String,
    /// Hosts of the fleet, `h1`, `h2` ..., in the zones `a`, `b`, `c` in turn.
    pub hosts: usize,
    /// Rules that differ from the defaults, times in milliseconds.
    #[serde(default)]
    pub policy: Policy,
    /// Repositories that logs and backups go to: `north`, `south`, `west`. Without any nothing is archived.
    #[serde(default)]
    pub repositories: usize,
    /// The size of each host's disk.
    #[serde(default = "disk")]
    pub disk_mib: u64,
    /// Channels that tell people of incidents, in order.
    #[serde(default)]
    pub channels: Vec<Label>,
    /// After a channel confirmed, a person has so long to acknowledge before the next one is told.
    #[serde(default = "ack_within")]
    pub ack_within: Lasting,
    /// A person acknowledges what they were told of after this; never if absent.
    #[serde(default)]
    pub acks_after: Option<Lasting>,
    /// Between a client's writes to one service: outages are told this exactly.
    #[serde(default = "write_every")]
    pub write_every: Lasting,
    /// What happens and what must be so, in order.
    pub steps: Vec<Step>,
    /// What must be so at the end, by service.
    #[serde(default)]
    pub end: BTreeMap<String, End>,
}

/// Disks of scenarios that are not about disks.
const fn disk() -> u64 {
    1 << 20
}

const fn ack_within() -> Lasting {
    Lasting(Span::mins(5))
}

const fn write_every() -> Lasting {
    Lasting(Span::millis(20))
}

/// One step.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Time passes.
    Wait(Lasting),
    /// Somebody orders a new service.
    Create(New),
    /// Somebody orders a restart.
    Restart(String),
    /// Somebody retires a service.
    Retire(String),
    /// Somebody revives a service.
    Revive(String),
    /// Somebody terminates a service.
    Terminate(String),
    /// Somebody orders a backup.
    Backup(String),
    /// Somebody orders a proof of the newest backup.
    Prove(String),
    /// Somebody has only the archive of a retired service kept.
    Archive(String),
    /// A repository is so from now on.
    Repository(Repository),
    /// An alert channel is so from now on.
    Channel(Channel),
    /// There is an incident that is so, in time.
    Incident(Incident),
    /// The posture begins so, in time.
    Posture(Posture),
    /// The server of a service is killed.
    KillServer(String),
    /// The server of a service stops without ending.
    FreezeServer(String),
    /// The server of a service dies now and after every start.
    CrashLoop(String),
    /// The server of a service can live again.
    Cure(String),
    /// The agent of a host is killed.
    KillAgent(String),
    /// The agent of a host stops without ending.
    PauseAgent(String),
    /// The agent of a host is started, or goes on.
    StartAgent(String),
    /// The stream between a host's agent and the controller is cut.
    CutStream(String),
    /// A host loses its power.
    PowerOff(String),
    /// A host has its power back.
    PowerOn(String),
    /// A host is cut off from everything but clients beside it, and nobody is told.
    CutOff(String),
    /// A host is reached again.
    Reach(String),
    /// The controller is killed; what supervises it starts it again after 2 s.
    KillController(Point),
    /// The gateway is killed.
    KillGateway,
    /// The gateway is started.
    StartGateway,
    /// A service becomes so in time.
    Expect(Expect),
    /// A service stays so.
    Stays(Stays),
    /// A host becomes so in time.
    ExpectHost(ExpectHost),
    /// The journal says something in time.
    Journal(Says),
    /// Nothing that the journal says about a service has this in it, for a while.
    Silence(Silence),
    /// Everything that clients were told is safe up to now can be had back from a service's archive in time.
    Archived(Archived),
    /// The transcript shows why a service is as it is.
    Explain(String),
}

/// A new service: its name, or its name and its plan.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum New {
    /// Of the default plan.
    Name(String),
    /// Of another.
    Planned {
        /// Its name.
        name: String,
        /// Its plan.
        plan: String,
    },
}

impl New {
    /// Its name, and its plan where one is named.
    #[must_use]
    pub fn parts(&self) -> (String, Option<String>) {
        match self {
            Self::Name(name) => (name.clone(), None),
            Self::Planned { name, plan } => (name.clone(), Some(plan.clone())),
        }
    }
}

/// How a repository is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Which.
    pub name: String,
    /// How.
    pub is: Condition,
}

/// How an alert channel is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Which.
    pub name: String,
    /// How.
    pub is: Answers,
}

/// What an incident must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Its domain: `host h1`, `service orders`.
    pub domain: String,
    /// Its state.
    pub state: String,
    /// How long that may take; not at all if absent.
    #[serde(default)]
    pub within: Lasting,
}

/// What the posture must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posture {
    /// Its first word.
    pub is: String,
    /// How long that may take; not at all if absent.
    #[serde(default)]
    pub within: Lasting,
}

/// What the journal must not say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// The service or host it would be about.
    pub about: String,
    /// A part of the text.
    pub says: String,
    /// How long.
    #[serde(rename = "for")]
    pub lasting: Lasting,
}

/// What must be archived.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archived {
    /// Whose rows.
    pub service: String,
    /// How long that may take; not at all if absent.
    #[serde(default)]
    pub within: Lasting,
}

/// When the controller is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Between two turns.
    Now,
    /// When it has decided next, and not recorded it.
    BeforeRecord,
    /// When it has recorded its next decision, and not sent it.
    AfterRecord,
}

/// What a service must be; what is not named may be anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Which service.
    pub service: String,
    /// The state shown.
    pub state: Option<State>,
    /// The operation under way; `none` for none.
    pub operation: Option<String>,
    /// A finding it has.
    pub finding: Option<String>,
    /// How long that may take; not at all if absent.
    #[serde(default)]
    pub within: Lasting,
}

/// What a service must stay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stays {
    /// Which service.
    pub service: String,
    /// The state shown.
    pub state: State,
    /// How long.
    #[serde(rename = "for")]
    pub lasting: Lasting,
}

/// What a host must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectHost {
    /// Which host.
    pub host: String,
    /// Its state.
    pub state: host::State,
    /// How long that may take; not at all if absent.
    #[serde(default)]
    pub within: Lasting,
}

/// What the journal must say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Says {
    /// The service or host it is about.
    pub about: String,
    /// A part of the text.
    pub says: String,
    /// How long that may take; not at all if absent.
    #[serde(default)]
    pub within: Lasting,
}

/// What must be so of a service at the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The state shown.
    pub state: State,
    /// How often its server was started.
    pub starts: Option<u64>,
    /// How often a person was told.
    pub pages: Option<usize>,
    /// How full the disk of a host with a member may have been at most, in percent.
    pub disk_max_percent: Option<u64>,
    /// The longest time for which no client's write was acknowledged.
    pub outage_max: Option<Lasting>,
}

/// A length of time as people write it: `500 ms`, `10 s`, `2 min`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasting(pub Span);

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        span(&text).map(Self).ok_or_else(|| {
            let text = format!("{text:?} is no time; write it as 500 ms, 10 s or 2 min");
            serde::de::Error::custom(text)
        })
    }
}

/// A span as people write it.
fn span(text: &str) -> Option<Span> {
    let (number, unit) = text.split_once(' ')?;
    let number: u64 = number.parse().ok()?;
    let unit = match unit {
        "ms" => Span::millis(1),
        "s" => Span::secs(1),
        "min" => Span::mins(1),
        _ => return None,
    };
    Some(unit.times(number)).filter(|&span| span <= SPAN_MAX)
}

impl Script {
    /// The chain of its channels.
    #[must_use]
    pub fn chain(&self) -> Vec<chain::Step> {
        let step = |&channel: &Label| chain::Step { channel, ack_within: self.ack_within.0 };
        self.channels.iter().map(step).collect()
    }

    /// Reads a script.
    ///
    /// # Errors
    /// [`Error`] says what is wrong, and where.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let mut script: Self = toml::from_str(text).map_err(|error| Error::Form {
            name: name.to_owned(),
            like: "create",
            source: Box::new(error),
        })?;
        let bounds = |what: String| Err(Error::Bounds { name: name.to_owned(), what });
        if script.hosts == 0 || script.hosts > HOSTS_MAX {
            return bounds(format!("hosts = {}; write 1 to {HOSTS_MAX}", script.hosts));
        }
        if script.repositories > REPOSITORIES.len() {
            let most = REPOSITORIES.len();
            return bounds(format!("repositories = {}; write 0 to {most}", script.repositories));
        }
        if script.write_every.0 < WRITE_MIN {
            return bounds(format!("write_every = {}; write 1 ms or more", script.write_every.0));
        }
        if script.steps.is_empty() || script.steps.len() > STEPS_MAX {
            return bounds(format!("{} steps; write 1 to {STEPS_MAX}", script.steps.len()));
        }
        if let Err(why) = script.policy.check() {
            return bounds(format!("policy: {why}"));
        }
        name.clone_into(&mut script.name);
        Ok(script)
    }
}

impl Step {
    /// Whether it says what must be so, and does nothing.
    #[must_use]
    pub const fn is_expected(&self) -> bool {
        matches!(
            self,
            Self::Expect(_)
                | Self::Stays(_)
                | Self::ExpectHost(_)
                | Self::Incident(_)
                | Self::Posture(_)
                | Self::Journal(_)
                | Self::Silence(_)
                | Self::Archived(_)
        )
    }
}

impl End {
    /// What it says of a service, in words.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        let mut text = format!("at the end {name} is {}", self.state);
        let mut more = |what: Option<String>| text.extend(what);
        more(self.starts.map(|starts| format!(", started {starts} times")));
        more(self.pages.map(|pages| format!(", people were told of it {pages} times")));
        more(self.disk_max_percent.map(|most| format!(", no disk was over {most} % full")));
        more(self.outage_max.map(|most| format!(", its clients waited {} at most", most.0)));
        text
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(lasting) => write!(f, "{} pass", lasting.0),
            Self::Create(New::Name(name)) => write!(f, "order: create {name}"),
            Self::Create(New::Planned { name, plan }) => {
                write!(f, "order: create {name} of plan {plan}")
            }
            Self::Restart(name) => write!(f, "order: restart {name}"),
            Self::Retire(name) => write!(f, "order: retire {name}"),
            Self::Revive(name) => write!(f, "order: revive {name}"),
            Self::Terminate(name) => write!(f, "order: terminate {name}"),
            Self::Backup(name) => write!(f, "order: a backup of {name}"),
            Self::Prove(name) => write!(f, "order: a proof of {name}"),
            Self::Archive(name) => write!(f, "order: archive {name}"),
            Self::Repository(of) if of.is == Condition::Up => {
                write!(f, "repair: repository {} is {}", of.name, of.is)
            }
            Self::Repository(of) => write!(f, "fault: repository {} is {}", of.name, of.is),
            Self::Channel(of) if of.is == Answers::Works => {
                write!(f, "repair: alert channel {} {}", of.name, of.is)
            }
            Self::Channel(of) => write!(f, "fault: alert channel {} {}", of.name, of.is),
            Self::Incident(of) => write!(f, "there is an incident of {}: {}", of.domain, of.state),
            Self::Posture(of) => write!(f, "the posture is {}", of.is),
            Self::Silence(not) => {
                let Silence { about, says, lasting } = not;
                write!(f, "the journal of {about} says nothing with {says:?} for {}", lasting.0)
            }
            Self::Archived(of) => {
                write!(f, "everything that {} acknowledged can be restored", of.service)
            }
            Self::KillServer(name) => write!(f, "fault: the server of {name} is killed"),
            Self::FreezeServer(name) => write!(f, "fault: the server of {name} is stopped"),
            Self::CrashLoop(name) => {
                write!(f, "fault: the server of {name} dies, and after every start")
            }
            Self::Cure(name) => write!(f, "repair: the server of {name} can live again"),
            Self::KillAgent(host) => write!(f, "fault: the agent of {host} is killed"),
            Self::PauseAgent(host) => write!(f, "fault: the agent of {host} is stopped"),
            Self::StartAgent(host) => write!(f, "repair: the agent of {host} is started"),
            Self::CutStream(host) => write!(f, "fault: the stream of {host} is cut"),
            Self::PowerOff(host) => write!(f, "fault: {host} loses its power"),
            Self::PowerOn(host) => write!(f, "repair: {host} has its power back"),
            Self::CutOff(host) => write!(f, "fault: {host} is cut off from everything"),
            Self::Reach(host) => write!(f, "repair: {host} is reached again"),
            Self::KillController(Point::Now) => f.write_str("fault: the controller is killed"),
            Self::KillController(Point::BeforeRecord) => {
                f.write_str("fault: the controller is killed before it records its next decision")
            }
            Self::KillController(Point::AfterRecord) => {
                f.write_str("fault: the controller is killed after it records its next decision")
            }
            Self::KillGateway => f.write_str("fault: the gateway is killed"),
            Self::StartGateway => f.write_str("repair: the gateway is started"),
            Self::Expect(expect) => write!(f, "{expect}"),
            Self::Stays(stays) => {
                write!(f, "{} stays {} for {}", stays.service, stays.state, stays.lasting.0)
            }
            Self::ExpectHost(expect) => write!(f, "{} is {}", expect.host, expect.state),
            Self::Journal(says) => write!(f, "the journal of {} says {:?}", says.about, says.says),
            Self::Explain(name) => write!(f, "why is {name} as it is?"),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.map(|state| format!("is {state}"));
        let operation = self.operation.as_ref().map(|name| format!("has operation {name}"));
        let finding = self.finding.as_ref().map(|name| format!("has finding {name}"));
        let all: Vec<String> = [state, operation, finding].into_iter().flatten().collect();
        write!(f, "{} {}", self.service, all.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let read = ["500 ms", "10 s", "2 min"].map(|text| span(text).expect(text));
        assert_eq!(read, [Span(500), Span::secs(10), Span::mins(2)]);
        for wrong in ["10", "10s", "-1 s", "10 h", "", "9999999 min"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_script_is_told() {
        let told = |text: &str| {
            let error = Script::parse("mine", text).expect_err("wrong");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error} {}", source.unwrap_or_default())
        };
        let head = "title = 'a'\nstory = 'b'\n";
        let step = "steps = [{ wait = '1 s' }]\n";
        assert!(told("").contains("title"));
        assert!(told(&format!("{head}hosts = 99\n{step}")).contains("write 1 to 9"));
        assert!(told(&format!("{head}hosts = 1\nsteps = []")).contains("0 steps"));
        assert!(told(&format!("{head}hosts = 1\nsteps = [{{ wait = 'x' }}]")).contains("no time"));
        let unknown = told(&format!("{head}hosts = 1\nsteps = [{{ explode = 'h1' }}]"));
        assert!(unknown.contains("explode") && unknown.contains("power_off"), "{unknown}");
        assert!(told(&format!("{head}hosts = 1\n{step}color = 'red'")).contains("color"));
    }
}
