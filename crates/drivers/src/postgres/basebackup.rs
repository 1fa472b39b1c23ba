//! `pg_basebackup` at work: all of a server's data as one archive, and the log that it needs.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_core::backup::lineage::BackupId;
use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, Role, Upstream};

use super::{image, make};
use crate::Setup;
use crate::backup::engine::{Bounds, Copied, Reach, Source};
use crate::sql::{connect, runtime};

/// Of a backup's end, the bytes in which its manifest's last lines are.
const END: usize = 64 << 10;
/// Read at once from the server.
const CHUNK: usize = 256 << 10;
/// Nothing more comes of a backup for so long: its server waits for something.
const STALL: Duration = Duration::from_millis(500);
/// Between two segments that are ended for one backup.
const AGAIN: Duration = Duration::from_secs(10);
/// A primary answers within this.
const PATIENCE: Duration = Duration::from_secs(5);
/// The slowest that `pg_basebackup` can be told to be, in KiB a second.
const RATE_MIN: u64 = 32;
/// The fastest.
const RATE_MAX: u64 = 1_048_576;

/// A member's server.
pub struct Server<'a> {
    /// Its host.
    pub setup: &'a Setup,
    /// Its goal.
    pub goal: &'a Goal,
    /// Its data.
    pub data: PathBuf,
}

impl Source for Server<'_> {
    fn reach(&self) -> Reach {
        Reach {
            data: self.data.clone(),
            sockets: self.setup.socket_root.clone(),
            port: self.goal.port,
            user: "evenkeel",
            database: "postgres",
        }
    }

    fn copy(&self, id: BackupId, rate: u64, to: &mut dyn Write) -> Result<Copied, Error> {
        let mut reading = Reading::begin(self.setup, self.goal, id, rate)?;
        let ending = Ending::begin(self.goal);
        let went = copy(&mut reading.stdout, to, |_| ending.goes_on());
        let read = reading.end();
        drop(ending);
        // Who broke off says why: the reader of a pipe that nobody writes to any more knows nothing.
        let went = match (went, read) {
            (Err(error), _) => {
                return Err(Error::Failed(format!("cannot store the backup: {error}")));
            }
            (Ok(_), Err(error)) => return Err(error),
            (Ok(went), Ok(())) => went,
        };
        let none =
            || Error::Failed("pg_basebackup does not say what log its backup needs".to_owned());
        Ok(Copied { bytes: went.bytes, bounds: bounds(&went.end).ok_or_else(none)? })
    }
}

/// What went by of a backup: how much, and its end, where its manifest says what log it needs.
#[derive(Default)]
struct Went {
    bytes: u64,
    end: Vec<u8>,
}

fn copy(from: &mut impl Read, to: &mut dyn Write, went: impl Fn(u64)) -> std::io::Result<Went> {
    let mut chunk = vec![0; CHUNK];
    let mut went_by = Went::default();
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Ok(went_by);
        }
        to.write_all(&chunk[..read])?;
        went_by.bytes += u64::try_from(read).unwrap_or(0);
        went(went_by.bytes);
        went_by.end.drain(..(went_by.end.len() + read).saturating_sub(END).min(went_by.end.len()));
        went_by.end.extend_from_slice(&chunk[read.saturating_sub(END)..read]);
    }
}

/// The log that a backup needs, by the end of its manifest, which is the last file in it.
fn bounds(end: &[u8]) -> Option<Bounds> {
    #[derive(serde::Deserialize)]
    struct Range {
        #[serde(rename = "Timeline")]
        timeline: u32,
        #[serde(rename = "Start-LSN")]
        start: String,
        #[serde(rename = "End-LSN")]
        end: String,
    }
    let text = String::from_utf8_lossy(end);
    let (_, ranges) = text.rsplit_once("\"WAL-Ranges\": ")?;
    let ranges = &ranges[..=ranges.find(']')?];
    let ranges: Vec<Range> = serde_json::from_str(ranges).ok()?;
    // A standby's may go on on another timeline, if its primary was changed meanwhile.
    let (first, last) =
        (ranges.iter().min_by_key(|r| r.timeline)?, ranges.iter().max_by_key(|r| r.timeline)?);
    Some(Bounds {
        from: first.start.parse().ok()?,
        to: last.end.parse().ok()?,
        timelines: (first.timeline, last.timeline),
    })
}

/// `pg_basebackup` at work. It is ended with this.
struct Reading {
    child: Child,
    stdout: ChildStdout,
    words: Option<JoinHandle<String>>,
}

