//! Grouping: the narrowest failure domain that stands out against its siblings.
//!
//! For every domain that some service in trouble rests on, the share of its services that are in trouble
//! is held against the share everywhere else. What the split explains is told in bits ([`bits`]): ten bits
//! are a thousand to one. A domain stands out when at least [`MEMBERS_MIN`] of its services are in trouble,
//! they are at least half of it, and the split explains [`BITS_MIN`] bits more than what trying so many
//! domains explains by chance. The one that explains most is taken; a narrower one that explains nearly
//! as much goes before it. Its services are set aside, and the rest is looked at again, until nothing stands
//! out: what is left stands alone.
//!
//! What is known of a domain by other means - nobody reaches the host, nobody gets anything into the
//! repository - counts for [`KNOWN_BITS`] and makes one service enough, however many there go on: those may
//! have somebody who takes over. What services blame themselves, as the repository that takes nothing of theirs,
//! goes before everything that is found by numbers, and its services stay to hold others against.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bits;
use super::domain::{Domain, Sort};
use crate::id::{HostId, ServiceId};

/// Fewer services are no pattern.
pub const MEMBERS_MIN: u32 = 3;
/// A split that explains less is chance: one in 64, after what trying many domains costs.
pub const BITS_MIN: u32 = 6;
/// What it is worth that a domain is known to be broken.
pub const KNOWN_BITS: u32 = 8;
/// A narrower domain may explain so much less than the best, one part in this many.
const NEAR: u32 = 16;
/// In a fleet of which this share is in trouble, in percent, there is nothing to stand out against.
const WHOLE_PERCENT: u64 = 80;

/// What may be in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Subject {
    /// A service.
    Service(ServiceId),
    /// A host.
    Host(HostId),
}

/// A text that names no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no service or host by number")]
pub struct UnknownSubject {
    /// The text.
    pub text: String,
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Service(id) => format!("service {}", id.0),
            Subject::Host(id) => format!("host {}", id.0),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = UnknownSubject;
    fn try_from(text: String) -> Result<Self, UnknownSubject> {
        let parts = text.split_once(' ');
        let parts = parts.and_then(|(sort, number)| Some((sort, number.parse().ok()?)));
        match parts {
            Some(("service", number)) => Ok(Self::Service(ServiceId(number))),
            Some(("host", number)) => Ok(Self::Host(HostId(number))),
            _ => Err(UnknownSubject { text }),
        }
    }
}

/// One thing that needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whose.
    pub subject: Subject,
    /// Its own domain, should it stand alone.
    pub alone: Domain,
    /// What it rests on. For a host: what it is and where.
    pub rests_on: Vec<Domain>,
}

/// How many services there are, by what they rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Population(BTreeMap<Vec<Domain>, u32>);

impl Population {
    /// Counts so many services that rest on the same.
    pub fn count(&mut self, rests_on: &[Domain], services: u32) {
        match self.0.get_mut(rests_on) {
            Some(count) => *count += services,
            None => drop(self.0.insert(rests_on.to_vec(), services)),
        }
    }
}

/// How a domain stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// Services in trouble in the domain, and all there.
    pub inside: (u32, u32),
    /// The same everywhere else.
    pub outside: (u32, u32),
    /// What the split explains, in bits: the logarithm of a likelihood ratio.
    pub bits: u32,
}

impl std::fmt::Display for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ((k, n), (other, others)) = (self.inside, self.outside);
        if others == 0 {
            return write!(f, "{k} of {n} services there, and there are no others");
        }
        write!(f, "{k} of {n} services there, against {other} of {others} elsewhere")
    }
}

/// Troubles with one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The cause: what the members have in common.
    pub domain: Domain,
    /// Who, in order.
    pub members: Vec<Subject>,
    /// How it stands out; none for what stands alone.
    pub shares: Option<Shares>,
}

/// Services that rest on the same: how many there are, and which of them are in trouble.
struct Profile {
    rests_on: Vec<usize>,
    all: u32,
    failing: Vec<Subject>,
}

impl Profile {
    fn failing(&self) -> u32 {
        u32::try_from(self.failing.len()).unwrap_or(u32::MAX)
    }
}

