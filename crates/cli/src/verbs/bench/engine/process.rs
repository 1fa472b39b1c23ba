//! This program again as one of the benchmark's parts, and what `/proc` says of it from outside.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::failure::{Failure, Kind};

/// Ticks of `/proc/PID/stat` a second: `USER_HZ`, 100 on every architecture Linux has (proc(5)).
const TICKS: f64 = 100.0;

/// Memory that a process has now, in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    of_status(pid, "VmRSS:")
}

/// The most memory that a process had, in bytes.
pub fn peak_bytes(pid: u32) -> Result<u64, Failure> {
    of_status(pid, "VmHWM:")
}

fn of_status(pid: u32, name: &str) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| {
        Failure::new(Kind::Failed, format!("/proc/{pid}/status has no {name} of it"))
    })
}

/// A stretch of a process's time.
pub struct Stretch {
    pid: u32,
    began: Instant,
    used_s: f64,
}

impl Stretch {
    /// From now on.
    pub fn begin(pid: u32) -> Result<Self, Failure> {
        Ok(Self { pid, began: Instant::now(), used_s: used_s(pid)? })
    }

    /// Its share of one core until now.
    pub fn share(&self) -> Result<f64, Failure> {
        Ok((used_s(self.pid)? - self.used_s) / self.began.elapsed().as_secs_f64())
    }
}

/// User and system time of a process so far, in seconds.
fn used_s(pid: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_command = stat.rsplit_once(')').map_or("", |(_, after)| after);
    // Fields 14 and 15 of proc(5); the first after the command is the third.
    let ticks = after_command.split_whitespace().skip(14 - 3).take(2);
    Ok(ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

/// A count as a float; counts here are far below 2^52.
pub fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count >> 32).unwrap_or(u32::MAX)) * 4_294_967_296.0
        + f64::from(u32::try_from(count & 0xffff_ffff).unwrap_or(u32::MAX))
}

/// To so many decimals.
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// A part that runs as a process of its own. Dropped, it is killed.
pub struct Part {
    what: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Part {
    /// Starts this program as a part: of what fleet, which part, and its own options.
    pub fn start(of: &[String], what: &'static str, args: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "engine-part"]).args(of).arg(what).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let lost = || Failure::new(Kind::Failed, format!("{what} has no input or output"));
        let input = Some(child.stdin.take().ok_or_else(lost)?);
        let lines = BufReader::new(child.stdout.take().ok_or_else(lost)?).lines();
        Ok(Self { what, child, input, lines })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    pub fn line(&mut self) -> Result<String, Failure> {
        match self.lines.next() {
            Some(line) => Ok(line?),
            None => {
                let status = self.child.wait()?;
                let text =
                    format!("the part {} ended early ({status}); its words are above", self.what);
                Err(Failure::new(Kind::Failed, text))
            }
        }
    }

    /// The figures that it says next.
    pub fn figures(&mut self) -> Result<Value, Failure> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|_| {
            Failure::new(
                Kind::Failed,
                format!("the part {} said {line:?} and no figures", self.what),
            )
        })
    }

    /// Tells it something.
    pub fn tell(&mut self, text: &str) -> Result<(), Failure> {
        let Some(input) = &mut self.input else { return Ok(()) };
        Ok(writeln!(input, "{text}")?)
    }

    /// Ends its input and waits until it ends.
    pub fn end(&mut self) -> Result<(), Failure> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let text = format!("the part {} failed ({status}); its words are above", self.what);
        Err(Failure::new(Kind::Failed, text))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
