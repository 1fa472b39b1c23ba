//! One trouble that many cells see is told once.
//!
//! The story: each cell groups its own troubles and tells its own people. When object storage is down, every
//! cell of a fleet has an incident on the same repository. Who delivers for several cells asks here first: the
//! first notice about a domain goes out, those of other cells wait for what comes of it and get the same
//! answer. A person who acknowledges one acknowledges all; that it is over is told when it is over everywhere.
//!
//! Invariants: every delivery is answered, by the channel's own word about the one that went out; what was
//! folded is never lost: when the one that went out fails, each cell is told so, and goes on in its own chain.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::{Delivery, IncidentId, Purpose, Receipt, Told};
use crate::id::CellId;
use crate::label::Label;

/// A delivery, and whose.
type Number = (CellId, u64);

/// What several cells tell, as one.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    shared: BTreeMap<String, Shared>,
    /// Deliveries that went out, and what is answered with them.
    out: BTreeMap<Number, (String, Label, Vec<Number>)>,
    /// The last word of each channel about its own exercise.
    exercises: BTreeMap<Label, (CellId, Option<Result<Receipt, String>>)>,
    folded: u64,
}

/// A trouble of one domain.
#[derive(Clone, Debug, Default)]
struct Shared {
    /// Whose incidents are it.
    incidents: BTreeSet<(CellId, IncidentId)>,
    /// Through which channels people were told, and what those said.
    told: BTreeMap<Label, Said>,
    acknowledged: bool,
}

#[derive(Clone, Debug)]
enum Said {
    /// It was not answered yet.
    Waits(Number),
    Confirmed(Receipt),
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
    Known(Told),
}

impl Fold {
    /// A cell wants something delivered.
    pub fn deliver(&mut self, cell: CellId, delivery: Delivery) -> Way {
        let number = (cell, delivery.number);
        let (channel, domain) = (delivery.channel, delivery.notice.domain.clone());
        match delivery.notice.purpose {
            // A channel is exercised by one of the cells.
            Purpose::Exercise => match self.exercises.get(&channel) {
                Some((by, said)) if *by != cell => {
                    self.folded += 1;
                    let ok = || Ok(Receipt { text: "exercised for another cell".to_owned() });
                    let outcome = said.clone().unwrap_or_else(ok);
                    Way::Answered(Told { number: delivery.number, outcome })
                }
                _ => {
                    self.exercises.insert(channel, (cell, None));
                    self.out.insert(number, (domain, channel, Vec::new()));
                    Way::Out(delivery)
                }
            },
            Purpose::Raise => self.raise(number, delivery),
            Purpose::Resolve => {
                let Some(shared) = self.shared.get_mut(&domain) else { return Way::Out(delivery) };
                shared.incidents.remove(&(cell, delivery.notice.incident));
                if shared.incidents.is_empty() {
                    self.shared.remove(&domain);
                    self.out.insert(number, (domain, channel, Vec::new()));
                    return Way::Out(delivery);
                }
                self.folded += 1;
                let text = "told when it is over in every cell".to_owned();
                Way::Answered(Told { number: delivery.number, outcome: Ok(Receipt { text }) })
            }
        }
    }

    fn raise(&mut self, number: Number, delivery: Delivery) -> Way {
        let (channel, domain) = (delivery.channel, delivery.notice.domain.clone());
        let shared = self.shared.entry(domain.clone()).or_default();
        let first = shared.incidents.iter().next().is_none_or(|first| first.0 == number.0);
        shared.incidents.insert((number.0, delivery.notice.incident));
        if shared.acknowledged {
            self.folded += 1;
            let text = "a person knows of it by another cell's word".to_owned();
            return Way::Known(Told { number: delivery.number, outcome: Ok(Receipt { text }) });
        }
        match shared.told.get(&channel) {
            // Its own cell tells it again when it is time to.
            _ if first => {}
            Some(Said::Waits(out)) => {
                self.folded += 1;
                if let Some((_, _, waiting)) = self.out.get_mut(out) {
                    waiting.push(number);
                }
                return Way::Waits;
            }
            Some(Said::Confirmed(receipt)) => {
                self.folded += 1;
                let outcome = Ok(receipt.clone());
                return Way::Answered(Told { number: delivery.number, outcome });
            }
            None => {}
        }
        shared.told.insert(channel, Said::Waits(number));
        self.out.insert(number, (domain, channel, Vec::new()));
        Way::Out(delivery)
    }

    /// A channel answered: what each cell is told.
    pub fn told(&mut self, cell: CellId, told: &Told) -> Vec<(CellId, Told)> {
        let mut all = vec![(cell, told.clone())];
        let Some((domain, channel, waiting)) = self.out.remove(&(cell, told.number)) else {
            return all;
        };
        if let Some((by, said)) = self.exercises.get_mut(&channel)
            && *by == cell
            && said.is_none()
        {
            *said = Some(told.outcome.clone());
        }
        if let Some(shared) = self.shared.get_mut(&domain) {
            match &told.outcome {
                Ok(receipt) => {
                    shared.told.insert(channel, Said::Confirmed(receipt.clone()));
                }
                Err(_) => drop(shared.told.remove(&channel)),
            }
        }
        let outcome = &told.outcome;
        all.extend(
            waiting
                .into_iter()
                .map(|(cell, number)| (cell, Told { number, outcome: outcome.clone() })),
        );
        all
    }

