//! Channels that tell people, a person who acknowledges after a while, and what must hold of both.

use std::collections::BTreeSet;

use evenkeel_core::alert::{Delivery, IncidentId, Purpose, Receipt, Told};
use evenkeel_core::cell::Entry;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::label::Label;
use evenkeel_core::order::Order;
use evenkeel_core::time::{Span, Time};
use evenkeel_core::view;
use serde::{Deserialize, Serialize};

use super::{Event, World};
use crate::report::Invariant;

/// A channel answers after this.
const ANSWERS: Span = Span::millis(200);
/// What a channel's answer, a controller's start and a time in which all members were fine may take on top
/// of every limit.
const SLACK: Span = Span::mins(3);

/// How a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// It confirms, and people are told.
    Works,
    /// It says that it cannot.
    Refuses,
    /// It says nothing, and nobody is told.
    Hangs,
    /// It confirms, and nobody is told.
    Lies,
}

impl Answers {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Works, Self::Refuses, Self::Hangs, Self::Lies];
}

impl std::fmt::Display for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Works => "works",
            Self::Refuses => "refuses",
            Self::Hangs => "hangs",
            Self::Lies => "lies",
        })
    }
}

/// The channels of a world, and who is behind them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pager {
    channels: Vec<Channel>,
    /// A person acknowledges what they were told of after this; `None`: never.
    acks_after: Option<Span>,
    /// What people were told of.
    reached: BTreeSet<IncidentId>,
    /// What they acknowledged.
    acknowledged: BTreeSet<IncidentId>,
    /// What anybody was told of, or should have been.
    raised: BTreeSet<IncidentId>,
    /// How often people were told of something new.
    pub pages: u64,
}

#[derive(Clone, Debug)]
struct Channel {
    step: Step,
    answers: Answers,
    since: Time,
}

impl Pager {
    pub fn new(chain: &[Step], acks_after: Option<Span>) -> Self {
        let channel =
            |step: &Step| Channel { step: *step, answers: Answers::Works, since: Time(0) };
        Self { channels: chain.iter().map(channel).collect(), acks_after, ..Self::default() }
    }

    pub fn chain(&self) -> Vec<Step> {
        self.channels.iter().map(|channel| channel.step).collect()
    }
}

impl World {
    /// A channel is so from now on.
    ///
    /// # Errors
    /// There is no such channel.
    pub fn channel(&mut self, name: &str, answers: Answers) -> Result<(), String> {
        let channels = &mut self.pager.channels;
        let found = channels.iter_mut().find(|channel| channel.step.channel.as_str() == name);
        let found = found.ok_or_else(|| format!("there is no channel {name}"))?;
        if found.answers != answers {
            (found.answers, found.since) = (answers, self.now);
        }
        Ok(())
    }

    /// A delivery goes out through a channel.
    pub(super) fn alert(&mut self, delivery: Delivery) {
        let Delivery { number, channel, notice } = delivery;
        let (id, purpose) = (notice.incident, notice.purpose);
        self.check(Invariant::PeopleAreTold);
        if purpose == Purpose::Raise && self.pager.acknowledged.contains(&id) {
            self.fail(
                Invariant::PeopleAreTold,
                format!("{id}: people are told again of what they acknowledged"),
            );
        }
        if purpose == Purpose::Raise && self.pager.raised.insert(id) {
            self.hold_to_limits(id);
        }
        let known = self.pager.channels.iter().find(|known| known.step.channel == channel);
        let Some(answers) = known.map(|known| known.answers) else {
            let text = format!("{channel} is told of {id}, and there is no such channel");
            return self.fail(Invariant::PeopleAreTold, text);
        };
        let what = match purpose {
            Purpose::Raise => format!("{id}: {}", notice.title),
            Purpose::Resolve => format!("{id} is over"),
            Purpose::Exercise => "an exercise".to_owned(),
        };
        self.tell(|_| format!("{channel} ({answers}) is told of {what}"));
        let outcome = match answers {
            Answers::Hangs => return,
            Answers::Refuses => Err("it takes nothing now".to_owned()),
            Answers::Works | Answers::Lies => Ok(Receipt { text: format!("message {number}") }),
        };
        if answers == Answers::Works && purpose == Purpose::Raise {
            self.reach_person(id);
        }
        self.at(ANSWERS, Event::ToCell(Entry::Told(Told::new(number, outcome))));
    }

    /// A person is told.
    fn reach_person(&mut self, id: IncidentId) {
        self.pager.pages += 1;
        if self.pager.reached.insert(id)
            && let Some(after) = self.pager.acks_after
        {
            self.at(after, Event::Acknowledge(id));
        }
    }

    /// A channel that works from now on must have reached somebody when it and those before it have had
    /// their time.
    fn hold_to_limits(&mut self, id: IncidentId) {
        let patience = self.options.policy.incidents.patience;
        let mut limit = SLACK;
        for step in self.pager.chain() {
            self.at(limit, Event::Reached(id, step.channel, self.now));
            limit = Span(limit.0 + patience.0.max(step.ack_within.0));
        }
    }

    /// The limit of a channel is over.
    pub(super) fn check_reached(&mut self, id: IncidentId, channel: Label, since: Time) {
        let known = self.pager.channels.iter().find(|known| known.step.channel == channel);
        let worked = known.is_some_and(|c| c.answers == Answers::Works && c.since <= since);
        self.check(Invariant::PeopleAreTold);
        let Some(cell) = self.cell.as_ref() else { return };
        let waits = cell.incident(id, self.now).is_some_and(|incident| incident.next.is_some());
        if worked && waits && !self.pager.reached.contains(&id) {
            let text = format!("{id}: nobody was told, though {channel} works all the time");
            self.fail(Invariant::PeopleAreTold, text);
        }
    }

    /// A person says that they know; where nobody hears it they say it again.
    pub(super) fn say_known(&mut self, id: IncidentId) {
        if self.cell.is_none() {
            return self.at(Span::secs(10), Event::Acknowledge(id));
        }
        self.tell(|_| format!("a person acknowledges {id}"));
        self.order(Order::Acknowledge { incident: id, note: None });
        let is_known = self.incidents(true).iter().any(|i| i.id == id && i.acknowledged.is_some());
        if is_known {
            self.pager.acknowledged.insert(id);
        } else if self.incidents(false).iter().any(|i| i.id == id) {
            self.at(Span::secs(10), Event::Acknowledge(id));
        }
    }

    /// Every channel works from now on.
    pub fn heal_channels(&mut self) {
        for step in self.pager.chain() {
            let _ = self.channel(step.channel.as_str(), Answers::Works);
        }
    }

    /// Incidents as people see them; none while there is no controller.
    pub fn incidents(&self, all: bool) -> Vec<view::Incident> {
        self.cell.as_ref().map(|cell| cell.incidents(all, self.now)).unwrap_or_default()
    }

    /// What bounds automation now, in words.
    pub fn posture(&self) -> Option<String> {
        Some(self.cell.as_ref()?.posture(self.now).to_string())
    }

    /// How often people were told of something that needs them.
    pub fn pages(&self) -> u64 {
        self.pager.pages
    }
}
