//! PostgreSQL's programs, run toward a source: how they log in, how they are watched and ended, and what
//! their words mean.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use evenkeel_core::driver::Error;
use evenkeel_core::goal::Password;
use evenkeel_core::import::Source;

use super::tale::Tale;
use crate::image::Image;
use crate::postgres::{make, server};

/// Between looks at a program that works.
const STEP: Duration = Duration::from_millis(100);
/// Lines of a program that are kept for the reason of its end.
const LINES_MAX: usize = 40;
/// A server that does not answer a connection in so many seconds is not reached.
const CONNECT_SECONDS: &str = "10";
/// Most bytes of an answer.
const ANSWER_MAX_BYTES: u64 = 4 << 20;

/// A source that has gone silent, or whose network has, is noticed in half a minute.
pub const REACH: &str =
    "keepalives_idle=10 keepalives_interval=5 keepalives_count=4 tcp_user_timeout=30000";

/// Programs toward one source.
pub struct Tools {
    image: Image,
    source: Source,
    password: Option<Password>,
    /// Where they work, so that they are found again.
    place: PathBuf,
}

impl Tools {
    /// Programs of an image toward a source, working in a directory.
    pub fn new(image: &Image, source: &Source, password: Option<Password>, place: &Path) -> Self {
        let (image, source, place) = (image.clone(), source.clone(), place.to_path_buf());
        Self { image, source, password, place }
    }

