//! An agent's poolers: kept running, paused and resumed as they are wanted. Pure, as the rest.
//!
//! Invariants: at most one call is under way for a pooler; a pause ends when the controller that asked
//! for it is not heard any more, as nobody else would end it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::driver::Error;
use crate::id::ServiceId;
use crate::pooler::{Kept, News, Pooler, State};
use crate::time::{Span, Time};

/// One that runs is looked at this often.
const LOOK_STEP: Span = Span::secs(10);
/// Open transactions are waited for in steps as short as this.
const PAUSING_STEP: Span = Span::millis(10);
/// First wait after a call that failed, doubled for each further one in a row.
const RETRY_STEP: Span = Span::millis(500);
/// Longest such wait.
const RETRY_MAX: Span = Span::secs(30);

/// A call to make: keep one as it is wanted, or remove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Whose.
    pub service: ServiceId,
    /// Named in the outcome.
    pub number: u64,
    /// Its service's kind.
    pub kind: String,
    /// What is wanted; `None`: nothing any more.
    pub wanted: Option<Pooler>,
}

/// What came of a call; `None` after a removal.
pub type Outcome = Result<Option<Kept>, Error>;

/// The poolers of one host.
#[derive(Clone, Debug, Default)]
pub struct Poolers {
    held: BTreeMap<ServiceId, Held>,
    calls: u64,
    /// Whether the controller that is obeyed is heard.
    heard: bool,
}

#[derive(Clone, Debug)]
struct Held {
    /// Its service's kind.
    kind: String,
    wanted: Option<Pooler>,
    /// The routes it is wanted by.
    routes: u64,
    call: Option<Call>,
    /// What was carried out last.
    done: Option<Pooler>,
    failed: Option<String>,
    failures: u8,
    /// When the next call is due though nothing changed.
    due: Time,
    told: Option<News>,
}

impl Held {
    fn of(wanted: &Pooler, routes: u64) -> Self {
        Self {
            kind: wanted.kind.clone(),
            wanted: Some(wanted.clone()),
            routes,
            call: None,
            done: None,
            failed: None,
            failures: 0,
            due: Time(0),
            told: None,
        }
    }

    /// What is to be carried out.
    fn effective(&self, heard: bool) -> Option<Pooler> {
        let wanted = self.wanted.as_ref()?;
        Some(Pooler { paused: wanted.paused && heard, ..wanted.clone() })
    }

    /// When its next call is due; it may be now.
    fn next(&self, heard: bool) -> Option<Time> {
        if self.call.is_some() {
            return None;
        }
        let waits = self.is_current(heard) || self.failures > 0;
        Some(if waits { self.due } else { Time(0) })
    }

    /// Whether what is wanted was carried out.
    fn is_current(&self, heard: bool) -> bool {
        self.done.is_some() && self.done == self.effective(heard)
    }

    /// What there is to tell; nothing while what is wanted is being carried out.
    fn news(&self, service: ServiceId, heard: bool) -> Option<News> {
        let paused = self.done.as_ref().is_some_and(|done| done.paused);
        let state = match &self.failed {
            Some(why) => State::Failed(why.clone()),
            None if !self.is_current(heard) => return None,
            None if paused => State::Paused,
            None => State::Serving,
        };
        Some(News { service, routes: self.routes, state })
    }
}

impl Poolers {
    /// Those that were kept before.
    #[must_use]
    pub fn new(stored: &[Pooler]) -> Self {
        let held = stored.iter().map(|pooler| (pooler.service, Held::of(pooler, 0)));
        Self { held: held.collect(), ..Self::default() }
    }

    /// Whether the controller that is obeyed is heard from now on. Whoever is heard anew is told all.
    pub fn hear(&mut self, heard: bool) {
        self.heard = heard;
        self.held.values_mut().for_each(|held| held.told = None);
    }

