//! The controller: a real cell, as its shell runs it. Commit, then send.

use std::sync::Arc;

use evenkeel_core::cell::{Cell, Entry, Send, Setup};
use evenkeel_core::goal::{Role, Want};
use evenkeel_core::journal;
use evenkeel_core::order::Order;
use evenkeel_core::report::ToAgent;
use evenkeel_core::route::ToGateway;
use evenkeel_core::time::Span;
use evenkeel_core::toil;
use evenkeel_core::view;
use evenkeel_store::Store;

use super::{CELL, Event, Fault, Line, Process, World};
use crate::report::Invariant;

/// What supervises the controller starts it again after this.
const RESTART: Span = Span::secs(2);

impl World {
    /// One turn of the cell.
    pub(super) fn turn(&mut self, inbox: &[Entry]) {
        let Some(cell) = self.cell.as_mut() else { return };
        let turn = cell.turn(self.now, inbox);
        self.counts.turns += 1;
        self.counts.edges.take(&turn.edges);
        self.trace = evenkeel_core::digest::Digest::of_json(&(self.trace, self.now, &turn));
        if !turn.writes.is_empty() {
            if self.crash_next == Some(Fault::KillBeforeRecord) {
                return self.kill_controller();
            }
            self.store.commit(CELL, &turn.writes).expect("memory does not fail");
            self.counts.transitions += turn.writes.journal.len() as u64;
            for entry in &turn.writes.journal {
                self.hold_to_budgets(entry);
                self.note(|| Line::Journal(entry.clone()));
            }
            if self.crash_next == Some(Fault::KillAfterRecord) {
                return self.kill_controller();
            }
        }
        for send in turn.sends {
            match send {
                Send::Agent { link, message } => {
                    self.hold_to_promise(&message);
                    if let Some(n) = self.hosts.iter().position(|h| h.link == Some(link)) {
                        self.carry(link, false, Event::ToAgent(n, link, message));
                    }
                }
                Send::Gateway { link, message } => {
                    self.hold_to_primaries(&message);
                    self.carry(link, false, Event::ToGateway(link, message));
                }
                Send::Close { link } => self.cut(link),
                Send::Alert(delivery) => self.alert(delivery),
                Send::Reply { ticket, result } => {
                    if result.is_err()
                        && let Some(id) = self.ending.remove(&ticket)
                    {
                        self.ended.remove(&id);
                    }
                    let answer = result.map_or_else(|e| format!("refused: {e}"), |a| a.text);
                    self.note(|| Line::Answer(answer));
                }
            }
        }
        if let Some(at) = turn.wake_at {
            let at = at.max(self.now + Span(1));
            if self.cell_wake != Some(at) {
                self.cell_wake = Some(at);
                self.at(at.since(self.now), Event::WakeCell(self.cell_life));
            }
        }
    }

    /// What begins is within its budgets.
    fn hold_to_budgets(&mut self, entry: &journal::Entry) {
        let (now, rules) = (self.now, (&self.options.policy, &*self.options.remedies));
        let place = |name: &str| {
            let cell = self.cell.as_ref()?;
            let host = cell.service(name, now)?.members.first()?.host.clone();
            let zone = cell.host(&host, now)?.zone;
            Some((host, zone))
        };
        let Some(said) = self.budgets.recorded(entry, rules, place) else { return };
        self.check(Invariant::BudgetsKept);
        if let Err(text) = said {
            self.fail(Invariant::BudgetsKept, text);
        }
    }

    /// What is sent keeps the protocol's promises, whoever decided it.
    fn hold_to_promise(&mut self, message: &ToAgent) {
        let ToAgent::Goals { goals, .. } = message else { return };
        for goal in goals {
            self.check(Invariant::GoalsAreSettled);
            let key = (goal.member, goal.term, goal.revision);
            let known = *self.sent.entry(key).or_insert_with(|| goal.digest());
            if known != goal.digest() {
                let text = format!("{} has two goals {}/{}", goal.member, goal.term, goal.revision);
                self.fail(Invariant::GoalsAreSettled, text);
            }
            let name = goal.identity.name.as_str();
            // A member whose place another has taken goes too.
            let replaced = goal.role == Role::Recruit && goal.has_siblings();
            let ordered = self.is_ended(goal.identity.service);
            if goal.want == Want::Removed && !ordered && !replaced {
                // A retired service's disks go when its archive has everything.
                if let Some(why) = self.unarchived(goal.identity.service) {
                    let text = format!("{name}: it is removed and nobody ordered it ({why})");
                    self.fail(Invariant::GoalsAreSettled, text);
                }
            }
        }
    }

