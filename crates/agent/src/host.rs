//! Readings of the machine below, for the host checks of the kinds and the agent's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use evenkeel_core::check::{self, Check, Family, Reading, Severity, Thresholds};
use evenkeel_drivers::files::room;
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::clock::{millis, wall_ms};
use crate::disk::Disk;
use crate::reserve::Reserve;

/// Every check of a host.
pub(crate) fn checks() -> &'static [&'static dyn Check] {
    static ALL: LazyLock<Vec<&'static dyn Check>> = LazyLock::new(|| {
        let own: &dyn Check = &GoalFiles;
        evenkeel_kinds::host::CHECKS.iter().copied().chain([own]).collect()
    });
    &ALL
}

/// Takes readings; remembers what is compared with the last one.
#[derive(Debug)]
pub(crate) struct Gauge {
    dir: PathBuf,
    reserve: Arc<Reserve>,
    began: Instant,
    /// Wall clock minus monotonic clock, in milliseconds.
    offset_ms: Option<i64>,
    kills: Option<u64>,
}

impl Gauge {
    /// A gauge of the file system a directory lies on, and of the machine.
    pub fn new(dir: &Path, reserve: Arc<Reserve>) -> Self {
        let dir = dir.to_owned();
        Self { dir, reserve, began: Instant::now(), offset_ms: None, kills: None }
    }

    /// Every check with a reading. One that cannot be taken is left out of it. What is kept for a full disk
    /// is made whole on the way. May block.
    pub fn read(&mut self) -> Vec<(String, Reading)> {
        self.reserve.fill();
        let mut reading = Reading::default();
        let mut put = |name: &str, value: String| reading.0.insert(name.to_owned(), value);
        if let Ok(room) = room(&self.dir) {
            put("free_percent", room.free_percent().to_string());
        }
        if let Ok(stat) = statvfs(&self.dir) {
            put("read_only", stat.f_flag.contains(StatVfsMountFlags::RDONLY).to_string());
        }
        match sync_once(&self.dir) {
            Ok(took_ms) => drop(put("fsync_ms", took_ms.to_string())),
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                put("read_only", true.to_string());
            }
            // A full disk has a check of its own.
            Err(error) => tracing::debug!(%error, "a synced write failed"),
        }
        put("jump_ms", self.jump_ms().to_string());
        if let Some(kills) = self.new_kills() {
            put("kills", kills.to_string());
        }
        put("damaged", Disk::damaged(&self.dir.join("goals")).to_string());
        of_all(&reading)
    }

    /// By how much the wall clock moved against time since the last reading.
    fn jump_ms(&mut self) -> i64 {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let offset = signed(wall_ms()).saturating_sub(signed(millis(self.began.elapsed())));
        offset.saturating_sub(self.offset_ms.replace(offset).unwrap_or(offset))
    }

    /// Processes killed for want of memory since the last reading.
    fn new_kills(&mut self) -> Option<u64> {
        let text = fs::read_to_string("/proc/vmstat").ok()?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()?;
        Some(kills - self.kills.replace(kills).unwrap_or(kills).min(kills))
    }
}

/// The readings of a host whose disk has not answered for so long.
pub(crate) fn stuck(since: Instant) -> Vec<(String, Reading)> {
    let took = millis(since.elapsed()).to_string();
    of_all(&Reading::of(&[("fsync_ms", took.as_str())]))
}

fn of_all(reading: &Reading) -> Vec<(String, Reading)> {
    checks().iter().map(|check| (check.name().to_owned(), reading.clone())).collect()
}

/// How long a small synced write takes, in milliseconds.
fn sync_once(dir: &Path) -> io::Result<u64> {
    let mut options = OpenOptions::new();
    let mut file =
        options.create(true).truncate(true).write(true).open(dir.join("synced-write"))?;
    let began = Instant::now();
    file.write_all(&[0; 512])?;
    file.sync_all()?;
    Ok(millis(began.elapsed()))
}

/// `goal-files`
struct GoalFiles;

impl Check for GoalFiles {
    fn name(&self) -> &'static str {
        "goal-files"
    }
    fn family(&self) -> Family {
        Family::Host
    }
    fn doc(&self) -> &'static str {
        "Counts the agent's goal files that could not be read and were set aside as `goals/*.damaged`. Their members are left as they are until the controller sends their goals again. Look for a failing disk or a hand that edited them, then remove the files."
    }
    fn question(&self) -> &'static str {
        "damaged"
    }
    fn judge(&self, reading: &Reading, _limits: &Thresholds) -> Option<check::Result> {
        let damaged = reading.number("damaged")?;
        let text = || format!("{damaged} goal files could not be read and were set aside");
        (damaged > 0).then(|| self.found(Severity::Critical, text()))
    }
    fn firing(&self) -> Reading {
        Reading::of(&[("damaged", "1")])
    }
    fn quiet(&self) -> Reading {
        Reading::of(&[("damaged", "0")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_sound_and_every_question_has_a_reading() {
        check::sound(checks()).expect("every check has its examples");
        let dir = tempfile::tempdir().unwrap();
        let mut gauge = Gauge::new(dir.path(), Arc::new(Reserve::new(dir.path())));
        gauge.read();
        for (name, reading) in gauge.read() {
            let check = checks().iter().find(|check| check.name() == name).unwrap();
            assert!(!reading.text(check.question()).is_empty(), "{name} is not read: {reading:?}");
        }
    }

    #[test]
    fn a_disk_that_does_not_answer_is_a_slow_one() {
        let since = Instant::now().checked_sub(std::time::Duration::from_secs(5)).unwrap();
        let fires = |(name, reading): &(String, Reading)| {
            checks()
                .iter()
                .find(|c| c.name() == name)
                .and_then(|c| c.judge(reading, &Thresholds::default()))
                .is_some()
        };
        let firing: Vec<_> = stuck(since).into_iter().filter(fires).map(|(name, _)| name).collect();
        assert_eq!(firing, ["disk-latency"]);
    }
}
