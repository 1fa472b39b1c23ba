//! Maintenance: what is planned for a service begins in its window, once its service can bear it and the
//! claim gate would grant it.
//!
//! The story of a piece of planned work: it is recorded with its reason; its service is looked at when its
//! window opens, or when the day has come by which it must be done; it begins as the operation that a person
//! would order; when that has ended well it is forgotten, else it is tried again later. An order by hand
//! waits for no window.

use super::state::Service;
use super::turn::Work;
use super::{Cell, rows};
use crate::check::Severity;
use crate::claim::Lane;
use crate::id::{OperationId, ServiceId};
use crate::journal::Topic;
use crate::maintenance::{
    Because, Item, Next, Order, PLANNED_MAX, Page, Planned, REASON_MAX_CHARS, RETRY_AFTER, Task,
    Windows, next,
};
use crate::moment::Moment;
use crate::operation::Kind;
use crate::order::{Accepted, Error};
use crate::service::{Health, Phase};
use crate::time::{Span, Time};

/// What may go and cannot yet is looked at again so often.
const WAIT_STEP: Span = Span::secs(5);

/// A moment, for people.
pub(super) fn shown(at: Time) -> String {
    Moment::of_millis(at.0).to_string()
}

/// Whom an order is about, and what it is, in words.
pub(super) fn words(order: &Order) -> (&str, &'static str) {
    match order {
        Order::Window { name, .. } => (name, "a maintenance window"),
        Order::Plan { name, .. } => (name, "maintenance"),
        Order::RunNow { .. } => ("maintenance", "that planned work runs now"),
        Order::Cancel { .. } => ("maintenance", "that planned work is cancelled"),
    }
}

impl Cell {
    /// The windows of a service: its own, or the policy's.
    pub(super) fn windows<'a>(&'a self, service: &'a Service) -> Option<&'a Windows> {
        let own = service.row.upkeep().and_then(|upkeep| upkeep.windows.as_ref());
        own.or(self.setup.policy.maintenance_window.as_ref())
    }

    /// Whether a service is as it should be and nothing else is done to it.
    pub(super) fn quiet(&self, service: &Service, now: Time) -> bool {
        let row = &service.row;
        let drills = row.upkeep().map(|upkeep| &upkeep.drills);
        row.phase == Phase::Serving
            && row.health == Health::Healthy
            && row.operation.is_none()
            && drills.is_none_or(|drills| drills.runs(now).is_none())
    }

    /// Changes what is kept of a service's upkeep, and looks at it again.
    pub(super) fn upkeep<T>(
        &mut self,
        id: ServiceId,
        work: &mut Work,
        change: impl FnOnce(&mut rows::Upkeep) -> T,
    ) -> Option<T> {
        let service = self.state.services.get_mut(&id)?;
        let changed = service.row.few.change(|few| {
            let mut upkeep = few.upkeep.take().unwrap_or_default();
            let changed = change(&mut upkeep);
            few.upkeep = (*upkeep != rows::Upkeep::default()).then_some(upkeep);
            changed
        });
        match service.row.upkeep() {
            Some(_) => self.state.upkept.insert(id),
            None => self.state.upkept.remove(&id),
        };
        work.record(id);
        work.services.insert(id);
        Some(changed)
    }

    /// Has planned work begin that may.
    pub(super) fn maintain(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(upkeep) = service.row.upkeep() else { return };
        let mut due = None;
        // What a brake drill holds has its turn when it ends.
        let mut later: Vec<Time> = upkeep.drills.holds_until(work.now).into_iter().collect();
        // A drill is begun by whoever does it.
        let own = |planned: &&Planned| planned.operation.is_none() && planned.task != Task::Drill;
        for planned in upkeep.planned.iter().filter(own) {
            match next(planned, self.windows(service), work.now) {
                Next::Wait(at) => later.push(at),
                Next::Go(because) => due = due.or(Some((planned.clone(), because))),
            }
        }
        later.into_iter().for_each(|at| self.look_at(id, at));
        let Some((planned, because)) = due else { return };
        let Some(service) = self.state.services.get(&id) else { return };
        let granted = self.gate(&service.row, Lane::Planned, (false, None), work.now).is_ok();
        if !(granted && self.quiet(service, work.now))
            || self.begin_planned(id, &planned, because, work).is_err()
        {
            self.look_each(id, WAIT_STEP, work.now);
        }
    }

