//! What people say of automation: levels, pins, approvals, the brake; and how it bears on decisions.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::acts::Run;
use super::findings::{Known, UNSAID};
use super::state::Service;
use super::turn::Work;
use super::{Cell, rows};
use crate::automation::{self, APPROVAL_KEEP, Approval, Brake, PIN_MAX, Pin, Pinned, Rule, Scope};
use crate::claim::{self, Brakes, Lane, Place};
use crate::decide::{self, Decision, Reason};
use crate::id::{HostId, OperationId, ServiceId};
use crate::journal::Topic;
use crate::label::Label;
use crate::member;
use crate::name::ServiceName;
use crate::operation::{self, Cause, Operation};
use crate::order::{Accepted, Error, Order};
use crate::remedy::{Course, Found, Level, Remedies, Remedy};
use crate::service::Health;
use crate::time::{Span, Time};
use crate::view;

/// How automation stands to one service now.
pub(super) struct Standing<'a> {
    pub cell: &'a Cell,
    pub service: &'a Service,
    pub now: Time,
    /// Its findings, once somebody asked.
    pub known: OnceCell<Vec<Known<'a>>>,
}

impl std::fmt::Debug for Standing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Standing({})", self.service.row.id)
    }
}

impl<'a> Standing<'a> {
    /// What is found of it.
    pub(super) fn known(&self) -> &[Known<'a>] {
        self.known.get_or_init(|| self.cell.known_findings(self.service, self.now, UNSAID))
    }

    fn people(&self) -> Option<&rows::People> {
        self.service.row.people()
    }
}

impl decide::Automation for Standing<'_> {
    fn remedies(&self) -> &Remedies {
        &self.cell.setup.remedies
    }
    fn level(&self, remedy: &Remedy) -> Level {
        let row = &self.service.row;
        automation::level(&self.cell.state.row.rules, remedy, row.id, &row.offer.kind)
    }
    fn pin(&self) -> Option<&Pin> {
        self.people()?.pin.as_ref().filter(|pin| self.now < pin.until)
    }
    fn approval(&self) -> Option<&Approval> {
        self.people()?.approval.as_ref()
    }
    fn running(&self, remedy: &str) -> u16 {
        self.cell.state.claims.remedies.get(remedy).copied().unwrap_or_default()
    }
    fn posture(&self) -> &'static str {
        self.cell.stance(self.now).name()
    }
    fn offer(&self) -> (&str, &str) {
        let offer = &self.service.row.offer;
        (offer.kind.as_str(), offer.plan.as_str())
    }
    fn members(&self) -> usize {
        self.service.row.members.len()
    }
    fn findings(&self) -> BTreeMap<String, Found> {
        let mut found = BTreeMap::new();
        for known in self.known() {
            let new = Found::new(known.severity, self.now.since(known.since));
            // Of two of one check, the worse.
            let had = found.entry(known.check.to_owned()).or_insert(new);
            if new.severity > had.severity {
                *had = new;
            }
        }
        found
    }
    fn claim(&self, remedy: &Remedy) -> Result<(), claim::Refusal> {
        let row = &self.service.row;
        let aside = |o: &Operation| {
            remedy.course.operation().is_some_and(|kind| operation::preempts(kind, o.kind))
        };
        let running = row.operation.as_deref().filter(|o| o.claimed && !aside(o));
        self.cell.gate(row, remedy.lane(), (false, running.map(|o| o.id)), self.now)
    }
}