    /// A delivery was given up by its cell: its channel said nothing in time. Whoever waits for it goes on.
    pub fn forget(&mut self, cell: CellId, number: u64) -> Vec<(CellId, Told)> {
        let outcome = Err("the channel said nothing".to_owned());
        let mut all = self.told(cell, &Told { number, outcome });
        // Its own cell knows.
        all.remove(0);
        all
    }

    /// A person acknowledged one cell's incident: the incidents of others that are the same.
    pub fn acknowledged(
        &mut self,
        cell: CellId,
        incident: IncidentId,
    ) -> Vec<(CellId, IncidentId)> {
        let of = |shared: &&mut Shared| shared.incidents.contains(&(cell, incident));
        let Some(shared) = self.shared.values_mut().find(of) else { return Vec::new() };
        shared.acknowledged = true;
        let others = shared.incidents.iter().copied();
        others.filter(|other| *other != (cell, incident)).collect()
    }

    /// Deliveries that did not go out, since others' about the same did.
    #[must_use]
    pub const fn folded(&self) -> u64 {
        self.folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Notice;
    use crate::check::Severity;

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    fn delivery(number: u64, purpose: Purpose, domain: &str) -> Delivery {
        let notice = Notice {
            incident: IncidentId(1),
            purpose,
            severity: Severity::Critical,
            title: "log waits".to_owned(),
            domain: domain.to_owned(),
            evidence: Vec::new(),
            since: String::new(),
        };
        Delivery { number, channel: label("pager"), notice }
    }

    fn answer(number: u64, outcome: Result<&str, &str>) -> Told {
        let receipt = |text: &str| Receipt { text: text.to_owned() };
        Told { number, outcome: outcome.map(receipt).map_err(str::to_owned) }
    }

    #[test]
    fn one_of_many_goes_out_and_all_get_its_answer() {
        let mut fold = Fold::default();
        let raise = |number| delivery(number, Purpose::Raise, "repository north");
        assert!(matches!(fold.deliver(CellId(1), raise(7)), Way::Out(_)));
        assert_eq!(fold.deliver(CellId(2), raise(7)), Way::Waits);
        let told = fold.told(CellId(1), &answer(7, Ok("key")));
        assert_eq!(told, [(CellId(1), answer(7, Ok("key"))), (CellId(2), answer(7, Ok("key")))]);
        assert_eq!(fold.deliver(CellId(3), raise(1)), Way::Answered(answer(1, Ok("key"))));
        assert_eq!(fold.folded(), 2);
        let others = fold.acknowledged(CellId(1), IncidentId(1));
        assert_eq!(others, [(CellId(2), IncidentId(1)), (CellId(3), IncidentId(1))]);
        // Who sees it later tells nobody: a person knows.
        assert!(matches!(fold.deliver(CellId(4), raise(1)), Way::Known(_)));
    }

    #[test]
    fn a_channel_that_fails_or_hangs_fails_for_all_who_waited() {
        let mut fold = Fold::default();
        let raise = |number| delivery(number, Purpose::Raise, "repository north");
        fold.deliver(CellId(1), raise(1));
        fold.deliver(CellId(2), raise(2));
        let told = fold.told(CellId(1), &answer(1, Err("refused")));
        assert_eq!(told[1], (CellId(2), answer(2, Err("refused"))));
        // The next try is another's, if it comes first.
        assert!(matches!(fold.deliver(CellId(2), raise(3)), Way::Out(_)));
        fold.deliver(CellId(3), raise(4));
        let waits = fold.forget(CellId(2), 3);
        assert_eq!(waits, [(CellId(3), answer(4, Err("the channel said nothing")))]);
    }

    #[test]
    fn the_end_is_told_once_and_last() {
        let mut fold = Fold::default();
        for cell in 1..=3 {
            fold.deliver(CellId(cell), delivery(1, Purpose::Raise, "zone a"));
        }
        let end = |fold: &mut Fold, cell| {
            fold.deliver(CellId(cell), delivery(2, Purpose::Resolve, "zone a"))
        };
        assert!(matches!(end(&mut fold, 1), Way::Answered(_)));
        assert!(matches!(end(&mut fold, 2), Way::Answered(_)));
        assert!(matches!(end(&mut fold, 3), Way::Out(_)));
        assert!(matches!(
            fold.deliver(CellId(1), delivery(3, Purpose::Raise, "zone a")),
            Way::Out(_)
        ));
    }

    #[test]
    fn what_is_of_one_domain_keeps_nothing_else_waiting() {
        let mut fold = Fold::default();
        fold.deliver(CellId(1), delivery(1, Purpose::Raise, "host a1"));
        let other = fold.deliver(CellId(2), delivery(1, Purpose::Raise, "host b1"));
        assert!(matches!(other, Way::Out(_)));
    }
}
