//! Drills: which are due, that one begins, what it came to.
//!
//! The cell decides and records; somebody else exercises. The controller's runner asks which drills are due,
//! orders that one begins (which is recorded, or refused if it is not due any more), does it, and reports. A
//! person's `drill` does the same without waiting for a schedule.

use super::maintenance::shown;
use super::state::Service;
use super::turn::Work;
use super::{Cell, goals, rows};
use crate::check::Severity;
use crate::drill::{
    Begun, Budget, Candidate, Drills, EVERY_MIN, Kind, Order, Outcome, Page, Rule, Running,
    Schedule, Scheduled, Shown, ShownTrend, pick,
};
use crate::id::ServiceId;
use crate::journal::Topic;
use crate::maintenance::{Long, Next, Planned, Task, next};
use crate::order::{Accepted, Error};
use crate::time::{Span, Time};

/// A failure's text is cut to so many characters.
const WHY_MAX_CHARS: usize = 200;

/// Whom an order is about, and what it is, in words.
pub(super) fn words(order: &Order) -> (&str, &'static str) {
    match order {
        Order::Schedule { name, .. } => (name, "a schedule of drills"),
        Order::Begin { name, .. } => (name, "that a drill begins"),
        Order::Abort { name } => (name, "that a drill ends"),
    }
}

fn drills(service: &Service) -> Option<&Drills> {
    service.row.upkeep().map(|upkeep| &upkeep.drills)
}

impl Cell {
    /// Keeps since when the policy has services be drilled: what is new counts from here.
    pub(super) fn note_drill_rules(&mut self, work: &mut Work) {
        let known = &self.state.row.drills;
        let rule = |(kind, every): (&Kind, &Span)| {
            let (kind, every) = (*kind, (*every).max(EVERY_MIN));
            let was = known.iter().find(|rule| (rule.kind, rule.every) == (kind, every));
            was.copied().unwrap_or(Rule { kind, every, since: work.now })
        };
        let rules: Vec<Rule> = self.setup.policy.drill_every.iter().map(rule).collect();
        if rules != *known {
            self.state.row.drills = rules;
            work.cell = true;
        }
    }

    /// A service's own schedules, and the policy's for what it says nothing of.
    fn schedules(&self, service: &Service) -> Vec<Schedule> {
        let row = &service.row;
        let none = Drills::default();
        let own = drills(service).unwrap_or(&none);
        let said =
            |kind: Kind| own.off.contains(&kind) || own.schedules.iter().any(|s| s.kind == kind);
        let could = |kind: Kind| match kind {
            Kind::Failover => row.promise.is_some(),
            Kind::Controller | Kind::Brake => true,
            Kind::Proof => false,
        };
        let rules =
            self.state.row.drills.iter().filter(|rule| could(rule.kind) && !said(rule.kind));
        let ruled = rules.map(|rule| rule.schedule(row.id));
        own.schedules.iter().copied().chain(ruled).collect()
    }

    /// Services that could be due for a drill.
    fn drilled_services(&self) -> impl Iterator<Item = &Service> {
        let all = !self.state.row.drills.is_empty();
        let everyone = all.then(|| self.state.services.values()).into_iter().flatten();
        let upkept = (!all).then(|| self.state.upkept.iter()).into_iter().flatten();
        everyone.chain(upkept.filter_map(|id| self.state.services.get(id)))
    }

    /// Drills that begin now, by the budgets; whoever does them orders that they begin.
    #[must_use]
    pub fn drills_due(&self, now: Time) -> Vec<(String, Kind)> {
        let services = || self.state.upkept.iter().filter_map(|id| self.state.services.get(id));
        let running = services().filter(|s| drills(s).is_some_and(|d| d.runs(now).is_some()));
        let running = running.count();
        let budget = Budget {
            at_once: usize::from(self.setup.policy.drills_max),
            spacing: self.setup.policy.drill_spacing,
        };
        if !self.acts() || running >= budget.at_once {
            return Vec::new();
        }
        let due: Vec<Candidate> =
            self.drilled_services().filter_map(|s| self.due_drill(s, now)).collect();
        let named =
            |id: &ServiceId| Some(self.state.services.get(id)?.row.name.as_str().to_owned());
        let mut picked = pick(now, &due, running, budget);
        picked.retain(|(_, kind)| self.beside_drill(*kind, now).is_none());
        picked.into_iter().filter_map(|(id, kind)| Some((named(&id)?, kind))).collect()
    }

