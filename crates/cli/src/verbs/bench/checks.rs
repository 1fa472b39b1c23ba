//! What checks cost: processor time of agents and servers, and what clients feel, with checks and without, in
//! turns.
//!
//! With and without differ by one policy that the agents hear, while they and all servers go on. The order
//! within a pair alternates. Log that servers ship is no check's doing, and left out.

use std::time::Duration;

use evenkeel_core::thresholds::Thresholds;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::print;
use crate::stage::{HOSTS, Stage};
use crate::verbs::bench::clients::{Load, Paced};
use crate::verbs::bench::usage::Row;
use crate::verbs::bench::{backed_up, on_stage, pairs, quiet_policy, spread, usage};

/// After a change of policy: agents have heard it, and what the controller's start costs is over.
const SETTLE: Duration = Duration::from_secs(20);
/// Services under load meanwhile, at most.
const LOADED: usize = 4;
/// Transactions a second on each of them: the machine is far from busy, so that latency is latency.
const A_SECOND: u32 = 10;
/// pgbench's tables of each.
const SCALE: u32 = 1;

/// Measures and prints.
pub fn run(services: usize, pairs: usize, phase: Duration) -> Result<(), Failure> {
    if services == 0 || pairs == 0 || phase < Duration::from_secs(1) {
        let text = "a service, a pair and a second are needed: --services 200 --pairs 5 --for 60s";
        return Err(Failure::new(Kind::Usage, text));
    }
    on_stage("bench-checks", &[], |stage| Bench::begin(stage, services)?.measure(pairs, phase))
}

/// What one phase showed.
struct Phase {
    on: bool,
    cost: Cost,
    /// Of every transaction, in milliseconds.
    took: Vec<f64>,
}

/// Processor time, in percent of one core for a hundred services.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    agents: f64,
    /// Sessions of Evenkeel's own roles that are open all the time.
    sessions: f64,
    /// Postmasters, and all their processes that came and went.
    postmasters: f64,
    /// Everything else of the servers.
    others: f64,
}

impl Cost {
    const fn all(self) -> f64 {
        self.agents + self.sessions + self.postmasters + self.others
    }
}

struct Bench<'a> {
    stage: &'a mut Stage,
    services: usize,
    policies: [String; 2],
    loaded: Vec<String>,
}

impl<'a> Bench<'a> {
    /// Services, each backed up for the first time, some of them with tables for pgbench.
    fn begin(stage: &'a mut Stage, services: usize) -> Result<Self, Failure> {
        let rest = quiet_policy();
        let mut without = rest.clone();
        for pace in ["often_seconds", "rarely_seconds"] {
            without["checks"][pace] = json!(0);
        }
        let policies = [stage.policy("without", &without)?, stage.policy("with", &rest)?];
        stage.start_again(&flags(&policies[1]))?;
        let image = stage.image()?;
        let mut loaded = Vec::new();
        for n in 0..services {
            let name = format!("db-{n}");
            stage.verb(&["create", "postgres", &name])?;
            if n < LOADED {
                let url = stage.verb(&["url", &name])?.trim().to_owned();
                Load::prepare(&image, &url, SCALE)?;
                loaded.push(url);
            }
        }
        backed_up(stage, services)?;
        Ok(Self { stage, services, policies, loaded })
    }

    fn measure(&mut self, pairs: usize, lasts: Duration) -> Result<Value, Failure> {
        let mut phases = Vec::new();
        for pair in 0..pairs {
            // With, without, without, with: who is first alternates.
            for on in if pair % 2 == 0 { [true, false] } else { [false, true] } {
                let phase = self.phase(on, lasts)?;
                let (all, p99) = (phase.cost.all(), pairs::in_short(&phase.took)["p99"].clone());
                let which = if on { "with" } else { "without" };
                print::note(&format!(
                    "pair {} {which} checks: {all:.2} % of a core for 100 services, p99 {p99} ms",
                    pair + 1,
                ));
                phases.push(phase);
            }
        }
        let limits = Thresholds::default();
        let every = json!({ "often_s": limits.often_seconds, "rarely_s": limits.rarely_seconds });
        Ok(json!({
            "services": self.services, "hosts": HOSTS.len(), "phase_s": lasts.as_secs(),
            "rounds_every": every, "cpu_percent_for_100": costs(&phases),
            "transactions_ms": felt(&phases), "loaded": self.loaded.len(), "a_second_each": A_SECOND,
        }))
    }

    fn phase(&mut self, on: bool, lasts: Duration) -> Result<Phase, Failure> {
        let policy = self.policies[usize::from(on)].clone();
        self.stage.controller_again(&flags(&policy))?;
        std::thread::sleep(SETTLE);
        let agents = self.stage.agents()?;
        let servers = self.stage.servers();
        if servers.len() != self.services {
            let text = format!("{} of {} servers run", servers.len(), self.services);
            return Err(Failure::new(Kind::Failed, text));
        }
        let servers = counted(servers, self.loaded.len());
        let image = self.stage.image()?;
        let dir = self.stage.data().to_owned();
        let start = |url: &String| Paced::start(&image, &dir, url, A_SECOND, lasts);
        let clients = self.loaded.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let before = cost(&usage::table(), &agents, &servers);
        std::thread::sleep(lasts);
        let after = cost(&usage::table(), &agents, &servers);
        let mut took = Vec::new();
        for client in clients {
            took.extend(client.end()?);
        }
        let part = |used: fn(&Cost) -> f64, of: usize| {
            let of = f64::from(u32::try_from(of).unwrap_or(u32::MAX));
            (used(&after) - used(&before)) / lasts.as_secs_f64() * 100.0 / of * 100.0
        };
        let cost = Cost {
            agents: part(|c| c.agents, self.services),
            sessions: part(|c| c.sessions, servers.len()),
            postmasters: part(|c| c.postmasters, servers.len()),
            others: part(|c| c.others, servers.len()),
        };
        Ok(Phase { on, cost, took })
    }
}

