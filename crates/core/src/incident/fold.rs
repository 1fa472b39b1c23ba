//! One trouble that many cells see is told once.
//!
//! The story: each cell groups its own troubles and tells its own people. When object storage is down, every
//! cell of a fleet has an incident on the same repository. Who delivers for several cells asks here first: the
//! first notice about a domain goes out, those of other cells wait for what comes of it and get the same
//! answer. Whoever tells again what it told before, by its own chain, has it told again: for all, and no more
//! often than one cell alone would. A person who acknowledges one acknowledges all; that it is over is told
//! when it is over everywhere, by the number that it was told by.
//!
//! What cells have recorded ([`Fold::learn`]) is what counts: who knows, who was told by which number, and
//! what has ended without a word. So whoever begins anew goes on where the one before it was.
//!
//! Invariants: every delivery is answered, by the channel's own word about the one that went out; what was
//! folded is never lost: when the one that went out fails, or nothing is heard of it, each cell is told so, and
//! goes on in its own chain; what no cell has any more folds nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{Delivery, IncidentId, Purpose, Receipt, Told};
use crate::id::CellId;
use crate::label::Label;

/// An incident, and whose.
type Of = (CellId, IncidentId);
/// A delivery, and whose.
type Number = (CellId, u64);

/// How a cell's incidents stand, but for those that are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Each of them.
    pub incidents: Vec<Standing>,
    /// Deliveries that the cell waits for.
    pub awaited: BTreeSet<u64>,
}

/// How one incident stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number.
    pub incident: IncidentId,
    /// Its failure domain, in words.
    pub domain: String,
    /// Whether something is wrong still.
    pub is_active: bool,
    /// Channels that were told.
    pub told: Vec<Label>,
    /// Channels that were told by the number of another cell's, and which.
    pub under: BTreeMap<Label, IncidentId>,
    /// The person who knows of it.
    pub known: Option<Word>,
}

/// A person's word that they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Who.
    pub by: String,
    /// What they noted.
    pub note: Option<String>,
}

/// An incident is to be acknowledged, as a person knows of another cell's that is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Whose.
    pub cell: CellId,
    /// Which.
    pub incident: IncidentId,
    /// The person, and what they noted; it names the incident that they acknowledged.
    pub word: Word,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It goes out.
    Out(Delivery),
    /// Another cell's about the same is on its way: it is answered with that.
    Waits,
    /// It is answered at once.
    Answered(Told),
    /// The same, and a person knows of it: it is acknowledged too.
    Known(Told, Acknowledgement),
}

/// What follows from how a cell's incidents stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Ends that waited until it was over everywhere: they go out now. Nobody waits for their answer.
    pub ends: Vec<Delivery>,
    /// What cells are told of deliveries that waited for one that its cell has given up.
    pub told: Vec<(CellId, Told)>,
    /// What is acknowledged too.
    pub acknowledged: Vec<Acknowledgement>,
}

/// What several cells tell, as one.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    shared: BTreeMap<u64, Shared>,
    /// How many there ever were.
    numbers: u64,
    /// By domain.
    domains: BTreeMap<String, u64>,
    /// By incident.
    of: BTreeMap<Of, u64>,
    /// Notices that went out and are not answered.
    out: BTreeMap<Number, Out>,
    folded: u64,
}

/// A trouble of one domain.
#[derive(Clone, Debug, Default)]
struct Shared {
    domain: String,
    /// Whose incidents are it.
    members: BTreeMap<Of, Member>,
    /// Channels, and how each was told.
    told: BTreeMap<Label, Telling>,
    /// Ends that wait until it is over everywhere.
    owed: BTreeMap<Label, Delivery>,
    known: Option<(IncidentId, Word)>,
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// Its end was told, or is held back.
    over: bool,
    acknowledged: bool,
    /// Channels that were told, as far as is learnt.
    told: Vec<Label>,
    /// Channels that know it by a number of its own, from before it was seen to be part of this.
    alone: BTreeMap<Label, IncidentId>,
}

/// How people were told through one channel.
#[derive(Clone, Debug)]
struct Telling {
    /// By which number.
    key: IncidentId,
    said: Said,
    /// For whom that stands: each of these that tells again has it told again.
    stands_for: BTreeSet<Of>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// It was not answered yet.
    Waits(Number),
    Confirmed(Receipt),
    Failed,
}

/// A notice that went out.
#[derive(Clone, Debug)]
struct Out {
    shared: u64,
    channel: Label,
    incident: IncidentId,
    key: IncidentId,
    /// The number that this ends, since it is told by another from now on.
    ends: Option<IncidentId>,
    /// What is answered with it.
    waiting: Vec<(Number, IncidentId)>,
}

