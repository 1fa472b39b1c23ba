//! What happens to hosts, agents and servers: they die, lose their power, are cut off, and come back.

use evenkeel_core::agent::Input;
use evenkeel_core::cell::Entry;
use evenkeel_core::driver::Process;
use evenkeel_core::id::MemberId;

use super::ledger;
use super::seat::Seat;

impl Seat {
    /// A server dies.
    pub fn die(&mut self, id: MemberId) {
        let Some(member) = self.member(id) else { return };
        let (n, slot) = (member.host, member.mind);
        let service = member.stored.applied.goal.identity.service;
        if !self.hosts[n].on || member.server.process == Process::None {
            return;
        }
        let slot = match slot {
            None if self.hosts[n].agent => Some(self.wake(n, &[id], true)),
            slot => slot,
        };
        self.count(service);
        if let Some(member) = self.member_mut(id) {
            member.server.die();
        }
        self.stir(service);
        if let Some(slot) = slot.filter(|_| self.hosts[n].agent) {
            self.think(n, slot, &[Input::Died { member: id }]);
        }
    }

    /// A host loses its power, or has it back.
    pub fn power(&mut self, n: usize, on: bool) {
        if self.hosts[n].on == on {
            return;
        }
        let ids = self.hosts[n].members.clone();
        let services: Vec<_> = ids
            .iter()
            .filter_map(|id| Some(self.member(*id)?.stored.applied.goal.identity.service))
            .collect();
        services.iter().for_each(|service| self.count(*service));
        self.hosts[n].on = on;
        if on {
            self.hosts[n].boots += 1;
            self.start_agent(n);
        } else {
            self.stop_agent(n);
            for id in &ids {
                if let Some(member) = self.member_mut(*id) {
                    let unsynced = ledger::unsynced(&member.stored.applied.goal);
                    member.server.lose_power(unsynced);
                }
                self.forgive(*id);
            }
        }
        services.into_iter().for_each(|service| self.stir(service));
    }

    /// A mind wakes for a member, if there is one to wake.
    pub fn rouse(&mut self, id: MemberId) {
        let Some(member) = self.member(id) else { return };
        let (n, host) = (member.host, &self.hosts[member.host]);
        if member.mind.is_none() && host.on && host.agent {
            let slot = self.wake(n, &[id], true);
            self.think(n, slot, &[]);
        }
    }

    /// An agent is stopped, or begins again.
    pub fn agent(&mut self, n: usize, runs: bool) {
        if !self.hosts[n].on || self.hosts[n].agent == runs {
            return;
        }
        if runs {
            self.start_agent(n);
        } else {
            // Its stream ends with its process.
            if let Some(link) = self.hosts[n].link {
                self.send(n, Entry::AgentClosed { link });
            }
            self.stop_agent(n);
        }
    }

    fn stop_agent(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        (host.agent, host.welcome) = (false, None);
        self.budgets.lost(n);
        let host = &mut self.hosts[n];
        if let Some(link) = host.link.take() {
            self.links.remove(&link);
        }
        self.hosts[n].minds.clear();
        for id in self.hosts[n].members.clone() {
            if let Some(member) = self.member_mut(id) {
                member.mind = None;
            }
        }
    }

    /// An agent begins with what it kept: every member is looked at.
    fn start_agent(&mut self, n: usize) {
        self.hosts[n].agent = true;
        let ids = self.hosts[n].members.clone();
        if !ids.is_empty() {
            self.wake(n, &ids, false);
        }
        self.dial(n);
    }
}
