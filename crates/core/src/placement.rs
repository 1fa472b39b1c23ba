//! Placement: which host takes a new member. Pure: capacity, spread, ties by id.

use crate::id::HostId;

/// A host as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The host.
    pub host: HostId,
    /// Its zone.
    pub zone: &'a str,
    /// Members it holds.
    pub members: u32,
    /// Whether it may take members at all: up, not draining, with an image.
    pub open: Result<(), Closed>,
}

/// Why a host takes no members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Its agent is not heard.
    #[error("its agent is not heard")]
    NotUp,
    /// It is being drained.
    #[error("it is draining")]
    Draining,
    /// It has no image to run members from.
    #[error("it has no image for this kind; install the server's packages or fetch an image")]
    NoImage,
    /// It is full.
    #[error("it is full")]
    Full,
    /// One host, one member of a service.
    #[error("it holds another member of the service")]
    Sibling,
}

/// No host will do; each with its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no host can take a member: {}", reasons(.0))]
pub struct Nowhere(pub Vec<(HostId, Closed)>);

fn reasons(closed: &[(HostId, Closed)]) -> String {
    if closed.is_empty() {
        return "no agent has joined; start one with `evenkeel agent` or `evenkeel up`".to_owned();
    }
    let each: Vec<String> = closed.iter().map(|(host, why)| format!("{host}: {why}")).collect();
    each.join("; ")
}

/// The host for one member more: the emptiest zone, then the emptiest host in it, then the lowest id.
/// Zones in `taken` come last, so that members of one service spread.
///
/// # Errors
/// [`Nowhere`] with every host's reason.
pub fn place(candidates: &[Candidate<'_>], taken: &[String]) -> Result<HostId, Nowhere> {
    // Zones are few; each is summed up once.
    let mut zones: Vec<(&str, u64, bool)> = Vec::new();
    let mut zone_of = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let at = zones.iter().position(|(name, ..)| *name == candidate.zone);
        let at = at.unwrap_or_else(|| {
            let is_taken = taken.iter().any(|zone| zone == candidate.zone);
            zones.push((candidate.zone, 0, is_taken));
            zones.len() - 1
        });
        zones[at].1 += u64::from(candidate.members);
        zone_of.push(at);
    }
    candidates
        .iter()
        .zip(zone_of)
        .filter(|(c, _)| c.open.is_ok())
        .min_by_key(|&(c, zone)| (zones[zone].2, zones[zone].1, c.members, c.host))
        .map(|(c, _)| c.host)
        .ok_or_else(|| {
            Nowhere(candidates.iter().filter_map(|c| Some((c.host, c.open.err()?))).collect())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: u32, zone: &str, members: u32) -> Candidate<'_> {
        Candidate { host: HostId(id), zone, members, open: Ok(()) }
    }

    #[test]
    fn members_spread_and_ties_go_to_the_lowest_id() {
        let fleet = [host(1, "a", 1), host(2, "b", 0), host(3, "c", 0)];
        assert_eq!(place(&fleet, &[]), Ok(HostId(2)));
        assert_eq!(place(&fleet, &["b".into()]), Ok(HostId(3)));
        assert_eq!(place(&fleet, &["b".into(), "c".into()]), Ok(HostId(1)));
    }

    #[test]
    fn a_refusal_names_every_host() {
        let mut one = host(1, "a", 0);
        one.open = Err(Closed::Draining);
        let refused = place(&[one], &[]).unwrap_err().to_string();
        assert_eq!(refused, "no host can take a member: h1: it is draining");
        assert!(place(&[], &[]).unwrap_err().to_string().contains("no agent has joined"));
    }
}
