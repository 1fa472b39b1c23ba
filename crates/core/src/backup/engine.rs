//! Engines: who packs a lineage's log and backups, and what each of them can.
//!
//! Invariant: a lineage has one engine for its whole life. Who restores, forks or revives reads a lineage
//! with the engine that it was begun with, whatever new ones are begun with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::job::What;

/// An engine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Evenkeel's own: one sealed object for a file of the log, one for a backup.
    #[default]
    Native,
    /// pgBackRest, run for each piece of work.
    PgBackRest,
}

/// What an engine can, as far as it is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Backups are taken of a standby, too.
    pub from_standby: bool,
    /// It reads no faster than it is told to.
    pub limits_rate: bool,
    /// What was changed in a repository by somebody who knows how is found: all of it is authenticated
    /// with the service's key. Otherwise a backup's files have checksums only.
    pub authenticates: bool,
    /// What one repository has can be copied to another as it is. Otherwise one that was away is whole again
    /// with the next backup.
    pub evens: bool,
}

impl Engine {
    /// All there are, the default first.
    pub const ALL: [Self; 2] = [Self::Native, Self::PgBackRest];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PgBackRest => "pgbackrest",
        }
    }

    /// What it can.
    #[must_use]
    pub const fn capabilities(self) -> Capabilities {
        match self {
            Self::Native => Capabilities {
                from_standby: true,
                limits_rate: true,
                authenticates: true,
                evens: true,
            },
            // From a standby it needs a session on the primary's host as well.
            Self::PgBackRest => Capabilities {
                from_standby: false,
                limits_rate: false,
                authenticates: false,
                evens: false,
            },
        }
    }

    /// Whether it does a job beside a standby's server, too.
    #[must_use]
    pub const fn works_on_standby(self, what: &What) -> bool {
        self.capabilities().from_standby || !matches!(what, What::Backup { .. })
    }

    /// Whether it is the one that rows and goals without a word of it mean.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no engine of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no backup engine {name:?}; there are native and pgbackrest")]
pub struct Unknown {
    /// What was asked for.
    pub name: String,
}

impl FromStr for Engine {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        let found = Self::ALL.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| Unknown { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promise::Position;

    #[test]
    fn only_a_backup_needs_a_primary_and_only_where_its_engine_does() {
        let backup = What::Backup { rate_max: 0 };
        let expiry = What::Expire { backups: Vec::new(), before: Position(0) };
        for (engine, what, standby) in [
            (Engine::Native, &backup, true),
            (Engine::Native, &expiry, true),
            (Engine::PgBackRest, &backup, false),
            (Engine::PgBackRest, &expiry, true),
        ] {
            assert_eq!(engine.works_on_standby(what), standby, "{engine}: {}", what.name());
        }
    }

    #[test]
    fn an_engine_is_read_by_its_name_and_no_other() {
        for engine in Engine::ALL {
            assert_eq!(engine.name().parse(), Ok(engine));
            let text = serde_json::to_string(&engine).unwrap();
            assert_eq!(text, format!("{:?}", engine.name()), "stored as it is called");
        }
        let error = "barman".parse::<Engine>().unwrap_err().to_string();
        assert!(Engine::ALL.iter().all(|engine| error.contains(engine.name())), "{error}");
    }
}
