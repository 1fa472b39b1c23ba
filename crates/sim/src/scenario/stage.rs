//! A scenario on stage: each step done to the world, or awaited, and written down.

use std::fmt::Write;

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::digest::Digest;
use evenkeel_core::order::{Keys, Order};
use evenkeel_core::remedy::Remedies;
use evenkeel_core::service::State;
use evenkeel_core::time::{Span, Time};

use super::Run;
use super::script::{Archived, End, Expect, Point, Says, Script, Silence, Step};
use crate::kinds;
use crate::model::SEGMENT_ROWS;
use crate::mutation::Mutation;
use crate::report::{Assertion, Report};
use crate::world::{BEGIN, Fault, Line, Options, Process, Weather, World};

/// A fleet that was just started has dialled in and settled after this.
const SETTLED: Span = Span::secs(2);

/// Between looks whether everything is archived.
const GAP_STEP: Span = Span::secs(1);

/// A world, what it is put through, and what is written down.
pub struct Stage<'a> {
    script: &'a Script,
    seed: u64,
    world: World,
    transcript: String,
    assertions: Vec<Assertion>,
}

impl<'a> Stage<'a> {
    /// The fleet, settled.
    pub fn new(
        script: &'a Script,
        seed: u64,
        mutation: Option<Mutation>,
        remedies: Arc<Remedies>,
    ) -> Self {
        let mut world = World::new(Options {
            seed,
            hosts: script.hosts,
            weather: Weather::Steady,
            policy: script.policy.clone(),
            remedies,
            write_every: script.write_every.0,
            chronicle: true,
            repositories: script.repositories,
            disk_bytes: script.disk_mib << 20,
            segment_rows: SEGMENT_ROWS,
            mutation,
            chain: script.chain(),
            acks_after: script.acks_after.map(|after| after.0),
        });
        world.run(BEGIN + SETTLED);
        world.told.clear();
        Self { script, seed, world, transcript: String::new(), assertions: Vec::new() }
    }

    /// Everything from the first step to the last word; the transcript, and what was not so.
    pub fn play(mut self) -> Run {
        let script = self.script;
        let played = script.steps.iter().try_for_each(|step| self.step(step));
        let ended = played.and_then(|()| {
            self.close();
            script.end.iter().try_for_each(|(name, end)| {
                let held = self.hold(name, end);
                self.assertions.push(Assertion { text: end.of(name), held: held.is_ok() });
                held
            })
        });
        if let Err(what) = &ended {
            self.line(self.world.now, "FAILED", what);
        }
        let report = self.report();
        Run { transcript: self.transcript, held: ended, report }
    }

    fn line(&mut self, at: Time, mark: &str, text: &str) {
        let ms = at.since(BEGIN + SETTLED).0;
        let _ = writeln!(self.transcript, "{:>6}.{:03}  {mark} {text}", ms / 1000, ms % 1000);
    }

    /// Writes down what was told since the last time.
    fn catch_up(&mut self) {
        for (at, line) in std::mem::take(&mut self.world.told) {
            match line {
                Line::World(text) => self.line(at, " ", &text),
                Line::Answer(text) => self.line(at, "<", &text),
                Line::Journal(entry) => {
                    self.line(at, "*", &format!("{}: {}", entry.subject, entry.text));
                    for evidence in entry.evidence {
                        let _ = writeln!(self.transcript, "{:>14} {evidence}", "-");
                    }
                }
            }
        }
    }

    /// One step; what must never happen and did is told before what it kept from happening.
    fn step(&mut self, step: &Step) -> Result<(), String> {
        let stepped = self.do_step(step);
        if step.is_expected() {
            self.assertions.push(Assertion { text: step.to_string(), held: stepped.is_ok() });
        }
        self.catch_up();
        self.world.check_ledger();
        self.world.broken.take().map_or(stepped, Err)
    }

