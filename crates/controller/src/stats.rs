//! What the shell counts about itself: turns, commits, streams. Written by any thread, read by
//! `/metrics`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of buckets, in microseconds: a turn that changes nothing takes about 10, a synced
/// commit some hundred on a good disk, seconds on a sick one.
const BOUNDS_MICROS: [u64; 12] =
    [10, 32, 100, 320, 1_000, 3_200, 10_000, 32_000, 100_000, 320_000, 1_000_000, 10_000_000];

/// Durations by size.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BOUNDS_MICROS.iter().position(|&bound| micros <= bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, bucket) in BOUNDS_MICROS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", Seconds(*bound));
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = Seconds(self.sum_micros.load(Ordering::Relaxed));
        let _ = writeln!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
        );
    }
}

/// Microseconds, written as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: usize) {
        self.0.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let value = self.0.load(Ordering::Relaxed);
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let value = self.value();
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
}

/// One more of what a [`Gauge`] counts, until it is dropped.
pub(crate) struct Held {
    stats: Arc<Stats>,
    gauge: fn(&Stats) -> &Gauge,
}

impl Held {
    pub fn of(stats: &Arc<Stats>, gauge: fn(&Stats) -> &Gauge) -> Self {
        gauge(stats).0.fetch_add(1, Ordering::Relaxed);
        Self { stats: Arc::clone(stats), gauge }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.gauge)(&self.stats).0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everything the shell counts.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub turns: Histogram,
    pub commits: Histogram,
    pub commits_failed: Counter,
    pub entries: Counter,
    pub beats: Counter,
    pub orders: Counter,
    pub agents: Gauge,
    pub gateways: Gauge,
    pub events: Gauge,
    pub streams_too_slow: Counter,
    pub notices_folded: Counter,
    pub cannot_record: Gauge,
    pub recorder_on: Gauge,
}

impl Stats {
    /// In the text format of Prometheus.
    pub fn write(&self, out: &mut String) {
        self.turns.write(out, "evenkeel_turn_seconds", "Duration of a cell's turns.");
        self.commits.write(out, "evenkeel_commit_seconds", "Duration of synced commits.");
        let counters = [
            (&self.commits_failed, "commits_failed", "Commits that failed."),
            (&self.entries, "entries", "Messages and orders taken in, beats aside."),
            (&self.beats, "beats", "Beats taken in."),
            (&self.orders, "orders", "Orders taken in."),
            (&self.streams_too_slow, "streams_too_slow", "Streams cut for being too slow."),
            (&self.notices_folded, "notices_folded", "Notices not sent: another cell's told it."),
        ];
        for (counter, name, help) in counters {
            counter.write(out, &format!("evenkeel_{name}_total"), help);
        }
        let gauges = [
            (&self.agents, "agent_streams", "Streams of agents open now."),
            (&self.gateways, "gateway_streams", "Streams of gateways open now."),
            (&self.events, "event_streams", "Streams of events open now."),
            (&self.cannot_record, "store_cannot_record", "1 while nothing can be recorded."),
            (&self.recorder_on, "flight_recorder_on", "1 while turns are being recorded."),
        ];
        for (gauge, name, help) in gauges {
            gauge.write(out, &format!("evenkeel_{name}"), help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let histogram = Histogram::default();
        for micros in [5, 50, 50, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "Help.");
        for line in [
            "x_bucket{le=\"0.000010\"} 1",
            "x_bucket{le=\"0.000100\"} 3",
            "x_bucket{le=\"10.000000\"} 3",
            "x_bucket{le=\"+Inf\"} 4",
            "x_sum 20.000105",
            "x_count 4",
        ] {
            assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
        }
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let stats = Arc::new(Stats::default());
        let held = Held::of(&stats, |stats| &stats.events);
        assert_eq!(stats.events.value(), 1);
        drop(held);
        assert_eq!(stats.events.value(), 0);
    }
}