/// Groups troubles by cause. `known` are domains that are broken by other evidence. Services in trouble
/// that nobody counted are counted. The same troubles in any order give the same groups.
#[must_use]
pub fn group(
    troubles: &[Trouble],
    population: &Population,
    known: &BTreeSet<Domain>,
) -> Vec<Group> {
    let (mut profiles, domains) = profiles(troubles, population);
    let mut groups = Vec::new();
    if let Some(whole) = whole(&profiles, &domains, known) {
        groups.push(whole);
        profiles.clear();
    }
    while let Some((at, shares)) = most_telling(&profiles, &domains, known) {
        let is_blamed = is_blamed(&domains[at], known);
        let (mut inside, rest): (Vec<_>, Vec<_>) =
            profiles.into_iter().partition(|profile| profile.rests_on.contains(&at));
        profiles = rest;
        let members = members(inside.iter_mut().map(|p| std::mem::take(&mut p.failing)));
        if is_blamed {
            // For others to be held against: nothing else is wrong with them.
            profiles.extend(inside);
        }
        groups.push(Group { domain: domains[at].clone(), members, shares: Some(shares) });
    }
    let left = members(profiles.into_iter().map(|profile| profile.failing));
    let left: BTreeSet<Subject> = left.into_iter().collect();
    let alone = |trouble: &&Trouble| left.contains(&trouble.subject);
    groups.extend(troubles.iter().filter(alone).map(|trouble| Group {
        domain: trouble.alone.clone(),
        members: vec![trouble.subject],
        shares: None,
    }));
    place_hosts(troubles, &mut groups);
    groups.sort_by(|a, b| a.domain.cmp(&b.domain).then_with(|| a.members.cmp(&b.members)));
    groups
}

fn members(failing: impl Iterator<Item = Vec<Subject>>) -> Vec<Subject> {
    let mut members: Vec<Subject> = failing.flatten().collect();
    members.sort_unstable();
    members
}

/// Everybody by what they rest on, with domains as numbers in order.
fn profiles(troubles: &[Trouble], population: &Population) -> (Vec<Profile>, Vec<Domain>) {
    let mut failing: BTreeMap<&[Domain], Vec<Subject>> = BTreeMap::new();
    for trouble in troubles.iter().filter(|t| matches!(t.subject, Subject::Service(_))) {
        failing.entry(&trouble.rests_on).or_default().push(trouble.subject);
    }
    let mut counted: BTreeMap<&[Domain], u32> =
        population.0.iter().map(|(rests_on, count)| (rests_on.as_slice(), *count)).collect();
    for (rests_on, subjects) in &failing {
        let least = u32::try_from(subjects.len()).unwrap_or(u32::MAX);
        let count = counted.entry(rests_on).or_default();
        *count = (*count).max(least);
    }
    let domains: BTreeSet<&Domain> = counted.keys().flat_map(|rests_on| rests_on.iter()).collect();
    let domains: Vec<Domain> = domains.into_iter().cloned().collect();
    let number = |domain: &Domain| domains.binary_search(domain).unwrap_or(usize::MAX);
    let profile = |(rests_on, all): (&[Domain], u32)| Profile {
        rests_on: rests_on.iter().map(number).collect(),
        all,
        failing: failing.get(rests_on).cloned().unwrap_or_default(),
    };
    let profiles = counted.into_iter().map(profile).collect();
    (profiles, domains)
}

/// Failing and all of each domain, and of everything.
fn counts(profiles: &[Profile], domains: usize) -> (Vec<(u32, u32)>, (u32, u32)) {
    let (mut each, mut all) = (vec![(0, 0); domains], (0, 0));
    for profile in profiles {
        let failing = profile.failing();
        all = (all.0 + failing, all.1 + profile.all);
        for &at in &profile.rests_on {
            each[at] = (each[at].0 + failing, each[at].1 + profile.all);
        }
    }
    (each, all)
}