impl Cell {
    /// Where a service's operation takes place, as claims count it.
    fn place_of(&self, row: &rows::Service) -> Place<'_> {
        let primary = row.primary();
        let host = self.state.hosts.get(&primary.host);
        let zone = host.map_or("", |host| host.row.zone.as_str());
        Place { host: primary.host, zone, image: primary.image }
    }

    /// Where an operation's claim was taken.
    pub(super) fn claimed_at(&self, operation: &Operation) -> Place<'_> {
        let host = operation.share.unwrap_or_default();
        let zone = self.state.hosts.get(&host).map_or("", |host| host.row.zone.as_str());
        Place { host, zone, image: operation.image }
    }

    /// Whether a claim of this lane would be granted to a service now: whether a person ordered it, and
    /// what stands in its way.
    pub(super) fn gate(
        &self,
        row: &rows::Service,
        lane: Lane,
        (by_person, held_by): (bool, Option<OperationId>),
        now: Time,
    ) -> Result<(), claim::Refusal> {
        let held = row.upkeep().and_then(|upkeep| upkeep.drills.holds_until(now));
        // What needs repair is exercised no further.
        let drill = held.filter(|_| row.health == Health::Healthy);
        let brake = self.state.row.brake.as_deref().map(Brakes::Fleet);
        let request = claim::Request {
            lane,
            by_person,
            held_by,
            place: self.place_of(row),
            brake: brake.or(drill.map(|_| Brakes::Drill)),
        };
        self.state.claims.gate(&self.setup.policy, &request)
    }

    /// Takes the claim of a service's operation; false if the gate refuses.
    pub(super) fn take_claim(&mut self, id: ServiceId, now: Time) -> bool {
        let Some(service) = self.state.services.get(&id) else { return false };
        let Some(operation) = &service.row.operation else { return false };
        let lane = operation.lane();
        let by_person = matches!(operation.cause, Cause::Order { .. });
        if self.gate(&service.row, lane, (by_person, None), now).is_err() {
            return false;
        }
        let place = self.place_of(&service.row);
        let (host, image, remedy) = (place.host, place.image, operation.cause.remedy());
        let mut claims = std::mem::take(&mut self.state.claims);
        claims.take(lane, &self.place_of(&service.row), remedy);
        self.state.claims = claims;
        if let Some(operation) =
            self.state.services.get_mut(&id).and_then(|s| s.row.operation.as_mut())
        {
            (operation.share, operation.image) = (Some(host), image);
        }
        true
    }

    /// Gives back what an operation's claim took, and wakes who waits for it.
    pub(super) fn release(&mut self, operation: &Operation, work: &mut Work) {
        let Some(host) = operation.share.filter(|_| operation.claimed) else { return };
        let mut claims = std::mem::take(&mut self.state.claims);
        let place = self.claimed_at(operation);
        claims.give_back(operation.lane(), &place, operation.cause.remedy());
        self.state.claims = claims;
        let room = self.state.claims.room(&self.setup.policy, host).max(1);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if let Some(host) = self.state.hosts.get(&host) {
            work.services.extend(host.waiting.iter().take(room));
        }
    }

    /// A step of a repair was proven: its host bears so many.
    pub(super) fn went(&mut self, operation: &Operation, took: Span) {
        let Some(host) = operation.share else { return };
        if operation.lane() != Lane::Emergency {
            return;
        }
        if claim::slow(took, operation.at().deadline) {
            self.state.claims.choked(host, self.state.now);
        } else {
            self.state.claims.went(&self.setup.policy, host);
        }
    }

    /// A step of a repair was late: its host may be asked too much.
    pub(super) fn choked(&mut self, host: Option<HostId>, lane: Lane) {
        if let Some(host) = host.filter(|_| lane == Lane::Emergency) {
            self.state.claims.choked(host, self.state.now);
        }
    }

    /// Ends pins whose time has come, and keeps the question to people as the decision has it.
    pub(super) fn keep_people(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(pin) = service.row.people().and_then(|people| people.pin.as_ref()) else { return };
        if work.now < pin.until {
            let until = pin.until;
            return self.look_at(id, until);
        }
        let text = format!("the pin to {} has ended by itself", pin.level);
        service.row.change_people(|people| people.pin = None);
        work.note(Topic::Order, service.row.name.as_str(), text, Vec::new());
        work.record(id);
        self.settle(id, work);
    }

    /// Asks a person for the yes that a decision waits for, or takes the question back.
    pub(super) fn ask_people(&mut self, id: ServiceId, decision: &Decision, work: &mut Work) {
        let wanted = match decision {
            Decision::Hold(Reason::AwaitsPerson { remedy }) => Some(remedy.as_str()),
            // What keeps it from running now, or what else runs now, does not take back the question.
            Decision::Act(_)
            | Decision::Hold(
                Reason::ClaimRefused(_) | Reason::Unclaimed { .. } | Reason::StepUnderWay { .. },
            ) => return,
            Decision::Hold(reason) if reason.remedy().is_some() => {
                let service = self.state.services.get(&id);
                let asked = service.and_then(|s| s.row.people()?.approval.as_ref());
                let Some(asked) = asked.map(|asked| asked.remedy.to_string()) else { return };
                if reason.remedy() == Some(asked.as_str()) || self.applies(id, &asked, work.now) {
                    return;
                }
                None
            }
            _ => None,
        };
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let asked = service.row.people().and_then(|people| people.approval.as_ref());
        let void = |asked: &Approval| {
            let given = asked.given.as_ref();
            given.is_some_and(|(_, at)| work.now.since(*at) >= APPROVAL_KEEP)
        };
        match (asked, wanted) {
            (Some(asked), Some(remedy)) if *asked.remedy == *remedy && !void(asked) => {}
            (None, None) => {}
            (_, Some(remedy))
                if matches!(decision, Decision::Hold(Reason::AwaitsPerson { .. })) =>
            {
                self.state.row.approvals += 1;
                let number = self.state.row.approvals;
                let approval =
                    Approval { id: number, remedy: remedy.into(), since: work.now, given: None };
                service.row.change_people(|people| people.approval = Some(approval));
                let text = format!(
                    "remedy {remedy} waits for a person's yes: `evenkeel approve {number}`"
                );
                work.note(Topic::Decision, service.row.name.as_str(), text, Vec::new());
                work.cell = true;
                work.record(id);
            }
            _ => {
                service.row.change_people(|people| people.approval = None);
                work.record(id);
            }
        }
    }

    /// The yes was used.
    pub(super) fn use_approval(&mut self, id: ServiceId) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        service.row.change_people(|people| people.approval = None);
    }

    /// Takes an order about how far automation goes.
    ///
    /// # Panics
    /// When it is about something else.
    pub(super) fn order_automation(
        &mut self,
        by: &str,
        order: &Order,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        match order {
            Order::Level { remedy, service, kind, level } => {
                let whom = (service.as_deref(), kind.as_deref());
                self.order_level(by, remedy, whom, *level, work)
            }
            Order::Pin { name, level, for_ms, reason } => {
                self.order_pin(by, name, level.map(|level| (level, *for_ms)), reason, work)
            }
            Order::Approve { id } => self.order_approve(by, *id, work),
            Order::Brake { on, reason } => self.order_brake(by, *on, reason, work),
            other => unreachable!("{other:?} is not about automation"),
        }
    }

    /// Takes the order to set a remedy's level; `None` takes back what was set there.
    fn order_level(
        &mut self,
        by: &str,
        remedy: &str,
        (service, kind): (Option<&str>, Option<&str>),
        level: Option<Level>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let known = self.setup.remedies.named(remedy).ok_or_else(|| Error::NoSuchRemedy {
            name: remedy.to_owned(),
            known: self.setup.remedies.iter().map(|r| &*r.name).collect::<Vec<_>>().join(", "),
        })?;
        let (scope, whom) = match (service, kind) {
            (Some(name), _) => {
                let found = self.state.named(name);
                let found = found.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
                (Scope::Service(found.row.id), name.to_owned())
            }
            (None, Some(name)) => {
                let kinds = || self.setup.kinds.iter().map(|k| k.name());
                let label = Label::new(name).ok();
                let label = label.filter(|_| kinds().any(|known| known == name));
                let label = label.ok_or_else(|| Error::NoSuchKind {
                    name: name.to_owned(),
                    known: kinds().collect::<Vec<_>>().join(", "),
                })?;
                (Scope::Kind(label), format!("services of kind {name}"))
            }
            (None, None) => (Scope::Fleet, "the fleet".to_owned()),
        };
        let own = known.level;
        let rules = &mut self.state.row.rules;
        rules.retain(|rule| *rule.remedy != *remedy || rule.scope != scope);
        let text = match level {
            None => {
                format!("remedy {remedy} has no level of its own for {whom}; its file says {own}")
            }
            Some(level) => {
                rules.push(Rule { remedy: remedy.into(), scope, level, by: by.into() });
                format!("remedy {remedy} is on {level} for {whom}")
            }
        };
        work.cell = true;
        self.look_again(scope, work);
        Ok(Accepted { service: None, operation: None, job: None, text })
    }

    /// A service is gone, and levels set for it alone with it.
    pub(super) fn forget_levels(&mut self, id: ServiceId, work: &mut Work) {
        let rules = &mut self.state.row.rules;
        let before = rules.len();
        rules.retain(|rule| rule.scope != Scope::Service(id));
        work.cell |= rules.len() != before;
    }

    /// Has what a level bears on decided anew; agents hear of it where it is their own remedy.
    fn look_again(&mut self, scope: Scope, work: &mut Work) {
        let services = self.state.services.values().filter(|service| match scope {
            Scope::Fleet => true,
            Scope::Kind(kind) => service.row.offer.kind == kind,
            Scope::Service(id) => service.row.id == id,
        });
        let ids: Vec<ServiceId> = services.map(|service| service.row.id).collect();
        for id in ids {
            let ordered = |s: &Service| s.row.primary().revision.0 > 0;
            if self.state.services.get(&id).is_some_and(ordered) {
                self.settle(id, work);
            }
            work.services.insert(id);
        }
    }

    /// Takes the order to pin a service, or to end its pin.
    fn order_pin(
        &mut self,
        by: &str,
        name: &str,
        pin: Option<(Pinned, Span)>,
        reason: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let found = self.state.named(name);
        let found = found.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        let id = found.row.id;
        if pin.is_some() && reason.trim().is_empty() {
            return Err(Error::NoReason);
        }
        if let Some((_, span)) = pin
            && (span == Span(0) || span > PIN_MAX)
        {
            return Err(Error::PinTooLong { asked: span, max: PIN_MAX });
        }
        let gives_up = pin.is_some_and(|(level, _)| level == Pinned::Stop)
            && found.row.operation.as_ref().is_some_and(|o| o.cause.remedy().is_some());
        if gives_up {
            self.drop_operation(id, "a pin", work);
        }
        let Some(service) = self.state.services.get_mut(&id) else {
            return Err(Error::NoSuchService { name: name.to_owned() });
        };
        let text = if let Some((level, span)) = pin {
            let until = work.now + span;
            let pin = Pin { level, until, reason: reason.into(), by: by.into() };
            service.row.change_people(|people| people.pin = Some(pin));
            format!("{name} is pinned to {level} for {span}: {reason}")
        } else {
            service.row.change_people(|people| people.pin = None);
            format!("{name} is not pinned any more")
        };
        work.record(id);
        work.services.insert(id);
        self.settle(id, work);
        Ok(self.accepted(id, text))
    }

    /// Takes a person's yes.
    fn order_approve(&mut self, by: &str, number: u32, work: &mut Work) -> Result<Accepted, Error> {
        let asks = |service: &&Service| {
            let people = service.row.people();
            people.and_then(|p| p.approval.as_ref()).is_some_and(|a| a.id == number)
        };
        let found = self.state.services.values().find(asks).map(|service| service.row.id);
        let service = found.and_then(|id| self.state.services.get_mut(&id));
        let Some(service) = service else { return Err(Error::NoSuchApproval { id: number }) };
        let (id, name) = (service.row.id, service.row.name.clone());
        let remedy = service.row.change_people(|people| {
            let approval = people.approval.as_mut()?;
            approval.given = Some((by.into(), work.now));
            Some(approval.remedy.clone())
        });
        let Some(remedy) = remedy else { return Err(Error::NoSuchApproval { id: number }) };
        let text = format!("remedy {remedy} may run for {name}");
        work.record(id);
        work.services.insert(id);
        Ok(self.accepted(id, text))
    }

    /// Takes the order to put the fleet brake on or off.
    fn order_brake(
        &mut self,
        by: &str,
        on: bool,
        reason: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        if on && reason.trim().is_empty() {
            return Err(Error::NoReason);
        }
        let brake = Brake { by: by.into(), reason: reason.into(), since: work.now };
        let was = std::mem::replace(&mut self.state.row.brake, on.then(|| Box::new(brake)));
        let text = match (on, was) {
            (true, None) => "the brake is on: nothing that automation or a plan wants begins",
            (true, Some(_)) => "the brake was on already; it has a new reason",
            (false, Some(_)) => "the brake is off",
            (false, None) => "the brake was not on",
        };
        work.cell = true;
        // Who waited because of it is decided about anew.
        work.services.extend(self.state.busy.iter().copied());
        let unwell = self.state.services.values().filter(|s| s.decided != 0);
        work.services.extend(unwell.map(|service| service.row.id));
        Ok(Accepted { service: None, operation: None, job: None, text: text.to_owned() })
    }

    /// What the remedy for a death comes to, by its name: an agent runs it by itself.
    pub(super) fn of_restart(&self, id: ServiceId) -> Option<String> {
        let service = self.state.services.get(&id)?;
        let remedy = self.setup.remedies.restart()?;
        let (name, budget) = (&remedy.name, remedy.budget);
        let looping = |seen: &super::state::Seen| seen.state == member::State::CrashLooping;
        let spent = service.seen.first()?.as_ref().is_some_and(looping);
        Some(if !agent_restarts(&self.state.row.rules, &self.setup.remedies, &service.row) {
            format!(
                "remedy {name} is kept from running by its level or a pin: it is not started again"
            )
        } else if spent {
            let (tries, window) = (budget.tries_max, budget.window);
            format!("remedy {name}: its tries are used up ({tries} in {window})")
        } else {
            format!("remedy {name}: its agent starts it again")
        })
    }

    /// Starts what a remedy's course says.
    pub(super) fn begin_course(
        &mut self,
        id: ServiceId,
        course: &Course,
        cause: Cause,
        work: &mut Work,
    ) {
        match course {
            Course::Operation(kind) => self.start(id, *kind, cause, work),
            Course::Procedure { name, parameters } => {
                let run = Run { procedure: name, member: None, parameters, dry_run: false };
                if let Err(error) = self.start_procedure(id, &run, cause, work) {
                    // The run counts: a remedy that cannot even begin ends in a person, too.
                    let subject = self.state.services.get(&id).map(|s| s.row.name.clone());
                    let subject = subject.as_ref().map_or("", ServiceName::as_str);
                    let text = format!("procedure {name} did not begin: {error}");
                    work.note(Topic::Finding, subject, text, Vec::new());
                }
            }
        }
    }
}

