//! A script run to its end: bounded in time, in output and in what it leaves behind.
//!
//! Between the agent and a script stands a keeper, a process of its own session that adopts whatever the
//! script leaves behind. It reads the script's input as the first line of its own, and goes on reading: when
//! that ends - the agent wants the script to end, or is gone itself - everything below it is killed. So nothing
//! of a script outlives its end, its time, or its agent.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use evenkeel_core::procedure::{Ended, OUTPUT_MAX_BYTES, Ran, Script, judge};
use evenkeel_core::time::Span;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitOptions};

use crate::process;

/// The keeper's word among the launcher's arguments.
const KEEPER: &str = "--script";
/// Between looks whether a script is still wanted.
const STEP: Duration = Duration::from_millis(50);
/// A keeper that was told to end has done so within this, or is killed.
const KEEPER_MAX: Duration = Duration::from_secs(10);
/// The last words of a script that ended are read within this.
const WORDS_MAX: Duration = Duration::from_secs(2);

/// Where and as whom a script runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The command that ends in [`crate::launch::main`].
    pub launcher: Vec<String>,
    /// A directory of the script's own, made here and removed afterwards: its home, and where it works.
    pub scratch: PathBuf,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
}

/// Runs a script; `input` is what it reads. Nothing of it is left when this returns.
#[must_use]
pub fn run(place: &Place, script: &Script, input: &str, stop: &AtomicBool) -> Ran {
    let began = Instant::now();
    let ran = prepare(place, script).and_then(|file| start(place, script, &file, input));
    let mut child = match ran {
        Ok(child) => child,
        Err(error) => {
            let _ = fs::remove_dir_all(&place.scratch);
            return Ran::failed(format!("it could not be run: {error}"));
        }
    };
    let output = kept(child.stdout.take());
    let log = kept(child.stderr.take());
    let ended = wait(&mut child, Duration::from_millis(script.limit.0), stop);
    // A keeper that was killed itself leaves what it kept: it works where the script worked.
    let left = |scratch: &Path| scratch.canonicalize().map(|dir| process::all_in(&dir));
    for pid in left(&place.scratch).unwrap_or_default() {
        if let Ok(descriptor) = process::pidfd(pid) {
            let _ = process::signal(&descriptor, Signal::KILL);
            let _ = process::wait_gone(&descriptor, Duration::from_secs(1));
        }
    }
    let took = Span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    let ran = judge(ended, script.limit, &words(&output), &words(&log), took);
    let _ = fs::remove_dir_all(&place.scratch);
    ran
}

fn prepare(place: &Place, script: &Script) -> std::io::Result<PathBuf> {
    match fs::remove_dir_all(&place.scratch) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&place.scratch)?;
    let file = place.scratch.join("script");
    let mut made = fs::OpenOptions::new().create_new(true).write(true).mode(0o700).open(&file)?;
    made.write_all(script.code.text.as_bytes())?;
    Ok(file)
}

fn start(place: &Place, script: &Script, file: &Path, input: &str) -> std::io::Result<Child> {
    let Some((program, rest)) = place.launcher.split_first() else {
        return Err(std::io::Error::other("no launcher is set up"));
    };
    let mut command = Command::new(program);
    command
        .args(rest)
        .args([KEEPER, "--"])
        .args(&script.code.interpreter)
        .arg(file)
        .env_clear()
        .envs(place.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&place.scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(stdin) = child.stdin.as_mut() {
        // A keeper that ended at once says why on its other streams.
        let _ = stdin.write_all(format!("{}\n", input.replace('\n', " ")).as_bytes());
    }
    Ok(child)
}

/// Waits for a script's end, or brings it about.
fn wait(child: &mut Child, limit: Duration, stop: &AtomicBool) -> Ended {
    let end = Instant::now() + limit;
    let Ok(descriptor) = process::pidfd(child.id()) else { return Ended::Itself(gone(child)) };
    let why = loop {
        let left = end.saturating_duration_since(Instant::now());
        if process::wait_gone(&descriptor, left.min(STEP)) {
            return Ended::Itself(gone(child));
        }
        if stop.load(Ordering::Relaxed) {
            break Ended::Unwanted;
        }
        if Instant::now() >= end {
            break Ended::Late;
        }
    };
    // The end of its input is the end of the script.
    drop(child.stdin.take());
    if !process::wait_gone(&descriptor, KEEPER_MAX) {
        let _ = process::signal(&descriptor, Signal::KILL);
    }
    gone(child);
    why
}

fn gone(child: &mut Child) -> i32 {
    child.wait().map_or(-1, code)
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The end of what comes on a stream, and whether there was more.
type Words = mpsc::Receiver<(VecDeque<u8>, bool)>;

fn kept(stream: Option<impl Read + Send + 'static>) -> Words {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut kept, mut cut, mut chunk) = (VecDeque::new(), false, [0; 8192]);
        let Some(mut stream) = stream else { return };
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            kept.extend(&chunk[..read]);
            let over = kept.len().saturating_sub(OUTPUT_MAX_BYTES);
            cut |= over > 0;
            kept.drain(..over);
        }
        let _ = sender.send((kept, cut));
    });
    receiver
}

fn words(words: &Words) -> String {
    let Ok((kept, cut)) = words.recv_timeout(WORDS_MAX) else { return String::new() };
    let bytes: Vec<u8> = kept.into();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if cut {
        format!("[cut: only the last {OUTPUT_MAX_BYTES} bytes are kept]\n{text}")
    } else {
        text
    }
}

/// The keeper: `--script -- PROGRAM [ARGUMENT]...`. `None` where the arguments are for somebody else.
#[must_use]
pub fn main(arguments: &[String]) -> Option<i32> {
    let [word, dashes, argv @ ..] = arguments else { return None };
    if word != KEEPER || dashes != "--" {
        return None;
    }
    Some(keep(argv).unwrap_or_else(|error| {
        eprintln!("the script cannot be run: {error}");
        127
    }))
}

fn keep(argv: &[String]) -> std::io::Result<i32> {
    let Some((program, rest)) = argv.split_first() else {
        return Err(std::io::Error::other("no program is named"));
    };
    // Already the leader of a session: nothing to do then.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let stdin = std::io::stdin();
    let mut input = String::new();
    stdin.lock().read_line(&mut input)?;
    let child = Command::new(program).args(rest).stdin(Stdio::piped()).process_group(0).spawn();
    let mut child = child.map_err(|error| {
        std::io::Error::new(error.kind(), format!("{program} cannot be started: {error}"))
    })?;
    if let Some(mut pipe) = child.stdin.take() {
        // A script need not read.
        std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    }
    let descriptor = process::pidfd(child.id())?;
    loop {
        let mut polled = [
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Nothing more is ever sent: whatever comes is the end.
        let told = !polled[0].revents().is_empty();
        if !polled[1].revents().is_empty() || told {
            break;
        }
    }
    let _ = child.kill();
    let status = child.wait()?;
    sweep();
    Ok(code(status))
}

/// Kills what a script left behind: all of it comes to its keeper when its parent is gone.
fn sweep() {
    let own = std::process::id();
    let end = Instant::now() + KEEPER_MAX / 2;
    while Instant::now() < end {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let Ok(entries) = fs::read_dir("/proc") else { return };
        let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let left: Vec<u32> = pids.filter(|&pid| process::parent(pid) == Some(own)).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            if let Ok(descriptor) = process::pidfd(pid) {
                let _ = process::signal(&descriptor, Signal::KILL);
                let _ = process::wait_gone(&descriptor, STEP);
            }
        }
    }
}
