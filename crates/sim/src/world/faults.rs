//! What breaks, and how it comes back.

use evenkeel_core::agent::Input;
use evenkeel_core::cell::Entry;
use evenkeel_core::id::MemberId;
use evenkeel_core::time::Span;

use super::{Event, Process, World};
use crate::prng::Prng;

/// Something that breaks, or somebody who orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A server's process is killed.
    KillServer,
    /// A server's process stops without ending.
    FreezeServer,
    /// An agent's process is killed; it is started again later.
    KillAgent,
    /// An agent is stopped for a while: its stream stays open and it says nothing.
    PauseAgent,
    /// The controller is killed between two turns.
    KillController,
    /// The controller is killed when it has recorded its next decision and not sent it.
    KillAfterRecord,
    /// The controller is killed when it has decided and not recorded.
    KillBeforeRecord,
    /// The gateway is killed.
    KillGateway,
    /// A stream is cut.
    CutStream,
    /// Driver calls of a host fail for a while.
    FailCalls,
    /// Somebody takes a port.
    TakePort,
}

/// Every fault.
pub const FAULTS: &[Fault] = &[
    Fault::KillServer,
    Fault::FreezeServer,
    Fault::KillAgent,
    Fault::PauseAgent,
    Fault::KillController,
    Fault::KillAfterRecord,
    Fault::KillBeforeRecord,
    Fault::KillGateway,
    Fault::CutStream,
    Fault::FailCalls,
    Fault::TakePort,
];

impl World {
    /// Something breaks.
    pub fn break_something(&mut self, fault: Fault, chance: &mut Prng) {
        let hosts = u64::try_from(self.hosts.len()).unwrap_or(1);
        let n = usize::try_from(chance.below(hosts)).unwrap_or(0);
        let later = Span::millis(500 + chance.below(15_000));
        let members: Vec<MemberId> = self.hosts[n].machine.servers.keys().copied().collect();
        let count = u64::try_from(members.len()).unwrap_or(0);
        let member = members.get(usize::try_from(chance.below(count)).unwrap_or(0)).copied();
        match fault {
            Fault::KillServer => {
                if let Some(member) = member
                    && self.hosts[n].machine.kill(member)
                {
                    let life = self.hosts[n].life;
                    self.at(Span::millis(2), Event::Told(n, life, Input::Died { member }));
                }
            }
            Fault::FreezeServer => {
                if let Some(member) = member {
                    self.hosts[n].machine.freeze(member);
                }
            }
            Fault::KillAgent => {
                self.hosts[n].brain = None;
                (self.hosts[n].paused, self.hosts[n].life) = (false, self.hosts[n].life + 1);
                self.hosts[n].wake = None;
                self.hosts[n].waiting.clear();
                if let Some(link) = self.hosts[n].link.take() {
                    self.carry(link, true, Event::ToCell(Entry::AgentClosed { link }));
                }
                self.at(later, Event::Return(Process::Agent(n)));
            }
            Fault::PauseAgent => {
                if self.hosts[n].brain.is_some() {
                    self.hosts[n].paused = true;
                    self.at(later, Event::Return(Process::Agent(n)));
                }
            }
            Fault::KillController => {
                if self.cell.is_some() {
                    self.kill_controller();
                }
            }
            Fault::KillAfterRecord | Fault::KillBeforeRecord => self.crash_next = Some(fault),
            Fault::KillGateway => {
                self.gateway_up = false;
                if let Some(link) = self.gateway {
                    self.cut(link);
                }
                self.at(later, Event::Return(Process::Gateway));
            }
            Fault::CutStream => {
                if let Some(link) = self.hosts[n].link {
                    self.cut(link);
                }
            }
            Fault::FailCalls => {
                self.hosts[n].machine.failing = 40;
                self.at(later, Event::Return(Process::Calls(n)));
            }
            Fault::TakePort => {
                let port = 21_000 + u16::try_from(chance.below(40)).unwrap_or(0);
                self.hosts.iter_mut().for_each(|host| host.machine.held.push(port));
            }
        }
    }

    /// Nothing breaks any more, and what is down comes back.
    pub fn heal(&mut self) {
        self.crash_next = None;
        for n in 0..self.hosts.len() {
            self.hosts[n].machine.failing = 0;
            self.come_back(Process::Agent(n));
        }
        self.come_back(Process::Controller);
        self.gateway_up = true;
    }

    /// The controller's process ends.
    pub(super) fn kill_controller(&mut self) {
        self.crash_next = None;
        self.cell = None;
        (self.cell_life, self.cell_wake) = (self.cell_life + 1, None);
        // Streams end with the process; what was on its way to it is lost.
        self.events.retain(|_, event| !matches!(event, Event::ToCell(_)));
        for n in 0..self.hosts.len() {
            if let Some(link) = self.hosts[n].link {
                self.carry(link, false, Event::Cut(n, link));
            }
        }
        self.gateway = None;
        self.at(Span::secs(2), Event::Return(Process::Controller));
    }
}