impl Fold {
    /// A cell wants something delivered.
    pub fn deliver(&mut self, cell: CellId, delivery: Delivery) -> Way {
        let of = (cell, delivery.notice.incident);
        match delivery.notice.purpose {
            Purpose::Exercise => Way::Out(delivery),
            Purpose::Raise => self.raise(of, delivery),
            Purpose::Resolve => self.resolve(of, delivery),
        }
    }

    fn raise(&mut self, of: Of, mut delivery: Delivery) -> Way {
        let (number, channel) = ((of.0, delivery.number), delivery.channel);
        let at = self.place(of, &delivery.notice.domain);
        // A number that goes on elsewhere is not this one's.
        let before = delivery.notice.under.filter(|key| !self.in_use(channel, *key, at));
        let Some(shared) = self.shared.get_mut(&at) else { return Way::Out(delivery) };
        let member = shared.members.entry(of).or_default();
        member.over = false;
        if let Some((known, word)) = &shared.known {
            member.acknowledged = true;
            self.folded += 1;
            let told = shared.told.get(&channel).or_else(|| shared.told.values().next());
            let key = told.map_or(*known, |telling| telling.key);
            let receipt = Receipt { text: format!("{} knows of {known}", word.by) };
            let told = answer(number, of.1, key, &Ok(receipt));
            return Way::Known(told, acknowledgement(of, *known, word));
        }
        if let Some(telling) = shared.told.get(&channel)
            && let Some(alone) = member.alone.remove(&channel)
        {
            // The page of its own ends: people have another one of the same.
            let notice = &mut delivery.notice;
            notice.purpose = Purpose::Resolve;
            notice.title = format!("told as {} from now on: {}", telling.key, notice.title);
            notice.under = other(alone, of.1);
            let (incident, key, ends) = (of.1, telling.key, Some(alone));
            let out = Out { shared: at, channel, incident, key, ends, waiting: Vec::new() };
            self.out.insert(number, out);
            return Way::Out(delivery);
        }
        let key = before.unwrap_or(of.1);
        let new = || Telling { key, said: Said::Failed, stands_for: BTreeSet::new() };
        let telling = shared.told.entry(channel).or_insert_with(new);
        match &telling.said {
            // It is time to tell it again.
            _ if telling.stands_for.contains(&of) => {}
            Said::Waits(out) => {
                if let Some(out) = self.out.get_mut(out) {
                    self.folded += 1;
                    out.waiting.push((number, of.1));
                    return Way::Waits;
                }
            }
            Said::Confirmed(receipt) => {
                self.folded += 1;
                telling.stands_for.insert(of);
                return Way::Answered(answer(number, of.1, telling.key, &Ok(receipt.clone())));
            }
            Said::Failed => {}
        }
        (telling.said, telling.stands_for) = (Said::Waits(number), BTreeSet::from([of]));
        delivery.notice.under = other(telling.key, of.1);
        let (incident, key) = (of.1, telling.key);
        let out = Out { shared: at, channel, incident, key, ends: None, waiting: Vec::new() };
        self.out.insert(number, out);
        Way::Out(delivery)
    }

    fn resolve(&mut self, of: Of, mut delivery: Delivery) -> Way {
        let (number, channel) = ((of.0, delivery.number), delivery.channel);
        let Some(&at) = self.of.get(&of) else { return Way::Out(delivery) };
        let Some(shared) = self.shared.get_mut(&at) else { return Way::Out(delivery) };
        let member = shared.members.entry(of).or_default();
        member.over = true;
        let alone = member.alone.remove(&channel);
        let told = shared.told.get(&channel).map(|telling| telling.key);
        let goes_on = shared.members.values().any(|member| !member.over);
        let Some(key) = alone.or(told) else { return Way::Out(delivery) };
        delivery.notice.under = other(key, of.1);
        let withheld = || {
            let text = "told when it is over in every cell".to_owned();
            Way::Answered(answer(number, of.1, of.1, &Ok(Receipt { text })))
        };
        if alone.is_none() && goes_on {
            shared.owed.insert(channel, delivery);
        } else if alone.is_some() || !self.in_use(channel, key, at) {
            if let Some(shared) = self.shared.get_mut(&at).filter(|_| alone.is_none()) {
                shared.owed.remove(&channel);
            }
            return Way::Out(delivery);
        }
        self.folded += 1;
        withheld()
    }