    fn begin_planned(
        &mut self,
        id: ServiceId,
        planned: &Planned,
        because: Because,
        work: &mut Work,
    ) -> Result<(), Error> {
        let Some(service) = self.state.services.get(&id) else { return Ok(()) };
        let name = service.row.name.as_str().to_owned();
        let by = format!("maintenance {}: {}", planned.id, planned.reason);
        let accepted = match planned.task {
            Task::Restart => self.operate(&by, &name, Kind::Restart, work)?,
            Task::Switchover => self.switch_over(&by, &name, None, work)?,
            Task::Drill => return Ok(()),
        };
        let why = match (because, planned.required_by) {
            (Because::Overdue, Some(by)) => {
                format!("override: though its window is closed, as it is required by {}", shown(by))
            }
            (Because::Person, _) => "override: a person let it go".to_owned(),
            _ => "its window is open".to_owned(),
        };
        let text = format!("maintenance {}: {} begins; {why}", planned.id, planned.task);
        work.note(Topic::Operation, &name, text, vec![planned.reason.clone()]);
        self.upkeep(id, work, |upkeep| {
            if let Some(known) = upkeep.planned.iter_mut().find(|known| known.id == planned.id) {
                known.operation = accepted.operation;
            }
        });
        Ok(())
    }

    /// An operation ended: if it was planned, the plan is carried out, or is tried again later.
    pub(super) fn planned_ended(
        &mut self,
        id: ServiceId,
        operation: OperationId,
        well: bool,
        work: &mut Work,
    ) {
        let Some(service) = self.state.services.get(&id) else { return };
        let Some(upkeep) = service.row.upkeep() else { return };
        let ours = |planned: &&Planned| planned.operation == Some(operation);
        let Some(number) = upkeep.planned.iter().find(ours).map(|planned| planned.id) else {
            return;
        };
        let name = service.row.name.as_str().to_owned();
        let again = work.now + RETRY_AFTER;
        self.upkeep(id, work, |upkeep| match well {
            true => upkeep.planned.retain(|planned| planned.id != number),
            false => {
                for planned in upkeep.planned.iter_mut().filter(|planned| planned.id == number) {
                    (planned.operation, planned.not_before) = (None, Some(again));
                }
            }
        });
        let text = match well {
            true => format!("maintenance {number} is done"),
            false => {
                format!("maintenance {number} did not end well; it is tried again in {RETRY_AFTER}")
            }
        };
        work.note(Topic::Operation, &name, text, Vec::new());
    }

    /// Takes an order about maintenance.
    pub(super) fn order_maintenance(
        &mut self,
        by: &str,
        order: &Order,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        match order {
            Order::Window { name, windows } => {
                let id = self.id_of(name)?;
                self.upkeep(id, work, |upkeep| upkeep.windows.clone_from(windows));
                let text = match windows {
                    Some(windows) => format!("planned work on {name} waits for {windows} (UTC)"),
                    None => format!("{name} has no windows of its own any more"),
                };
                Ok(Accepted { operation: None, ..self.accepted(id, text) })
            }
            Order::Plan { name, task, reason, required_by } => {
                self.plan(by, name, *task, (reason, *required_by), work)
            }
            Order::RunNow { id: number } => {
                let (id, name) = self.planned(*number)?;
                self.upkeep(id, work, |upkeep| {
                    for planned in upkeep.planned.iter_mut().filter(|p| p.id == *number) {
                        (planned.run_now, planned.not_before) = (true, None);
                    }
                });
                let text =
                    format!("maintenance {number} of {name} begins as soon as it can bear it");
                Ok(Accepted { operation: None, ..self.accepted(id, text) })
            }
            Order::Cancel { id: number } => {
                let (id, name) = self.planned(*number)?;
                self.upkeep(id, work, |upkeep| upkeep.planned.retain(|p| p.id != *number));
                let text = format!("maintenance {number} of {name} is cancelled");
                Ok(Accepted { operation: None, ..self.accepted(id, text) })
            }
        }
    }

    pub(super) fn id_of(&self, name: &str) -> Result<ServiceId, Error> {
        let service = self.state.named(name);
        let service = service.ok_or_else(|| Error::NoSuchService { name: name.to_owned() })?;
        Ok(service.row.id)
    }

    /// The service that a number belongs to, if its work is not under way.
    fn planned(&self, number: u32) -> Result<(ServiceId, String), Error> {
        for id in &self.state.upkept {
            let Some(service) = self.state.services.get(id) else { continue };
            let all = service.row.upkeep().map_or(&[][..], |upkeep| &upkeep.planned);
            let Some(planned) = all.iter().find(|planned| planned.id == number) else { continue };
            let name = service.row.name.as_str().to_owned();
            if planned.operation.is_some() {
                return Err(Error::PlannedRuns { name, id: number });
            }
            return Ok((*id, name));
        }
        Err(Error::NoSuchPlanned { id: number })
    }

