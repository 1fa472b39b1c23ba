//! A run as it was planned: who orders what when, and what breaks when. A plan is a line of text that
//! runs again exactly so, whatever becomes of the drawing of plans.
//!
//! ```
//! use evenkeel_sim::Plan;
//! let text = "7 on 2 hosts for 9000 ms: 100 create orders, 5000 kill-server 17";
//! let plan: Plan = text.parse().unwrap();
//! assert_eq!(plan.to_string(), text);
//! let text = "7 on 2 hosts with 1 repositories for 9000 ms: 100 create orders, 5000 backup orders";
//! let plan: Plan = text.parse().unwrap();
//! assert_eq!(plan.repositories, 1);
//! ```

use std::fmt;
use std::str::FromStr;

use evenkeel_core::backup::lineage::Target;
use evenkeel_core::moment::Moment;
use evenkeel_core::order::{Keys, Order};
use evenkeel_core::time::{Span, Time};

use crate::TROUBLE;
use crate::kinds;
use crate::prng::Prng;
use crate::world::{FAULTS, Fault};

/// Names of services that people create, and end, and create again.
const NAMES: [&str; 5] = ["orders", "payments", "search", "users", "stock"];
/// Most hosts of a run.
const HOSTS_MAX: u64 = 4;
/// Longest time between two acts, in milliseconds.
const PAUSE_MAX_MS: u64 = 6_000;
/// Draws are below this: enough to tell them apart, short enough to print.
const DRAWS: u64 = 10_000;
/// Most repositories.
const REPOSITORIES_MAX: u64 = 2;
/// A rollback goes back by so much.
const BACK: Span = Span::secs(5);
/// The owners' packed secret.
const SECRET: [u8; 80] = [7; 80];

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the network, the disks and the processes draw from.
    pub seed: u64,
    /// Hosts.
    pub hosts: usize,
    /// Repositories that logs and backups go to; without any there are no archives.
    pub repositories: usize,
    /// How long things break; then everything heals.
    pub lasts: Span,
    /// What happens, in order of time.
    pub acts: Vec<Act>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When, since things began to break.
    pub at: Span,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody orders something.
    Order(Verb, String),
    /// Something breaks. Where, and for how long, follows from the number and from what is there.
    Break(Fault, u64),
}

/// What people order of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A new one.
    Create,
    /// A new one with a standby.
    CreateHa,
    /// A new one with two.
    CreateHa3,
    /// A new one with a standby that no commit waits for.
    CreateHaAsync,
    /// A new cache.
    CreateCache,
    /// A new cache with a standby.
    CreateCachePair,
    /// Another member in the primary's place, in order.
    Switchover,
    /// The same, as if the primary were lost.
    Failover,
    /// A restart.
    Restart,
    /// Its retirement.
    Retire,
    /// Its revival.
    Revive,
    /// Its end.
    Terminate,
    /// A backup.
    Backup,
    /// A proof of the newest one.
    Prove,
    /// A new service from its archive; it gets the next of the names.
    Fork,
    /// Itself as it was a while ago.
    Rollback,
    /// Only its archive, from now on.
    Archive,
}

const VERBS: [(Verb, &str); 17] = [
    (Verb::Create, "create"),
    (Verb::CreateHa, "create-ha"),
    (Verb::CreateHa3, "create-ha3"),
    (Verb::CreateHaAsync, "create-ha-async"),
    (Verb::CreateCache, "create-cache"),
    (Verb::CreateCachePair, "create-cache-pair"),
    (Verb::Switchover, "switchover"),
    (Verb::Failover, "failover"),
    (Verb::Restart, "restart"),
    (Verb::Retire, "retire"),
    (Verb::Revive, "revive"),
    (Verb::Terminate, "terminate"),
    (Verb::Backup, "backup"),
    (Verb::Prove, "prove"),
    (Verb::Fork, "fork"),
    (Verb::Rollback, "rollback"),
    (Verb::Archive, "archive"),
];

