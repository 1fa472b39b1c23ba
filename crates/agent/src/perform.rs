//! Performing driver calls: each on a thread for blocking work, one at a time a member.

use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_core::agent::{Action, Call, Outcome};
use evenkeel_core::driver::{Driver, Error, Process};
use evenkeel_core::goal::Goal;
use evenkeel_core::id::MemberId;
use evenkeel_drivers::process;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::events::Event;

/// A member's driver.
pub struct Performer {
    /// The brain has one call a member under way, so this lock is never waited for.
    driver: Option<Arc<Mutex<Box<dyn Driver>>>>,
    events: mpsc::Sender<Event>,
}

impl Performer {
    /// Around a driver; none: there is no driver for the member's kind.
    pub fn new(driver: Option<Box<dyn Driver>>, events: mpsc::Sender<Event>) -> Self {
        Self { driver: driver.map(|driver| Arc::new(Mutex::new(driver))), events }
    }

    /// Makes a call; its outcome comes as an event.
    pub fn perform(&self, call: Call) {
        let (driver, events) = (self.driver.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            let outcome = match &driver {
                Some(driver) => {
                    let mut driver = driver.lock().unwrap_or_else(PoisonError::into_inner);
                    outcome(&mut **driver, &call)
                }
                None => {
                    let kind = &call.goal.identity.kind;
                    Outcome::Failed(Error::Failed(format!("this agent has no driver for {kind}")))
                }
            };
            let pid = match &outcome {
                Outcome::Started(pid)
                | Outcome::Looked(_, Process::Running { pid } | Process::Frozen { pid }) => {
                    Some(*pid)
                }
                _ => None,
            };
            let (member, number) = (call.member, call.number);
            // Only an agent that is ending takes no events any more.
            let _ = events.blocking_send(Event::Performed { member, number, outcome, pid });
        });
    }
}

/// The outcome of a call whose goal could not be saved.
pub fn unsaved(error: &std::io::Error) -> Outcome {
    Outcome::Failed(match error.kind() {
        std::io::ErrorKind::StorageFull => Error::DiskFull { what: "the agent's goals".to_owned() },
        _ => Error::Failed(format!("the goal could not be saved: {error}")),
    })
}

fn outcome(driver: &mut dyn Driver, call: &Call) -> Outcome {
    let goal = &call.goal;
    let done = |result: Result<(), Error>| match result {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error),
    };
    match call.action {
        Action::Look => match driver.directory(goal).and_then(|d| Ok((d, driver.process(goal)?))) {
            Ok((directory, process)) => Outcome::Looked(directory, process),
            Err(error) => Outcome::Failed(error),
        },
        Action::Initialize => done(driver.initialize(goal)),
        Action::Discard => done(driver.discard(goal)),
        Action::Configure => done(driver.configure(goal).map(|_| ())),
        Action::Start => driver.start(goal).map_or_else(Outcome::Failed, Outcome::Started),
        Action::Prepare => done(driver.prepare(goal)),
        Action::Probe { write } => Outcome::Answered(driver.probe(goal, write)),
        Action::Check => check(driver, goal),
        Action::Stop(mode) => done(driver.stop(goal, mode)),
        Action::Kill => done(driver.kill(goal)),
        Action::Seal(sealed) => done(driver.seal(goal, sealed)),
        Action::Remove => done(driver.remove(goal)),
    }
}

/// Every check's question; those without an answer are left out.
fn check(driver: &mut dyn Driver, goal: &Goal) -> Outcome {
    let checks = evenkeel_kinds::kind(&goal.identity.kind).map_or(&[][..], |kind| kind.checks());
    let mut readings = Vec::new();
    for check in checks {
        match driver.read(goal, check.question()) {
            Ok(reading) => readings.push((check.name().to_owned(), reading)),
            Err(error) => tracing::debug!("check {} has no answer: {error}", check.name()),
        }
    }
    Outcome::Read(readings)
}

#[allow(
    deprecated,
    reason = "sound for a descriptor that is owned; its replacement is unsafe, which is forbidden here"
)]
/// Waits for a process to end and tells. A process that is gone already has ended.
pub async fn watch(member: MemberId, pid: u32, events: mpsc::Sender<Event>) {
    if let Ok(descriptor) = process::pidfd(pid)
        && let Ok(descriptor) = AsyncFd::with_interest(descriptor, Interest::READABLE)
    {
        // Readable once the process ended, zombie or not.
        let _ = descriptor.readable().await;
    }
    let _ = events.send(Event::Ended { member, pid }).await;
}