    /// A channel answered: what each cell is told.
    pub fn told(&mut self, cell: CellId, told: Told) -> Vec<(CellId, Told)> {
        let number = (cell, told.number);
        let Some(out) = self.out.remove(&number) else { return vec![(cell, told)] };
        let of = (cell, out.incident);
        if let Some(shared) = self.shared.get_mut(&out.shared)
            && let Some(telling) = shared.told.get_mut(&out.channel)
        {
            match (&told.outcome, out.ends) {
                (Ok(_), Some(_)) => drop(telling.stands_for.insert(of)),
                (Err(_), Some(alone)) => {
                    if let Some(member) = shared.members.get_mut(&of) {
                        member.alone.insert(out.channel, alone);
                    }
                }
                _ if telling.said != Said::Waits(number) => {}
                (Ok(receipt), None) => {
                    telling.said = Said::Confirmed(receipt.clone());
                    let waited = out.waiting.iter().map(|(number, id)| (number.0, *id));
                    telling.stands_for.extend(waited);
                }
                (Err(_), None) => {
                    telling.said = Said::Failed;
                    telling.stands_for.clear();
                }
            }
        }
        let all = std::iter::once((number, out.incident)).chain(out.waiting);
        all.map(|(number, id)| (number.0, answer(number, id, out.key, &told.outcome))).collect()
    }

    /// How a cell's incidents stand, after what it sent was delivered.
    pub fn learn(&mut self, cell: CellId, standings: &Standings) -> Learnt {
        let mut learnt = Learnt::default();
        for standing in &standings.incidents {
            self.learn_one((cell, standing.incident), standing);
            self.spread((cell, standing.incident), standing, &mut learnt.acknowledged);
        }
        let active = standings.incidents.iter().filter(|standing| standing.is_active);
        let active: BTreeSet<IncidentId> = active.map(|standing| standing.incident).collect();
        self.settle(cell, &active, &mut learnt.ends);
        let numbers = self.out.range((cell, 0)..=(cell, u64::MAX)).map(|(number, _)| number.1);
        let given_up: Vec<u64> = numbers.filter(|n| !standings.awaited.contains(n)).collect();
        for number in given_up {
            let outcome = Err("the channel said nothing in time".to_owned());
            // Its own cell knows, and is told first.
            learnt.told.extend(self.told(cell, Told::new(number, outcome)).into_iter().skip(1));
        }
        learnt
    }

    /// Whom channels were told of, and by which number.
    fn learn_one(&mut self, of: Of, standing: &Standing) {
        if !standing.is_active {
            return;
        }
        let is_told = !standing.told.is_empty() || standing.known.is_some();
        let at = match self.of.get(&of) {
            Some(&at) => at,
            None if is_told => self.place(of, &standing.domain),
            None => return,
        };
        let Some(shared) = self.shared.get_mut(&at) else { return };
        let member = shared.members.entry(of).or_default();
        for &channel in &standing.told {
            if member.told.contains(&channel) {
                continue;
            }
            member.told.push(channel);
            let key = standing.under.get(&channel).copied().unwrap_or(of.1);
            let text = "told before".to_owned();
            let said = || Said::Confirmed(Receipt { text });
            let Some(telling) = shared.told.get_mut(&channel) else {
                let stands_for = BTreeSet::from([of]);
                shared.told.insert(channel, Telling { key, said: said(), stands_for });
                continue;
            };
            if telling.said == Said::Failed {
                telling.said = said();
            }
            telling.stands_for.insert(of);
            if telling.key != key && key == of.1 {
                member.alone.insert(channel, key);
            }
        }
    }

    /// Who knows of one knows of all that are the same: also of one that is over, if people were told by its
    /// number.
    fn spread(&mut self, of: Of, standing: &Standing, all: &mut Vec<Acknowledgement>) {
        let Some(word) = &standing.known else {
            // It was seen after a person's word.
            if let Some(shared) = self.of.get(&of).and_then(|at| self.shared.get_mut(at))
                && let Some((known, word)) = &shared.known
                && let Some(member) = shared.members.get_mut(&of).filter(|m| !m.acknowledged)
            {
                member.acknowledged = true;
                all.push(acknowledgement(of, *known, word));
            }
            return;
        };
        let told_by = |shared: &&mut Shared| shared.told.values().any(|told| told.key == of.1);
        let found = match (standing.is_active, self.of.get(&of)) {
            (true, Some(at)) => self.shared.get_mut(at),
            _ => self.shared.values_mut().filter(|shared| shared.known.is_none()).find(told_by),
        };
        let Some(shared) = found else { return };
        if let Some(member) = shared.members.get_mut(&of) {
            member.acknowledged = true;
        }
        let (known, word) = shared.known.get_or_insert_with(|| (of.1, word.clone())).clone();
        let unknown = |(_, member): &(&Of, &mut Member)| !member.over && !member.acknowledged;
        for (of, member) in shared.members.iter_mut().filter(unknown) {
            member.acknowledged = true;
            all.push(acknowledgement(*of, known, &word));
        }
    }

