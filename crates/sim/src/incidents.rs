//! How well incidents are told apart: thousands of modelled fleets with a cause or two and noise, grouped by
//! the real function and held against what was done to them.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::id::ServiceId;
use evenkeel_core::incident::{Domain, Group, Population, Sort, Subject, Trouble, group};

use crate::prng::Prng;

/// What was done to a fleet, in a word.
pub const CAUSES: [&str; 8] =
    ["nothing", "host", "zone", "image", "repository", "version", "path", "two"];
/// Of a cause's victims this share must be in its incident.
const FOUND_PERCENT: usize = 90;

/// What became of the runs of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Runs.
    pub runs: u32,
    /// Every cause was named, with nine tenths of its victims, and nothing else was.
    pub right: u32,
    /// Something was named that was not broken.
    pub wrong: u32,
    /// A cause was not named.
    pub missed: u32,
    /// Incidents opened.
    pub incidents: u64,
    /// Services that were in trouble.
    pub troubles: u64,
}

/// Groups the troubles of one fleet for each seed; scores by cause.
#[must_use]
pub fn score(seeds: std::ops::Range<u64>) -> BTreeMap<&'static str, Score> {
    let mut scores = BTreeMap::new();
    for seed in seeds {
        for cause in CAUSES {
            one(seed, cause, scores.entry(cause).or_insert_with(Score::default));
        }
    }
    scores
}

fn one(seed: u64, cause: &str, score: &mut Score) {
    let mut chance = Prng::new(seed, cause);
    let fleet = fleet(&mut chance);
    let broken = broken(cause, &fleet, &mut chance);
    let noise = 1 + chance.below(5);
    let (mut failing, mut population) = (Vec::new(), Population::default());
    for service in &fleet {
        population.count(&service.rests_on, 1);
        let mut fails = chance.percent(noise);
        for (domain, share) in &broken {
            fails |= service.rests_on.contains(domain) && chance.percent(*share);
        }
        if fails {
            failing.push(service.clone());
        }
    }
    let groups = group(&failing, &population, &BTreeSet::new());
    let named: Vec<&Group> = groups.iter().filter(|g| g.domain.sort != Sort::Service).collect();
    let victims = |domain: &Domain| failing.iter().filter(|t| t.rests_on.contains(domain)).count();
    let names: BTreeSet<&Domain> = broken.iter().map(|(domain, _)| domain).collect();
    let found = |domain: &&Domain| {
        // What two causes have in common may be in either incident.
        let others = failing.iter().filter(|t| {
            t.rests_on.contains(domain)
                && names.iter().any(|d| d != domain && t.rests_on.contains(d))
        });
        let least = (victims(domain) - others.count()) * FOUND_PERCENT / 100;
        named.iter().any(|group| group.domain == **domain && group.members.len() >= least)
    };
    let missed = !names.iter().all(found);
    let wrong = named.iter().any(|group| !names.contains(&group.domain));
    score.runs += 1;
    score.right += u32::from(!missed && !wrong);
    score.wrong += u32::from(wrong);
    score.missed += u32::from(missed);
    score.incidents += groups.len() as u64;
    score.troubles += failing.len() as u64;
}

/// A fleet: two to three zones with racks, hosts and services; one service in three has standbys elsewhere.
fn fleet(chance: &mut Prng) -> Vec<Trouble> {
    let (zones, hosts) = (2 + chance.below(2), 3 + chance.below(5));
    let (images, repositories) = (3 + chance.below(3), 2 + chance.below(2));
    let services = 60 + chance.below(600);
    let service = |n: u64, chance: &mut Prng| {
        let members = if chance.percent(33) { 2 } else { 1 };
        let first = chance.below(zones);
        let mut rests_on = BTreeSet::new();
        for member in 0..members {
            let zone = (first + member) % zones;
            let host = chance.below(hosts);
            rests_on.insert(Domain::new(Sort::Zone, format!("z{zone}")));
            rests_on.insert(Domain::new(Sort::Rack, format!("z{zone}r{}", host / 2)));
            rests_on.insert(Domain::new(Sort::Host, format!("z{zone}h{host}")));
        }
        if members == 2 {
            let (a, b) = (first.min((first + 1) % zones), first.max((first + 1) % zones));
            rests_on.insert(Domain::new(Sort::Path, format!("z{a} - z{b}")));
        }
        rests_on.insert(Domain::new(Sort::Image, format!("i{}", chance.below(images))));
        let repository = format!("r{}", chance.below(repositories));
        rests_on.insert(Domain::new(Sort::Repository, repository));
        let version = if chance.percent(70) { "postgres 15" } else { "postgres 16" };
        rests_on.insert(Domain::new(Sort::Version, version));
        Trouble {
            subject: Subject::Service(ServiceId(u32::try_from(n).unwrap_or(u32::MAX))),
            alone: Domain::new(Sort::Service, format!("s{n}")),
            rests_on: rests_on.into_iter().collect(),
        }
    };
    (0..services).map(|n| service(n, chance)).collect()
}

/// What is broken, and the share of its services that suffer, in percent.
fn broken(cause: &str, fleet: &[Trouble], chance: &mut Prng) -> Vec<(Domain, u64)> {
    let sorts: &[Sort] = match cause {
        "host" => &[Sort::Host],
        "zone" => &[Sort::Zone],
        "image" => &[Sort::Image],
        "repository" => &[Sort::Repository],
        "version" => &[Sort::Version],
        "path" => &[Sort::Path],
        "two" => &[Sort::Host, Sort::Image],
        _ => &[],
    };
    let pick = |sort: &Sort| {
        let of = |t: &Trouble| t.rests_on.iter().find(|d| d.sort == *sort).cloned();
        let all: BTreeSet<Domain> = fleet.iter().filter_map(of).collect();
        let at = usize::try_from(chance.below(all.len() as u64)).unwrap_or(0);
        all.into_iter().nth(at).map(|domain| (domain, 70 + chance.below(31)))
    };
    sorts.iter().filter_map(pick).collect()
}
