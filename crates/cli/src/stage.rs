//! A fleet of one's own, for the demo and the benchmarks: started, asked, killed and taken down by the
//! same binary and verbs that people use.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_drivers::image::{Image, Software};
use evenkeel_drivers::process::{self, Identity};
use rustix::process::Signal;
use serde_json::Value;

use crate::failure::{Failure, Kind};
use crate::print;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between looks.
const STEP: Duration = Duration::from_millis(10);
/// Hosts of the fleet.
pub const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// A fleet of one's own.
pub struct Stage {
    program: PathBuf,
    data: PathBuf,
    listen: String,
    flags: Vec<String>,
    up: Option<Child>,
}

impl Stage {
    /// A place for a fleet; `flags` are for `evenkeel up`.
    pub fn new(name: &str, flags: &[&str]) -> Result<Self, Failure> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self {
            program: std::env::current_exe()?,
            data: PathBuf::from(format!("/tmp/evenkeel-{name}-{}", std::process::id())),
            listen: format!("127.0.0.1:{port}"),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            up: None,
        })
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// The files of [`Self::policy`].
    fn policies(&self) -> Vec<PathBuf> {
        let name = self.data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entries = self.data.parent().map(fs::read_dir).into_iter().flatten().flatten();
        let ours = |path: &PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.starts_with(&format!("{name}.")) && file.ends_with(".json")
        };
        entries.flatten().map(|entry| entry.path()).filter(ours).collect()
    }

    /// Where everything of the fleet is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The user who owns the fleet's files, and its group.
    pub fn owner(&self) -> Result<(u32, u32), Failure> {
        let found = fs::metadata(self.data.join("hosts"))?;
        Ok((found.uid(), found.gid()))
    }

    /// The software its members run from.
    pub fn image(&self) -> Result<Image, Failure> {
        evenkeel_drivers::image::any(Software::Postgres, &self.data.join("images"))
            .map_err(|error| Failure::new(Kind::Failed, error.to_string()))
    }

    /// Removes what is left of it, or says where it is.
    pub fn put_away(&self, remove: bool) {
        if remove {
            let _ = fs::remove_dir_all(&self.data);
            let _ = fs::remove_file(self.log());
            self.policies().iter().for_each(|path| drop(fs::remove_file(path)));
        } else {
            let (data, log) = (self.data.display(), self.log());
            print::note(&format!("data {data} and log {}", log.display()));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("EVENKEEL_DATA", &self.data).env_remove("EVENKEEL_URL");
        command.stdin(Stdio::null());
        command
    }

    /// What a verb prints.
    pub fn verb(&self, arguments: &[&str]) -> Result<String, Failure> {
        let out = self.command(arguments).output()?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        Err(Failure::new(Kind::Failed, said))
    }

    /// What a verb prints for programs; null if it fails.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.verb(&[arguments, &["--json"]].concat()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A service's state.
    pub fn state(&self, name: &str) -> String {
        self.json(&["show", name])["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The process of a service's server.
    pub fn server(&self, name: &str) -> Result<u32, Failure> {
        let pid = self.json(&["show", name])["members"][0]["pid"].as_u64();
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        pid.ok_or_else(|| Failure::new(Kind::Failed, format!("{name} has no server now")))
    }

    /// Starts it, or starts it again; returns when every host is up and can take members.
    pub fn start(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let up = self
            .command(&[&["up", "--listen", &self.listen], &flags[..]].concat())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.up = Some(up);
        self.until("every host", |stage| {
            let up = |host: &Value| host["state"] == "up" && !host["image"].is_null();
            let hosts = stage.json(&["host", "list"]);
            hosts.as_array().is_some_and(|h| h.len() == HOSTS.len() && h.iter().all(up))
        })
    }

    /// Starts what `up` starts, after that alone was killed.
    pub fn up_again(&mut self) -> Result<(), Failure> {
        if let Some(mut up) = self.up.take() {
            up.wait()?;
        }
        self.start()
    }

    /// Starts the controller alone anew, with these flags; agents go on, and hear it.
    pub fn controller_again(&mut self, flags: &[&str]) -> Result<(), Failure> {
        signal(self.process("up.json")?, Signal::KILL)?;
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.up_again()
    }

    /// A file beside the fleet's directory with this policy, for `up --policy`.
    pub fn policy(&self, name: &str, policy: &Value) -> Result<String, Failure> {
        let path = self.data.with_extension(format!("{name}.json"));
        fs::write(&path, policy.to_string())?;
        Ok(path.display().to_string())
    }

    /// The process of every agent.
    pub fn agents(&self) -> Result<Vec<u32>, Failure> {
        HOSTS.iter().map(|host| self.process(&format!("hosts/{host}/pid.json"))).collect()
    }

    /// Every service's server, by name.
    pub fn servers(&self) -> Vec<(String, u32)> {
        let listed = self.json(&["list"]);
        let server = |service: &Value| {
            let pid = u32::try_from(service["members"][0]["pid"].as_u64()?).ok()?;
            Some((service["name"].as_str()?.to_owned(), pid))
        };
        listed.as_array().into_iter().flatten().filter_map(server).collect()
    }

    /// Starts controller and agents anew, with these flags.
    pub fn start_again(&mut self, flags: &[&str]) -> Result<(), Failure> {
        self.kill_control_plane()?;
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.start()
    }

    /// Waits for a condition; fails when the fleet ends or patience does.
    pub fn until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            let ended = self.up.as_mut().and_then(|up| up.try_wait().ok().flatten()).is_some();
            if ended || Instant::now() > end {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let text = format!("there is no {what}; the fleet said:\n{log}");
                return Err(Failure::new(Kind::Failed, text));
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    /// The process that wrote this file of identity below the data directory.
    pub fn process(&self, file: &str) -> Result<u32, Failure> {
        let path = self.data.join(file);
        let identity: Identity = serde_json::from_slice(&fs::read(&path)?).map_err(|error| {
            Failure::new(Kind::Failed, format!("{} cannot be read: {error}", path.display()))
        })?;
        Ok(identity.pid)
    }

    /// Kills the controller and every agent that is there, at once. Gateway and databases go on.
    pub fn kill_control_plane(&mut self) -> Result<(), Failure> {
        let agents = HOSTS.iter().flat_map(|host| self.process(&format!("hosts/{host}/pid.json")));
        let pids: Vec<u32> = self.process("up.json").into_iter().chain(agents).collect();
        for pid in pids {
            // One that is gone already needs no signal.
            if process::pidfd(pid).is_ok() {
                signal(pid, Signal::KILL)?;
            }
        }
        if let Some(mut up) = self.up.take() {
            up.wait()?;
        }
        Ok(())
    }

    /// Takes everything down; what that said.
    pub fn down(&mut self) -> Result<String, Failure> {
        let said = self.verb(&["down"])?;
        if let Some(mut up) = self.up.take() {
            up.wait()?;
        }
        Ok(said.trim().to_owned())
    }
}

/// Sends a signal to one process; a killed one is gone when this returns.
pub fn signal(pid: u32, which: Signal) -> Result<(), Failure> {
    let descriptor = process::pidfd(pid)?;
    process::signal(&descriptor, which)?;
    if which == Signal::KILL {
        let _ = process::wait_gone(&descriptor, Duration::from_secs(10));
    }
    Ok(())
}
