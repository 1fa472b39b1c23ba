//! What a fleet's streams cost a controller, through real sockets: agents that beat each second, and how soon the
//! death of what they run is known meanwhile.
//!
//! ```text
//! cargo run --release -p evenkeel-controller --example streams_bench -- --streams 2000 --members 50
//! ```
//!
//! One process fills a store, one is the controller, one is all agents; the first of all measures the controller
//! from outside, by `/proc`. Detection is the time from a death to the moment when the controller's events tell
//! of it, less what the rule allows: nothing for a process that its agent reports dead and for a stream that
//! ends, one and a half beats for a host that falls silent.

#[path = "streams_bench/agents.rs"]
mod agents;
#[path = "streams_bench/fill.rs"]
mod fill;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Debug)]
struct Args {
    streams: u32,
    members: u32,
    seconds: u64,
    /// Hosts of one cell.
    cell: u32,
    /// Deaths of each sort; 0: one of each hundred hosts, and at least fifty.
    deaths: u32,
    dir: PathBuf,
}

fn args() -> Args {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let of = |name: &str| given.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    let number = |name: &str, or: u32| of(name).map_or(or, |text| text.parse().expect("a number"));
    let dir = of("--dir").map_or_else(|| std::env::temp_dir().join("streams-bench"), PathBuf::from);
    Args {
        streams: number("--streams", 2_000),
        members: number("--members", 50),
        seconds: u64::from(number("--seconds", 20)),
        cell: number("--cell", 200),
        deaths: number("--deaths", 0),
        dir,
    }
}

fn main() {
    let args = args();
    match std::env::args().nth(1).as_deref() {
        Some("fill") => fill::fill(&args),
        Some("serve") => serve(&args),
        Some("agents") => agents::run(&args),
        _ => measure(&args),
    }
}

/// This program again, as something else, with the same arguments.
fn child(what: &str, args: &Args) -> Child {
    let number = |n: u32| n.to_string();
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args([what, "--streams", &number(args.streams), "--members", &number(args.members)]);
    command.args(["--cell", &number(args.cell), "--deaths", &number(args.deaths)]);
    command.args(["--seconds", &args.seconds.to_string()]).arg("--dir").arg(&args.dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts")
}

/// A controller until its input ends.
fn serve(args: &Args) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let mut options = evenkeel_controller::Options::new(args.dir.clone());
        options.cell_hosts_max = args.cell;
        let running = evenkeel_controller::start(options).await.expect("it starts");
        println!("{} {}", running.address, running.token);
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        let _ = ended.await;
        running.stop().await;
    });
}

fn measure(args: &Args) {
    if args.dir.exists() {
        std::fs::remove_dir_all(&args.dir).expect("an old one is removed");
    }
    std::fs::create_dir_all(&args.dir).expect("a directory");
    let began = Instant::now();
    assert!(child("fill", args).wait().expect("it ends").success());
    let filled = began.elapsed();
    let began = Instant::now();
    let mut controller = child("serve", args);
    let pid = controller.id();
    let mut told = BufReader::new(controller.stdout.take().expect("its words"));
    let mut at = String::new();
    told.read_line(&mut at).expect("an address");
    let started = began.elapsed();
    std::fs::write(args.dir.join("at"), at.trim()).expect("written");
    let began = Instant::now();
    let mut agents = child("agents", args);
    let mut to_agents = agents.stdin.take().expect("its input");
    let mut of_agents = BufReader::new(agents.stdout.take().expect("its words")).lines();
    let mut line = || of_agents.next().expect("agents go on").expect("text");
    assert_eq!(line(), "ready");
    let dialled = began.elapsed();
    // What is left of the start is over: the first reports are taken in.
    std::thread::sleep(Duration::from_secs(5));
    let before = (cpu_ticks(pid), Instant::now());
    std::thread::sleep(Duration::from_secs(args.seconds));
    let quiet = share(pid, before);
    let (quiet_kib, quiet_peak_kib) = resident_kib(pid);
    let before = (cpu_ticks(pid), Instant::now());
    writeln!(to_agents, "die").expect("agents listen");
    let detection: serde_json::Value = serde_json::from_str(&line()).expect("figures");
    let dying = share(pid, before);
    println!(
        "{}",
        serde_json::to_string_pretty(&serde_json::json!({
            "streams": args.streams,
            "services": u64::from(args.streams) * u64::from(args.members),
            "cells": args.streams.div_ceil(args.cell),
            "fill_seconds": filled.as_secs_f64(),
            "controller_start_seconds": started.as_secs_f64(),
            "dial_seconds": dialled.as_secs_f64(),
            "beats_per_second": args.streams,
            "beat_cpu_share_of_one_core": quiet,
            "resident_mib": quiet_kib / 1024,
            "resident_peak_mib": quiet_peak_kib / 1024,
            "cpu_share_while_members_die": dying,
            "detection_ms_over_rule": detection,
        }))
        .expect("JSON")
    );
    drop(to_agents);
    let _ = agents.kill();
    let _ = agents.wait();
    drop(controller.stdin.take());
    let _ = controller.wait();
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    let stat = stat.expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks")
}

fn share(pid: u32, (ticks, since): (u64, Instant)) -> f64 {
    let used = u32::try_from(cpu_ticks(pid) - ticks).expect("a short time");
    (f64::from(used) / 100.0 / since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

/// Now, and at most.
fn resident_kib(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let status = status.expect("it runs");
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split_whitespace().nth(1).expect("a figure").parse().expect("KiB")
    };
    (of("VmRSS:"), of("VmHWM:"))
}
