//! Asking what checks ask: within limits of time, read-only, by a role that may look at statistics and no
//! more. One question needs an owner's eyes; it is asked with the owner's rights.

use std::time::Duration;

use evenkeel_core::check::{Place, Reading};
use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::prepare::identifier;
use super::session::{Kept, Session, config, ready};
use crate::Setup;
use crate::sql::{connect, in_words, runtime};

/// A server that gives no answer for longer is not asked on.
const PATIENCE: Duration = Duration::from_secs(3);
/// What takes longer is asked one question after another, to know which.
const PATIENCE_TOGETHER: Duration = Duration::from_secs(2);
/// Most databases of a member that are looked into, in order of name.
const DATABASES_MAX: usize = 20;
/// Before a question, in one message with it: it changes nothing, waits for nobody, and ends by itself.
const LIMITS: &str = "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '200ms'";
/// First statement in a database of users: names mean what the system says, whatever they create.
const PIN: &str = "SET search_path = pg_catalog; SET jit = off";
/// Databases of users. Those that nobody may connect to are left out, the owner's never.
const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate \
     AND datname NOT IN ('evenkeel', 'postgres') AND has_database_privilege(datname, 'CONNECT')";

/// Runs one check's question.
pub fn read(
    session: &mut Session,
    setup: &Setup,
    goal: &Goal,
    question: &str,
    place: Place,
) -> Result<Reading, Error> {
    let mut readings = asked(session, setup, goal, &[question], place, PATIENCE)?;
    readings.pop().ok_or_else(|| Error::Failed("a check's question gave no row".to_owned()))
}

/// Runs the questions of one place, in one message to each database.
pub fn read_all(
    session: &mut Session,
    setup: &Setup,
    goal: &Goal,
    questions: &[&str],
    place: Place,
) -> Result<Vec<Reading>, Error> {
    asked(session, setup, goal, questions, place, PATIENCE_TOGETHER)
}

fn asked(
    session: &mut Session,
    setup: &Setup,
    goal: &Goal,
    questions: &[&str],
    place: Place,
    patience: Duration,
) -> Result<Vec<Reading>, Error> {
    if session.is_waiting() {
        return Err(Error::Failed("an earlier question is not answered yet".to_owned()));
    }
    match place {
        Place::Server => on_session(session, setup, goal, questions, patience),
        Place::Databases => {
            let mut names = names(session, setup, goal)?;
            if !goal.logins.is_empty() && !names.iter().any(|name| name == goal.owner()) {
                names.insert(0, goal.owner().to_owned());
            }
            let mut all = vec![Reading::default(); questions.len()];
            for name in names.iter().take(DATABASES_MAX) {
                let here = in_database(setup, goal, name, questions, patience)?;
                all.iter_mut().zip(here).for_each(|(all, here)| all.add(here));
            }
            Ok(all)
        }
        Place::Owner => as_owner(setup, goal, questions, patience),
    }
}

/// Waits for a server's answer, and for no more.
fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    let limited = runtime().block_on(async { tokio::time::timeout(patience, work).await });
    let limit_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    limited
        .map_err(|_| Error::Deadline { what: "a check".to_owned(), limit_ms })?
        .map_err(|error| Error::Failed(in_words(&error)))
}

/// On the connection that is kept for probes.
fn on_session(
    session: &mut Session,
    setup: &Setup,
    goal: &Goal,
    questions: &[&str],
    patience: Duration,
) -> Result<Vec<Reading>, Error> {
    let (kept, config) = (session.lend(), config(setup, goal, "evenkeel_probe", "evenkeel"));
    let asked = within(patience, async {
        let mut kept = ready(kept, config).await?;
        // What is refused ends no connection.
        let rows = on_kept(&mut kept, questions).await;
        Ok((kept, rows))
    });
    let (kept, rows) = asked?;
    session.put_back(kept);
    each(&rows.map_err(|error| Error::Failed(in_words(&error)))?, questions.len())
}

async fn on_kept(
    kept: &mut Kept,
    questions: &[&str],
) -> Result<Vec<SimpleQueryMessage>, tokio_postgres::Error> {
    let mut run = Vec::new();
    for question in questions {
        run.push(kept.execute(question).await?);
    }
    kept.client.simple_query(&message(LIMITS, &run)).await
}

/// Names of the databases that are looked into.
fn names(session: &mut Session, setup: &Setup, goal: &Goal) -> Result<Vec<String>, Error> {
    let list = format!(
        "SELECT string_agg(datname, E'\\n' ORDER BY datname) AS names FROM ({DATABASES}) AS d"
    );
    let found = on_session(session, setup, goal, &[&list], PATIENCE)?;
    let names = found.first().map_or("", |reading| reading.text("names"));
    Ok(names.lines().map(str::to_owned).collect())
}

/// In a database of users, over a connection that ends with the round: whoever wants to remove the
/// database is not to find somebody in it.
fn in_database(
    setup: &Setup,
    goal: &Goal,
    name: &str,
    questions: &[&str],
    patience: Duration,
) -> Result<Vec<Reading>, Error> {
    let config = config(setup, goal, "evenkeel_probe", name);
    let rows = within(patience, async {
        let client = connect(config).await?;
        client.batch_execute(PIN).await?;
        client.simple_query(&message(LIMITS, questions)).await
    });
    each(&rows?, questions.len())
}

/// In the owner's database, with the owner's rights.
fn as_owner(
    setup: &Setup,
    goal: &Goal,
    questions: &[&str],
    patience: Duration,
) -> Result<Vec<Reading>, Error> {
    let Some(owner) = goal.logins.first() else {
        return Err(Error::Failed("it has no owner to ask as".to_owned()));
    };
    let config = config(setup, goal, "evenkeel", goal.owner());
    let limits = format!("{LIMITS}; SET LOCAL ROLE {}", identifier(&owner.role));
    let rows = within(patience, async {
        let client = connect(config).await?;
        client.batch_execute(PIN).await?;
        client.simple_query(&message(&limits, questions)).await
    });
    each(&rows?, questions.len())
}

/// Questions in one message, and so in one transaction, with what limits them before.
fn message(limits: &str, questions: &[impl AsRef<str>]) -> String {
    let questions: Vec<&str> = questions.iter().map(AsRef::as_ref).collect();
    format!("{limits}; {}", questions.join("; "))
}

/// The one row of each of the last so many statements of a message.
fn each(messages: &[SimpleQueryMessage], questions: usize) -> Result<Vec<Reading>, Error> {
    let mut rows = None;
    let mut readings = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => rows = rows.or(Some(reading(row))),
            SimpleQueryMessage::CommandComplete(_) => readings.push(rows.take()),
            _ => {}
        }
    }
    let first = readings.len().saturating_sub(questions);
    let readings: Option<Vec<Reading>> = readings.drain(first..).collect();
    let readings = readings.filter(|readings| readings.len() == questions);
    readings.ok_or_else(|| Error::Failed("a check's question gave no row".to_owned()))
}

fn reading(row: &SimpleQueryRow) -> Reading {
    let column = |(at, column): (usize, &tokio_postgres::SimpleColumn)| {
        (column.name().to_owned(), row.get(at).unwrap_or_default().to_owned())
    };
    Reading(row.columns().iter().enumerate().map(column).collect())
}
