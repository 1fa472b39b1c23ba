//! Channels that tell people, and a person, for all cells of a fleet.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::alert::{Delivery, IncidentId, Purpose, Receipt, Told};
use evenkeel_core::cell::Entry;
use evenkeel_core::id::CellId;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::incident::fold::{Acknowledgement, Fold, Standings, Way, Word};
use evenkeel_core::label::Label;
use evenkeel_core::order::Order;
use evenkeel_core::time::{Span, Time};

use crate::world::Answers;

/// What a person was told.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub at: Time,
    pub channel: String,
    pub title: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct People {
    chain: Vec<Step>,
    answers: BTreeMap<String, Answers>,
    /// Whether names are resolved, and the channels that need none.
    pub named: bool,
    by_address: Vec<Label>,
    fold: Fold,
    /// Every cell's word goes out, whatever others said: a rule broken on purpose.
    pub each: bool,
    acks_after: Option<Span>,
    /// When a person says that they know of what.
    acks: BTreeMap<(Time, CellId, IncidentId), ()>,
    /// What people know.
    known: BTreeSet<(CellId, IncidentId)>,
    pub pages: Vec<Page>,
    /// People were told again of what they had acknowledged.
    pub again: Vec<String>,
    /// A channel says nothing twice within this.
    soon: Span,
}

impl People {
    pub fn new(chain: &[Step], by_address: &[Label], acks_after: Option<Span>) -> Self {
        let answers = chain.iter().map(|step| (step.channel.to_string(), Answers::Works)).collect();
        let soon = chain.iter().map(|step| step.ack_within).min().unwrap_or_default();
        let (chain, by_address) = (chain.to_vec(), by_address.to_vec());
        Self { chain, answers, named: true, by_address, acks_after, soon, ..Self::default() }
    }

    pub fn chain(&self) -> Vec<Step> {
        self.chain.clone()
    }

    /// A channel is so from now on; whether there is one of that name.
    pub fn channel(&mut self, name: &str, answers: Answers) -> bool {
        self.answers.get_mut(name).map(|known| *known = answers).is_some()
    }

    /// A cell wants something delivered: what cells are told.
    pub fn deliver(&mut self, cell: CellId, delivery: Delivery, now: Time) -> Vec<(CellId, Entry)> {
        let (id, purpose) = ((cell, delivery.notice.incident), delivery.notice.purpose);
        let way = match self.each {
            true => Way::Out(delivery),
            false => self.fold.deliver(cell, delivery),
        };
        let delivery = match way {
            Way::Waits => return Vec::new(),
            Way::Answered(told) => return vec![(cell, Entry::Told(told))],
            Way::Known(told, too) => {
                return vec![(cell, Entry::Told(told)), self.acknowledged_too(too)];
            }
            Way::Out(delivery) => delivery,
        };
        let channel = delivery.channel.to_string();
        let found = self.named || self.by_address.contains(&delivery.channel);
        let answers = match self.answers.get(&channel).copied().unwrap_or(Answers::Refuses) {
            Answers::Works | Answers::Lies if !found => Answers::Refuses,
            answers => answers,
        };
        let outcome = match answers {
            // Its cell gives it up, and with it all that wait for it.
            Answers::Hangs => return Vec::new(),
            Answers::Refuses => Err("it takes nothing now".to_owned()),
            Answers::Works | Answers::Lies => {
                Ok(Receipt { text: format!("message {}", delivery.number) })
            }
        };
        if answers == Answers::Works {
            match purpose {
                Purpose::Raise => self.reach(id, &channel, &delivery, now),
                Purpose::Resolve | Purpose::Exercise => {}
            }
        }
        let all = self.fold.told(cell, Told::new(delivery.number, outcome));
        all.into_iter().map(|(cell, told)| (cell, Entry::Told(told))).collect()
    }

    /// How a cell's incidents stand, after what it sent was delivered: what cells are told. Ends go to channels, which
    /// nobody here counts.
    pub fn learn(&mut self, cell: CellId, standings: &Standings) -> Vec<(CellId, Entry)> {
        if self.each {
            return Vec::new();
        }
        let learnt = self.fold.learn(cell, standings);
        let told = learnt.told.into_iter().map(|(cell, told)| (cell, Entry::Told(told)));
        let mut entries: Vec<_> = told.collect();
        entries.extend(learnt.acknowledged.into_iter().map(|too| self.acknowledged_too(too)));
        entries
    }

    fn acknowledged_too(&mut self, too: Acknowledgement) -> (CellId, Entry) {
        let id = (too.cell, too.incident);
        self.known.insert(id);
        acknowledge(id, too.word)
    }

    fn reach(&mut self, id: (CellId, IncidentId), channel: &str, of: &Delivery, now: Time) {
        let title = of.notice.title.clone();
        if self.known.contains(&id) {
            self.again.push(title.clone());
        }
        // One channel says one thing once, until a person had their time to say that they know. What it is about
        // comes first in a title.
        let about = |title: &str| title.split(": ").next().map(str::to_owned);
        let soon = |page: &&Page| now.since(page.at) < self.soon;
        let mut recent = self.pages.iter().rev().take_while(soon);
        if recent.any(|page| page.channel == channel && about(&page.title) == about(&title)) {
            self.again.push(title.clone());
        }
        self.pages.push(Page { at: now, channel: channel.to_owned(), title });
        if let Some(after) = self.acks_after
            && !self.known.contains(&id)
        {
            self.acks.insert((now + after, id.0, id.1), ());
        }
    }

    /// What is due by now: what cells are told.
    pub fn due(&mut self, now: Time) -> Vec<(CellId, Entry)> {
        let mut entries = Vec::new();
        while let Some((&(at, cell, incident), ())) = self.acks.first_key_value()
            && at <= now
        {
            self.acks.pop_first();
            // Its cell records it; then all that have the same are told.
            self.known.insert((cell, incident));
            let word = Word { by: "a person".to_owned(), note: None };
            entries.push(acknowledge((cell, incident), word));
        }
        entries
    }

    /// When something is due.
    pub fn next(&self) -> Option<Time> {
        self.acks.first_key_value().map(|(&(at, ..), ())| at)
    }

    pub const fn folded(&self) -> u64 {
        self.fold.folded()
    }
}

/// A person says that they know.
fn acknowledge((cell, incident): (CellId, IncidentId), word: Word) -> (CellId, Entry) {
    let order = Order::Acknowledge { incident, note: word.note };
    (cell, Entry::Order { ticket: 0, by: word.by, order })
}