    /// What is being exercised now.
    #[must_use]
    pub fn drills_running(&self, now: Time) -> Vec<Kind> {
        let upkept = self.state.upkept.iter().filter_map(|id| self.state.services.get(id));
        upkept.filter_map(|service| Some(drills(service)?.runs(now)?.kind)).collect()
    }

    /// Drills of this cell that may run at once.
    #[must_use]
    pub const fn drills_max(&self) -> u16 {
        self.setup.policy.drills_max
    }

    /// What runs and cannot be beside a drill of this kind: the loss of a controller cuts every other short.
    fn beside_drill(&self, kind: Kind, now: Time) -> Option<(&str, Kind)> {
        let upkept = self.state.upkept.iter().filter_map(|id| self.state.services.get(id));
        let mut running =
            upkept.filter_map(|s| Some((s.row.name.as_str(), drills(s)?.runs(now)?.kind)));
        running.find(|(_, other)| kind == Kind::Controller || *other == Kind::Controller)
    }

    /// The drill that a service is due for and could bear.
    fn due_drill(&self, service: &Service, now: Time) -> Option<Candidate> {
        let none = rows::Upkeep::default();
        let upkeep = service.row.upkeep().unwrap_or(&none);
        let windows = self.windows(service);
        let went = |planned: &&Planned| {
            planned.task == Task::Drill && matches!(next(planned, windows, now), Next::Go(_))
        };
        let planned = upkeep.planned.iter().find(went);
        let mut due = planned.map(|planned| (Kind::Failover, planned.created));
        if due.is_none() && crate::maintenance::is_open(windows, now) {
            let schedules = self.schedules(service).into_iter();
            let moments = schedules.map(|s| (s.kind, upkeep.drills.due(&s, windows)));
            due = moments.filter(|(_, at)| *at <= now).min_by_key(|(kind, at)| (*at, *kind));
        }
        let (kind, since) = due?;
        let promise = service.row.promise.as_ref();
        let could =
            !kind.is_felt() || promise.is_some_and(|promise| self.safe(service, promise).is_ok());
        (could && self.quiet(service, now)).then(|| Candidate {
            service: service.row.id,
            kind,
            since,
            touched: upkeep.drills.touched().filter(|_| kind.is_felt()),
            planned: planned.is_some(),
        })
    }

    /// Takes an order about drills.
    pub(super) fn order_drill(
        &mut self,
        order: &Order,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        match order {
            Order::Schedule { name, kind, every } => self.schedule(name, *kind, *every, work),
            Order::Begin { name, kind, by } => self.begin_drill(name, *kind, *by, work),
            Order::Abort { name } => {
                let id = self.id_of(name)?;
                let running = self.state.services.get(&id).and_then(drills);
                if running.is_none_or(|drills| drills.running.is_none()) {
                    return Err(Error::NoDrillRuns { name: name.clone() });
                }
                self.upkeep(id, work, |upkeep| {
                    if let Some(running) = upkeep.drills.running.as_mut() {
                        running.aborted = true;
                    }
                });
                let text = format!("the drill on {name} ends as soon as it can");
                Ok(Accepted { operation: None, ..self.accepted(id, text) })
            }
        }
    }

    fn schedule(
        &mut self,
        name: &str,
        kind: Kind,
        every: Option<Span>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.id_of(name)?;
        let refused = |why: &str| Error::NoDrill {
            name: name.to_owned(),
            drill: kind.to_string(),
            why: why.to_owned(),
        };
        match kind {
            Kind::Failover => drop(self.with_standbys(name)?),
            Kind::Proof => {
                return Err(refused(
                    "backups are proven on rotation by the policy's prove_every; `evenkeel prove` proves \
                     one at once",
                ));
            }
            Kind::Controller | Kind::Brake => {}
        }
        if every.is_some_and(|every| every < EVERY_MIN) {
            return Err(refused("they would be closer together than one second"));
        }
        let (since, ruled) = (work.now, self.state.row.drills.iter().any(|rule| rule.kind == kind));
        let due = self.upkeep(id, work, |upkeep| {
            upkeep.drills.schedules.retain(|schedule| schedule.kind != kind);
            upkeep.drills.off.retain(|off| *off != kind);
            if every.is_none() && ruled {
                upkeep.drills.off.push(kind);
            }
            let every = every?;
            let schedule = Schedule { kind, every, since };
            upkeep.drills.schedules.push(schedule);
            Some(schedule)
        });
        let service = self.state.services.get(&id);
        let text = match (service, due.flatten()) {
            (Some(service), Some(schedule)) => {
                let due = drills(service).map(|d| d.due(&schedule, self.windows(service)));
                let (every, first) = (Long(schedule.every), due.map(shown).unwrap_or_default());
                format!("a {kind} drill on {name} every {every}, the next at {first}")
            }
            _ => format!("no {kind} drill on {name} by itself any more"),
        };
        Ok(Accepted { operation: None, ..self.accepted(id, text) })
    }

