//! Checks: what is looked at all the time, and what a negative result is.
//!
//! A check is one file: a unit struct that implements [`Check`] plus one line in its registry slice.
//! It has two halves: what to ask the server (text that a driver runs) and a pure judgement.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

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

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Page => "page",
        })
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

    /// A column as a number, where it is one.
    #[must_use]
    pub fn number(&self, column: &str) -> Option<i64> {
        self.text(column).parse().ok()
    }
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
    /// The judgement. `None` is quiet.
    fn judge(&self, reading: &Reading) -> Option<Result>;
    /// A reading at which it fires.
    fn firing(&self) -> Reading;
    /// A reading at which it is quiet.
    fn quiet(&self) -> Reading;
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
        match check.judge(&check.firing()) {
            Some(result) if result.check == name => {}
            other => return Err(format!("{name}: its firing example gives {other:?}")),
        }
        if let Some(result) = check.judge(&check.quiet()) {
            return Err(format!("{name}: its quiet example fires: {}", result.evidence));
        }
    }
    Ok(())
}
