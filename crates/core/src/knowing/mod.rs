//! Knowing: what sightings of one member from several vantage points add up to.
//!
//! The story: a closed stream or a late beat opens a [`Doubt`]. Witnesses are asked while it lasts.
//! Their sightings are evidence, each with its vantage point; [`verdict`] weighs them and nothing
//! else. Time alone never condemns: it only says how long negative evidence must last.

use serde::{Deserialize, Serialize};

use crate::id::HostId;
use crate::policy::Policy;
use crate::report::Sight;
use crate::time::{Span, Time};

/// Witnesses asked about one member at a time, at most; others' answers add nothing.
pub const WITNESSES_MAX: usize = 4;
/// A doubt is looked into again after this part of the time that it has lasted already, at most after
/// [`EVERY_MAX`]: what was down for an hour is hardly up a second later, and thousands of members are down
/// when a zone is.
const EVERY_PART: u64 = 32;
/// Longest wait between two questions in one doubt.
pub const EVERY_MAX: Span = Span::secs(15);

/// One vantage point's view of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who looked.
    pub vantage: HostId,
    /// What was seen last.
    pub sight: Sight,
    /// Since when it was always seen so, or always negative.
    pub since: Time,
    /// When it was seen last.
    pub last: Time,
}

/// What is known while a member's own news is missing or bad.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// When it began.
    pub since: Time,
    /// The first question asked in it; answers to earlier ones do not count.
    pub first: u64,
    /// When witnesses were last asked.
    pub asked: Option<Time>,
    /// One sighting per vantage point, in order of host.
    pub sightings: Vec<Sighting>,
    /// What they added up to when the member was looked at last.
    #[serde(default)]
    pub weighed: Option<Word>,
}

/// A verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// See [`Verdict::Reached`].
    Reached,
    /// See [`Verdict::Disputed`].
    Disputed,
    /// See [`Verdict::Unknown`].
    Unknown,
    /// See [`Verdict::Down`].
    Down,
}

/// What the sightings add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A vantage point reaches it, and none fails to.
    Reached(Vec<Sighting>),
    /// Some reach it, some do not.
    Disputed(Vec<Sighting>),
    /// Not enough to say.
    Unknown(Vec<Sighting>),
    /// Down by the rule.
    Down(Vec<Sighting>),
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub const fn word(&self) -> Word {
        match self {
            Self::Reached(_) => Word::Reached,
            Self::Disputed(_) => Word::Disputed,
            Self::Unknown(_) => Word::Unknown,
            Self::Down(_) => Word::Down,
        }
    }
}

impl Doubt {
    /// A doubt that begins now.
    #[must_use]
    pub fn new(since: Time) -> Self {
        Self { since, ..Self::default() }
    }

    /// When witnesses are asked again, where the policy says how often at first.
    #[must_use]
    pub fn every(&self, at_first: Span, now: Time) -> Span {
        at_first.max(Span(now.since(self.since).0 / EVERY_PART).min(EVERY_MAX))
    }

    /// An answer older than this is no evidence: some of those asked may have missed two questions.
    fn stale_after(&self, policy: &Policy, now: Time) -> Span {
        policy.answer_stale_after.max(self.every(Span(0), now).times(3))
    }

    /// Takes one sighting in.
    pub fn saw(&mut self, vantage: HostId, sight: Sight, now: Time) {
        let fresh = Sighting { vantage, sight, since: now, last: now };
        match self.sightings.binary_search_by_key(&vantage, |s| s.vantage) {
            Ok(at) => {
                let known = &mut self.sightings[at];
                let same = negative(known.sight) == negative(sight);
                *known = if same { Sighting { since: known.since, ..fresh } } else { fresh };
            }
            Err(at) => self.sightings.insert(at, fresh),
        }
    }
}

/// Whether a sight speaks against the member.
#[must_use]
pub const fn negative(sight: Sight) -> bool {
    !matches!(sight, Sight::Answered)
}

/// Weighs a doubt. `zone_of` names each vantage point's zone; `zones` is how many zones witnesses
/// could be asked in. Down = no positive evidence from anyone, and negative evidence from two
/// vantage points (in different zones where there are two) for `down_after` (DESIGN 4).
#[must_use]
pub fn verdict<'a>(
    doubt: &Doubt,
    zone_of: impl Fn(HostId) -> &'a str,
    zones: usize,
    now: Time,
    down_after: Span,
    policy: &Policy,
) -> Verdict {
    let fresh: Vec<Sighting> = doubt
        .sightings
        .iter()
        .filter(|s| now.since(s.last) <= doubt.stale_after(policy, now))
        .copied()
        .collect();
    let against: Vec<&Sighting> = fresh.iter().filter(|s| negative(s.sight)).collect();
    if fresh.is_empty() {
        return Verdict::Unknown(fresh);
    }
    if against.is_empty() {
        return Verdict::Reached(fresh);
    }
    if against.len() < fresh.len() {
        return Verdict::Disputed(fresh);
    }
    let lasting: Vec<&&Sighting> =
        against.iter().filter(|s| s.last.since(s.since) >= down_after).collect();
    let mut seen_from: Vec<&str> = lasting.iter().map(|s| zone_of(s.vantage)).collect();
    seen_from.sort_unstable();
    seen_from.dedup();
    if lasting.len() >= 2 && seen_from.len() >= zones.min(2) {
        Verdict::Down(fresh)
    } else {
        Verdict::Unknown(fresh)
    }
}