    /// Clients are led to nobody who follows.
    fn hold_to_primaries(&mut self, message: &ToGateway) {
        let ToGateway::Routes { changed, .. } = message else { return };
        for route in changed {
            let Some(target) = route.leads_to() else { continue };
            let follows = self.hosts.iter().any(|host| host.machine.follows(target.port));
            self.check(Invariant::OneWriter);
            if follows {
                let text =
                    format!("clients of {} are led to {}, a standby", route.name, target.member);
                self.fail(Invariant::OneWriter, text);
            }
        }
    }

    pub(super) fn start_controller(&mut self) {
        if self.cell.is_some() {
            return;
        }
        self.check(Invariant::ControllersGoOn);
        let rows = self.store.load_cell(CELL).expect("memory does not fail");
        let setup = Setup {
            cell: CELL,
            store: self.store.id(),
            policy: self.options.policy.clone(),
            kinds: crate::kinds::KINDS,
            remedies: Arc::clone(&self.options.remedies),
        };
        (self.cell_life, self.cell_wake) = (self.cell_life + 1, None);
        match Cell::load(setup, &rows) {
            Ok(mut cell) => {
                cell.equip(evenkeel_kinds::procedures::bundled());
                self.cell = Some(cell);
            }
            Err(error) => {
                let text = format!("what was recorded cannot be loaded: {error}");
                self.fail(Invariant::ControllersGoOn, text);
            }
        }
        self.tell(|_| "a controller begins, with what is recorded".to_owned());
        self.turn(&[Entry::Chain(self.pager.chain())]);
    }

    /// The controller's process ends.
    pub fn kill_controller(&mut self) {
        self.crash_next = None;
        if self.cell.take().is_none() {
            return;
        }
        self.tell(|_| "the controller is killed".to_owned());
        (self.cell_life, self.cell_wake) = (self.cell_life + 1, None);
        // Streams end with the process; what was on its way to it is lost.
        self.events.retain(|_, event| !matches!(event, Event::ToCell(_)));
        for n in 0..self.hosts.len() {
            if let Some(link) = self.hosts[n].link {
                self.carry(link, false, Event::Cut(n, link));
            }
        }
        self.gateway = None;
        self.at(RESTART, Event::Return(Process::Controller));
    }

    /// The controller is killed in its next turn that records something, at this point of it.
    pub fn kill_controller_in_turn(&mut self, point: Fault) {
        self.crash_next = Some(point);
    }

    /// Somebody orders something; nobody hears it while there is no controller.
    pub fn order(&mut self, order: Order) {
        let ticket = self.made;
        if let Order::Terminate { name, .. } = &order {
            self.terminated.insert(name.clone());
            let services = self.services();
            let named = services.iter().find(|service| service.name == *name);
            if let Some(id) = named.map(|service| service.id).filter(|id| self.ended.insert(*id)) {
                self.ending.insert(ticket, id);
            }
        }
        let entry = Entry::Order { ticket, by: "somebody".to_owned(), order };
        self.turn(&[entry]);
    }

    /// Whether somebody ordered the end of a service of this name.
    pub fn was_terminated(&self, name: &str) -> bool {
        self.terminated.contains(name)
    }

    /// Hosts as people see them; none while there is no controller.
    pub fn hosts(&self) -> Vec<view::Host> {
        self.cell.as_ref().map(|cell| cell.hosts(self.now)).unwrap_or_default()
    }

    /// The toil ledger; none while there is no controller.
    pub fn toil(&self) -> Option<toil::Page> {
        self.cell.as_ref().map(|cell| cell.toil(self.now))
    }

    /// Why a service is as it is; nobody knows while there is no controller.
    pub fn explain(&self, name: &str) -> Option<view::Explain> {
        self.cell.as_ref()?.explain(name, self.now)
    }
}
