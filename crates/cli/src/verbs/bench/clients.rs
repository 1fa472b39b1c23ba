//! Clients as people run them: psql for one statement, psql kept open, pgbench.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_drivers::image::Image;

use crate::failure::{Failure, Kind};

/// Longest wait for a write.
const WRITE_MAX: Duration = Duration::from_secs(120);

/// A program of the image, in its environment; failing that, the one on the path.
fn program(image: &Image, name: &str) -> Command {
    let mut command = image.command(name).unwrap_or_else(|_| Command::new(name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("PGCONNECT_TIMEOUT", "10");
    command
}

/// One statement over a connection of its own. Whether it was acknowledged.
pub fn sql(image: &Image, url: &str, statement: &str) -> bool {
    let mut psql = program(image, "psql");
    psql.args([url, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement]);
    psql.status().is_ok_and(|status| status.success())
}

/// The number that a question is answered with.
pub fn number(image: &Image, url: &str, question: &str) -> Result<u64, Failure> {
    let mut psql = program(image, "psql");
    let out = psql.args([url, "-qAtX", "-c", question]).stdout(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let failed = || Failure::new(Kind::Failed, format!("{question} gave {text:?}"));
    text.trim().parse().map_err(|_| failed())
}

/// Seconds from `began` until a write is acknowledged, tried over new connections again and again.
pub fn until_written(image: &Image, url: &str, began: Instant) -> Result<f64, Failure> {
    while !sql(image, url, "CREATE TABLE IF NOT EXISTS beat (n int); INSERT INTO beat VALUES (1)") {
        if began.elapsed() > WRITE_MAX {
            return Err(Failure::new(Kind::Failed, format!("no write within {WRITE_MAX:?}")));
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

/// A connection that stays open.
pub struct Session {
    psql: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Session {
    /// Connects and asks once.
    pub fn open(image: &Image, url: &str) -> Result<Self, Failure> {
        let mut psql = program(image, "psql");
        psql.args([url, "-qAtX"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = psql.spawn()?;
        let (Some(to), Some(from)) = (psql.stdin.take(), psql.stdout.take()) else {
            return Err(Failure::new(Kind::Failed, "psql has no pipes"));
        };
        let mut session = Self { psql, to, from: BufReader::new(from) };
        if session.answers() {
            Ok(session)
        } else {
            Err(Failure::new(Kind::Failed, format!("{url} cannot be connected to")))
        }
    }

    /// Whether the same connection still answers. psql does not connect anew by itself: when its
    /// input is no terminal it ends with its connection.
    pub fn answers(&mut self) -> bool {
        self.says("SELECT 'here'")
    }

    /// Whether a statement does what it should: it gives one row, which is `here`.
    pub fn says(&mut self, statement: &str) -> bool {
        let asked = writeln!(self.to, "{statement};").and_then(|()| self.to.flush());
        let mut line = String::new();
        asked.is_ok() && self.from.read_line(&mut line).is_ok() && line.trim() == "here"
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// Load that goes on until it is dropped or its connections break.
pub struct Load(Child);

impl Load {
    /// Fills pgbench's tables.
    pub fn prepare(image: &Image, url: &str, scale: u32) -> Result<(), Failure> {
        let scale = scale.to_string();
        let made = program(image, "pgbench").args(["-i", "-q", "-s", &scale, url]).status()?;
        if made.success() { Ok(()) } else { Err(Failure::new(Kind::Failed, "pgbench -i failed")) }
    }

    /// Starts pgbench with this many clients.
    pub fn start(image: &Image, url: &str, clients: u32) -> Result<Self, Failure> {
        let clients = clients.to_string();
        let mut pgbench = program(image, "pgbench");
        Ok(Self(pgbench.args(["-n", "-c", &clients, "-T", "3600", url]).spawn()?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Transactions per second of pgbench, with these arguments.
fn per_second(
    image: &Image,
    url: &str,
    arguments: &[&str],
    lasts: Duration,
) -> Result<f64, Failure> {
    let seconds = lasts.as_secs().to_string();
    let mut pgbench = program(image, "pgbench");
    let out = pgbench.args(["-n", "-T", &seconds]).args(arguments).arg(url);
    let out = out.stdout(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let figure =
        text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let failed = || Failure::new(Kind::Failed, format!("pgbench {arguments:?} failed: {text}"));
    figure.filter(|_| out.status.success()).ok_or_else(failed)
}

/// Reads per second of so many clients, each on its connection.
pub fn reads(image: &Image, url: &str, clients: u32, lasts: Duration) -> Result<f64, Failure> {
    per_second(image, url, &["-S", "-c", &clients.to_string()], lasts)
}

/// Commits per second of one client.
pub fn commits(image: &Image, url: &str, lasts: Duration) -> Result<f64, Failure> {
    per_second(image, url, &["-N", "-c", "1"], lasts)
}

/// Clients in loops of the transactions of a file; each commit is logged.
pub struct Loop {
    pgbench: Child,
    log: std::path::PathBuf,
}

impl Loop {
    /// Starts them, by the file `loop.sql` of a directory.
    pub fn start(
        image: &Image,
        dir: &std::path::Path,
        url: &str,
        mode: &str,
        clients: u32,
        lasts: Duration,
    ) -> Result<Self, Failure> {
        let (clients, seconds) = (clients.to_string(), lasts.as_secs().to_string());
        let mut pgbench = program(image, "pgbench");
        pgbench.current_dir(dir).args([
            "-n",
            "-j",
            "1",
            "-f",
            "loop.sql",
            "-l",
            "--log-prefix=commits",
        ]);
        let pgbench = pgbench.args(["-M", mode, "-c", &clients, "-T", &seconds, url]).spawn()?;
        let log = dir.join(format!("commits.{}", pgbench.id()));
        Ok(Self { pgbench, log })
    }

    /// When each commit came, in seconds and in order; and whether any client saw an error.
    pub fn end(mut self) -> Result<(Vec<f64>, bool), Failure> {
        let status = self.pgbench.wait()?;
        let text = std::fs::read_to_string(&self.log)?;
        let _ = std::fs::remove_file(&self.log);
        let time = |line: &str| {
            // client, transaction, latency, script, seconds, microseconds
            let mut fields = line.split(' ').skip(4);
            let (seconds, micros) =
                (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
            Some(seconds + micros / 1e6)
        };
        let mut times: Vec<f64> = text.lines().filter_map(time).collect();
        times.sort_by(f64::total_cmp);
        Ok((times, !status.success()))
    }
}

/// A client of pgbench at a pace of its own, whatever the server's; each transaction is logged.
pub struct Paced {
    pgbench: Child,
    log: std::path::PathBuf,
}

impl Paced {
    /// Starts one over pgbench's tables, so many transactions a second; its log is in a directory.
    pub fn start(
        image: &Image,
        dir: &std::path::Path,
        url: &str,
        a_second: u32,
        lasts: Duration,
    ) -> Result<Self, Failure> {
        let (rate, seconds) = (a_second.to_string(), lasts.as_secs().to_string());
        let mut pgbench = program(image, "pgbench");
        pgbench.current_dir(dir).args(["-n", "-c", "1", "-l", "--log-prefix=paced"]);
        let pgbench = pgbench.args(["--rate", &rate, "-T", &seconds, url]).spawn()?;
        let log = dir.join(format!("paced.{}", pgbench.id()));
        Ok(Self { pgbench, log })
    }

    /// How long each transaction took, in milliseconds, from the moment at which it should have begun.
    pub fn end(mut self) -> Result<Vec<f64>, Failure> {
        let status = self.pgbench.wait()?;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let _ = std::fs::remove_file(&self.log);
        let latencies = latencies(&text);
        if status.success() && !latencies.is_empty() {
            return Ok(latencies);
        }
        Err(Failure::new(Kind::Failed, "pgbench broke off: a server was not there all the time"))
    }
}

/// The third field of each line of pgbench's log, in milliseconds.
fn latencies(log: &str) -> Vec<f64> {
    let field = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
    log.lines().filter_map(field).map(|micros| micros / 1000.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_pgbench_is_read() {
        // client, transaction, latency, script, seconds, microseconds, lag
        let log = "0 1 5512 0 1700000000 175 12\n0 2 skipped 0 1700000000 175 12\n0 3 880 0 1700000001 9 3\n";
        assert_eq!(latencies(log), [5.512, 0.88]);
    }
}