impl Reading {
    fn begin(setup: &Setup, goal: &Goal, id: BackupId, rate: u64) -> Result<Self, Error> {
        let image = image(setup)?;
        let mut command = Command::new(image.program("pg_basebackup")?);
        let reach = format!(
            "host={} port={} user=evenkeel connect_timeout=5",
            setup.socket_root.display(),
            goal.port
        );
        command
            .args([
                "-D",
                "-",
                "--format=tar",
                "--wal-method=none",
                "--checkpoint=fast",
                "--verbose",
            ])
            .args(["--no-password", "--manifest-checksums=CRC32C"])
            .arg(format!("--label=evenkeel {id}"))
            .args(["-d", &reach])
            .env_clear()
            .envs(make::environment(image))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if rate > 0 {
            command.arg(format!("--max-rate={}", (rate >> 10).clamp(RATE_MIN, RATE_MAX)));
        }
        let failed = |error: std::io::Error| Error::Failed(format!("pg_basebackup: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::Failed("pg_basebackup has no output".to_owned()));
        };
        let words = std::thread::spawn(move || {
            let mut words = String::new();
            // What cannot be read is no word.
            let _ = stderr.read_to_string(&mut words);
            words
        });
        Ok(Self { child, stdout, words: Some(words) })
    }

    fn end(mut self) -> Result<(), Error> {
        // A process that still writes is told by its closed pipe that nobody reads.
        let failed = |what: &str| Error::Failed(format!("pg_basebackup: {what}"));
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let status = self.child.wait().map_err(|error| failed(&error.to_string()))?;
        if !status.success() {
            return Err(make::in_words("pg_basebackup", &words));
        }
        Ok(())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a standby's backup: its server waits until the last segment of log that it needs is
/// archived, and only its primary can end that one before its time. Asked for whenever nothing more comes.
struct Ending {
    went: Arc<Mutex<Instant>>,
    over: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ending {
    fn begin(goal: &Goal) -> Self {
        let went = Arc::new(Mutex::new(Instant::now()));
        let Role::Standby { upstream } = goal.role.clone() else {
            return Self { went, over: None, thread: None };
        };
        let (over, told) = mpsc::channel();
        let last = Arc::clone(&went);
        let thread = std::thread::spawn(move || {
            while told.recv_timeout(STALL) == Err(mpsc::RecvTimeoutError::Timeout) {
                let since = last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
                if since >= STALL && end_segment(&upstream) {
                    // The next one ends by itself if this was not the last.
                    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                    *last = Instant::now() + AGAIN;
                }
            }
        });
        Self { went, over: Some(over), thread: Some(thread) }
    }

    fn goes_on(&self) {
        *self.went.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Has the primary end its segment. One that does not take it is waited for: it ends one by itself.
fn end_segment(upstream: &Upstream) -> bool {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&upstream.address)
        .port(upstream.port)
        .user(&upstream.role)
        .password(&upstream.password.0)
        .dbname("evenkeel");
    let asked = async {
        let client = connect(config).await?;
        client.batch_execute("SELECT pg_catalog.pg_switch_wal()").await
    };
    let limited = runtime().block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    matches!(limited, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use evenkeel_core::promise::Position;

    use super::*;

    #[test]
    fn the_log_that_a_backup_needs_is_read_from_its_end() {
        let range = |timeline, from, to| {
            format!(
                "{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{from}\", \"End-LSN\": \"{to}\" }}"
            )
        };
        let text = |ranges: &str| {
            let before = "x".repeat(100_000);
            format!(
                "{before}],\n\"WAL-Ranges\": [\n{ranges}\n],\n\"Manifest-Checksum\": \"00\"}}\n\0\0"
            )
        };
        let told = |text: &str| {
            let mut to = Vec::new();
            let copied = copy(&mut text.as_bytes(), &mut to, |_| ()).unwrap();
            assert!(to == text.as_bytes() && copied.bytes == u64::try_from(to.len()).unwrap());
            bounds(&copied.end)
        };
        let one =
            Bounds { from: Position(0x2C0_0028), to: Position(0x2C0_0138), timelines: (3, 3) };
        assert_eq!(told(&text(&range(3, "0/2C00028", "0/2C00138"))), Some(one));
        let two =
            [range(4, "0/3000000", "0/3000100"), range(3, "0/2C00028", "0/3000000")].join(",\n");
        let both =
            Bounds { from: Position(0x2C0_0028), to: Position(0x300_0100), timelines: (3, 4) };
        assert_eq!(told(&text(&two)), Some(both));
        assert_eq!(told("no manifest"), None);
    }
}
