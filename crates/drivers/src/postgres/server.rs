//! The server's processes: found, started, stopped, killed.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use evenkeel_core::driver::{Error, Process};
use evenkeel_core::goal::{Goal, StopMode};
use rustix::process::Signal;

use super::layout::Layout;
use super::{conf, image, make, replication};
use crate::Setup;
use crate::files::fault;
use crate::launch::Launch;
use crate::process::{self, State};

/// A checkpoint at a stop may take this long.
const STOP_MAX: Duration = Duration::from_secs(90);
/// A stop without one should not.
const ABORT_MAX: Duration = Duration::from_secs(20);
/// What was killed is gone within this, or the kernel is stuck.
const KILL_MAX: Duration = Duration::from_secs(20);
/// A server that was started writes its process file within this, or it ended.
const START_MAX: Duration = Duration::from_secs(10);
/// Between looks at a condition the kernel sends no news of.
const STEP: Duration = Duration::from_millis(2);
/// Most of a log that is read for the reason of an end.
const TAIL_BYTES: u64 = 4096;

/// The postmaster by its own file, if it is alive and works in this very directory.
fn postmaster(data: &Path) -> Option<u32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    (process::works_in(pid, data) && process::state(pid).is_some()).then_some(pid)
}

/// Whether a server lets nobody in yet, by its own word: the eighth line of its process file
/// (`LOCK_FILE_LINE_PM_STATUS` in PostgreSQL's `utils/pidfile.h`). Looking costs it nothing; each
/// connection that it refuses costs it a process.
pub fn is_starting(data: &Path) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid"));
    text.is_ok_and(|text| says_starting(&text))
}

fn says_starting(file: &str) -> bool {
    file.lines().nth(7).is_some_and(|status| status.trim() == "starting")
}

/// What runs of a member.
pub fn find(data: &Path) -> Process {
    // The kernel names working directories without links.
    let Ok(data) = data.canonicalize() else { return Process::None };
    if let Some(pid) = postmaster(&data) {
        return match process::state(pid) {
            Some(State::Stopped) => Process::Frozen { pid },
            _ => Process::Running { pid },
        };
    }
    match process::all_in(&data).len() {
        0 => Process::None,
        count => Process::Leftovers { count: u32::try_from(count).unwrap_or(u32::MAX) },
    }
}

