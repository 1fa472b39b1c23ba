//! Driver calls on threads of their own: one at a time for a member, its driver handed to and fro.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evenkeel_core::agent::{Action, Call, JobCall, Outcome, ScriptCall, perform};
use evenkeel_core::backup::guard::Level;
use evenkeel_core::driver::{Driver, Error};
use evenkeel_core::goal::Goal;
use evenkeel_core::id::MemberId;
use evenkeel_core::procedure::Ran;
use tokio::sync::{Semaphore, mpsc};

use crate::drivers::Drivers;
use crate::pool::Making;
use crate::reserve::Reserve;
use crate::shell::Event;

/// Directories made at the same time: each keeps a core and the disk busy for a second.
const INITIALIZING_MAX: usize = 2;
/// Between questions to an import that is under way.
const IMPORT_STEP: Duration = Duration::from_millis(250);

/// How far jobs stand back (`nice`): a tenth of a busy core is left to them.
const JOB_NICE: i32 = 10;

/// A call that came back.
pub(crate) struct Returned {
    /// About which member.
    pub member: MemberId,
    /// The call's number.
    pub number: u64,
    /// What came of it.
    pub outcome: Outcome,
    driver: Option<Box<dyn Driver>>,
}

/// The drivers of this host's members.
pub(crate) struct Workers {
    drivers: Arc<dyn Drivers>,
    idle: BTreeMap<MemberId, Box<dyn Driver>>,
    under_way: usize,
    initializing: Arc<Semaphore>,
    making: Arc<Making>,
    events: mpsc::Sender<Event>,
    reserve: Arc<Reserve>,
    /// Scripts under way, by number, and what has them end.
    scripts: BTreeMap<u64, Arc<AtomicBool>>,
}

impl Workers {
    /// No driver is made before its first call.
    pub fn new(
        drivers: Arc<dyn Drivers>,
        making: Arc<Making>,
        reserve: Arc<Reserve>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let initializing = Arc::new(Semaphore::new(INITIALIZING_MAX));
        let (idle, scripts) = (BTreeMap::new(), BTreeMap::new());
        Self { drivers, idle, under_way: 0, initializing, making, events, reserve, scripts }
    }

    /// Whether no call is under way.
    pub fn are_idle(&self) -> bool {
        self.under_way == 0
    }

    /// Begins a call; it comes back as [`Event::Returned`].
    pub fn call(&mut self, call: Call) {
        tell(&call);
        self.under_way += 1;
        let driver = self.idle.remove(&call.member);
        let (drivers, events) = (Arc::clone(&self.drivers), self.events.clone());
        let making = (call.action == Action::Initialize).then(|| Making::begin(&self.making));
        let initializing = Arc::clone(&self.initializing);
        let reserve = Arc::clone(&self.reserve);
        tokio::spawn(async move {
            let permit = match &making {
                Some(_) => initializing.acquire_owned().await.ok(),
                None => None,
            };
            let (member, number) = (call.member, call.number);
            let import = Import::of(&call, &drivers, &events);
            let watch = import.clone().map(|import| tokio::spawn(import.watch()));
            let work = tokio::task::spawn_blocking(move || {
                // What the guard has a server let go of takes a file of its log first.
                if matches!(call.action, Action::Guard(Level::ReadOnly)) {
                    reserve.make_room();
                }
                let done = work(&*drivers, driver, &call);
                // The next try finds room, and with it the guard that keeps others from taking it.
                match done.1 {
                    Outcome::Failed(Error::DiskFull { .. }) => drop(reserve.give()),
                    // Whoever is started writes down who it is; not every failure names its reason.
                    Outcome::Failed(_) => reserve.make_room(),
                    _ => {}
                }
                done
            });
            let (driver, outcome) = work.await.unwrap_or_else(|error| {
                let words = format!("the driver broke off: {error}");
                (None, Outcome::Failed(Error::Failed(words)))
            });
            drop((permit, making));
            if let (Some(import), Some(watch)) = (import, watch) {
                watch.abort();
                // What came of it is known before the call is over.
                import.tell().await;
            }
            let returned = Returned { member, number, outcome, driver };
            // The shell has gone if it takes no event any more.
            let _ = events.send(Event::Returned(returned)).await;
        });
    }

    /// Begins a job on a driver of its own; it comes back as [`Event::JobEnded`]. A process that ends
    /// does not wait for it: it is begun anew.
    pub fn begin(&self, call: JobCall) {
        let (service, member, what) = (&call.goal.identity.name, call.member, call.job.what.name());
        tracing::info!(%service, %member, job = call.job.id, what, "a job begins");
        let (drivers, events) = (Arc::clone(&self.drivers), self.events.clone());
        std::thread::spawn(move || {
            give_way();
            let began = Instant::now();
            let done = drivers.driver(&call.goal).and_then(|mut d| d.job(&call.goal, &call.job));
            match &done {
                Ok(_) => {
                    tracing::info!(job = call.job.id, took = ?began.elapsed(), "a job is done")
                }
                Err(error) => tracing::warn!(job = call.job.id, %error, "a job failed"),
            }
            let outcome = done.map_err(|error| error.to_string());
            // The shell has gone if it takes no event any more.
            let (member, number) = (call.member, call.number);
            let _ = events.blocking_send(Event::JobEnded { member, number, outcome });
        });
    }

