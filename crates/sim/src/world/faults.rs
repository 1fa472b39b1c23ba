//! What breaks, and how it comes back.

use std::fmt;

use evenkeel_core::cell::Entry;
use evenkeel_core::goal::Want;
use evenkeel_core::id::MemberId;
use evenkeel_core::time::Span;

use super::{Event, Process, World};
use crate::prng::Prng;

/// Bytes that nobody confirms for so long end an agent's stream.
const UNCONFIRMED_MAX: Span = Span::secs(10);
/// Storage is away for so many times as long as other things: it is missed after a while only.
const STORAGE_LONGER: u64 = 10;

/// Something that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A server's process is killed.
    KillServer,
    /// A server's process stops without ending.
    FreezeServer,
    /// A server dies after every start, for a while.
    CrashLoop,
    /// An agent's process is killed; it is started again later.
    KillAgent,
    /// An agent is stopped for a while: its stream stays open and it says nothing.
    PauseAgent,
    /// A host loses its power, and has it again later.
    PowerOff,
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
    /// The members of a host are cut off from those on other hosts for a while.
    CutNeighbours,
    /// A host is cut off from everything but clients beside it, for a while, and nobody is told.
    CutOff,
    /// A pooler's process is killed.
    KillPooler,
    /// No repository takes or gives anything for a while.
    StorageDown,
    /// A repository does not answer, is full, refuses everybody or is slow, for a while.
    RepositoryDown,
    /// A repository is lost for good with everything in it.
    LoseRepository,
}

/// Every fault.
pub const FAULTS: &[Fault] = &[
    Fault::KillServer,
    Fault::FreezeServer,
    Fault::CrashLoop,
    Fault::KillAgent,
    Fault::PauseAgent,
    Fault::PowerOff,
    Fault::KillController,
    Fault::KillAfterRecord,
    Fault::KillBeforeRecord,
    Fault::KillGateway,
    Fault::CutStream,
    Fault::FailCalls,
    Fault::TakePort,
    Fault::CutNeighbours,
    Fault::CutOff,
    Fault::KillPooler,
    Fault::StorageDown,
    Fault::RepositoryDown,
    Fault::LoseRepository,
];

impl Fault {
    /// Whether it is of repositories.
    #[must_use]
    pub const fn is_of_storage(self) -> bool {
        matches!(self, Self::StorageDown | Self::RepositoryDown | Self::LoseRepository)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillServer => "kill-server",
            Self::FreezeServer => "freeze-server",
            Self::CrashLoop => "crash-loop",
            Self::KillAgent => "kill-agent",
            Self::PauseAgent => "pause-agent",
            Self::PowerOff => "power-off",
            Self::KillController => "kill-controller",
            Self::KillAfterRecord => "kill-after-record",
            Self::KillBeforeRecord => "kill-before-record",
            Self::KillGateway => "kill-gateway",
            Self::CutStream => "cut-stream",
            Self::FailCalls => "fail-calls",
            Self::TakePort => "take-port",
            Self::CutNeighbours => "cut-neighbours",
            Self::CutOff => "cut-off",
            Self::KillPooler => "kill-pooler",
            Self::StorageDown => "storage-down",
            Self::RepositoryDown => "repository-down",
            Self::LoseRepository => "lose-repository",
        })
    }
}

impl World {
    /// Something breaks. Where, and for how long, follows from `draw` and from what is there.
    pub fn break_something(&mut self, fault: Fault, draw: u64) {
        let mut chance = Prng::new(draw, "fault");
        let hosts = u64::try_from(self.hosts.len()).unwrap_or(1);
        let n = usize::try_from(chance.below(hosts)).unwrap_or(0);
        let later = Span::millis(500 + chance.below(15_000));
        let members: Vec<MemberId> = self.hosts[n].machine.servers.keys().copied().collect();
        let count = u64::try_from(members.len()).unwrap_or(0);
        let member = members.get(usize::try_from(chance.below(count)).unwrap_or(0)).copied();
        match (fault, member) {
            (Fault::KillServer, Some(member)) => self.kill_server(n, member),
            (Fault::FreezeServer, Some(member)) => self.freeze_server(n, member),
            (Fault::CrashLoop, Some(member)) => {
                self.doom_server(n, member);
                self.at(later, Event::Return(Process::Server(n, member)));
            }
            (Fault::KillServer | Fault::FreezeServer | Fault::CrashLoop, None) => {}
            (Fault::KillAgent, _) => {
                self.kill_agent(n);
                self.at(later, Event::Return(Process::Agent(n)));
            }
            (Fault::PauseAgent, _) => {
                self.pause_agent(n);
                self.at(later, Event::Return(Process::Agent(n)));
            }
            (Fault::PowerOff, _) => {
                self.power_off(n);
                self.at(later, Event::Return(Process::Host(n)));
            }
            (Fault::KillController, _) => self.kill_controller(),
            (Fault::KillAfterRecord | Fault::KillBeforeRecord, _) => {
                self.kill_controller_in_turn(fault);
            }
            (Fault::KillGateway, _) => {
                self.kill_gateway();
                self.at(later, Event::Return(Process::Gateway));
            }
            (Fault::CutStream, _) => self.cut_stream(n),
            (Fault::FailCalls, _) => {
                self.hosts[n].machine.failing = 40;
                self.at(later, Event::Return(Process::Calls(n)));
            }
            (Fault::CutNeighbours, _) => {
                self.hosts[n].alone = true;
                self.at(later, Event::Return(Process::Neighbours(n)));
            }
            (Fault::CutOff, _) => {
                self.cut_off(n);
                self.at(later, Event::Return(Process::Network(n)));
            }
            (Fault::KillPooler, _) => self.kill_pooler(0),
            (Fault::StorageDown | Fault::RepositoryDown, _) => {
                let lasts = later.times(STORAGE_LONGER);
                self.break_storage(fault == Fault::StorageDown, lasts, &mut chance);
            }
            (Fault::LoseRepository, _) => self.lose_repository(&mut chance),
            (Fault::TakePort, _) => {
                let port = 21_000 + u16::try_from(chance.below(40)).unwrap_or(0);
                self.hosts.iter_mut().for_each(|host| host.machine.held.push(port));
            }
        }
    }

