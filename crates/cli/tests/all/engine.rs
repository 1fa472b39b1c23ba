//! `bench engine`, small: every figure is there, nothing is missed, and nobody is told.

use std::process::{Command, Output};

use serde_json::Value;

use crate::fleet::{BINARY, new_data};

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["bench", "engine"]).args(arguments);
    command.env("EVENKEEL_DATA", new_data("none")).output().expect("the binary runs")
}

#[test]
fn a_small_fleet_gives_every_figure_and_wakes_nobody() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = top.path().to_str().expect("a name");
    // Without a start: the longest tail that a store may have takes a debug build minutes.
    let out = bench(&[
        "--services",
        "600",
        "--hosts",
        "24",
        "--for",
        "1s",
        "--only",
        "memory,transitions,streams",
        "--dir",
        dir,
        "--json",
    ]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((&figures["services"], &figures["hosts"]), (&600.into(), &24.into()));
    for name in [
        "rss_bytes",
        "rss_bytes_with_streams",
        "beats_per_second",
        "durable_transitions_per_second",
        "cold_start_seconds",
    ] {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {figures}");
    }
    // How fast it is here is no test's to say; that all of it is known is.
    for name in ["detection_p99_ms_over_rule", "beat_cpu_share_of_one_core"] {
        assert!(figures[name].is_number(), "{name}: {figures}");
    }
    assert_eq!(figures["alerts_by_the_start"], 0, "{said}");
    assert_eq!(figures["streams"]["detection_ms_over_rule"]["missed"], 0, "{figures}");
    let transitions = &figures["transitions"];
    assert!(transitions["sends_released"].as_u64() > Some(0), "{transitions}");
    let left = std::fs::read_dir(top.path()).expect("readable").count();
    assert_eq!(left, 0, "its files are removed");
}

#[test]
fn a_fleet_that_cannot_be_is_refused_with_what_can() {
    let out = bench(&["--services", "50000", "--hosts", "9"]);
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("--hosts 10 or more"), "{said}");
}
