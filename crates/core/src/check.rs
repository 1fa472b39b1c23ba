//! Checks: what is looked at all the time, and what a negative result is.
//!
//! A check is one file: a unit struct that implements [`Check`] plus one line in its registry slice.
//! It has two halves: what to ask the server (text that a driver runs) and a pure judgement, by
//! thresholds that are policy.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

pub use crate::thresholds::Thresholds;

/// Most items of a result.
pub const ITEMS_MAX: usize = 50;

/// The four families, and the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Can it be restored?
    Backups,
    /// Is there a second copy, and does it keep up?
    Replication,
    /// Who can get in, and is what was promised in force?
    Security,
    /// Will it go on serving?
    Performance,
    /// The machine below.
    Host,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; true by choice of plan.
    Note,
    /// Will become trouble if nothing is done.
    Warning,
    /// A promise is broken or about to be.
    Critical,
    /// Nothing here can repair it: a person must know.
    Page,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backups => "backups",
            Self::Replication => "replication",
            Self::Security => "security",
            Self::Performance => "performance",
            Self::Host => "host",
        })
    }
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Page => "page",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A check that does not pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Result {
    /// The check's name.
    pub check: String,
    /// How bad.
    pub severity: Severity,
    /// What was seen, in bands, so that it changes only when its meaning does.
    pub evidence: String,
    /// What it is about, one by one, at most [`ITEMS_MAX`]; empty where the evidence says it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
}

/// How often a check is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Each half minute ([`Thresholds::often_seconds`]): what is cheap, and may be trouble soon.
    Often,
    /// Each ten minutes ([`Thresholds::rarely_seconds`]), members one after another: what is dear, or
    /// changes slowly.
    Rarely,
}

/// Which members are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// The one that takes writes: what it says holds for its copies too.
    Primary,
    /// Those that follow.
    Standbys,
    /// Every one, for itself.
    Everyone,
}

/// Where in a server a question is asked, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Once, by a role that may look at statistics and no more.
    Server,
    /// In every database of users, by the same role; what is numbered is added up, `items` are put
    /// behind one another.
    Databases,
    /// In the owner's database, with the owner's rights and read-only: what only an owner may see.
    Owner,
}

/// When members' results are a finding of their service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// When any member has it; it is that member's.
    Anywhere,
    /// When every member has it: only the items that all of them name.
    Everywhere,
}

/// Some of the paces that there are.
pub type Paces = SmallVec<[Pace; 2]>;

/// What was not read of a member, so that nobody takes silence for health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Paces of which nothing was read since the server's process or its agent began.
    #[serde(default, skip_serializing_if = "Paces::is_empty")]
    pub paces: Paces,
    /// Checks that could not be read in their last round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}

impl Unread {
    /// Nothing was read yet.
    #[must_use]
    pub fn everything() -> Self {
        Self { paces: smallvec![Pace::Often, Pace::Rarely], checks: Vec::new() }
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paces.is_empty() && self.checks.is_empty()
    }

    /// Whether a check was not read.
    #[must_use]
    pub fn has(&self, check: &str, pace: Pace) -> bool {
        self.paces.contains(&pace) || self.checks.iter().any(|unread| unread == check)
    }
}

/// What a check's question answered: one row, named columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reading(pub BTreeMap<String, String>);

impl Reading {
    /// A reading from pairs, for examples and tests.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// A column as text; empty where it is missing.
    #[must_use]
    pub fn text(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    /// A column's lines, each in its parts between tabs.
    pub fn lines<'a>(&'a self, column: &str) -> impl Iterator<Item = Vec<&'a str>> + use<'a> {
        let lines = self.text(column).lines().filter(|line| !line.is_empty());
        lines.map(|line| line.split('\t').collect())
    }

    /// Takes in what the same question answered elsewhere: numbers are added up, texts are put behind one
    /// another as lines.
    pub fn add(&mut self, other: Self) {
        for (column, value) in other.0 {
            match self.0.entry(column) {
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(value)),
                std::collections::btree_map::Entry::Occupied(mut place) => {
                    let (mine, its) = (place.get().parse::<i64>(), value.parse::<i64>());
                    let both = match (mine, its) {
                        (Ok(mine), Ok(its)) => mine.saturating_add(its).to_string(),
                        _ if place.get().is_empty() => value,
                        _ if value.is_empty() => continue,
                        _ => format!("{}\n{value}", place.get()),
                    };
                    place.insert(both);
                }
            }
        }
    }

    /// A column as a number, where it is one.
    #[must_use]
    pub fn number(&self, column: &str) -> Option<i64> {
        self.text(column).parse().ok()
    }
}

/// A length of time in a band: reports hold nothing that moves all the time.
#[must_use]
pub fn longer_than(seconds: i64) -> String {
    const RUNGS: [(i64, &str); 9] = [
        (604_800, "a week"),
        (86_400, "a day"),
        (21_600, "6 h"),
        (3600, "an hour"),
        (1800, "30 min"),
        (600, "10 min"),
        (120, "2 min"),
        (60, "a minute"),
        (10, "10 s"),
    ];
    let rung = RUNGS.iter().find(|(from, _)| seconds >= *from);
    format!("longer than {}", rung.map_or("a moment", |(_, words)| words))
}

