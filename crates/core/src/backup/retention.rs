//! Which backups may go.
//!
//! Invariants, over every world that the tests enumerate: the newest way back stays; the newest that was
//! proven stays; whatever is kept has what it is restored with; every moment of the promised window can
//! be restored afterwards if it could be before.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is being taken.
    Running,
    /// It came to nothing.
    Failed,
    /// Every byte of it is in a repository.
    Complete,
    /// It was restored, and what came up was right.
    Proven,
}

impl Standing {
    /// Whether a service can come back from it.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Complete | Self::Proven)
    }
}

/// A backup as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its number within its service; later ones have higher ones.
    pub id: u32,
    /// When it ended: what it was taken of can be restored as of then and later.
    pub ended: Time,
    /// How far it is.
    pub standing: Standing,
    /// The one that it holds only the difference to.
    pub upon: Option<u32>,
}

/// What a plan keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// At least so many whole ones, at least one.
    pub count: usize,
    /// Any moment can be restored that is no longer ago than this.
    pub window: Span,
}

/// Which of a service's backups may go. Whoever asks while repositories may be out of reach does not ask.
#[must_use]
pub fn expirable(held: &[Held], keep: Keep, now: Time) -> Vec<u32> {
    let kept = kept(held, keep, now);
    held.iter().map(|backup| backup.id).filter(|id| !kept.contains(id)).collect()
}

fn kept(held: &[Held], keep: Keep, now: Time) -> BTreeSet<u32> {
    let mut whole: Vec<&Held> = held.iter().filter(|backup| backup.standing.is_whole()).collect();
    whole.sort_by_key(|backup| (backup.ended, backup.id));
    let newest = whole.iter().rev().take(keep.count.max(1));
    let within = |backup: &&&Held| now.since(backup.ended) <= keep.window;
    let first = whole.iter().position(|backup| within(&backup)).unwrap_or(whole.len());
    // The moments before the first of those inside are restored from the one before it.
    let inside = whole[first.saturating_sub(1)..].iter();
    let proven = whole.iter().rev().find(|backup| backup.standing == Standing::Proven);
    let mut kept: BTreeSet<u32> = newest.chain(inside).chain(proven).map(|b| b.id).collect();
    kept.extend(held.iter().filter(|b| b.standing == Standing::Running).map(|b| b.id));
    // Whatever is kept needs what it builds on, and that what it builds on.
    loop {
        let needs = held.iter().filter(|b| kept.contains(&b.id)).filter_map(|b| b.upon);
        let more: Vec<u32> = needs.filter(|id| !kept.contains(id)).collect();
        if more.is_empty() {
            return kept;
        }
        kept.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDINGS: [Standing; 4] =
        [Standing::Running, Standing::Failed, Standing::Complete, Standing::Proven];
    const NOW: Time = Time(100);

    /// Every history of so many backups, ten apart, each whole or building on the one before.
    fn worlds(count: u32) -> Vec<Vec<Held>> {
        let mut all = vec![Vec::new()];
        for id in 1..=count {
            let longer = |world: &Vec<Held>| -> Vec<Vec<Held>> {
                let of = |standing: Standing, upon: Option<u32>| {
                    let ended = Time(u64::from(id) * 10);
                    [world.clone(), vec![Held { id, ended, standing, upon }]].concat()
                };
                let before = world.last().filter(|last| last.standing.is_whole()).map(|b| b.id);
                STANDINGS
                    .into_iter()
                    .flat_map(|standing| {
                        let upon = before.map(|before| of(standing, Some(before)));
                        [Some(of(standing, None)), upon].into_iter().flatten()
                    })
                    .collect()
            };
            all = all.iter().flat_map(longer).collect();
        }
        all
    }

    fn restorable(held: &[Held], at: Time) -> bool {
        held.iter().any(|b| {
            let has = |id: u32| held.iter().any(|other| other.id == id);
            b.standing.is_whole() && b.ended <= at && b.upon.is_none_or(has)
        })
    }

    #[test]
    fn the_last_way_back_is_never_let_go() {
        let mut seen = 0;
        for count in 0..=5 {
            for world in worlds(count) {
                for keep in [(0, 0), (1, 0), (2, 0), (1, 65), (3, 65), (1, 1000)] {
                    let keep = Keep { count: keep.0, window: Span(keep.1) };
                    let gone = expirable(&world, keep, NOW);
                    let left: Vec<Held> =
                        world.iter().filter(|b| !gone.contains(&b.id)).copied().collect();
                    let whole = |b: &&Held| b.standing.is_whole();
                    let of = |held: &[Held], proven: bool| {
                        let found = held.iter().filter(whole);
                        let found = found.filter(|b| !proven || b.standing == Standing::Proven);
                        found.map(|b| b.id).max()
                    };
                    assert_eq!(of(&left, false), of(&world, false), "newest: {world:?}");
                    assert_eq!(of(&left, true), of(&world, true), "proven: {world:?}");
                    for backup in &left {
                        let there = |id: u32| left.iter().any(|other| other.id == id);
                        assert!(backup.upon.is_none_or(there), "{backup:?} of {left:?}");
                    }
                    for at in NOW.0.saturating_sub(keep.window.0)..=NOW.0 {
                        let before = restorable(&world, Time(at));
                        assert_eq!(restorable(&left, Time(at)), before, "{at}: {world:?}");
                    }
                    let least = keep.count.min(world.iter().filter(whole).count());
                    assert!(left.iter().filter(whole).count() >= least);
                    let again = expirable(&left, keep, NOW);
                    assert!(again.is_empty(), "it was all let go at once: {world:?}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 10_000, "{seen} worlds are few");
    }

    #[test]
    fn what_is_past_its_time_goes() {
        let held =
            |id: u32, standing| Held { id, ended: Time(u64::from(id) * 10), standing, upon: None };
        let all = [
            held(1, Standing::Complete),
            held(2, Standing::Failed),
            held(3, Standing::Proven),
            held(4, Standing::Complete),
            held(5, Standing::Complete),
        ];
        let keep = |count, window| expirable(&all, Keep { count, window: Span(window) }, NOW);
        assert_eq!(keep(1, 0), [1, 2, 4], "the newest and the proven one stay");
        assert_eq!(keep(1, 55), [1, 2], "4 has what happened before 5");
        assert_eq!(keep(4, 0), [2], "a failed one is never counted");
    }
}