    fn do_step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Wait(lasting) => self.world.run(self.world.now + lasting.0),
            Step::Expect(expect) => {
                self.until(step, expect.within.0, |world| is_so(world, expect))?;
            }
            Step::ExpectHost(expect) => self.until(step, expect.within.0, |world| {
                world.hosts().iter().any(|h| h.name == expect.host && h.state == expect.state)
            })?,
            Step::Journal(says) => {
                self.until(step, says.within.0, |world| mentions(world, says))?;
            }
            Step::Incident(of) => self.until(step, of.within.0, |world| {
                world.incidents(true).iter().any(|i| i.domain == of.domain && i.state == of.state)
            })?,
            Step::Posture(of) => self.until(step, of.within.0, |world| {
                world.posture().is_some_and(|posture| posture.starts_with(&of.is))
            })?,
            Step::Stays(stays) => {
                let end = self.world.now + stays.lasting.0;
                let other = |world: &World| state(world, &stays.service) != Some(stays.state);
                let changed = self.world.run_until(end, other);
                self.catch_up();
                if changed {
                    return Err(format!("{step}: it did not"));
                }
                self.line(self.world.now, "=", &step.to_string());
            }
            Step::Silence(not) => self.silence(step, not)?,
            Step::Archived(of) => self.archived(step, of)?,
            Step::Explain(name) => self.explain(name)?,
            other => {
                self.line(self.world.now, ">", &step.to_string());
                self.act(other)?;
            }
        }
        Ok(())
    }

    /// Orders, breaks or repairs something.
    fn act(&mut self, step: &Step) -> Result<(), String> {
        let world = &mut self.world;
        match step {
            Step::Create(_)
            | Step::Restart(_)
            | Step::Retire(_)
            | Step::Revive(_)
            | Step::Terminate(_)
            | Step::Backup(_)
            | Step::Prove(_)
            | Step::Archive(_) => {
                let none = || "there is no repository: write `repositories = 1`".to_owned();
                world.order(order(step, world.keys()).ok_or_else(none)?);
            }
            Step::Repository(of) => world.storage(&of.name, of.is)?,
            Step::Channel(of) => world.channel(&of.name, of.is)?,
            Step::KillServer(name)
            | Step::FreezeServer(name)
            | Step::CrashLoop(name)
            | Step::Cure(name) => {
                let none = || format!("{step}: no agent knows a server of {name}");
                let (n, member) = world.server_of(name).ok_or_else(none)?;
                match step {
                    Step::KillServer(_) => world.kill_server(n, member),
                    Step::FreezeServer(_) => world.freeze_server(n, member),
                    Step::CrashLoop(_) => world.doom_server(n, member),
                    _ => world.come_back(Process::Server(n, member)),
                }
            }
            Step::KillAgent(host)
            | Step::PauseAgent(host)
            | Step::StartAgent(host)
            | Step::CutStream(host)
            | Step::PowerOff(host)
            | Step::PowerOn(host)
            | Step::CutOff(host)
            | Step::Reach(host) => {
                let none = || format!("{step}: there is no such host");
                let n = world.host_of(host).ok_or_else(none)?;
                match step {
                    Step::KillAgent(_) => world.kill_agent(n),
                    Step::PauseAgent(_) => world.pause_agent(n),
                    Step::StartAgent(_) => world.come_back(Process::Agent(n)),
                    Step::CutStream(_) => world.cut_stream(n),
                    Step::PowerOff(_) => world.power_off(n),
                    Step::CutOff(_) => world.cut_off(n),
                    Step::Reach(_) => world.reach(n),
                    _ => world.come_back(Process::Host(n)),
                }
            }
            Step::KillController(Point::Now) => world.kill_controller(),
            Step::KillController(Point::BeforeRecord) => {
                world.kill_controller_in_turn(Fault::KillBeforeRecord);
            }
            Step::KillController(Point::AfterRecord) => {
                world.kill_controller_in_turn(Fault::KillAfterRecord);
            }
            Step::KillGateway => world.kill_gateway(),
            Step::StartGateway => world.come_back(Process::Gateway),
            Step::Wait(_)
            | Step::Expect(_)
            | Step::Stays(_)
            | Step::ExpectHost(_)
            | Step::Incident(_)
            | Step::Posture(_)
            | Step::Journal(_)
            | Step::Silence(_)
            | Step::Archived(_)
            | Step::Explain(_) => {}
        }
        Ok(())
    }

    /// Lets time pass until something is so.
    fn until(
        &mut self,
        step: &Step,
        within: Span,
        so: impl Fn(&World) -> bool,
    ) -> Result<(), String> {
        let began = self.world.now;
        let reached = self.world.run_until(began + within, so);
        self.catch_up();
        if !reached {
            return Err(format!("{step}: not within {within}"));
        }
        let took = self.world.now.since(began);
        let after = if took == Span(0) { String::new() } else { format!(", after {took}") };
        self.line(self.world.now, "=", &format!("{step}{after}"));
        Ok(())
    }

    /// Nothing of a kind is recorded for a while.
    fn silence(&mut self, step: &Step, not: &Silence) -> Result<(), String> {
        let said = |world: &World| {
            world.recorded(&not.about).filter(|text| text.contains(&not.says)).count()
        };
        let before = said(&self.world);
        self.world.run(self.world.now + not.lasting.0);
        self.catch_up();
        if said(&self.world) > before {
            return Err(format!("{step}: it did"));
        }
        self.line(self.world.now, "=", &step.to_string());
        Ok(())
    }

    /// Everything that was acknowledged up to now can be had back from an archive, soon.
    fn archived(&mut self, step: &Step, of: &Archived) -> Result<(), String> {
        let (until, end) = (self.world.now, self.world.now + of.within.0);
        let gap = |world: &World| {
            let all = world.services();
            let service = all.iter().find(|service| service.name == of.service);
            service
                .map_or_else(|| Some("nobody knows it".to_owned()), |s| world.archive_gap(s, until))
        };
        while let Some(gap) = gap(&self.world) {
            if self.world.now >= end {
                self.catch_up();
                return Err(format!("{step}: {gap}"));
            }
            self.world.run(self.world.now + GAP_STEP);
        }
        self.catch_up();
        self.line(self.world.now, "=", &format!("{step}, after {}", self.world.now.since(until)));
        Ok(())
    }

    /// Writes down why a service is as it is, as `evenkeel explain` would.
    fn explain(&mut self, name: &str) -> Result<(), String> {
        let explained = self.world.explain(name);
        let explained = explained.ok_or_else(|| format!("nobody can explain {name}"))?;
        self.line(self.world.now, "?", &format!("why is {name} {}?", explained.service.state));
        let seen = explained.observations.iter().map(|seen| {
            format!("{} of {}: {}, {} ago", seen.by, seen.subject, seen.text, seen.ago_ms)
        });
        let findings = explained.service.findings.iter();
        let findings = findings.map(|f| format!("{} ({}): {}", f.check, f.severity, f.evidence));
        let posture = format!("posture: {}", explained.posture);
        let decision = format!("decision: {}", explained.decision_text);
        for text in seen.chain(findings).chain([posture, decision]) {
            let _ = writeln!(self.transcript, "{:>14} {text}", "-");
        }
        Ok(())
    }

    /// What it came to, in figures.
    fn report(&self) -> Report {
        let world = &self.world;
        let saved = world.toil().map(|page| page.saved).unwrap_or_default();
        let mut report = Report {
            scenario: self.script.name.clone(),
            seed: self.seed,
            services: world.services().len() as u64,
            sim_seconds: world.now.since(BEGIN).0 / 1000,
            turns: world.counts.turns,
            transitions: world.counts.transitions,
            invariants: world.counts.invariants.clone(),
            edges: world.counts.edges.clone(),
            assertions: self.assertions.clone(),
            pages: self.told(),
            incidents: world.incidents(true).len() as u64,
            recovered: saved.iter().map(|row| row.times).sum(),
            lost_acknowledged_writes: world.lost_rows(),
            unavailable_service_seconds: Duration::from_millis(world.unavailable().0).as_secs_f64(),
            recoveries_per_second_peak: world.counts.peak(),
            toil_minutes_saved: saved.iter().map(|row| row.minutes).sum(),
            report_digest: world.trace,
        };
        report.report_digest = Digest::of_json(&report);
        report
    }

    /// Writes down how everything ended.
    fn close(&mut self) {
        self.line(self.world.now, "=", "the end");
        for service in self.world.services() {
            let name = &service.name;
            let hosts: Vec<&str> = service.members.iter().map(|m| m.host.as_str()).collect();
            let text = format!(
                "{name} is {} on {}; starts: {}, pages: {}, longest outage: {}",
                service.state,
                hosts.join(", "),
                self.starts(name),
                self.pages(name),
                self.world.longest_outage(name),
            );
            let _ = writeln!(self.transcript, "{:>14} {text}", "-");
        }
        let hosts = self.world.hosts();
        let hosts: Vec<String> = hosts.iter().map(|h| format!("{} {}", h.name, h.state)).collect();
        let _ = writeln!(self.transcript, "{:>14} hosts: {}", "-", hosts.join(", "));
        if !self.script.channels.is_empty() {
            let (all, pages) = (self.world.incidents(true), self.world.pages());
            let of = all.iter().rev().map(|i| format!("{} {} {}", i.id, i.domain, i.state));
            let of = of.collect::<Vec<_>>().join(", ");
            let _ = writeln!(self.transcript, "{:>14} incidents: {of}; people told: {pages}", "-");
        }
        let writes = self.world.writes;
        let _ = writeln!(self.transcript, "{:>14} {writes} acknowledged writes, none lost", "-");
    }

    fn starts(&self, name: &str) -> u64 {
        self.world.server_of(name).map_or(0, |(n, member)| self.world.starts_of(n, member))
    }

    /// How often a person was told: without channels, how often one would have been.
    fn told(&self) -> u64 {
        let services = self.world.services();
        match self.script.channels.is_empty() {
            true => services.iter().map(|service| self.pages(&service.name) as u64).sum(),
            false => self.world.pages(),
        }
    }

    fn pages(&self, name: &str) -> usize {
        self.world.recorded(name).filter(|text| text.starts_with("page: ")).count()
    }

    /// Whether a service ended as it must.
    fn hold(&mut self, name: &str, end: &End) -> Result<(), String> {
        let found = state(&self.world, name);
        if found != Some(end.state) {
            let found = found.map_or_else(|| "not there".to_owned(), |state| state.to_string());
            return Err(format!("at the end {name} is {found}, not {}", end.state));
        }
        let starts = self.starts(name);
        if let Some(wanted) = end.starts.filter(|wanted| *wanted != starts) {
            return Err(format!("the server of {name} was started {starts} times, not {wanted}"));
        }
        let pages = self.pages(name);
        if let Some(wanted) = end.pages.filter(|wanted| *wanted != pages) {
            return Err(format!("people were told of {name} {pages} times, not {wanted}"));
        }
        let full = self.world.fullest_percent();
        if let Some(most) = end.disk_max_percent.filter(|most| full > *most) {
            return Err(format!("a disk was {full} % full, and {most} % is the most it may be"));
        }
        let outage = self.world.longest_outage(name);
        match end.outage_max {
            Some(max) if outage > max.0 => {
                Err(format!("clients of {name} waited {outage}, more than {}", max.0))
            }
            _ => Ok(()),
        }
    }
}

