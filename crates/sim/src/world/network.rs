//! The network: streams are opened, carry messages in order, and are cut.

use evenkeel_core::agent::Input;
use evenkeel_core::cell::{Entry, Link};
use evenkeel_core::route::{self, FromGateway, ToGateway};
use evenkeel_core::time::Span;

use super::{Event, World};

impl World {
    /// A message takes a while; on one stream they stay in order.
    pub(super) fn carry(&mut self, link: Link, up: bool, event: Event) {
        let arrival = self.now + self.takes(Span(5), Span(12), 2, Span(1500));
        let last = self.order.entry((link, up)).or_default();
        let arrival = arrival.max(*last);
        *last = arrival;
        self.made += 1;
        self.events.insert((arrival, self.made), event);
    }

    fn link(&mut self) -> Link {
        self.links += 1;
        Link(self.links)
    }

    /// Whoever has no stream to the controller opens one.
    pub(super) fn dial(&mut self) {
        if self.cell.is_none() {
            return;
        }
        for n in 0..self.hosts.len() {
            let host = &self.hosts[n];
            if host.brain.is_some() && !host.paused && !host.cut && host.link.is_none() {
                let link = self.link();
                self.hosts[n].link = Some(link);
                self.think(n, &[Input::Opened]);
            }
        }
        if self.gateway_up && self.gateway.is_none() {
            let link = self.link();
            self.gateway = Some(link);
            let message = FromGateway::Hello {
                gateway: "g".to_owned(),
                address: "127.0.0.1".to_owned(),
                pid: 1,
                routes: self.routes.0,
            };
            self.carry(link, true, Event::ToCell(Entry::Gateway { link, message }));
        }
    }

    /// A stream ends for both sides.
    pub(super) fn cut(&mut self, link: Link) {
        if let Some(n) = self.hosts.iter().position(|h| h.link == Some(link)) {
            self.carry(link, true, Event::ToCell(Entry::AgentClosed { link }));
            self.carry(link, false, Event::Cut(n, link));
        }
        if self.gateway == Some(link) {
            self.gateway = None;
            self.carry(link, true, Event::ToCell(Entry::GatewayClosed { link }));
        }
    }

    /// The gateway takes routes.
    pub(super) fn route(&mut self, link: Link, message: ToGateway) {
        if self.gateway != Some(link) || !self.gateway_up {
            return;
        }
        if let ToGateway::Routes { routes, whole, changed, gone } = message {
            if routes >= self.routes.0 {
                self.routes.0 = routes;
                route::merge(&mut self.routes.1, whole, &changed, &gone);
            }
            let message = FromGateway::Took { routes: self.routes.0, failed: Vec::new() };
            self.carry(link, true, Event::ToCell(Entry::Gateway { link, message }));
        }
    }
}
