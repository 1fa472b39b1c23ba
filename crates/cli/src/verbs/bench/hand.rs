//! A person at the machine, as quick as a machine: servers started again by hand, as they were started.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evenkeel_drivers::image::Image;
use evenkeel_drivers::process;
use rustix::process::Signal;

use crate::failure::{Failure, Kind};
use crate::stage::signal;
use crate::verbs::bench::usage;

/// A server, and how it was started.
pub struct Hand {
    pid: u32,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data: PathBuf,
    owner: (u32, u32),
    started: Option<Child>,
    locks: Vec<PathBuf>,
}

impl Hand {
    /// Learns how a server was started; it belongs to this user and group.
    pub fn of(pid: u32, owner: (u32, u32)) -> Result<Self, Failure> {
        let split = |name: &str| -> Result<Vec<String>, Failure> {
            let bytes = fs::read(format!("/proc/{pid}/{name}"))?;
            let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
            Ok(parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect())
        };
        let arguments: Vec<String> = split("cmdline")?.into_iter().skip(1).collect();
        let environment = split("environ")?;
        let pairs = environment.iter().filter_map(|pair| pair.split_once('='));
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let data = fs::read_link(format!("/proc/{pid}/cwd"))?;
        let value = |name: &str| arguments.iter().find_map(|text| text.strip_prefix(name));
        let (sockets, port) = (value("unix_socket_directories="), value("port="));
        let socket = format!(".s.PGSQL.{}.lock", port.unwrap_or_default());
        let locks =
            vec![data.join("postmaster.pid"), Path::new(sockets.unwrap_or_default()).join(socket)];
        let program = fs::read_link(format!("/proc/{pid}/exe"))?;
        Ok(Self { pid, program, arguments, environment, data, owner, started: None, locks })
    }

    /// Where its server works.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A program as the server's user, in the server's environment and directory.
    fn command(&self, program: &Path, log: &Path) -> Result<Command, Failure> {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.data);
        let log = fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if rustix::process::getuid().is_root() {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        Ok(command)
    }

    /// Kills the server and starts it at once, as soon as nothing of it is left.
    pub fn kill_and_start(&mut self, log: &Path) -> Result<(), Failure> {
        let family = usage::family(self.pid);
        signal(self.pid, Signal::KILL)?;
        if let Some(mut started) = self.started.take() {
            started.wait()?;
        }
        for child in family {
            // What is gone already has no descriptor.
            if let Ok(descriptor) = process::pidfd(child) {
                let _ = process::wait_gone(&descriptor, Duration::from_secs(10));
            }
        }
        self.unlock();
        let child = self.command(&self.program, log)?.args(&self.arguments).spawn()?;
        self.pid = child.id();
        self.started = Some(child);
        Ok(())
    }

    /// Starts a server that was killed, and waits until it takes connections: `pg_ctl -w start`.
    pub fn pg_ctl(&self, image: &Image, log: &Path) -> Result<(), Failure> {
        self.unlock();
        let program = image.program("pg_ctl");
        let program = program.map_err(|error| Failure::new(Kind::Failed, error.to_string()))?;
        // Its server's directory has a flag of its own.
        let data = self.data.display().to_string();
        let rest = options(&self.arguments).join(" ");
        let mut pg_ctl = self.command(&program, log)?;
        pg_ctl.args(["-D", &data, "-w", "-s", "-l", "/dev/null", "-o", &rest, "start"]);
        if pg_ctl.status()?.success() {
            return Ok(());
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(Failure::new(Kind::Failed, format!("pg_ctl did not start {data}: {said}")))
    }

    /// Where nobody reaps it the dead server looks alive to the next one, which a person would see and
    /// remove.
    fn unlock(&self) {
        for lock in &self.locks {
            let _ = fs::remove_file(lock);
        }
    }
}

/// A server's arguments but `-D DIRECTORY`, each as a shell reads it.
fn options(arguments: &[String]) -> Vec<String> {
    let mut rest = arguments.iter();
    let mut kept = Vec::new();
    while let Some(argument) = rest.next() {
        if argument == "-D" {
            rest.next();
            continue;
        }
        kept.push(format!("'{}'", argument.replace('\'', "'\\''")));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_given_on_as_they_were_but_the_directory() {
        let given = ["-D", "/data", "-c", "archive_command=x '%p' \"%f\"", "-c", "port=5"];
        let kept = options(&given.map(str::to_owned));
        let said = Command::new("sh")
            .args(["-c", &format!("printf '%s|' {}", kept.join(" "))])
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&said.stdout);
        assert_eq!(said, "-c|archive_command=x '%p' \"%f\"|-c|port=5|");
    }
}
