//! What several cells show, as one: of the fleet, of its channels, of remedies. One cell's page stays as it is.

use evenkeel_core::time::Span;
use evenkeel_core::view;

/// Normal, as cells say it.
const NORMAL: &str = "normal";

/// The first page, with what the others add to it.
fn fold<T>(pages: Vec<T>, mut add: impl FnMut(&mut T, T)) -> Option<T> {
    let mut pages = pages.into_iter();
    let mut all = pages.next()?;
    pages.for_each(|page| add(&mut all, page));
    Some(all)
}

/// The fleet at a glance.
pub(super) fn fleet(pages: Vec<view::Fleet>) -> Option<view::Fleet> {
    let many = pages.len() > 1;
    let mut all = fold(pages, |all, page| {
        all.now = all.now.max(page.now);
        all.began = all.began.min(page.began);
        if all.posture == NORMAL {
            all.posture = page.posture;
        }
        all.brake = all.brake.take().or(page.brake);
        for (state, count) in page.services {
            match all.services.iter_mut().find(|(known, _)| *known == state) {
                Some((_, known)) => *known += count,
                None => all.services.push((state, count)),
            }
        }
        all.hosts.extend(page.hosts);
        all.gateways.extend(page.gateways);
        let new = page.findings.into_iter().filter(|found| {
            // Every cell has the fleet's channels, and finds the same of them.
            !all.findings.iter().any(|k| (&k.check, &k.subject) == (&found.check, &found.subject))
        });
        let new: Vec<view::Finding> = new.collect();
        all.findings.extend(new);
    })?;
    if many {
        all.services.sort_by_key(|(state, _)| *state);
        all.hosts.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Some(all)
}

/// The chain, and what its channels did for whichever cell used them last.
pub(super) fn alerts(pages: Vec<view::Alerts>) -> Option<view::Alerts> {
    let many = pages.len() > 1;
    let mut all = fold(pages, |all, page| {
        for channel in page.channels {
            let Some(known) = all.channels.iter_mut().find(|known| known.name == channel.name)
            else {
                all.channels.push(channel);
                continue;
            };
            let ago = |last: &Option<view::AlertOutcome>| last.as_ref().map(|last| last.ago_ms);
            known.told_ms = known.told_ms.into_iter().chain(channel.told_ms).min();
            known.awaited += channel.awaited;
            let is_newer = ago(&channel.last)
                .is_some_and(|new| ago(&known.last).is_none_or(|old: Span| new < old));
            if is_newer {
                (known.last, known.failing_ms) = (channel.last, channel.failing_ms);
            }
            known.exercised = known.exercised.take().or(channel.exercised);
        }
        all.down = all.down.take().or(page.down);
        all.exercise_in_ms = all.exercise_in_ms.or(page.exercise_in_ms);
        all.acknowledged.extend(page.acknowledged);
    })?;
    if many {
        all.acknowledged.sort_by_key(|known| known.ack.ago_ms);
    }
    Some(all)
}

/// Remedies: their levels are the fleet's, what runs is every cell's.
pub(super) fn remedies(pages: Vec<Vec<view::Remedy>>) -> Vec<view::Remedy> {
    let all = fold(pages, |all, page| {
        for (known, other) in all.iter_mut().zip(page) {
            known.running = known.running.saturating_add(other.running);
            known.fails = known.fails.take().or(other.fails);
            for place in other.elsewhere {
                if !known.elsewhere.contains(&place) {
                    known.elsewhere.push(place);
                }
            }
        }
    });
    all.unwrap_or_default()
}
