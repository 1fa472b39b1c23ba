//! Connections to what speaks PostgreSQL's protocol.

use std::sync::OnceLock;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls};

/// All drivers' questions run on one thread; their callers wait on their own.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .thread_name("sessions")
            .build()
            .expect("a runtime can be made while threads can be")
    })
}

/// Connects; the connection ends with its client.
pub(crate) async fn connect(config: Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // Ends with the client; its error is seen by the next question.
    tokio::spawn(connection);
    Ok(client)
}

/// An error of the server or the connection, in its own words.
pub(crate) fn in_words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => told.message().to_owned(),
        None => error.to_string(),
    }
}
