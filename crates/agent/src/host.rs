//! The host's own readings: what its checks judge.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use evenkeel_core::agent::Input;
use evenkeel_core::check::Reading;
use rustix::fs::{StatVfsMountFlags, statvfs};
use tokio::sync::mpsc;

use crate::events::Event;

/// What readings compare with.
struct Last {
    at: Instant,
    wall: SystemTime,
    kills: Option<u64>,
}

/// A host and what was read of it last.
pub struct Host {
    dir: PathBuf,
    last: Arc<Mutex<Last>>,
}

impl Host {
    /// A host whose members live below a directory.
    pub fn new(dir: PathBuf) -> Self {
        let last = Last { at: Instant::now(), wall: SystemTime::now(), kills: kills() };
        Self { dir, last: Arc::new(Mutex::new(last)) }
    }

    /// Takes every reading, off this thread: a disk may be slow. They come as an event.
    pub fn look(&self, events: mpsc::Sender<Event>) {
        let (dir, last) = (self.dir.clone(), Arc::clone(&self.last));
        tokio::task::spawn_blocking(move || {
            let reading = {
                // Looks may overlap on a disk that hangs: the next one waits here.
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                read(&dir, &mut last)
            };
            let readings = evenkeel_kinds::host::CHECKS
                .iter()
                .map(|check| (check.name().to_owned(), reading.clone()))
                .collect();
            let _ = events.blocking_send(Event::Input(Input::Host(readings)));
        });
    }
}

fn read(dir: &Path, last: &mut Last) -> Reading {
    let mut columns = Vec::new();
    if let Ok(found) = statvfs(dir) {
        let free = found.f_bavail.saturating_mul(100) / found.f_blocks.max(1);
        let read_only = found.f_flag.contains(StatVfsMountFlags::RDONLY);
        columns.push(("free_percent", free.to_string()));
        columns.push(("read_only", read_only.to_string()));
    }
    if let Some(took) = sync_time(dir) {
        columns.push(("fsync_ms", took.as_millis().to_string()));
    }
    let (at, wall) = (Instant::now(), SystemTime::now());
    columns.push(("jump_ms", drift_ms(at - last.at, last.wall, wall).to_string()));
    (last.at, last.wall) = (at, wall);
    if let Some(now) = kills() {
        let new = last.kills.map_or(0, |before| now.saturating_sub(before));
        columns.push(("kills", new.to_string()));
        last.kills = Some(now);
    }
    Reading(columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// How far the wall clock went beyond what passed.
fn drift_ms(passed: Duration, before: SystemTime, now: SystemTime) -> i64 {
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let wall = match now.duration_since(before) {
        Ok(forward) => millis(forward),
        Err(back) => -millis(back.duration()),
    };
    wall.saturating_sub(millis(passed))
}

/// How long a small synced write takes.
fn sync_time(dir: &Path) -> Option<Duration> {
    let path = dir.join("latency");
    let began = Instant::now();
    let mut file = File::create(&path).ok()?;
    file.write_all(&[0; 512]).ok()?;
    file.sync_all().ok()?;
    Some(began.elapsed())
}

/// Processes killed for want of memory since boot.
fn kills() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// New with every boot of the machine.
pub fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_the_checks_ask_for_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = Last { at: Instant::now(), wall: SystemTime::now(), kills: Some(0) };
        let reading = read(dir.path(), &mut last);
        for check in evenkeel_kinds::host::CHECKS {
            let column = check.question();
            // Some kernels and containers count no kills.
            let counted = column != "kills" || kills().is_some();
            assert!(!counted || !reading.text(column).is_empty(), "{column} is not read");
        }
    }

    #[test]
    fn a_jump_is_what_the_wall_clock_went_too_far() {
        let before = SystemTime::now();
        let hour = Duration::from_secs(3600);
        assert_eq!(drift_ms(Duration::from_secs(1), before, before + hour), 3_599_000);
        assert_eq!(drift_ms(Duration::from_secs(1), before, before - hour), -3_601_000);
    }
}
