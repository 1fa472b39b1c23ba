//! All cells of a store in this process, and agents whose members die and come back as they are asked to: what
//! the engine is given, and what it records of it.

use std::path::Path;
use std::sync::Arc;

use evenkeel_controller::load_cells;
use evenkeel_core::cell::{Cell, Entry, Link, Send};
use evenkeel_core::goal::Goal;
use evenkeel_core::id::{CellId, HostId, Incarnation, MemberId, Revision, ServiceId, Term};
use evenkeel_core::member::State;
use evenkeel_core::name::ServiceName;
use evenkeel_core::report::{FromAgent, Member, ToAgent};
use evenkeel_core::route::{FromGateway, ToGateway};
use evenkeel_core::row::Writes;
use evenkeel_core::time::{Span, Time};
use evenkeel_sim::obedient;
use evenkeel_store::{Store as _, sqlite};

use super::fill::{failed, setup};
use super::sizes::{CellSize, Sizes};
use crate::failure::{Failure, Kind, chain};

/// What a turn recorded, and what it sends once that is synced.
pub struct Given {
    /// Which seat's it is.
    pub seat: usize,
    /// Its cell.
    pub cell: CellId,
    /// Its writes.
    pub writes: Writes,
    /// Its sends.
    pub sends: Vec<Send>,
}

/// A cell and the hosts around it.
pub struct Seat {
    /// The cell.
    pub cell: Cell,
    now: Time,
    hosts: u64,
    /// In order of member; empty where nothing will happen to them.
    known: Vec<Known>,
    /// What every report has in common.
    alike: Option<Box<Member>>,
    /// What agents and gateways will say in the next turn.
    answers: Vec<Entry>,
}

/// What an agent knows of a member, small: there are a million.
struct Known {
    link: Link,
    member: MemberId,
    service: ServiceId,
    name: ServiceName,
    host: HostId,
    port: u16,
    incarnation: Incarnation,
    applied: (Term, Revision),
    restarts: u32,
    deaths: u32,
    dead: bool,
}

impl Known {
    fn of(link: Link, goal: &Goal) -> Self {
        let identity = &goal.identity;
        let host = identity.members.iter().find(|(id, _)| *id == goal.member);
        Self {
            link,
            member: goal.member,
            service: identity.service,
            name: identity.name.clone(),
            host: host.map_or(HostId(0), |(_, host)| *host),
            port: identity.endpoint_port,
            incarnation: goal.incarnation,
            applied: (goal.term, goal.revision),
            restarts: goal.restarts,
            deaths: 0,
            dead: false,
        }
    }

    fn report(&self, alike: &Member) -> Member {
        let mut report = alike.clone();
        report.member = self.member;
        report.incarnation = self.incarnation;
        (report.pledged, report.applied) = (self.applied.0, self.applied);
        (report.restarts, report.deaths) = (self.restarts, self.deaths);
        report.pid = Some(1_000 + self.member.0);
        report.data_dir = format!("/var/lib/evenkeel/hosts/h/members/{}/data", self.member.0);
        let identity = Arc::make_mut(&mut report.identity);
        (identity.service, identity.name) = (self.service, self.name.clone());
        identity.endpoint_port = self.port;
        identity.members = vec![(self.member, self.host)];
        if self.dead {
            (report.state, report.pid, report.write_proven) = (State::Failed, None, false);
        }
        report
    }
}

/// All cells, read from their store. Nobody has said anything to them yet.
pub fn load(store: &sqlite::Sqlite, sizes: &Sizes) -> Result<Vec<Seat>, Failure> {
    let loaded = load_cells(store, &setup(store.id(), CellId(1)));
    let (cells, _) = loaded.map_err(|error| Failure::new(Kind::Failed, chain(&error)))?;
    let sizes = sizes.cells();
    if cells.len() != sizes.len() {
        let text = format!("the store has {} cells, not {}", cells.len(), sizes.len());
        return Err(Failure::new(Kind::Failed, text));
    }
    let seat = |(cell, size): (Cell, &CellSize)| Seat {
        now: cell.clock() + Span::secs(1),
        cell,
        hosts: size.hosts.len() as u64,
        known: Vec::new(),
        alike: None,
        answers: Vec::new(),
    };
    Ok(cells.into_iter().zip(&sizes).map(seat).collect())
}

/// A store and its cells.
pub fn open(
    dir: &Path,
    sizes: &Sizes,
    options: sqlite::Options,
) -> Result<(sqlite::Sqlite, Vec<Seat>), Failure> {
    let store = sqlite::open_with(&dir.join("store.db"), options).map_err(failed)?;
    let seats = load(&store, sizes)?;
    Ok((store, seats))
}

