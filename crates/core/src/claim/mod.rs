//! Claims: the permission an operation needs before its first step. One gate for robots and people.
//!
//! An operation takes one claim from each share it falls under - its primary's host, that host's zone, its
//! image, the cell - and gives all of them back when it ends. What repairs has shares of its own, so that
//! planned work can never stand in its way; on each host they are as wide as the host bears ([`Pace`]).

mod pace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use pace::Pace;

use crate::automation::Brake;
use crate::drill::HOLD;
use crate::id::{HostId, OperationId};
use crate::policy::Policy;
use crate::time::{Span, Time};

/// Which share a claim is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// It disturbs nobody: installs, revivals.
    Free,
    /// Planned and disruptive.
    Planned,
    /// It repairs what is down already.
    Emergency,
}

/// Where an operation takes place, as claims count it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its primary's host.
    pub host: HostId,
    /// That host's zone.
    pub zone: &'a str,
    /// The image, by place among the cell's.
    pub image: u16,
}

/// One of the shares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Of one host.
    Host(HostId),
    /// Of one zone.
    Zone(Box<str>),
    /// Of all members that run from one image, by place among the cell's.
    Image(u16),
    /// Of the cell. There is one cell so far: this is the fleet's.
    Cell,
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host {host}"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Image(_) => f.write_str("the image"),
            Self::Cell => f.write_str("the fleet"),
        }
    }
}

/// Claims held from one share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// By planned operations.
    pub planned: u32,
    /// By emergencies.
    pub emergencies: u32,
}

impl Held {
    const fn of(self, lane: Lane) -> u32 {
        match lane {
            Lane::Free => 0,
            Lane::Planned => self.planned,
            Lane::Emergency => self.emergencies,
        }
    }
}

/// Every claim held, counted; and what each host bears.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    #[serde(with = "pairs")]
    held: BTreeMap<Share, Held>,
    paces: BTreeMap<HostId, Pace>,
    /// Services that each remedy is under way for.
    pub remedies: BTreeMap<Box<str>, u16>,
}

/// What brakes automation and plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brakes<'a> {
    /// The fleet brake, which somebody put on.
    Fleet(&'a Brake),
    /// A drill of it, on one service: what a person orders is what is held.
    Drill,
}

/// What the gate looks at.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Which share.
    pub lane: Lane,
    /// Whether a person ordered it, and did not plan it.
    pub by_person: bool,
    /// Another operation that holds the service's one claim.
    pub held_by: Option<OperationId>,
    /// Where.
    pub place: Place<'a>,
    /// What holds it, whatever room there is.
    pub brake: Option<Brakes<'a>>,
}

/// Why a claim is refused; tried again whenever another is released, and every second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// At most one disruptive operation per service.
    #[error("the service is busy with {0}; it is this one's turn when that has ended")]
    ServiceBusy(OperationId),
    /// A share is used up.
    #[error("{share} has {running} of {max} {lane} running; it is this one's turn when one ends")]
    Used {
        /// Which.
        share: Share,
        /// Repairs or planned work.
        lane: Counted,
        /// Running now.
        running: u32,
        /// Allowed.
        max: u32,
    },
    /// Somebody put the brake on.
    #[error("{by} put the fleet brake on ({reason}); `evenkeel brake off` lets it go on")]
    Brake {
        /// Who.
        by: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// The brake is exercised on this service.
    #[error("a drill of the brake holds it; it is this one's turn within {HOLD}")]
    Drill,
}

/// What a share counts, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Planned operations.
    Planned,
    /// Repairs.
    Repairs,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Planned => "planned operations",
            Self::Repairs => "repairs",
        })
    }
}

impl Place<'_> {
    fn shares(&self) -> [Share; 4] {
        let (host, zone) = (Share::Host(self.host), Share::Zone(self.zone.into()));
        [host, zone, Share::Image(self.image), Share::Cell]
    }
}

