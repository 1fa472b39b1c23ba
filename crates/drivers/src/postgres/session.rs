//! Asking a server: one kept connection of a low-privilege role, one question in flight, never
//! cancelled. A question that was not answered in time stays asked, and its answer is taken later.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use evenkeel_core::driver::Answer;
use evenkeel_core::goal::Goal;
use evenkeel_core::kind::Kind;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, SimpleQueryMessage};

use super::conf;
use crate::Setup;
use crate::sql::{connect, runtime};

/// How long an answer is waited for before the server counts as silent for now.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server that says itself that it lets nobody in is not asked for this long after it refused.
const REFUSED_FOR: Duration = Duration::from_millis(500);

/// A postmaster that answered is not greeted again for this long: it makes a process for every greeting, 3 ms
/// of the machine's time (PostgreSQL 15). That it is stopped is seen in the process table.
const GREET_EVERY: Duration = Duration::from_secs(10);

/// First statement of every session: names mean what the system says, whatever users create.
const PIN: &str = "SET search_path = pg_catalog; SET statement_timeout = '30s'; \
                   SET lock_timeout = '5s'; SET synchronous_commit = on; SET jit = off";
const WRITE: &str = "UPDATE evenkeel.heartbeat SET n = n + 1, at = now() WHERE id = 1";
const LOOK: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// A connection, and what was prepared on it.
pub(super) struct Kept {
    pub client: Client,
    /// Questions the server has a plan for; one's place is in the name it has there.
    prepared: Vec<String>,
}

impl Kept {
    /// What runs a question that has columns and no parameters. It is planned once on a connection: to plan
    /// what checks ask takes the server longer than to answer it.
    pub async fn execute(&mut self, question: &str) -> Result<String, tokio_postgres::Error> {
        let known = self.prepared.iter().position(|known| known == question);
        let at = known.unwrap_or(self.prepared.len());
        if known.is_none() {
            self.client.batch_execute(&format!("PREPARE evenkeel_{at} AS {question}")).await?;
            self.prepared.push(question.to_owned());
        }
        Ok(format!("EXECUTE evenkeel_{at}"))
    }
}

/// A connection kept, or a question in flight on it.
#[derive(Default)]
pub struct Session {
    kept: Option<Kept>,
    asked: Option<JoinHandle<(Option<Kept>, Answer)>>,
    /// When nobody was let in, and what that said.
    refused: Option<(Instant, Answer)>,
    /// When the postmaster answered last.
    greeted: Option<Instant>,
}

/// How to reach a member's server through its socket.
pub(super) fn config(setup: &Setup, goal: &Goal, role: &str, database: &str) -> Config {
    let mut config = Config::new();
    config
        .host_path(&setup.socket_root)
        .port(goal.port)
        .user(role)
        .dbname(database)
        .application_name("evenkeel")
        // What Evenkeel itself writes is what its server is known by, also on a disk without room.
        .options("-c default_transaction_read_only=off");
    config
}

impl Session {
    /// Asks the server, or waits on for the answer to what was asked before.
    pub fn probe(&mut self, setup: &Setup, goal: &Goal, write: bool) -> Answer {
        let config = config(setup, goal, "evenkeel_probe", "evenkeel");
        let kept = self.kept.take();
        let asked = self
            .asked
            .take()
            .unwrap_or_else(|| runtime().spawn(async move { ask(kept, config, write).await }));
        self.wait(asked)
    }

    /// Whether the postmaster answers neither yes nor no: a kept session does not tell.
    pub fn is_ignored(&mut self, setup: &Setup, goal: &Goal) -> bool {
        if self.greeted.is_some_and(|at| at.elapsed() < GREET_EVERY) {
            return false;
        }
        let answer = greet(setup, goal);
        self.greeted = (answer == Answer::Accepting).then(Instant::now);
        answer == Answer::Silent
    }

    /// What a server answered that let nobody in a moment ago.
    pub fn refused_lately(&self) -> Option<Answer> {
        let lately = self.refused.filter(|(at, _)| at.elapsed() < REFUSED_FOR);
        lately.map(|(_, answer)| answer)
    }

    fn wait(&mut self, mut asked: JoinHandle<(Option<Kept>, Answer)>) -> Answer {
        let waited = runtime().block_on(async { tokio::time::timeout(PATIENCE, &mut asked).await });
        match waited {
            Ok(Ok((kept, answer))) => {
                self.refused = kept.is_none().then(|| (Instant::now(), answer));
                self.kept = kept;
                answer
            }
            Ok(Err(_)) => Answer::NotYet,
            Err(_) => {
                self.asked = Some(asked);
                Answer::Silent
            }
        }
    }

    /// Its connection, while no question is out on it: for another question. It is to be put back.
    pub(super) fn lend(&mut self) -> Option<Kept> {
        self.kept.take()
    }

    /// Takes its connection back.
    pub(super) fn put_back(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// Whether a question is out that was not answered in time.
    pub fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }
}

/// `Accepting` or `NotYet` where the postmaster answers or refuses at once, `Silent` where it does neither.
fn greet(setup: &Setup, goal: &Goal) -> Answer {
    let (greeting, _) = evenkeel_kinds::postgres::Postgres.greeting();
    let Ok(mut stream) = UnixStream::connect(conf::socket(&setup.socket_root, goal.port)) else {
        return Answer::NotYet;
    };
    let limited = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.write_all(greeting));
    if limited.is_err() {
        return Answer::NotYet;
    }
    let mut first = [0];
    match stream.read_exact(&mut first) {
        Ok(()) => Answer::Accepting,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Answer::Silent
        }
        Err(_) => Answer::NotYet,
    }
}

/// A pinned connection: the kept one while it lives.
pub(super) async fn ready(
    kept: Option<Kept>,
    config: Config,
) -> Result<Kept, tokio_postgres::Error> {
    if let Some(kept) = kept.filter(|kept| !kept.client.is_closed()) {
        return Ok(kept);
    }
    let client = connect(config).await?;
    client.batch_execute(PIN).await?;
    Ok(Kept { client, prepared: Vec::new() })
}

/// Whether a statement's first value is true.
fn is_true(messages: &[SimpleQueryMessage]) -> bool {
    messages.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        _ => false,
    })
}

async fn ask(kept: Option<Kept>, config: Config, write: bool) -> (Option<Kept>, Answer) {
    let kept = match ready(kept, config).await {
        Ok(kept) => kept,
        Err(error) => return (None, refused(&error)),
    };
    let statement = if write { WRITE } else { LOOK };
    match kept.client.simple_query(statement).await {
        Ok(_) if write => (Some(kept), Answer::Writing),
        Ok(rows) if is_true(&rows) => (Some(kept), Answer::Following),
        Ok(_) => (Some(kept), Answer::Accepting),
        Err(error) if kept.client.is_closed() => (None, refused(&error)),
        // It answers, though not with what was wanted: a full disk, a read-only server.
        Err(_) => (Some(kept), Answer::Accepting),
    }
}

/// What a refusal to let us in says about the server.
fn refused(error: &tokio_postgres::Error) -> Answer {
    let Some(told) = error.as_db_error() else { return Answer::NotYet };
    match *told.code() {
        SqlState::CANNOT_CONNECT_NOW if told.message().contains("shutting down") => Answer::NotYet,
        SqlState::CANNOT_CONNECT_NOW => Answer::Recovering,
        // It is full, so it is there.
        SqlState::TOO_MANY_CONNECTIONS => Answer::Accepting,
        _ => Answer::NotYet,
    }
}
