//! A driver whose servers are processes that sleep, and an agent around it.
//!
//! Everything it knows is in files, so that it outlives the agent as a real server does. At every
//! call it proves that the goal was on disk before.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_agent::{Drivers, Options, run_with};
use evenkeel_core::agent::Stored;
use evenkeel_core::check::Reading;
use evenkeel_core::driver::{Answer, Directory, Driver, Error, Process};
use evenkeel_core::goal::{Goal, StopMode};
use evenkeel_core::id::Incarnation;
use evenkeel_core::policy::Policy;
use evenkeel_core::pooler;
use evenkeel_core::procedure::{Ran, Script};
use evenkeel_core::row;
use evenkeel_drivers::process::{Identity, pidfd, signal, wait_gone};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills a process and waits for its end.
pub fn kill(pid: u32) {
    if let Ok(process) = pidfd(pid) {
        signal(&process, Signal::KILL).expect("it is ours");
        assert!(wait_gone(&process, PATIENCE), "{pid} does not end");
    }
}

/// A host: a directory, and what runs there.
pub struct Host {
    dir: TempDir,
}

/// An agent in a thread of this process.
pub struct Agent {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), evenkeel_agent::Error>>,
}

impl Agent {
    /// Tells it to end and waits.
    pub fn stop(self) {
        let _ = self.stop.send(());
        self.thread.join().expect("no panic").expect("no error");
    }

    /// Waits for an agent that cannot run.
    pub fn error(self) -> String {
        self.thread.join().expect("no panic").expect_err("it cannot run").to_string()
    }
}

