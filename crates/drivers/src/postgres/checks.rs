//! Asking what checks ask: within limits of time, read-only, by a role that may look at statistics and no
//! more. One question needs an owner's eyes; it is asked with the owner's rights.

use std::time::Duration;

use evenkeel_core::check::{Place, Reading};
use evenkeel_core::driver::Error;
use evenkeel_core::goal::Goal;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::prepare::identifier;
use super::session::{Session, config, ready};
use crate::Setup;
use crate::sql::{connect, in_words, runtime};

/// A server that gives no answer for longer is not asked on.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most databases of a member that are looked into, in order of name.
const DATABASES_MAX: usize = 20;
/// Before a question, in one message with it: it changes nothing, waits for nobody, and ends by itself.
const LIMITS: &str = "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '200ms'";
/// First statement in a database of users: names mean what the system says, whatever they create.
const PIN: &str = "SET search_path = pg_catalog; SET jit = off";
/// Databases of users. Those that nobody may connect to are left out, the owner's never.
const DATABASES: &str = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate \
     AND datname NOT IN ('evenkeel', 'postgres') AND has_database_privilege(datname, 'CONNECT')";

/// A connection to a database of users, kept from one question to the next of a round.
#[derive(Default)]
pub struct Rooms(Option<(String, Client)>);

/// Runs one check's question.
pub fn read(
    (session, rooms): (&mut Session, &mut Rooms),
    setup: &Setup,
    goal: &Goal,
    question: &str,
    place: Place,
) -> Result<Reading, Error> {
    if session.is_waiting() {
        return Err(Error::Failed("an earlier question is not answered yet".to_owned()));
    }
    match place {
        Place::Server => {
            rooms.0 = None;
            on_session(session, setup, goal, question)
        }
        Place::Databases => {
            let mut names = names(session, setup, goal)?;
            if !goal.logins.is_empty() && !names.iter().any(|name| name == goal.owner()) {
                names.insert(0, goal.owner().to_owned());
            }
            let mut all = Reading::default();
            for name in names.iter().take(DATABASES_MAX) {
                all.add(in_database(rooms, setup, goal, name, question)?);
            }
            Ok(all)
        }
        Place::Owner => as_owner(setup, goal, question),
    }
}

/// Waits for a server's answer, and for no more.
fn within<T>(work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
    let limited = runtime().block_on(async { tokio::time::timeout(PATIENCE, work).await });
    let limit_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    limited
        .map_err(|_| Error::Deadline { what: "a check".to_owned(), limit_ms })?
        .map_err(|error| Error::Failed(in_words(&error)))
}

/// On the connection that is kept for probes.
fn on_session(
    session: &mut Session,
    setup: &Setup,
    goal: &Goal,
    question: &str,
) -> Result<Reading, Error> {
    let (kept, config) = (session.lend(), config(setup, goal, "evenkeel_probe", "evenkeel"));
    let asked = within(async {
        let client = ready(kept, config).await?;
        // What is refused ends no connection.
        let rows = client.simple_query(&format!("{LIMITS}; {question}")).await;
        Ok((client, rows))
    });
    let (client, rows) = asked?;
    session.put_back(client);
    first(&rows.map_err(|error| Error::Failed(in_words(&error)))?)
}

/// Names of the databases that are looked into.
fn names(session: &mut Session, setup: &Setup, goal: &Goal) -> Result<Vec<String>, Error> {
    let list = format!(
        "SELECT string_agg(datname, E'\\n' ORDER BY datname) AS names FROM ({DATABASES}) AS d"
    );
    let names = on_session(session, setup, goal, &list)?;
    Ok(names.text("names").lines().map(str::to_owned).collect())
}

/// In a database of users.
fn in_database(
    rooms: &mut Rooms,
    setup: &Setup,
    goal: &Goal,
    name: &str,
    question: &str,
) -> Result<Reading, Error> {
    let kept = rooms.0.take().filter(|(of, client)| of == name && !client.is_closed());
    let config = config(setup, goal, "evenkeel_probe", name);
    let asked = within(async {
        let client = match kept {
            Some((_, client)) => client,
            None => {
                let client = connect(config).await?;
                client.batch_execute(PIN).await?;
                client
            }
        };
        let rows = client.simple_query(&format!("{LIMITS}; {question}")).await;
        Ok((client, rows))
    });
    let (client, rows) = asked?;
    rooms.0 = Some((name.to_owned(), client));
    first(&rows.map_err(|error| Error::Failed(in_words(&error)))?)
}

/// In the owner's database, with the owner's rights.
fn as_owner(setup: &Setup, goal: &Goal, question: &str) -> Result<Reading, Error> {
    let Some(owner) = goal.logins.first() else {
        return Err(Error::Failed("it has no owner to ask as".to_owned()));
    };
    let config = config(setup, goal, "evenkeel", goal.owner());
    let role = identifier(&owner.role);
    let rows = within(async {
        let client = connect(config).await?;
        client.batch_execute(PIN).await?;
        client.simple_query(&format!("{LIMITS}; SET LOCAL ROLE {role}; {question}")).await
    });
    first(&rows?)
}

/// A question's one row.
fn first(rows: &[SimpleQueryMessage]) -> Result<Reading, Error> {
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.ok_or_else(|| Error::Failed("a check's question gave no row".to_owned()))?;
    let column = |(at, column): (usize, &tokio_postgres::SimpleColumn)| {
        (column.name().to_owned(), row.get(at).unwrap_or_default().to_owned())
    };
    Ok(Reading(row.columns().iter().enumerate().map(column).collect()))
}
