//! What can be had back from an archive, by the rules that a real server restores by: timelines are
//! followed by their histories, and only "it is not there" is the end of the log.

use evenkeel_core::backup::archive::{Error, restore_exit};
use evenkeel_core::backup::lineage::{Seed, Target};
use evenkeel_core::driver;
use evenkeel_core::promise::Position;
use evenkeel_core::time::Time;

use super::failed;
use super::lineage::Lineage;
use super::repositories::Base;
use crate::model::Log;

/// What a restore came to.
pub struct Restored {
    /// From which backup.
    pub base: Base,
    /// Everything up to the target.
    pub log: Log,
}

fn told(error: Error) -> driver::Error {
    driver::Error::Failed(error.to_string())
}

/// A log's place, as its server says it.
pub const fn position(length: usize) -> Position {
    Position(2 * length as u64)
}

/// Restores to a seed's target, on a timeline that must be newer than all of the lineage's.
pub fn restore(
    lineage: &Lineage<'_>,
    seed: &Seed,
    timeline: u32,
) -> Result<Restored, driver::Error> {
    let base = choose(lineage, seed)?;
    let newest = lineage.newest_timeline(base.backup.timeline).map_err(told)?;
    if newest >= timeline {
        return failed(&format!("its log is on timeline {newest}, and its term is {timeline}"));
    }
    let timelines = timelines(lineage, &base, newest)?;
    let mut log = base.log.clone();
    while let Some(more) = next(lineage, &log, &timelines)? {
        log.extend(&more);
    }
    if position(log.len()) < base.backup.to {
        return failed("WAL ends before end of online backup");
    }
    let log = cut(log, seed)?;
    if position(log.len()) < base.backup.to {
        return failed("requested recovery stop point is before consistent recovery point");
    }
    Ok(Restored { base, log })
}

/// The newest backup from which a target can be reached.
fn choose(lineage: &Lineage<'_>, seed: &Seed) -> Result<Base, driver::Error> {
    if let Some(id) = seed.backup {
        return lineage.base(id).map_err(told);
    }
    let all = lineage.backups().map_err(told)?;
    let before = |base: &&Base| match &seed.target {
        Target::Latest => true,
        Target::Moment(moment) => base.backup.ended <= *moment,
        Target::Position(position) => base.backup.to <= *position,
        // Nobody knows where it is: the whole log is gone through for it.
        Target::Point(_) => all.first().is_some_and(|first| first.backup.id == base.backup.id),
    };
    let found = all.iter().filter(before).max_by_key(|base| (base.backup.to, base.backup.id));
    if found.is_none() {
        // Who cannot be asked may have one.
        lineage.answers().map_err(told)?;
    }
    match found {
        Some(base) => Ok(base.clone()),
        None if all.is_empty() => failed("its lineage has no backup"),
        None => failed(&format!("{} is before its first backup", seed.target)),
    }
}

/// The timelines up to the newest, each with where it begins.
fn timelines(
    lineage: &Lineage<'_>,
    base: &Base,
    newest: u32,
) -> Result<Vec<(u32, usize)>, driver::Error> {
    if newest == base.backup.timeline {
        return Ok(base.timelines.clone());
    }
    let history = match lineage.fetch((newest, None)) {
        Ok(history) => history,
        Err(Error::NotThere { .. }) => {
            return failed(&format!("recovery target timeline {newest} does not exist"));
        }
        Err(error) => return Err(told(error)),
    };
    let pair = |pair: &[u64]| {
        let timeline = u32::try_from(pair[0]).unwrap_or(u32::MAX);
        (timeline, usize::try_from(pair[1]).unwrap_or(usize::MAX))
    };
    let timelines: Vec<(u32, usize)> = history.chunks_exact(2).map(pair).collect();
    // The backup must be of this history, and taken before the next timeline left it.
    let own = timelines.iter().position(|(timeline, _)| *timeline == base.backup.timeline);
    let left = own.and_then(|own| timelines.get(own + 1)).map(|(_, begin)| *begin);
    match own {
        Some(_) if left.is_none_or(|left| base.backup.to <= position(left)) => Ok(timelines),
        _ => {
            failed(&format!("requested timeline {newest} is not a child of this server's history"))
        }
    }
}

/// What comes next in the log, if anything does.
fn next(
    lineage: &Lineage<'_>,
    log: &Log,
    timelines: &[(u32, usize)],
) -> Result<Option<Vec<u64>>, driver::Error> {
    for (at, (timeline, _)) in timelines.iter().enumerate().rev() {
        let fetched = lineage.fetch((*timeline, Some(log.segment())));
        let content = match restore_exit(&fetched.as_ref().map(drop).map_err(Clone::clone)) {
            0 => fetched.unwrap_or_default(),
            // The end of the log, on this timeline.
            1..=125 => continue,
            _ => return Err(fetched.map_or_else(told, |_| told_of("nothing"))),
        };
        let had = log.len() - log.segment();
        // A segment of an older timeline counts up to where the next one left it.
        let left = timelines.get(at + 1).map_or(usize::MAX, |(_, begin)| *begin);
        let end = content.len().min(left.saturating_sub(log.segment()));
        if content.get(..had) != Some(log.part(log.segment(), log.len())) {
            return failed("its log is of another history");
        }
        return Ok((end > had).then(|| content[had..end].to_vec()));
    }
    Ok(None)
}

fn told_of(why: &str) -> driver::Error {
    driver::Error::Failed(why.to_owned())
}

/// The log up to the target, which it must reach.
fn cut(log: Log, seed: &Seed) -> Result<Log, driver::Error> {
    let reached = match &seed.target {
        Target::Latest => Some(log.len()),
        Target::Moment(moment) => {
            let until = log.until(Time(moment.millis()));
            // Who asked knows that nothing was committed between the end and then.
            until.or(seed.covered.then_some(log.len()))
        }
        Target::Position(Position(end)) => {
            let end = usize::try_from(end / 2).unwrap_or(usize::MAX);
            (end <= log.len()).then_some(end)
        }
        Target::Point(_) => None,
    };
    match reached {
        Some(length) if length == log.len() => Ok(log),
        Some(length) => Ok(log.upto(length)),
        None => failed("recovery ended before configured recovery target was reached"),
    }
}
