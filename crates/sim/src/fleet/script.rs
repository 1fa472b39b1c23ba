//! A scenario at scale as it is written: a TOML file with a fleet, policies, a timeline of faults, what must be
//! so, and the figures of the public account it is modelled on.

use std::collections::BTreeMap;

use evenkeel_core::incident::chain;
use evenkeel_core::label::Label;
use evenkeel_core::policy::Policy;
use evenkeel_core::time::Span;
use serde::Deserialize;

use crate::scenario::{Error, Lasting};
use crate::world::Answers;

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
    /// Where its figures are from.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The fleet.
    pub fleet: Shape,
    /// Rules that differ from the defaults, times in milliseconds.
    #[serde(default)]
    pub policy: Policy,
    /// What happens, each at its time.
    #[serde(default)]
    pub timeline: Vec<Happening>,
    /// What must be so.
    #[serde(default)]
    pub assertions: Vec<Expect>,
    /// What the public account says, beside what this comes to.
    #[serde(default)]
    pub account: Vec<Figure>,
}

/// A fleet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// How many services, unless whoever runs it says otherwise.
    pub services: u32,
    /// Members of a host.
    #[serde(default = "per_host")]
    pub per_host: u32,
    /// Services of a cell.
    #[serde(default = "per_cell")]
    pub per_cell: u32,
    /// Zones that hosts are in, in turn.
    #[serde(default = "zones")]
    pub zones: u8,
    /// Racks of each zone that hosts are in, in turn: `a1`, `a2` ...; none if 0.
    #[serde(default)]
    pub racks: u8,
    /// Regions: each cell is in one, in turn, counted from 1. What decides for all cells is in the first.
    #[serde(default = "one")]
    pub regions: u8,
    /// Of a hundred hosts, so many run the image of a canary wave.
    #[serde(default)]
    pub canary_percent: u8,
    /// Of a hundred services, so many are of a plan; the rest are of `dev`.
    #[serde(default)]
    pub plans: BTreeMap<String, u8>,
    /// How long it lasts, from the first fault on.
    pub lasts: Lasting,
    /// The time of day at which the timeline begins, for people.
    #[serde(default)]
    pub begins: String,
    /// The size of each host's disk.
    #[serde(default = "disk_gib")]
    pub disk_gib: u64,
    /// How much of it is used when it begins: of a hundred, from and to.
    #[serde(default = "used")]
    pub used_percent: (u64, u64),
    /// Segments that object storage takes in a second, for every thousand services.
    #[serde(default = "capacity")]
    pub storage_per_thousand: u64,
    /// Channels that tell people of incidents, in order.
    #[serde(default)]
    pub channels: Vec<Label>,
    /// Those of them whose provider is reached by its address: the others are found by name.
    #[serde(default)]
    pub by_address: Vec<Label>,
    /// After a channel confirmed, a person has so long to acknowledge before the next one is told.
    #[serde(default = "ack_within")]
    pub ack_within: Lasting,
    /// A person acknowledges what they were told of after this; never if absent.
    #[serde(default)]
    pub acks_after: Option<Lasting>,
}

const fn per_host() -> u32 {
    50
}
const fn per_cell() -> u32 {
    5_000
}
const fn one() -> u8 {
    1
}
const fn zones() -> u8 {
    3
}
const fn disk_gib() -> u64 {
    1024
}
const fn used() -> (u64, u64) {
    (30, 70)
}
const fn capacity() -> u64 {
    60
}
const fn ack_within() -> Lasting {
    Lasting(Span::mins(5))
}

/// Something happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct Happening {
    /// When, from the beginning.
    pub at: Lasting,
    /// What.
    pub what: What,
}

impl TryFrom<toml::Table> for Happening {
    type Error = String;

    /// A line has its time and one thing that happens then: another key beside it would be a fault that never comes.
    fn try_from(mut line: toml::Table) -> Result<Self, String> {
        let names = |line: &toml::Table| match line.is_empty() {
            true => "nothing".to_owned(),
            false => line.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        };
        let Some(at) = line.remove("at") else {
            let found = names(&line);
            return Err(format!(
                "a line of the timeline says when: at = \"10 min\"; {found} does not"
            ));
        };
        // What reads one line does not know where in the file it is: it is told by its time.
        let when = at.as_str().unwrap_or(at.type_str()).to_owned();
        let here = |error: &str| format!("the line of the timeline at {when}: {error}");
        let at = at.try_into().map_err(|error: toml::de::Error| here(error.message()))?;
        if line.len() != 1 {
            let found = names(&line);
            return Err(here(&format!("one thing happens there beside its time, not {found}")));
        }
        let what = What::deserialize(line).map_err(|error| here(error.message()))?;
        Ok(Self { at, what })
    }
}

