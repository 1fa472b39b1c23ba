//! Assessing: what the observations mean. Hosts first, then services; both by their machines.

use super::state::{Seen, Service};
use super::turn::Work;
use super::{Cell, goals, state};
use crate::edge::Edge;
use crate::goal::Want;
use crate::host;
use crate::id::{HostId, ServiceId};
use crate::journal::Topic;
use crate::knowing::{self, Doubt, Verdict};
use crate::machine::{self, Machine};
use crate::member;
use crate::report::Sight;
use crate::service::{Health, Phase, State, health, phase, shown};
use crate::time::{Span, Time};

/// A service that another one on its host speaks for is asked about itself so often: a host may come back in
/// part, and the other one not at all.
const SPOKEN_FOR: Span = Span::mins(5);

/// However long hosts keep dialling in after a start, so many times the grace is the most that is waited for others.
const GRACES_MAX: u64 = 8;

impl Cell {
    /// The services with a member on a host.
    pub(super) fn services_on(&self, host: HostId) -> impl Iterator<Item = ServiceId> {
        let members = self.state.hosts.get(&host).map_or(&[][..], |h| &h.members);
        members.iter().filter_map(|member| self.state.of_member.get(member).copied())
    }

    /// Moves a host's machine, tells the journal and has its services looked at.
    pub(super) fn host_event(
        &mut self,
        id: HostId,
        event: host::Event,
        evidence: Vec<String>,
        work: &mut Work,
    ) {
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        let Some(next) = host::Machine::next(host.state, event) else { return };
        if next == host.state {
            return;
        }
        work.edges.push(Edge::of::<host::Machine>(host.state, event));
        let text = format!("{} -> {next}", host.state);
        let name = host.row.name.clone();
        // A beat that was late is no silence.
        if next == host::State::Up && host.state != host::State::Suspect {
            host.heard_since = work.now;
        }
        self.state.move_host(id, next);
        let topic = if next == host::State::Down { Topic::Verdict } else { Topic::Transition };
        work.note(topic, &name, text, evidence);
        let services: Vec<ServiceId> = self.services_on(id).collect();
        work.services.extend(services);
        // Whether it needs a person may be otherwise now.
        work.hosts.insert(id);
    }

    /// Until when the silence of hosts that were not heard since the start means nothing. They dial in all at once,
    /// and a controller of a large fleet takes them in one after the other: as long as others still come it may be
    /// the controller that has not come to them.
    pub(super) fn awaited_until(&self) -> Time {
        let (began, grace) = (self.state.began, self.setup.policy.start_grace);
        let others_come = self.state.dialled + Span(grace.0 / 3);
        (began + grace).max(others_come.min(began + Span(grace.0 * GRACES_MAX)))
    }

    /// Of a host that is heard, and has nothing else to be looked at for: when it is late.
    pub(super) fn heard_until(&self, id: HostId) -> Option<Time> {
        let host = self.state.hosts.get(&id)?;
        let late = host.heard? + self.setup.policy.late_after();
        let heard = host.state == host::State::Up && host.link.is_some() && self.state.now < late;
        let rests = host.absent_until.is_none() && host.row.operation.is_none();
        (heard && rests).then_some(late)
    }

    /// Looks at one host: is it late, is it silent, when is that known next?
    pub(super) fn assess_host(&mut self, id: HostId, work: &mut Work) {
        self.advance_host(id, work);
        let Some(host) = self.state.hosts.get(&id) else { return };
        if host.absent_until.is_some_and(|until| until > work.now) {
            let until = host.absent_until.unwrap_or(work.now);
            self.state.timers.host(id, until);
            return;
        }
        let policy = &self.setup.policy;
        let (late, silent) = match host.heard {
            Some(heard) => (heard + policy.late_after(), heard + policy.silent_after()),
            None => (self.awaited_until(), self.awaited_until()),
        };
        if host.state == host::State::Up && (host.link.is_none() || work.now >= late) {
            self.host_event(id, host::Event::Late, Vec::new(), work);
        }
        let state = self.state.hosts.get(&id).map(|h| h.state);
        let next = match state {
            Some(host::State::Up) => Some(late),
            Some(host::State::Suspect | host::State::Joining) if work.now < silent => Some(silent),
            Some(host::State::Suspect | host::State::Joining) => {
                self.host_event(id, host::Event::Silent, Vec::new(), work);
                None
            }
            _ => None,
        };
        if let Some(next) = next {
            self.state.timers.late(id, next);
        }
    }

