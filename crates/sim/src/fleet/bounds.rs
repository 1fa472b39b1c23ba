//! Whether a script is one that can be run, and says something: what would never happen, or could mean nothing, is
//! refused by name instead of being passed over.

use std::fmt::Display;

use evenkeel_core::cell::Posture;
use evenkeel_core::time::Span;

use super::script::{Expect, Happening, Script, Shape, Share, What};
use super::seat::NO_CONTROLLER;
use crate::kinds;
use crate::scenario::Error;

/// Most services of a scenario.
const SERVICES_MAX: u32 = 4_000_000;
/// Most services of a cell: each takes two ports or three of one range.
const PER_CELL_MAX: u32 = 10_000;
/// Most regions.
const REGIONS_MAX: u8 = 8;
/// Most that is written in one file.
const FAULTS_MAX: usize = 500;
/// Links are slower by this much at most.
const SLOW_MAX_MS: u64 = 60_000;
/// Wall clocks jump by this much at most, in seconds.
const JUMP_MAX_S: u64 = 10 * 365 * 86_400;

impl Script {
    /// Whether it can be run.
    ///
    /// # Errors
    /// [`Error::Bounds`].
    pub fn check(&self) -> Result<(), Error> {
        self.sound().map_err(|what| Error::Bounds { name: self.name.clone(), what })
    }

    fn sound(&self) -> Result<(), String> {
        self.policy.check().map_err(|why| format!("policy: {why}"))?;
        self.fleet.check(self.policy.host_members_max)?;
        within("timeline: lines", self.timeline.len(), 0, FAULTS_MAX)?;
        for line in &self.timeline {
            self.check_line(line).map_err(|why| format!("timeline: {why}"))?;
        }
        self.assertions.iter().try_for_each(check_expect)
    }

    /// Whether what happens is in time, lasts, and names what there is.
    fn check_line(&self, line: &Happening) -> Result<(), String> {
        if line.at.0 >= self.fleet.lasts.0 {
            let (at, lasts) = (line.at.0, self.fleet.lasts.0);
            return Err(format!("at {at} it is over: it lasts {lasts}"));
        }
        match &line.what {
            What::Channel { name, .. } => {
                let known = self.fleet.channels.iter().any(|channel| channel.as_str() == name);
                known.then_some(()).ok_or_else(|| format!("there is no channel {name}"))
            }
            What::PowerOff(share)
            | What::CutOff(share)
            | What::Lossy(share)
            | What::StuckArchive(share)
            | What::RestartAgents(share) => self.fleet.check_share(share).and(lasts(share)),
            What::Slow(share) => {
                within("by, in milliseconds", share.by.0.0, 1, SLOW_MAX_MS)?;
                self.fleet.check_share(share).and(lasts(share))
            }
            What::BadImage(share) if self.fleet.canary_percent > 0 => {
                self.fleet.check_share(share).and(lasts(share))
            }
            What::BadImage(_) => {
                Err("bad_image is for nobody: the fleet's canary_percent is 0".to_owned())
            }
            What::KillServers(share) | What::CutStreams(share) => self.fleet.check_share(share),
            What::ClockJump { percent, by_s } => {
                within("percent", *percent, 1, 100)?;
                within("by_s, either way", by_s.unsigned_abs(), 1, JUMP_MAX_S)
            }
            What::Storage(_)
            | What::Dns(_)
            | What::ControlStore(_)
            | What::KillControllers { .. } => Ok(()),
        }
    }
}