/// A count in a band: exact to three, then by the next lower of 5, 10, 20, 50 and so on.
#[must_use]
pub fn about(count: i64) -> String {
    if count < 4 {
        return count.to_string();
    }
    let decades = std::iter::successors(Some(1_i64), |n| n.checked_mul(10));
    let rungs = decades.flat_map(|n| [2, 5, 10].map(|m| n.saturating_mul(m)));
    let rung = rungs.take_while(|rung| *rung <= count).last().unwrap_or(2);
    format!("{rung} or more")
}

/// One check.
pub trait Check: Sync {
    /// Its name: lower case words joined by `-`, unique in its registry.
    fn name(&self) -> &'static str;
    /// Its family.
    fn family(&self) -> Family;
    /// Its doc page: what it looks at, why it matters, what to do. Ends with a full stop.
    fn doc(&self) -> &'static str;
    /// What the driver asks: for PostgreSQL one query with one row; for a host a reading's name.
    fn question(&self) -> &'static str;
    /// How often it is run.
    fn pace(&self) -> Pace {
        Pace::Often
    }
    /// Which members are asked.
    fn asked(&self) -> Asked {
        Asked::Primary
    }
    /// Where in a server it is asked.
    fn place(&self) -> Place {
        Place::Server
    }
    /// When members' results are a finding.
    fn holds(&self) -> Holds {
        Holds::Anywhere
    }
    /// The thresholds that it goes by, as fields of [`Thresholds`].
    fn thresholds(&self) -> &'static [&'static str] {
        &[]
    }
    /// The judgement, by the policy's thresholds. `None` is quiet.
    fn judge(&self, reading: &Reading, limits: &Thresholds) -> Option<Result>;
    /// A reading at which it fires, by the default thresholds.
    fn firing(&self) -> Reading;
    /// A reading at which it is quiet, by the default thresholds.
    fn quiet(&self) -> Reading;

    /// A result of this check.
    fn found(&self, severity: Severity, evidence: String) -> Result {
        Result { check: self.name().to_owned(), severity, evidence, items: Vec::new() }
    }
    /// A result about some things, if there are any: `what` says what is the matter with them.
    fn found_of(&self, severity: Severity, what: &str, mut items: Vec<String>) -> Option<Result> {
        if items.is_empty() {
            return None;
        }
        items.truncate(ITEMS_MAX);
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let first = items.first().cloned().unwrap_or_default();
        let evidence = match count {
            1 => format!("{what}: {first}"),
            _ => format!("{what}: {} of them, the first {first}", about(count)),
        };
        Some(Result { check: self.name().to_owned(), severity, evidence, items })
    }
}

/// Proves a registry sound; every registry's test calls it.
///
/// # Errors
/// The first thing wrong, naming the check.
pub fn sound(checks: &[&dyn Check]) -> std::result::Result<(), String> {
    let mut names = std::collections::BTreeSet::new();
    for check in checks {
        let name = check.name();
        if !names.insert(name) {
            return Err(format!("two checks are named {name}"));
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            return Err(format!("{name:?} is not lower case words joined by '-'"));
        }
        if !check.doc().ends_with('.') {
            return Err(format!("{name} has no doc page that ends as a sentence"));
        }
        let limits = Thresholds::default();
        let known = serde_json::to_value(&limits).unwrap_or_default();
        if let Some(other) = check.thresholds().iter().find(|name| known[**name].is_null()) {
            return Err(format!("{name} goes by {other}, which is no threshold"));
        }
        match check.judge(&check.firing(), &limits) {
            Some(result) if result.check == name => {}
            other => return Err(format!("{name}: its firing example gives {other:?}")),
        }
        if let Some(result) = check.judge(&check.quiet(), &limits) {
            return Err(format!("{name}: its quiet example fires: {}", result.evidence));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_change_seldom() {
        let of = [5, 59, 60, 700, 90_000].map(longer_than);
        let longer = ["a moment", "10 s", "a minute", "10 min", "a day"];
        assert_eq!(of, longer.map(|words| format!("longer than {words}")));
        assert_eq!(
            [0, 3, 4, 7, 19, 55].map(about),
            ["0", "3", "2 or more", "5 or more", "10 or more", "50 or more"]
        );
    }

    #[test]
    fn readings_of_several_databases_become_one() {
        let mut all = Reading::of(&[("count", "2"), ("items", "a\t1")]);
        all.add(Reading::of(&[("count", "0"), ("items", "")]));
        all.add(Reading::of(&[("count", "3"), ("items", "b\t2\nc\t3")]));
        assert_eq!(all.number("count"), Some(5));
        let lines: Vec<Vec<&str>> = all.lines("items").collect();
        assert_eq!(lines, [["a", "1"], ["b", "2"], ["c", "3"]]);
        assert_eq!(all.lines("none").count(), 0);
    }

    #[test]
    fn what_is_unread_is_so_by_name_or_by_pace() {
        let unread = Unread { paces: smallvec![Pace::Rarely], checks: vec!["a".to_owned()] };
        assert!(unread.has("a", Pace::Often) && unread.has("b", Pace::Rarely));
        assert!(!unread.has("b", Pace::Often) && Unread::default().is_empty());
    }
}