    /// Takes what is wanted; what must be on disk, by service.
    pub fn take(
        &mut self,
        routes: u64,
        whole: bool,
        changed: &[Pooler],
        gone: &[ServiceId],
    ) -> Vec<(ServiceId, Option<Pooler>)> {
        let named = |id: &ServiceId| changed.iter().any(|pooler| pooler.service == *id);
        let all = self.held.keys().copied().filter(|id| whole && !named(id));
        let gone: Vec<ServiceId> = all.chain(gone.iter().copied()).collect();
        let mut save = Vec::new();
        for pooler in changed {
            // A pause is not for ever: what is on disk serves.
            let kept = |pooler: &Pooler| Pooler { paused: false, ..pooler.clone() };
            let known = self.held.get(&pooler.service).and_then(|held| held.wanted.as_ref());
            let new = known.map(kept) != Some(kept(pooler));
            let held = self.held.entry(pooler.service).or_insert_with(|| Held::of(pooler, routes));
            if new {
                save.push((pooler.service, Some(kept(pooler))));
                (held.failures, held.due) = (0, Time(0));
            }
            (held.wanted, held.routes) = (Some(pooler.clone()), routes);
        }
        for id in gone {
            if let Some(held) = self.held.get_mut(&id).filter(|held| held.wanted.is_some()) {
                (held.wanted, held.failures, held.due) = (None, 0, Time(0));
                save.push((id, None));
            }
        }
        save
    }

    /// Every pooler that is wanted.
    #[must_use]
    pub fn wanted(&self) -> Vec<Pooler> {
        self.held.values().filter_map(|held| held.wanted.clone()).collect()
    }

    /// A pooler's process is gone.
    pub fn died(&mut self, service: ServiceId) {
        if let Some(held) = self.held.get_mut(&service) {
            (held.done, held.due) = (None, Time(0));
        }
    }

    /// What came of a call.
    pub fn outcome(&mut self, service: ServiceId, number: u64, outcome: &Outcome, now: Time) {
        let Some(held) = self.held.get_mut(&service) else { return };
        let Some(call) = held.call.take_if(|call| call.number == number) else { return };
        match outcome {
            Ok(kept) => {
                (held.failures, held.failed) = (0, None);
                match (call.wanted, kept) {
                    (Some(wanted), Some(Kept { so: true, .. })) => {
                        (held.done, held.due) = (Some(wanted), now + LOOK_STEP);
                    }
                    (Some(_), _) => {
                        // It runs, and transactions are open.
                        (held.done, held.due, held.failures) = (None, now + PAUSING_STEP, 1);
                    }
                    (None, _) => {
                        if held.wanted.is_none() {
                            self.held.remove(&service);
                        }
                    }
                }
            }
            Err(error) => {
                let wait = RETRY_STEP.times(1 << held.failures.min(8)).min(RETRY_MAX);
                held.failures = held.failures.saturating_add(1);
                (held.done, held.due) = (None, now + wait);
                held.failed = Some(error.to_string());
            }
        }
    }

    /// The calls that are due.
    pub fn drive(&mut self, now: Time) -> Vec<Call> {
        let (mut calls, heard) = (Vec::new(), self.heard);
        for (service, held) in &mut self.held {
            if held.next(heard).is_none_or(|at| at > now) {
                continue;
            }
            self.calls += 1;
            let call = Call {
                service: *service,
                number: self.calls,
                kind: held.kind.clone(),
                wanted: held.effective(heard),
            };
            held.call = Some(call.clone());
            calls.push(call);
        }
        calls
    }

    /// What changed since it was told last.
    pub fn news(&mut self) -> Vec<News> {
        let mut all = Vec::new();
        for (service, held) in &mut self.held {
            let news = held.news(*service, self.heard);
            if held.wanted.is_some() && news.is_some() && held.told != news {
                held.told.clone_from(&news);
                all.extend(news);
            }
        }
        all
    }

    /// When to turn again though nothing comes in.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        self.held.values().filter_map(|held| held.next(self.heard)).min()
    }
}