/// What happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Object storage gives no answer from now on, or answers again.
    Storage(Storage),
    /// Names are not resolved any more, or are again: object storage and the channels' providers are found by theirs.
    Dns(Storage),
    /// An alert channel is so from now on.
    Channel {
        /// Which.
        name: String,
        /// How.
        is: Answers,
    },
    /// Hosts lose their power and have it back later.
    PowerOff(Share),
    /// Servers die and can live again at once.
    KillServers(Share),
    /// Hosts are cut off from the controller and from the other hosts for a while; clients beside them are not.
    CutOff(Share),
    /// Hosts reach only some of the others, and the controller perhaps: what their switch loses depends on the
    /// pair and on the direction.
    Lossy(Share),
    /// What hosts send, and what is sent to them, takes longer; what is on its way arrives in order.
    Slow(Share),
    /// Servers that run the image of the canary wave die some time after each start, until it is taken back.
    BadImage(Share),
    /// Nothing of the log on a host's disk gets to its archive for a while.
    StuckArchive(Share),
    /// What controllers record in takes nothing from now on, or takes everything again.
    ControlStore(Storage),
    /// Wall clocks jump: those of hosts, and that of every controller.
    ClockJump {
        /// Of a hundred hosts.
        #[serde(default = "all")]
        percent: u64,
        /// By so many seconds; below 0: back.
        by_s: i64,
    },
    /// Agents are stopped and started again; servers run on.
    RestartAgents(Share),
    /// All streams of agents end, and agents dial again.
    CutStreams(Share),
    /// Controllers are killed, and begin again after a while.
    KillControllers {
        /// How long they are away.
        away: Lasting,
    },
}

/// How object storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// It gives no answer.
    Down,
    /// It answers.
    Up,
}

/// Some of the hosts or members.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Of a hundred.
    #[serde(default = "all")]
    pub percent: u64,
    /// Only in this zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Only in this rack.
    #[serde(default)]
    pub rack: Option<String>,
    /// Only in this region, counted from 1.
    #[serde(default)]
    pub region: Option<u8>,
    /// Where links lose packets: of a hundred pairs, so many, for each direction.
    #[serde(default = "all")]
    pub pairs_percent: u64,
    /// Where links are slow: so much longer, each way.
    #[serde(default)]
    pub by: Lasting,
    /// It begins within this, at one for each.
    #[serde(default)]
    pub within: Lasting,
    /// It lasts at least this, for each.
    #[serde(default)]
    pub lasts: Lasting,
    /// And up to so much longer.
    #[serde(default)]
    pub and_up_to: Lasting,
}

const fn all() -> u64 {
    100
}

/// What must be so.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Nothing that clients were told is safe is lost.
    NothingLost,
    /// From here on, from the beginning, every service serves and nothing waits.
    HealthyBy(Lasting),
    /// No service was out for longer.
    OutageMax(Lasting),
    /// People were told no more often.
    PagesMax(u64),
    /// People were told for the first time within this, from the beginning.
    ToldWithin(Lasting),
    /// So many primaries were replaced at most.
    PromotionsMax(u64),
    /// So many at least.
    PromotionsMin(u64),
    /// A remedy began so often at most.
    RemedyMax {
        /// Which.
        name: String,
        /// How often.
        times: u64,
    },
    /// So many servers were started at most.
    StartsMax(u64),
    /// So many members at most were copied anew from another, of a hundred services.
    CopiesMaxPercent(u64),
    /// At no moment that is drawn clients of more services could not write, of a hundred.
    DownMaxPercent(u64),
    /// Some page says this.
    Tells(String),
    /// Storage was asked for half again as much as it bears, or more, for so many seconds at most.
    OverloadMaxS(u64),
    /// So many cells at least were in this posture at some time, in hundredths.
    Posture {
        /// Which.
        is: String,
        /// Of a hundred cells.
        percent: u64,
    },
}

/// A figure of the public account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What.
    pub what: String,
    /// What the account says.
    pub public: String,
    /// What of this run is held against it.
    pub here: Here,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Here {
    /// When everything was well again.
    HealthyAt,
    /// Acknowledged writes that were lost.
    Lost,
    /// What people would have needed, in working and calendar years.
    YearsSaved,
    /// How often people were told.
    Pages,
    /// When they were told first.
    ToldAt,
    /// Services.
    Services,
    /// How long storage was away.
    StorageAway,
    /// Primaries that were replaced.
    Promotions,
    /// Longest outage of a service.
    WorstOutage,
    /// Servers that were started.
    Starts,
    /// Members that were copied anew from another.
    Copies,
}

impl Script {
    /// Whether a text is one of these, and not one with hosts that people name.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("fleet"))
    }

    /// The chain of its channels.
    #[must_use]
    pub fn chain(&self) -> Vec<chain::Step> {
        let step = |&channel: &Label| chain::Step { channel, ack_within: self.fleet.ack_within.0 };
        self.fleet.channels.iter().map(step).collect()
    }

    /// Reads a script.
    ///
    /// # Errors
    /// [`Error`] says what is wrong, and where.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let mut script: Self = toml::from_str(text).map_err(|error| Error::Form {
            name: name.to_owned(),
            like: "zone-loss",
            source: Box::new(error),
        })?;
        script.name = name.to_owned();
        script.check()?;
        Ok(script)
    }
}
