//! The timeline of a scenario: what happens when, and to whom.

use std::collections::VecDeque;

use evenkeel_core::time::{Span, Time};

use super::events::Event;
use super::outcome::Told;
use super::script::{Script, Share, Storage, What};
use super::seat::Seat;
use super::{Fleet, ZONES};

/// What is still to come.
pub(super) struct Timeline(VecDeque<(Time, What)>);

impl Timeline {
    pub fn new(script: &Script, began: Time) -> Self {
        let mut all: Vec<(Time, What)> =
            script.timeline.iter().map(|line| (began + line.at.0, line.what.clone())).collect();
        all.sort_by_key(|(at, _)| *at);
        Self(all.into())
    }

    pub fn next(&self) -> Option<Time> {
        self.0.front().map(|(at, _)| *at)
    }
}

impl Fleet<'_> {
    /// Everything that is due happens.
    pub(super) fn happen(&mut self) {
        while let Some((at, what)) = self.timeline.0.front().cloned()
            && at <= self.now
        {
            self.timeline.0.pop_front();
            let text = words(&what);
            self.told.push(Told { at: self.now.since(self.began), text });
            self.one(&what);
            self.calm = false;
        }
    }

    fn one(&mut self, what: &What) {
        match what {
            What::Storage(is) => {
                self.storage.answers = *is == Storage::Up;
                self.storage_turns();
            }
            What::Dns(is) => {
                self.storage.named = *is == Storage::Up;
                self.people.named = *is == Storage::Up;
                self.storage_turns();
            }
            What::Channel { name, is } => drop(self.people.channel(name, *is)),
            What::PowerOff(share) => self.for_while(share, |n, is| Event::Power(n, !is)),
            What::RestartAgents(share) => self.for_while(share, |n, is| Event::Agent(n, !is)),
            What::CutOff(share) => self.for_while(share, |n, is| Event::Side(n, u8::from(is))),
            What::Lossy(share) => {
                let pairs = u8::try_from(share.pairs_percent).unwrap_or(100);
                self.for_while(share, |n, is| Event::Ill(n, if is { pairs } else { 0 }));
            }
            What::Slow(share) => {
                let by = share.by.0;
                self.for_while(share, |n, is| Event::Slow(n, if is { by } else { Span(0) }));
            }
            What::BadImage(share) => self.crew.each(|seat| seat.image_turns_bad(share)),
            What::StuckArchive(share) => self.for_while(share, Event::Stuck),
            What::ControlStore(is) => {
                self.crew.each(|seat| seat.takes_records = *is == Storage::Up);
            }
            What::ClockJump { percent, by_s } => {
                self.crew.each(|seat| seat.clocks_jump(*percent, *by_s));
            }
            What::CutStreams(share) => self.crew.each(|seat| {
                seat.some_hosts(share, |seat, n, at, _| seat.at(at, Event::Cut(n)));
            }),
            What::KillServers(share) => self.crew.each(|seat| {
                let members: Vec<_> =
                    seat.members.iter().flatten().map(|m| (m.id(), m.host)).collect();
                for (id, host) in members {
                    if let Some((at, _)) = seat.draw(share, host) {
                        seat.at(at, Event::Die(id));
                    }
                }
            }),
            What::KillControllers { away } => {
                let away = away.0;
                self.crew.each(|seat| {
                    if seat.store.is_some() {
                        seat.kill_controller(Some(away));
                    }
                });
            }
        }
    }

    /// Something is so of some hosts, each from a moment of its own on and until another.
    fn for_while(&mut self, share: &Share, event: impl Fn(usize, bool) -> Event) {
        self.crew.each(|seat| {
            seat.some_hosts(share, |seat, n, at, lasts| {
                seat.at(at, event(n, true));
                seat.at(at + lasts, event(n, false));
            });
        });
    }

    /// Storage is reached from now on, or is not.
    fn storage_turns(&mut self) {
        self.storage.turns(self.now);
        let up = self.storage.up();
        self.crew.each(|seat| seat.storage_turns(up));
    }
}

