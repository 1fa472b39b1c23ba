//! Making data directories: by initdb, each on its own, kept ready in a small pool.
//!
//! A copied directory would share its system identifier with the original, and with it the one
//! thing that tells backups and replicas of different servers apart. So each is made by initdb.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evenkeel_core::driver::Error;
use evenkeel_core::goal::{Goal, Role};

use super::layout::{Layout, Marker};
use super::{copy, image, import, restore};
use crate::Setup;
use crate::files::{fault, sync_parent, write_synced};

/// Size of a segment of the log. A promotion writes a whole one before the first write, and an idle
/// database's archive gets a whole one now and then: a quarter of the default is twice as fast there.
const SEGMENT_MIB: &str = "4";

/// What is Evenkeel's own in every server: a database with a row to write probes to, and a role that
/// may do that, look at statistics and read the rules for clients; the term of the newest promotion, so
/// that it is in the log; and what a former primary reads of another to be rewound.
pub const OWN: &str = "
CREATE ROLE evenkeel_probe LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
GRANT pg_monitor TO evenkeel_probe;
REVOKE ALL ON DATABASE evenkeel FROM PUBLIC;
GRANT CONNECT ON DATABASE evenkeel TO evenkeel_probe;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA evenkeel;
CREATE TABLE evenkeel.heartbeat (id int PRIMARY KEY, n bigint NOT NULL, at timestamptz NOT NULL);
INSERT INTO evenkeel.heartbeat VALUES (1, 0, now());
GRANT USAGE ON SCHEMA evenkeel TO evenkeel_probe;
GRANT SELECT, UPDATE ON evenkeel.heartbeat TO evenkeel_probe;
CREATE TABLE evenkeel.term (id int PRIMARY KEY, term bigint NOT NULL);
INSERT INTO evenkeel.term VALUES (1, 0);
GRANT SELECT ON evenkeel.term TO evenkeel_probe;
CREATE ROLE evenkeel_copy NOLOGIN;
GRANT CONNECT ON DATABASE evenkeel TO evenkeel_copy;
GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) TO evenkeel_copy;
GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO evenkeel_copy;
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO evenkeel_copy;
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO evenkeel_copy;
GRANT EXECUTE ON FUNCTION pg_switch_wal() TO evenkeel_copy;
GRANT SELECT ON pg_hba_file_rules, pg_file_settings TO evenkeel_probe;
GRANT EXECUTE ON FUNCTION pg_hba_file_rules(), pg_show_all_file_settings() TO evenkeel_probe;
";

fn make_dir(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(fault("cannot make", path))
}

