//! Which cell takes what comes: hosts and gateways that say hello, orders about services that there are, that
//! there are not yet, and about the fleet. A new cell is opened here.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::cell::{Cell, Entry, Link, Send, Setup};
use evenkeel_core::id::CellId;
use evenkeel_core::order::{self, Accepted, Order};
use evenkeel_core::report::FromAgent;
use evenkeel_core::route::FromGateway;

use super::cells::Place;
use super::item::{Reply, Window};
use super::whom::{Addressee, addressee};
use super::worker::Worker;
use super::{Unanswered, Whom};

/// So many cells' words are told of an order that all of them took.
const TOLD_MAX: usize = 5;

/// What one round brings, by cell.
#[derive(Default)]
pub(super) struct Round {
    pub windows: BTreeMap<CellId, Window>,
    /// Orders for all cells; each has a round of its own after this one.
    pub fleet: Vec<FleetOrder>,
    /// Cells that were sent hosts they do not have.
    pub expecting: BTreeSet<CellId>,
    /// Services that are about to be, and where: two of one name meet in one cell, which refuses the second.
    names: BTreeMap<String, CellId>,
}

/// An order for all cells.
pub(super) struct FleetOrder {
    by: String,
    order: Order,
    reply: Reply,
}

impl Round {
    pub fn window(&mut self, cell: CellId) -> &mut Window {
        self.windows.entry(cell).or_default()
    }
}

impl Worker {
    /// The cell of whoever says hello; `None`: there is none yet, and it is to ask again.
    pub(super) fn admit(&mut self, link: Link, hello: &Entry, round: &mut Round) -> Option<CellId> {
        let hosts_max = self.hosts_max;
        let cells = self.cells.as_mut()?;
        match hello {
            Entry::Agent { message: FromAgent::Hello(hello), .. } => {
                let id = match cells.place(hello, hosts_max) {
                    Place::Known(id) => return Some(id),
                    Place::Joins(id) => id,
                    Place::Opens(id) => {
                        self.open(id, round);
                        id
                    }
                };
                if let Some(cells) = &mut self.cells {
                    cells.expect(&hello.host, id);
                }
                round.expecting.insert(id);
                self.follow(&hello.host, id, round);
                Some(id)
            }
            Entry::Gateway { message: FromGateway::Hello { gateway, .. }, .. } => {
                let id = match cells.of_host(gateway) {
                    Some(id) => id,
                    None if cells.len() == 1 => cells.find(&Whom::First),
                    // Its host's agent was not heard yet, and only that says which routes are its.
                    None => return None,
                };
                self.gateways.insert(gateway.clone(), link);
                Some(id)
            }
            _ => Some(cells.find(&Whom::First)),
        }
    }

    /// A new cell, as the first one in all that is the fleet's. It is recorded with its first turn.
    fn open(&mut self, id: CellId, round: &mut Round) {
        tracing::info!(
            cell = id.0,
            "a new cell is opened: the newest has all the hosts it may have"
        );
        let cell = self.equipped(Cell::new(Setup { cell: id, ..self.setup.clone() }));
        let now = self.clock.now();
        let Some(cells) = &mut self.cells else { return };
        let first = cells.find(&Whom::First);
        let orders = cells.get(first).map(Cell::fleet_orders).unwrap_or_default();
        cells.insert(cell);
        cells.wake(id, Some(now));
        for (by, order) in orders {
            self.tickets += 1;
            let ticket = self.tickets;
            round.window(id).entries.push(Entry::Order { ticket, by, order });
        }
    }

    /// A gateway that came before its host is sent to come again if it was taken for another cell's.
    fn follow(&mut self, host: &str, cell: CellId, round: &mut Round) {
        let Some(link) = self.gateways.get(host).copied() else { return };
        let elsewhere = self.links.get(&link).map(|stream| stream.cell).filter(|of| *of != cell);
        let Some(was) = elsewhere else { return };
        self.gateways.remove(host);
        self.links.remove(&link);
        round.window(was).entries.push(Entry::GatewayClosed { link });
    }

