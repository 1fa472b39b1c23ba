//! A soak: random faults on services with standbys, one after another, with a ledger over all of it.
//!
//! After each fault everything must be whole again without a person: that is waited for and timed. At
//! the end every row that was acknowledged must be there, and no server may have acknowledged a row
//! after another had taken its place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use evenkeel_drivers::process;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{on_stage, spread, usage};
use crate::canary::{Canary, Row};
use crate::failure::{Failure, Kind};
use crate::print;
use crate::stage::{HOSTS, Stage, signal};

/// The services, and their plans.
const SERVICES: [(&str, &str); 2] = [("pay", "ha"), ("book", "ha3")];
/// Numbers of rows that each member's own canary uses, apart from each other.
const APART: u64 = 1 << 40;
/// Simulated runs of each fault.
const PREDICTIONS: u64 = 20;
/// What was done is noticed within this.
const NOTICED: Duration = Duration::from_secs(2);
/// After so long without being whole a service counts as stuck.
const STUCK: Duration = Duration::from_secs(180);

/// What is done to a service or to what keeps it.
const FAULTS: [&str; 12] = [
    "kill-node",
    "kill-standby-node",
    "freeze-node",
    "freeze-standby-node",
    "kill-postmaster",
    "freeze-postmaster",
    "kill-backend",
    "kill-agent",
    "kill-gateway",
    "kill-controller",
    "switchover",
    "failover",
];

/// Runs it and prints what came of it.
pub fn run(faults: usize, lasts: Duration, seed: u64) -> Result<(), Failure> {
    print::note(&format!("seed {seed}"));
    on_stage("bench-soak", &["--respawn-after", "1s"], |stage| {
        let mut soak =
            Soak { stage, draw: seed.max(1), counts: BTreeMap::new(), under: String::new() };
        let figures = soak.run(faults, lasts)?;
        match figures["lost"] == 0 && figures["split"] == 0 {
            true => Ok(figures),
            false => {
                Err(Failure::new(Kind::Failed, format!("rows are lost, or two wrote: {figures}")))
            }
        }
    })
}

struct Soak<'a> {
    stage: &'a mut Stage,
    draw: u64,
    /// How often each was done.
    counts: BTreeMap<String, usize>,
    /// The faults that are being healed, in words.
    under: String,
}

/// One service under observation.
struct Watched {
    name: &'static str,
    /// Writes through the gateway.
    canary: Canary,
    /// Writes to each member itself, as long as that takes writes.
    members: Vec<Canary>,
}

