//! The native engine's backups: what `pg_basebackup` reads, sealed on its way into the repositories.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_core::backup::archive;
use evenkeel_core::backup::guard::Level;
use evenkeel_core::backup::job::{Backup, Done};
use evenkeel_core::backup::lineage::{Archive, BackupId};
use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, Role, Upstream};
use evenkeel_core::promise::Position;
use evenkeel_kinds::postgres::log::{Segment, SegmentSize};

use super::layout::Layout;
use super::restore::Control;
use super::{image, make, replication};
use crate::Setup;
use crate::backup::command::{forget_missed, now};
use crate::backup::lineage::{Lineage, Manifest};
use crate::backup::pace::Paced;
use crate::files::fault;
use crate::sql::{connect, runtime};

/// Of a backup's end, the bytes in which its manifest's last lines are.
const END: usize = 64 << 10;
/// Read at once from the server.
const CHUNK: usize = 256 << 10;
/// The log that a backup needs is in a repository within this, or the backup is none. A standby's waits
/// for its primary to end a segment.
const LOG_MAX: Duration = Duration::from_secs(600);
/// Nothing more comes of a backup for so long: its server waits for something.
const STALL: Duration = Duration::from_millis(500);
/// Between two segments that are ended for one backup.
const AGAIN: Duration = Duration::from_secs(10);
/// A primary answers within this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between looks whether it is.
const LOG_STEP: Duration = Duration::from_millis(100);
/// The slowest that `pg_basebackup` can be told to be, in KiB a second.
const RATE_MIN: u64 = 32;
/// The fastest.
const RATE_MAX: u64 = 1_048_576;

/// An archive's error in the driver's words.
pub fn told(error: archive::Error) -> Error {
    Error::Failed(error.to_string())
}

/// A goal's lineage.
pub fn lineage(archive: Option<&Archive>) -> Result<Lineage, Error> {
    let none = || Error::Failed("it has no archive: its plan or its fleet has none".to_owned());
    Lineage::open(archive.ok_or_else(none)?).map_err(told)
}

/// The log that a backup needs.
#[derive(Debug, PartialEq, Eq)]
struct Bounds {
    from: Position,
    to: Position,
    /// Those it was begun and ended on.
    timelines: (u32, u32),
}

/// Takes a backup; one of this number that is complete is not taken again.
pub fn take(
    setup: &Setup,
    layout: &Layout,
    goal: &Goal,
    id: BackupId,
    rate: u64,
) -> Result<Done, Error> {
    let lineage = lineage(goal.archive.as_deref())?;
    match lineage.manifest(id) {
        Ok(manifest) => return Ok(Done::Backup(manifest.backup)),
        Err(archive::Error::NotThere { .. }) => {}
        // One that cannot be asked keeps nobody from having a backup in another.
        Err(error) if error.may_pass() => {}
        Err(error) => return Err(told(error)),
    }
    let control = super::restore::Control::read(setup, &layout.data)?;
    let begun = now();
    let mut reading = Reading::begin(setup, goal, id, rate)?;
    let mut sealer = lineage.upload(id).map_err(told)?;
    let ending = Ending::begin(goal);
    let copied = copy(&mut reading.stdout, &mut sealer, |_| ending.goes_on());
    let read = reading.end();
    drop(ending);
    // Who broke off says why: the reader of a pipe that nobody writes to any more knows nothing.
    let copied = match (copied, read) {
        (Err(error), _) => return Err(Error::Failed(format!("cannot store the backup: {error}"))),
        (Ok(_), Err(error)) => return Err(error),
        (Ok(copied), Ok(())) => copied,
    };
    let none = || Error::Failed("pg_basebackup does not say what log its backup needs".to_owned());
    let bounds = bounds(&copied.end).ok_or_else(none)?;
    let sealed = sealer.finish().map_err(|error| Error::Failed(error.to_string()))?;
    let (repositories, stored) = sealed.finish().map_err(told)?;
    let ended = now();
    let size = control.segment_size()?;
    wait_for_log(&lineage, &bounds, size)?;
    let Bounds { from, to, timelines: (_, timeline) } = bounds;
    let bytes = copied.bytes;
    let backup = Backup { id, begun, ended, from, to, timeline, bytes, stored, repositories };
    let manifest = Manifest {
        service: goal.identity.service,
        name: goal.identity.name.as_str().to_owned(),
        kind: goal.identity.kind.clone(),
        owner: goal.owner().to_owned(),
        system: control.system,
        segment_bytes: size.bytes(),
        release: format!("PostgreSQL {}", image(setup)?.major()?),
        backup: backup.clone(),
    };
    lineage.complete(&manifest).map_err(told)?;
    Ok(Done::Backup(backup))
}

/// What went by of a backup: how much, and its end, where its manifest says what log it needs.
#[derive(Default)]
struct Copied {
    bytes: u64,
    end: Vec<u8>,
}

fn copy(from: &mut impl Read, to: &mut impl Write, went: impl Fn(u64)) -> std::io::Result<Copied> {
    let mut chunk = vec![0; CHUNK];
    let mut copied = Copied::default();
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Ok(copied);
        }
        to.write_all(&chunk[..read])?;
        copied.bytes += u64::try_from(read).unwrap_or(0);
        went(copied.bytes);
        copied.end.drain(..(copied.end.len() + read).saturating_sub(END).min(copied.end.len()));
        copied.end.extend_from_slice(&chunk[read.saturating_sub(END)..read]);
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