impl Host {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("toy")).expect("a directory");
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Says where the controller is.
    pub fn point_at(&self, address: &str, token: &str) {
        let text = format!("{{\"address\":{address:?},\"token\":{token:?}}}");
        fs::write(self.path("controller.json"), text).expect("a file");
    }

    pub fn options(&self) -> Options {
        Options {
            host: "h1".to_owned(),
            zone: "a".to_owned(),
            rack: None,
            address: [127, 0, 0, 1].into(),
            dir: self.path("agent"),
            controller_file: self.path("controller.json"),
            launcher: Vec::new(),
            gateway: None,
            socket_root: self.path("s"),
            pool_target: 0,
            images_dir: self.path("images"),
            policy: Policy::default(),
        }
    }

    pub fn agent(&self) -> Agent {
        self.agent_with(self.options())
    }

    pub fn agent_with(&self, options: Options) -> Agent {
        let drivers = Arc::new(Toys { root: self.path("toy"), goals: options.dir.join("goals") });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
            runtime.block_on(run_with(options, drivers, async {
                let _ = stopped.await;
            }))
        });
        Agent { stop, thread }
    }

    /// Every call made so far, in order.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("toy/calls")).unwrap_or_default();
        assert!(!text.contains("UNRECORDED"), "a call was made for a goal not on disk:\n{text}");
        text.lines().map(str::to_owned).collect()
    }

    pub fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|line| *line == call).count()
    }

    /// The agent, or the test's child, ends as by a crash when this is reached.
    pub fn crash_at(&self, point: &str) {
        fs::write(self.path("toy/crash"), point).expect("a file");
    }

    /// The living server of a member.
    pub fn pid(&self, member: u32) -> Option<u32> {
        pid_of(&self.path("toy").join(member.to_string()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(gateway) = identity_in(&self.path("agent/gateway.json")) {
            kill(gateway);
        }
        let Ok(members) = fs::read_dir(self.path("toy")) else { return };
        members.flatten().filter_map(|member| pid_of(&member.path())).for_each(kill);
    }
}

fn pid_of(root: &Path) -> Option<u32> {
    identity_in(&root.join("pid"))
}

/// The living process whose identity is in a file.
pub fn identity_in(path: &Path) -> Option<u32> {
    let identity: Identity = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    identity.lives().then_some(identity.pid)
}

/// Where toy drivers come from.
pub struct Toys {
    pub root: PathBuf,
    pub goals: PathBuf,
}

impl Toys {
    fn reach(&self, point: &str) {
        if fs::read_to_string(self.root.join("crash")).is_ok_and(|crash| crash == point) {
            fs::remove_file(self.root.join("crash")).expect("it is there");
            std::process::abort();
        }
    }
}

impl Drivers for Toys {
    fn driver(&self, _: &Goal) -> Result<Box<dyn Driver>, Error> {
        self.reach("recorded");
        Ok(Box::new(Toy(Toys { root: self.root.clone(), goals: self.goals.clone() })))
    }

    fn pooler(&self, kind: &str) -> Result<Box<dyn pooler::Driver>, Error> {
        Err(Error::Failed(format!("{kind} has no pooler")))
    }

    fn fill_pool(&self) -> Result<bool, Error> {
        Ok(false)
    }

    fn image(&self) -> Option<String> {
        Some("toy image".to_owned())
    }
}

struct Toy(Toys);

impl Toy {
    fn path(&self, goal: &Goal, name: &str) -> PathBuf {
        self.0.root.join(goal.member.0.to_string()).join(name)
    }

    fn made(&self, goal: &Goal) -> Option<Incarnation> {
        let text = fs::read_to_string(self.path(goal, "data")).ok()?;
        Some(Incarnation(text.parse().expect("a number")))
    }

    /// Notes a call, proves that its goal is on disk, and makes it with a chance to crash around.
    fn call<T>(&self, goal: &Goal, name: &str, act: impl FnOnce() -> T) -> T {
        let kept = fs::read(self.0.goals.join(format!("{}.json", goal.member.0)));
        let kept = kept.ok().and_then(|bytes| row::decode::<Stored>(&bytes).ok());
        let newest = |stored: &Stored| {
            let kept = &stored.applied.goal;
            (kept.term, kept.revision) > (goal.term, goal.revision) || **kept == *goal
        };
        let mark = if kept.as_ref().is_some_and(newest) { "" } else { " UNRECORDED" };
        let mut options = OpenOptions::new();
        let log = options.append(true).create(true).open(self.0.root.join("calls"));
        let line = format!("{name} {}{mark}\n", goal.member.0);
        log.expect("a log").write_all(line.as_bytes()).expect("a line");
        self.0.reach(&format!("before {name}"));
        let done = act();
        self.0.reach(&format!("after {name}"));
        done
    }
}

impl Driver for Toy {
    fn directory(&mut self, goal: &Goal) -> Result<Directory, Error> {
        let sealed = self.path(goal, "sealed").exists();
        Ok(match self.made(goal) {
            None => Directory::Absent,
            Some(incarnation) if sealed => Directory::Sealed { incarnation },
            Some(incarnation) => Directory::Complete { incarnation },
        })
    }
    fn process(&mut self, goal: &Goal) -> Result<Process, Error> {
        let pid = pid_of(&self.path(goal, ""));
        Ok(pid.map_or(Process::None, |pid| Process::Running { pid }))
    }
    fn initialize(&mut self, goal: &Goal) -> Result<(), Error> {
        self.call(goal, "initialize", || {
            assert_eq!(self.made(goal), None, "made twice");
            fs::create_dir_all(self.path(goal, "")).expect("a directory");
            fs::write(self.path(goal, "data"), goal.incarnation.0.to_string()).expect("a file");
            Ok(())
        })
    }
    fn discard(&mut self, _: &Goal) -> Result<(), Error> {
        Ok(())
    }
    fn configure(&mut self, goal: &Goal) -> Result<bool, Error> {
        self.call(goal, "configure", || Ok(false))
    }
    fn start(&mut self, goal: &Goal) -> Result<u32, Error> {
        assert_ne!(goal.settings.get("toy").map(String::as_str), Some("panic"), "as ordered");
        self.call(goal, "start", || {
            assert_eq!(pid_of(&self.path(goal, "")), None, "two servers on one directory");
            let mut command = Command::new("sleep");
            command.arg("1000").process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
            #[expect(clippy::zombie_processes, reason = "it is to be one: a zombie is dead")]
            let server = command.stderr(Stdio::null()).spawn().expect("a process");
            let identity = Identity::of(server.id()).expect("it lives");
            let text = serde_json::to_vec(&identity).expect("JSON");
            fs::write(self.path(goal, "pid"), text).expect("a file");
            Ok(server.id())
        })
    }
    fn prepare(&mut self, goal: &Goal) -> Result<(), Error> {
        self.call(goal, "prepare", || Ok(()))
    }
    fn probe(&mut self, goal: &Goal, write: bool) -> Answer {
        match (pid_of(&self.path(goal, "")), write) {
            (None, _) => Answer::NotYet,
            (Some(_), true) => Answer::Writing,
            (Some(_), false) => Answer::Accepting,
        }
    }
    fn script(&mut self, goal: &Goal, script: &Script, stop: &AtomicBool) -> Ran {
        let wait = self.path(goal, "wait");
        self.call(goal, "script", || {
            let _ = fs::write(self.path(goal, "script-runs"), "");
            while wait.exists() && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let mut ran = Ran::failed(format!("{} ran", script.procedure));
            ran.ok = !stop.load(Ordering::Relaxed);
            let _ = fs::remove_file(self.path(goal, "script-runs"));
            ran
        })
    }
    fn read(
        &mut self,
        _: &Goal,
        _: &str,
        _: evenkeel_core::check::Place,
    ) -> Result<Reading, Error> {
        Ok(Reading::default())
    }
    fn stop(&mut self, goal: &Goal, _: StopMode) -> Result<(), Error> {
        self.call(goal, "stop", || self.kill_all(goal))
    }
    fn kill(&mut self, goal: &Goal) -> Result<(), Error> {
        self.call(goal, "kill", || self.kill_all(goal))
    }
    fn seal(&mut self, goal: &Goal, sealed: bool) -> Result<(), Error> {
        let path = self.path(goal, "sealed");
        let done = if sealed { fs::write(path, "") } else { fs::remove_file(path) };
        done.map_err(|error| Error::Failed(error.to_string()))
    }
    fn remove(&mut self, goal: &Goal) -> Result<(), Error> {
        self.call(goal, "remove", || {
            let _ = fs::remove_dir_all(self.path(goal, ""));
            Ok(())
        })
    }
}

impl Toy {
    fn kill_all(&self, goal: &Goal) -> Result<(), Error> {
        pid_of(&self.path(goal, "")).into_iter().for_each(kill);
        Ok(())
    }
}
