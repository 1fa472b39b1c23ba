//! Modelled poolers: they run, are paused and resumed, and die with their host.

use evenkeel_core::agent::Input;
use evenkeel_core::agent::poolers::Call;
use evenkeel_core::driver::Error;
use evenkeel_core::id::ServiceId;
use evenkeel_core::pooler::{Kept, Pooler};
use evenkeel_core::service::State;
use evenkeel_core::time::Span;

use super::{Event, Weather, World};

/// How often a client's transaction is open when a pause is asked for, in percent.
const OPEN_PERCENT: u64 = 30;
/// How often a call fails.
const FAIL_PERCENT: u64 = 3;

impl World {
    /// An agent calls: it takes a while.
    pub(super) fn call_pooler(&mut self, n: usize, life: u64, call: Call) {
        let took = self.takes(Span(5), Span(30), 3, Span(2500));
        self.at(took, Event::Pooler(n, life, Box::new(call)));
    }

    /// A call about a pooler comes to its end. Those of an agent that died meanwhile come to none.
    pub(super) fn pooler_called(&mut self, n: usize, life: u64, call: &Call) {
        if life != self.hosts[n].life || self.hosts[n].brain.is_none() {
            return;
        }
        let rough = self.options.weather == Weather::Rough;
        let mut by_chance = |percent| rough && self.network.percent(percent);
        let (fails, open) = (by_chance(FAIL_PERCENT), by_chance(OPEN_PERCENT));
        let poolers = &mut self.hosts[n].poolers;
        let outcome = match &call.wanted {
            _ if fails => Err(Error::Failed("it does not answer".to_owned())),
            None => {
                poolers.remove(&call.service);
                Ok(None)
            }
            Some(wanted) => {
                let before = poolers.insert(call.service, wanted.clone());
                let new = wanted.paused && !before.is_some_and(|before| before.paused);
                Ok(Some(Kept { pid: call.service.0, so: !(new && open) }))
            }
        };
        let (service, number) = (call.service, call.number);
        self.at(Span(0), Event::Told(n, life, Input::Pooler { service, number, outcome }));
    }

    /// A pooler's process is killed, if one runs; its agent is told.
    pub fn kill_pooler(&mut self, n: usize) {
        let Some((&service, _)) = self.hosts[n].poolers.first_key_value() else { return };
        self.hosts[n].poolers.remove(&service);
        let life = self.hosts[n].life;
        self.at(Span::millis(2), Event::Told(n, life, Input::PoolerDied { service }));
    }

    /// What is wrong with the pooled endpoints once nothing breaks any more: every open one serves, and
    /// no other is left.
    pub fn poolers_wrong(&self) -> Option<String> {
        let services = self.services();
        self.hosts.iter().filter(|host| host.brain.is_some()).find_map(|host| {
            let paused = |(id, pooler): (&ServiceId, &Pooler)| {
                pooler.paused.then(|| format!("{}: the pooler of {id} is left paused", host.name))
            };
            let left = |id: &&ServiceId| !services.iter().any(|service| service.id == **id);
            let missing = services.iter().find(|service| {
                let pooled = service.pooled_port.is_some() && service.state == State::Available;
                host.keeps_poolers && pooled && !host.poolers.contains_key(&service.id)
            });
            host.poolers
                .iter()
                .find_map(paused)
                .or_else(|| {
                    let left = host.poolers.keys().find(left)?;
                    Some(format!("{}: the pooler of {left} is left over", host.name))
                })
                .or_else(|| Some(format!("{}: {} has no pooler", host.name, missing?.name)))
        })
    }
}
