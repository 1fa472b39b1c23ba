//! Ports: one that is held by somebody else is left to them.

use super::state::Seen;
use super::turn::Work;
use super::{Cell, rows};
use crate::id::ServiceId;
use crate::journal::Topic;
use crate::operation::Effect;
use crate::service::Phase;

impl Cell {
    /// A port held by somebody else is left to them: the member gets another.
    pub(super) fn free_port(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let row = &service.row;
        let current = |(member, seen): (&rows::Member, &Option<Seen>)| {
            seen.as_ref()
                .is_some_and(|s| s.port_taken && s.applied == member.version() && s.pid == 0)
        };
        let Some(at) = row.members.iter().zip(&service.seen).position(current) else { return };
        let (name, old) = (row.name.as_str().to_owned(), row.members[at].port);
        let Ok(port) = self.draw_port() else { return };
        let text = format!("port {old} is held by another process; the member moves to {port}");
        work.note(Topic::Operation, &name, text, Vec::new());
        let Some(service) = self.state.services.get_mut(&id) else { return };
        service.row.members[at].port = port;
        if service.row.open {
            work.routes.insert(id);
        }
        work.cell = true;
        self.settle(id, work);
    }

    /// Endpoints a gateway cannot listen on: new ones move, known ones are told of by findings.
    pub(super) fn unlistened(&mut self, failed: &[(u16, String)], work: &mut Work) {
        for (port, _) in failed {
            let new = self
                .state
                .services
                .values()
                .find(|s| s.row.endpoint_port == *port && s.row.phase == Phase::Installing);
            // Clients know the endpoint of the service whose place another takes.
            let new = new.filter(|s| !takes_place(&s.row));
            let Some(id) = new.map(|s| s.row.id) else { continue };
            let Ok(other) = self.draw_port() else { continue };
            let Some(service) = self.state.services.get_mut(&id) else { continue };
            let text =
                format!("endpoint port {port} is held by another process; it moves to {other}");
            work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
            service.row.endpoint_port = other;
            work.routes.insert(id);
            work.cell = true;
            self.await_routes(id, work);
            self.settle(id, work);
        }
    }
}

/// Whether a service is about to take another's place, by its name and endpoint.
fn takes_place(row: &rows::Service) -> bool {
    row.operation.as_ref().is_some_and(|operation| operation.at().order == Effect::TakePlace)
}