/// A text that is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} is no part of a plan; a plan reads like \
     `7 on 2 hosts for 9000 ms: 100 create orders, 5000 kill-server 17`"
)]
pub struct Error {
    /// What was not understood.
    pub part: String,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Prng::new(seed, "fate");
        let hosts = usize::try_from(1 + chance.below(HOSTS_MAX)).unwrap_or(1);
        // Each run knows some of the faults, so that rare mixes come up too.
        let repositories = usize::try_from(chance.below(REPOSITORIES_MAX + 1)).unwrap_or(0);
        let breaks = |fault: &Fault| repositories > 0 || !fault.is_of_storage();
        let mix: Vec<Fault> =
            FAULTS.iter().copied().filter(breaks).filter(|_| chance.percent(55)).collect();
        let (mut at, mut acts) = (Span(0), Vec::new());
        loop {
            at = Span(at.0 + chance.below(PAUSE_MAX_MS));
            if at >= TROUBLE {
                return Self { seed, hosts, repositories, lasts: TROUBLE, acts };
            }
            let ordered = chance.percent(50);
            let drawn = chance.below(u64::try_from(mix.len()).unwrap_or(0));
            let fault = usize::try_from(drawn).ok().and_then(|n| mix.get(n)).copied();
            let what = match fault {
                Some(fault) if !ordered => What::Break(fault, chance.below(DRAWS)),
                _ => order(&mut chance, repositories > 0),
            };
            acts.push(Act { at, what });
        }
    }
}

/// Something people order.
fn order(chance: &mut Prng, archives: bool) -> What {
    let count = u64::try_from(NAMES.len()).unwrap_or(1);
    let name = NAMES[usize::try_from(chance.below(count)).unwrap_or(0)];
    if archives && chance.percent(35) {
        let verb = match chance.below(100) {
            0..30 => Verb::Backup,
            30..45 => Verb::Prove,
            45..60 => Verb::Fork,
            60..75 => Verb::Rollback,
            _ => Verb::Archive,
        };
        return What::Order(verb, name.to_owned());
    }
    let verb = match chance.below(100) {
        0..15 => Verb::Create,
        15..17 => Verb::CreateCache,
        17..20 => Verb::CreateCachePair,
        20..38 => Verb::CreateHa,
        38..43 => Verb::CreateHa3,
        43..46 => Verb::CreateHaAsync,
        46..54 => Verb::Switchover,
        54..60 => Verb::Failover,
        60..70 => Verb::Restart,
        70..80 => Verb::Retire,
        80..92 => Verb::Revive,
        _ => Verb::Terminate,
    };
    What::Order(verb, name.to_owned())
}

impl Verb {
    /// The order, of a service, given at a moment; with what a new archive is sealed with, where there are
    /// any. `None`: nobody can order this there.
    #[must_use]
    pub fn of(self, name: &str, keys: Option<Keys>, now: Time) -> Option<Order> {
        let name = name.to_owned();
        let create = |plan: Option<&str>| {
            let (kind, plan) = kinds::ordered(plan);
            let (name, keys) = (name.clone(), keys.clone());
            Order::Create { name, kind, plan, secret: SECRET.to_vec(), keys }
        };
        Some(match self {
            Self::Create => create(None),
            Self::CreateHa => create(Some("ha")),
            Self::CreateHa3 => create(Some("ha3")),
            Self::CreateHaAsync => create(Some("ha-async")),
            Self::CreateCache => create(Some("cache/single")),
            Self::CreateCachePair => create(Some("cache/pair")),
            Self::Switchover => Order::Switchover { name, to: None },
            Self::Failover => Order::Failover { name, reason: "a drill".to_owned() },
            Self::Restart => Order::Restart { name },
            Self::Retire => Order::Retire { name },
            Self::Revive => Order::Revive { name, keys },
            Self::Terminate => Order::Terminate { confirm: name.clone(), name },
            Self::Backup => Order::Backup { name, keys: keys? },
            Self::Prove => Order::Prove { name },
            Self::Fork => Order::Fork {
                name: next_name(&name).to_owned(),
                source: name,
                target: Target::Latest,
                secret: SECRET.to_vec(),
                keys: keys?,
            },
            Self::Rollback => {
                let target = Target::Moment(Moment::of_millis(now.0.saturating_sub(BACK.0)));
                Order::Rollback { name, target, keys: keys? }
            }
            Self::Archive => Order::Archive { name },
        })
    }
}