impl Cell {
    /// Every remedy, with the levels that people set.
    #[must_use]
    pub fn remedies(&self) -> Vec<view::Remedy> {
        self.setup.remedies.iter().map(|remedy| self.show_remedy(remedy)).collect()
    }

    /// Every question to people.
    #[must_use]
    pub fn approvals(&self, now: Time) -> Vec<view::Approval> {
        self.state.services.values().filter_map(|s| show_approval(&s.row, now)).collect()
    }

    fn show_remedy(&self, remedy: &Remedy) -> view::Remedy {
        let rules = || self.state.row.rules.iter().filter(|rule| rule.remedy == remedy.name);
        let fleet = rules().find(|rule| rule.scope == Scope::Fleet).map(|rule| rule.level);
        let elsewhere = |rule: &Rule| {
            let whom = match rule.scope {
                Scope::Fleet => return None,
                Scope::Kind(kind) => format!("kind {kind}"),
                Scope::Service(id) => {
                    let service = self.state.services.get(&id)?;
                    format!("service {}", service.row.name)
                }
            };
            Some((whom, rule.level))
        };
        let budget = remedy.budget;
        view::Remedy {
            name: remedy.name.to_string(),
            doc: remedy.doc.clone(),
            when: remedy.guard.text().to_owned(),
            does: remedy.course.to_string(),
            held_in: remedy.held_in.clone(),
            level: fleet.unwrap_or(remedy.level),
            elsewhere: rules().filter_map(elsewhere).collect(),
            tries_max: budget.tries_max,
            window_ms: budget.window,
            cooldown_ms: budget.cooldown,
            fleet_max: budget.fleet_max,
            running: self.state.claims.remedies.get(&remedy.name).copied().unwrap_or_default(),
            manual_minutes: remedy.manual_minutes,
            fails: self.state.failing.get(&remedy.name).and_then(|(service, why)| {
                let service = self.state.services.get(service)?;
                Some(format!("of {}: {why}", service.row.name.as_str()))
            }),
        }
    }