    /// Begins a script on a driver of its own; it comes back as [`Event::ScriptEnded`]. With this process it
    /// ends too.
    pub fn begin_script(&mut self, call: ScriptCall) {
        let ScriptCall { member, number, script, goal } = call;
        let (service, procedure) = (&goal.identity.name, &script.procedure);
        tracing::info!(%service, %member, operation = %script.id, %procedure, "a script begins");
        let (drivers, events) = (Arc::clone(&self.drivers), self.events.clone());
        let stop = Arc::new(AtomicBool::new(false));
        self.scripts.insert(number, Arc::clone(&stop));
        let reserve = Arc::clone(&self.reserve);
        std::thread::spawn(move || {
            // It may be what frees the disk, and needs a few blocks for its own files.
            reserve.make_room();
            let driver = drivers.driver(&goal);
            let ran = driver.map_or_else(
                |error| Ran::failed(format!("it was not run: {error}")),
                |mut driver| driver.script(&goal, &script, &stop),
            );
            let (ok, what) = (ran.ok, &ran.text);
            tracing::info!(operation = %script.id, ok, what, "a script ended");
            // The shell has gone if it takes no event any more.
            let _ = events.blocking_send(Event::ScriptEnded { member, number, ran: Box::new(ran) });
        });
    }

    /// Has a script that nobody wants any more end.
    pub fn end_script(&mut self, number: u64) {
        if let Some(stop) = self.scripts.remove(&number) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// A script came back.
    pub fn script_ended(&mut self, number: u64) {
        self.scripts.remove(&number);
    }

    /// Has an import that nobody wants any more end soon.
    pub fn interrupt(&self, goal: Arc<Goal>) {
        let drivers = Arc::clone(&self.drivers);
        tokio::task::spawn_blocking(move || {
            let asked = drivers.driver(&goal).and_then(|mut driver| driver.interrupt(&goal));
            if let Err(error) = asked {
                tracing::warn!(member = %goal.member, %error, "an import cannot be ended yet");
            }
        });
    }

    /// Takes a driver back.
    pub fn back(&mut self, returned: &mut Returned) {
        self.under_way -= 1;
        // One that lacks its software is made anew with what is found then.
        let lacks = matches!(returned.outcome, Outcome::Failed(Error::ProgramMissing { .. }));
        if let Some(driver) = returned.driver.take().filter(|_| !lacks) {
            self.idle.insert(returned.member, driver);
        }
    }

    /// A member is gone for good.
    pub fn forget(&mut self, member: MemberId) {
        self.idle.remove(&member);
    }
}

/// What this thread does, and every process that it starts, comes after what serves. On Linux a thread
/// has a priority of its own (setpriority(2), "C library/kernel differences").
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, JOB_NICE) {
        tracing::warn!(%error, "a job has the priority of what serves");
    }
}

/// A call for a member that is made from a foreign server: how far that is, is asked beside it.
#[derive(Clone)]
struct Import {
    goal: Arc<Goal>,
    drivers: Arc<dyn Drivers>,
    events: mpsc::Sender<Event>,
}

impl Import {
    fn of(call: &Call, drivers: &Arc<dyn Drivers>, events: &mpsc::Sender<Event>) -> Option<Self> {
        let (drivers, events) = (Arc::clone(drivers), events.clone());
        let goal = call.goal.import.is_some().then(|| call.goal.clone())?;
        Some(Self { goal, drivers, events })
    }

    async fn watch(self) {
        loop {
            tokio::time::sleep(IMPORT_STEP).await;
            self.tell().await;
        }
    }

    async fn tell(&self) {
        let (drivers, goal, member) =
            (Arc::clone(&self.drivers), self.goal.clone(), self.goal.member);
        let ask = move || drivers.driver(&goal).ok()?.importing(&goal);
        if let Ok(Some(told)) = tokio::task::spawn_blocking(ask).await {
            // The shell has gone if it takes no event any more.
            let _ = self.events.send(Event::Importing { member, told: Box::new(told) }).await;
        }
    }
}

fn work(
    drivers: &dyn Drivers,
    driver: Option<Box<dyn Driver>>,
    call: &Call,
) -> (Option<Box<dyn Driver>>, Outcome) {
    let mut driver = match driver.map_or_else(|| drivers.driver(&call.goal), Ok) {
        Ok(driver) => driver,
        Err(error) => return (None, Outcome::Failed(error)),
    };
    let kind = evenkeel_kinds::kind(&call.goal.identity.kind);
    let checks = kind.map_or(&[][..], |kind| kind.checks());
    let began = Instant::now();
    let outcome = perform(&mut *driver, &call.goal, &call.action, checks);
    tracing::debug!(member = %call.member, action = ?call.action, took = ?began.elapsed());
    if let Outcome::Failed(error) = &outcome {
        tracing::warn!(member = %call.member, action = ?call.action, %error, "a driver call failed");
    }
    (Some(driver), outcome)
}

/// What changes something is worth a line; what only looks is not.
fn tell(call: &Call) {
    match call.action {
        Action::Look
        | Action::Probe { .. }
        | Action::Check(_)
        | Action::Archived
        | Action::Flush
        | Action::Guard(Level::Fine)
        | Action::Replication
        | Action::Open
        | Action::Confirm => {}
        _ => {
            let (service, member) = (&call.goal.identity.name, call.member);
            tracing::info!(%service, %member, term = call.goal.term.0, action = ?call.action);
        }
    }
}
