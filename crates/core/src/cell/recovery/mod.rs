//! A store that comes after another: its hosts show what they keep before anything is ordered of them.
//!
//! The story: the store of a control plane was lost. Another was made, from an older copy or from nothing,
//! and names those it succeeds. A host that obeys one of them is asked to show what it keeps, and what is
//! newer there is taken over. Once every host has shown, or a person says that no more will come, the hosts
//! are welcomed and the cell goes on. Until then nothing is sent, decided or ordered.
//!
//! Invariants:
//! - before it is complete no agent, gateway or pooler hears of a goal or a route;
//! - a host is welcomed only after it has shown what it keeps;
//! - what may have been acknowledged is `unknown` for every service with standbys, and nothing that rests
//!   on it is changed before it is known again: [`Cell::know_again`].

mod adopt;
mod begin;
mod promise;
pub mod rows;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use begin::{Found, FoundService, Source, begin, look};

use super::turn::Work;
use super::{Cell, Link, Send, many};
use crate::goal::{Password, StoreId};
use crate::id::{HostId, MemberId, ServiceId};
use crate::journal::Topic;
use crate::order::{Accepted, Error};
use crate::report::{Hello, Kept, ToAgent};
use crate::succession::{Succession, prove, seal_of};

/// So many ids are left out where a host that may hold some of them has shown nothing.
const IDS_AHEAD: u32 = 1000;

/// What is not stored about a recovery.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Soft {
    /// What hosts' seals are derived from.
    pub seal: Option<Password>,
    /// Streams that were asked to show what their host keeps.
    pub asked: BTreeMap<Link, Box<Hello>>,
    /// Hosts that have shown it since this controller began.
    pub shown: BTreeSet<HostId>,
    /// Members of which the agent of their host has nothing, by its word.
    pub absent: BTreeSet<MemberId>,
    /// Ports of pooled endpoints whose service is not known yet.
    pub pooled: BTreeMap<ServiceId, u16>,
    /// Hosts that show nothing, and why.
    pub unconvinced: BTreeMap<String, String>,
    /// Another store that a host of this one obeys: this one was succeeded.
    pub left_for: Option<StoreId>,
}

impl Cell {
    /// Gives a cell what it proves itself by to the hosts of a store that it succeeds.
    pub fn entrust(&mut self, seal: Password) {
        self.state.recovery.seal = Some(seal);
    }

    /// Whether hosts are still to show what they keep.
    #[must_use]
    pub fn recovers(&self) -> bool {
        self.state.row.recovery.as_ref().is_some_and(|recovery| !recovery.done)
    }

    /// Whether anything is decided, and sent to agents: every host has shown what it keeps, and none has left.
    pub(super) fn acts(&self) -> bool {
        !self.recovers() && self.state.recovery.left_for.is_none()
    }

    /// Whether anything may be sent to gateways: hosts of this store were heard, and none has left it.
    pub(super) fn commands(&self) -> bool {
        let heard = |host: &super::state::Host| host.hello.is_some();
        let hosts = &self.state.hosts;
        self.acts() && (hosts.is_empty() || hosts.values().any(heard))
    }

    /// What a recovery waits for, in words; `None`: nothing.
    #[must_use]
    pub fn awaits(&self) -> Option<String> {
        let recovery = self.state.row.recovery.as_ref().filter(|recovery| !recovery.done)?;
        let soft = &self.state.recovery;
        let names = soft.shown.iter().map(|host| self.state.host_name(*host).to_owned());
        let names: Vec<String> = names.collect();
        let mut text = match recovery.hosts {
            Some(hosts) => format!("{} of {hosts} hosts have shown what they keep", names.len()),
            None => {
                let missing = self.state.hosts.values().filter(|h| !soft.shown.contains(&h.row.id));
                let missing: Vec<&str> = missing.map(|host| host.row.name.as_str()).collect();
                match missing.is_empty() {
                    true => "no host has shown what it keeps".to_owned(),
                    false => format!("{} have not shown what they keep yet", missing.join(", ")),
                }
            }
        };
        if !names.is_empty() {
            text.push_str(&format!(" (shown: {})", names.join(", ")));
        }
        for (host, why) in &soft.unconvinced {
            text.push_str(&format!("; {host} shows nothing: {why}"));
        }
        Some(text)
    }

    /// The proof for a host that obeys a store which this one succeeds.
    pub(super) fn succession(&self, hello: &Hello) -> Option<Succession> {
        let (store, _) = hello.store.as_ref().filter(|(store, _)| *store != self.setup.store)?;
        let recovery = self.state.row.recovery.as_ref()?;
        let mut after = recovery.succeeds.clone();
        if !after.contains(store) {
            // Which stores there were is learnt from their hosts, and known once it is complete.
            (recovery.open && !recovery.done).then(|| after.push(store.clone()))?;
        }
        let seal = seal_of(self.state.recovery.seal.as_ref()?, &hello.host);
        Some(prove(&seal, &self.setup.store, &after))
    }

    /// A host's own seal, for its welcome.
    pub(super) fn seal(&self, host: &str) -> Option<Password> {
        self.state.recovery.seal.as_ref().map(|fleet| seal_of(fleet, host))
    }

    /// Asks a host of a store before this one to show what it keeps; whether it is one.
    pub(super) fn asks_to_show(&mut self, link: Link, hello: &Hello, work: &mut Work) -> bool {
        let Some(succession) = self.succession(hello) else { return false };
        let store = self.setup.store.clone();
        self.state.recovery.asked.insert(link, Box::new(hello.clone()));
        work.sends.push(Send::Agent { link, message: ToAgent::Show { store, succession } });
        true
    }