    /// Puts an order where it is decided.
    pub(super) fn take_order(&mut self, by: String, order: Order, reply: Reply, round: &mut Round) {
        let Some(cells) = &self.cells else {
            // Dropped, which tells whoever asked.
            return;
        };
        let cell = match addressee(&order) {
            Addressee::One(whom) => cells.find(&whom),
            Addressee::All if cells.len() == 1 => cells.find(&Whom::First),
            Addressee::All => return round.fleet.push(FleetOrder { by, order, reply }),
            Addressee::Roomiest(name) => {
                let known = round.names.get(&name).copied().or_else(|| cells.of_service(&name));
                let cell = known.unwrap_or_else(|| cells.roomiest());
                round.names.insert(name, cell);
                cell
            }
            Addressee::Beside(whom, name) => {
                let cell = cells.find(&whom);
                let known = round.names.get(&name).copied().or_else(|| cells.of_service(&name));
                if known.is_some_and(|known| known != cell) {
                    let refused = Unanswered::Refused(order::Error::NameTaken { name });
                    let _ = reply.send(Err(refused));
                    return;
                }
                round.names.insert(name, cell);
                cell
            }
        };
        self.tickets += 1;
        self.replies.insert(self.tickets, reply);
        round.window(cell).entries.push(Entry::Order { ticket: self.tickets, by, order });
    }

    /// Gives an order to every cell, or to none: the first that would refuse it says so, and no other is given
    /// it. All of them record it in one commit.
    pub(super) fn order_all(&mut self, FleetOrder { by, order, reply }: FleetOrder) {
        if let Some(halted) = &self.halted {
            let _ = reply.send(Err(Unanswered::CannotRecord { cause: halted.cause.to_string() }));
            return;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let entry = Entry::Order { ticket, by, order };
        let Some(cells) = &self.cells else { return };
        let ids: Vec<CellId> = cells.ids().collect();
        let refuses = |id: &&CellId| {
            let Some(mut probe) = cells.get(**id).cloned() else { return false };
            let turn = probe.turn(self.clock.now(), std::slice::from_ref(&entry));
            answers(&turn.sends, ticket).any(|answer| answer.is_err())
        };
        let given = ids.iter().find(refuses).map_or(ids.clone(), |id| vec![*id]);
        let windows = given.iter().map(|id| (*id, Window::of(vec![entry.clone()])));
        let Some(turns) = self.run(windows.collect(), &BTreeSet::new()) else {
            let cause = self.halted.as_ref().map_or_else(String::new, |h| h.cause.to_string());
            let _ = reply.send(Err(Unanswered::CannotRecord { cause }));
            return;
        };
        let answers = turns.iter().flat_map(|(id, turn)| {
            answers(&turn.sends, ticket).map(|answer| (*id, answer.clone()))
        });
        let _ = reply.send(together(answers.collect()).map_err(Unanswered::Refused));
    }
}

/// Answers to an order among what is sent.
fn answers(sends: &[Send], of: u64) -> impl Iterator<Item = &Result<Accepted, order::Error>> {
    sends.iter().filter_map(move |send| match send {
        Send::Reply { ticket, result } if *ticket == of => Some(result),
        _ => None,
    })
}

/// What cells said to one order, in one answer.
fn together(
    answers: Vec<(CellId, Result<Accepted, order::Error>)>,
) -> Result<Accepted, order::Error> {
    let mut texts = Vec::new();
    for (id, answer) in answers {
        texts.push(format!("cell {id}: {}", answer?.text));
    }
    let more = texts.len().saturating_sub(TOLD_MAX);
    texts.truncate(TOLD_MAX);
    if more > 0 {
        texts.push(format!("and so {more} cells more"));
    }
    Ok(Accepted { service: None, operation: None, job: None, text: texts.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> Result<Accepted, order::Error> {
        Ok(Accepted { service: None, operation: None, job: None, text: text.to_owned() })
    }

    #[test]
    fn what_many_cells_say_is_one_bounded_answer() {
        let all = (1..=9).map(|n| (CellId(n), accepted("the brake is on"))).collect();
        let text = together(all).unwrap().text;
        assert!(text.starts_with("cell c1: the brake is on; cell c2:"), "{text}");
        assert!(text.ends_with("; and so 4 cells more"), "{text}");
        let refused = vec![(CellId(1), accepted("")), (CellId(2), Err(order::Error::NoReason))];
        assert_eq!(together(refused), Err(order::Error::NoReason));
    }
}