/// Makes a member's directory, from the pool where one is ready.
pub fn initialize(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<(), Error> {
    begin(setup, layout, goal)?;
    match (&goal.role, &goal.seed, &goal.import) {
        (Role::Standby { upstream }, _, _) => copy::whole(setup, layout, upstream)?,
        (_, Some(seed), _) => restore::whole(setup, layout, goal, seed)?,
        (_, None, Some(from)) => import::whole(setup, layout, goal, from)?,
        (Role::Primary { .. } | Role::Recruit, None, None) => fresh(setup, layout)?,
    }
    complete(layout, goal)
}

/// Fills a directory with what every server begins with.
pub fn fresh(setup: &Setup, layout: &Layout) -> Result<(), Error> {
    if take(&setup.pool_dir, &layout.data) { Ok(()) } else { build(setup, &layout.data) }
}

/// From here on the directory is half made.
pub fn begin(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<(), Error> {
    make_dir(&setup.members_dir)?;
    make_dir(&layout.root)?;
    let half = &layout.initializing;
    write_synced(half, &Marker::of(goal).bytes()).map_err(fault("cannot write", half))?;
    make_dir(&layout.conf)?;
    make_dir(&layout.log)
}

/// From here on it is whole, and the goal's.
pub fn complete(layout: &Layout, goal: &Goal) -> Result<(), Error> {
    let half = &layout.initializing;
    let marker = &layout.marker;
    write_synced(marker, &Marker::of(goal).bytes()).map_err(fault("cannot write", marker))?;
    fs::remove_file(half).map_err(fault("cannot remove", half))?;
    sync_parent(half).map_err(fault("cannot sync", &layout.root))?;
    sync_parent(&layout.root).map_err(fault("cannot sync", &layout.root))
}

/// Takes a ready directory, if there is one.
fn take(pool: &Path, data: &Path) -> bool {
    ready(pool).into_iter().any(|path| fs::rename(path, data).is_ok())
}

/// Ready directories, oldest first.
fn ready(pool: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(pool) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_ready = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ready-"))
    };
    let mut ready: Vec<PathBuf> = paths.filter(is_ready).collect();
    ready.sort();
    ready
}

/// Makes one more ready directory if there are fewer than wanted.
///
/// # Errors
/// [`Error`]; what was begun is removed by the next call.
pub fn fill_pool(setup: &Setup) -> Result<bool, Error> {
    let pool = &setup.pool_dir;
    if setup.image.is_none() || ready(pool).len() >= setup.pool_target {
        return Ok(false);
    }
    make_dir(pool)?;
    let lock = pool.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
    let file = file.map_err(fault("cannot open", &lock))?;
    let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    if locked.is_err() {
        // Somebody else is at it.
        return Ok(false);
    }
    let making = pool.join("making");
    let _ = fs::remove_dir_all(&making);
    build(setup, &making)?;
    let number = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let place = pool.join(format!("ready-{number:020}"));
    fs::rename(&making, &place).map_err(fault("cannot name", &place))?;
    sync_parent(&place).map_err(fault("cannot sync", pool))?;
    Ok(true)
}

/// Runs initdb and puts in what is Evenkeel's own.
fn build(setup: &Setup, data: &Path) -> Result<(), Error> {
    let image = image(setup)?;
    let mut initdb = Command::new(image.program("initdb")?);
    initdb
        .args(["--locale=C.UTF-8", "--encoding=UTF8", "--data-checksums", "--username=evenkeel"])
        .args(["--auth-local=peer", "--auth-host=scram-sha-256", "--no-instructions"])
        .args(["--wal-segsize", SEGMENT_MIB])
        .arg("-D")
        .arg(data)
        .env_clear()
        .envs(environment(image));
    run(initdb, None)?;
    let single = |database: &str, text: &str| {
        let mut postgres = Command::new(image.program("postgres")?);
        postgres
            .args(["--single", "-j", "-D"])
            .arg(data)
            .args(["-c", "log_checkpoints=off", "-c", "exit_on_error=true", database])
            .env_clear()
            .envs(environment(image));
        // A statement of single-user mode ends with a semicolon and an empty line.
        run(postgres, Some(&text.replace(";\n", ";\n\n")))
    };
    single("postgres", "CREATE DATABASE evenkeel;\n")?;
    single("evenkeel", OWN)
}

/// The environment of the server's programs.
pub fn environment(image: &crate::image::Image) -> Vec<(String, String)> {
    let own = [("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.into_iter().chain(image.env.iter().cloned()).collect()
}

/// Runs a program to its end; its words if it failed.
pub fn run(command: Command, input: Option<&str>) -> Result<(), Error> {
    said(command, input).map(drop)
}

/// The same; what it said.
pub fn said(mut command: Command, input: Option<&str>) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |what: &str| Error::Failed(format!("{program}: {what}"));
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that ended early says why on its other streams.
        let _ = pipe.write_all(text.as_bytes());
    }
    let out = child.wait_with_output().map_err(|error| failed(&error.to_string()))?;
    let words = [out.stdout, out.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    // In single-user mode a statement that failed does not end the program.
    let wrong = ["FATAL:", "ERROR:", "PANIC:"].iter().any(|sign| words.contains(sign));
    if out.status.success() && !wrong {
        return Ok(words.into_owned());
    }
    Err(in_words(&program, &words))
}

/// Runs a program that may find something wrong; whether it ended well, and its words.
pub fn heard(mut command: Command, limit: Duration) -> Result<(bool, String), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| Error::Failed(format!("{program}: {error}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(failed)?;
    // It may wait for a lock that nobody gives up.
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let pid = crate::process::pidfd(child.id()).map_err(failed)?;
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = crate::process::signal(&pid, rustix::process::Signal::KILL);
        }
    });
    let out = child.wait_with_output().map_err(failed);
    drop(ended);
    let _ = watch.join();
    let out = out?;
    let words = [out.stdout, out.stderr].concat();
    Ok((out.status.success(), String::from_utf8_lossy(&words).into_owned()))
}

/// What a server's program said went wrong.
pub fn in_words(program: &str, words: &str) -> Error {
    if words.contains("No space left on device") || words.contains("Disk quota exceeded") {
        return Error::DiskFull { what: format!("{program} could not write") };
    }
    if words.contains("cannot be run as root") || words.contains("execution of the PostgreSQL") {
        let text = "PostgreSQL does not run as root; start Evenkeel as another user";
        return Error::Failed(text.to_owned());
    }
    let telling = |line: &&str| {
        let signs = ["FATAL:", "ERROR:", "PANIC:", "error:", "could not", "invalid value"];
        signs.iter().any(|sign| line.contains(sign))
    };
    let mut lines: Vec<&str> = words.lines().filter(telling).take(3).collect();
    if lines.is_empty() {
        lines = words.lines().rev().take(2).collect();
    }
    Error::Failed(format!("{program}: {}", lines.join("; ").trim()))
}