impl Ledger {
    /// Grants or refuses; nothing is taken yet.
    ///
    /// # Errors
    /// [`Refusal`] says what is used up.
    pub fn gate(&self, policy: &Policy, request: &Request<'_>) -> Result<(), Refusal> {
        if let Some(operation) = request.held_by {
            return Err(Refusal::ServiceBusy(operation));
        }
        // What a person orders and does not plan is a decision of its own; the brake is for the rest.
        let passes = request.by_person && request.lane != Lane::Planned;
        let holds = |brake: &Brakes<'_>| match brake {
            Brakes::Fleet(_) => !passes,
            // Whatever is exercised, a repair is not kept waiting.
            Brakes::Drill => request.lane != Lane::Emergency,
        };
        if let Some(brake) = request.brake.filter(holds) {
            return Err(match brake {
                Brakes::Drill => Refusal::Drill,
                Brakes::Fleet(Brake { by, reason, .. }) => {
                    Refusal::Brake { by: by.clone(), reason: reason.clone() }
                }
            });
        }
        if request.lane == Lane::Free {
            return Ok(());
        }
        let lane = match request.lane {
            Lane::Emergency => Counted::Repairs,
            Lane::Free | Lane::Planned => Counted::Planned,
        };
        for share in request.place.shares() {
            let running = self.held.get(&share).copied().unwrap_or_default().of(request.lane);
            let max = self.max(policy, &share, request.lane);
            if running >= max {
                return Err(Refusal::Used { share, lane, running, max });
            }
        }
        Ok(())
    }

    fn max(&self, policy: &Policy, share: &Share, lane: Lane) -> u32 {
        let planned = lane != Lane::Emergency;
        match share {
            Share::Host(_) if planned => policy.host_operations_max.into(),
            Share::Host(host) => {
                let pace = self.paces.get(host).copied().unwrap_or_default();
                pace.limit().min(policy.host_emergencies_max.into())
            }
            Share::Zone(_) if planned => policy.zone_operations_max,
            Share::Zone(_) => policy.zone_emergencies_max,
            Share::Image(_) if planned => policy.image_operations_max,
            Share::Image(_) => policy.image_emergencies_max,
            Share::Cell if planned => policy.cell_operations_max,
            Share::Cell => policy.cell_emergencies_max,
        }
    }

    /// A claim was granted.
    pub fn take(&mut self, lane: Lane, place: &Place<'_>, remedy: Option<&str>) {
        for share in place.shares() {
            let held = self.held.entry(share).or_default();
            match lane {
                Lane::Free => {}
                Lane::Planned => held.planned += 1,
                Lane::Emergency => held.emergencies += 1,
            }
        }
        if let Some(remedy) = remedy {
            *self.remedies.entry(remedy.into()).or_default() += 1;
        }
    }

    /// A claim is given back.
    pub fn give_back(&mut self, lane: Lane, place: &Place<'_>, remedy: Option<&str>) {
        for share in place.shares() {
            let Some(held) = self.held.get_mut(&share) else { continue };
            match lane {
                Lane::Free => {}
                Lane::Planned => held.planned = held.planned.saturating_sub(1),
                Lane::Emergency => held.emergencies = held.emergencies.saturating_sub(1),
            }
            if *held == Held::default() {
                self.held.remove(&share);
            }
        }
        let known = remedy.and_then(|remedy| self.remedies.get_mut(remedy));
        if let (Some(count), Some(remedy)) = (known, remedy) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.remedies.remove(remedy);
            }
        }
    }

    /// A repair on a host went as it should.
    pub fn went(&mut self, policy: &Policy, host: HostId) {
        let max = policy.host_emergencies_max.into();
        self.paces.entry(host).or_default().went(max);
    }

    /// A repair on a host took too long, or failed: it may be what else is done there.
    pub fn choked(&mut self, host: HostId, now: Time) {
        self.paces.entry(host).or_default().choked(now);
    }

    /// How many more repairs may begin on a host.
    #[must_use]
    pub fn room(&self, policy: &Policy, host: HostId) -> u32 {
        let share = Share::Host(host);
        let running = self.held.get(&share).copied().unwrap_or_default().emergencies;
        self.max(policy, &share, Lane::Emergency).saturating_sub(running)
    }

    /// Claims held from a share.
    #[must_use]
    pub fn held(&self, share: &Share) -> Held {
        self.held.get(share).copied().unwrap_or_default()
    }
}

/// A repair that took longer than this part of what it may is a sign that its host is asked too much.
pub const SLOW_PART: u64 = 2;

/// Whether a step was slow for what it may take.
#[must_use]
pub const fn slow(took: Span, deadline: Span) -> bool {
    took.0 > deadline.0 / SLOW_PART
}