    /// A host that was asked does not believe it.
    pub(super) fn unconvinced(&mut self, link: Link, reason: &str, work: &mut Work) {
        let Some(hello) = self.state.recovery.asked.remove(&link) else { return };
        let text = format!("shows nothing of what it keeps: {reason}");
        let soft = &mut self.state.recovery;
        let before = soft.unconvinced.insert(hello.host.clone(), reason.to_owned());
        if before.as_deref() != Some(reason) {
            work.note(Topic::Fleet, &hello.host, text, Vec::new());
        }
        work.sends.push(Send::Close { link });
    }

    /// A host shows what it keeps: what is newer than this store is taken over.
    pub(super) fn shown(&mut self, link: Link, kept: &Kept, work: &mut Work) {
        // Ports are unique in one cell only, and what several had cannot be told apart in one yet.
        if let Some(cell) = kept.host.map(|id| many::of_id(id.0)).filter(|of| *of != many::FIRST) {
            let why = format!(
                "it is of cell {cell}, and only a control plane of one cell can be made anew from its hosts yet"
            );
            return self.unconvinced(link, &why, work);
        }
        let Some(hello) = self.state.recovery.asked.remove(&link) else { return };
        let Some(succession) = self.succession(&hello) else { return };
        if let Some(recovery) = self.state.row.recovery.as_mut() {
            recovery.succeeds.clone_from(&succession.succeeds);
            let older = kept.past.iter().filter(|store| !succession.succeeds.contains(store));
            recovery.succeeds.extend(older.cloned());
        }
        work.cell = true;
        let id = self.host_of(&hello, kept, work);
        self.attach(id, link, &hello, work);
        let services = self.adopt(id, kept, work);
        // What it reported before its members were known is reported again.
        work.sends.push(Send::Agent { link, message: ToAgent::SendAll });
        self.state.recovery.unconvinced.remove(&hello.host);
        self.state.recovery.shown.insert(id);
        let text = format!(
            "showed what it keeps by store {}: {} members of {} services",
            kept.store.0,
            kept.members.len(),
            services.len()
        );
        work.note(Topic::Fleet, &hello.host, text, Vec::new());
        if self.recovers() {
            self.end_if_whole(work);
            return;
        }
        for service in services {
            self.freeze(service, work);
            work.routes.insert(service);
        }
        self.welcome(id, link, work);
    }

    /// A host of this store obeys another one.
    pub(super) fn left_for(&mut self, host: &str, store: &StoreId, work: &mut Work) {
        let before = self.state.recovery.left_for.replace(store.clone());
        if before.as_ref() != Some(store) {
            let text = format!(
                "{host} obeys store {} now: this one was succeeded, and orders nothing any more",
                store.0
            );
            work.note(Topic::Fleet, "fleet", text, Vec::new());
        }
    }

    fn end_if_whole(&mut self, work: &mut Work) {
        let Some(recovery) = &self.state.row.recovery else { return };
        let shown = &self.state.recovery.shown;
        let whole = match recovery.hosts {
            Some(hosts) => shown.len() >= usize::try_from(hosts).unwrap_or(usize::MAX),
            None => self.state.hosts.keys().all(|host| shown.contains(&host)),
        };
        if whole {
            self.end_recovery(work);
        }
    }

    /// Why no order is taken, if none is.
    pub(super) fn orders_nothing(&self) -> Option<Error> {
        if let Some(store) = &self.state.recovery.left_for {
            return Some(Error::Succeeded { store: store.0.clone() });
        }
        self.awaits().map(|waits| Error::Recovering { waits })
    }

    /// A person says that no more hosts will show what they keep, and how many have.
    pub(super) fn order_end(&mut self, hosts: u32, work: &mut Work) -> Result<Accepted, Error> {
        if !self.recovers() {
            return Err(Error::NotRecovering);
        }
        let shown = u32::try_from(self.state.recovery.shown.len()).unwrap_or(u32::MAX);
        if shown != hosts || shown == 0 {
            let waits = self.awaits().unwrap_or_default();
            return Err(Error::OtherHosts { named: hosts, shown, waits });
        }
        self.end_recovery(work);
        let services = self.state.by_name.len();
        let text = format!("{services} services of {shown} hosts are under control again");
        Ok(Accepted { service: None, operation: None, job: None, text })
    }

    /// What was shown is all there is for now: its hosts are welcomed, and the cell goes on.
    fn end_recovery(&mut self, work: &mut Work) {
        if let Some(recovery) = self.state.row.recovery.as_mut() {
            (recovery.done, recovery.open) = (true, false);
        }
        let shown = self.state.recovery.shown.clone();
        if self.state.hosts.keys().any(|host| !shown.contains(&host)) {
            let row = &mut self.state.row;
            row.services.0 = row.services.0.saturating_add(IDS_AHEAD);
            row.members.0 = row.members.0.saturating_add(IDS_AHEAD);
            row.hosts.0 = row.hosts.0.saturating_add(IDS_AHEAD);
        }
        let ids: Vec<ServiceId> = self.state.services.keys().collect();
        for &id in &ids {
            self.freeze(id, work);
        }
        work.services.extend(&ids);
        (work.cell, work.new_routes) = (true, true);
        let text = format!(
            "{} services of {} hosts are under control again, by store {}",
            ids.len(),
            shown.len(),
            self.setup.store.0
        );
        work.note(Topic::Fleet, "fleet", text, Vec::new());
        for id in shown {
            if let Some(link) = self.state.hosts.get(&id).and_then(|host| host.link) {
                self.welcome(id, link, work);
            }
        }
        work.gateways.extend(self.state.gateways.keys().copied());
    }
}