    /// What they are run toward.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// A program that logs in to the source. Nothing that is secret is among its arguments; its
    /// environment is read by nobody but its own user.
    pub fn toward(&self, program: &str) -> Result<Command, Error> {
        let mut command = self.here(program)?;
        let Source { host, port, user, database, mode, root_certificate } = &self.source;
        command
            .env("PGHOST", host)
            .env("PGPORT", port.to_string())
            .env("PGUSER", user)
            .env("PGDATABASE", database)
            .env("PGAPPNAME", "evenkeel import")
            .env("PGCONNECT_TIMEOUT", CONNECT_SECONDS);
        let more = [
            ("PGSSLMODE", mode.as_ref()),
            ("PGSSLROOTCERT", root_certificate.as_ref()),
            ("PGPASSWORD", self.password.as_ref().map(|password| &password.0)),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        Ok(command)
    }

    /// A program of the image, working where it is found again.
    pub fn here(&self, program: &str) -> Result<Command, Error> {
        let mut command = Command::new(self.image.program(program)?);
        command.env_clear().envs(make::environment(&self.image)).current_dir(&self.place);
        // Nobody's password file is looked for.
        command.env("PGPASSFILE", "/dev/null").env("PGSERVICEFILE", "/dev/null");
        Ok(command)
    }

    /// Asks the source something by `psql`; what it said.
    pub fn ask(&self, more: &str, statements: &[&str]) -> Result<String, Error> {
        let mut command = self.toward("psql")?;
        command.args(["-X", "-q", "-A", "-t", "--no-password", "-v", "ON_ERROR_STOP=1"]);
        command.args(["-d", &format!("{REACH} {more}")]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: std::io::Error| Error::Failed(format!("psql: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let mut said = String::new();
        if let Some(out) = child.stdout.take() {
            // A source that says more than that is none.
            let _ = out.take(ANSWER_MAX_BYTES).read_to_string(&mut said);
        }
        let out = child.wait_with_output().map_err(failed)?;
        match out.status.success() {
            true => Ok(said),
            false => Err(self.in_words("psql", &String::from_utf8_lossy(&out.stderr))),
        }
    }

    /// Runs a program to its end, looking in between at what it says and at whether it is to end.
    pub fn run(
        &self,
        mut command: Command,
        tale: &mut Tale,
        mut look: impl FnMut(&mut Tale, Option<&str>),
    ) -> Result<(), Error> {
        let program = program_of(&command);
        let failed = |error: std::io::Error| Error::Failed(format!("{program}: {error}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let lines = lines(&mut child);
        let mut last = VecDeque::new();
        let ended = loop {
            match lines.recv_timeout(STEP) {
                Ok(line) => {
                    look(tale, Some(&line));
                    last.push_back(line);
                    if last.len() > LINES_MAX {
                        last.pop_front();
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => look(tale, None),
                // It said its last; it ends now.
                Err(mpsc::RecvTimeoutError::Disconnected) => break child.wait().map_err(failed)?,
            }
            if tale.is_interrupted() {
                self.end(&mut child)?;
                return Err(Error::Failed(format!("{program} was ended by order")));
            }
        };
        if ended.success() {
            return Ok(());
        }
        // Who is killed leaves those behind that worked with it.
        self.end(&mut child)?;
        let words: Vec<String> = last.into();
        Err(self.in_words(&program, &words.join("\n")))
    }

    /// Ends a program and everything that works with it.
    fn end(&self, child: &mut Child) -> Result<(), Error> {
        // One that has ended is no error.
        let _ = child.kill();
        let _ = child.wait();
        server::kill(&self.place)
    }

    /// What a program said went wrong, with what would do.
    pub fn in_words(&self, program: &str, words: &str) -> Error {
        let Source { host, port, user, database, .. } = &self.source;
        let is = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
        let text = if is(&["password authentication failed", "SCRAM", "authentication failed for"])
        {
            format!("{} refuses the password of role {user}; check it", self.source)
        } else if is(&["no password supplied"]) {
            format!(
                "{} asks for a password; give it with --password-file FILE, --password-stdin or \
                 PGPASSWORD in the environment",
                self.source
            )
        } else if is(&["no pg_hba.conf entry", "pg_hba.conf rejects"]) {
            format!(
                "{} does not let role {user} in from here; add a rule for it to the source's \
                 pg_hba.conf ({})",
                self.source,
                first(words)
            )
        } else if is(&[
            "could not translate host name",
            "Connection refused",
            "timeout expired",
            "No route to host",
            "Network is unreachable",
            "Connection timed out",
            "No such file or directory",
        ]) {
            format!(
                "{host}:{port} is not reached ({}); check its name and port, that it listens there, \
                 and what lies between",
                first(words)
            )
        } else if words.contains(&format!("database \"{database}\" does not exist")) {
            format!("{host}:{port} has no database {database:?}; name one that it has")
        } else {
            return make::in_words(program, words);
        };
        Error::Failed(text)
    }
}

/// The line that tells most.
fn first(words: &str) -> &str {
    let signs = ["error:", "FATAL:", "failed"];
    let telling = |line: &&str| signs.iter().any(|sign| line.contains(sign));
    let line = words.lines().find(telling).or_else(|| words.lines().next()).unwrap_or_default();
    let line = line.rsplit_once("failed: ").map_or(line, |(_, reason)| reason);
    line.trim()
}

fn program_of(command: &Command) -> String {
    let path = Path::new(command.get_program());
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A program's lines, as they come.
fn lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stream) = child.stderr.take() {
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Tools {
        let image = Image {
            digest: evenkeel_core::digest::Digest([0; 32]),
            bin: PathBuf::from("/usr/bin"),
            env: Vec::new(),
            packages: Vec::new(),
        };
        let source = Source::parse("postgres://app@old:5433/shop").unwrap();
        let password = Some(Password("hidden".to_owned()));
        Tools::new(&image, &source, password, Path::new("/"))
    }

    #[test]
    fn what_programs_say_is_told_with_what_would_do() {
        let at = "connection to server at \"old\" (10.0.0.1), port 5433 failed:";
        for (words, told) in [
            (
                format!(
                    "psql: error: {at} FATAL:  password authentication failed for user \"app\""
                ),
                "refuses the password of role app",
            ),
            (format!("psql: error: {at} fe_sendauth: no password supplied"), "--password-file"),
            (
                format!("psql: error: {at} Connection refused\n\tIs the server running"),
                "old:5433 is not reached (Connection refused)",
            ),
            (
                "psql: error: could not translate host name \"old\" to address".to_owned(),
                "check its name",
            ),
            (format!("psql: error: {at} FATAL:  no pg_hba.conf entry for host"), "pg_hba.conf"),
            (
                format!("psql: error: {at} FATAL:  database \"shop\" does not exist"),
                "has no database \"shop\"",
            ),
            (
                "pg_dump: error: query failed: ERROR:  permission denied for table t".to_owned(),
                "permission denied for table t",
            ),
        ] {
            let error = tools().in_words("psql", &words).to_string();
            assert!(error.contains(told), "{words}: {error}");
        }
    }

    #[test]
    fn a_password_is_no_argument() {
        let Ok(command) = tools().toward("sh") else { return };
        assert!(!command.get_args().any(|argument| argument.to_string_lossy().contains("hidden")));
        let password = command.get_envs().find(|(name, _)| *name == "PGPASSWORD");
        assert_eq!(password.and_then(|(_, value)| value), Some("hidden".as_ref()));
        assert!(!format!("{:?}", tools().password).contains("hidden"));
    }
}