    /// What is over in a cell is none of its any more; what is over everywhere is nothing any more.
    fn settle(&mut self, cell: CellId, active: &BTreeSet<IncidentId>, ends: &mut Vec<Delivery>) {
        let own = (cell, IncidentId(0))..=(cell, IncidentId(u32::MAX));
        let own: Vec<(Of, u64)> = self.of.range(own).map(|(of, at)| (*of, *at)).collect();
        for (of, at) in own {
            let Some(shared) = self.shared.get_mut(&at) else { continue };
            let is_over = shared.members.get(&of).is_none_or(|member| member.over);
            if !is_over && active.contains(&of.1) {
                continue;
            }
            shared.members.remove(&of);
            self.of.remove(&of);
            if shared.members.is_empty()
                && let Some(shared) = self.shared.remove(&at)
            {
                self.domains.remove(&shared.domain);
                let owed = shared.owed.into_values();
                let over = |end: &Delivery| !self.in_use(end.channel, end.notice.key(), at);
                ends.extend(owed.filter(over));
            }
        }
    }

    /// The trouble that an incident is. One that turns out to be part of a wider domain takes what was told of it
    /// along.
    fn place(&mut self, of: Of, domain: &str) -> u64 {
        let from = self.of.get(&of).copied();
        let to = self.domains.get(domain).copied();
        match (from, to) {
            (Some(from), Some(to)) if from == to => return from,
            (Some(from), None) => {
                if let Some(shared) = self.shared.get_mut(&from)
                    && shared.members.len() == 1
                {
                    self.domains.remove(&shared.domain);
                    domain.clone_into(&mut shared.domain);
                    self.domains.insert(domain.to_owned(), from);
                    return from;
                }
            }
            _ => {}
        }
        let to = to.unwrap_or_else(|| {
            self.numbers += 1;
            self.domains.insert(domain.to_owned(), self.numbers);
            let shared = Shared { domain: domain.to_owned(), ..Shared::default() };
            self.shared.insert(self.numbers, shared);
            self.numbers
        });
        self.of.insert(of, to);
        let member = from.and_then(|from| self.shared.get_mut(&from)?.members.remove(&of));
        if let Some(shared) = self.shared.get_mut(&to) {
            shared.members.insert(of, member.unwrap_or_default());
        }
        if let Some(from) = from
            && self.shared.get(&from).is_some_and(|shared| shared.members.is_empty())
        {
            self.merge(of, from, to);
        }
        to
    }

    /// What was told of a trouble that is nobody's any more is told of another one.
    fn merge(&mut self, of: Of, from: u64, to: u64) {
        let Some(mut old) = self.shared.remove(&from) else { return };
        self.domains.remove(&old.domain);
        self.out.values_mut().filter(|out| out.shared == from).for_each(|out| out.shared = to);
        let Some(shared) = self.shared.get_mut(&to) else { return };
        for (channel, telling) in old.told {
            match shared.told.get(&channel) {
                None => {
                    shared.told.insert(channel, telling);
                    let owed = old.owed.remove(&channel);
                    shared.owed.extend(owed.map(|owed| (channel, owed)));
                }
                Some(known) if known.key != telling.key && telling.said != Said::Failed => {
                    if let Some(member) = shared.members.get_mut(&of) {
                        member.alone.insert(channel, telling.key);
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// Whether something else goes on that a channel knows by this number.
    fn in_use(&self, channel: Label, key: IncidentId, but: u64) -> bool {
        let others = self.shared.iter().filter(|(at, _)| **at != but).map(|(_, shared)| shared);
        let mut told =
            others.filter(|s| s.told.get(&channel).is_some_and(|telling| telling.key == key));
        told.any(|shared| shared.members.values().any(|member| !member.over))
    }

    /// Deliveries that did not go out, since others' about the same did.
    #[must_use]
    pub const fn folded(&self) -> u64 {
        self.folded
    }
}

/// The number that a channel knows it by, where it is another one than its own.
fn other(key: IncidentId, own: IncidentId) -> Option<IncidentId> {
    Some(key).filter(|key| *key != own)
}

/// What a cell is told about a delivery of an incident that a channel knows by a number.
fn answer(
    number: Number,
    own: IncidentId,
    key: IncidentId,
    outcome: &Result<Receipt, String>,
) -> Told {
    let under = other(key, own);
    let outcome = match (outcome, under) {
        (Ok(receipt), Some(key)) => Ok(Receipt { text: format!("as {key}: {}", receipt.text) }),
        _ => outcome.clone(),
    };
    Told { number: number.1, outcome, under }
}

fn acknowledgement(of: Of, known: IncidentId, word: &Word) -> Acknowledgement {
    let said = word.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    let word = Word { by: word.by.clone(), note: Some(format!("with {known}{said}")) };
    Acknowledgement { cell: of.0, incident: of.1, word }
}