/// The name after a name.
fn next_name(name: &str) -> &'static str {
    let at = NAMES.iter().position(|known| *known == name).map_or(0, |at| at + 1);
    NAMES[at % NAMES.len()]
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} hosts", self.seed, self.hosts)?;
        if self.repositories > 0 {
            write!(f, " with {} repositories", self.repositories)?;
        }
        write!(f, " for {} ms:", self.lasts.0)?;
        for (n, act) in self.acts.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma} {} {}", act.at.0, act.what)?;
        }
        Ok(())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(verb, name) => {
                let word = VERBS.iter().find(|(known, _)| known == verb).map_or("", |(_, w)| w);
                write!(f, "{word} {name}")
            }
            Self::Break(fault, draw) => write!(f, "{fault} {draw}"),
        }
    }
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |part: &str| Error { part: part.to_owned() };
        let (head, acts) = text.split_once(':').ok_or_else(|| wrong(text))?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let (seed, hosts, repositories, lasts) = match words[..] {
            [seed, "on", hosts, "hosts", "for", lasts, "ms"] => (seed, hosts, "0", lasts),
            [seed, "on", hosts, "hosts", "with", stores, "repositories", "for", lasts, "ms"] => {
                (seed, hosts, stores, lasts)
            }
            _ => return Err(wrong(head)),
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong(text));
        let hosts = number(hosts)?;
        if hosts == 0 || hosts > HOSTS_MAX {
            return Err(wrong(&format!("{hosts} hosts")));
        }
        let repositories = number(repositories)?;
        if repositories > REPOSITORIES_MAX {
            return Err(wrong(&format!("{repositories} repositories")));
        }
        let mut plan = Self {
            seed: number(seed)?,
            hosts: usize::try_from(hosts).unwrap_or(1),
            repositories: usize::try_from(repositories).unwrap_or(0),
            lasts: Span(number(lasts)?),
            acts: Vec::new(),
        };
        for act in acts.split(',').map(str::trim).filter(|act| !act.is_empty()) {
            let words: Vec<&str> = act.split_whitespace().collect();
            let [at, word, of] = words[..] else { return Err(wrong(act)) };
            let verb = VERBS.iter().find(|(_, known)| *known == word).map(|(verb, _)| *verb);
            let fault = FAULTS.iter().copied().find(|fault| fault.to_string() == word);
            let what = match (verb, fault) {
                (Some(verb), _) => What::Order(verb, of.to_owned()),
                (None, Some(fault)) => What::Break(fault, number(of)?),
                (None, None) => return Err(wrong(act)),
            };
            plan.acts.push(Act { at: Span(number(at)?), what });
        }
        if !plan.acts.is_sorted_by_key(|act| act.at) {
            return Err(wrong("acts out of order of time"));
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_is_written() {
        for seed in 0..50 {
            let plan = Plan::of(seed);
            assert!(plan.acts.len() > 20, "{plan}");
            assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
        }
    }

    #[test]
    fn every_fault_and_order_comes_up() {
        let plans: String = (0..50).map(|seed| Plan::of(seed).to_string()).collect();
        for word in FAULTS.iter().map(ToString::to_string) {
            assert!(plans.contains(&format!(" {word} ")), "{word}");
        }
        for (_, word) in VERBS {
            assert!(plans.contains(&format!(" {word} ")), "{word}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_text_is_named() {
        let part = |text: &str| text.parse::<Plan>().expect_err(text).part;
        assert_eq!(part("7"), "7");
        assert_eq!(part("7 on 9 hosts for 1 ms:"), "9 hosts");
        assert_eq!(part("7 on 1 hosts for 1 ms: 5 explode x"), "5 explode x");
        assert_eq!(part("7 on 1 hosts for 1 ms: 5 kill-server x"), "x");
        let late = "7 on 1 hosts for 1 ms: 5 create a, 4 create b";
        assert_eq!(part(late), "acts out of order of time");
    }
}
