//! The table of routes: which of those received stand, and what changes from one table to the next.
//!
//! Pure: knows nothing of sockets or files.

use std::collections::BTreeMap;

use evenkeel_core::id::{MemberId, ServiceId, Term};
use evenkeel_core::route::{Route, Target};

/// A route, and the member its open connections lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The route.
    pub route: Route,
    /// The last target's member. It outlives a time without a target, because the connections do.
    pub leads_to: Option<MemberId>,
}

/// One route for each service.
pub type Table = BTreeMap<ServiceId, Standing>;

/// A route that was refused because a newer one is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Its service.
    pub service: ServiceId,
    /// The term it came with.
    pub came: Term,
    /// The term held.
    pub held: Term,
}

/// What has to be done at the sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Stop listening for this service and cut its connections.
    Close {
        /// The service.
        service: ServiceId,
    },
    /// Listen on this route's port.
    Listen(Route),
    /// Lead new connections elsewhere, on the same port.
    Retarget {
        /// The service.
        service: ServiceId,
        /// Where to; `None` holds them.
        target: Option<Target>,
        /// Whether the connections open now lead to a member that is no longer the one, and are cut.
        cut: bool,
    },
}

/// The table after `routes` came while `old` was held, and the routes that were refused.
///
/// A service that is not among `routes` is gone. Of two routes of one service the newer term stands.
#[must_use]
pub fn succeed(old: &Table, routes: Vec<Route>) -> (Table, Vec<Stale>) {
    let mut table = Table::new();
    let mut refused = Vec::new();
    for route in routes {
        let service = route.service;
        let before = old.get(&service);
        let held = table.get(&service).or(before).map(|standing| &standing.route);
        let stands = match held {
            Some(held) if route.term < held.term => {
                refused.push(Stale { service, came: route.term, held: held.term });
                held.clone()
            }
            _ => route,
        };
        let leads_to = match (&stands.target, before) {
            (Some(target), _) => Some(target.member),
            (None, Some(before)) if before.route.port == stands.port => before.leads_to,
            (None, _) => None,
        };
        table.insert(service, Standing { route: stands, leads_to });
    }
    (table, refused)
}

