//! A command of one's own: whatever no other channel does. Exit code 0 confirms.
//!
//! It is given the notice as JSON on its input, an environment with nothing but a `PATH`, and a process
//! group of its own; past the deadline the whole group is killed. Of what it prints the end is kept.
//! It is started by its arguments, by no shell.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use evenkeel_core::alert::Receipt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::fields::{Fault, Fields};
use super::{Call, Channel, Deadline};

/// Where a command finds others.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Of its output so much is kept: the end of it.
const TAIL_BYTES: usize = 2 << 10;
/// Read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// After its end, so many chunks more are read of what it left in its output.
const CHUNKS_LEFT: usize = 8;

/// What was killed is waited for so long.
const KILLED_WITHIN: Duration = Duration::from_millis(500);

struct Run {
    argv: Vec<String>,
}

/// Opens one.
pub(super) fn open(fields: &mut Fields<'_>) -> Result<Box<dyn Channel>, Fault> {
    let argv = fields.texts("argv")?;
    let first = argv.first();
    if !first.is_some_and(|first| Path::new(first).is_absolute()) {
        let why =
            "argv must begin with the whole path of a program: argv = [\"/usr/local/bin/call\"]";
        return Err(fields.fault(why));
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err(fields.fault("argv holds a zero character"));
    }
    Ok(Box::new(Run { argv }))
}

impl Channel for Run {
    fn deliver(&self, call: &Call<'_>) -> Result<Receipt, String> {
        let program = &self.argv[0];
        let input = call.document().to_string();
        let started = Running::start(&self.argv, input.into_bytes());
        let mut running =
            started.map_err(|error| format!("{program} cannot be started: {error}"))?;
        let ended = running.attend(&call.deadline);
        let ended = ended.map_err(|error| format!("{program} cannot be attended to: {error}"))?;
        let said = running.said();
        match ended {
            None => {
                let allowed = call.deadline.allowed();
                Err(format!("{program} took longer than {allowed} and was killed{said}"))
            }
            Some(status) if status.success() => {
                Ok(Receipt { text: format!("{program} did it{said}") })
            }
            Some(status) => Err(match (status.code(), status.signal()) {
                (Some(code), _) => format!("{program} ended with {code}{said}"),
                (None, signal) => {
                    format!("{program} was ended by signal {}{said}", signal.unwrap_or_default())
                }
            }),
        }
    }

    fn describe(&self) -> String {
        format!("runs {}", self.argv[0])
    }

    fn notes(&self) -> Vec<String> {
        match std::fs::metadata(&self.argv[0]) {
            Ok(found) if found.is_file() => Vec::new(),
            _ => vec![format!("there is no program {} on this machine", self.argv[0])],
        }
    }
}

/// A command that runs. Dropped before its end, its whole group is killed.
struct Running {
    child: Child,
    ended: Option<ExitStatus>,
    pidfd: OwnedFd,
    input: Option<(ChildStdin, Vec<u8>)>,
    output: Option<File>,
    tail: Vec<u8>,
}

impl Running {
    fn start(argv: &[String], input: Vec<u8>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        // The command's copies of the writing end go with it, so that the reading end can end.
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()?;
        let pidfd = rustix::process::pidfd_open(pid(&child)?, PidfdFlags::empty());
        let prepared = pidfd.and_then(|pidfd| {
            rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
            if let Some(stdin) = &child.stdin {
                rustix::fs::fcntl_setfl(stdin, OFlags::NONBLOCK)?;
            }
            Ok(pidfd)
        });
        match prepared {
            Ok(pidfd) => Ok(Self {
                input: child.stdin.take().map(|stdin| (stdin, input)),
                output: Some(File::from(OwnedFd::from(reader))),
                tail: Vec::new(),
                ended: None,
                child,
                pidfd,
            }),
            Err(error) => {
                kill(&mut child);
                Err(error.into())
            }
        }
    }

    /// Feeds it and reads it until it ends; `None` if its time was over first.
    fn attend(&mut self, deadline: &Deadline) -> io::Result<Option<ExitStatus>> {
        while let Some(left) = deadline.left() {
            self.wait(left)?;
            self.feed();
            self.read();
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                for _ in 0..CHUNKS_LEFT {
                    self.read();
                }
                return Ok(self.ended);
            }
        }
        Ok(None)
    }

    /// Until something is to be done, or the time is over.
    fn wait(&self, left: Duration) -> io::Result<()> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        if let Some((stdin, _)) = &self.input {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
        }
        if let Some(output) = &self.output {
            fds.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
        }
        let left = Timespec::try_from(left).ok();
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn feed(&mut self) {
        let Some((stdin, left)) = &mut self.input else { return };
        match stdin.write(left) {
            Ok(written) => {
                left.drain(..written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // It does not want it; its exit code says whether that matters.
            Err(_) => left.clear(),
        }
        if left.is_empty() {
            self.input = None;
        }
    }

    fn read(&mut self) {
        let Some(output) = &mut self.output else { return };
        let mut chunk = vec![0; CHUNK_BYTES];
        match output.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.output = None,
            Ok(count) => {
                self.tail.extend_from_slice(&chunk[..count]);
                let over = self.tail.len().saturating_sub(TAIL_BYTES);
                self.tail.drain(..over);
            }
        }
    }

    /// What it said last, to be put behind a sentence.
    fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        match text.trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it was waited for, its number may be another's: then its group is left alone.
        if self.ended.is_none() {
            kill(&mut self.child);
            // A killed process ends at once, unless the kernel holds it; then it is not waited for.
            let _ = poll(
                &mut [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)],
                Timespec::try_from(KILLED_WITHIN).ok().as_ref(),
            );
            let _ = self.child.try_wait();
        }
    }
}

fn pid(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("its number is none"))
}

/// Kills a command that was not waited for yet, and its children.
fn kill(child: &mut Child) {
    if let Ok(pid) = pid(child) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let _ = child.kill();
}
