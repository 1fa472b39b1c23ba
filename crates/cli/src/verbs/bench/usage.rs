//! What processes cost: processor time and memory, as the kernel counts them.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Ticks of `/proc/PID/stat` a second: `USER_HZ`, 100 on every architecture Linux has (proc(5)).
const TICKS: f64 = 100.0;

/// What some processes cost together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// How many there are.
    pub processes: usize,
    /// Share of one core, in percent.
    pub cpu_percent: f64,
    /// Memory, shared pages counted by their share (`Pss`), in MiB.
    pub pss_mib: f64,
}

/// Processor time a process has used so far, in seconds.
fn used_s(pid: u32) -> f64 {
    ticks_s(pid, 2)
}

/// Processor time of this process so far, and of its children that have ended, in seconds.
pub fn spent_s() -> f64 {
    ticks_s(std::process::id(), 4)
}

fn ticks_s(pid: u32, fields: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_command = stat.rsplit_once(')').map_or("", |(_, after)| after);
    // From field 14 of proc(5): its own two, its children's two. The first after the command is the third.
    let ticks = after_command.split_whitespace().skip(14 - 3).take(fields);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// A process of the kernel's table, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Processor time of it, and of its children that have ended, in seconds.
    pub used_s: f64,
    /// Its title: its command line, which servers' processes rewrite.
    pub title: String,
}

/// Every process, by one look at each.
pub fn table() -> Vec<Row> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        row(pid, &stat, &title)
    })
    .collect()
}

fn row(pid: u32, stat: &str, title: &[u8]) -> Option<Row> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // From field 14 of proc(5): its own two, its ended children's two. The first here is the third.
    let ticks = fields.get(14 - 3..18 - 3)?.iter().filter_map(|field| field.parse::<f64>().ok());
    let title = String::from_utf8_lossy(title).replace('\0', " ").trim().to_owned();
    let parent = fields.get(1)?.parse().ok()?;
    Some(Row { pid, parent, used_s: ticks.sum::<f64>() / TICKS, title })
}

fn pss_kib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// A process and its children.
pub fn family(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let child = |pid: &u32| evenkeel_drivers::process::parent(*pid) == Some(parent);
    std::iter::once(parent).chain(pids.filter(child)).collect()
}

/// What each group of processes costs over a window.
pub fn over(window: Duration, groups: &[Vec<u32>]) -> Vec<Usage> {
    let used = |pids: &Vec<u32>| pids.iter().map(|&pid| used_s(pid)).sum::<f64>();
    let before: Vec<f64> = groups.iter().map(used).collect();
    let began = Instant::now();
    std::thread::sleep(window);
    let took = began.elapsed().as_secs_f64();
    let usage = |(pids, before): (&Vec<u32>, f64)| Usage {
        processes: pids.len(),
        cpu_percent: (used(pids) - before) / took * 100.0,
        pss_mib: pids.iter().map(|&pid| pss_kib(pid)).sum::<f64>() / 1024.0,
    };
    groups.iter().zip(before).map(usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_table_has_what_ended_children_used() {
        let stat = "7 (a) b) (c) S 3 7 7 0 -1 4194560 100 200 0 0 150 50 25 75 20 0 1 0 99 0 0";
        let row = row(7, stat, b"postgres: archiver \0\0").expect("a row");
        let title = "postgres: archiver".to_owned();
        assert_eq!(row, Row { pid: 7, parent: 3, used_s: 3.0, title });
    }

    #[test]
    fn this_process_costs_something() {
        let me = std::process::id();
        let spin = std::thread::spawn(|| {
            let end = Instant::now() + Duration::from_millis(400);
            while Instant::now() < end {
                std::hint::spin_loop();
            }
        });
        let usage = over(Duration::from_millis(300), &[vec![me]])[0];
        spin.join().expect("it ends");
        assert!(usage.cpu_percent > 10.0 && usage.pss_mib > 0.1, "{usage:?}");
        let mine = table().into_iter().find(|row| row.pid == me).expect("it is there");
        assert!(mine.used_s > 0.1 && !mine.title.is_empty(), "{mine:?}");
        assert!(family(evenkeel_drivers::process::parent(me).expect("has one")).contains(&me));
    }
}
