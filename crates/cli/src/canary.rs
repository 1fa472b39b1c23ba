//! A canary: a client that commits numbered rows one after another and remembers what was acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::failure::{Failure, Kind};

/// Between rows, and between tries to connect.
const STEP: Duration = Duration::from_millis(5);
/// A session whose row was not acknowledged in this time is given up; nothing is counted on.
const PATIENCE: Duration = Duration::from_secs(10);

/// A row that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number.
    pub number: u64,
    /// When it was sent.
    pub sent: Instant,
    /// When it was acknowledged.
    pub acked: Instant,
    /// The timeline of the log it is in, by the server that acknowledged it.
    pub timeline: u32,
}

/// A canary that sings until it is ended.
pub struct Canary {
    url: String,
    table: String,
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<Vec<Row>>>,
    singer: Option<JoinHandle<()>>,
}

impl Canary {
    /// Makes its table, if it is not there, and begins with this number. Each number is used once.
    ///
    /// # Errors
    /// When the table cannot be made.
    pub fn start(url: &str, table: &str, first: u64) -> Result<Self, Failure> {
        statement(url, &format!("CREATE TABLE IF NOT EXISTS {table} (n bigint PRIMARY KEY)"))?;
        Ok(Self::go_on(url, table, first))
    }

    /// The same, over a table that is there: where it connects to may not take writes yet.
    pub fn go_on(url: &str, table: &str, first: u64) -> Self {
        let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (own, text, ends, to) =
            (url.to_owned(), table.to_owned(), Arc::clone(&stop), Arc::clone(&acked));
        let singer = std::thread::spawn(move || sing(&own, &text, first, &ends, &to));
        Self { url: url.to_owned(), table: table.to_owned(), stop, acked, singer: Some(singer) }
    }

    /// Where it connects to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was acknowledged so far, and when.
    pub fn acked(&self) -> Vec<Row> {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it; what was acknowledged, and when.
    ///
    /// # Errors
    /// When it died.
    pub fn end(&mut self) -> Result<Vec<Row>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.singer.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| Failure::new(Kind::Failed, "the canary died".to_owned()))?;
        Ok(self.acked())
    }

    /// The rows that are there.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn found(&self) -> Result<BTreeSet<u64>, Failure> {
        let rows = asked(&self.url, &format!("SELECT n FROM {}", self.table))?;
        Ok(rows.iter().filter_map(|row| u64::try_from(row.get::<_, i64>(0)).ok()).collect())
    }

    /// Removes its table.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear(&self) -> Result<(), Failure> {
        statement(&self.url, &format!("DROP TABLE {}", self.table))
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Commits numbered rows until it is stopped.
fn sing(url: &str, table: &str, first: u64, stop: &AtomicBool, acked: &Mutex<Vec<Row>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        let (mut kept, mut number) = (None, first);
        while !stop.load(Ordering::Relaxed) {
            let wrote =
                tokio::time::timeout(PATIENCE, write(url, table, kept.take(), number)).await;
            if let Ok(Some((client, row))) = wrote {
                kept = Some(client);
                acked.lock().unwrap_or_else(PoisonError::into_inner).push(row);
            }
            number += 1;
            tokio::time::sleep(STEP).await;
        }
    });
}

/// Writes one row; the connection and the row, if it was acknowledged.
async fn write(url: &str, table: &str, kept: Option<Client>, number: u64) -> Option<(Client, Row)> {
    let client = match kept {
        Some(client) => client,
        None => connect(url).await.ok()?,
    };
    let sent = Instant::now();
    let text = format!(
        "INSERT INTO {table} VALUES ({number}) \
         RETURNING pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())"
    );
    let told = client.simple_query(&text).await.ok()?;
    let acked = Instant::now();
    let timeline = told.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => u32::from_str_radix(row.get(0)?.get(..8)?, 16).ok(),
        _ => None,
    });
    Some((client, Row { number, sent, acked, timeline: timeline? }))
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn asked(url: &str, text: &str) -> Result<Vec<tokio_postgres::Row>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(async { connect(url).await?.query(text, &[]).await });
    rows.map_err(|error| Failure::new(Kind::Failed, format!("the canary: {error}")))
}

fn statement(url: &str, text: &str) -> Result<(), Failure> {
    asked(url, text).map(drop)
}
