//! PgBouncer's console: commands over its socket, for whoever runs it.

use std::path::Path;
use std::time::Duration;

use evenkeel_core::driver::Error;
use tokio_postgres::{Client, Config, SimpleQueryMessage};

use crate::sql::{connect, in_words, runtime};

/// How long an answer is waited for. A pause is answered when the last transaction ended, and asked for
/// again where that takes longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// A connection to it.
pub struct Console {
    client: Client,
}

impl Console {
    /// Connects.
    pub fn open(sockets: &Path, port: u16) -> Result<Self, Error> {
        let mut config = Config::new();
        config.host_path(sockets).port(port).user("pgbouncer").dbname("pgbouncer");
        Ok(Self { client: within(connect(config))? })
    }

    /// Whether the other side has ended it.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs a command; how many rows it gave.
    pub fn ask(&self, command: &str) -> Result<usize, Error> {
        let messages = within(self.client.simple_query(command))?;
        Ok(messages.iter().filter(|m| matches!(m, SimpleQueryMessage::Row(_))).count())
    }
}

fn within<T>(asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
    let limited = runtime().block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    let limit_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    limited
        .map_err(|_| Error::Deadline { what: "the pooler's answer".to_owned(), limit_ms })?
        .map_err(|error| Error::Failed(in_words(&error)))
}
