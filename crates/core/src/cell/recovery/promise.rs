//! What may have been acknowledged after a store was lost: unknown, and how it is known again.
//!
//! The rule: the primary of the highest term that anybody pledged proves that the set it was last ordered
//! is in force, and every member was heard to be pledged to no newer term. Its log then has everything that
//! was ever acknowledged. Before that nothing about the set is changed, and a promotion needs every member.

use super::super::state::{self, Service};
use super::super::turn::Work;
use super::super::{Cell, rows};
use crate::goal::{StopMode, Want};
use crate::id::{Revision, ServiceId};
use crate::journal::Topic;
use crate::promise::{Copy, Missing, Obligation, Phase, Promise};
use crate::service;

impl Cell {
    /// Marks what was promised of a service as unknown, and has its primary prove its set anew.
    pub(super) fn freeze(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let row = &mut service.row;
        if let Some(promise) = row.promise.as_deref_mut() {
            (promise.unknown, promise.forgiven) = (true, None);
            renew(promise);
            promise.assert_sound();
            row.term = promise.term;
            let (term, leads) = (promise.term, promise.phase != Phase::Recruiting);
            let serves = row.phase != service::Phase::Retired;
            for member in row.members.iter_mut().skip(1) {
                if serves && member.want != Want::Running {
                    member.part = rows::Part::Leaves;
                }
            }
            // Who never heard of the primary's term hears of it now.
            for member in row.members.iter_mut().filter(|m| leads && m.term < term) {
                (member.term, member.revision) = (term, Revision(0));
                member.stop = StopMode::Immediate;
            }
        }
        work.record(id);
        if service.row.members.iter().any(|member| member.revision.0 > 0) {
            self.settle(id, work);
        }
    }

    /// Whether every member's newest word is of this store's own goal: then none is pledged to a newer term.
    fn every_pledge_heard(&self, service: &Service) -> bool {
        service.row.members.iter().zip(&service.seen).all(|(member, seen)| {
            let speaks = self.state.hosts.get(&member.host).is_some_and(state::Host::speaks);
            let obeys = |seen: &state::Seen| {
                seen.applied == member.version() && seen.incarnation <= member.incarnation
            };
            speaks && seen.as_ref().is_some_and(obeys)
        })
    }

    /// Clears what is unknown of a service by its rule.
    pub(in crate::cell) fn know_again(&mut self, id: ServiceId, work: &mut Work) {
        let Some(service) = self.state.services.get(&id) else { return };
        let unknown = |p: &Promise| p.unknown && p.phase == Phase::Steady;
        if !service.row.promise.as_deref().is_some_and(unknown) || !self.every_pledge_heard(service)
        {
            return;
        }
        let Some(service) = self.state.services.get_mut(&id) else { return };
        let Some(promise) = service.row.promise.as_mut() else { return };
        promise.unknown = false;
        let text = format!(
            "what was promised is known again: {} leads in {}, every member was heard",
            promise.primary, promise.term
        );
        work.note(Topic::Operation, service.row.name.as_str(), text, Vec::new());
        work.record(id);
    }

    /// Whether every member can be recruited: what it takes while it is not known what was promised.
    pub(in crate::cell) fn all_there(
        &self,
        service: &Service,
        promise: &Promise,
    ) -> Result<(), Missing> {
        let there = |copy: &&Copy| {
            let member = service.row.members.iter().position(|m| m.copy() == **copy);
            member.is_some_and(|at| {
                let host = self.state.hosts.get(&service.row.members[at].host);
                host.is_some_and(state::Host::speaks) && service.seen[at].is_some()
            })
        };
        match promise.copies.iter().find(|copy| !there(copy)) {
            Some(copy) => Err(Missing::Member { copy: *copy }),
            None => Ok(()),
        }
    }
}

/// The set that is recorded is ordered once more, beside whatever may be in force.
fn renew(promise: &mut Promise) {
    promise.promoted = false;
    if promise.phase == Phase::Recruiting {
        return;
    }
    let own = Obligation { primary: promise.primary, set: promise.set.clone() };
    if !promise.obligations.contains(&own) {
        promise.obligations.push(own);
    }
    (promise.phase, promise.change) = (Phase::Changing, promise.change + 1);
}

/// The first member is the one that takes writes.
pub(super) fn put_first(row: &mut rows::Service, primary: Copy) {
    if let Some(at) = row.members.iter().position(|m| m.id == primary.member) {
        row.members.swap(0, at);
    }
}
