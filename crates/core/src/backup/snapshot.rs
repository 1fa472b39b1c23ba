//! Snapshots of a control plane's own store in the fleet's repositories: their names, what is readable of
//! them without a key, and which of them stay.
//!
//! ```text
//! fleet/<store>/<moment>-<sequence>/store      the sealed copy
//! fleet/<store>/<moment>-<sequence>/manifest   written last: a snapshot without one is none
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::goal::StoreId;
use crate::moment::Moment;
use crate::time::Span;

/// Where all of them are.
pub const ROOT: &str = "fleet";
/// The newest so many stay.
const LAST: usize = 10;
/// One an hour stays for so long, then one a day.
const HOURLY: Span = Span::mins(24 * 60);
/// One a day stays for so long.
const DAILY: Span = Span::mins(30 * 24 * 60);

/// What is readable of a snapshot. None of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this.
    pub version: u8,
    /// The store that it is of.
    pub store: StoreId,
    /// The stores which that one succeeded.
    pub succeeds: Vec<StoreId>,
    /// The store's sequence: it grows with everything that is recorded.
    pub sequence: u64,
    /// When it was taken, by the controller's clock.
    pub at: Moment,
    /// How many services are in it.
    pub services: usize,
    /// How many hosts.
    pub hosts: usize,
    /// Bytes of the copy.
    pub bytes: u64,
    /// The check digits of the fleet's key that it is sealed for.
    pub key: String,
}

/// The version this release writes.
pub const VERSION: u8 = 1;

impl Manifest {
    /// The snapshot's name among its store's. Names are in order of time.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{:016}-{:020}", self.at.millis(), self.sequence)
    }

    /// Its place in a repository.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{ROOT}/{}/{}", self.store.0, self.name())
    }
}

/// When a snapshot was taken, by its name; `None`: it is no name of one.
#[must_use]
pub fn moment(name: &str) -> Option<Moment> {
    let (at, sequence) = name.split_once('-')?;
    sequence.parse::<u64>().ok()?;
    at.parse().ok().map(Moment::of_millis)
}

/// Which of a store's snapshots are not needed any more: all but the last ten, the newest of each hour of
/// a day, and the newest of each day of a month.
#[must_use]
pub fn surplus(names: &[String], now: Moment) -> Vec<String> {
    let mut known: Vec<(Moment, &String)> =
        names.iter().filter_map(|name| moment(name).map(|at| (at, name))).collect();
    known.sort_unstable();
    let mut taken = BTreeSet::new();
    let mut gone = Vec::new();
    for (place, (at, name)) in known.iter().rev().enumerate() {
        let (age, at) = (now.since(*at), at.millis());
        let hour = (age < HOURLY).then(|| (Span::mins(60), at / Span::mins(60).0));
        let day = (age < DAILY).then(|| (Span::mins(1440), at / Span::mins(1440).0));
        let first = [hour, day].into_iter().flatten().fold(false, |first, of| {
            // Both are taken by the newest, so that the day's newest does not go with its hour.
            taken.insert(of) | first
        });
        if place >= LAST && !first {
            gone.push((*name).clone());
        }
    }
    gone.reverse();
    gone
}

/// The manifests of stores that no other store succeeded, newest first.
#[must_use]
pub fn heads(mut all: Vec<Manifest>) -> Vec<Manifest> {
    let past: BTreeSet<StoreId> = all.iter().flat_map(|m| m.succeeds.iter().cloned()).collect();
    all.retain(|manifest| !past.contains(&manifest.store));
    all.sort_by_key(|manifest| std::cmp::Reverse((manifest.at, manifest.sequence)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn manifest(store: &str, succeeds: &[&str], minute: u64) -> Manifest {
        Manifest {
            version: VERSION,
            store: StoreId(store.to_owned()),
            succeeds: succeeds.iter().map(|store| StoreId((*store).to_owned())).collect(),
            sequence: minute,
            at: Moment::of_millis(minute * MINUTE),
            services: 0,
            hosts: 0,
            bytes: 0,
            key: String::new(),
        }
    }

    #[test]
    fn names_tell_when_and_are_in_order() {
        let names = [9, 10, 100_000].map(|minute| manifest("a", &[], minute).name());
        assert!(names.is_sorted());
        assert_eq!(moment(&names[1]), Some(Moment::of_millis(10 * MINUTE)));
        for wrong in ["", "manifest", "12", "x-1", "1-x"] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_stay_and_one_an_hour_and_one_a_day() {
        // One a minute for 40 days, thinned as it goes.
        let (mut held, day) = (Vec::new(), 24 * 60);
        for minute in 0..40 * day {
            held.push(manifest("a", &[], minute).name());
            if minute % 10 == 0 {
                let gone = surplus(&held, Moment::of_millis(minute * MINUTE));
                held.retain(|name| !gone.contains(name));
            }
        }
        let now = 40 * day - 1;
        let gone = surplus(&held, Moment::of_millis(now * MINUTE));
        held.retain(|name| !gone.contains(name));
        let ages: Vec<u64> =
            held.iter().map(|name| now - moment(name).expect("a name").millis() / MINUTE).collect();
        let within =
            |from: u64, to: u64| ages.iter().filter(|age| (from..to).contains(*age)).count();
        assert_eq!(within(0, 10), 10, "{ages:?}");
        assert!((23..=25).contains(&within(10, day)), "one an hour: {ages:?}");
        assert!((28..=30).contains(&within(day, 30 * day)), "one a day: {ages:?}");
        assert_eq!(within(30 * day, u64::MAX), 0, "{ages:?}");
    }

    #[test]
    fn what_is_no_snapshot_stays() {
        let names = vec!["something".to_owned()];
        assert!(surplus(&names, Moment::of_millis(u64::MAX >> 12)).is_empty());
    }

    #[test]
    fn a_store_that_was_succeeded_is_none_to_go_on_from() {
        let all = vec![
            manifest("a", &[], 1),
            manifest("a", &[], 90),
            manifest("b", &["a"], 50),
            manifest("b", &["a"], 60),
        ];
        let heads: Vec<u64> = heads(all).iter().map(|m| m.sequence).collect();
        assert_eq!(heads, [60, 50], "though somebody went on with the old one");
    }
}