/// Starts the server; its process.
pub fn start(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<u32, Error> {
    match find(&layout.data) {
        Process::Running { pid } | Process::Frozen { pid } => return Ok(pid),
        Process::Leftovers { count } => {
            let text = format!("{count} processes of an earlier server are left; end them first");
            return Err(Error::Failed(text));
        }
        Process::None => {}
    }
    if taken(&goal.address, goal.port) {
        return Err(Error::PortTaken { port: goal.port });
    }
    clear_locks(setup, layout, goal)?;
    replication::clear_planted(&layout.data)?;
    if !layout.conf.join("postgresql.conf").exists() {
        return Err(Error::Failed("its settings were not written yet".to_owned()));
    }
    conf::write(setup, layout, goal, conf::Gate::at_start(goal))?;
    let image = image(setup)?;
    let mut argv = vec![image.program("postgres")?.display().to_string()];
    argv.extend(["-D".to_owned(), layout.data.display().to_string()]);
    argv.extend(conf::pinned(setup, layout, goal));
    let log = layout.log.join("postgres.log");
    let logged = fs::metadata(&log).map_or(0, |found| found.len());
    let env = make::environment(image);
    let out = layout.root.join("started.json");
    // Working in its directory from its first instant, it is never overlooked.
    let launch = Launch { argv, env, directory: layout.data.clone(), log: log.clone(), out };
    let failed = |error: crate::launch::Error| Error::Failed(crate::chain(&error));
    let identity = launch.run(&setup.launcher).map_err(failed)?;
    let end = Instant::now() + START_MAX;
    let data = layout.data.canonicalize().unwrap_or_else(|_| layout.data.clone());
    while postmaster(&data).is_none() {
        if !identity.lives() {
            return Err(why_ended(goal, &log, logged));
        }
        if Instant::now() > end {
            break;
        }
        std::thread::sleep(STEP);
    }
    Ok(identity.pid)
}

/// Removes a directory's lock, where nobody works in it. PostgreSQL takes a zombie's number, or one that
/// is used again, for a living owner and would refuse to start; who works where is known better here.
pub fn clear_lock(data: &Path) {
    if find(data) == Process::None {
        let _ = fs::remove_file(data.join("postmaster.pid"));
    }
}

/// Removes the locks of a server that was killed.
fn clear_locks(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<(), Error> {
    clear_lock(&layout.data);
    let socket = conf::socket(&setup.socket_root, goal.port);
    let mut lock = socket.clone().into_os_string();
    lock.push(".lock");
    let Ok(text) = fs::read_to_string(&lock) else { return Ok(()) };
    let mut lines = text.lines();
    let owner = lines.next().and_then(|pid| pid.trim().parse::<u32>().ok());
    let directory = lines.next().unwrap_or_default();
    let lives = owner.is_some_and(|pid| process::works_in(pid, Path::new(directory)));
    if lives && Path::new(directory) != layout.data {
        return Err(Error::PortTaken { port: goal.port });
    }
    let removed = fs::remove_file(&lock).and_then(|()| match fs::remove_file(&socket) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    });
    removed.map_err(fault("cannot remove the lock of", &socket))
}

/// Whether something listens already.
fn taken(address: &str, port: u16) -> bool {
    let address = if address == "0.0.0.0" { "127.0.0.1" } else { address };
    let Ok(mut addresses) = (address, port).to_socket_addrs() else { return false };
    let patience = Duration::from_millis(200);
    addresses.any(|address| TcpStream::connect_timeout(&address, patience).is_ok())
}

/// What a server that ended at once said.
fn why_ended(goal: &Goal, log: &Path, from: u64) -> Error {
    let words = tail(log, from);
    if words.contains("Address already in use") {
        return Error::PortTaken { port: goal.port };
    }
    make::in_words("postgres", &words)
}

fn tail(log: &Path, from: u64) -> String {
    let mut words = Vec::new();
    if let Ok(mut file) = fs::File::open(log) {
        let _ = file.seek(SeekFrom::Start(from));
        let _ = file.take(TAIL_BYTES).read_to_end(&mut words);
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// Has the server read its settings again.
pub fn reload(pid: u32) -> Result<(), Error> {
    send(pid, Signal::HUP).map(|_| ())
}

fn send(pid: u32, which: Signal) -> Result<Option<std::os::fd::OwnedFd>, Error> {
    let Ok(descriptor) = process::pidfd(pid) else { return Ok(None) };
    let sent = process::signal(&descriptor, which);
    sent.map_err(|error| Error::Failed(format!("cannot send {which:?} to {pid}: {error}")))?;
    Ok(Some(descriptor))
}

/// Asks the server to stop; never the mode that waits for clients to leave.
pub fn stop(data: &Path, mode: StopMode) -> Result<(), Error> {
    let (which, limit) = match mode {
        StopMode::Fast => (Signal::INT, STOP_MAX),
        StopMode::Immediate => (Signal::QUIT, ABORT_MAX),
    };
    match find(data) {
        Process::None => return Ok(()),
        // Waiting for it would be waiting for nothing.
        Process::Frozen { .. } => {
            return Err(Error::Failed(
                "the server is stopped by a signal and hears nothing".into(),
            ));
        }
        Process::Running { pid } => {
            let descriptor = send(pid, which)?;
            if descriptor.is_some_and(|descriptor| !process::wait_gone(&descriptor, limit)) {
                return Err(late("stopping the server", limit));
            }
        }
        Process::Leftovers { .. } => {}
    }
    wait_empty(data, limit, "stopping the server")
}

/// Kills every process of the directory.
pub fn kill(data: &Path) -> Result<(), Error> {
    let Ok(data) = data.canonicalize() else { return Ok(()) };
    let end = Instant::now() + KILL_MAX;
    loop {
        let left = process::all_in(&data);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(late("killing the server", KILL_MAX));
        }
        for pid in left {
            let descriptor = send(pid, Signal::KILL)?;
            // Whoever is stuck in the kernel is met again in the next round.
            let _ = descriptor.map(|fd| process::wait_gone(&fd, Duration::from_secs(1)));
        }
    }
}

fn wait_empty(data: &Path, limit: Duration, what: &str) -> Result<(), Error> {
    let end = Instant::now() + limit;
    while find(data) != Process::None {
        if Instant::now() > end {
            return Err(late(what, limit));
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

fn late(what: &str, limit: Duration) -> Error {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Error::Deadline { what: what.to_owned(), limit_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_starts_says_so_in_its_process_file() {
        let file = |status: &str| format!("7\n/data\n1700000000\n5432\n/tmp\n*\n1 2\n{status}\n");
        assert!(says_starting(&file("starting")));
        for other in ["ready   ", "standby ", "stopping"] {
            assert!(!says_starting(&file(other)), "{other}");
        }
        assert!(!says_starting("7\n/data\n") && !says_starting(""), "nothing is said yet");
    }
}