    fn begin_drill(
        &mut self,
        name: &str,
        kind: Kind,
        by: Begun,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.id_of(name)?;
        let refused =
            |why: String| Error::NoDrill { name: name.to_owned(), drill: kind.to_string(), why };
        let service = self.state.services.get(&id);
        if let Some(running) = service.and_then(drills).and_then(|drills| drills.runs(work.now)) {
            let why = format!("a {} drill runs; abort it, or wait for its end", running.kind);
            return Err(refused(why));
        }
        if by == Begun::Schedule {
            let due = self.drills_due(work.now);
            if !due.iter().any(|(service, what)| service == name && *what == kind) {
                return Err(refused("none is due, or the budgets have no room".to_owned()));
            }
        }
        if kind == Kind::Failover {
            self.with_standbys(name)?;
        }
        if let Some((other, running)) = self.beside_drill(kind, work.now) {
            return Err(refused(format!(
                "a {running} drill runs on {other}, and one of the two would cut the other short"
            )));
        }
        let since = work.now;
        self.upkeep(id, work, |upkeep| {
            // One that never said what it came to has failed.
            end_running(upkeep, since, "nobody said what it came to");
            upkeep.drills.running = Some(Running { kind, since, by, aborted: false });
            let first = upkeep.planned.iter().position(|planned| planned.task == Task::Drill);
            if let Some(at) = first.filter(|_| kind == Kind::Failover) {
                upkeep.planned.remove(at);
            }
        });
        let text = format!("a {kind} drill on {name} begins");
        Ok(Accepted { operation: None, ..self.accepted(id, text) })
    }

    /// A drill was done.
    pub(super) fn drilled(
        &mut self,
        name: &str,
        drill: &str,
        (gap_ms, lost, acked): (u64, u64, u64),
        failed: Option<&str>,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.id_of(name)?;
        let failed = failed.map(|why| why.chars().take(WHY_MAX_CHARS).collect::<String>());
        let text = match &failed {
            None => format!("{drill}: write gap {gap_ms} ms, lost {lost}/{acked}"),
            Some(why) => {
                format!("{drill} failed: {why}; write gap {gap_ms} ms, lost {lost}/{acked}")
            }
        };
        if let Ok(kind) = drill.parse::<Kind>() {
            let outcome = Outcome { kind, at: work.now, gap_ms, lost, acked, failed };
            let well = outcome.is_well();
            let ended = self.upkeep(id, work, |upkeep| {
                upkeep.drills.keep(outcome);
                upkeep.drills.running.take_if(|running| running.kind == kind)
            });
            let by_itself = ended.flatten().is_some_and(|ended| ended.by == Begun::Schedule);
            if by_itself && well {
                self.count_drill(kind, work);
            }
        }
        Ok(Accepted { operation: None, ..self.accepted(id, text) })
    }

    /// A controller that begins does not go on with drills of the one before it.
    pub(super) fn end_cut_drills(&mut self, work: &mut Work) {
        let cut = |service: &Service| {
            let running = drills(service).and_then(|drills| drills.running);
            // Whoever exercises the loss of a controller outlives it.
            let cut = |running: Running| {
                running.by == Begun::Schedule && running.kind != Kind::Controller
            };
            running.is_some_and(cut)
        };
        let services = self.state.upkept.iter().filter_map(|id| self.state.services.get(id));
        let ids: Vec<(ServiceId, String)> = services
            .filter(|service| cut(service))
            .map(|service| (service.row.id, service.row.name.as_str().to_owned()))
            .collect();
        for (id, name) in ids {
            let now = work.now;
            self.upkeep(id, work, |upkeep| {
                end_running(upkeep, now, "the controller ended meanwhile");
            });
            let text = "a drill was cut short: the controller ended meanwhile".to_owned();
            work.note(Topic::Finding, &name, text, Vec::new());
        }
    }