impl Seat {
    /// Every host dials in and reports what it runs; what was recorded of it. `keeps`: members are known
    /// afterwards, and can die.
    pub fn dial(&mut self, seat: usize, size: &CellSize, keeps: bool) -> Vec<Given> {
        let mut given = Vec::new();
        for (link, host) in (1..).zip(size.hosts.clone()) {
            // Its members are reported whole, as agents do.
            let [hello, _] = obedient::hello(Link(link), u64::from(host));
            self.answers.push(hello);
        }
        self.answers.push(obedient::gateway());
        let mut whole = true;
        while !self.answers.is_empty() {
            let turn = self.turn(seat, Span::millis(10), Vec::new());
            for send in &turn.sends {
                self.taken(send, whole, keeps);
            }
            whole = false;
            given.push(turn);
        }
        self.known.sort_unstable_by_key(|known| known.member);
        self.known.shrink_to_fit();
        given
    }

    /// An agent or gateway takes what it is sent while the fleet dials in.
    fn taken(&mut self, send: &Send, whole: bool, keeps: bool) {
        match send {
            Send::Agent { link, message: ToAgent::Goals { goals, .. } } => {
                let now = self.now;
                let members: Vec<Member> = goals.iter().map(|g| obedient::ready(g, now)).collect();
                if keeps {
                    for goal in goals {
                        match self.known.iter_mut().rev().find(|known| known.member == goal.member)
                        {
                            Some(known) if !whole => *known = Known::of(*link, goal),
                            _ => self.known.push(Known::of(*link, goal)),
                        }
                    }
                    if self.alike.is_none() {
                        self.alike = members.first().cloned().map(Box::new);
                    }
                }
                let message = FromAgent::members(whole, members);
                self.answers.push(Entry::Agent { link: *link, message });
            }
            Send::Gateway { link, message: ToGateway::Routes { routes, .. } } => {
                let message = FromGateway::Took { routes: *routes, failed: Vec::new() };
                self.answers.push(Entry::Gateway { link: *link, message });
            }
            _ => {}
        }
    }

    /// An agent or gateway takes what it is sent later, when it was synced.
    pub fn take(&mut self, send: &Send) {
        match send {
            Send::Agent { message: ToAgent::Goals { goals, .. }, .. } => {
                for goal in goals {
                    let at = self.known.binary_search_by_key(&goal.member, |known| known.member);
                    let Some(known) = at.ok().and_then(|at| self.known.get_mut(at)) else {
                        continue;
                    };
                    known.applied = (goal.term, goal.revision);
                    (known.incarnation, known.restarts) = (goal.incarnation, goal.restarts);
                    // One that is dead says so when it is back.
                    if let Some(alike) = self.alike.as_deref().filter(|_| !known.dead) {
                        let members = vec![known.report(alike)];
                        let message = FromAgent::members(false, members);
                        self.answers.push(Entry::Agent { link: known.link, message });
                    }
                }
            }
            Send::Gateway { link, message: ToGateway::Routes { routes, .. } } => {
                let message = FromGateway::Took { routes: *routes, failed: Vec::new() };
                self.answers.push(Entry::Gateway { link: *link, message });
            }
            _ => {}
        }
    }

    /// Members that can die.
    pub fn members(&self) -> usize {
        self.known.len()
    }

    /// Some members die, or are back: one report of each host that has any, as its agent makes it.
    pub fn change(&mut self, which: std::ops::Range<usize>, dead: bool) -> Vec<Entry> {
        let Some(alike) = self.alike.as_deref() else { return Vec::new() };
        let mut reports: Vec<(Link, Member)> = Vec::with_capacity(which.len());
        for known in self.known.get_mut(which).into_iter().flatten() {
            known.deaths += u32::from(dead && !known.dead);
            known.dead = dead;
            reports.push((known.link, known.report(alike)));
        }
        reports.sort_by_key(|(link, _)| *link);
        let mut inbox: Vec<Entry> = Vec::new();
        for (of, report) in reports {
            if let Some(Entry::Agent { link, message: FromAgent::Members { members, .. } }) =
                inbox.last_mut()
                && *link == of
            {
                members.push(report);
            } else {
                let message = FromAgent::members(false, vec![report]);
                inbox.push(Entry::Agent { link: of, message });
            }
        }
        inbox
    }

    /// One turn, in which every host is heard.
    pub fn turn(&mut self, seat: usize, later: Span, more: Vec<Entry>) -> Given {
        self.now = self.now + later;
        let mut inbox = std::mem::take(&mut self.answers);
        let heard =
            |host| Entry::Agent { link: Link(host), message: FromAgent::Answers(Vec::new()) };
        inbox.extend((1..=self.hosts).map(heard));
        inbox.extend(more);
        let turn = self.cell.turn(self.now, &inbox);
        Given { seat, cell: self.cell.id(), writes: turn.writes, sends: turn.sends }
    }
}
