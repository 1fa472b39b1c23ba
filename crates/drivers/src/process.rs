//! Processes as the operating system tells of them. A zombie is dead.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process for ever: its number, and when it started, as numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// Clock ticks after boot at its start: field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs or sleeps.
    Alive,
    /// Stopped by a signal or a debugger.
    Stopped,
}

/// Fields of `/proc/PID/stat` from the third on. The second may hold anything, in brackets.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// How a process is; `None` if there is none, or only a zombie.
#[must_use]
pub fn state(pid: u32) -> Option<State> {
    match stat(pid)?.first()?.as_str() {
        "Z" | "X" | "x" => None,
        "T" | "t" => Some(State::Stopped),
        _ => Some(State::Alive),
    }
}

/// When a living process started, in ticks after boot.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    state(pid)?;
    stat(pid)?.get(19)?.parse().ok()
}

/// A process's parent.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

impl Identity {
    /// The identity of a living process.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start_ticks: start_ticks(pid)? })
    }

    /// Whether this very process lives.
    #[must_use]
    pub fn lives(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// Whether a process works in a directory, as every process of a PostgreSQL server does.
#[must_use]
pub fn works_in(pid: u32, directory: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory)
}

/// Every living process that works in a directory.
#[must_use]
pub fn all_in(directory: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| works_in(pid, directory) && state(pid).is_some()).collect()
}

/// A descriptor that means this process and no later one of its number.
///
/// # Errors
/// When there is no such process.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(pidfd_open(raw, PidfdFlags::empty())?)
}

/// Sends a signal through a descriptor; a process that is gone already is no error.
///
/// # Errors
/// When it may not be sent.
pub fn signal(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(process, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => Ok(other?),
    }
}

/// Waits until a process ended, zombies included; false when the time was over first.
#[must_use]
pub fn wait_gone(process: &OwnedFd, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else { return false };
        let mut polled = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_told_from_its_zombie_and_from_its_successor() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.lives());
        assert!(!Identity { start_ticks: identity.start_ticks + 1, ..identity }.lives());
        let descriptor = pidfd(child.id()).unwrap();
        assert!(!wait_gone(&descriptor, Duration::ZERO));
        signal(&descriptor, Signal::KILL).unwrap();
        assert!(wait_gone(&descriptor, Duration::from_secs(10)));
        assert!(!identity.lives(), "a zombie is dead");
        child.wait().unwrap();
        signal(&descriptor, Signal::KILL).unwrap();
    }

    #[test]
    fn what_works_in_a_directory_is_found() {
        let directory = std::env::temp_dir().canonicalize().unwrap();
        let mut child = Command::new("sleep").arg("60").current_dir(&directory).spawn().unwrap();
        assert!(all_in(&directory).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!all_in(&directory).contains(&child.id()));
    }
}
