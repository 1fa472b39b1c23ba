//! The toil ledger: what the fleet does for people, and what they still do for it.
//!
//! One side counts operations that nobody had to ask for, with the minutes a person would have needed. The
//! other, the "just" list ("I just restart it"), counts what people did by hand, and names the procedure it
//! could become. Only sums and days are kept, so the ledger stays small however long a fleet runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::time::Time;

const DAY: u64 = 24 * 60 * 60 * 1000;
/// What people did longer ago counts no more.
pub const WINDOW_DAYS: u32 = 90;
/// Sorts of acts that are kept; the rarest gives way.
pub const ACTS_MAX: usize = 100;
/// Pairs of operation and remedy that are kept.
pub const SAVED_MAX: usize = 500;
/// Characters of an act's name.
pub const NAME_MAX_CHARS: usize = 64;
/// How entries of the journal begin that tell of something a person did past every order.
pub const BY_HAND: &str = "by hand:";
/// A working year, in hours: 50 weeks of 40.
const WORKING_YEAR_HOURS: f64 = 2_000.0;
/// A calendar year, in hours.
const CALENDAR_YEAR_HOURS: f64 = 8_766.0;

/// What was done by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Which operation.
    pub operation: String,
    /// By which remedy, or by a schedule.
    pub by: String,
    /// How often it ended well.
    pub times: u64,
    /// Minutes a person would have needed for all of it.
    pub minutes: u64,
    /// When it was done last.
    pub last: Time,
}

/// What people did by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// How often, by days since 1970 that count still.
    pub days: BTreeMap<u32, u32>,
    /// When it was done last.
    pub last: Time,
}

/// The ledger, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// What was done by itself.
    #[serde(default)]
    pub saved: Vec<Saved>,
    /// What people did, by its name.
    #[serde(default)]
    pub acts: BTreeMap<String, Act>,
}

fn day(at: Time) -> u32 {
    u32::try_from(at.0 / DAY).unwrap_or(u32::MAX)
}

/// Whether what was done on a day counts still.
fn counts(done: u32, now: Time) -> bool {
    done.saturating_add(WINDOW_DAYS) > day(now)
}

impl Ledger {
    /// Something was done by itself.
    pub fn save(&mut self, operation: &str, by: &str, minutes: u16, now: Time) {
        let known = self.saved.iter_mut().find(|s| s.operation == operation && s.by == by);
        if let Some(known) = known {
            known.times += 1;
            known.minutes += u64::from(minutes);
            known.last = now;
        } else if self.saved.len() < SAVED_MAX {
            self.saved.push(Saved {
                operation: operation.to_owned(),
                by: by.to_owned(),
                times: 1,
                minutes: u64::from(minutes),
                last: now,
            });
            self.saved.sort_by(|a, b| (&a.operation, &a.by).cmp(&(&b.operation, &b.by)));
        }
    }

    /// A person did something by hand.
    pub fn act(&mut self, name: &str, now: Time) {
        let name: String = name.trim().chars().take(NAME_MAX_CHARS).collect();
        if name.is_empty() {
            return;
        }
        self.forget(now);
        let act = self.acts.entry(name.clone()).or_default();
        *act.days.entry(day(now)).or_default() += 1;
        act.last = now;
        if self.acts.len() > ACTS_MAX {
            let others = self.acts.iter().filter(|(other, _)| **other != name);
            let rarest = others.min_by_key(|(_, act)| (act.days.values().sum::<u32>(), act.last));
            if let Some(rarest) = rarest.map(|(name, _)| name.clone()) {
                self.acts.remove(&rarest);
            }
        }
    }

    /// Forgets what counts no more.
    fn forget(&mut self, now: Time) {
        for act in self.acts.values_mut() {
            act.days.retain(|day, _| counts(*day, now));
        }
        self.acts.retain(|_, act| !act.days.is_empty());
    }