/// Maps whose keys are no strings, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Held, Share};

    pub fn serialize<S: Serializer>(map: &BTreeMap<Share, Held>, to: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Share, Held>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: u32, zone: &str) -> Place<'_> {
        Place { host: HostId(host), zone, image: 0 }
    }

    fn request(lane: Lane, host: u32) -> Request<'static> {
        let place = place(host, "a");
        Request { lane, by_person: false, held_by: None, place, brake: None }
    }

    /// Takes claims until one is refused; how many were granted, and what is used up.
    fn fill(ledger: &mut Ledger, lane: Lane, hosts: &[u32]) -> (u32, Share) {
        let policy = Policy::default();
        for taken in 0.. {
            let host = hosts[taken as usize % hosts.len()];
            match ledger.gate(&policy, &request(lane, host)) {
                Ok(()) => ledger.take(lane, &place(host, "a"), None),
                Err(Refusal::Used { share, .. }) => return (taken, share),
                Err(other) => panic!("{other}"),
            }
        }
        unreachable!("shares are bounded")
    }

    #[test]
    fn each_lane_has_its_own_shares() {
        let policy = Policy::default();
        let mut ledger = Ledger::default();
        let (granted, share) = fill(&mut ledger, Lane::Planned, &[1]);
        assert_eq!((granted, share), (policy.host_operations_max.into(), Share::Host(HostId(1))));
        assert_eq!(ledger.gate(&policy, &request(Lane::Emergency, 1)), Ok(()));
        assert_eq!(ledger.gate(&policy, &request(Lane::Free, 1)), Ok(()));
        ledger.give_back(Lane::Planned, &place(1, "a"), None);
        assert_eq!(ledger.gate(&policy, &request(Lane::Planned, 1)), Ok(()));
    }

    #[test]
    fn shares_of_hosts_zones_images_and_the_cell_are_counted_apart() {
        let policy = Policy::default();
        let hosts: Vec<u32> = (1..200).collect();
        let mut ledger = Ledger::default();
        let (granted, share) = fill(&mut ledger, Lane::Planned, &hosts);
        assert_eq!((granted, share), (policy.zone_operations_max, Share::Zone("a".into())));
        let elsewhere = Request { place: place(300, "b"), ..request(Lane::Planned, 0) };
        assert_eq!(ledger.gate(&policy, &elsewhere), Ok(()));
        let narrow = Policy { image_operations_max: granted, ..Policy::default() };
        let refused = ledger.gate(&narrow, &elsewhere);
        assert!(
            matches!(refused, Err(Refusal::Used { share: Share::Image(0), .. })),
            "{refused:?}"
        );
        let narrow = Policy { cell_operations_max: granted, ..Policy::default() };
        let refused = ledger.gate(&narrow, &elsewhere);
        assert!(matches!(refused, Err(Refusal::Used { share: Share::Cell, .. })), "{refused:?}");
    }

    #[test]
    fn a_service_has_one_claim_whatever_the_lane() {
        for lane in [Lane::Free, Lane::Planned, Lane::Emergency] {
            let request = Request { held_by: Some(OperationId(3)), ..request(lane, 1) };
            let refused = Ledger::default().gate(&Policy::default(), &request);
            assert_eq!(refused, Err(Refusal::ServiceBusy(OperationId(3))));
        }
    }

    #[test]
    fn a_drill_of_the_brake_holds_what_people_order_too_and_no_repair() {
        for lane in [Lane::Free, Lane::Planned, Lane::Emergency] {
            for by_person in [false, true] {
                let request = Request { by_person, brake: Some(Brakes::Drill), ..request(lane, 1) };
                let said = Ledger::default().gate(&Policy::default(), &request);
                let held = (lane != Lane::Emergency).then_some(Refusal::Drill);
                assert_eq!(said.err(), held, "{lane:?} {by_person}");
            }
        }
    }

    #[test]
    fn the_brake_stops_all_that_automation_and_plans_want() {
        let brake = Brake { by: "ada".into(), reason: "looking".into(), since: Time(0) };
        for lane in [Lane::Free, Lane::Planned, Lane::Emergency] {
            for by_person in [false, true] {
                let request =
                    Request { by_person, brake: Some(Brakes::Fleet(&brake)), ..request(lane, 1) };
                let passes = by_person && lane != Lane::Planned;
                let said = Ledger::default().gate(&Policy::default(), &request);
                assert_eq!(said.is_ok(), passes, "{lane:?} {by_person}");
                if let Err(refusal) = said {
                    assert!(refusal.to_string().contains("brake off"), "{refusal}");
                }
            }
        }
    }

    #[test]
    fn a_host_that_chokes_gets_less_and_one_that_bears_it_more() {
        let policy = Policy::default();
        let mut ledger = Ledger::default();
        let host = HostId(1);
        let before = ledger.room(&policy, host);
        (0..100).for_each(|_| ledger.went(&policy, host));
        assert_eq!(ledger.room(&policy, host), u32::from(policy.host_emergencies_max));
        assert!(before < u32::from(policy.host_emergencies_max));
        (0..20).for_each(|n| ledger.choked(host, Time(n * 60_000)));
        assert_eq!(ledger.room(&policy, host), 1, "one is always let through");
    }

    #[test]
    fn remedies_under_way_are_counted() {
        let mut ledger = Ledger::default();
        ledger.take(Lane::Emergency, &place(1, "a"), Some("hung"));
        ledger.take(Lane::Emergency, &place(2, "a"), Some("hung"));
        assert_eq!(ledger.remedies.get("hung"), Some(&2));
        ledger.give_back(Lane::Emergency, &place(1, "a"), Some("hung"));
        ledger.give_back(Lane::Emergency, &place(2, "a"), Some("hung"));
        assert_eq!(ledger, Ledger::default(), "nothing is left behind");
    }
}
