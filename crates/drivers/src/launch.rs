//! Starting a server as nobody's child.
//!
//! A server must outlive whoever started it, and a terminal's Ctrl-C must not reach it. So it is
//! started by a short-lived process in a session of its own, which writes down whom it started and
//! ends: the server is then the child of the first process of the machine.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::files;
use crate::process::Identity;

/// What to start, and how.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Where it works from its first instant, by which it is known in the process table.
    pub directory: PathBuf,
    /// Where its output is appended.
    pub log: PathBuf,
    /// Where its identity is written.
    pub out: PathBuf,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong arguments.
    #[error("launch: {0}")]
    Usage(String),
    /// The launcher itself could not be run.
    #[error("cannot run the launcher {program}")]
    Launcher {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The launcher says that it could not start the program.
    #[error("{program} was not started: {why}")]
    NotStarted {
        /// Which.
        program: String,
        /// In the launcher's words.
        why: String,
    },
}

impl Launch {
    /// Runs it through a launcher, which is a command that ends in [`main`].
    ///
    /// # Errors
    /// [`Error`]; nothing runs then.
    pub fn run(&self, launcher: &[String]) -> Result<Identity, Error> {
        let program = self.argv.first().cloned().unwrap_or_default();
        let Some((first, rest)) = launcher.split_first() else {
            return Err(Error::Usage("no launcher is set up".to_owned()));
        };
        let mut command = Command::new(first);
        command.args(rest).arg("--out").arg(&self.out).arg("--log").arg(&self.log);
        for (name, value) in &self.env {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command.arg("--").args(&self.argv).stdin(Stdio::null()).stdout(Stdio::null());
        if self.directory != Path::new("") {
            command.current_dir(&self.directory);
        }
        let ran = command.output();
        let ran = ran.map_err(|source| Error::Launcher { program: first.clone(), source })?;
        let why = |why: &str| Error::NotStarted { program: program.clone(), why: why.to_owned() };
        if !ran.status.success() {
            return Err(why(String::from_utf8_lossy(&ran.stderr).trim()));
        }
        let text = std::fs::read(&self.out).map_err(|error| why(&error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| why(&error.to_string()))
    }
}

/// The launcher, what servers call for their log ([`crate::backup::command`]), and who stands between an agent
/// and its scripts ([`crate::script`]): `--out FILE --log FILE [--env NAME=VALUE]... -- PROGRAM [ARGUMENT]...`. Returns
/// the exit code.
#[must_use]
pub fn main(arguments: &[String]) -> i32 {
    if let Some(code) = crate::backup::command::main(arguments) {
        return i32::from(code);
    }
    if let Some(code) = crate::script::main(arguments) {
        return code;
    }
    match parse(arguments).and_then(|launch| start(&launch)) {
        Ok(()) => 0,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
            eprintln!("{error}{}", cause.unwrap_or_default());
            1
        }
    }
}

fn parse(arguments: &[String]) -> Result<Launch, Error> {
    let mut launch = Launch::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            launch.argv = rest.cloned().collect();
            break;
        }
        let usage = || Error::Usage(format!("{argument} needs a value"));
        let value = rest.next().ok_or_else(usage)?;
        match argument.as_str() {
            "--out" => launch.out = PathBuf::from(value),
            "--log" => launch.log = PathBuf::from(value),
            "--env" => {
                let (name, value) = value.split_once('=').ok_or_else(usage)?;
                launch.env.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(Error::Usage(format!("{argument} is not known"))),
        }
    }
    if launch.argv.is_empty() || launch.out == Path::new("") || launch.log == Path::new("") {
        return Err(Error::Usage("--out, --log and a program after -- are needed".to_owned()));
    }
    Ok(launch)
}

fn start(launch: &Launch) -> Result<(), Error> {
    let program = &launch.argv[0];
    let failed = |what: &str, error: std::io::Error| Error::NotStarted {
        program: program.clone(),
        why: format!("{what}: {error}"),
    };
    // Already the leader of a session: nothing to do then.
    let _ = rustix::process::setsid();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&launch.log);
    let log = log.map_err(|error| failed("its log cannot be opened", error))?;
    let errors = log.try_clone().map_err(|error| failed("its log cannot be opened", error))?;
    let child = Command::new(program)
        .args(&launch.argv[1..])
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| failed("it cannot be run", error))?;
    let gone = || failed("it ended at once", std::io::Error::from(std::io::ErrorKind::NotFound));
    let identity = Identity::of(child.id()).ok_or_else(gone)?;
    let text = serde_json::to_vec(&identity).expect("an identity is JSON");
    files::write_synced(&launch.out, &text).map_err(|error| {
        // Nobody would find it again: it must not run.
        if let Ok(descriptor) = crate::process::pidfd(identity.pid) {
            let _ = crate::process::signal(&descriptor, rustix::process::Signal::KILL);
            let _ = crate::process::wait_gone(&descriptor, Duration::from_secs(5));
        }
        failed("its identity cannot be written down", error)
    })
}