impl Shape {
    /// Whether there can be such a fleet, with so many members of a host at most.
    fn check(&self, members_max: u32) -> Result<(), String> {
        within("services", self.services, 1, SERVICES_MAX)?;
        within("per_cell", self.per_cell, 1, PER_CELL_MAX)?;
        within("per_host", self.per_host, 1, members_max)?;
        within("zones", usize::from(self.zones), 1, super::ZONES.len())?;
        within("regions", self.regions, 1, REGIONS_MAX)?;
        within("canary_percent", self.canary_percent, 0, 100)?;
        within("disk_gib", self.disk_gib, 1, 1 << 20)?;
        within("storage_per_thousand", self.storage_per_thousand, 1, 1 << 32)?;
        let (from, to) = self.used_percent;
        within("used_percent: the first", from, 0, to)?;
        within("used_percent: the second", to, from, 99)?;
        if self.lasts.0 < Span::secs(1) {
            return Err(format!("lasts: a second at least, not {}", self.lasts.0));
        }
        for (n, channel) in self.channels.iter().enumerate() {
            if self.channels[..n].contains(channel) {
                return Err(format!("channels: {channel} is there twice"));
            }
        }
        if let Some(other) = self.by_address.iter().find(|name| !self.channels.contains(name)) {
            return Err(format!("by_address: there is no channel {other}"));
        }
        if let Some(plan) = self.plans.keys().find(|plan| kinds::plan(plan).is_none()) {
            let known = kinds::plans().collect::<Vec<_>>().join(", ");
            return Err(format!("plans: there is no plan {plan}; there are: {known}"));
        }
        if self.plans.values().map(|share| u32::from(*share)).sum::<u32>() > 100 {
            return Err("plans: more than a hundred of a hundred".to_owned());
        }
        Ok(())
    }

    /// Whether somebody is meant.
    fn check_share(&self, share: &Share) -> Result<(), String> {
        within("percent", share.percent, 1, 100)?;
        within("pairs_percent", share.pairs_percent, 1, 100)?;
        let zones = &super::ZONES[..usize::from(self.zones)];
        let (racks, regions) = (self.racks, self.regions);
        if let Some(region) = share.region.filter(|region| !(1..=regions).contains(region)) {
            return Err(format!("there is no region {region}; there are {regions}"));
        }
        let is = |rack: &str, zone: &str| {
            let number = rack.strip_prefix(zone).and_then(|n| n.parse::<u8>().ok());
            number.is_some_and(|number| (1..=racks).contains(&number))
        };
        if let Some(rack) = &share.rack
            && !zones.iter().any(|zone| is(rack, zone))
        {
            return Err(format!("there is no rack {rack}; each zone has {racks} (a1, a2 ...)"));
        }
        match &share.zone {
            Some(zone) if !zones.contains(&zone.as_str()) => {
                Err(format!("there is no zone {zone}; there are: {}", zones.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

fn check_expect(expect: &Expect) -> Result<(), String> {
    match expect {
        Expect::Posture { is, percent } => {
            within("assertions: percent of a posture", *percent, 1, 100)?;
            let names = [Posture::NAMES.as_slice(), &[NO_CONTROLLER]].concat();
            if names.contains(&is.as_str()) {
                return Ok(());
            }
            let names = names.join(", ");
            Err(format!("assertions: there is no posture {is}; there are: {names}"))
        }
        Expect::RemedyMax { name, .. } => {
            let all = evenkeel_kinds::remedies::bundled();
            let names: Vec<&str> = all.iter().map(|remedy| &*remedy.name).collect();
            let text = || {
                format!("assertions: there is no remedy {name}; there are: {}", names.join(", "))
            };
            if names.contains(&name.as_str()) { Ok(()) } else { Err(text()) }
        }
        _ => Ok(()),
    }
}

/// Something that ends when it begins did not happen.
fn lasts(share: &Share) -> Result<(), String> {
    let longest = share.lasts.0.0 + share.and_up_to.0.0;
    let text = || "it says how long: lasts = \"5 min\"".to_owned();
    if longest == 0 { Err(text()) } else { Ok(()) }
}

fn within<T: PartialOrd + Display>(what: &str, is: T, from: T, to: T) -> Result<(), String> {
    let text = || format!("{what}: {from} to {to}, not {is}");
    if from <= is && is <= to { Ok(()) } else { Err(text()) }
}