impl Seat {
    /// Whether one on a host is among those that are meant, after how long it begins for it, and how long it
    /// lasts.
    pub(super) fn draw(&mut self, share: &Share, host: usize) -> Option<(Span, Span)> {
        let zone = ZONES[self.hosts[host].zone % ZONES.len()];
        let rack = self.hosts[host].rack.as_deref();
        if share.zone.as_deref().is_some_and(|wanted| wanted != zone)
            || share.rack.as_deref().is_some_and(|wanted| Some(wanted) != rack)
            || share.region.is_some_and(|wanted| wanted != self.region)
            || !self.chance.percent(share.percent)
        {
            return None;
        }
        let at = Span(self.chance.below(share.within.0.0 + 1));
        Some((at, share.lasts.0 + Span(self.chance.below(share.and_up_to.0.0 + 1))))
    }

    pub(super) fn some_hosts(
        &mut self,
        share: &Share,
        mut with: impl FnMut(&mut Self, usize, Span, Span),
    ) {
        for n in 0..self.hosts.len() {
            if let Some((at, lasts)) = self.draw(share, n) {
                with(self, n, at, lasts);
            }
        }
    }
}

fn some(share: &Share, what: &str) -> String {
    let zone = share.zone.as_ref().map(|zone| format!(" of zone {zone}"));
    let rack = share.rack.as_ref().map(|rack| format!(" of rack {rack}"));
    let region = share.region.as_ref().map(|region| format!(" of region {region}"));
    let zone: String = [zone, rack, region].into_iter().flatten().collect();
    let within = match share.within.0.0 {
        0 => String::new(),
        _ => format!(", one after the other within {}", share.within.0),
    };
    format!("{} % of {what}{zone}{within}", share.percent)
}

/// What happens, for people.
fn words(what: &What) -> String {
    let lasts = |share: &Share| match (share.lasts.0.0, share.and_up_to.0.0) {
        (_, 0) => share.lasts.0.to_string(),
        (_, more) => format!("{} to {}", share.lasts.0, share.lasts.0 + Span(more)),
    };
    match what {
        What::Storage(Storage::Down) => "object storage gives no answer any more".to_owned(),
        What::Storage(Storage::Up) => "object storage answers again".to_owned(),
        What::Dns(Storage::Down) => "names are not resolved any more".to_owned(),
        What::Dns(Storage::Up) => "names are resolved again".to_owned(),
        What::Channel { name, is } => format!("channel {name} {is}"),
        What::PowerOff(share) => {
            format!("{} lose their power, for {}", some(share, "hosts"), lasts(share))
        }
        What::KillServers(share) => format!("{} die", some(share, "servers")),
        What::CutOff(share) => {
            format!("{} are cut off, for {}", some(share, "hosts"), lasts(share))
        }
        What::Lossy(share) => format!(
            "{} lose what goes over {} % of their links, each way, for {}",
            some(share, "hosts"),
            share.pairs_percent,
            lasts(share)
        ),
        What::Slow(share) => format!(
            "what {} send and are sent takes {} longer each way, for {}",
            some(share, "hosts"),
            share.by.0,
            lasts(share)
        ),
        What::BadImage(share) => {
            format!("servers that run the canary image die after each start, for {}", lasts(share))
        }
        What::StuckArchive(share) => {
            format!("archives of {} are stuck, for {}", some(share, "hosts"), lasts(share))
        }
        What::ControlStore(Storage::Down) => "the store of controllers takes nothing".to_owned(),
        What::ControlStore(Storage::Up) => "the store of controllers takes all again".to_owned(),
        What::ClockJump { percent, by_s } => {
            format!("clocks of {percent} % of hosts and of all controllers jump by {by_s} s")
        }
        What::RestartAgents(share) => {
            format!("{} are restarted, each away for {}", some(share, "agents"), lasts(share))
        }
        What::CutStreams(share) => format!("streams of {} end", some(share, "agents")),
        What::KillControllers { away } => {
            format!("controllers are killed, and away for {}", away.0)
        }
    }
}