/// How the fleet is started.
const fn flags(policy: &str) -> [&str; 6] {
    ["--respawn-after", "never", "--pool", "0", "--policy", policy]
}

/// The servers whose cost is counted: not those under load, which is no check's cost either; if there are no
/// others, all.
fn counted(servers: Vec<(String, u32)>, loaded: usize) -> Vec<u32> {
    let is_loaded = |name: &str| (0..loaded).any(|n| name == format!("db-{n}"));
    let quiet = servers.iter().filter(|(name, _)| !is_loaded(name)).map(|(_, pid)| *pid);
    let quiet: Vec<u32> = quiet.collect();
    if quiet.is_empty() { servers.into_iter().map(|(_, pid)| pid).collect() } else { quiet }
}

/// What agents and servers have used so far, in seconds, by who.
fn cost(table: &[Row], agents: &[u32], servers: &[u32]) -> Cost {
    let mut cost = Cost::default();
    for row in table {
        let whose = |of: &[u32]| of.contains(&row.pid) || of.contains(&row.parent);
        let title = row.title.as_str();
        let used = match () {
            () if whose(agents) => &mut cost.agents,
            () if servers.contains(&row.pid) => &mut cost.postmasters,
            () if !whose(servers) || title.starts_with("postgres: archiver") => continue,
            () if title.starts_with("postgres: evenkeel") => &mut cost.sessions,
            () => &mut cost.others,
        };
        *used += row.used_s;
    }
    cost
}

/// Figures with checks and without, of one sort, and what pairs differ by.
fn beside(phases: &[Phase], of: impl Fn(&Phase) -> f64) -> Value {
    let side =
        |on: bool| -> Vec<f64> { phases.iter().filter(|phase| phase.on == on).map(&of).collect() };
    let (with, without) = (side(true), side(false));
    let pairs: Vec<(f64, f64)> = with.iter().copied().zip(without.iter().copied()).collect();
    json!({
        "with": spread(with), "without": spread(without), "more": pairs::difference(&pairs),
    })
}

fn costs(phases: &[Phase]) -> Value {
    json!({
        "all": beside(phases, |phase| phase.cost.all()),
        "agents": beside(phases, |phase| phase.cost.agents),
        "sessions": beside(phases, |phase| phase.cost.sessions),
        "postmasters": beside(phases, |phase| phase.cost.postmasters),
        "others": beside(phases, |phase| phase.cost.others),
    })
}

fn felt(phases: &[Phase]) -> Value {
    let hundredth = |hundredths: usize| {
        move |phase: &Phase| {
            let mut took = phase.took.clone();
            took.sort_by(f64::total_cmp);
            pairs::at(&took, hundredths).unwrap_or_default()
        }
    };
    let pooled = |on: bool| {
        let all = phases.iter().filter(|phase| phase.on == on).flat_map(|phase| &phase.took);
        pairs::in_short(&all.copied().collect::<Vec<_>>())
    };
    json!({
        "pooled_with": pooled(true), "pooled_without": pooled(false),
        "median": beside(phases, hundredth(50)), "p99": beside(phases, hundredth(99)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pid: u32, parent: u32, used_s: f64, title: &str) -> Row {
        Row { pid, parent, used_s, title: title.to_owned() }
    }

    #[test]
    fn everything_of_agents_and_servers_is_counted_once_but_the_archiver() {
        let table = [
            row(1, 0, 1000.0, "init"),
            row(10, 1, 1.0, "evenkeel agent"),
            row(11, 10, 2.0, "evenkeel launch"),
            row(20, 1, 4.0, "/bin/postgres -D /data"),
            row(21, 20, 8.0, "postgres: archiver last was 1"),
            row(22, 20, 16.0, "postgres: evenkeel_probe evenkeel [local] idle"),
            row(23, 20, 32.0, "postgres: checkpointer"),
            row(30, 1, 500.0, "/bin/postgres -D /another/fleet"),
        ];
        let cost = cost(&table, &[10], &[20]);
        let expected = Cost { agents: 3.0, sessions: 16.0, postmasters: 4.0, others: 32.0 };
        assert_eq!(cost, expected);
    }

    #[test]
    fn servers_under_load_are_not_counted_while_there_are_others() {
        let servers = |count: u32| (0..count).map(|n| (format!("db-{n}"), n)).collect::<Vec<_>>();
        assert_eq!(counted(servers(6), 4), [4, 5]);
        assert_eq!(counted(servers(3), 3), [0, 1, 2]);
        assert_eq!(counted(servers(12), 1).len(), 11, "db-1 is not db-10");
    }

    #[test]
    fn the_first_with_is_beside_the_first_without_whichever_came_first() {
        let phase =
            |on, agents| Phase { on, cost: Cost { agents, ..Cost::default() }, took: vec![] };
        let phases = [phase(true, 3.0), phase(false, 1.0), phase(false, 2.0), phase(true, 4.0)];
        let told = beside(&phases, |phase| phase.cost.all());
        assert_eq!((&told["more"]["mean"], &told["more"]["pairs"]), (&json!(2.0), &json!(2)));
    }
}
