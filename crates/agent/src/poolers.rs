//! Calls about poolers, on threads of their own; and news of their processes' deaths.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use evenkeel_core::agent::poolers::{Call, Outcome};
use evenkeel_core::driver::Error;
use evenkeel_core::id::ServiceId;
use evenkeel_core::pooler::{Driver, Kept};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::drivers::Drivers;
use crate::shell::Event;
use crate::watch;

/// A call that came back.
pub(crate) struct Returned {
    /// Whose pooler.
    pub service: ServiceId,
    /// The call's number.
    pub number: u64,
    /// What came of it.
    pub outcome: Outcome,
    driver: Option<Box<dyn Driver>>,
}

/// The drivers of this host's poolers, and the processes that are watched.
pub(crate) struct Poolers {
    drivers: Arc<dyn Drivers>,
    idle: BTreeMap<ServiceId, Box<dyn Driver>>,
    watched: BTreeMap<ServiceId, (u32, AbortHandle)>,
    events: mpsc::Sender<Event>,
}

impl Poolers {
    /// No driver is made before its first call.
    pub fn new(drivers: Arc<dyn Drivers>, events: mpsc::Sender<Event>) -> Self {
        Self { drivers, idle: BTreeMap::new(), watched: BTreeMap::new(), events }
    }

    /// Begins a call; it comes back as [`Event::PoolerReturned`].
    pub fn call(&mut self, call: Call) {
        let driver = self.idle.remove(&call.service);
        let (drivers, events) = (Arc::clone(&self.drivers), self.events.clone());
        tokio::spawn(async move {
            let (service, number) = (call.service, call.number);
            let work = tokio::task::spawn_blocking(move || work(&*drivers, driver, &call));
            let (driver, outcome) = work.await.unwrap_or_else(|error| {
                (None, Err(Error::Failed(format!("the pooler's driver broke off: {error}"))))
            });
            let returned = Returned { service, number, outcome, driver };
            // The shell has gone if it takes no event any more.
            let _ = events.send(Event::PoolerReturned(returned)).await;
        });
    }

    /// Takes a driver back, and watches the process that it keeps.
    pub fn back(&mut self, returned: &mut Returned) {
        let service = returned.service;
        match &returned.outcome {
            Ok(Some(Kept { pid, .. })) => self.watch(service, *pid),
            Ok(None) => self.end_watch(service),
            Err(_) => {}
        }
        // One that lacks its software is made anew with what is found then.
        let lacks = matches!(returned.outcome, Err(Error::ProgramMissing { .. }));
        let gone = matches!(returned.outcome, Ok(None));
        if let Some(driver) = returned.driver.take().filter(|_| !lacks && !gone) {
            self.idle.insert(service, driver);
        }
    }

    /// Whether this death is of the process that is watched; it is not watched any more then.
    pub fn died(&mut self, service: ServiceId, pid: u32) -> bool {
        let died = self.watched.get(&service).is_some_and(|(watched, _)| *watched == pid);
        if died {
            self.watched.remove(&service);
        }
        died
    }

    fn watch(&mut self, service: ServiceId, pid: u32) {
        if self.watched.get(&service).is_some_and(|(watched, _)| *watched == pid) {
            return;
        }
        self.end_watch(service);
        let events = self.events.clone();
        let task = tokio::spawn(async move {
            match watch::gone(pid).await {
                Ok(()) => drop(events.send(Event::PoolerDied { service, pid }).await),
                Err(error) => {
                    tracing::warn!(%service, pid, %error, "a pooler's death will be noticed late");
                }
            }
        });
        self.watched.insert(service, (pid, task.abort_handle()));
    }

    fn end_watch(&mut self, service: ServiceId) {
        if let Some((_, task)) = self.watched.remove(&service) {
            task.abort();
        }
    }
}

fn work(
    drivers: &dyn Drivers,
    driver: Option<Box<dyn Driver>>,
    call: &Call,
) -> (Option<Box<dyn Driver>>, Outcome) {
    let made = driver.map_or_else(|| drivers.pooler(&call.kind), Ok);
    let mut driver = match made {
        Ok(driver) => driver,
        Err(error) => return (None, Err(error)),
    };
    let began = Instant::now();
    let outcome = match &call.wanted {
        Some(wanted) => driver.keep(wanted).map(Some),
        None => driver.remove(call.service).map(|()| None),
    };
    let paused = call.wanted.as_ref().map(|wanted| wanted.paused);
    tracing::debug!(service = %call.service, ?paused, ?outcome, took = ?began.elapsed());
    if let Err(error) = &outcome {
        tracing::warn!(service = %call.service, %error, "a pooler is not as it should be");
    }
    (Some(driver), outcome)
}