    /// A service's drills.
    #[must_use]
    pub fn drills(&self, name: &str) -> Option<Page> {
        self.state.named(name).map(|service| self.drills_page(service))
    }

    /// The drills of every service that has or had any, in order of name.
    #[must_use]
    pub fn all_drills(&self) -> Vec<Page> {
        let any = |s: &&Service| {
            drills(s).is_some_and(|d| !d.is_empty()) || !self.schedules(s).is_empty()
        };
        let drilled = self.drilled_services().filter(any);
        let mut pages: Vec<Page> = drilled.map(|service| self.drills_page(service)).collect();
        pages.sort_by(|a, b| a.service.cmp(&b.service));
        pages
    }

    fn drills_page(&self, service: &Service) -> Page {
        let none = Drills::default();
        let kept = drills(service).unwrap_or(&none);
        let windows = self.windows(service);
        let result = |result: &Outcome| Shown {
            kind: result.kind.to_string(),
            at: shown(result.at),
            gap_ms: result.gap_ms,
            lost: result.lost,
            acked: result.acked,
            failed: result.failed.clone(),
        };
        let mut results: Vec<Shown> = kept.results.iter().map(result).collect();
        results.extend(proof(service));
        results.sort_by(|a, b| a.at.cmp(&b.at));
        let scheduled = |schedule: &Schedule| Scheduled {
            kind: schedule.kind.to_string(),
            every: Long(schedule.every).to_string(),
            due_at: shown(kept.due(schedule, windows)),
        };
        let trend = |kind: Kind| {
            let trend = kept.trend(kind)?;
            let (newest_ms, before_ms) = (trend.newest_ms, trend.before_ms);
            Some(ShownTrend { kind: kind.to_string(), newest_ms, before_ms })
        };
        Page {
            service: service.row.name.as_str().to_owned(),
            scheduled: self.schedules(service).iter().map(scheduled).collect(),
            running: kept.running.map(|running| running.kind.to_string()),
            aborted: kept.running.is_some_and(|running| running.aborted),
            results,
            trends: Kind::ALL.into_iter().filter_map(trend).collect(),
        }
    }

    /// A drill that failed, or was left out.
    pub(super) fn drill_findings(
        &self,
        service: &Service,
        now: Time,
    ) -> Vec<(&'static str, Severity, String, Span)> {
        let none = Drills::default();
        let kept = drills(service).unwrap_or(&none);
        let mut found = Vec::new();
        let may_lose = goals::plan(&self.setup, &service.row).1.loss.is_some();
        for kind in Kind::ALL {
            let Some(last) = kept.newest(kind).filter(|last| !last.is_well()) else { continue };
            if last.failed.is_none() && may_lose {
                // Its plan says what a failover may cost.
                continue;
            }
            let (severity, what) = match &last.failed {
                _ if last.lost > 0 => {
                    let what = format!("lost {} of {} acknowledged rows", last.lost, last.acked);
                    (Severity::Critical, what)
                }
                why => (Severity::Warning, format!("failed: {}", why.as_deref().unwrap_or("?"))),
            };
            let text = format!("the last {kind} drill {what}");
            found.push(("drill", severity, text, now.since(last.at)));
        }
        for schedule in &self.schedules(service) {
            let late = kept.late(schedule, self.windows(service));
            if late <= now && kept.runs(now).is_none() {
                let kind = schedule.kind;
                let text =
                    format!("no {kind} drill since one was due; every {}", Long(schedule.every));
                found.push(("drill", Severity::Warning, text, now.since(late)));
            }
        }
        found
    }
}

/// Ends what runs, as failed.
fn end_running(upkeep: &mut rows::Upkeep, at: Time, why: &str) {
    if let Some(running) = upkeep.drills.running.take() {
        let failed = Some(why.to_owned());
        upkeep.drills.keep(Outcome {
            kind: running.kind,
            at,
            gap_ms: 0,
            lost: 0,
            acked: 0,
            failed,
        });
    }
}

/// The newest proof of a restore: taken on rotation, it is a drill too.
fn proof(service: &Service) -> Option<Shown> {
    let proof = service.row.archive.as_ref()?.proof.as_ref()?;
    Some(Shown {
        kind: Kind::Proof.to_string(),
        at: proof.begun.to_string(),
        gap_ms: proof.restore_ms,
        lost: 0,
        acked: 0,
        failed: (!proof.wrong.is_empty()).then(|| proof.wrong.join("; ")),
    })
}