    /// What the witnesses' answers about a service's primary add up to.
    pub(super) fn verdict(&self, service: &Service, now: Time) -> Option<Verdict> {
        let doubt = service.doubt.as_ref()?;
        let zone = |id: HostId| self.state.hosts.get(&id).map_or("", |h| h.row.zone.as_str());
        let of = service.row.primary().host;
        let mut others = self.up().filter(|(id, _)| *id != of).map(|(_, zone)| zone);
        let zones = match others.next() {
            None => 0,
            Some(first) => 1 + usize::from(others.any(|zone| zone != first)),
        };
        let down_after = self.pace(service).0;
        // What is seen of its host's scout is seen of it: what was seen of itself last still counts.
        let now = match self.is_spoken_for(service) {
            true => doubt.sightings.iter().map(|seen| seen.last).max().unwrap_or(now),
            false => now,
        };
        Some(knowing::verdict(doubt, zone, zones, now, down_after, &self.setup.policy))
    }

    /// Whether another service's primary is asked about in this one's place: its host is down with all that is
    /// on it, and the scout there is asked about for all of them; the others only now and then, each for itself.
    /// One that has standbys is asked about as ever: a failover rests on fresh answers. Without this a zone that
    /// is lost costs as many questions as it has members, for as long as it is.
    fn is_spoken_for(&self, service: &Service) -> bool {
        let row = &service.row;
        let Some(host) = self.state.hosts.get(&row.primary().host) else { return false };
        let rests = host.state == host::State::Down
            && row.health == Health::Unavailable
            && row.promise.is_none();
        rests && self.scout(host).is_some_and(|scout| scout != row.id)
    }

    /// The first service on a host whose primary is there and should run.
    fn scout(&self, host: &state::Host) -> Option<ServiceId> {
        host.members.iter().find_map(|member| {
            let id = self.state.of_member.get(member).copied()?;
            let primary = self.state.services.get(&id)?.row.primary();
            (primary.id == *member && primary.want == Want::Running).then_some(id)
        })
    }

    /// How long evidence against a service's primary must last, and how often it is sought at first.
    pub(super) fn pace(&self, service: &Service) -> (Span, Span) {
        let policy = &self.setup.policy;
        if goals::plan(&self.setup, &service.row).1.fast {
            (policy.down_after_fast, policy.ask_every_fast)
        } else {
            (policy.down_after, policy.ask_every)
        }
    }

    /// How often witnesses are asked about a service's primary now.
    pub(super) fn asks_every(&self, service: &Service, now: Time) -> Span {
        let at_first = if self.is_spoken_for(service) { SPOKEN_FOR } else { self.pace(service).1 };
        service.doubt.as_ref().map_or(at_first, |doubt| doubt.every(at_first, now))
    }

    /// When witnesses who were asked are asked again.
    pub(super) fn asks_again(&self, service: &Service) -> Option<Time> {
        let asked = service.doubt.as_ref()?.asked?;
        Some(asked + self.asks_every(service, asked))
    }

    /// Hosts that are heard, with their zones.
    pub(super) fn up(&self) -> impl Iterator<Item = (HostId, &str)> {
        let up = |h: &&state::Host| h.state == host::State::Up && h.link.is_some();
        self.state.hosts.values().filter(up).map(|h| (h.row.id, h.row.zone.as_str()))
    }

    /// Keeps or ends the doubt about a service's primary.
    pub(super) fn doubt(&mut self, id: ServiceId, now: Time) {
        let Some(service) = self.state.services.get(&id) else { return };
        let host = self.state.hosts.get(&service.row.primary().host);
        let speaks = host.is_some_and(state::Host::speaks);
        let joining =
            host.is_none_or(|h| matches!(h.state, host::State::Joining | host::State::Up));
        let hung = service.seen[0].as_ref().is_some_and(|s| s.state == member::State::Hung);
        let wanted = service.row.primary().want == Want::Running;
        let doubted = wanted && if speaks { hung } else { !joining };
        let first = self.state.questions + 1;
        let Some(service) = self.state.services.get_mut(&id) else { return };
        if !doubted {
            service.doubt = None;
            return;
        }
        let new = || Box::new(Doubt { first, ..Doubt::new(now) });
        let doubt = service.doubt.get_or_insert_with(new);
        if speaks {
            // The agent's own unanswered question is one vantage point's view.
            doubt.saw(service.row.primary().host, Sight::Silent, now);
        }
    }

