//! Draining: the one operation whose subject is a host. It is carried as far as its proofs go whenever
//! its host is looked at.

use super::state::Host;
use super::turn::Work;
use super::{Cell, steps};
use crate::id::{HostId, MemberId};
use crate::journal::Topic;
use crate::operation::{Cause, Effect, Kind, Operation, Past, Proof};
use crate::order::{Accepted, Error};

impl Cell {
    /// Takes the order to drain a host. Again on a host that drains: the same operation goes on.
    pub(super) fn drain(
        &mut self,
        by: &str,
        name: &str,
        work: &mut Work,
    ) -> Result<Accepted, Error> {
        let id = self.host_id(name)?;
        let number = self.state.draw_operation();
        let Some(host) = self.state.hosts.get_mut(&id) else { return Err(no_such_host(name)) };
        let operation = host.row.operation.get_or_insert_with(|| {
            Box::new(Operation {
                id: number,
                kind: Kind::Drain,
                cause: Cause::Order { by: by.into() },
                member: None,
                script: None,
                share: None,
                image: 0,
                begun: work.now,
                claimed: true,
                step: 0,
                ordered: work.now,
                routes: 0,
                tries: 0,
                paged: false,
            })
        });
        let operation = operation.id;
        self.order_host(id, work);
        work.hosts.insert(id);
        let held = self.state.hosts.get(&id).map_or_else(Vec::new, |host| self.held(host));
        let text = match held.len() {
            0 => format!("{name} takes no members any more and is empty"),
            _ => format!("{name} takes no members any more; {}", held.join("; ")),
        };
        Ok(Accepted { service: None, operation: Some(operation), job: None, text })
    }

    /// Takes the order to use a host again.
    pub(super) fn take_back(&mut self, name: &str, work: &mut Work) -> Result<Accepted, Error> {
        let id = self.host_id(name)?;
        let Some(host) = self.state.hosts.get_mut(&id) else { return Err(no_such_host(name)) };
        host.row.draining = false;
        work.hosts.insert(id);
        if let Some(dropped) = host.row.operation.take() {
            let text = format!("{} {} gives way to return", dropped.spec().name, dropped.id);
            work.note(Topic::Operation, name, text, Vec::new());
        }
        work.record_host(id);
        let text = format!("{name} takes members again");
        Ok(Accepted { service: None, operation: None, job: None, text })
    }

    fn host_id(&self, name: &str) -> Result<HostId, Error> {
        self.state.host_named(name).map(|host| host.row.id).ok_or_else(|| no_such_host(name))
    }

    /// Carries a host's operation as far as its proofs go.
    pub(super) fn advance_host(&mut self, id: HostId, work: &mut Work) {
        while let Some(host) = self.state.hosts.get(&id)
            && let Some(operation) = &host.row.operation
        {
            let missing = self.host_missing(host, operation.at().proof);
            let (spec, step) = (operation.spec(), operation.at());
            let what = format!("{} {}: \"{}\"", spec.name, operation.id, step.name);
            let (name, due) = (host.row.name.clone(), operation.due());
            if missing.is_empty() {
                let took = work.now.since(operation.ordered);
                work.note(Topic::Operation, &name, format!("{what} done in {took}"), Vec::new());
                self.next_host_step(id, work);
            } else if work.now < due {
                self.state.timers.host(id, due);
                return;
            } else if !self.host_step_late(id, &what, missing, work) {
                return;
            }
        }
    }

    fn next_host_step(&mut self, id: HostId, work: &mut Work) {
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        let Some(operation) = host.row.operation.as_mut() else { return };
        if usize::from(operation.step) + 1 < operation.spec().steps.len() {
            operation.step += 1;
            (operation.ordered, operation.tries) = (work.now, 0);
            return self.order_host(id, work);
        }
        let took = work.now.since(operation.begun);
        let text = format!("{} {} done in {took}", operation.spec().name, operation.id);
        work.note(Topic::Operation, &host.row.name.clone(), text, Vec::new());
        host.row.operation = None;
        work.record_host(id);
    }

    /// A step is past its deadline. False: there is nothing more to do now.
    fn host_step_late(
        &mut self,
        id: HostId,
        what: &str,
        missing: Vec<String>,
        work: &mut Work,
    ) -> bool {
        let Some(host) = self.state.hosts.get_mut(&id) else { return false };
        let Some(operation) = host.row.operation.as_mut() else { return false };
        let again = match operation.at().past {
            Past::Insist { tries } => operation.tries < tries,
            // Nothing on a host may be given up or passed over: what is there is somebody's.
            Past::GiveUp | Past::GoOn => false,
        };
        if !again && operation.paged {
            return false;
        }
        let name = host.row.name.clone();
        operation.ordered = work.now;
        if again {
            operation.tries += 1;
            work.note(Topic::Operation, &name, format!("{what} again"), missing);
            self.order_host(id, work);
        } else {
            operation.paged = true;
            work.note(Topic::Finding, &name, format!("page: {what} is late"), missing);
            work.record_host(id);
        }
        true
    }

    /// Orders the step at hand. An ensure, as all are.
    fn order_host(&mut self, id: HostId, work: &mut Work) {
        let Some(host) = self.state.hosts.get_mut(&id) else { return };
        let Some(operation) = &host.row.operation else { return };
        host.row.draining |= operation.at().order == Effect::CloseHost;
        work.record_host(id);
    }

    /// What is still missing to call a host's step done, in words; empty: it is proven.
    pub(super) fn host_missing(&self, host: &Host, proof: Proof) -> Vec<String> {
        match proof {
            Proof::HostClosed if !host.row.draining => vec!["it takes members".to_owned()],
            Proof::HostEmpty => self.held(host),
            _ => Vec::new(),
        }
    }

    /// What keeps a host from being empty.
    fn held(&self, host: &Host) -> Vec<String> {
        let held = |id: &MemberId| {
            let service = self.state.services.get(self.state.of_member.get(id)?)?;
            let (name, members) = (&service.row.name, service.row.members.len());
            Some(match (&service.row.operation, members) {
                (Some(operation), _) => {
                    format!("{id} of {name}: {} is under way", operation.spec().name)
                }
                (None, 1) => format!("{id} of {name}: its only copy; retire or terminate it"),
                (None, _) => format!("{id} of {name}"),
            })
        };
        host.members.iter().filter_map(held).collect()
    }

    /// A host's operation as people see it.
    pub(super) fn show_host_operation(&self, host: &Host) -> Option<crate::view::Operation> {
        let operation = host.row.operation.as_ref()?;
        let missing = self.host_missing(host, operation.at().proof);
        Some(steps::show(operation, missing, self.state.now))
    }
}

fn no_such_host(name: &str) -> Error {
    Error::NoSuchHost { name: name.to_owned() }
}