    /// Something comes back after a while.
    pub fn later(&mut self, after: Span, what: Process) {
        self.at(after, Event::Return(what));
    }

    /// A server's process is killed.
    pub fn kill_server(&mut self, n: usize, member: MemberId) {
        if self.hosts[n].machine.kill(member) {
            self.mourn(n, member);
        }
    }

    /// A server's process stops without ending.
    pub fn freeze_server(&mut self, n: usize, member: MemberId) {
        self.hosts[n].machine.freeze(member, true);
    }

    /// A server dies now and after every start, until [`Process::Server`] comes back.
    pub fn doom_server(&mut self, n: usize, member: MemberId) {
        self.hosts[n].machine.doom(member, true);
        self.kill_server(n, member);
    }

    /// An agent's process is killed; what it ran runs on.
    pub fn kill_agent(&mut self, n: usize) {
        let now = self.now;
        let host = &mut self.hosts[n];
        host.away.0.get_or_insert(now);
        host.brain = None;
        (host.paused, host.wake, host.life) = (false, None, host.life + 1);
        host.waiting.clear();
        if let Some(link) = host.link.take() {
            self.carry(link, true, Event::ToCell(Entry::AgentClosed { link }));
        }
    }

    /// An agent stops without ending.
    pub fn pause_agent(&mut self, n: usize) {
        let now = self.now;
        let host = &mut self.hosts[n];
        host.paused = host.brain.is_some();
        host.away.0.get_or_insert(now);
    }

    /// A host's power goes, and with it every process of it.
    pub fn power_off(&mut self, n: usize) {
        // Nobody is left to close its stream: the controller hears nothing any more.
        self.hosts[n].link = None;
        self.kill_agent(n);
        let host = &mut self.hosts[n];
        host.on = false;
        let lost = host.machine.lose_power(self.now);
        host.poolers.clear();
        self.forgive(lost);
    }

    /// A host's power is back; what is set to start at boot starts.
    pub fn power_on(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        if !host.on {
            (host.on, host.boots) = (true, host.boots + 1);
        }
        self.start_agent(n);
    }

    /// The gateway's process is killed.
    pub fn kill_gateway(&mut self) {
        self.gateway_up = false;
        if let Some(link) = self.gateway {
            self.cut(link);
        }
    }

    /// The stream between an agent and the controller is cut.
    pub fn cut_stream(&mut self, n: usize) {
        if let Some(link) = self.hosts[n].link {
            self.cut(link);
        }
    }

    /// A host is cut off from everything but clients beside it. Nobody is told: its agent finds out when
    /// nothing it sends is confirmed.
    pub fn cut_off(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        (host.alone, host.cut, host.machine.away) = (true, true, true);
        if let Some(link) = host.link {
            self.at(UNCONFIRMED_MAX, Event::Cut(n, link));
        }
    }

    /// A host is reached again. What was on its way is lost, and with it the stream it was on.
    pub fn reach(&mut self, n: usize) {
        (self.hosts[n].alone, self.hosts[n].machine.away) = (false, false);
        if std::mem::take(&mut self.hosts[n].cut) {
            self.cut_stream(n);
        }
    }

    /// Nothing breaks any more, and what is down comes back.
    pub fn heal(&mut self) {
        self.crash_next = None;
        for n in 0..self.hosts.len() {
            self.hosts[n].machine.heal();
            self.reach(n);
            self.power_on(n);
        }
        self.heal_storage(true);
        self.start_controller();
        self.gateway_up = true;
    }

    /// Where a service's server is: its host and its member. The agents know without a controller.
    pub fn server_of(&self, service: &str) -> Option<(usize, MemberId)> {
        self.hosts.iter().enumerate().find_map(|(n, host)| {
            let of = host.saved.iter().find(|(_, stored)| {
                let goal = &stored.applied.goal;
                goal.identity.name.as_str() == service && goal.want != Want::Removed
            });
            of.map(|(member, _)| (n, *member))
        })
    }

    /// A host by name.
    pub fn host_of(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }

    /// How often a member's server was started.
    pub fn starts_of(&self, n: usize, member: MemberId) -> u64 {
        self.hosts[n].machine.servers.get(&member).map_or(0, |server| server.starts)
    }
}