/// Whom to ask: hosts of other zones than the member's first, then the lowest ids. `up` comes in order of id,
/// and is read no further than needed: it is asked for every doubted service.
#[must_use]
pub fn witnesses<'a>(
    of_host: HostId,
    of_zone: &str,
    up: impl IntoIterator<Item = (HostId, &'a str)>,
) -> Vec<HostId> {
    let (mut elsewhere, mut beside) = (Vec::new(), Vec::new());
    for (host, zone) in up.into_iter().filter(|(host, _)| *host != of_host) {
        match zone == of_zone {
            true if beside.len() < WITNESSES_MAX => beside.push(host),
            true => {}
            false => elsewhere.push(host),
        }
        if elsewhere.len() == WITNESSES_MAX {
            break;
        }
    }
    elsewhere.extend(beside);
    elsewhere.truncate(WITNESSES_MAX);
    elsewhere
}

/// A sighting in words.
#[must_use]
pub fn describe(sighting: &Sighting, now: Time) -> String {
    let what = match sighting.sight {
        Sight::Answered => "answered",
        Sight::Refused => "refused the connection",
        Sight::Silent => "gave no answer",
        Sight::Unreachable => "could not be reached",
    };
    format!(
        "seen from {}: {what}, for {}, last {} ago",
        sighting.vantage,
        sighting.last.since(sighting.since),
        now.since(sighting.last)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONES: [&str; 4] = ["", "a", "b", "c"];

    fn judge(sights: &[(u32, Sight)], seconds: u64, zones: usize) -> Verdict {
        let mut doubt = Doubt::new(Time(0));
        for second in 0..=seconds {
            for &(host, sight) in sights {
                doubt.saw(HostId(host), sight, Time(second * 1000));
            }
        }
        let zone = |h: HostId| ZONES[h.0 as usize % 4];
        let policy = Policy::default();
        verdict(&doubt, zone, zones, Time(seconds * 1000), policy.down_after, &policy)
    }

    #[test]
    fn no_evidence_is_unknown_however_long_it_lasts() {
        assert!(matches!(judge(&[], 3600, 3), Verdict::Unknown(_)));
    }

    #[test]
    fn down_needs_two_vantage_points_in_two_zones_for_the_whole_time() {
        use Sight::{Refused, Silent};
        assert!(matches!(judge(&[(1, Refused)], 60, 3), Verdict::Unknown(_)));
        assert!(matches!(judge(&[(1, Refused), (2, Silent)], 9, 3), Verdict::Unknown(_)));
        assert!(matches!(judge(&[(1, Refused), (2, Silent)], 10, 3), Verdict::Down(_)));
        // Hosts 1 and 5 share zone a: one vantage zone, where there are two, is not enough.
        assert!(matches!(judge(&[(1, Refused), (5, Refused)], 60, 2), Verdict::Unknown(_)));
        assert!(matches!(judge(&[(1, Refused), (5, Refused)], 60, 1), Verdict::Down(_)));
    }

    #[test]
    fn one_positive_sight_saves() {
        use Sight::{Answered, Refused};
        let seen = [(1, Refused), (2, Refused), (3, Answered)];
        assert!(matches!(judge(&seen, 60, 3), Verdict::Disputed(_)));
        assert!(matches!(judge(&[(3, Answered)], 60, 3), Verdict::Reached(_)));
    }

    #[test]
    fn a_doubt_that_lasts_is_looked_into_less_often_and_its_answers_count_longer() {
        let mut doubt = Doubt::new(Time(0));
        let every = |doubt: &Doubt, at| doubt.every(Span::millis(100), Time(at));
        assert_eq!(every(&doubt, 1_000), Span::millis(100), "as the policy says");
        assert_eq!(every(&doubt, 64_000), Span::secs(2));
        assert_eq!(every(&doubt, 10_000_000), EVERY_MAX);
        let asked = 10_000_000 - 2 * EVERY_MAX.0;
        for vantage in [1, 2] {
            doubt.saw(HostId(vantage), Sight::Silent, Time(asked - 60_000));
            doubt.saw(HostId(vantage), Sight::Silent, Time(asked));
        }
        let policy = Policy::default();
        let weigh = |at| verdict(&doubt, |_| "a", 1, Time(at), Span::secs(10), &policy);
        assert!(matches!(weigh(10_000_000), Verdict::Down(_)), "two questions ago is fresh");
        let long_ago = 10_000_000 + 2 * EVERY_MAX.0;
        assert!(matches!(weigh(long_ago), Verdict::Unknown(_)), "five are not");
    }

    #[test]
    fn stale_answers_and_interrupted_runs_do_not_count() {
        let policy = Policy::default();
        let mut doubt = Doubt::new(Time(0));
        for second in 0..=20 {
            for host in [1, 2] {
                let sight = if second == 15 { Sight::Answered } else { Sight::Refused };
                doubt.saw(HostId(host), sight, Time(second * 1000));
            }
        }
        let zone = |h: HostId| ZONES[h.0 as usize];
        let at = |ms: u64| verdict(&doubt, zone, 3, Time(ms), policy.down_after, &policy);
        assert!(matches!(at(20_000), Verdict::Unknown(_)), "refused for 4 s only");
        assert!(matches!(at(60_000), Verdict::Unknown(seen) if seen.is_empty()));
    }

    #[test]
    fn witnesses_of_other_zones_come_first() {
        let up = [(HostId(1), "a"), (HostId(2), "a"), (HostId(3), "b"), (HostId(4), "c")];
        assert_eq!(witnesses(HostId(1), "a", up), [HostId(3), HostId(4), HostId(2)]);
        assert_eq!(Span::secs(1), Policy::default().beat);
    }
}