    fn plan(
        &mut self,
        by: &str,
        name: &str,
        task: Task,
        (reason, required_by): (&str, Option<Time>),
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.id_of(name)?;
        if reason.trim().is_empty() {
            return Err(Error::NoReason);
        }
        if task != Task::Restart {
            self.with_standbys(name)?;
        }
        if let Some(past) = required_by.filter(|by| *by <= work.now) {
            return Err(Error::DayPast { by: shown(past) });
        }
        let known = self.state.services.get(&id).and_then(|s| s.row.upkeep());
        if known.is_some_and(|upkeep| upkeep.planned.len() >= PLANNED_MAX) {
            return Err(Error::TooMuchPlanned { name: name.to_owned(), max: PLANNED_MAX });
        }
        self.state.row.planned += 1;
        let number = self.state.row.planned;
        let planned = Planned {
            id: number,
            task,
            reason: reason.trim().chars().take(REASON_MAX_CHARS).collect(),
            by: by.to_owned(),
            created: work.now,
            required_by,
            run_now: false,
            not_before: None,
            operation: None,
        };
        let service = self.state.services.get(&id);
        let windows = service.and_then(|service| self.windows(service));
        let when = match next(&planned, windows, work.now) {
            Next::Go(_) => "now, as soon as it can bear it".to_owned(),
            Next::Wait(at) => format!("at {}", shown(at)),
        };
        self.upkeep(id, work, |upkeep| upkeep.planned.push(planned));
        work.cell = true;
        let text = format!("maintenance {number}: {task} of {name} {when}");
        Ok(Accepted { operation: None, ..self.accepted(id, text) })
    }

    /// Everything that is planned in the fleet, in order of number.
    #[must_use]
    pub fn planned_work(&self, now: Time) -> Vec<Item> {
        let services = self.state.upkept.iter().filter_map(|id| self.state.services.get(id));
        let mut all: Vec<Item> = services.flat_map(|s| self.items(s, now)).collect();
        all.sort_by_key(|item| item.id);
        all
    }

    fn items(&self, service: &Service, now: Time) -> Vec<Item> {
        let all = service.row.upkeep().map_or(&[][..], |upkeep| &upkeep.planned);
        let item = |planned: &Planned| {
            let (state, opens) = match next(planned, self.windows(service), now) {
                _ if planned.operation.is_some() => ("under way", None),
                Next::Go(_) => ("due", None),
                Next::Wait(at) => ("waits", Some(at)),
            };
            Item {
                id: planned.id,
                service: service.row.name.as_str().to_owned(),
                task: planned.task.to_string(),
                reason: planned.reason.clone(),
                by: planned.by.clone(),
                created_at: shown(planned.created),
                required_by: planned.required_by.map(shown),
                state: state.to_owned(),
                opens_at: opens.map(shown),
            }
        };
        all.iter().map(item).collect()
    }

    /// A service's maintenance.
    #[must_use]
    pub fn maintenance(&self, name: &str, now: Time) -> Option<Page> {
        let service = self.state.named(name)?;
        let windows = self.windows(service);
        let own = service.row.upkeep().is_some_and(|upkeep| upkeep.windows.is_some());
        let open = crate::maintenance::is_open(windows, now);
        Some(Page {
            service: name.to_owned(),
            window: windows.map(ToString::to_string),
            from: match windows {
                Some(_) if own => "service",
                Some(_) => "policy",
                None => "default",
            }
            .to_owned(),
            open,
            opens_at: windows.filter(|_| !open).map(|windows| shown(windows.opening(now))),
            planned: self.items(service, now),
        })
    }

    /// What is not as it should be about a service's planned work and drills.
    pub(super) fn upkeep_findings(
        &self,
        service: &Service,
        now: Time,
    ) -> Vec<(&'static str, Severity, String, Span)> {
        let mut found = self.drill_findings(service, now);
        let all = service.row.upkeep().map_or(&[][..], |upkeep| &upkeep.planned);
        for planned in all.iter().filter(|planned| planned.operation.is_none()) {
            let Some(by) = planned.required_by.filter(|by| *by <= now) else { continue };
            let text = format!(
                "maintenance {}: {} was required by {} ({})",
                planned.id,
                planned.task,
                shown(by),
                planned.reason
            );
            found.push(("maintenance-overdue", Severity::Warning, text, now.since(by)));
        }
        found
    }
}