/// A backup is consistent with its log only.
fn wait_for_log(lineage: &Lineage, bounds: &Bounds, size: SegmentSize) -> Result<(), Error> {
    let end = Instant::now() + LOG_MAX;
    let (first, timeline) = bounds.timelines;
    let last = Segment::of(timeline, Position(bounds.to.0.saturating_sub(1)), size);
    let mut segment = Segment::of(timeline, bounds.from, size);
    while segment.number <= last.number {
        let name = segment.name(size);
        let of = |timeline| Segment { timeline, ..segment }.name(size);
        let mut asked = (first..=timeline).rev().map(|timeline| lineage.has(&of(timeline)));
        match asked.find(|asked| !matches!(asked, Ok(false))).unwrap_or(Ok(false)) {
            Ok(true) => segment = segment.next(),
            Ok(false) if Instant::now() < end => std::thread::sleep(LOG_STEP),
            Ok(false) => {
                let text =
                    format!("its log is not archived: {name} is missing; the backup is none");
                return Err(Error::Failed(text));
            }
            Err(error) => return Err(told(error)),
        }
    }
    Ok(())
}

/// Removes backups, and the log that ended before a position.
pub fn expire(goal: &Goal, backups: &[BackupId], before: Position) -> Result<Done, Error> {
    let lineage = lineage(goal.archive.as_deref())?;
    let mut objects = 0;
    for id in backups {
        objects += lineage.remove(*id).map_err(told)?;
    }
    // The catalogue is asked again: what a backup that stays begins with stays, whoever said what.
    let kept = lineage.backups().map_err(told)?;
    let Some(size) = kept.first().and_then(|kept| SegmentSize::new(kept.segment_bytes)) else {
        return Ok(Done::Expired { objects });
    };
    let first = kept.iter().map(|kept| kept.backup.from).min().unwrap_or(Position(0)).min(before);
    let gone = |name: &str| {
        use evenkeel_kinds::postgres::log::Name;
        match Name::parse(name, size) {
            Ok(Name::Segment(segment)) => segment.begin(size).0 + size.bytes() <= first.0,
            _ => false,
        }
    };
    objects += lineage.forget(gone).map_err(told)?;
    Ok(Done::Expired { objects })
}

/// Makes a member's repositories even, and forgets what was known to be missing before.
pub fn even(layout: &Layout, goal: &Goal) -> Result<Done, Error> {
    let begun = now();
    let objects = lineage(goal.archive.as_deref())?.even().map_err(told)?;
    let settings = &layout.archive;
    forget_missed(settings, begun).map_err(fault("cannot write beside", settings))?;
    Ok(Done::Evened { objects })
}

/// Archives what a server that was stopped cleanly left to be archived; where its log ends. Its last
/// segment begins with nothing but the record of its stop: what was written ends where that begins.
pub fn push_rest(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<Position, Error> {
    let unclean = || Error::Failed("its server was not stopped cleanly: revive it".to_owned());
    let Position(end) = replication::end_of_log(setup, layout)?.ok_or_else(unclean)?;
    let segment = Control::read(setup, &layout.data)?.segment_size()?.bytes();
    let lineage = lineage(goal.archive.as_deref())?;
    let log = layout.data.join("pg_wal");
    for ready in ready(&layout.data)? {
        let name = ready.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = log.join(&name);
        let content = std::fs::read(&path).map_err(fault("cannot read", &path))?;
        let pace = Paced::new(None, Level::Fine);
        lineage.push(&name, &content, goal.term, &pace).map_err(told)?;
        let done = ready.with_extension("done");
        std::fs::rename(&ready, &done).map_err(fault("cannot rename", &ready))?;
    }
    Ok(Position((end - 1) / segment * segment))
}

/// What says of a file of the log that it waits to be archived, oldest first.
pub fn ready(data: &Path) -> Result<Vec<PathBuf>, Error> {
    let place = data.join("pg_wal/archive_status");
    let entries = std::fs::read_dir(&place).map_err(fault("cannot list", &place))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let waits = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ready");
    let mut all: Vec<PathBuf> = paths.filter(waits).collect();
    all.sort();
    Ok(all)
}

/// Log that no repository has yet: how much, and since when its oldest file is ready.
pub fn pending(data: &Path) -> Result<(u64, Option<std::time::SystemTime>), Error> {
    let (mut bytes, mut oldest) = (0, None);
    for path in ready(data)? {
        let file = data.join("pg_wal").join(path.file_stem().unwrap_or_default());
        bytes += std::fs::metadata(file).map_or(0, |found| found.len());
        // One that is done meanwhile is pending no more.
        if let Ok(since) = std::fs::metadata(&path).and_then(|found| found.modified()) {
            oldest = Some(oldest.map_or(since, |oldest: std::time::SystemTime| oldest.min(since)));
        }
    }
    Ok((bytes, oldest))
}

#[cfg(test)]
mod tests {
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