/// The order that a step is; `None`: it is none, or needs an archive where there are none.
fn order(step: &Step, keys: Option<Keys>) -> Option<Order> {
    Some(match step {
        Step::Create(new) => {
            let ((name, plan), secret) = (new.parts(), vec![7; 80]);
            let (kind, plan) = kinds::ordered(plan.as_deref());
            Order::Create { name, kind, plan, secret, keys }
        }
        Step::Restart(name) => Order::Restart { name: name.clone() },
        Step::Retire(name) => Order::Retire { name: name.clone() },
        Step::Revive(name) => Order::Revive { name: name.clone(), keys },
        Step::Terminate(name) => Order::Terminate { name: name.clone(), confirm: name.clone() },
        Step::Backup(name) => Order::Backup { name: name.clone(), keys: keys? },
        Step::Prove(name) => Order::Prove { name: name.clone() },
        Step::Archive(name) => Order::Archive { name: name.clone() },
        _ => return None,
    })
}

/// The state of a service as people see it; what was terminated is not seen any more.
fn state(world: &World, name: &str) -> Option<State> {
    let found = world.services().into_iter().find(|service| service.name == name);
    match found {
        Some(service) => Some(service.state),
        None => (world.has_controller() && world.was_terminated(name)).then_some(State::Terminated),
    }
}

fn is_so(world: &World, expect: &Expect) -> bool {
    if expect.operation.is_none() && expect.finding.is_none() {
        return expect.state.is_none() || state(world, &expect.service) == expect.state;
    }
    let services = world.services();
    let Some(service) = services.iter().find(|service| service.name == expect.service) else {
        return false;
    };
    let runs = service.operation.as_ref().map_or("none", |operation| operation.name.as_str());
    let finding = |wanted: &String| service.findings.iter().any(|found| found.check == *wanted);
    expect.state.is_none_or(|state| state == service.state)
        && expect.operation.as_deref().is_none_or(|wanted| wanted == runs)
        && expect.finding.as_ref().is_none_or(finding)
}

fn mentions(world: &World, says: &Says) -> bool {
    world.recorded(&says.about).any(|text| text.contains(&says.says))
}