/// Nearly everything is in trouble: the narrowest domain that has all of it and is known to be broken, the
/// narrowest place that has, or the fleet.
fn whole(profiles: &[Profile], domains: &[Domain], known: &BTreeSet<Domain>) -> Option<Group> {
    let (each, all) = counts(profiles, domains.len());
    if all.0 < MEMBERS_MIN || u64::from(all.0) * 100 < u64::from(all.1) * WHOLE_PERCENT {
        return None;
    }
    // What is known and no place explains its own; what is left beside that is not everything.
    let explains = |at: usize| {
        let (failing, is_known) = (each[at].0, known.contains(&domains[at]));
        is_known && !domains[at].sort.is_place() && failing * 2 >= all.0 && failing < all.0
    };
    if (0..domains.len()).any(explains) {
        return None;
    }
    let has_all = |at: &usize| each[*at].0 == all.0;
    let mut having = (0..domains.len()).filter(has_all);
    let is_known = having.clone().find(|at| known.contains(&domains[*at]));
    let domain = is_known.or_else(|| having.find(|at| domains[*at].sort.is_place()));
    let domain = domain.map(|at| domains[at].clone());
    let members = profiles.iter().flat_map(|profile| profile.failing.iter().copied()).collect();
    let mut group = Group {
        domain: domain.unwrap_or_else(Domain::fleet),
        members,
        shares: Some(Shares { inside: all, outside: (0, 0), bits: 0 }),
    };
    group.members.sort_unstable();
    Some(group)
}

/// Whether services themselves say that it is the cause, and it is known to be broken.
fn is_blamed(domain: &Domain, known: &BTreeSet<Domain>) -> bool {
    known.contains(domain) && !domain.sort.is_place()
}

/// The domain that explains most of what is left, if any stands out.
fn most_telling(
    profiles: &[Profile],
    domains: &[Domain],
    known: &BTreeSet<Domain>,
) -> Option<(usize, Shares)> {
    let (each, all) = counts(profiles, domains.len());
    let tried = each.iter().filter(|(failing, _)| *failing > 0).count();
    let needed = BITS_MIN + tried.checked_ilog2().unwrap_or(0);
    let mut candidates: Vec<(usize, Shares, u32)> = (0..domains.len())
        .filter_map(|at| {
            let inside = each[at];
            let outside = (all.0 - inside.0, all.1 - inside.1);
            let is_known = known.contains(&domains[at]);
            let enough = inside.0 >= if is_known { 1 } else { MEMBERS_MIN };
            let half = inside.0 * 2 >= inside.1 && inside.0 > 0;
            let denser = u64::from(inside.0) * u64::from(outside.1)
                > u64::from(outside.0) * u64::from(inside.1);
            let bits = bits::explained(inside, outside);
            let weight = bits + if is_known { KNOWN_BITS } else { 0 };
            // What is known to be broken needs no proof by numbers.
            let stands_out = enough && (is_known || half && denser && weight >= needed);
            stands_out.then_some((at, Shares { inside, outside, bits }, weight))
        })
        .collect();
    // Whoever blames what is known to be broken needs no other cause, whatever chance there is in the rest.
    if candidates.iter().any(|(at, ..)| is_blamed(&domains[*at], known)) {
        candidates.retain(|(at, ..)| is_blamed(&domains[*at], known));
    }
    let best = candidates.iter().map(|(_, _, weight)| *weight).max()?;
    let near = |weight: u32| weight + best / NEAR >= best;
    let order =
        |&(at, _, weight): &(usize, Shares, u32)| (domains[at].sort, std::cmp::Reverse(weight), at);
    let found = candidates.into_iter().filter(|(_, _, weight)| near(*weight)).min_by_key(order);
    found.map(|(at, shares, _)| (at, shares))
}

