//! Clients: they write all the time, and remember what they were told is safe.

use std::collections::BTreeSet;

use evenkeel_core::id::{MemberId, ServiceId};
use evenkeel_core::time::{Span, Time};

use super::World;

/// How the clients of one service fare.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    name: String,
    /// When a write was acknowledged last; `None` before the first.
    last: Option<Time>,
    failing: bool,
    /// The longest time without an acknowledged write between two of them.
    longest: Span,
}

impl World {
    /// Every client writes once; what is acknowledged must be there for ever.
    pub(super) fn write(&mut self) {
        for (id, route) in &self.routes.1 {
            self.clients
                .entry(*id)
                .or_insert_with(|| Clients { name: route.name.clone(), ..Clients::default() });
        }
        let ids: Vec<ServiceId> = self.clients.keys().copied().collect();
        for id in ids {
            let target = self.routes.1.get(&id).and_then(|route| route.target.as_ref());
            let port = target.map(|target| target.port).filter(|_| self.gateway_up);
            let now = self.now;
            let wrote = port.and_then(|port| {
                self.hosts.iter_mut().find_map(|host| host.machine.write(port, now))
            });
            if let Some(member) = wrote {
                *self.acknowledged.entry(member).or_default() += 1;
                self.writes += 1;
            }
            self.fare(id, wrote.is_some());
        }
    }

    /// Notes how a write went.
    fn fare(&mut self, id: ServiceId, wrote: bool) {
        let (now, every) = (self.now, self.options.write_every);
        let Some(clients) = self.clients.get_mut(&id) else { return };
        let was = std::mem::replace(&mut clients.failing, !wrote);
        let Some(last) = clients.last else {
            if wrote {
                clients.last = Some(now);
                let name = clients.name.clone();
                self.tell(|_| format!("clients of {name}: writes are acknowledged"));
            }
            return;
        };
        let name = clients.name.clone();
        if wrote {
            clients.last = Some(now);
            let gap = Span(now.since(last).0.saturating_sub(every.0));
            clients.longest = clients.longest.max(gap);
            if was {
                let text = format!("clients of {name}: writes are acknowledged again after {gap}");
                self.tell(|_| text);
            }
        } else if !was {
            self.tell(|_| format!("clients of {name}: writes fail"));
        }
    }

    /// The longest time for which no write to a service was acknowledged, between two that were or
    /// since the last one. What one round of writes takes is not counted.
    pub fn longest_outage(&self, name: &str) -> Span {
        let of = self.clients.values().filter(|clients| clients.name == name);
        let every = self.options.write_every;
        let open = |clients: &Clients| match clients.last {
            Some(last) if clients.failing => Span(self.now.since(last).0.saturating_sub(every.0)),
            _ => Span(0),
        };
        of.map(|clients| clients.longest.max(open(clients))).max().unwrap_or_default()
    }

    /// Every acknowledged row is where it was acknowledged, unless its end was ordered.
    pub fn check_ledger(&mut self) {
        let Some(cell) = &self.cell else { return };
        let services = cell.services(self.now);
        let kept: BTreeSet<MemberId> = services
            .iter()
            .filter(|service| !self.terminated.contains(&service.name))
            .flat_map(|service| service.members.iter().map(|member| member.id))
            .collect();
        for (member, acknowledged) in &self.acknowledged {
            let rows =
                self.hosts.iter().find_map(|h| h.machine.servers.get(member)).map(|s| s.rows);
            if kept.contains(member) && rows.unwrap_or(0) < *acknowledged {
                let text =
                    format!("{member} lost rows: {acknowledged} acknowledged, {rows:?} there");
                self.broken.get_or_insert(text);
                return;
            }
        }
    }
}