impl Soak<'_> {
    /// A number below `n`, by the seed.
    fn below(&mut self, n: usize) -> usize {
        // xorshift64 (Marsaglia 2003).
        self.draw ^= self.draw << 13;
        self.draw ^= self.draw >> 7;
        self.draw ^= self.draw << 17;
        usize::try_from(self.draw % u64::try_from(n.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn run(&mut self, faults: usize, lasts: Duration) -> Result<Value, Failure> {
        let began = Instant::now();
        self.stage.start()?;
        let mut watched = Vec::new();
        for (name, plan) in SERVICES {
            self.stage.verb(&["create", "postgres", name, "--plan", plan])?;
            self.whole(name)?;
            watched.push(self.watch(name)?);
        }
        let (mut outages, mut healed, mut done) = (Vec::new(), Vec::new(), 0);
        // Of those that came alone.
        let mut single: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        while done < faults && began.elapsed() < lasts {
            let which = self.below(SERVICES.len());
            let fault = FAULTS[self.below(FAULTS.len())];
            let twice = self.below(5) == 0;
            let at = Instant::now();
            fault.clone_into(&mut self.under);
            self.fault(SERVICES[which].0, fault)?;
            if twice {
                // Another one before the first is over.
                std::thread::sleep(Duration::from_millis(
                    u64::try_from(self.below(2000)).unwrap_or(0),
                ));
                let other = FAULTS[self.below(FAULTS.len())];
                self.under = format!("{fault} and {other}");
                self.fault(SERVICES[which].0, other)?;
                done += 1;
            }
            done += 1;
            self.settled()?;
            healed.push(at.elapsed().as_secs_f64());
            let since = watched[which].canary.acked();
            let since = since.iter().map(|row| row.acked).filter(|when| *when >= at);
            let gaps: Vec<Instant> = std::iter::once(at).chain(since).collect();
            let gap = gaps.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
            outages.push(gap.as_secs_f64());
            if !twice {
                single.entry(fault).or_default().push(gap.as_secs_f64());
            }
            print::note(&format!(
                "{done}: {} on {}: outage {:.2} s, whole after {:.1} s",
                self.under,
                watched[which].name,
                gap.as_secs_f64(),
                at.elapsed().as_secs_f64()
            ));
        }
        let (mut acked, mut lost, mut split) = (0, 0, 0);
        for watched in &mut watched {
            let (rows, missing, two) = watched.end()?;
            (acked, lost, split) = (acked + rows, lost + missing, split + two);
        }
        let of_each: BTreeMap<&String, Value> = self
            .counts
            .iter()
            .map(|(fault, times)| {
                let alone = single.remove(fault.as_str()).unwrap_or_default();
                (fault, json!({ "times": times, "alone": beside_predicted(fault, alone) }))
            })
            .collect();
        Ok(json!({
            "faults": done, "of_each": of_each, "lasted_s": began.elapsed().as_secs_f64(),
            "acknowledged": acked, "lost": lost, "split": split,
            "outage_s": spread(outages), "whole_again_s": spread(healed),
        }))
    }

    fn watch(&self, name: &'static str) -> Result<Watched, Failure> {
        let url = self.stage.verb(&["url", name])?.trim().to_owned();
        let canary = Canary::start(&url, "canary", 1)?;
        // Each member's writes are in a table of the same service, made through the gateway.
        drop(Canary::start(&url, "direct", APART / 2)?);
        let show = self.stage.json(&["show", name]);
        let members = show["members"].as_array().cloned().unwrap_or_default();
        let (login, database) = (url.split_once('@'), url.rsplit_once('/'));
        let (Some((login, _)), Some((_, database))) = (login, database) else {
            return Err(Failure::new(Kind::Failed, format!("{url} is no URL")));
        };
        let direct = |(at, member): (u64, &Value)| {
            let place = format!("{}:{}", member["address"].as_str()?, member["port"].as_u64()?);
            let url = format!("{login}@{place}/{database}");
            Some(Canary::go_on(&url, "direct", at * APART))
        };
        let members = (1..).zip(&members).filter_map(direct).collect();
        Ok(Watched { name, canary, members })
    }

    /// Waits until everything is whole, and has been for longer than anything takes to be noticed.
    fn settled(&mut self) -> Result<(), Failure> {
        let mut since = Instant::now();
        while since.elapsed() < NOTICED {
            for (name, _) in SERVICES {
                if !self.is_whole(name) {
                    self.whole(name)?;
                    since = Instant::now();
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn is_whole(&self, name: &str) -> bool {
        let show = self.stage.json(&["show", name]);
        let members = show["members"].as_array().cloned().unwrap_or_default();
        let counted = members.iter().all(|m| m["role"] == "primary" || m["sync"] == true);
        let safe = show["failover"]["safe_now"] == true && show["operation"].is_null();
        show["state"] == "available" && counted && safe
    }

    fn whole(&mut self, name: &str) -> Result<(), Failure> {
        let began = Instant::now();
        while !self.is_whole(name) {
            if began.elapsed() > STUCK {
                let explained = self.stage.verb(&["explain", name]).unwrap_or_default();
                let text = format!("{name} is stuck after {}:\n{explained}", self.under);
                return Err(Failure::new(Kind::Failed, text));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// A member's agent, and its server with all its children.
    fn node(&self, name: &str, role: &str) -> Option<(Vec<u32>, Vec<u32>)> {
        let show = self.stage.json(&["show", name]);
        let members = show["members"].as_array()?.clone();
        let member = members.into_iter().find(|member| member["role"] == role)?;
        let server = u32::try_from(member["pid"].as_u64()?).ok()?;
        let agent =
            self.stage.process(&format!("hosts/{}/pid.json", member["host"].as_str()?)).ok()?;
        Some((vec![agent], usage::family(server)))
    }

    fn fault(&mut self, name: &str, fault: &str) -> Result<(), Failure> {
        *self.counts.entry(fault.to_owned()).or_default() += 1;
        let role = if fault.contains("standby") { "standby" } else { "primary" };
        let (agent, server) = self.node(name, role).unwrap_or_default();
        let node: Vec<u32> = agent.iter().chain(&server).copied().collect();
        match fault {
            "kill-node" | "kill-standby-node" => send_all(&node, Signal::KILL),
            "freeze-node" | "freeze-standby-node" => self.freeze(&node),
            "freeze-postmaster" => self.freeze(&server[..server.len().min(1)]),
            "kill-postmaster" => send_all(&server[..server.len().min(1)], Signal::KILL),
            "kill-backend" => {
                let at = self.below(server.len().saturating_sub(1)) + 1;
                send_all(server.get(at..=at).unwrap_or_default(), Signal::KILL);
            }
            "kill-agent" => send_all(&agent, Signal::KILL),
            "kill-gateway" => {
                send_all(&[self.stage.process("gateways/h1/pid.json")?], Signal::KILL);
            }
            "kill-controller" => {
                signal(self.stage.process("up.json")?, Signal::KILL)?;
                self.stage.up_again()?;
            }
            order => {
                // Refused while a fault before it is not over: that is no fault then.
                let reason: &[&str] =
                    if order == "failover" { &["--reason", "a soak"] } else { &[] };
                let _ = self.stage.verb(&[&[order, name], reason].concat());
            }
        }
        Ok(())
    }

    /// Stops processes for some seconds.
    fn freeze(&mut self, pids: &[u32]) {
        send_all(pids, Signal::STOP);
        std::thread::sleep(Duration::from_millis(
            500 + u64::try_from(self.below(7500)).unwrap_or(0),
        ));
        send_all(pids, Signal::CONT);
    }
}

impl Watched {
    /// Rows acknowledged, how many of them are missing, and how often two servers wrote at once.
    fn end(&mut self) -> Result<(usize, usize, usize), Failure> {
        let acked = self.canary.end()?;
        let found = self.canary.found()?;
        let mut lost = acked.iter().filter(|row| !found.contains(&row.number)).count();
        let mut all = Vec::new();
        for canary in &mut self.members {
            all.extend(canary.end()?);
        }
        let gateway = Canary::go_on(self.canary.url(), "direct", 0);
        let found = gateway.found()?;
        lost += all.iter().filter(|row| !found.contains(&row.number)).count();
        all.extend(&acked);
        let count = all.len();
        Ok((count, lost, splits(all)))
    }
}

/// Rows that an older primary acknowledged though they were sent after a newer one had acknowledged its
/// first: a timeline's number is the term of its promotion.
fn splits(mut rows: Vec<Row>) -> usize {
    rows.sort_by_key(|row| row.sent);
    let mut firsts: BTreeMap<u32, Instant> = BTreeMap::new();
    for row in &rows {
        let first = firsts.entry(row.timeline).or_insert(row.acked);
        *first = row.acked.min(*first);
    }
    let late = |row: &&Row| firsts.range(row.timeline + 1..).any(|(_, first)| *first < row.sent);
    rows.iter().filter(late).count()
}

/// Measured outages in seconds, and beside them those that the simulator has for a fault of that name.
fn beside_predicted(fault: &str, measured: Vec<f64>) -> Value {
    let predicted = evenkeel_sim::outages(fault, PREDICTIONS);
    let seconds = predicted.iter().map(|span| Duration::from_millis(span.0).as_secs_f64());
    json!({ "measured_s": spread(measured), "predicted_s": spread(seconds.collect()) })
}

/// Sends a signal to those who are still there.
fn send_all(pids: &[u32], which: Signal) {
    for pid in pids {
        if let Ok(descriptor) = process::pidfd(*pid) {
            let _ = process::signal(&descriptor, which);
        }
    }
}

/// A zone is lost: every process of one host of three, with so many services on all of them.
pub fn zone(services: usize) -> Result<(), Failure> {
    let flags = ["--respawn-after", "never", "--pool", "0"];
    on_stage("bench-zone", &flags, |stage| lose_zone(stage, services))
}

fn lose_zone(stage: &mut Stage, services: usize) -> Result<Value, Failure> {
    stage.start()?;
    let names: Vec<String> = (0..services).map(|n| format!("ha-{n}")).collect();
    for name in &names {
        stage.verb(&["create", "postgres", name, "--plan", "ha"])?;
    }
    let safe =
        |service: &Value| service["failover"]["safe_now"] == true && service["operation"].is_null();
    stage.until("service that can fail over", |stage| {
        stage.json(&["list"]).as_array().is_some_and(|all| all.iter().all(safe))
    })?;
    let mut canaries = Vec::new();
    for name in &names {
        let url = stage.verb(&["url", name])?.trim().to_owned();
        canaries.push(Canary::start(&url, "canary", 1)?);
    }
    std::thread::sleep(Duration::from_secs(3));
    // The gateway and its own host are not what is lost: h1 has the gateway.
    let host = HOSTS[1];
    let listed = stage.json(&["list"]);
    let members = listed
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|service| service["members"].as_array().cloned().unwrap_or_default());
    let here: Vec<Value> = members.filter(|member| member["host"] == host).collect();
    let primaries = here.iter().filter(|member| member["role"] == "primary").count();
    let servers = here.iter().filter_map(|member| u32::try_from(member["pid"].as_u64()?).ok());
    let mut pids: Vec<u32> = servers.flat_map(usage::family).collect();
    pids.push(stage.process(&format!("hosts/{host}/pid.json"))?);
    let at = Instant::now();
    send_all(&pids, Signal::KILL);
    stage.until("write of every service", |_| {
        canaries.iter().all(|canary| canary.acked().last().is_some_and(|row| row.acked > at))
    })?;
    // One that was written to before its primary was found out is none of those that were lost.
    let settled = Instant::now();
    stage.until("another write of every service", |_| {
        settled.elapsed() > Duration::from_secs(10)
            && canaries
                .iter()
                .all(|canary| canary.acked().last().is_some_and(|row| row.acked > settled))
    })?;
    let (mut outages, mut lost, mut acked) = (Vec::new(), 0, 0);
    for canary in &mut canaries {
        let rows = canary.end()?;
        let found = canary.found()?;
        lost += rows.iter().filter(|row| !found.contains(&row.number)).count();
        acked += rows.len();
        let after = rows.iter().map(|row| row.acked).filter(|when| *when > at);
        let times: Vec<Instant> = std::iter::once(at).chain(after).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        outages.push(gap.as_secs_f64());
    }
    Ok(json!({
        "services": services, "members_lost": here.len(), "primaries_lost": primaries,
        "outage_s": spread(outages), "acknowledged": acked, "lost": lost,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_after_a_newer_primary_answered_is_a_split() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let row =
            |timeline, sent, acked| Row { number: 0, sent: at(sent), acked: at(acked), timeline };
        let good = [row(1, 0, 5), row(1, 6, 40), row(2, 20, 30), row(2, 31, 33)];
        assert_eq!(splits(good.to_vec()), 0, "an answer may be on its way");
        assert_eq!(splits([&good[..], &[row(1, 31, 35)]].concat()), 1);
        assert_eq!(
            splits([&good[..], &[row(3, 50, 55), row(2, 56, 57), row(1, 58, 59)]].concat()),
            2
        );
    }
}