/// A host's own trouble goes with the services that rest on it, or with its zone; otherwise it is one
/// incident on that host.
fn place_hosts(troubles: &[Trouble], groups: &mut Vec<Group>) {
    for trouble in troubles.iter().filter(|t| matches!(t.subject, Subject::Host(_))) {
        let explains = |group: &&mut Group| {
            group.domain.sort != Sort::Service
                && (trouble.rests_on.contains(&group.domain) || group.domain == Domain::fleet())
        };
        match groups.iter_mut().filter(explains).min_by(|a, b| a.domain.cmp(&b.domain)) {
            Some(group) => {
                group.members.push(trouble.subject);
                group.members.sort_unstable();
            }
            None => groups.push(Group {
                domain: trouble.alone.clone(),
                members: vec![trouble.subject],
                shares: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fleet of zones with hosts with services: service, host, zone, image, repository by number.
    fn fleet(zones: u32, hosts: u32, services: u32) -> Vec<Trouble> {
        let one = |n: u32| {
            let host = n % (zones * hosts);
            let rests_on = vec![
                Domain::new(Sort::Host, format!("h{host}")),
                Domain::new(Sort::Image, format!("i{}", n / 7 % 4)),
                Domain::new(Sort::Repository, format!("r{}", n / 3 % 3)),
                Domain::new(Sort::Version, "postgres 15"),
                Domain::new(Sort::Zone, format!("z{}", host % zones)),
            ];
            let alone = Domain::new(Sort::Service, format!("s{n}"));
            Trouble { subject: Subject::Service(ServiceId(n)), alone, rests_on }
        };
        (0..zones * hosts * services).map(one).collect()
    }

    fn population(fleet: &[Trouble]) -> Population {
        let mut population = Population::default();
        fleet.iter().for_each(|service| population.count(&service.rests_on, 1));
        population
    }

    /// The domains, and how many members each has, when these fail.
    fn grouped(fleet: &[Trouble], fails: impl Fn(u32, &Trouble) -> bool) -> Vec<(String, usize)> {
        let numbered = (0..).zip(fleet);
        let failing: Vec<Trouble> =
            numbered.filter(|(n, t)| fails(*n, t)).map(|(_, t)| t.clone()).collect();
        let groups = group(&failing, &population(fleet), &BTreeSet::new());
        let mut reversed = failing.clone();
        reversed.reverse();
        assert_eq!(groups, group(&reversed, &population(fleet), &BTreeSet::new()), "order matters");
        groups.iter().map(|group| (group.domain.to_string(), group.members.len())).collect()
    }

    fn on(sort: Sort, name: &str) -> impl Fn(u32, &Trouble) -> bool {
        let domain = Domain::new(sort, name);
        move |_, trouble| trouble.rests_on.contains(&domain)
    }

    #[test]
    fn each_cause_is_found_by_what_its_victims_have_in_common() {
        let fleet = fleet(3, 3, 60);
        for (sort, name) in
            [(Sort::Host, "h4"), (Sort::Image, "i2"), (Sort::Repository, "r1"), (Sort::Zone, "z2")]
        {
            let victims = fleet.iter().filter(|service| on(sort, name)(0, service)).count();
            let expected = vec![(Domain::new(sort, name).to_string(), victims)];
            assert_eq!(grouped(&fleet, on(sort, name)), expected);
        }
    }

    #[test]
    fn two_causes_at_once_are_two_incidents() {
        let fleet = fleet(3, 3, 60);
        let (host, image) = (on(Sort::Host, "h4"), on(Sort::Image, "i2"));
        let groups = grouped(&fleet, |n, t| host(n, t) || image(n, t));
        let names: Vec<&str> = groups.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["host h4", "image i2"], "{groups:?}");
        let victims = fleet.iter().filter(|t| host(0, t) || image(0, t)).count();
        assert_eq!(groups.iter().map(|(_, members)| members).sum::<usize>(), victims);
    }

    #[test]
    fn what_nothing_explains_stands_alone() {
        let fleet = fleet(3, 3, 60);
        let groups = grouped(&fleet, |n, _| n % 101 == 7);
        assert_eq!(groups.len(), 6);
        assert!(
            groups.iter().all(|(name, members)| name.starts_with("service s") && *members == 1)
        );
    }

    #[test]
    fn of_a_zone_with_one_host_the_host_is_the_cause() {
        let fleet = fleet(3, 1, 60);
        assert_eq!(grouped(&fleet, on(Sort::Zone, "z1")), [("host h1".to_owned(), 60)]);
    }

    #[test]
    fn everything_at_once_is_the_fleet_or_the_place_that_has_all_of_it() {
        assert_eq!(grouped(&fleet(3, 3, 5), |_, _| true), [("fleet".to_owned(), 45)]);
        assert_eq!(grouped(&fleet(1, 1, 5), |_, _| true), [("host h0".to_owned(), 5)]);
        assert_eq!(grouped(&fleet(1, 3, 5), |_, _| true), [("zone z0".to_owned(), 15)]);
    }

    #[test]
    fn what_is_known_to_be_broken_explains_even_one() {
        let fleet = fleet(3, 3, 1);
        let host = |name: &str| Domain::new(Sort::Host, name);
        let failing = &fleet[4..5];
        let groups = |known: &[Domain]| {
            let known = known.iter().cloned().collect();
            group(failing, &population(&fleet), &known)
        };
        assert_eq!(groups(&[])[0].domain, failing[0].alone);
        assert_eq!(groups(&[host("h4")])[0].domain, host("h4"));
        assert_eq!(groups(&[host("h5")])[0].domain, failing[0].alone, "another host's trouble");
    }

    #[test]
    fn what_is_known_to_be_broken_explains_the_few_that_nobody_took_over() {
        let fleet = fleet(3, 3, 60);
        let on_host = on(Sort::Host, "h4");
        let there: Vec<Trouble> = fleet.iter().filter(|t| on_host(0, t)).cloned().collect();
        let groups = |known: &[Domain]| {
            let known = known.iter().cloned().collect();
            let groups = group(&there[..10], &population(&fleet), &known);
            groups.iter().map(|g| (g.domain.to_string(), g.members.len())).collect::<Vec<_>>()
        };
        assert_eq!(groups(&[Domain::new(Sort::Host, "h4")]), [("host h4".to_owned(), 10)]);
        assert_eq!(groups(&[]).len(), 10, "by numbers alone ten of sixty are no pattern");
    }

    #[test]
    fn of_everything_at_once_what_is_known_to_be_broken_is_the_cause() {
        let mut fleet = fleet(3, 1, 60);
        let north = Domain::new(Sort::Repository, "north");
        fleet.iter_mut().for_each(|service| {
            service.rests_on.retain(|domain| domain.sort != Sort::Repository);
            service.rests_on.push(north.clone());
            service.rests_on.sort();
        });
        let groups = |known: &[Domain]| {
            let known = known.iter().cloned().collect();
            group(&fleet, &population(&fleet), &known)[0].domain.clone()
        };
        assert_eq!(groups(&[]), Domain::fleet());
        assert_eq!(groups(std::slice::from_ref(&north)), north);
    }

    /// Everybody's log waits for a repository, and one host reboots.
    #[test]
    fn what_is_explained_already_hides_no_other_cause() {
        let fleet = fleet(3, 3, 60);
        let on_host = on(Sort::Host, "h4");
        let blames = |trouble: &Trouble| {
            let mut trouble = trouble.clone();
            trouble.rests_on.retain(|domain| domain.sort != Sort::Repository);
            if !on_host(0, &trouble) {
                trouble.rests_on.insert(2, Domain::new(Sort::Repository, "north"));
            }
            trouble
        };
        let fleet: Vec<Trouble> = fleet.iter().map(blames).collect();
        let known = BTreeSet::from([Domain::new(Sort::Repository, "north")]);
        let groups = |troubles: &[Trouble]| {
            let groups = group(troubles, &population(&fleet), &known);
            groups.iter().map(|g| (g.domain.to_string(), g.members.len())).collect::<Vec<_>>()
        };
        let north = |members| ("repository north".to_owned(), members);
        assert_eq!(groups(&fleet), [("host h4".to_owned(), 60), north(480)]);
        // Nor is it a zone's that some elsewhere have nothing that waits.
        let zone = on(Sort::Zone, "z2");
        let waits = |(n, t): &(u32, &Trouble)| zone(*n, t) || !on_host(*n, t) && n % 13 != 0;
        let some: Vec<Trouble> =
            (0..).zip(&fleet).filter(waits).map(|(_, trouble)| trouble.clone()).collect();
        assert_eq!(groups(&some), [north(some.len())]);
    }

    #[test]
    fn a_hosts_own_trouble_goes_with_what_rests_on_it() {
        let fleet = fleet(3, 3, 60);
        let of_host = Trouble {
            subject: Subject::Host(HostId(4)),
            alone: Domain::new(Sort::Host, "h4"),
            rests_on: vec![Domain::new(Sort::Host, "h4"), Domain::new(Sort::Zone, "z1")],
        };
        let members = |sort, name: &str| {
            let fails = on(sort, name);
            let mut failing: Vec<Trouble> = fleet.iter().filter(|t| fails(0, t)).cloned().collect();
            failing.push(of_host.clone());
            let groups = group(&failing, &population(&fleet), &BTreeSet::new());
            groups.iter().map(|g| (g.domain.to_string(), g.members.len())).collect::<Vec<_>>()
        };
        assert_eq!(members(Sort::Host, "h4"), [("host h4".to_owned(), 61)]);
        assert_eq!(members(Sort::Zone, "z1"), [("zone z1".to_owned(), 181)]);
        assert_eq!(members(Sort::Host, "none"), [("host h4".to_owned(), 1)]);
        let apart = [("host h4".to_owned(), 1), ("host h5".to_owned(), 60)];
        assert_eq!(members(Sort::Host, "h5"), apart);
    }
}