    /// The ledger, for people.
    #[must_use]
    pub fn page(&self, now: Time) -> Page {
        let minutes: u64 = self.saved.iter().map(|saved| saved.minutes).sum();
        let row = |saved: &Saved| SavedRow {
            operation: saved.operation.clone(),
            by: saved.by.clone(),
            times: saved.times,
            minutes: saved.minutes,
            last_at: Moment::of_millis(saved.last.0).to_string(),
        };
        let mut saved: Vec<SavedRow> = self.saved.iter().map(row).collect();
        saved.sort_by_key(|row| std::cmp::Reverse(row.minutes));
        let act = |(name, act): (&String, &Act)| JustRow {
            act: name.clone(),
            times: act.days.iter().filter(|(day, _)| counts(**day, now)).map(|(_, n)| *n).sum(),
            last_at: Moment::of_millis(act.last.0).to_string(),
            could_become: procedure(name),
        };
        let mut just: Vec<JustRow> =
            self.acts.iter().map(act).filter(|row| row.times > 0).collect();
        just.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.act.cmp(&b.act)));
        Page {
            minutes,
            working_years: years(minutes, WORKING_YEAR_HOURS),
            calendar_years: years(minutes, CALENDAR_YEAR_HOURS),
            saved,
            just,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "nobody saves 2^52 minutes")]
fn years(minutes: u64, hours: f64) -> f64 {
    (minutes as f64 / 60.0 / hours * 1e6).round() / 1e6
}

/// What an act could become: a remedy, a schedule, or a procedure of its own.
const PROCEDURES: &[(&str, &str)] = &[
    (
        "restart",
        "a remedy over the finding that makes people restart it, or `maintenance plan SERVICE restart`",
    ),
    ("failover", "the remedy failover; if it is practice, `drill schedule SERVICE --every 30d`"),
    ("switchover", "`maintenance plan SERVICE switchover`, or a drain of the host it flees from"),
    (
        "terminate",
        "a retirement: what is retired is archived by itself after the policy's retired_keep",
    ),
    ("retire", "a procedure that retires what nobody connects to"),
    ("revive", "a procedure with its checks before and after"),
    ("archive", "nothing: what is retired is archived by itself after the policy's retired_keep"),
    ("a backup", "the policy's backup schedule, which takes them by itself"),
    ("a proof", "the policy's prove_every, which proves backups by itself"),
    ("a rollback", "a procedure that names the moment to go back to"),
    ("that log is given up", "the disk guard's thresholds, and more room for the log"),
    ("drain", "a remedy over the host's findings"),
    ("return", "the end of the procedure that drained the host"),
    ("removal", "the end of the procedure that drained the host"),
    ("that a repository is removed", "a procedure with its checks before and after"),
];

/// What an act could become, in words.
fn procedure(act: &str) -> String {
    let known = PROCEDURES.iter().find(|(name, _)| *name == act);
    known.map_or_else(
        || "a procedure of its own, scripted, tested and time-boxed".to_owned(),
        |(_, procedure)| (*procedure).to_owned(),
    )
}

/// Whether an order is one of those that a procedure or remedy could give.
#[must_use]
pub fn is_act(name: &str) -> bool {
    PROCEDURES.iter().any(|(known, _)| *known == name)
}

/// What was done by itself, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRow {
    /// Which operation.
    pub operation: String,
    /// By which remedy, or by a schedule.
    pub by: String,
    /// How often it ended well.
    pub times: u64,
    /// Minutes a person would have needed for all of it.
    pub minutes: u64,
    /// When it was done last, RFC 3339.
    pub last_at: String,
}

/// What people did by hand, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JustRow {
    /// What.
    pub act: String,
    /// How often in the last 90 days.
    pub times: u32,
    /// When last, RFC 3339.
    pub last_at: String,
    /// What it could become.
    pub could_become: String,
}

/// The ledger, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Minutes saved in all.
    pub minutes: u64,
    /// The same in working years of 2,000 hours.
    pub working_years: f64,
    /// The same in calendar years.
    pub calendar_years: f64,
    /// What was done by itself, most minutes first.
    pub saved: Vec<SavedRow>,
    /// What people did by hand in the last 90 days, most often first.
    pub just: Vec<JustRow>,
}