    /// What was learnt about a service since it was last judged, the witnesses' verdict with it.
    fn evidence(&self, service: &Service, verdict: Option<&Verdict>) -> Option<health::Evidence> {
        use health::Evidence as E;
        let primary = service.row.primary();
        let host = self.state.hosts.get(&primary.host)?;
        if host.speaks() {
            let seen = service.seen[0].as_ref()?;
            if seen.incarnation != primary.incarnation {
                return None;
            }
            let wanted = primary.want == Want::Running;
            return by_agent(seen, wanted, verdict);
        }
        Some(match (host.state, verdict) {
            // Suspicion asks; nothing shown changes before three beats are missing.
            (host::State::Joining | host::State::Up | host::State::Suspect, _) => return None,
            (_, Some(Verdict::Reached(_))) => E::Reached,
            (_, Some(Verdict::Disputed(_))) => E::Disputed,
            (_, Some(Verdict::Down(_))) => E::ConfirmedDown,
            (_, Some(Verdict::Unknown(_)) | None) => E::Silent,
        })
    }

    /// The same in words: its agent's, and what witnesses saw.
    pub(super) fn words(
        &self,
        service: &Service,
        verdict: Option<&Verdict>,
        now: Time,
    ) -> Vec<String> {
        let seen = match verdict {
            Some(
                Verdict::Reached(s) | Verdict::Disputed(s) | Verdict::Unknown(s) | Verdict::Down(s),
            ) => s.as_slice(),
            None => &[],
        };
        let seen = seen.iter().map(|sighting| knowing::describe(sighting, now));
        let host = self.state.hosts.get(&service.row.primary().host);
        let Some(host) = host.filter(|host| host.speaks()) else { return seen.collect() };
        let Some(said) = &service.seen[0] else { return Vec::new() };
        let own = format!("the agent of {}: {}", host.row.name, said.state);
        // Of a member that answers its agent, witnesses have nothing to add.
        let hung = said.state == member::State::Hung;
        std::iter::once(own).chain(seen.filter(|_| hung)).collect()
    }

    /// Judges a service's health anew and its host's state with it.
    pub(super) fn judge(&mut self, id: ServiceId, work: &mut Work) {
        // A death is a death though the agent was quick to start the next process.
        if work.died.remove(&id) {
            let mut words = vec!["its agent: the process died without an order".to_owned()];
            words.extend(self.of_restart(id));
            self.weigh(id, health::Evidence::ConfirmedDown, words, work);
        }
        let Some(service) = self.state.services.get(&id) else { return };
        let verdict = self.verdict(service, work.now);
        let evidence = self.evidence(service, verdict.as_ref());
        if let Some(doubt) = self.state.services.get_mut(&id).and_then(|s| s.doubt.as_mut()) {
            doubt.weighed = verdict.as_ref().map(knowing::Verdict::word);
        }
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(evidence) = evidence else { return };
        let host = self.state.hosts.get(&service.row.primary().host).map(|host| host.state);
        let moves_host = matches!(
            (evidence, host),
            (health::Evidence::Reached, Some(host::State::Down))
                | (health::Evidence::ConfirmedDown, Some(host::State::Uncertain))
        );
        // What changes nothing needs no words.
        if !moves_host
            && health::Machine::next(service.row.health, evidence) == Some(service.row.health)
        {
            return;
        }
        let words = self.words(service, verdict.as_ref(), work.now);
        self.weigh(id, evidence, words, work);
    }

    /// Moves a service's health, and its host's state, by one piece of evidence.
    pub(super) fn weigh(
        &mut self,
        id: ServiceId,
        evidence: health::Evidence,
        words: Vec<String>,
        work: &mut Work,
    ) {
        let Some(service) = self.state.services.get(&id) else { return };
        let (was, host) = (service.row.health, service.row.primary().host);
        let Some(next) = health::Machine::next(was, evidence) else { return };
        let state = self.state.hosts.get(&host).map(|h| h.state);
        let about_host = match (evidence, state) {
            (health::Evidence::Reached, Some(host::State::Down)) => Some(host::Event::Reached),
            // One member may be down alone: a host is down when nothing on it is reached.
            (health::Evidence::ConfirmedDown, Some(host::State::Uncertain))
                if self.all_down(host, work.now) =>
            {
                Some(host::Event::ConfirmedDown)
            }
            _ => None,
        };
        if let Some(event) = about_host {
            self.host_event(host, event, words.clone(), work);
        }
        if next != was {
            work.edges.push(Edge::of::<health::Machine>(was, evidence));
            self.reshape(id, work, |row| row.health = next);
            let Some(service) = self.state.services.get(&id) else { return };
            let topic = match next {
                Health::Unavailable => Topic::Verdict,
                Health::Uncertain | Health::Healthy => Topic::Transition,
            };
            let text = format!("health {} -> {}", word(was), word(next));
            work.note(topic, service.row.name.as_str(), text, words);
        }
    }

