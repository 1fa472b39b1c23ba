//! A driver call made: the one place where an [`Action`] becomes a call of the port.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reconcile::Action;
use crate::check::{Asked, Check, Pace, Place, Reading};
use crate::digest::Digest;
use crate::driver::{self, Answer, Directory, Driver, Error, Process};
use crate::goal::{Goal, Role};
use crate::id::{Revision, Term};
use crate::promise::Position;
use crate::time::Time;

/// A call under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Names it in its outcome.
    pub number: u64,
    /// Which.
    pub action: Action,
    /// Toward which goal; a newer one may have come meanwhile.
    pub version: (Term, Revision),
    /// Which roles and databases it makes, if it does.
    pub accounts: Option<Digest>,
    /// Which flush it is, if it is one.
    pub flush: u32,
    /// Since when.
    pub since: Time,
}

/// What came of a driver call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// To [`Action::Look`].
    Looked(Directory, Process),
    /// It is so.
    Done,
    /// To [`Action::Start`]: the server's process.
    Started(u32),
    /// To [`Action::Probe`].
    Answered(Answer),
    /// To [`Action::Replication`].
    Replication(driver::Replication),
    /// To [`Action::Rejoin`]: bytes of log set aside.
    Rejoined(u64),
    /// To [`Action::EndOfLog`].
    Ended(Option<Position>),
    /// To [`Action::Open`], [`Action::Confirm`] and [`Action::Flush`]: whether it is so.
    Held(bool),
    /// To [`Action::Archived`].
    Archived(driver::Archived),
    /// To [`Action::Check`]: the name of each check of the round with its reading, where it could be
    /// read.
    Read(Vec<(String, Option<Reading>)>),
    /// It did not happen.
    Failed(driver::Error),
}

/// Makes a call and says what came of it. It takes as long as the driver does.
pub fn perform(
    driver: &mut dyn Driver,
    goal: &Goal,
    action: &Action,
    checks: &[&dyn Check],
) -> Outcome {
    let done = |result: Result<(), Error>| match result {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error),
    };
    match action {
        Action::Look => match (driver.directory(goal), driver.process(goal)) {
            (Ok(directory), Ok(process)) => Outcome::Looked(directory, process),
            (Err(error), _) | (_, Err(error)) => Outcome::Failed(error),
        },
        Action::Initialize => done(driver.initialize(goal)),
        Action::Discard => done(driver.discard(goal)),
        Action::Rejoin => driver.rejoin(goal).map_or_else(Outcome::Failed, Outcome::Rejoined),
        // A setting that needs a restart takes effect with the next ordered one.
        Action::Configure => done(driver.configure(goal).map(|_restart| ())),
        Action::Start => driver.start(goal).map_or_else(Outcome::Failed, Outcome::Started),
        Action::Prepare => done(driver.prepare(goal)),
        Action::Probe { write } => Outcome::Answered(driver.probe(goal, *write)),
        Action::Check(pace) => Outcome::Read(round(driver, goal, *pace, checks)),
        Action::Replication => match driver.replication(goal) {
            Ok(said) => Outcome::Replication(said),
            Err(error) => Outcome::Failed(error),
        },
        Action::Archived => driver.archived(goal).map_or_else(Outcome::Failed, Outcome::Archived),
        Action::Guard(level) => done(driver.guard(goal, *level)),
        Action::Flush => driver.flush(goal).map_or_else(Outcome::Failed, Outcome::Held),
        Action::EndOfLog => driver.end_of_log(goal).map_or_else(Outcome::Failed, Outcome::Ended),
        Action::Promote => done(driver.promote(goal)),
        Action::Checkpoint => done(driver.checkpoint(goal)),
        Action::Open => driver.open(goal).map_or_else(Outcome::Failed, Outcome::Held),
        Action::Confirm => driver.confirm(goal).map_or_else(Outcome::Failed, Outcome::Held),
        Action::Stop(mode) => done(driver.stop(goal, *mode)),
        Action::Kill => done(driver.kill(goal)),
        Action::Seal(sealed) => done(driver.seal(goal, *sealed)),
        Action::Remove => done(driver.remove(goal)),
    }
}

/// A round is given up after this many questions without an answer: others wait behind it, and a server in
/// trouble is not asked for more.
const FAILURES_MAX: usize = 6;

/// Whether a check is asked of a member in its part.
pub(super) fn is_asked(goal: &Goal, check: &dyn Check) -> bool {
    match check.asked() {
        Asked::Everyone => true,
        Asked::Primary => matches!(goal.role, Role::Primary { .. }),
        Asked::Standbys => matches!(goal.role, Role::Standby { .. }),
    }
}

/// Asks what a round asks, together where that goes. Where it does not, one after another: a server that does
/// not answer in time is not asked the rest.
fn round(
    driver: &mut dyn Driver,
    goal: &Goal,
    pace: Pace,
    checks: &[&dyn Check],
) -> Vec<(String, Option<Reading>)> {
    let due = |check: &&dyn Check| check.pace() == pace && is_asked(goal, *check);
    let checks: Vec<&dyn Check> = checks.iter().copied().filter(due).collect();
    let mut together = together(driver, goal, &checks);
    let mut failures = 0;
    let mut read = |check: &&dyn Check| {
        if let Some(reading) = together.remove(check.name()) {
            return (check.name().to_owned(), Some(reading));
        }
        let asked =
            (failures < FAILURES_MAX).then(|| driver.read(goal, check.question(), check.place()));
        let reading = match asked {
            Some(Ok(reading)) => Some(reading),
            Some(Err(Error::Deadline { .. })) => {
                failures = FAILURES_MAX;
                None
            }
            Some(Err(_)) => {
                failures += 1;
                None
            }
            None => None,
        };
        (check.name().to_owned(), reading)
    };
    checks.iter().map(&mut read).collect()
}

/// Readings of those checks that could be asked together, by name.
fn together(
    driver: &mut dyn Driver,
    goal: &Goal,
    checks: &[&dyn Check],
) -> BTreeMap<&'static str, Reading> {
    let mut all = BTreeMap::new();
    for place in [Place::Server, Place::Databases, Place::Owner] {
        let here: Vec<_> = checks.iter().filter(|check| check.place() == place).collect();
        let questions: Vec<&str> = here.iter().map(|check| check.question()).collect();
        if questions.is_empty() {
            continue;
        }
        match driver.read_all(goal, &questions, place) {
            Ok(readings) if readings.len() == here.len() => {
                all.extend(here.iter().map(|check| check.name()).zip(readings));
            }
            // A server that is in trouble is asked as little as can be.
            Err(Error::Deadline { .. }) => break,
            _ => {}
        }
    }
    all
}