/// What leads from one table to the next. All that closes comes before all that listens, so that two
/// services can change ports with each other.
#[must_use]
pub fn plan(old: &Table, new: &Table) -> Vec<Change> {
    let moved = |service: &ServiceId, port: u16| {
        new.get(service).is_none_or(|standing| standing.route.port != port)
    };
    let mut changes: Vec<_> = old
        .iter()
        .filter(|(service, standing)| moved(service, standing.route.port))
        .map(|(&service, _)| Change::Close { service })
        .collect();
    for (&service, standing) in new {
        let route = &standing.route;
        match old.get(&service) {
            Some(before) if before.route.port == route.port => {
                let cut = before.leads_to.is_some() && before.leads_to != standing.leads_to;
                if cut || before.route.leads_to() != route.leads_to() {
                    let target = route.leads_to().cloned();
                    changes.push(Change::Retarget { service, target, cut });
                }
            }
            _ => changes.push(Change::Listen(route.clone())),
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route of service 1 at its port 6001, in term 1, to this member.
    fn to(member: u32) -> Route {
        route(1, 6001, 1, Some(member))
    }

    fn route(service: u32, port: u16, term: u32, member: Option<u32>) -> Route {
        Route {
            service: ServiceId(service),
            name: format!("s{service}"),
            port,
            term: Term(term),
            target: member.map(target),
            holds: false,
        }
    }

    /// The same, while its target takes no clients.
    fn held(member: u32) -> Route {
        Route { holds: true, ..to(member) }
    }

    fn target(member: u32) -> Target {
        Target { member: MemberId(member), address: "127.0.0.1".to_owned(), port: 5432 }
    }

    fn close(service: u32) -> Change {
        Change::Close { service: ServiceId(service) }
    }

    fn retarget(member: Option<u32>, cut: bool) -> Change {
        Change::Retarget { service: ServiceId(1), target: member.map(target), cut }
    }

    /// The changes of the last of these sets of routes, each following the one before.
    fn last_changes(sets: Vec<Vec<Route>>) -> Vec<Change> {
        let (mut table, mut changes) = (Table::new(), Vec::new());
        for routes in sets {
            let (next, _) = succeed(&table, routes);
            changes = plan(&table, &next);
            table = next;
        }
        changes
    }

    #[test]
    fn every_difference_has_its_changes() {
        let none = || route(1, 6001, 1, None);
        let elsewhere = || route(1, 6002, 1, Some(7));
        let mut moved_host = to(7);
        moved_host.target.as_mut().unwrap().address = "127.0.0.2".to_owned();
        let readdressed = Change::Retarget {
            service: ServiceId(1),
            target: moved_host.target.clone(),
            cut: false,
        };
        let mut renamed = to(7);
        renamed.name = "other".to_owned();
        let rows = [
            ("nothing", vec![vec![], vec![]], vec![]),
            ("first", vec![vec![to(7)]], vec![Change::Listen(to(7))]),
            ("first without target", vec![vec![none()]], vec![Change::Listen(none())]),
            ("the same", vec![vec![to(7)], vec![to(7)]], vec![]),
            ("renamed", vec![vec![to(7)], vec![renamed]], vec![]),
            ("newer term", vec![vec![to(7)], vec![route(1, 6001, 2, Some(7))]], vec![]),
            ("dropped", vec![vec![to(7)], vec![]], vec![close(1)]),
            ("other member", vec![vec![to(7)], vec![to(8)]], vec![retarget(Some(8), true)]),
            ("other address", vec![vec![to(7)], vec![moved_host]], vec![readdressed]),
            ("no target", vec![vec![to(7)], vec![none()]], vec![retarget(None, false)]),
            ("held", vec![vec![to(7)], vec![held(7)]], vec![retarget(None, false)]),
            ("let go", vec![vec![held(7)], vec![to(7)]], vec![retarget(Some(7), false)]),
            ("held elsewhere", vec![vec![held(7)], vec![held(8)]], vec![retarget(None, true)]),
            ("back", vec![vec![to(7)], vec![none()], vec![to(7)]], vec![retarget(Some(7), false)]),
            ("over", vec![vec![to(7)], vec![none()], vec![to(8)]], vec![retarget(Some(8), true)]),
            ("found", vec![vec![none()], vec![to(8)]], vec![retarget(Some(8), false)]),
            (
                "other port",
                vec![vec![to(7)], vec![elsewhere()]],
                vec![close(1), Change::Listen(elsewhere())],
            ),
        ];
        for (name, sets, expected) in rows {
            assert_eq!(last_changes(sets), expected, "{name}");
        }
    }

    #[test]
    fn two_services_change_ports_by_closing_both_first() {
        let before = vec![route(1, 6001, 1, Some(7)), route(2, 6002, 1, Some(8))];
        let after = vec![route(1, 6002, 1, Some(7)), route(2, 6001, 1, Some(8))];
        let expected = vec![
            close(1),
            close(2),
            Change::Listen(after[0].clone()),
            Change::Listen(after[1].clone()),
        ];
        assert_eq!(last_changes(vec![before, after]), expected);
    }

    #[test]
    fn of_two_terms_the_newer_stands() {
        let (old, _) = succeed(&Table::new(), vec![route(1, 6001, 3, Some(7)), to(9)]);
        assert_eq!(old[&ServiceId(1)].route.term, Term(3), "in one set");

        let (same, refused) = succeed(&old, vec![route(1, 6001, 2, Some(8))]);
        assert_eq!(same, old);
        let stale = Stale { service: ServiceId(1), came: Term(2), held: Term(3) };
        assert_eq!(refused, [stale]);

        let (next, refused) = succeed(&old, vec![route(1, 6001, 3, Some(8))]);
        assert_eq!(next[&ServiceId(1)].leads_to, Some(MemberId(8)), "an equal term is taken");
        assert_eq!(refused, []);
    }

    #[test]
    fn a_port_that_moved_leads_to_nobody_until_it_has_a_target() {
        let (old, _) = succeed(&Table::new(), vec![to(7)]);
        let (new, _) = succeed(&old, vec![route(1, 6002, 1, None)]);
        assert_eq!(new[&ServiceId(1)].leads_to, None);
    }
}