    /// Whether every member that should run on a host is down by its witnesses.
    fn all_down(&self, host: HostId, now: Time) -> bool {
        let services = self.services_on(host).filter_map(|id| self.state.services.get(&id));
        services.filter(|service| service.row.primary().host == host).all(|service| {
            let down = matches!(self.verdict(service, now), Some(Verdict::Down(_)));
            down || service.row.primary().want != Want::Running
        })
    }

    /// Has gateways hold new connections while the primary, by its agent's word, takes none, so that
    /// clients meet a pause and not a server that is starting up.
    pub(super) fn hold(&mut self, id: ServiceId, work: &mut Work) {
        use member::State as S;
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let host = self.state.hosts.get(&service.row.primary().host);
        let speaks = host.is_some_and(state::Host::speaks);
        let closed = |seen: &Seen| !matches!(seen.state, S::Ready | S::Hung);
        let holds = speaks && service.seen[0].as_ref().is_some_and(closed);
        if std::mem::replace(&mut service.holds, holds) != holds && service.row.open {
            work.routes.insert(id);
        }
    }

    /// Moves a service's phase by an event.
    ///
    /// # Panics
    /// When the event is not legal: orders and operations are checked before they come here.
    pub(super) fn phase_event(&mut self, id: ServiceId, event: phase::Event, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let was = service.row.phase;
        let next = machine::step::<phase::Machine>(was, event)
            .expect("an operation begins and ends only where its phase event is legal");
        if next != was {
            work.edges.push(Edge::of::<phase::Machine>(was, event));
            let text = format!("phase {was:?} -> {next:?} ({event:?})");
            work.note(Topic::Transition, service.row.name.as_str(), text, Vec::new());
            self.reshape(id, work, |row| row.phase = next);
        }
    }

    /// Changes a row and notes since when the state shown is what it is.
    pub(super) fn reshape(
        &mut self,
        id: ServiceId,
        work: &mut Work,
        change: impl FnOnce(&mut super::rows::Service),
    ) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let row = &mut service.row;
        let before = shown(row.phase, row.health);
        change(row);
        let after = shown(row.phase, row.health);
        if before != after {
            row.since = work.now;
            row.paged &= !matches!(after, State::Available | State::Retired);
        }
        work.record(id);
    }

    /// Tells a person about a state that lasts too long, once.
    pub(super) fn page_if_late(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let row = &service.row;
        let limit = match row.phase {
            Phase::Serving => health::Machine::deadline(row.health),
            // A restore takes as long as it does; its own step tells when it is late.
            Phase::Installing if Self::is_restored(service) => None,
            // That one failed is told, and is for a person to end.
            Phase::Installing if Self::is_imported(service) => None,
            other => phase::Machine::deadline(other),
        };
        let Some(limit) = limit.filter(|_| !row.paged) else { return };
        let due = row.since + limit;
        if work.now < due {
            self.look_at(id, due);
            return;
        }
        let text = format!("page: {} for {limit}", shown(row.phase, row.health));
        work.note(Topic::Finding, row.name.as_str(), text, Vec::new());
        self.reshape(id, work, |row| row.paged = true);
    }
}

/// What the agent's own word means; it is the nearest there is.
fn by_agent(seen: &Seen, wanted: bool, verdict: Option<&Verdict>) -> Option<health::Evidence> {
    use health::Evidence as E;
    use member::State as S;
    match seen.state {
        S::Ready if seen.write_proven => Some(E::WriteProven),
        S::Ready => Some(E::Reached),
        // The local agent's word that no process is left is enough.
        S::Failed | S::CrashLooping => Some(E::ConfirmedDown),
        S::Stopped | S::Sealed | S::Gone if !wanted => Some(E::ConfirmedDown),
        S::Hung => match verdict {
            Some(Verdict::Down(_)) => Some(E::ConfirmedDown),
            Some(_) | None => Some(E::Disputed),
        },
        // Coming up, or replaying its log: neither proven nor down.
        S::Stopped
        | S::Sealed
        | S::Gone
        | S::Absent
        | S::Initializing
        | S::Starting
        | S::Recovering
        | S::Following
        | S::Stopping => None,
    }
}

/// A health in words.
pub(super) const fn word(health: Health) -> &'static str {
    match health {
        Health::Uncertain => "uncertain",
        Health::Healthy => "healthy",
        Health::Unavailable => "unavailable",
    }
}