    /// Keeps of which service a remedy's guard gave no answer last, until it gives one.
    pub(super) fn note_guard(&mut self, id: ServiceId, decision: &Decision) {
        let failing = &mut self.state.failing;
        if !failing.is_empty() {
            failing.retain(|_, (service, _)| *service != id);
        }
        if let Decision::Hold(Reason::GuardFails { remedy, why }) = decision {
            failing.insert(remedy.as_str().into(), (id, why.clone()));
        }
    }
}

/// A service's pin, for people.
pub(super) fn show_pin(row: &rows::Service, now: Time) -> Option<view::Pin> {
    let pin = row.people()?.pin.as_ref().filter(|pin| now < pin.until)?;
    Some(view::Pin {
        level: pin.level,
        ends_in_ms: pin.until.since(now),
        reason: pin.reason.to_string(),
        by: pin.by.to_string(),
    })
}

/// What waits for a person's yes, for people.
pub(super) fn show_approval(row: &rows::Service, now: Time) -> Option<view::Approval> {
    let approval = row.people()?.approval.as_ref()?;
    Some(view::Approval {
        id: approval.id,
        service: row.name.as_str().to_owned(),
        remedy: approval.remedy.to_string(),
        since_ms: now.since(approval.since),
        given_by: approval.given.as_ref().map(|(by, _)| by.to_string()),
    })
}

/// Whether the agent may restart what dies by itself: its remedy is on, and nobody pinned the service.
pub(super) fn agent_restarts(rules: &[Rule], remedies: &Remedies, row: &rows::Service) -> bool {
    let pinned = row.people().and_then(|people| people.pin.as_ref());
    let on =
        |remedy: &Remedy| automation::level(rules, remedy, row.id, &row.offer.kind) == Level::Auto;
    pinned.is_none_or(|pin| pin.level.allows(Lane::Emergency)) && remedies.restart().is_some_and(on)
}