impl Page {
    /// Several cells' ledgers as one; one cell's is as it is.
    #[must_use]
    pub fn of_all(mut pages: Vec<Self>) -> Self {
        if pages.len() == 1 {
            return pages.remove(0);
        }
        let (mut saved, mut just) = (Vec::<SavedRow>::new(), Vec::<JustRow>::new());
        for page in pages {
            for row in page.saved {
                let same = |k: &&mut SavedRow| (&k.operation, &k.by) == (&row.operation, &row.by);
                match saved.iter_mut().find(same) {
                    Some(known) => {
                        (known.times, known.minutes) =
                            (known.times + row.times, known.minutes + row.minutes);
                        known.last_at = row.last_at.max(std::mem::take(&mut known.last_at));
                    }
                    None => saved.push(row),
                }
            }
            for row in page.just {
                match just.iter_mut().find(|known| known.act == row.act) {
                    Some(known) => {
                        known.times += row.times;
                        known.last_at = row.last_at.max(std::mem::take(&mut known.last_at));
                    }
                    None => just.push(row),
                }
            }
        }
        saved.sort_by_key(|row| std::cmp::Reverse(row.minutes));
        just.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.act.cmp(&b.act)));
        let minutes = saved.iter().map(|row| row.minutes).sum();
        Self {
            minutes,
            working_years: years(minutes, WORKING_YEAR_HOURS),
            calendar_years: years(minutes, CALENDAR_YEAR_HOURS),
            saved,
            just,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u64) -> Time {
        Time((20_000 + day) * DAY)
    }

    #[test]
    fn minutes_add_up_to_years() {
        let mut ledger = Ledger::default();
        for day in 0..100 {
            ledger.save("failover", "failover", 40, at(day));
        }
        ledger.save("restart", "restart", 15, at(3));
        ledger.save("failover", "other", 40, at(3));
        let page = ledger.page(at(100));
        let rows: Vec<_> = page.saved.iter().map(|r| (&*r.operation, &*r.by, r.times)).collect();
        assert_eq!(
            rows,
            [("failover", "failover", 100), ("failover", "other", 1), ("restart", "restart", 1)]
        );
        assert_eq!(page.minutes, 4055);
        assert!((page.working_years - 4055.0 / 60.0 / 2000.0).abs() < 1e-6);
        assert!((page.calendar_years - 4055.0 / 60.0 / 8766.0).abs() < 1e-6);
    }

    #[test]
    fn acts_are_ranked_by_how_often_and_forgotten_after_ninety_days() {
        let mut ledger = Ledger::default();
        for day in [0, 1, 1, 60] {
            ledger.act("restart", at(day));
        }
        ledger.act("failover", at(0));
        ledger.act("vacuum of the queue", at(60));
        let ranked = |now| -> Vec<(String, u32)> {
            ledger.page(at(now)).just.into_iter().map(|row| (row.act, row.times)).collect()
        };
        let rows = |rows: &[(&str, u32)]| -> Vec<(String, u32)> {
            rows.iter().map(|(act, times)| ((*act).to_owned(), *times)).collect()
        };
        assert_eq!(
            ranked(60),
            rows(&[("restart", 4), ("failover", 1), ("vacuum of the queue", 1)])
        );
        assert_eq!(ranked(90), rows(&[("restart", 3), ("vacuum of the queue", 1)]));
        assert_eq!(ranked(91), rows(&[("restart", 1), ("vacuum of the queue", 1)]));
        assert_eq!(ranked(150), []);
        let page = ledger.page(at(60));
        assert!(page.just[0].could_become.contains("maintenance plan"), "{page:?}");
        assert!(page.just[2].could_become.contains("procedure of its own"), "{page:?}");
    }

    #[test]
    fn the_ledger_stays_small() {
        let mut ledger = Ledger::default();
        ledger.act("often", at(1));
        ledger.act("often", at(1));
        for n in 0..1000_u64 {
            ledger.act(&format!("{n} {}", "x".repeat(200)), at(n / 20));
            ledger.save(&n.to_string(), "remedy", 1, at(n / 20));
        }
        assert!(ledger.acts.len() <= ACTS_MAX && ledger.saved.len() <= SAVED_MAX);
        assert!(ledger.acts.contains_key("often"), "the rarest gave way");
        assert!(ledger.acts.keys().all(|name| name.chars().count() <= NAME_MAX_CHARS));
    }
}
